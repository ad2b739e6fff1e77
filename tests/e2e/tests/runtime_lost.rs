//! A container runtime that lost its state: it makes up an end for each container, and the processes live on. Run this by
//! itself: the node is that of all tests.
#![allow(missing_docs)]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use kube::ResourceExt;
use leadergroup_api::{AccountGap, LeaderGroup, RuleName, Verdict};
use leadergroup_e2e::cluster::{ContainerProcess, Signal};
use leadergroup_e2e::{
    Candidates, Group, GroupView, LeaseView, Namespace, PodView, Seen, Session, Timeline, until_second_after,
};

/// Half of them in Deployments, with an identity of each run's own, and half in `StatefulSet`s, named as their pods are.
const LEADERS: usize = 20;
/// Twenty pods at once on a small machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// The exit code and the reason that containerd makes up.
const MADE_UP: (i32, &str) = (255, "Unknown");

/// A leader that lives, before its runtime loses it.
struct Leader {
    group: String,
    pod: String,
    holder: String,
    renewed: Timestamp,
    has_own_identity: bool,
    processes: Vec<ContainerProcess>,
}

/// The ends in this version of the pod, of the present run and of the one before.
fn ends(pod: &Pod) -> impl Iterator<Item = ContainerStateTerminated> {
    let states = pod.containers().into_iter().flat_map(|c| [c.state, c.last_state]);
    states.flatten().filter_map(|state| state.terminated)
}

fn is_made_up(end: &ContainerStateTerminated, since: Timestamp) -> bool {
    let finished = end.finished_at.as_ref().map(|time| time.0.as_second());
    (end.exit_code, end.reason.as_deref()) == (MADE_UP.0, Some(MADE_UP.1)) && finished > Some(since.as_second())
}

async fn start(place: &Namespace, number: usize) -> Result<(String, bool)> {
    let group = format!("billing-{number}");
    let has_own_identity = number.is_multiple_of(2);
    let candidates = Candidates::named(&group).timing(120, 90, 2);
    let workload = if has_own_identity {
        candidates.identity("$(POD_NAME)_{run}").deployment()
    } else {
        candidates.stateful_set()
    };
    place.create(&Group::named(&group).timing(120, 90, 2).build()).await?;
    place.run(&workload).await?;
    Ok((group, has_own_identity))
}

/// Stops a leader's processes: it lives, and writes nothing until it goes on.
async fn stop(session: &Session, place: &Namespace, (group, has_own_identity): (String, bool)) -> Result<Leader> {
    let pod = place.pods().get(&place.until_led(&group).await?.leading_pod().context("no leader")?).await?;
    let processes = session.processes(&pod)?;
    for process in &processes {
        process.signal(Signal::STOP)?;
    }
    let lease = place.leases().get(&group).await?;
    Ok(Leader {
        holder: lease.holder().context("nobody holds the Lease")?,
        renewed: lease.renewed().context("a held Lease has a time")?,
        group,
        pod: pod.name_any(),
        has_own_identity,
        processes,
    })
}

async fn until_end_is_made_up(timeline: &Timeline, leader: &Leader) -> Result<()> {
    let wanted = format!("an end of {} is made up", leader.pod);
    let find = |entries: &[leadergroup_e2e::Entry]| {
        entries.iter().find_map(|entry| match &entry.seen {
            Seen::Pod(pod) if pod.name_any() == leader.pod => {
                ends(pod).find(|end| is_made_up(end, leader.renewed)).map(drop)
            }
            _ => None,
        })
    };
    timeline.find(&wanted, PATIENCE, find).await
}

/// Kills the run that followed the end that was made up. This end is seen.
async fn end_next_run(session: &Session, place: &Namespace, leader: &Leader) -> Result<()> {
    let runs_again = |pod: &Pod| pod.restarts() > 0 && pod.is_ready();
    let pod = place.until_within(PATIENCE, &leader.pod, "the container runs again", runs_again).await?;
    let next: Vec<_> =
        session.processes(&pod)?.into_iter().filter(|process| !leader.processes.contains(process)).collect();
    ensure!(!next.is_empty(), "no next run of {}", leader.pod);
    next.iter().try_for_each(|process| process.signal(Signal::KILL).map(drop))?;
    let killed = |pod: &Pod| ends(pod).any(|end| end.exit_code == 137);
    place.until_within(PATIENCE, &leader.pod, "the end of the next run is reported", killed).await?;
    Ok(())
}

async fn until_in_doubt(place: &Namespace, leader: &Leader) -> Result<()> {
    let in_doubt = |g: &LeaderGroup| {
        let account = g.seen().account.unwrap_or_default();
        let is_judged = !leader.has_own_identity
            || (g.verdict(), g.rule()) == (Some(Verdict::Terminated), Some(RuleName::NoRunSinceRenewal));
        !account.complete && account.reason == Some(AccountGap::UnwitnessedEnd) && is_judged
    };
    place.until_within(PATIENCE, &leader.group, "the account lacks the end that was made up", in_doubt).await?;
    Ok(())
}

/// The leader goes on, and still has its Lease.
async fn go_on(place: &Namespace, leader: &Leader) -> Result<()> {
    for process in &leader.processes {
        ensure!(process.is_alive(), "process {} of {} has ended", process.pid, leader.pod);
        process.signal(Signal::CONT)?;
    }
    let before = place.leases().get(&leader.group).await?.renewed();
    let renewed = |lease: &Lease| lease.renewed() > before;
    let lease = place.until_within(PATIENCE, &leader.group, "the Lease is renewed", renewed).await?;
    assert_eq!(lease.holder().as_ref(), Some(&leader.holder));
    assert!(leader.processes.iter().all(ContainerProcess::is_alive), "{} has ended", leader.pod);
    Ok(())
}

#[tokio::test]
async fn never_clears_living_leaders_whose_ends_containerd_made_up() -> Result<()> {
    let promise = "an end that a runtime made up proves nothing, whatever its next runs do";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let operator = session.operator_on_host().await?;
    let place = session.namespace("runtime").await?;
    let started = try_join_all((0..LEADERS).map(|number| start(&place, number))).await?;
    try_join_all(started.iter().map(|(group, _)| place.until_settled(group))).await?;
    let timeline = place.timeline().await?;
    let leaders = try_join_all(started.into_iter().map(|group| stop(&session, &place, group))).await?;

    // A runtime that starts quickly makes up an end in the second of the last renewal, which would prove nothing anyway.
    let last = leaders.iter().map(|leader| leader.renewed).max().context("no leader")?;
    until_second_after(last).await;
    let cluster = session.cluster().clone();
    let orphans = tokio::task::spawn_blocking(move || cluster.lose_runtime_state()).await??;
    try_join_all(leaders.iter().map(|leader| until_end_is_made_up(&timeline, leader))).await?;
    try_join_all(leaders.iter().map(|leader| end_next_run(&session, &place, leader))).await?;
    try_join_all(leaders.iter().map(|leader| until_in_doubt(&place, leader))).await?;
    try_join_all(leaders.iter().map(|leader| go_on(&place, leader))).await?;

    for leader in &leaders {
        timeline.assert_never_cleared(&leader.group);
        let holders = timeline.holders(&leader.group);
        assert!(holders.iter().all(|(_, holder)| holder.as_ref() == Some(&leader.holder)), "{holders:?}");
    }
    drop(orphans);
    operator.end().await
}
