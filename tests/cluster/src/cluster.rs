//! The handle of a cluster: what tests do with it.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use procfs::process::{Process, all_processes};
use rustix::process::Signal;

use crate::binaries::{self, Binaries};
use crate::layout::Layout;
use crate::orphans::{self, Orphans};
use crate::process::ProcessId;
use crate::state::{Lock, State};
use crate::{CANDIDATE_IMAGE, Component, Options, kwok, progress, teardown, up};

/// How long a component may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(15);

/// A cluster that was started, by this program or an earlier one, or somebody else's.
#[derive(Debug, Clone)]
pub struct Cluster {
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Own { layout: Layout, real_node: bool },
    Existing { kubeconfig: PathBuf },
}

/// A process in a container of a pod, as the machine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerProcess {
    /// The process number on the machine.
    pub pid: i32,
    /// The name of the program, cut by the kernel after 15 bytes.
    pub name: String,
    start_time: u64,
}

impl ContainerProcess {
    /// Sends the process a signal and says whether it was still there to get it.
    pub fn signal(&self, signal: Signal) -> Result<bool> {
        self.id().signal(signal)
    }

    /// Whether the process runs (or is stopped, which is not its end).
    pub fn is_alive(&self) -> bool {
        self.id().is_alive()
    }

    fn id(&self) -> ProcessId {
        ProcessId { pid: self.pid, start_time: self.start_time }
    }
}

/// What a cluster consists of at the moment.
#[derive(Debug, Clone)]
pub struct Status {
    /// Whether the cluster has a real node.
    pub real_node: bool,
    /// The API server's address.
    pub server: String,
    /// The components that were started, with the process number of those that run.
    pub components: Vec<(Component, Option<i32>)>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = if self.real_node { "a real node" } else { "simulated nodes only" };
        writeln!(f, "cluster at {} with {node}", self.server)?;
        for (component, pid) in &self.components {
            match pid {
                Some(pid) => writeln!(f, "{:<24} runs as process {pid}", component.name())?,
                None => writeln!(f, "{:<24} has ended", component.name())?,
            }
        }
        Ok(())
    }
}

impl Cluster {
    /// Starts a cluster, or uses the one that runs in the same folder after starting what has ended of it.
    ///
    /// Takes some 15 s, and minutes when programs have to be built first. Fails, having cleaned up, with a sentence that
    /// says what to do or the end of the log that does.
    pub fn up(options: &Options) -> Result<Self> {
        let layout = options.layout()?;
        let _lock = Lock::wait(&layout)?;
        up::up(&layout, options)?;
        let state = State::load(&layout)?.context("the cluster ended while it was started")?;
        up::announce(&layout, &state);
        Ok(Self::own(layout, &state))
    }

    /// The cluster of this checkout, if it runs.
    pub fn current() -> Result<Option<Self>> {
        Self::at(Layout::of_checkout()?)
    }

    /// The cluster in a folder, if it runs.
    pub fn at(layout: Layout) -> Result<Option<Self>> {
        let state = State::load(&layout)?.filter(|state| state.complete && state.is_alive());
        Ok(state.map(|state| Self::own(layout, &state)))
    }

    /// The cluster the environment asks for: with `CLUSTER=existing` the one `KUBECONFIG` names, this checkout's
    /// otherwise, which is started unless it runs.
    ///
    /// Fails when `CLUSTER` has another value, or `KUBECONFIG` is not set: nobody's current context is a playground.
    pub fn from_env() -> Result<Self> {
        match env::var("CLUSTER").as_deref() {
            Ok("existing") => {
                let kubeconfig = env::var_os("KUBECONFIG").filter(|path| !path.is_empty()).context(
                    "CLUSTER=existing needs KUBECONFIG: set it to the kubeconfig of the cluster the tests may use",
                )?;
                Ok(Self { kind: Kind::Existing { kubeconfig: kubeconfig.into() } })
            }
            Ok("") | Err(env::VarError::NotPresent) => Self::up(&Options::default()),
            _ => bail!("CLUSTER can be `existing`, or unset for this checkout's own cluster"),
        }
    }

    /// The cluster for a test that starts none: the one that [`Cluster::from_env`] is told of, or this checkout's if it runs.
    /// Where there is none, says what is not put to the test.
    pub fn for_test(purpose: &str) -> Result<Option<Self>> {
        let is_given = env::var_os("CLUSTER").is_some_and(|cluster| !cluster.is_empty());
        let cluster = if is_given { Some(Self::from_env()?) } else { Self::current()? };
        if cluster.is_none() {
            eprintln!("NOT PROVEN, for want of a cluster (make cluster): {purpose}");
        }
        Ok(cluster)
    }

