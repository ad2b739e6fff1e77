//! What is played with each client.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use leadergroup_api::{Release, ReleaseForm};
use leadergroup_e2e::{GroupView, LeaseView, Seen, Session, Timeline};

use crate::Client;
use crate::build::Built;
use crate::matrix::Row;
use crate::pods::NAME;
use crate::scene::{Death, Outcome, Scene};

/// A takeover: the leader's process is killed and not started again, and a standby leads.
pub async fn takeover(session: &Session, client: Client, built: Built) -> Result<Outcome> {
    let scene = Scene::open(session, vec![(client, built)], false).await?;
    let leader = scene.settled().await?;
    scene.identity(&leader).await?;
    let ended = scene.end(&leader, Death::Killed).await?;
    let group = scene.place.until_led_by_another(NAME, &leader.name_any()).await?;
    ensure!(
        group.seen().transitions == 1,
        "{} transitions after one: {:?}",
        group.seen().transitions,
        group.seen().history
    );
    Ok(ended.outcome)
}

/// All of the matrix.
pub async fn row(session: &Session, client: Client, built: Built, other: (Client, Built)) -> Result<Row> {
    let version = built.version.clone();
    let mut scene = Scene::open(session, vec![(client, built.clone())], true).await?;
    let timeline = scene.place.timeline().await?;
    let leader = scene.settled().await?;
    let identity = scene.identity(&leader).await?;
    let restarted = scene.end(&leader, Death::Killed).await?.outcome;
    let leader = scene.settled().await?;
    let deleted = scene.end(&leader, Death::Deleted).await?;
    scene.add(true).await?;
    let leader = scene.settled().await?;
    let forced = scene.end(&leader, Death::Forced).await?;
    ensure!(
        forced.since_clear.is_none() || forced.outcome.is_late(),
        "a forced deletion is no proof, and yet the Lease was cleared: {forced:?}"
    );
    if forced.outcome == Outcome::Never {
        scene.add(true).await?;
    }
    let counts = counts(&scene, &timeline).await?;
    drop((timeline, scene));

    let mut forms = Vec::new();
    for form in [ReleaseForm::Empty, ReleaseForm::Null, ReleaseForm::Delete] {
        let scene = Scene::open(session, vec![(client, built.clone())], false).await?;
        scene.release(form).await?;
        let leader = scene.settled().await?;
        let ended = scene.end(&leader, Death::Killed).await?;
        forms.push(ended.since_clear.context("a killed leader's Lease was not cleared")?);
    }
    let mixed = mixed(session, (client, built), other).await?;
    Ok(Row {
        client: client.folder.to_owned(),
        library: client.library.to_owned(),
        setting: client.env.map(|(name, value)| format!("{name}={value}")),
        version,
        identity,
        spec: spec(client),
        cells: vec![
            deleted.told(),
            restarted.told(),
            forced.told(),
            forms[0].told(),
            forms[1].told(),
            forms[2].told(),
            mixed,
            counts.0,
            counts.1,
        ],
    })
}

/// What has to be in the group's spec.
fn spec(client: Client) -> String {
    let mut spec = Vec::new();
    if let Some(identity) = client.identity {
        spec.push(format!("`identity: \"{identity}\"`"));
    }
    if client.release != Release::Auto {
        spec.push(format!("`staleHolder.release: {:?}`", client.release));
    }
    if spec.is_empty() { "nothing".to_owned() } else { spec.join(", ") }
}

/// Whether the Lease's own counter follows, while the group's must; and what the operator had to say of the Lease.
async fn counts(scene: &Scene, timeline: &Timeline) -> Result<(String, String)> {
    scene.settled().await?;
    let group = scene.group().await?;
    let mut held: Vec<_> = timeline.holders(NAME).into_iter().filter_map(|(_, holder)| holder).collect();
    held.dedup();
    let changes = i64::try_from(held.len())? - 1;
    // An identity that takes its own Lease back begins a term of its own.
    ensure!(group.seen().transitions >= changes, "{changes} changes, and {} counted", group.seen().transitions);
    let last = scene.place.leases().get(NAME).await?.record().lease_transitions;
    let own = match last.map(i64::from) {
        Some(own) if own >= changes => "yes",
        Some(_) => "no",
        None => "has none",
    };
    let mut reported = BTreeSet::new();
    for entry in timeline.entries() {
        if let Seen::Group(group) = entry.seen {
            let odd = group.seen().conditions;
            let odd = odd.into_iter().filter(|c| c.type_ == "LeaseSuspect" && c.status == "True").map(|c| c.reason);
            reported.extend(odd);
        }
    }
    let reported = if reported.is_empty() { "-".to_owned() } else { Vec::from_iter(reported).join(", ") };
    Ok((own.to_owned(), reported))
}

/// Each of two libraries takes over from the other.
async fn mixed(session: &Session, client: (Client, Built), other: (Client, Built)) -> Result<String> {
    if client.0.folder == other.0.folder {
        return Ok("-".to_owned());
    }
    if client.0.identity != other.0.identity {
        return Ok("no: one `spec.identity` does not fit both".to_owned());
    }
    let mut scene = Scene::open(session, vec![client, other], false).await?;
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        let leader = scene.settled().await?;
        outcomes.push(scene.end(&leader, Death::Deleted).await?.outcome.told());
        scene.add(false).await?;
    }
    Ok(outcomes.join(" / "))
}
