//! A Prometheus that scrapes the operator as `config/monitoring` says, and is asked what it knows.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::ListParams;
use leadergroup_cluster::workspace_root;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use crate::install::{OPERATOR_NAMESPACE, OPERATOR_REPLICAS};
use crate::{PATIENCE, Session};

const SERVICE: &str = "leadergroup-operator-metrics";
/// What it scrapes and how often it judges the alerts.
const INTERVAL: &str = "1s";

/// A Prometheus of a test's own, ended when this is dropped.
pub struct Prometheus {
    child: Child,
    url: String,
    /// What it writes after its address would otherwise fill the pipe.
    _told: std::thread::JoinHandle<()>,
    _folder: TempDir,
}

/// A sample: labels and value.
pub type Sample = (BTreeMap<String, String>, f64);

impl Prometheus {
    /// Scrapes the operator: its pods by the Service of `config/monitoring`, or else the child of this program. Its alerts are judged as `changed` makes them:
    /// they may have less patience.
    pub async fn scraping(session: &Session, changed: impl FnOnce(String) -> String) -> Result<Self> {
        let targets = match session.local_metrics()? {
            Some(address) => vec![address],
            None => targets(session).await?,
        };
        let program = tokio::task::spawn_blocking(|| leadergroup_cluster::program("prometheus")).await??;
        let folder = tempfile::tempdir()?;
        let resource = fs::read_to_string(workspace_root()?.join("config/monitoring/rules.yaml"))?;
        let resource: Value = serde_yaml_ng::from_str(&changed(resource))?;
        fs::write(folder.path().join("rules.yaml"), resource["spec"].to_string())?;
        let config = json!({
            "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{
                "job_name": SERVICE, "honor_labels": true, "static_configs": [{"targets": targets}],
            }],
        });
        fs::write(folder.path().join("prometheus.yaml"), config.to_string())?;
        let mut child = Command::new(program)
            .current_dir(folder.path())
            .args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let told = child.stderr.take().context("it has no standard error")?;
        match tokio::task::spawn_blocking(|| address(told)).await? {
            Ok((address, told)) => Ok(Self { child, url: format!("http://{address}"), _told: told, _folder: folder }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }

    /// What an expression yields now.
    pub async fn query(&self, expression: &str) -> Result<Vec<Sample>> {
        let (url, expression) = (format!("{}/api/v1/query", self.url), expression.to_owned());
        let answer =
            move || -> Result<Value> { Ok(ureq::get(url).query("query", &expression).call()?.body_mut().read_json()?) };
        let answer = tokio::task::spawn_blocking(answer).await??;
        let samples = answer["data"]["result"].as_array().context("no result")?;
        let sample = |sample: &Value| {
            let labels = serde_json::from_value(sample["metric"].clone())?;
            Ok((labels, sample["value"][1].as_str().context("no value")?.parse()?))
        };
        samples.iter().map(sample).collect()
    }

    /// Waits until an expression yields what is described.
    pub async fn until(
        &self,
        wanted: &str,
        expression: &str,
        is_so: impl Fn(&[Sample]) -> bool,
    ) -> Result<Vec<Sample>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // It answers once it has read its rules.
            let samples = self.query(expression).await.unwrap_or_default();
            if is_so(&samples) {
                return Ok(samples);
            }
            if Instant::now() > deadline {
                bail!("not within {} s: {wanted}; {expression} yields {samples:?}", PATIENCE.as_secs());
            }
            // There is nothing to watch.
            sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The addresses behind the Service, once every replica of the operator is there.
async fn targets(session: &Session) -> Result<Vec<String>> {
    // Of several that create it at a time, all but one would fail.
    static APPLIED: OnceCell<()> = OnceCell::const_new();
    let service = workspace_root()?.join("config/monitoring/service.yaml");
    let apply = || async { session.kubectl(&["apply", "--filename", &service.to_string_lossy()]).await.map(drop) };
    APPLIED.get_or_try_init(apply).await?;
    let slices: Api<EndpointSlice> = Api::namespaced(session.client(), OPERATOR_NAMESPACE);
    let of_it = ListParams::default().labels(&format!("kubernetes.io/service-name={SERVICE}"));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut targets = Vec::new();
        for slice in slices.list(&of_it).await?.items {
            let ports: Vec<_> = slice.ports.iter().flatten().filter_map(|port| port.port).collect();
            let ready = |e: &&k8s_openapi::api::discovery::v1::Endpoint| {
                e.conditions.as_ref().is_some_and(|conditions| conditions.ready == Some(true))
            };
            for address in slice.endpoints.iter().filter(ready).flat_map(|endpoint| &endpoint.addresses) {
                targets.extend(ports.iter().map(|port| format!("{address}:{port}")));
            }
        }
        if i32::try_from(targets.len())? == OPERATOR_REPLICAS {
            return Ok(targets);
        }
        if Instant::now() > deadline {
            bail!("behind Service {SERVICE} there are not all operators: {targets:?}");
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Where it listens, by its own word, and a thread that reads the rest of what it says.
fn address(told: ChildStderr) -> Result<(String, std::thread::JoinHandle<()>)> {
    let (mut lines, mut said) = (BufReader::new(told).lines(), String::new());
    for line in lines.by_ref() {
        let line = line?;
        let address = line.split_once(" address=").filter(|(before, _)| before.contains("msg=\"Listening on\""));
        let address = address.map(|(_, address)| address.trim().to_owned());
        if let Some(address) = address {
            return Ok((address, std::thread::spawn(move || lines.for_each(drop))));
        }
        said.push_str(&line);
        said.push('\n');
    }
    bail!("Prometheus does not start:\n{said}")
}
