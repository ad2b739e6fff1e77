//! Containers that end while their pod goes on: row 7.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use leadergroup_api::{LeaderGroup, TransitionReason, Verdict};
use leadergroup_e2e::cluster::Signal;
use leadergroup_e2e::{Candidates, Group, GroupView, LeaseView, Namespace, PodView, Session, Timeline};

/// Renewals every two seconds leave room for an end in a later second than the last of them.
fn group() -> Group {
    Group::named("billing").timing(40, 20, 2)
}

fn billing() -> Candidates {
    Candidates::named("billing").timing(40, 20, 2)
}

/// Kills the container of the leader between two renewals, so that its end falls into a later second than the last.
pub async fn kill_between_renewals(session: &Session, place: &Namespace, leader: &Pod) -> Result<()> {
    // To find them takes a while.
    let processes = session.processes(leader)?;
    place.until_between_renewals("billing").await?;
    processes.iter().try_for_each(|process| process.signal(Signal::KILL).map(drop))
}

/// The second at which the kubelet says that the container's newest ended run ended.
fn finished(pod: &Pod) -> Option<i64> {
    let app = pod.containers().into_iter().find(|c| c.name == "app")?;
    let ended = |state: Option<k8s_openapi::api::core::v1::ContainerState>| state?.terminated?.finished_at;
    ended(app.state).or_else(|| ended(app.last_state)).map(|time| time.0.as_second())
}

/// A clear is allowed only if the run ended in a later second than the last renewal.
async fn assert_clear_was_proven(timeline: &Timeline, leader: &str) -> Result<()> {
    let Some((_, cleared)) = timeline.cleared("billing") else { return Ok(()) };
    let renewed = cleared.renewed().context("a cleared Lease keeps its times")?.as_second();
    // The run that renewed last has not ended before. Pods have a watch of their own here, so the report may come after the
    // clear that it allowed.
    let is_report = |pod: &Pod| pod.name_any() == leader && finished(pod).is_some_and(|end| end >= renewed);
    timeline.pod("the run that renewed last has ended by its kubelet's word", is_report).await?;
    let report = timeline.entries().into_iter().find_map(|entry| match entry.seen {
        leadergroup_e2e::Seen::Pod(pod) if is_report(&pod) => finished(&pod),
        _ => None,
    });
    ensure!(report > Some(renewed), "cleared although the run that ended at {report:?} may have renewed at {renewed}");
    Ok(())
}

#[tokio::test]
async fn a_leader_that_crashes_and_stays_down_is_cleared_at_once() -> Result<()> {
    let promise = "a container between two runs is proof";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("crash").await?;
    place.create(&group().build()).await?;
    place.run(&billing().replicas(2).deployment()).await?;
    let first = place.until_settled("billing").await?;
    let timeline = place.timeline().await?;
    // After the first crash the container runs again at once, and mostly has its Lease again before anybody can know.
    kill_between_renewals(&session, &place, &first).await?;
    timeline.pod("the container runs again", |pod| pod.restarts() == 1).await?;
    assert_clear_was_proven(&timeline, &first.name_any()).await?;
    let second = place.until_settled("billing").await?;
    let timeline = place.timeline().await?;
    let before: LeaderGroup = place.groups().get("billing").await?;
    // After the second it has to wait. (If a standby leads by now, that one's first crash is as good as any.)
    if second.name_any() == first.name_any() {
        kill_between_renewals(&session, &place, &second).await?;
        let killed = Instant::now();
        let group = place.until_led_by_another("billing", &second.name_any()).await?;
        assert_eq!(group.reason(), Some(TransitionReason::Cleared), "{:?}", group.newest());
        assert_eq!(group.seen().transitions, before.seen().transitions + 1);
        assert_clear_was_proven(&timeline, &second.name_any()).await?;
        ensure!(killed.elapsed() < Duration::from_secs(20), "took {:?}", killed.elapsed());
    } else {
        assert_eq!(before.reason(), Some(TransitionReason::Cleared), "{:?}", before.newest());
    }
    Ok(())
}

#[tokio::test]
async fn a_leader_that_crashes_in_the_second_of_its_renewal_is_cleared_only_if_that_is_proven() -> Result<()> {
    let promise = "a run that ended in the second of a renewal proves nothing";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("second").await?;
    place.create(&group().build()).await?;
    place.run(&billing().replicas(2).deployment()).await?;
    let leader = place.until_settled("billing").await?;
    let timeline = place.timeline().await?;
    let last = place.leases().get("billing").await?.renewed();
    place.until("billing", "the Lease is renewed", |lease: &Lease| lease.renewed() > last).await?;
    session.signal(&leader, Signal::KILL)?;
    let name = leader.name_any();
    timeline.pod("the kubelet has seen the crash", |pod| pod.name_any() == name && pod.has_ended_run("app")).await?;
    let killed_after = timeline.last_renewal("billing", &name).context("it never led")?.1.renewed();
    // Either the restarted container renews its own Lease, or somebody acquires it after a clear.
    timeline.lease("the Lease is renewed again", |l| l.holder().is_some() && l.renewed() > killed_after).await?;
    assert_clear_was_proven(&timeline, &name).await?;
    Ok(())
}

