//! Prints the figures, side by side in one run: those of the operator, and those of our elector.
//!
//! Arguments choose parts: `operator`, `elector`, or one of the elector's such as `elector-takeover`. Without, all.
//!
//! Nothing here passes or fails: machines differ and are noisy. The goals stand beside the figures.

mod clearing;
mod elector;
mod figures;
mod renewals;
mod size;
mod takeover;

use anyhow::{Result, bail};
use leadergroup_e2e::{OPERATOR_NAMESPACE, Session};

use elector::Part;

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| part == name);
    let parts: Vec<Part> =
        Part::ALL.into_iter().filter(|part| is_wanted("elector") || is_wanted(part.name())).collect();
    if let Some(unknown) = wanted.iter().find(|name| !is_part(name)) {
        bail!("there is no part {unknown}: choose operator, elector, or of the elector {}", names());
    }
    if is_wanted("operator") {
        tokio::runtime::Runtime::new()?.block_on(operator())?;
    }
    if parts.is_empty() { Ok(()) } else { elector::run(&parts) }
}

fn is_part(name: &str) -> bool {
    ["operator", "elector"].contains(&name) || Part::ALL.iter().any(|part| part.name() == name)
}

fn names() -> String {
    Part::ALL.map(Part::name).join(", ")
}

async fn operator() -> Result<()> {
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
