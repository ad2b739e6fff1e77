//! A program that elects a leader with kube-leader-election as its documentation shows: one try each five seconds. It
//! writes a line when it starts and when it stops leading, and steps down when it is told to end.

use std::env;
use std::time::Duration;

use anyhow::{Context, Result};
use kube::Client;
use kube_leader_election::{LeaseLock, LeaseLockParams, LeaseLockResult};
use tokio::signal::unix::{SignalKind, signal};

const TTL: Duration = Duration::from_secs(15);
const EVERY: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let given = |name: &str| env::var(name).with_context(|| format!("{name} must be set"));
    let identity = given("IDENTITY")?;
    let params = LeaseLockParams { lease_name: given("LEASE_NAME")?, holder_id: identity.clone(), lease_ttl: TTL };
    let lock = LeaseLock::new(Client::try_default().await?, &given("NAMESPACE")?, params);
    let mut told_to_end = signal(SignalKind::terminate())?;
    let mut leads = false;
    loop {
        match lock.try_acquire_or_renew().await {
            Ok(result) => {
                let acquired = matches!(result, LeaseLockResult::Acquired(_));
                if acquired != leads {
                    println!("{identity} {} leading", if acquired { "started" } else { "stopped" });
                }
                leads = acquired;
            }
            Err(error) => eprintln!("{identity}: {error}"),
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = told_to_end.recv() => break,
        }
    }
    if leads {
        lock.step_down().await?;
    }
    Ok(())
}
