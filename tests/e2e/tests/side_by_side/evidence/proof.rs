//! Pods that ended by their kubelet's word: row 6.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::api::EvictParams;
use leadergroup_api::{LeaderGroup, TransitionReason, Verdict};
use leadergroup_e2e::cluster::Signal;
use leadergroup_e2e::{Candidates, Group, GroupView, LeaseView, Namespace, PodView, Session};

use std::time::Duration;

use super::LONG;
use crate::AT_ONCE;

fn group() -> Group {
    Group::named("billing").timing(LONG.0, LONG.1, LONG.2)
}

fn billing() -> Candidates {
    Candidates::named("billing").timing(40, 20, 1)
}

/// Two candidates, of which the returned one leads and has renewed a few times.
async fn two_candidates(place: &Namespace, candidates: &Candidates) -> Result<String> {
    place.create(&group().build()).await?;
    place.run(&candidates.clone().replicas(2).deployment()).await?;
    Ok(place.until_settled("billing").await?.name_any())
}

#[tokio::test]
async fn a_leader_deleted_gracefully_is_cleared_at_once_and_events_tell_why() -> Result<()> {
    let promise = "a leader that ended by its kubelet's word is cleared at once";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("graceful").await?;
    let leader = two_candidates(&place, &billing()).await?;
    let timeline = place.timeline().await?;
    place.delete_pod(&leader).await?;

    let ended = timeline.pod("the leader's pod has ended", |pod| pod.name_any() == leader && pod.has_ended_run("app"));
    let ended = ended.await?;
    let group = place.until_led_by_another("billing", &leader).await?;
    let (cleared, _) = timeline.cleared("billing").context("the Lease was not cleared")?;
    ensure!(cleared.duration_since(ended) < Duration::from_secs(2), "cleared {:?} late", cleared.duration_since(ended));
    let (taken, _) = timeline.lease("a standby leads", |l| l.holder().is_some_and(|holder| holder != leader)).await?;
    ensure!(taken.duration_since(ended) < AT_ONCE, "taken {:?} after the end", taken.duration_since(ended));

    let newest = group.newest().context("there is no history")?;
    assert_eq!((newest.reason, newest.from.as_deref()), (TransitionReason::Cleared, Some(leader.as_str())));
    assert!(newest.leaderless_seconds.is_some_and(|s| s < AT_ONCE.as_secs_f64()), "{newest:?}");
    assert_eq!(group.seen().transitions, 1);
    for reason in ["HolderTerminated", "HolderCleared", "LeaderChanged"] {
        place.until_event("billing", reason).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_log_tells_what_was_judged_on_what_evidence_and_what_was_done() -> Result<()> {
    let promise = "the operator's log tells the story of a group";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("story").await?;
    let leader = two_candidates(&place, &billing()).await?;
    place.delete_pod(&leader).await?;
    let next = place.until_led_by_another("billing", &leader).await?.leading_pod().context("nobody leads")?;
    let group = format!("group={}/billing", place.name());
    let steps: [&[&str]; 4] = [
        &["reason=\"LeaderChanged\"", &leader],
        &["reason=\"HolderTerminated\"", &leader, "container app"],
        &["reason=\"HolderCleared\"", &leader, Verdict::Terminated.as_str(), "container app"],
        &["reason=\"LeaderChanged\"", &next, &leader],
    ];
    let operator = session.operator();
    let last = [&[group.as_str(), "INFO"], steps[3]].concat();
    operator.until_logged(&operator.leading_pod().await?, &last).await?;
    let log = operator.log_about(place.name()).await?;
    let mut lines = log.iter();
    for step in steps {
        let told = |line: &&String| [&group, "INFO"].iter().chain(step).all(|part| line.contains(part));
        ensure!(lines.any(|line| told(&line)), "{step:?} is not told, or too late, in:\n{}", log.join("\n"));
    }
    Ok(())
}

#[tokio::test]
async fn a_leader_that_releases_its_lease_needs_no_clear() -> Result<()> {
    let promise = "a release is told from a clear";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("releasing").await?;
    let leader = two_candidates(&place, &billing().releasing()).await?;
    let timeline = place.timeline().await?;
    place.delete_pod(&leader).await?;
    let group = place.until_led_by_another("billing", &leader).await?;
    assert_eq!(group.reason(), Some(TransitionReason::Released), "{:?}", group.newest());
    timeline.assert_never_cleared("billing");
    Ok(())
}

#[tokio::test]
async fn an_evicted_leader_is_cleared_at_once() -> Result<()> {
    let promise = "an evicted leader is cleared once its kubelet says that it ended";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("evicted").await?;
    let leader = two_candidates(&place, &billing()).await?;
    place.pods().evict(&leader, &EvictParams::default()).await?;
    let group = place.until_led_by_another("billing", &leader).await?;
    assert_eq!(group.reason(), Some(TransitionReason::Cleared), "{:?}", group.newest());
    Ok(())
}

#[tokio::test]
async fn a_leader_killed_for_its_memory_is_cleared_and_the_evidence_says_so() -> Result<()> {
    let promise = "an out-of-memory kill is proof";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("memory").await?;
    let timeline = place.timeline().await?;
    place.create(&group().build()).await?;
    let greedy = billing().running_out_of_memory_after(Duration::from_secs(3)).never_restarted();
    place.run(&greedy.pod()).await?;
    timeline.lease("the Lease is cleared", LeaseView::is_cleared).await?;
    let note = place.until_event("billing", "HolderTerminated").await?;
    assert!(note.contains("OOMKilled"), "{note}");
    Ok(())
}

#[tokio::test]
async fn the_leader_of_a_completed_job_is_cleared_at_once() -> Result<()> {
    let promise = "a Job's pod that completed is a dead leader";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("job").await?;
    let timeline = place.timeline().await?;
    place.create(&group().build()).await?;
    place.run(&billing().job()).await?;
    let leader = place.until_settled("billing").await?;
    // The candidate ends with exit code 0 when it is told to end.
    session.signal(&leader, Signal::TERM)?;
    timeline.lease("the Lease is cleared", LeaseView::is_cleared).await?;
    let note = place.until_event("billing", "HolderTerminated").await?;
    assert!(note.contains("Completed") && note.contains("exit code 0"), "{note}");
    let completed = |job: &Job| job.status.as_ref().is_some_and(|s| s.succeeded == Some(1));
    place.until::<Job>("billing", "the Job is complete", completed).await?;
    Ok(())
}

#[tokio::test]
async fn a_stateful_set_pod_back_under_its_name_leads_a_new_term() -> Result<()> {
    let promise = "pods of one name are told apart by their UID";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("stateful").await?;
    place.create(&group().build()).await?;
    place.run(&billing().stateful_set()).await?;
    let first = place.until_settled("billing").await?;
    let uid = first.uid().context("a pod has no UID")?;
    place.delete_pod(&first.name_any()).await?;
    let another = |g: &LeaderGroup| {
        g.seen().leader.is_some_and(|leader| leader.pod_uid.is_some_and(|leading| leading != uid))
            && g.seen().transitions == 1
    };
    let group: LeaderGroup = place.until("billing", "the new pod leads a term of its own", another).await?;
    let newest = group.newest().context("there is no history")?;
    assert_eq!(Some(&newest.leader), newest.from.as_ref(), "the identity is the same");
    assert_ne!(newest.pod_uid.as_ref(), first.uid().as_ref());
    // Whether the Lease was cleared before the new pod was bound is a race that either may win.
    assert!(matches!(newest.reason, TransitionReason::Cleared | TransitionReason::Replaced), "{newest:?}");
    assert_eq!(group.verdict(), Some(Verdict::Alive));
    Ok(())
}
