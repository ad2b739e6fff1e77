//! The kubectl plugin, run as a user runs it.

use std::env;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::Namespace;
use crate::install::Installed;

/// What became of a command.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Ran {
    /// What it printed; an error that tells the rest unless it succeeded.
    pub fn printed(self) -> Result<String> {
        ensure!(self.code == Some(0), "it ended with {:?}:\n{}{}", self.code, self.stdout, self.stderr);
        Ok(self.stdout)
    }

    /// What it printed as JSON, whatever its exit code.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("no JSON:\n{}{}", self.stdout, self.stderr))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Namespace {
    /// `kubectl leadergroup` in this namespace, with nobody at the terminal.
    pub async fn plugin(&self, args: &[&str]) -> Result<Ran> {
        let mut command = Command::new(&self.installed.kubectl);
        command.args(["leadergroup", "--namespace", self.name()]).args(args);
        self.run_with_plugin(command).await
    }

    /// The plugin's own program in this namespace, as the user of this kubeconfig: to be watched while it runs, or refused.
    pub async fn plugin_as(&self, kubeconfig: &Path, args: &[&str]) -> Result<tokio::process::Command> {
        let mut command = tokio::process::Command::new(tokio::task::spawn_blocking(Installed::plugin).await??);
        command.arg("--kubeconfig").arg(kubeconfig).args(["--namespace", self.name()]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Ok(command)
    }

    /// A line that was printed for a user to run in a shell.
    pub async fn shell(&self, line: &str) -> Result<Ran> {
        let mut command = Command::new("sh");
        command.args(["-e", "-c", line]);
        self.run_with_plugin(command).await
    }

    async fn run_with_plugin(&self, mut command: Command) -> Result<Ran> {
        let installed = self.installed;
        let plugin = tokio::task::spawn_blocking(Installed::plugin).await??;
        let folders = [plugin.parent(), installed.kubectl.parent()].into_iter().flatten().map(Into::into);
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(folders.chain(env::split_paths(&path)))?;
        command.env("PATH", path).env("KUBECONFIG", &installed.kubeconfig).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await?;
        Ok(output.context("the plugin cannot be run")?.into())
    }
}
