//! Long-running processes that outlive the command which started them, told from others that got the same number later.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{io, thread};

use anyhow::{Context, Result};
use procfs::process::{ProcState, Process, StatFlags, all_processes};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// Set in every component's environment to the cluster's folder. It finds the components (and the runtime's shims, which
/// inherit it) that were started but not recorded, because the command was killed in between.
pub(crate) const MARK: &str = "LEADERGROUP_CLUSTER_DIR";

/// The program of util-linux that starts another one in a session of its own.
const SETSID: &str = "setsid";

/// How often a process that should end is looked at.
const POLL: Duration = Duration::from_millis(20);

/// How to start a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    /// The whole environment: nothing is inherited, so no proxy setting of the user's reaches the cluster.
    pub(crate) env: BTreeMap<String, String>,
}

impl Launch {
    pub(crate) fn new(program: PathBuf, args: Vec<String>) -> Self {
        let env = BTreeMap::from([("PATH".to_owned(), search_path())]);
        Self { program, args, env }
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// Has the program see another host name, as pods on the host's network then do.
    pub(crate) fn on_a_host_called(self, name: &str) -> Self {
        let script = "echo \"$0\" > /proc/sys/kernel/hostname && exec \"$@\"";
        let mut args = ["--uts", "sh", "-c", script, name].map(ToOwned::to_owned).to_vec();
        args.push(self.program.to_string_lossy().into_owned());
        args.extend(self.args);
        Self { program: "unshare".into(), args, env: self.env }
    }

    /// Starts the program in its own session, with its output appended to `log`, and does not wait for its end. What runs
    /// when this returns is the program, not what starts it, unless it has ended by then.
    pub(crate) fn spawn(&self, log: &Path) -> Result<ProcessId> {
        let output = open_log(log)?;
        let errors = output.try_clone().with_context(|| format!("cannot share {}", log.display()))?;
        // setsid replaces itself by the program, so the process keeps its number. A new session, not only a new process
        // group: a group that is orphaned while one of its processes is stopped (as fault tests do) gets SIGHUP.
        let mut child = Command::new(SETSID)
            .arg(&self.program)
            .args(&self.args)
            .env_clear()
            .envs(&self.env)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start {} with {SETSID} (package util-linux)", self.program.display()))?;
        let id = i32::try_from(child.id()).context("the process number is out of range")?;
        let id = ProcessId::of(id).with_context(|| format!("{} ended at once", self.program.display()))?;
        id.wait_started()?;
        // A caller that lives on (a test program) must not collect zombies. The thread ends with its caller.
        thread::spawn(move || child.wait());
        Ok(id)
    }
}

/// The programs the components call are in the administrator's folders, which users' search paths often lack.
pub(crate) fn search_path() -> String {
    let own = std::env::var("PATH").unwrap_or_default();
    let mut folders: Vec<&str> = own.split(':').filter(|folder| !folder.is_empty()).collect();
    for folder in ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"] {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders.join(":")
}

fn open_log(log: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(log).with_context(|| format!("cannot write {}", log.display()))
}

/// A process, for all time: the kernel reuses the number but not the number with the start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub(crate) pid: i32,
    /// In clock ticks since the machine's start.
    pub(crate) start_time: u64,
}

