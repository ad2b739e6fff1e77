//! Ways to disturb an operator, each undone when dropped; and what the API server says that an operator did.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::wait::await_condition;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use leadergroup_e2e::cluster::Signal;
use leadergroup_e2e::{LeaseView, OPERATOR_NAMESPACE, PATIENCE, Session};
use serde_json::Value;
use tokio::task::JoinHandle;

const LEASE: &str = "leadergroup-operator";
const LEASE_NAMESPACE: [&str; 2] = ["--namespace", OPERATOR_NAMESPACE];
const TABLE: &str = "leadergroup_test_cut";

/// The operators elect with a lease of six seconds.
pub struct Quick(Session);

impl Quick {
    pub async fn elections(session: &Session) -> Result<Self> {
        let quick = Self(session.clone());
        let seconds = [("lease-duration", 6), ("renew-deadline", 4), ("retry-period", 1)];
        let asked: Vec<_> = seconds.iter().map(|(name, n)| format!("leadergroup.dev/{name}-seconds={n}")).collect();
        let mut args = vec!["annotate", "--overwrite", "lease", LEASE];
        args.extend(LEASE_NAMESPACE);
        args.extend(asked.iter().map(String::as_str));
        session.kubectl(&args).await?;
        let leases: Api<Lease> = Api::namespaced(session.client(), OPERATOR_NAMESPACE);
        let adopted = |lease: Option<&Lease>| lease.is_some_and(|l| l.record().lease_duration_seconds == Some(6));
        tokio::time::timeout(PATIENCE, await_condition(leases, LEASE, adopted))
            .await
            .context("the operators do not elect by the timing that their Lease asks for")??;
        Ok(quick)
    }
}

impl Drop for Quick {
    fn drop(&mut self) {
        let mut args = vec!["annotate", "lease", LEASE];
        args.extend(LEASE_NAMESPACE);
        let names =
            ["lease-duration", "renew-deadline", "retry-period"].map(|n| format!("leadergroup.dev/{n}-seconds-"));
        args.extend(names.iter().map(String::as_str));
        if let Err(error) = self.0.kubectl_now(&args) {
            eprintln!("the operators' Lease keeps its annotations: {error:#}");
        }
    }
}

/// Packets between a pod and the API server are dropped.
pub struct Cut;

impl Cut {
    /// The API server gets no request of the pod any more. What it has to say arrives and is acknowledged, which takes no
    /// more than headers.
    pub fn requests(session: &Session, pod: &Pod) -> Result<Self> {
        let (ip, port) = ends(session, pod)?;
        Self::drop_what(&[format!(
            "type filter hook input priority -5; ip saddr {ip} tcp dport {port} ip length > 120 drop"
        )])
    }

    /// Nothing passes either way.
    pub fn all(session: &Session, pod: &Pod) -> Result<Self> {
        let (ip, port) = ends(session, pod)?;
        Self::drop_what(&[
            format!("type filter hook input priority -5; ip saddr {ip} tcp dport {port} drop"),
            format!("type filter hook output priority -5; ip daddr {ip} tcp sport {port} drop"),
        ])
    }

    fn drop_what(chains: &[String]) -> Result<Self> {
        let chains: Vec<_> =
            chains.iter().enumerate().map(|(n, rules)| format!("chain cut{n} {{ {rules}; }}")).collect();
        nft(&format!("table inet {TABLE} {{\n{}\n}}\n", chains.join("\n")))?;
        Ok(Self)
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if let Err(error) = nft(&format!("delete table inet {TABLE}")) {
            eprintln!("an operator stays cut off: {error:#}");
        }
    }
}

fn ends(session: &Session, pod: &Pod) -> Result<(String, String)> {
    let ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone()).context("the pod has no address")?;
    let server = session.cluster().status()?.server;
    let port = server.rsplit(':').next().context("the API server's address has no port")?;
    Ok((ip, port.trim_end_matches('/').to_owned()))
}

fn nft(rules: &str) -> Result<()> {
    let mut nft = Command::new("nft").args(["--file", "-"]).stdin(Stdio::piped()).spawn().context("cannot run nft")?;
    nft.stdin.take().context("nft takes no rules")?.write_all(rules.as_bytes())?;
    ensure!(nft.wait()?.success(), "nft refuses: {rules}");
    Ok(())
}

/// A pod's processes are stopped, without knowing.
pub struct Paused {
    session: Session,
    pod: Pod,
}

