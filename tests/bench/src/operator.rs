//! The figures of the operator: how fast it clears, what that saves, and what it costs.

use anyhow::Result;
use leadergroup_e2e::{OPERATOR_NAMESPACE, Session};

use crate::size::{self, OperatorProcess};
use crate::{clearing, renewals, takeover};

/// A part of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// From the kubelet's word to the clear.
    Clear,
    /// From a leader's end to the next one, with the operator and without.
    Takeover,
    /// Requests, decisions, memory and processor time.
    Cost,
}

impl Part {
    /// All.
    pub const ALL: [Self; 3] = [Self::Clear, Self::Takeover, Self::Cost];

    /// What to call it on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clear => "operator-clear",
            Self::Takeover => "operator-takeover",
            Self::Cost => "operator-cost",
        }
    }
}

/// Measures and prints.
pub async fn run(parts: &[Part]) -> Result<()> {
    let session = Session::start().await?;
    anyhow::ensure!(
        session.cluster().has_real_node() && !session.cluster().is_existing(),
        "the figures need a real node that this program can reach into: run it as root on Linux"
    );
    for part in parts {
        match part {
            Part::Clear => clearing::run(&session).await?,
            Part::Takeover => takeover::run(&session).await?,
            Part::Cost => cost(&session).await?,
        }
    }
    Ok(())
}

async fn cost(session: &Session) -> Result<()> {
    size::at_rest(&OperatorProcess::find(session).await?).await?;
    log_decisions(session, true).await?;
    let measured = measure_cost(session).await;
    log_decisions(session, false).await?;
    measured
}

async fn measure_cost(session: &Session) -> Result<()> {
    let process = OperatorProcess::find(session).await?;
    renewals::run(session, &process).await?;
    size::with_a_thousand_groups(session, &process).await
}

/// Has the operator log each decision, which is how they are counted, or no more.
async fn log_decisions(session: &Session, on: bool) -> Result<()> {
    let level =
        if on { "RUST_LOG=info,kube_client=off,kube_runtime=off,leadergroup_operator=debug" } else { "RUST_LOG-" };
    let operator = ["-n", OPERATOR_NAMESPACE];
    let deployment = "deployment/leadergroup-operator";
    session.kubectl(&[&operator[..], &["set", "env", deployment, level]].concat()).await?;
    session.kubectl(&[&operator[..], &["rollout", "status", deployment, "--timeout=60s"]].concat()).await?;
    Ok(())
}
