//! A program that elects a leader with kube-lease-manager as its documentation shows: a task of its own and a channel. It
//! writes a line when it starts and when it stops leading, and releases when it is told to end.

use std::env;

use anyhow::{Context, Result};
use kube::Client;
use kube_lease_manager::{LeaseManagerBuilder, LeaseParams};
use tokio::signal::unix::{SignalKind, signal};

/// Seconds, and how long before its end the lease is renewed.
const DURATION: u64 = 15;
const GRACE: u64 = 5;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let given = |name: &str| env::var(name).with_context(|| format!("{name} must be set"));
    let identity = given("IDENTITY")?;
    let manager = LeaseManagerBuilder::new(Client::try_default().await?, given("LEASE_NAME")?)
        .with_namespace(given("NAMESPACE")?)
        .with_parameters(LeaseParams::new(&identity, DURATION, GRACE))
        .build()
        .await?;
    let (mut leads, task) = manager.watch().await;
    let mut told_to_end = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            changed = leads.changed() => {
                if changed.is_err() {
                    break;
                }
                let verb = if *leads.borrow_and_update() { "started" } else { "stopped" };
                println!("{identity} {verb} leading");
            }
            _ = told_to_end.recv() => break,
        }
    }
    drop(leads);
    task.await??;
    Ok(())
}
