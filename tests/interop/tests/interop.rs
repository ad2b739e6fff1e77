//! One takeover of each client: the operator sees who leads, and the leader's end is cleared so that a standby leads at
//! once.
#![allow(missing_docs)]

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use leadergroup_e2e::Session;
use leadergroup_interop::{CLIENTS, build, control_plane, play};

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

#[tokio::test(flavor = "multi_thread")]
async fn the_control_planes_own_electors_are_observed() -> Result<()> {
    let promise = "kube-scheduler and kube-controller-manager are shown, and their Leases left alone";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    try_join_all(control_plane::PROGRAMS.map(|program| control_plane::row(&session, program))).await.map(drop)
}
