//! A namespace of a test's own, and candidates in it: processes of `elector serve`.

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use leadergroup_cluster::{Cluster, Signal};
use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::client::{Answer, get, post};

/// How long a condition may take.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at something that does not tell of its changes.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The name of each test's Lease.
const LEASE: &str = "billing";

/// A namespace, deleted when this is dropped.
pub struct Place {
    pub namespace: String,
    pub folder: TempDir,
    pub kubeconfig: Kubeconfig,
    client: Client,
}

impl Place {
    /// None where there is no cluster; then it is said that the test proved nothing.
    pub async fn open(purpose: &str) -> Result<Option<Self>> {
        let Some(cluster) = Cluster::for_test(purpose)? else { return Ok(None) };
        let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig())?;
        let config = Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let namespace = format!("serve-{purpose}-{:x}", nanos % (1 << 44));
        let metadata = ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() };
        let object = Namespace { metadata, ..Namespace::default() };
        Api::all(client.clone()).create(&PostParams::default(), &object).await?;
        Ok(Some(Self { namespace, folder: TempDir::new()?, kubeconfig, client }))
    }

    /// A candidate to be started, with a short Lease.
    pub fn candidate(&self, name: &str) -> Build<'_> {
        Build {
            place: self,
            name: name.to_owned(),
            timing: (5, 3, 1),
            args: Vec::new(),
            kubeconfig: self.kubeconfig.clone(),
            ip: "127.0.0.1",
        }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a file says, a line each; nothing if there is none.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.file(name)).unwrap_or_default();
        text.lines().map(ToOwned::to_owned).collect()
    }

    /// A program for a hook.
    pub fn script(&self, name: &str, body: &str) -> Result<String> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.file(name);
        // The folder's name has no blanks, so it needs no quotes.
        let body = body.replace("$HERE", &self.folder.path().to_string_lossy());
        let mut file = File::options().write(true).create_new(true).mode(0o755).open(&path)?;
        write!(file, "#!/bin/sh\n{body}\n")?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// Creates the Lease as another writes it.
    pub async fn create_lease(&self, spec: Value) -> Result<()> {
        let kind = ApiResource::erase::<Lease>(&());
        let leases: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &kind);
        let lease = DynamicObject::new(LEASE, &kind).data(json!({"spec": spec}));
        leases.create(&PostParams::default(), &lease).await?;
        Ok(())
    }

    /// Who holds the Lease by the API server's word.
    pub async fn holder(&self) -> Result<Option<String>> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), &self.namespace);
        let holder = leases.get(LEASE).await?.spec.and_then(|spec| spec.holder_identity);
        Ok(holder.filter(|holder| !holder.is_empty()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (client, name) = (self.client.clone(), self.namespace.clone());
        let deletion = async move {
            let namespaces: Api<Namespace> = Api::all(client);
            // What is left in there hurts nobody.
            let _ = timeout(Duration::from_secs(5), namespaces.delete(&name, &DeleteParams::default())).await;
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(deletion));
    }
}

/// How to start a candidate.
pub struct Build<'a> {
    place: &'a Place,
    name: String,
    timing: (u32, u32, u32),
    args: Vec<String>,
    kubeconfig: Kubeconfig,
    ip: &'static str,
}

impl Build<'_> {
    /// A Lease that does not run out within a test's patience.
    pub fn long_lease(mut self) -> Self {
        self.timing = (300, 200, 2);
        self
    }

    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub fn kubeconfig(mut self, kubeconfig: Kubeconfig) -> Self {
        self.kubeconfig = kubeconfig;
        self
    }

    /// Serves on every address.
    pub fn everywhere(mut self) -> Self {
        self.ip = "0.0.0.0";
        self
    }

    /// Starts it, and waits until it answers.
    pub async fn start(self) -> Result<Candidate> {
        let (free, also_free) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let (port, orders) = (free.local_addr()?.port(), also_free.local_addr()?);
        drop((free, also_free));
        let config = self.place.file(&format!("{}-{port}.kubeconfig", self.name));
        std::fs::write(&config, serde_json::to_string(&self.kubeconfig)?)?;
        let log = self.place.file(&format!("{}-{port}.log", self.name));
        let file = File::create(&log)?;
        let (duration, deadline, retry) = self.timing;
        let child = Command::new(env!("CARGO_BIN_EXE_elector"))
            .args(["serve", "--lease", LEASE, "--namespace", &self.place.namespace])
            .arg(format!("--address={}:{port}", self.ip))
            .arg(format!("--orders-address={orders}"))
            .arg(format!("--lease-duration={duration}s"))
            .arg(format!("--renew-deadline={deadline}s"))
            .arg(format!("--retry-period={retry}s"))
            .args(self.args)
            .env("KUBECONFIG", config)
            .env("POD_NAME", &self.name)
            .env("POD_UID", "5f2c")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let candidate = Candidate { identity: format!("{}_5f2c", self.name), address, orders, log, child };
        candidate.until("it answers", async || get(address, "/healthz").await.is_ok()).await?;
        Ok(candidate)
    }
}

/// A process of `elector serve`, ended when this is dropped.
pub struct Candidate {
    pub identity: String,
    pub address: SocketAddr,
    /// Where it takes orders.
    pub orders: SocketAddr,
    log: PathBuf,
    child: Child,
}

impl Candidate {
    pub async fn get(&self, path: &str) -> Result<Answer> {
        get(self.address, path).await
    }

    /// Asks it to step down or to resign, and waits until that is done.
    pub async fn post(&self, path: &str) -> Result<Answer> {
        post(self.orders, path).await
    }

    /// The answer of `/v1/leadership`.
    pub async fn view(&self) -> Result<Value> {
        let answer = self.get("/v1/leadership").await?;
        ensure!(answer.code == 200, "{answer:?}");
        Ok(serde_json::from_str(&answer.body)?)
    }

    pub async fn leads(&self) -> bool {
        self.get("/leader").await.is_ok_and(|answer| answer.code == 200)
    }

    pub async fn until_it_leads(&self) -> Result<()> {
        self.until("it leads", async || self.leads().await).await
    }

    /// Waits until it knows that this one leads.
    pub async fn until_it_follows(&self, other: &Candidate) -> Result<()> {
        let wanted = format!("{} holds the Lease", other.identity);
        self.until(&wanted, async || self.view().await.is_ok_and(|view| view["holder"] == other.identity)).await
    }

    pub async fn until(&self, wanted: &str, is_so: impl AsyncFn() -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_so().await {
            if Instant::now() > deadline {
                bail!("not within {} s: {wanted}\n{}", PATIENCE.as_secs(), self.log());
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid()?, signal).context("it has ended already")
    }

    /// Waits until it has ended, and returns its exit code; none if a signal ended it.
    pub async fn ended(&mut self) -> Result<Option<i32>> {
        let waited = timeout(PATIENCE, self.child.wait()).await;
        Ok(waited.with_context(|| format!("it does not end\n{}", self.log()))??.code())
    }

    /// Its resident memory in bytes.
    pub fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?.as_raw_nonzero()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("it has no memory")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    fn pid(&self) -> Result<Pid> {
        let id = self.child.id().context("it has ended")?;
        Pid::from_raw(i32::try_from(id)?).context("it has no number")
    }
}