    fn own(layout: Layout, state: &State) -> Self {
        let real_node = state.real_node;
        Self { kind: Kind::Own { layout, real_node } }
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        match &self.kind {
            Kind::Own { layout, .. } => layout.kubeconfig(),
            Kind::Existing { kubeconfig } => kubeconfig.clone(),
        }
    }

    /// The kubectl program of the cluster's version; for somebody else's cluster, the one on the search path.
    pub fn kubectl(&self) -> Result<PathBuf> {
        match &self.kind {
            Kind::Own { real_node, .. } => Ok(Binaries::obtain(*real_node)?.path("kubectl")),
            Kind::Existing { .. } => Ok("kubectl".into()),
        }
    }

    /// The program that a component is.
    pub fn program(&self, component: Component) -> Result<PathBuf> {
        Ok(Binaries::obtain(self.state()?.real_node)?.path(component.name()))
    }

    /// Whether pods are processes. Assumed of a cluster that is not ours.
    pub fn has_real_node(&self) -> bool {
        match &self.kind {
            Kind::Own { real_node, .. } => *real_node,
            Kind::Existing { .. } => true,
        }
    }

    /// Whether this is somebody else's cluster, whose components and images cannot be touched from here.
    pub fn is_existing(&self) -> bool {
        matches!(self.kind, Kind::Existing { .. })
    }

    /// The files of the cluster: logs, and the audit log in which requests are counted.
    ///
    /// Fails for a cluster that is not ours.
    pub fn layout(&self) -> Result<&Layout> {
        match &self.kind {
            Kind::Own { layout, .. } => Ok(layout),
            Kind::Existing { .. } => {
                bail!("the components of an existing cluster cannot be controlled from here")
            }
        }
    }

    /// What runs.
    pub fn status(&self) -> Result<Status> {
        let state = self.state()?;
        let started = state.components.iter().filter_map(|(component, running)| {
            let process = running.process?;
            Some((*component, process.is_alive().then_some(process.pid)))
        });
        Ok(Status { real_node: state.real_node, server: state.server.clone(), components: started.collect() })
    }

    /// Ends one component, after 15 s by force. A stopped kubelet is a lost node: its pods live on.
    pub fn stop(&self, component: Component) -> Result<()> {
        let _lock = Lock::wait(self.layout()?)?;
        match self.process(component)? {
            Some(process) => process.terminate(GRACE),
            None => Ok(()),
        }
    }

    /// Starts a component that ended, with the same configuration. Waits for the API server if it is that.
    pub fn start(&self, component: Component) -> Result<()> {
        let layout = self.layout()?;
        let _lock = Lock::wait(layout)?;
        let mut state = self.state()?;
        state.start(layout, component)?;
        if component == Component::KubeApiserver {
            up::wait_for_api(layout, &state, &up::kubectl(layout, &state)?)?;
        }
        Ok(())
    }

    /// Sends a component a signal; fails when it does not run.
    pub fn signal(&self, component: Component, signal: Signal) -> Result<()> {
        let sent = match self.process(component)? {
            Some(process) => process.signal(signal)?,
            None => false,
        };
        ensure!(sent, "{component} does not run: start it with `cluster start {component}`");
        Ok(())
    }

    /// Restarts the container runtime with an empty state folder, as after a cleanup of `/run`. The runtime then makes up
    /// an end for each container, and the processes live on until the returned value is dropped.
    pub fn lose_runtime_state(&self) -> Result<Orphans> {
        let layout = self.layout()?;
        let _lock = Lock::wait(layout)?;
        orphans::make(layout, &mut self.state()?)
    }

    /// Makes sure that there are this many simulated nodes, named `kwok-0` and so on.
    pub fn add_kwok_nodes(&self, count: u32) -> Result<()> {
        let layout = self.layout()?;
        let _lock = Lock::wait(layout)?;
        let mut state = self.state()?;
        let kubectl = up::kubectl(layout, &state)?;
        kwok::add_nodes(layout, &mut state, &kubectl, count)
    }

    /// Makes an image of one static program, which runs as user 65532 and is its entrypoint, and puts it on the real node.
    /// Pods use it with `imagePullPolicy: Never`.
    ///
    /// Does nothing, and says so, without a real node: simulated pods do not look at images.
    pub fn load_image(&self, name: &str, program: &Path) -> Result<()> {
        self.load_image_with(name, program, &[])
    }

    /// [`Cluster::load_image`] with an entrypoint other than the program alone.
    pub fn load_image_with(&self, name: &str, program: &Path, entrypoint: &[String]) -> Result<()> {
        self.import_image(name, &[program], entrypoint)
    }

    /// [`Cluster::load_image`] with several programs, each at `/NAME`; the first is the entrypoint.
    pub fn load_image_of(&self, name: &str, programs: &[&Path]) -> Result<()> {
        self.import_image(name, programs, &[])
    }

