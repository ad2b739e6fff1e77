//! One takeover of each client: the operator sees who leads, and the leader's end is cleared so that a standby leads at
//! once.
#![allow(missing_docs)]

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use leadergroup_e2e::Session;
use leadergroup_interop::scene::{AT_ONCE, Death};
use leadergroup_interop::{CLIENTS, Client, build, control_plane, play};

#[tokio::test(flavor = "multi_thread")]
async fn every_client_is_seen_to_lead_and_its_standby_takes_over_at_once() -> Result<()> {
    let promise = "other people's election libraries need not change";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let playing = CLIENTS.iter().map(|client| {
        let session = session.clone();
        async move {
            let built = tokio::task::spawn_blocking(|| build::build(client)).await??;
            let outcome = play::takeover(&session, *client, built).await;
            let outcome = outcome.with_context(|| client.folder)?;
            println!("{}: {}", client.folder, outcome.told());
            ensure!(!outcome.is_late(), "{}: {outcome:?}", client.folder);
            anyhow::Ok(())
        }
    });
    try_join_all(playing).await.map(drop)
}

/// This library's leader goes on under its identity, and a clear would keep it waiting for a whole lease duration.
#[tokio::test(flavor = "multi_thread")]
async fn java_leader_restarts_no_slower_than_without_a_group() -> Result<()> {
    let promise = "no takeover is slower with a LeaderGroup than without";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let client = Client::named("official-java").context("there is no such client")?;
    let built = tokio::task::spawn_blocking(move || build::build(&client)).await??;
    let pair = Box::pin(play::pair(&session, client, built, Death::Killed, true)).await?;
    println!("{pair:?}");
    // One try tells only what a whole lease duration would be.
    let slower = pair.slower(AT_ONCE.as_secs_f64());
    ensure!(slower.is_none(), "{slower:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_planes_own_electors_are_observed() -> Result<()> {
    let promise = "kube-scheduler and kube-controller-manager are shown, and their Leases left alone";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    try_join_all(control_plane::PROGRAMS.map(|program| control_plane::row(&session, program))).await.map(drop)
}
