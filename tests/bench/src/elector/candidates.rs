//! The programs, built when they are needed, and their processes.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use leadergroup_e2e::cluster::{Cluster, program, workspace_root};
use leadergroup_faults::place::Place;
use leadergroup_faults::process::{Launch, Running};
use serde_json::json;
use tempfile::TempDir;

/// Who elects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// Ours.
    Ours,
    /// client-go's.
    ClientGo,
    /// A crate that is polled by its user.
    KubeLeaderElection,
    /// A crate with a task of its own.
    KubeLeaseManager,
}

impl Library {
    /// All.
    pub const ALL: [Self; 4] = [Self::Ours, Self::ClientGo, Self::KubeLeaderElection, Self::KubeLeaseManager];

    /// What to call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::ClientGo => "client-go",
            Self::KubeLeaderElection => "kube-leader-election",
            Self::KubeLeaseManager => "kube-lease-manager",
        }
    }

    fn build(self) -> Result<PathBuf> {
        let root = workspace_root()?;
        match self {
            Self::Ours => build(&root, &["--package", "leadergroup-faults", "--bin", "candidate"], None),
            Self::ClientGo => program("candidate-client-go"),
            Self::KubeLeaderElection | Self::KubeLeaseManager => {
                let target = root.join("target/candidates");
                build(&root.join("tests/candidates").join(self.name()), &["--locked"], Some(&target))
            }
        }
    }
}

/// Builds a program as its users would, and returns its path.
pub fn build(folder: &Path, args: &[&str], target: Option<&Path>) -> Result<PathBuf> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(folder).args(["build", "--quiet", "--release", "--message-format=json-render-diagnostics"]);
    cargo.args(args).stderr(Stdio::inherit());
    if let Some(target) = target {
        cargo.env("CARGO_TARGET_DIR", target);
    }
    let output = cargo.output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the program in {} cannot be built", folder.display());
    let messages = String::from_utf8_lossy(&output.stdout);
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let made = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back();
    made.context("cargo does not say where it put the program")
}

/// A namespace in which all may campaign, and their programs.
pub struct Field {
    /// The cluster.
    pub cluster: Cluster,
    /// The namespace.
    pub place: Place,
    programs: Vec<(Library, PathBuf)>,
    folder: TempDir,
}

impl Field {
    /// Builds what is missing.
    pub fn open(cluster: Cluster) -> Result<Self> {
        eprintln!("building the candidates");
        let programs = Library::ALL.into_iter().map(|library| Ok((library, library.build()?)));
        let programs = programs.collect::<Result<Vec<_>>>()?;
        let place = Place::open(&cluster.kubeconfig(), "elector")?;
        let field = Self { cluster, place, programs, folder: tempfile::tempdir()? };
        field.place.runtime().block_on(field.allow())?;
        Ok(field)
    }

    /// Whatever any of the libraries does to a Lease, all accounts of the namespace may do.
    async fn allow(&self) -> Result<()> {
        let metadata = ObjectMeta { name: Some("candidates".to_owned()), ..ObjectMeta::default() };
        let (client, namespace) = (self.place.client(), self.place.name());
        let role: Role = serde_json::from_value(json!({
            "metadata": metadata,
            "rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]}],
        }))?;
        let group = format!("system:serviceaccounts:{namespace}");
        let binding: RoleBinding = serde_json::from_value(json!({
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "candidates"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
        }))?;
        Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &role).await?;
        Api::namespaced(client, namespace).create(&PostParams::default(), &binding).await?;
        Ok(())
    }

    /// A folder for whatever has to be a file.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A candidate of a library, with an account and a name of its own, that reaches the API server at an address, or
    /// directly.
    pub fn launch(&self, library: Library, lease: &str, address: Option<&str>) -> Result<Launch> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let identity = format!("{lease}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let token = self.place.runtime().block_on(self.account(&identity))?;
        let kubeconfig = self.folder().join(format!("{identity}.kubeconfig"));
        self.place.write_kubeconfig(&kubeconfig, address, Some(&token))?;
        let program = self.programs.iter().find(|(of, _)| *of == library).map(|(_, program)| program.clone());
        Ok(Launch {
            program: program.context("not built")?,
            args: if library == Library::ClientGo { vec!["-release".into()] } else { Vec::new() },
            kubeconfig,
            namespace: self.place.name().to_owned(),
            lease: lease.to_owned(),
            identity,
            env: Vec::new(),
            log: None,
        })
    }

    async fn account(&self, name: &str) -> Result<String> {
        let accounts = Api::<ServiceAccount>::namespaced(self.place.client(), self.place.name());
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let account = ServiceAccount { metadata, ..ServiceAccount::default() };
        accounts.create(&PostParams::default(), &account).await?;
        let spec = TokenRequestSpec { expiration_seconds: Some(7200), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let token = accounts.create_token_request(name, &PostParams::default(), &request).await?;
        Ok(token.status.context("there is no token")?.token)
    }

    /// The user that the API server knows a candidate as.
    pub fn user(&self, launch: &Launch) -> String {
        format!("system:serviceaccount:{}:{}", self.place.name(), launch.identity)
    }
}

/// What a candidate said.
#[derive(Clone, Debug)]
pub struct Said {
    /// When this program heard of it.
    pub at: Instant,
    /// The candidate.
    pub identity: String,
    /// It leads, or leads no more.
    pub leads: bool,
}

/// A candidate that runs, and what tells it from the others.
pub struct Candidate {
    /// How it was started.
    pub launch: Launch,
    /// Its process.
    pub running: Running,
}

/// The candidates of one Lease.
pub struct Rivals {
    said: Receiver<Said>,
    sender: Sender<Said>,
}

/// For how long a takeover is waited for.
const LONG: Duration = Duration::from_mins(1);

impl Rivals {
    /// None yet.
    pub fn new() -> Self {
        let (sender, said) = channel();
        Self { said, sender }
    }

    /// Starts one more.
    pub fn start(&self, launch: Launch) -> Result<Candidate> {
        let mut command = launch.command()?;
        command.stdout(Stdio::piped());
        let mut running = Running::try_from(command)?;
        let output = running.child().stdout.take().context("the candidate's output is not piped")?;
        let (sender, identity) = (self.sender.clone(), launch.identity.clone());
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let at = Instant::now();
                let leads = line.ends_with("started leading");
                if leads || line.ends_with("stopped leading") {
                    // Nobody may listen any more.
                    let _ = sender.send(Said { at, identity: identity.clone(), leads });
                }
            }
        });
        Ok(Candidate { launch, running })
    }

    /// Waits until a candidate, or any, says that it leads.
    pub fn led_by(&self, identity: Option<&str>) -> Result<Said> {
        let deadline = Instant::now() + LONG;
        loop {
            let said = match self.said.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(said) => said,
                Err(RecvTimeoutError::Timeout) => bail!("{} does not come to lead", identity.unwrap_or("nobody")),
                Err(RecvTimeoutError::Disconnected) => bail!("there is no candidate"),
            };
            if said.leads && identity.is_none_or(|wanted| wanted == said.identity) {
                return Ok(said);
            }
        }
    }
}