#[tokio::test]
async fn a_leader_in_a_crash_loop_loses_its_lease_while_it_is_down() -> Result<()> {
    let promise = "a crash loop does not keep the group without a leader";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("loop").await?;
    let timeline = place.timeline().await?;
    place.create(&group().build()).await?;
    // Renewals come at 2, 4, 6 and 8 s; the first crash is followed by another run at once, the second is not.
    let crashing = billing().replicas(2).crashing_after(Duration::from_millis(9_300));
    place.run(&crashing.deployment()).await?;
    let cleared = |g: &LeaderGroup| g.seen().history.iter().any(|t| t.reason == TransitionReason::Cleared);
    let patience = Duration::from_mins(1);
    place.until_within(patience, "billing", "a standby leads after a clear", cleared).await?;
    let (_, lease) = timeline.cleared("billing").context("the Lease was not cleared")?;
    assert!(lease.renewed().is_some(), "{lease:?}");
    Ok(())
}

#[tokio::test]
async fn a_pod_of_which_only_one_container_died_is_never_cleared() -> Result<()> {
    let promise = "every watched container has to be down";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("half").await?;
    let timeline = place.timeline().await?;
    place.create(&Group::named("billing").build()).await?;
    let half = Candidates::named("billing").with_sidecar().never_restarted().crashing_after(Duration::from_secs(4));
    place.run(&half.pod()).await?;
    timeline.pod("only one container has ended", |pod| pod.has_ended_run("app") && !pod.has_ended_run("side")).await?;
    let expired = |g: &LeaderGroup| g.verdict() == Some(Verdict::LeaseExpired);
    place.until("billing", "the Lease is said to have run out", expired).await?;
    let (_, held) = timeline.last_renewal("billing", "billing").context("it never led")?;
    place.until_event("billing", "LeaseExpired").await?;
    let now: Lease = place.leases().get("billing").await?;
    assert_eq!(now.resource_version(), held.resource_version(), "nobody touched the Lease");
    timeline.assert_never_cleared("billing");
    Ok(())
}

#[tokio::test]
async fn a_sidecar_that_is_not_watched_does_not_keep_a_dead_leader_alive() -> Result<()> {
    let promise = "only the containers of spec.candidates.containers have to be down";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("watched").await?;
    let timeline = place.timeline().await?;
    place.create(&group().containers(&["app"]).build()).await?;
    let half = billing().with_sidecar().never_restarted().crashing_after(Duration::from_millis(9_300));
    place.run(&half.pod()).await?;
    timeline.lease("the Lease is cleared", LeaseView::is_cleared).await?;
    assert_clear_was_proven(&timeline, "billing").await?;
    let pod = place.pods().get("billing").await?;
    assert!(!pod.has_ended_run("side"), "the sidecar lives on: {:?}", pod.containers());
    Ok(())
}

#[tokio::test]
async fn a_leader_that_may_come_back_keeps_its_lease_with_on_restart_keep() -> Result<()> {
    let promise = "onRestart Keep prefers the pod whose container restarts";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("keep").await?;
    let timeline = place.timeline().await?;
    place.create(&group().keeps_on_restart().build()).await?;
    place.run(&billing().replicas(2).deployment()).await?;
    let leader = place.until_settled("billing").await?;
    let name = leader.name_any();
    kill_between_renewals(&session, &place, &leader).await?;
    timeline.pod("the container runs again", |pod| pod.restarts() == 1).await?;
    place.until_settled("billing").await?;
    kill_between_renewals(&session, &place, &leader).await?;
    place.until_event("billing", "HolderTerminated").await?;
    let again = |g: &LeaderGroup| g.leading_pod().as_ref() == Some(&name) && g.verdict() == Some(Verdict::Alive);
    timeline.pod("the container runs once more", |pod| pod.restarts() == 2).await?;
    let group: LeaderGroup = place.until("billing", "the same pod leads again", again).await?;
    assert_eq!(group.seen().transitions, 0, "{:?}", group.seen().history);
    timeline.assert_never_cleared("billing");
    Ok(())
}