    fn import_image(&self, name: &str, programs: &[&Path], entrypoint: &[String]) -> Result<()> {
        match &self.kind {
            Kind::Existing { .. } => bail!(
                "images cannot be loaded into an existing cluster: push them yourself, \
                 and set LEADERGROUP_IMAGE and CANDIDATE_IMAGE to their names"
            ),
            Kind::Own { real_node: false, .. } => {
                progress(&format!("{name} is not loaded: simulated nodes run no images"));
                Ok(())
            }
            Kind::Own { .. } => up::import_image(&Binaries::obtain(true)?, name, programs, entrypoint),
        }
    }

    /// Builds the candidate written with client-go, loads it as [`CANDIDATE_IMAGE`], and returns that name.
    pub fn load_candidate(&self) -> Result<&'static str> {
        self.layout()?;
        self.load_image(CANDIDATE_IMAGE, &binaries::program("candidate-client-go")?)?;
        Ok(CANDIDATE_IMAGE)
    }

    /// The processes in the containers of a pod on the real node, without the one that holds its namespaces.
    pub fn container_pids(&self, pod_uid: &str) -> Result<Vec<ContainerProcess>> {
        self.layout()?;
        let folder = format!("pod{pod_uid}");
        let processes = all_processes().context("cannot list processes")?;
        Ok(processes
            .flatten()
            .filter(|process| is_in(process, &folder))
            .filter_map(|process| {
                let stat = process.stat().ok()?;
                let id = ProcessId::of(process.pid)?;
                Some(ContainerProcess { pid: id.pid, name: stat.comm, start_time: id.start_time })
            })
            .filter(|process| process.name != "pause")
            .collect())
    }

    /// The runtime's shims that look after the containers of a pod. A stopped shim ends no container.
    pub fn shims(&self, pod_uid: &str) -> Result<Vec<ContainerProcess>> {
        let parent = |process: ContainerProcess| Process::new(process.pid).ok()?.stat().ok().map(|stat| stat.ppid);
        let mut parents: Vec<_> = self.container_pids(pod_uid)?.into_iter().filter_map(parent).collect();
        parents.sort_unstable();
        parents.dedup();
        parents.retain(|pid| orphans::is_shim(*pid));
        let shim =
            |id: ProcessId| ContainerProcess { pid: id.pid, name: orphans::SHIM.to_owned(), start_time: id.start_time };
        Ok(parents.into_iter().filter_map(ProcessId::of).map(shim).collect())
    }

    /// Ends the cluster and removes all it left on the machine except its logs.
    ///
    /// Fails for a cluster that is not ours.
    pub fn down(self) -> Result<()> {
        Self::down_at(self.layout()?)
    }

    /// Ends the cluster in a folder, in whatever state it is; nothing to do is no error.
    pub fn down_at(layout: &Layout) -> Result<()> {
        if !layout.root().exists() {
            return Ok(());
        }
        let _lock = Lock::wait(layout)?;
        teardown::run(layout)
    }

    fn state(&self) -> Result<State> {
        State::load(self.layout()?)?.context("the cluster has ended: start it with `cluster up`")
    }

    fn process(&self, component: Component) -> Result<Option<ProcessId>> {
        let state = self.state()?;
        let running = state.components.get(&component);
        Ok(running.with_context(|| format!("this cluster has no {component}"))?.process)
    }
}

/// Whether one of the process's cgroups is that of a pod, or below it.
fn is_in(process: &Process, pod: &str) -> bool {
    process
        .cgroups()
        .is_ok_and(|cgroups| cgroups.into_iter().any(|cgroup| cgroup.pathname.split('/').any(|folder| folder == pod)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_cluster_is_used_but_not_touched() {
        let cluster = Cluster { kind: Kind::Existing { kubeconfig: "/somewhere/kubeconfig".into() } };
        assert!(cluster.has_real_node() && cluster.is_existing());
        assert_eq!(cluster.kubeconfig(), Path::new("/somewhere/kubeconfig"));
        let error = cluster.load_image("a.test/b:c", Path::new("/bin/true")).unwrap_err();
        assert!(error.to_string().contains("LEADERGROUP_IMAGE"), "{error}");
        assert!(cluster.stop(Component::Kubelet).is_err());
        assert!(cluster.container_pids("uid").is_err());
        assert!(cluster.down().is_err());
    }

    #[test]
    fn an_empty_folder_has_no_cluster() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Cluster::at(Layout::new(folder.path()).unwrap()).unwrap().is_none());
        Cluster::down_at(&Layout::new(folder.path().join("none")).unwrap()).unwrap();
    }
}
