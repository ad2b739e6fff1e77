//! A release of the chart in the cluster.

use std::process::Command;

use anyhow::{Context, Result};
use leadergroup_e2e::packages::{chart, helm};
use leadergroup_e2e::{OPERATOR_IMAGE, Session, run};
use tokio::task::spawn_blocking;

/// The name of every release here.
const NAME: &str = "leadergroup";
/// The Deployment that it makes.
pub const DEPLOYMENT: &str = "deployment/leadergroup-operator";

/// A release in a namespace of its own, in which only restricted pods may run; uninstalled when dropped.
pub struct Release {
    session: Session,
    namespace: &'static str,
}

impl Release {
    /// Installs it with these choices, and waits until the operator is available.
    pub async fn install(session: &Session, namespace: &'static str, choices: &[&str]) -> Result<Self> {
        let restricted = "pod-security.kubernetes.io/enforce=restricted";
        session.kubectl(&["create", "namespace", namespace]).await?;
        let release = Self { session: session.clone(), namespace };
        session.kubectl(&["label", "namespace", namespace, restricted]).await?;
        release.apply("install", choices).await?;
        Ok(release)
    }

    /// Upgrades it to these choices, and waits until the operator is available.
    pub async fn upgrade(&self, choices: &[&str]) -> Result<()> {
        self.apply("upgrade", choices).await
    }

    async fn apply(&self, verb: &str, choices: &[&str]) -> Result<()> {
        let (repository, tag) = OPERATOR_IMAGE.rsplit_once(':').context("an image with a tag")?;
        let image = format!("image.repository={repository},image.tag={tag},image.pullPolicy=Never");
        let mut command = self.helm(&[verb, NAME])?;
        command.arg(chart()?).args(["--wait", "--timeout=90s", "--set", &image]);
        command.args(choices.iter().flat_map(|choice| ["--set", choice]));
        let said = spawn_blocking(move || run(&mut command)).await??;
        assert!(said.contains("rollout status"), "the notes say what comes next: {said}");
        // Both replicas, not only as many as the strategy asks for.
        let wait = ["rollout", "status", DEPLOYMENT, "--timeout=60s", "--namespace", self.namespace];
        self.session.kubectl(&wait).await.map(drop)
    }

    /// Uninstalls it.
    pub async fn uninstall(&self) -> Result<()> {
        let mut command = self.helm(&["uninstall", NAME, "--wait", "--timeout=60s"])?;
        spawn_blocking(move || run(&mut command)).await?.map(drop)
    }

    /// Installs it again.
    pub async fn reinstall(&self, choices: &[&str]) -> Result<()> {
        self.apply("install", choices).await
    }

    /// What its operators have logged, one line after the other.
    pub async fn logs(&self) -> Result<Vec<String>> {
        let selector = "--selector=app.kubernetes.io/name=leadergroup-operator";
        let args = ["logs", selector, "--prefix", "--tail=-1", "--namespace", self.namespace];
        Ok(self.session.kubectl(&args).await?.lines().map(ToOwned::to_owned).collect())
    }

    fn helm(&self, args: &[&str]) -> Result<Command> {
        let mut command = helm()?;
        command.arg("--kubeconfig").arg(self.session.kubeconfig()).args(["--namespace", self.namespace]).args(args);
        Ok(command)
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        let left = || {
            let mut command = self.helm(&["uninstall", NAME, "--ignore-not-found", "--wait"])?;
            run(&mut command)?;
            self.session.kubectl_now(&["delete", "namespace", self.namespace, "--wait=false"])
        };
        if let Err(error) = left() {
            eprintln!("the release in {} stays: {error:#}", self.namespace);
        }
    }
}
