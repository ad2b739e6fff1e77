//! The kubectl plugin, run as its users run it.

use std::env;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::Namespace;
use crate::install::Installed;

/// What a command of the plugin printed, and how it ended.
#[derive(Clone, Debug)]
pub struct Printed {
    /// Its exit code.
    pub code: i32,
    /// On standard output.
    pub out: String,
    /// On standard error.
    pub err: String,
}

impl Namespace {
    /// A command of the plugin in this namespace, as the administrator.
    pub async fn plugin_command(&self, args: &[&str]) -> Result<Command> {
        self.plugin_command_as(self.kubeconfig(), args).await
    }

    /// A command of the plugin in this namespace, as whoever this kubeconfig is of.
    pub async fn plugin_command_as(&self, kubeconfig: &Path, args: &[&str]) -> Result<Command> {
        let mut command = self.with_plugin(&self.installed.kubectl).await?;
        command.args(["leadergroup", "--kubeconfig"]).arg(kubeconfig).args(["--namespace", self.name()]).args(args);
        // What a shell at hand may have set.
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        Ok(command)
    }

    /// Runs a line that was printed for a user to run in a shell, as the administrator.
    pub async fn shell(&self, line: &str) -> Result<Printed> {
        let mut command = self.with_plugin(Path::new("sh")).await?;
        command.args(["-e", "-c", line]);
        Printed::of(command).await
    }

    /// A program that finds kubectl, kubectl's plugin and the cluster, with nobody at the terminal.
    async fn with_plugin(&self, program: &Path) -> Result<Command> {
        let installed = self.installed;
        let plugin = tokio::task::spawn_blocking(Installed::plugin).await??;
        let folders = [plugin.parent(), installed.kubectl.parent()].into_iter().flatten().map(Into::into);
        let path = env::var_os("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command.env("PATH", env::join_paths(folders.chain(env::split_paths(&path)))?);
        command.env("KUBECONFIG", &installed.kubeconfig);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Ok(command)
    }

    /// Runs a command of the plugin in this namespace, as the administrator.
    pub async fn plugin(&self, args: &[&str]) -> Result<Printed> {
        Printed::of(self.plugin_command(args).await?).await
    }
}

impl Printed {
    /// Runs the command to its end.
    pub async fn of(mut command: Command) -> Result<Self> {
        let output = command.output().await.context("the plugin cannot be run")?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let code = output.status.code().context("the plugin was killed")?;
        Ok(Self { code, out: text(output.stdout), err: text(output.stderr) })
    }

    /// Standard output of a command that did what was asked.
    pub fn done(self) -> Result<String> {
        anyhow::ensure!(self.code == 0, "exit code {}: {}{}", self.code, self.out, self.err);
        Ok(self.out)
    }

    /// Standard output as JSON, whatever the exit code.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.out).with_context(|| format!("no JSON: {}{}", self.out, self.err))
    }
}