impl Paused {
    pub fn pause(session: &Session, pod: &Pod) -> Result<Self> {
        session.signal(pod, Signal::STOP)?;
        Ok(Self { session: session.clone(), pod: pod.clone() })
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        if let Err(error) = self.session.signal(&self.pod, Signal::CONT) {
            eprintln!("an operator stays stopped: {error:#}");
        }
    }
}

/// A holder of a Lease, none if it is free, and since when.
type Held = (Instant, Option<String>);

/// Who held the operators' Lease.
pub struct Holders {
    seen: Arc<Mutex<Vec<Held>>>,
    recorder: JoinHandle<()>,
}

impl Holders {
    pub fn record(session: &Session) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = seen.clone();
        let leases: Api<Lease> = Api::namespaced(session.client(), OPERATOR_NAMESPACE);
        let config = watcher::Config::default().fields(&format!("metadata.name={LEASE}"));
        let recorder = tokio::spawn(async move {
            let mut versions = std::pin::pin!(watcher(leases, config).default_backoff().applied_objects());
            while let Ok(Some(lease)) = versions.try_next().await {
                let mut seen: std::sync::MutexGuard<'_, Vec<Held>> = record.lock().expect("nobody panics with it");
                if seen.last().is_none_or(|(_, holder)| *holder != lease.holder()) {
                    seen.push((Instant::now(), lease.holder()));
                }
            }
        });
        Self { seen, recorder }
    }

    pub fn seen(&self) -> Vec<Held> {
        self.seen.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for Holders {
    fn drop(&mut self) {
        self.recorder.abort();
    }
}

/// The identity by which an operator campaigns.
pub fn identity(pod: &Pod) -> String {
    format!("{}_{}", pod.name_any(), pod.uid().unwrap_or_default())
}

/// A request of an operator, as the API server's audit log has it.
#[derive(Debug)]
pub struct Written {
    pub verb: String,
    pub resource: String,
    pub namespace: String,
    pub code: u64,
    /// When it was received, RFC 3339.
    pub received: String,
}

impl Written {
    pub fn is_accepted(&self) -> bool {
        self.code < 300
    }

    /// Whether it may change who leads a group.
    pub fn is_clear_in(&self, namespace: &str) -> bool {
        self.namespace == namespace && self.resource == "leases" && matches!(self.verb.as_str(), "patch" | "delete")
    }
}

/// What operators write from here on.
pub struct Audit {
    log: std::path::PathBuf,
    from: u64,
}

impl Audit {
    pub fn from_now(session: &Session) -> Result<Self> {
        let log = session.cluster().layout()?.audit_log();
        let from = std::fs::metadata(&log)?.len();
        Ok(Self { log, from })
    }

    /// What an operator has written so far, to anything but the Lease that it campaigns for.
    pub fn writes_of(&self, pod: &Pod) -> Result<Vec<Written>> {
        let mut file = File::open(&self.log)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut writes = Vec::new();
        for line in BufReader::new(file).lines() {
            // The last line may be half written, and so may the first be read.
            let Ok(entry) = serde_json::from_str::<Value>(&line?) else { continue };
            let text = |pointer: &str| entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            let by = text("/user/extra/authentication.kubernetes.io~1pod-name/0");
            // To create a review of access is to ask: nothing is kept of it.
            let asks = text("/objectRef/resource") == "subjectaccessreviews";
            let read = asks || matches!(text("/verb").as_str(), "get" | "list" | "watch");
            if by != pod.name_any() || read || text("/stage") != "ResponseComplete" || text("/objectRef/name") == LEASE
            {
                continue;
            }
            writes.push(Written {
                verb: text("/verb"),
                resource: text("/objectRef/resource"),
                namespace: text("/objectRef/namespace"),
                code: entry.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or(0),
                received: text("/requestReceivedTimestamp"),
            });
        }
        Ok(writes)
    }

    /// Waits until an operator's write is as described.
    pub async fn until_written(&self, pod: &Pod, wanted: &str, is_so: impl Fn(&Written) -> bool) -> Result<Written> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut writes = self.writes_of(pod)?;
            if let Some(at) = writes.iter().position(&is_so) {
                return Ok(writes.swap_remove(at));
            }
            ensure!(Instant::now() < deadline, "not within {} s: {wanted}\n{writes:#?}", PATIENCE.as_secs());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
