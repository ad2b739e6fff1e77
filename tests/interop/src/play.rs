//! What is played with each client.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use futures::try_join;
use kube::ResourceExt;
use leadergroup_api::{Release, ReleaseForm};
use leadergroup_e2e::{GroupView, LeaseView, Seen, Session, Timeline};

use crate::Client;
use crate::build::Built;
use crate::compare::{self, Pair, TRIES};
use crate::matrix::{Cell, DELETED, ENDED, FORCED, RESTARTED, Row};
use crate::pods::NAME;
use crate::scene::{Arm, Death, Ended, Outcome, Scene};

/// A takeover: the leader's process is killed and not started again, and a standby leads.
pub async fn takeover(session: &Session, client: Client, built: Built) -> Result<Outcome> {
    let scene = Scene::open(session, vec![(client, built)], Arm::With, false).await?;
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

/// A takeover, or a restart, with a LeaderGroup and without.
pub async fn pair(session: &Session, client: Client, built: Built, death: Death, restarts: bool) -> Result<Pair> {
    let play = async |arm| -> Result<Outcome> {
        let scene = Scene::open(session, vec![(client, built.clone())], arm, restarts).await?;
        Ok(scene.end(&scene.settled().await?, death).await?.outcome)
    };
    let (with, without) = try_join!(play(Arm::With), play(Arm::Without))?;
    Ok(Pair { with: vec![with], without: vec![without] })
}

/// All of the matrix.
pub async fn row(session: &Session, client: Client, built: Built, other: (Client, Built)) -> Result<Row> {
    let version = built.version.clone();
    let cast = (client, built);
    let mut rounds = Vec::new();
    for _ in 0..TRIES {
        rounds.push(try_join!(round(session, &cast, Arm::With), round(session, &cast, Arm::Without))?);
    }
    let mut forms = Vec::new();
    for form in [ReleaseForm::Empty, ReleaseForm::Null, ReleaseForm::Delete] {
        let scene = Scene::open(session, vec![cast.clone()], Arm::With, false).await?;
        scene.release(form).await?;
        let leader = scene.settled().await?;
        let ended = scene.end(&leader, Death::Killed).await?;
        forms.push(ended.since_clear.context("a killed leader's Lease was not cleared")?.told());
    }
    let mixed = if client.folder == other.0.folder {
        Err("-")
    } else if client.identity != other.0.identity {
        Err("no: one `spec.identity` does not fit both")
    } else {
        Ok(Box::pin(mixed(session, cast, other)).await?)
    };

    let of = |name, ends: fn(&Round) -> Ended| {
        Cell::of(name, rounds.iter().map(|(with, without)| (ends(with), ends(without))))
    };
    let played = [
        of(DELETED, |round| round.deleted),
        of(RESTARTED, |round| round.restarted),
        of(FORCED, |round| round.forced),
        of(ENDED, |round| round.ended),
    ];
    let compared: Vec<_> = played.iter().chain(mixed.iter().flatten()).collect();
    let limit = compare::limit(compared.iter().map(|cell| &cell.pair));
    let slower = compared.iter().filter_map(|cell| Some((cell.name, cell.pair.slower(limit)?))).collect();
    let known = rounds.iter().find_map(|(with, _)| with.known.clone()).context("nothing was asked of the group")?;
    let mut cells: Vec<_> = played.iter().map(Cell::told).collect();
    cells.extend(forms);
    cells.push(match &mixed {
        Ok(back_and_forth) => back_and_forth.each_ref().map(Cell::told).join("; back: "),
        Err(why) => (*why).to_owned(),
    });
    cells.extend([format!("{limit:.1} s"), known.counter, known.reported]);
    Ok(Row {
        client: client.folder.to_owned(),
        library: client.library.to_owned(),
        setting: client.env.map(|(name, value)| format!("{name}={value}")),
        version,
        identity: known.identity,
        spec: spec(client),
        cells,
        slower,
    })
}

/// What became of a client's leaders, ended once in each way.
struct Round {
    /// Its process was killed, and its container started again.
    restarted: Ended,
    /// Its pod was deleted.
    deleted: Ended,
    /// The same without waiting for its process.
    forced: Ended,
    /// Its process was killed, and not started again.
    ended: Ended,
    /// What the operator said, if there was a group.
    known: Option<Known>,
}

/// What the operator said of a Lease.
#[derive(Clone)]
struct Known {
    identity: String,
    counter: String,
    reported: String,
}

async fn round(session: &Session, cast: &(Client, Built), arm: Arm) -> Result<Round> {
    let mut scene = Scene::open(session, vec![cast.clone()], arm, true).await?;
    let timeline = scene.place.timeline().await?;
    let leader = scene.settled().await?;
    let identity = if arm == Arm::With { Some(scene.identity(&leader).await?) } else { None };
    let restarted = scene.end(&leader, Death::Killed).await?;
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
    let known = match identity {
        Some(identity) => {
            let (counter, reported) = counts(&scene, &timeline).await?;
            Some(Known { identity, counter, reported })
        }
        None => None,
    };
    drop((timeline, scene));

    let scene = Scene::open(session, vec![cast.clone()], arm, false).await?;
    let ended = scene.end(&scene.settled().await?, Death::Killed).await?;
    Ok(Round { restarted, deleted, forced, ended, known })
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
async fn mixed(session: &Session, client: (Client, Built), other: (Client, Built)) -> Result<[Cell; 2]> {
    let cast = vec![client, other];
    let play = async |arm| -> Result<Vec<Ended>> {
        let mut scene = Scene::open(session, cast.clone(), arm, false).await?;
        let mut ends = Vec::new();
        for _ in 0..2 * TRIES {
            let leader = scene.settled().await?;
            ends.push(scene.end(&leader, Death::Deleted).await?);
            // In the place of the one that ended.
            scene.add(false).await?;
        }
        Ok(ends)
    };
    let (with, without) = try_join!(play(Arm::With), play(Arm::Without))?;
    let ends = || with.iter().copied().zip(without.iter().copied());
    Ok([Cell::of("mixed", ends().step_by(2)), Cell::of("mixed, back", ends().skip(1).step_by(2))])
}
