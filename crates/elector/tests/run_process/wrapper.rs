//! A wrapper with a shell script as its program.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::api::Api;
use crate::processes::{self, Process};

/// What the wrapper is started with.
pub const LEASE_DURATION: Duration = Duration::from_secs(8);
const TIMING: [&str; 3] = ["--lease-duration=8s", "--renew-deadline=4s", "--retry-period=1s"];

pub struct Wrapper {
    pub api: Api,
    child: Child,
    folder: TempDir,
    word: String,
}

const ELECTOR: &str = env!("CARGO_BIN_EXE_elector");

/// Runs what follows as a root that may not signal the processes of other users.
const WITHOUT_CAP_KILL: &[&str] = &["setpriv", "--bounding-set=-kill"];
/// Runs what follows as such a root, to which `/proc` does not even show them.
const WITHOUT_SEEING_OTHERS: &[&str] = &["unshare", "--mount", "sh", "-c", HIDE, "sh"];
const HIDE: &str = "mount -t proc -o hidepid=2,gid=65534 proc /proc
    exec setpriv --bounding-set=-kill,-sys_ptrace -- \"$@\"";

fn elector() -> Command {
    command(ELECTOR)
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).env_remove("RUST_LOG").env_remove("ELECTOR_ALLOW_NEW_PRIVILEGES");
    command
}

/// Runs something that can't be run, and returns its exit code and what it said.
pub fn try_to_run(program: &[&str]) -> (Option<i32>, String) {
    try_to_run_with(&[], program)
}

pub fn try_to_run_with(flags: &[&str], program: &[&str]) -> (Option<i32>, String) {
    // Nobody answers there, so it could not lead.
    let mut command = elector();
    command.args(["run", "--lease=billing", "--namespace=shop"]).args(flags).arg("--").args(program);
    let output = command.env("KUBECONFIG", "/no/such/file").output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

impl Wrapper {
    pub fn start(script: &str) -> Self {
        Self::start_with(&[], script)
    }

    /// Starts a wrapper with more options of its own.
    pub fn start_with(options: &[&str], script: &str) -> Self {
        Self::with(Api::start(), elector(), options, script)
    }

    /// Starts a wrapper that may not signal processes of other users. Returns none where a test can't arrange that.
    pub fn start_without_cap_kill(options: &[&str], script: &str) -> Option<Self> {
        Self::start_below(WITHOUT_CAP_KILL, options, script)
    }

    /// Starts a wrapper that may neither signal nor see processes of other users.
    pub fn start_without_seeing_others(options: &[&str], script: &str) -> Option<Self> {
        Self::start_below(WITHOUT_SEEING_OTHERS, options, script)
    }

    fn start_below(prefix: &[&str], options: &[&str], script: &str) -> Option<Self> {
        let below = |program: &str| {
            let mut below = command(prefix[0]);
            below.args(&prefix[1..]).arg(program);
            below
        };
        if !below("true").output().is_ok_and(|output| output.status.success()) {
            eprintln!("NOT PROVEN, for want of root: a process that can't be killed ends the wrapper");
            return None;
        }
        Some(Self::with(Api::start(), below(ELECTOR), options, script))
    }

    /// The Lease is somebody else's for now.
    pub fn start_beside_a_leader(script: &str) -> Self {
        let api = Api::start();
        api.hold_by_another();
        Self::with(api, elector(), &[], script)
    }

    fn with(api: Api, mut elector: Command, options: &[&str], script: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let word = format!("word-{}-{}-end", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let config = format!(
            "{{apiVersion: v1, kind: Config, clusters: [{{name: c, cluster: {{server: \"http://{}\"}}}}], \
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}], users: [{{name: u, user: {{}}}}], \
             current-context: c}}",
            api.address
        );
        fs::write(&kubeconfig, config).unwrap();
        let noted = word.clone();
        api.note(move || processes::wrapped(&noted).len());
        let out = folder.path().join("out");
        let child = elector
            .args(["run", "--lease=billing", "--namespace=shop", "--identity"])
            .arg(format!("candidate-{word}"))
            .args(TIMING)
            .args(options)
            .args(["--", "sh", "-c", script, &word])
            .env("KUBECONFIG", kubeconfig)
            .env("WORD", &word)
            .env("OUT", &out)
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { api, child, folder, word }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the wrapper and its watchdog logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap()
    }

    /// What the program wrote.
    pub fn said(&self) -> String {
        fs::read_to_string(self.file("out")).unwrap()
    }

    fn tell(&self) -> String {
        let processes = processes::with_word(&self.word);
        format!("the program:\n{}\nthe elector:\n{}\nprocesses: {processes:?}", self.said(), self.log())
    }

    pub fn until<T>(&self, wanted: &str, find: impl FnMut() -> Option<T>) -> T {
        processes::until(wanted, || self.tell(), find)
    }

    /// Waits until the program has said something so many times.
    pub fn until_said(&self, what: &str, times: usize) {
        self.until(&format!("it says {what:?}"), || (self.said().matches(what).count() >= times).then_some(()));
    }

    pub fn until_logged(&self, what: &str) {
        let logged = || self.log().contains(what).then_some(());
        self.until(&format!("the log has {what:?}"), logged);
    }

    pub fn until_nothing_is_wrapped(&self) {
        self.until("the program and its descendants are gone", || self.wrapped().is_empty().then_some(()));
    }

    pub fn until_gone(&self, which: &[Process]) {
        let gone = || self.wrapped().iter().all(|now| which.iter().all(|before| before.id != now.id)).then_some(());
        self.until("the processes are gone", gone);
    }

    /// The program and its descendants.
    pub fn wrapped(&self) -> Vec<Process> {
        processes::wrapped(&self.word)
    }

    pub fn wrapper(&self) -> Process {
        Process { id: i32::try_from(self.child.id()).unwrap(), line: String::new() }
    }

    pub fn watchdog(&self) -> Option<Process> {
        processes::with_word(&self.word).into_iter().find(|process| process.line.starts_with("elector watchdog"))
    }

    /// Waits for the wrapper's end; its exit code, if it has one.
    pub fn wait(&mut self) -> Option<i32> {
        let Self { child, folder, .. } = self;
        let told = || fs::read_to_string(folder.path().join("log")).unwrap();
        let status = processes::until("the wrapper ends", told, || child.try_wait().unwrap());
        status.code()
    }
}

impl Drop for Wrapper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for process in processes::with_word(&self.word) {
            process.signal(Signal::KILL);
        }
    }
}