impl ProcessId {
    /// The process that has the number now; none when there is none or only its remains.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = Process::new(pid).ok()?.stat().ok()?;
        // A killed program's first thread may end before the others, which keep its files and ports open.
        let ended = matches!(stat.state(), Ok(ProcState::Zombie | ProcState::Dead)) && stat.num_threads <= 1;
        (!ended).then_some(Self { pid, start_time: stat.starttime })
    }

    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal and says whether the process was there to get it.
    pub(crate) fn signal(self, signal: Signal) -> Result<bool> {
        let Some(pid) = rustix::process::Pid::from_raw(self.pid) else {
            return Ok(false);
        };
        // The descriptor pins the process: the check and the signal are about the same one.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
            return Ok(false);
        };
        if !self.is_alive() {
            return Ok(false);
        }
        match pidfd_send_signal(&process, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(io::Error::from(error)).with_context(|| format!("cannot signal process {}", self.pid)),
        }
    }

    /// Waits until setsid has given the process its session and has become the program, or until the process has ended.
    fn wait_started(self) -> Result<()> {
        const LIMIT: Duration = Duration::from_secs(20);
        let start = Instant::now();
        while self.is_alive() && !self.has_started() {
            anyhow::ensure!(start.elapsed() < LIMIT, "process {} does not start: look at it with ps", self.pid);
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether the process has its own session and runs another program than setsid.
    fn has_started(self) -> bool {
        let Ok(process) = Process::new(self.pid) else { return false };
        process.stat().is_ok_and(|stat| stat.session == self.pid)
            && process.cmdline().is_ok_and(|args| args.first().is_some_and(|program| program != SETSID))
    }

    /// Waits until the process has ended and says whether it has.
    pub(crate) fn wait_gone(self, limit: Duration) -> bool {
        let start = Instant::now();
        while self.is_alive() {
            if start.elapsed() > limit {
                return false;
            }
            thread::sleep(POLL);
        }
        true
    }

    /// Asks the process to end, makes it end when it has not after `grace`, and returns when it is gone.
    pub(crate) fn terminate(self, grace: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        // A stopped process cannot follow the request.
        self.signal(Signal::CONT)?;
        if !self.wait_gone(grace) {
            kill_all(&[self])?;
        }
        Ok(())
    }
}

/// Kills the processes and waits until they are gone.
pub(crate) fn kill_all(processes: &[ProcessId]) -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(20);
    for process in processes {
        process.signal(Signal::KILL)?;
    }
    for process in processes {
        anyhow::ensure!(
            process.wait_gone(LIMIT),
            "process {} does not end although it was killed: look at it with ps",
            process.pid
        );
    }
    Ok(())
}

/// All processes that carry the mark of the cluster in `folder`.
pub(crate) fn marked(folder: &Path) -> Result<Vec<ProcessId>> {
    let processes = all_processes().context("cannot list processes")?;
    let own = std::process::id();
    Ok(processes
        .flatten()
        .filter(|process| process.pid.unsigned_abs() != own)
        // Other users' processes cannot be read, and are not ours.
        .filter(|process| {
            environment(process).is_some_and(|env| env.get(OsStr::new(MARK)).is_some_and(|at| at == folder))
        })
        .filter_map(|process| ProcessId::of(process.pid))
        .collect())
}

/// A process's environment. While the kernel puts one program in another's place, neither arguments nor environment can be
/// read; that is waited for.
fn environment(process: &Process) -> Option<HashMap<OsString, OsString>> {
    const LIMIT: Duration = Duration::from_secs(1);
    let began = Instant::now();
    loop {
        let env = process.environ().ok()?;
        if !env.is_empty() {
            return Some(env);
        }
        if !process.cmdline().ok()?.is_empty() {
            // It may have come to be between the two looks.
            return process.environ().ok();
        }
        let stat = process.stat().ok()?;
        let never_has_one = stat.flags & StatFlags::PF_KTHREAD.bits() != 0 || stat.state().ok()? == ProcState::Zombie;
        if never_has_one || began.elapsed() > LIMIT {
            return None;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(folder: &Path) -> ProcessId {
        Launch::new("sleep".into(), vec!["60".into()])
            .env(MARK, folder.to_str().unwrap())
            .spawn(&folder.join("log"))
            .unwrap()
    }

    #[test]
    fn a_reused_number_is_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let process = sleeper(folder.path());
        let earlier = ProcessId { start_time: process.start_time - 1, ..process };
        assert!(!earlier.is_alive());
        assert!(!earlier.signal(Signal::KILL).unwrap());
        assert!(process.is_alive());
        process.terminate(Duration::from_secs(5)).unwrap();
        assert!(!process.is_alive());
        assert!(!process.signal(Signal::KILL).unwrap());
    }

    #[test]
    fn a_process_is_found_by_its_mark_and_has_its_own_session() {
        let folder = tempfile::tempdir().unwrap();
        let process = sleeper(folder.path());
        assert_eq!(marked(folder.path()).unwrap(), [process]);
        assert_eq!(marked(&folder.path().join("other")).unwrap(), []);
        let session = Process::new(process.pid).unwrap().stat().unwrap().session;
        assert_eq!(session, process.pid);
        kill_all(&[process]).unwrap();
        assert_eq!(marked(folder.path()).unwrap(), []);
    }

    #[test]
    fn a_stopped_process_is_terminated() {
        let folder = tempfile::tempdir().unwrap();
        let process = sleeper(folder.path());
        assert!(process.signal(Signal::STOP).unwrap());
        process.terminate(Duration::from_secs(5)).unwrap();
        assert!(!process.is_alive());
    }
}
