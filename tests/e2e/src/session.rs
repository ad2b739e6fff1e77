//! A cluster with the operator in it.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use leadergroup_cluster::{Cluster, ContainerProcess, Signal};
use tokio::time::{Duration, timeout};

use crate::command::run;
use crate::install::Installed;
use crate::{Namespace, OPERATOR_NAMESPACE, OPERATOR_REPLICAS, Operator};

/// A cluster with the operator installed in it. Cheap to make again: what is slow is done once per program.
#[derive(Clone)]
pub struct Session {
    pub(crate) installed: &'static Installed,
    client: Client,
    _local: Option<Arc<LocalOperator>>,
}

impl Session {
    /// The cluster that the environment asks for (see [`Cluster::from_env`]), with the operator running: in the cluster
    /// where pods are processes, as a child of this program otherwise.
    pub async fn start() -> Result<Self> {
        let installed = tokio::task::spawn_blocking(Installed::get).await.context("the installation panicked")??;
        let local = installed.local_program.as_ref().map(|program| LocalOperator::shared(program, installed));
        let client = installed.client().await?;
        let local = local.transpose()?;
        if local.is_some() {
            LocalOperator::until_it_watches().await?;
        }
        Ok(Self { installed, client, _local: local })
    }

    /// A session in which the test installs the operator itself, or does without; what an earlier test program has installed
    /// is there still.
    pub async fn without_operator() -> Result<Self> {
        let installed = tokio::task::spawn_blocking(Installed::bare).await.context("the cluster panicked")??;
        Ok(Self { installed, client: installed.client().await?, _local: None })
    }

    /// A session where pods are processes; elsewhere none, after telling which promise is not put to the test.
    pub async fn with_kubelet(promise: &str) -> Result<Option<Self>> {
        let session = Self::start().await?;
        if session.cluster().has_real_node() {
            return Ok(Some(session));
        }
        tell_not_proven("no kubelet", promise);
        Ok(None)
    }

    /// A session where this program can reach into the cluster's node and control plane; elsewhere none, after telling
    /// which promise is not put to the test.
    pub async fn with_host(promise: &str) -> Result<Option<Self>> {
        let Some(session) = Self::with_kubelet(promise).await? else { return Ok(None) };
        if !session.cluster().is_existing() {
            return Ok(Some(session));
        }
        tell_not_proven("the node is out of reach", promise);
        Ok(None)
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.installed.cluster
    }

    /// The administrator's client.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The operator.
    pub fn operator(&self) -> Operator {
        Operator::new(self)
    }

    /// Runs the operator as a child of this program instead of in pods, which end with their node's runtime.
    pub async fn operator_on_host(&self) -> Result<HostOperator> {
        let program =
            tokio::task::spawn_blocking(Installed::operator_program).await.context("the build panicked")??;
        let mut host = HostOperator { session: self.clone(), local: None, started: false };
        self.operator().stop().await?;
        host.local = Some(LocalOperator::start(&program, self.installed)?);
        LocalOperator::until_it_watches().await?;
        Ok(host)
    }

    /// A new namespace, removed when the returned value is dropped.
    pub async fn namespace(&self, name: &str) -> Result<Namespace> {
        Namespace::open(self, name).await
    }

    /// Sends the processes in a pod's containers a signal, behind the kubelet's back.
    pub fn signal(&self, pod: &Pod, signal: Signal) -> Result<()> {
        for process in self.processes(pod)? {
            process.signal(signal)?;
        }
        Ok(())
    }

    /// The processes in a pod's containers; there is one at least.
    pub fn processes(&self, pod: &Pod) -> Result<Vec<ContainerProcess>> {
        let uid = pod.metadata.uid.as_deref().context("the pod has no UID")?;
        let processes = self.cluster().container_pids(uid)?;
        ensure!(!processes.is_empty(), "no process of the pod runs");
        Ok(processes)
    }

    /// Runs kubectl as the administrator and returns what it printed.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        let mut command = self.installed.kubectl();
        command.args(args);
        tokio::task::spawn_blocking(move || run(&mut command)).await.context("kubectl could not be awaited")?
    }

    /// [`Session::kubectl`] where nothing can be awaited: to put right, in a drop, what a failed test leaves behind.
    pub fn kubectl_now(&self, args: &[&str]) -> Result<String> {
        run(self.installed.kubectl().args(args))
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.installed.kubeconfig
    }

    /// Where the operator's metrics are, if it is a child of this program.
    pub(crate) fn local_metrics(&self) -> Result<Option<String>> {
        if self.installed.local_program.is_none() {
            return Ok(None);
        }
        let log = std::fs::read_to_string(Self::local_log())?;
        let address = log.split_once("health_address=").and_then(|(_, rest)| rest.split_whitespace().next());
        Ok(Some(address.context("the operator does not say where it listens")?.to_owned()))
    }

    /// Where the operator writes its log, if it is a child of this program.
    pub(crate) fn local_log() -> PathBuf {
        std::env::temp_dir().join(format!("leadergroup-operator-{}.log", std::process::id()))
    }
}

/// Says which promise a test that passes has not put to the test, and why. Straight to the terminal: what a test that
/// passes prints is not shown.
pub fn tell_not_proven(why: &str, promise: &str) {
    let _ = writeln!(std::io::stderr(), "NOT PROVEN here ({why}): {promise}");
}

/// The operator as a child of this program. Dropping this runs it in pods again.
pub struct HostOperator {
    session: Session,
    local: Option<LocalOperator>,
    started: bool,
}

impl HostOperator {
    /// Runs the operator in pods again, and returns when every replica is ready.
    pub async fn end(mut self) -> Result<()> {
        self.local = None;
        self.session.operator().start().await?;
        self.started = true;
        Ok(())
    }
}

impl Drop for HostOperator {
    fn drop(&mut self) {
        self.local = None;
        let replicas = format!("--replicas={OPERATOR_REPLICAS}");
        let start = ["scale", "deployment/leadergroup-operator", &replicas, "--namespace", OPERATOR_NAMESPACE];
        if !self.started
            && let Err(error) = self.session.kubectl_now(&start)
        {
            eprintln!("no operator runs: {error:#}");
        }
    }
}

/// The operator as a child of this program, for as long as a session uses it.
struct LocalOperator {
    child: Mutex<Child>,
}

impl LocalOperator {
    fn shared(program: &Path, installed: &Installed) -> Result<Arc<Self>> {
        static RUNNING: Mutex<Weak<LocalOperator>> = Mutex::new(Weak::new());
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(local) = running.upgrade() {
            return Ok(local);
        }
        let local = Arc::new(Self::start(program, installed)?);
        *running = Arc::downgrade(&local);
        Ok(local)
    }

    fn start(program: &Path, installed: &Installed) -> Result<Self> {
        let log = File::create(Session::local_log())?;
        let child = Command::new(program)
            .env("KUBECONFIG", &installed.kubeconfig)
            .env("HEALTH_ADDRESS", "127.0.0.1:0")
            .env("LEADER_ELECT", "false")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        Ok(Self { child: Mutex::new(child) })
    }

    async fn until_it_watches() -> Result<()> {
        let watches = || std::fs::read_to_string(Session::local_log()).is_ok_and(|log| log.contains(" watching "));
        let waiting = async {
            while !watches() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(Duration::from_secs(30), waiting).await.context("the operator does not come to watch")
    }
}

impl Drop for LocalOperator {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}
