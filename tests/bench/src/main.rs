//! Prints the figures of the operator, side by side in one run.
//!
//! Nothing here passes or fails: machines differ and are noisy. The goals stand beside the figures.

mod clearing;
mod figures;
mod renewals;
mod size;
mod takeover;

use anyhow::Result;
use leadergroup_e2e::{OPERATOR_NAMESPACE, Session};

#[tokio::main]
async fn main() -> Result<()> {
    let session = Session::start().await?;
    anyhow::ensure!(
        session.cluster().has_real_node() && !session.cluster().is_existing(),
        "the figures need a real node that this program can reach into: run it as root on Linux"
    );
    size::at_rest(&size::OperatorProcess::find(&session).await?).await?;
    clearing::run(&session).await?;
    takeover::run(&session).await?;
    log_decisions(&session, true).await?;
    let cost = measure_cost(&session).await;
    log_decisions(&session, false).await?;
    cost
}

async fn measure_cost(session: &Session) -> Result<()> {
    let process = size::OperatorProcess::find(session).await?;
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
