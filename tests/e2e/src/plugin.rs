//! The kubectl plugin, run as its users run it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};
use tokio::process::Command;

use crate::Namespace;
use crate::install::build;

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

/// The plugin's program, built at the first call.
fn program() -> Result<&'static Path> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| build("kubectl-leadergroup", false).map_err(|error| format!("{error:#}")));
    program.as_deref().map_err(|error| anyhow!("there is no plugin: {error}"))
}

impl Namespace {
    /// A command of the plugin in this namespace, as the administrator.
    pub async fn plugin_command(&self, args: &[&str]) -> Result<Command> {
        self.plugin_command_as(self.kubeconfig(), args).await
    }

    /// A command of the plugin in this namespace, as whoever this kubeconfig is of.
    pub async fn plugin_command_as(&self, kubeconfig: &Path, args: &[&str]) -> Result<Command> {
        let program = tokio::task::spawn_blocking(program).await??;
        let mut command = Command::new(program);
        command.arg("--kubeconfig").arg(kubeconfig).args(["--namespace", self.name()]).args(args);
        // What a shell at hand may have set.
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
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

    /// The same, read as JSON.
    pub fn json(self) -> Result<serde_json::Value> {
        let text = self.done()?;
        serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))
    }
}
