//! Candidates as processes of this machine.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

const LOOK: Duration = Duration::from_millis(5);

/// How to run a candidate. All programs take the same environment.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// How to reach the API server, and as whom.
    pub kubeconfig: PathBuf,
    /// Where the Lease is.
    pub namespace: String,
    /// The Lease.
    pub lease: String,
    /// As whom to campaign.
    pub identity: String,
    /// More of the environment.
    pub env: Vec<(&'static str, OsString)>,
    /// Where what it prints goes; nowhere by default.
    pub log: Option<PathBuf>,
}

impl Launch {
    /// The command, whose output goes to the log.
    pub fn command(&self) -> Result<Command> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.env("KUBECONFIG", &self.kubeconfig);
        command.env("NAMESPACE", &self.namespace).env("LEASE_NAME", &self.lease).env("IDENTITY", &self.identity);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(path) = &self.log {
            let log = OpenOptions::new().create(true).append(true).open(path);
            let log = log.with_context(|| format!("cannot write {}", path.display()))?;
            command.stdout(log.try_clone()?).stderr(log);
        }
        Ok(command)
    }

    /// Runs it.
    pub fn start(&self) -> Result<Running> {
        self.command()?.try_into()
    }
}

/// A candidate that runs; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
}

impl TryFrom<Command> for Running {
    type Error = anyhow::Error;

    fn try_from(mut command: Command) -> Result<Self> {
        Ok(Self { child: command.spawn().with_context(|| format!("cannot run {command:?}"))? })
    }
}

impl Running {
    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends it a signal, if it runs. The number is its own as long as nobody has waited for it.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.ended()?.is_none()
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            kill_process(pid, signal)?;
        }
        Ok(())
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Kills it, and returns when it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Tells it to end, and kills it after a while; whether it did what it was told.
    pub fn end(&mut self, grace: Duration) -> Result<bool> {
        self.signal(Signal::TERM)?;
        let start = Instant::now();
        while self.ended()?.is_none() {
            if start.elapsed() > grace {
                self.kill()?;
                return Ok(false);
            }
            thread::sleep(LOOK);
        }
        Ok(true)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
