//! The operator that leads ends, is cut off or stopped: the other takes over, and nothing that comes late from the first
//! does harm. There is one operator, so one test at a time: run them with `--test-threads=1`.
#![allow(missing_docs)]

mod disturb;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use leadergroup_api::{LeaderGroup, TransitionReason, Verdict};
use leadergroup_e2e::cluster::Signal;
use leadergroup_e2e::{
    Candidates, Group, GroupView, LeaseView, Namespace, OPERATOR_NAMESPACE, PodView, Session, Timeline,
};

use disturb::{Audit, Cut, Holders, Paused, Quick, identity};

/// A lease that does not run out while a test lasts: whoever leads next does so after a clear.
fn group() -> Group {
    Group::named("billing").timing(120, 80, 2)
}

fn billing() -> Candidates {
    Candidates::named("billing").timing(120, 80, 2)
}

/// The group `billing` with two candidates, and the pod that leads it.
async fn led(session: &Session, purpose: &str, group: Group) -> Result<(Namespace, Pod)> {
    session.operator().until_ready().await?;
    let place = session.namespace(purpose).await?;
    place.create(&group.build()).await?;
    place.run(&billing().replicas(2).deployment()).await?;
    let leader = place.until_settled("billing").await?;
    Ok((place, leader))
}

/// Waits until another pod leads the group, by a clear, and looks at what is told of it.
async fn until_cleared_for_another(place: &Namespace, before: &Pod, count: i64) -> Result<LeaderGroup> {
    let group = place.until_led_by_another("billing", &before.name_any()).await?;
    let newest = group.newest().context("there is no history")?;
    assert_eq!(newest.reason, TransitionReason::Cleared, "{newest:?}");
    assert_eq!(newest.from.as_deref().map(|from| from.starts_with(&before.name_any())), Some(true), "{newest:?}");
    assert_eq!(group.seen().transitions, count, "{:?}", group.seen().history);
    Ok(group)
}

/// Counts never fell in any version of the group, and no version of the Lease was cleared twice.
fn assert_sound(timeline: &Timeline, clears: usize) {
    let counts: Vec<_> = timeline.groups("billing").iter().map(|(_, group)| group.seen().transitions).collect();
    assert!(counts.is_sorted(), "the count fell: {counts:?}");
    let mut cleared: Vec<_> = timeline.leases("billing").into_iter().map(|(_, lease)| lease.is_cleared()).collect();
    cleared.dedup();
    assert_eq!(cleared.iter().filter(|cleared| **cleared).count(), clears, "{:?}", timeline.holders("billing"));
}

#[tokio::test]
async fn an_operator_that_is_told_to_end_hands_over_within_a_moment() -> Result<()> {
    let promise = "the operator that ends gives leadership up, and the other goes on";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let (place, leader) = led(&session, "handover", group()).await?;
    let timeline = place.timeline().await?;
    let operator = session.operator();
    let holders = Holders::record(&session);
    let old = operator.leading_pod().await?;

    // The group's leader ends in the same moment.
    let pods: kube::Api<Pod> = kube::Api::namespaced(session.client(), OPERATOR_NAMESPACE);
    pods.delete(&old.name_any(), &DeleteParams::default()).await?;
    place.delete_pod(&leader.name_any()).await?;
    let new = operator.leading_pod_but(&old).await?;
    until_cleared_for_another(&place, &leader, 1).await?;

    let seen = holders.seen();
    let taken =
        seen.iter().position(|(_, holder)| *holder == Some(identity(&new))).context("it was not seen to lead")?;
    let (freed, before) = seen.get(taken - 1).context("the new operator led all along")?;
    assert_eq!(*before, None, "the old one released the Lease: {seen:?}");
    let gap = seen[taken].0 - *freed;
    ensure!(gap < Duration::from_secs(3), "nobody led the operators for {gap:?}");
    assert_sound(&timeline, 1);
    operator.until_ready().await.map(drop)
}

#[tokio::test]
async fn an_operator_that_is_killed_is_replaced_by_the_one_that_watched() -> Result<()> {
    let promise = "a killed operator is replaced, and what ended meanwhile is cleared";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let (place, leader) = led(&session, "killed", group()).await?;
    let _quick = Quick::elections(&session).await?;
    let timeline = place.timeline().await?;
    let operator = session.operator();
    let old = operator.leading_pod().await?;

    // The first time its container runs again at once, and has its Lease back. From the second on it has to wait.
    let pods: kube::Api<Pod> = kube::Api::namespaced(session.client(), OPERATOR_NAMESPACE);
    let before = old.restarts();
    session.signal(&old, Signal::KILL)?;
    let again = |pod: Option<&Pod>| pod.is_some_and(|pod| pod.restarts() > before && pod.is_ready());
    let name = old.name_any();
    let waiting = kube::runtime::wait::await_condition(pods, &name, again);
    let again = tokio::time::timeout(Duration::from_mins(1), waiting).await.context("it does not run again")??;
    session.signal(&again.context("its pod is gone")?, Signal::KILL)?;
    place.delete_pod(&leader.name_any()).await?;
    until_cleared_for_another(&place, &leader, 1).await?;
    assert_sound(&timeline, 1);
    // It comes back.
    operator.until_ready().await.map(drop)
}

#[tokio::test]
async fn an_operator_that_is_cut_off_stands_by_when_it_is_back() -> Result<()> {
    let promise = "an operator that is cut off is replaced, and does nothing when it comes back";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let (place, leader) = led(&session, "cut", group()).await?;
    let _quick = Quick::elections(&session).await?;
    let timeline = place.timeline().await?;
    let operator = session.operator();
    let audit = Audit::from_now(&session)?;
    let old = operator.leading_pod().await?;

    let cut = Cut::all(&session, &old)?;
    place.delete_pod(&leader.name_any()).await?;
    let new = operator.leading_pod_but(&old).await?;
    let took_over = Timestamp::now();
    until_cleared_for_another(&place, &leader, 1).await?;
    // It knows by itself that it does not lead any more.
    operator.until_logged(&old, &["standing by", "DeadlinePassed"]).await?;
    drop(cut);

    // Back again, it sees how things went on, and leads when asked to.
    let next = place.until_settled("billing").await?;
    assert_nothing_accepted(&audit, &old, took_over)?;
    session.kubectl(&["delete", "pod", &new.name_any(), "--namespace", OPERATOR_NAMESPACE, "--wait=false"]).await?;
    place.delete_pod(&next.name_any()).await?;
    until_cleared_for_another(&place, &next, 2).await?;
    assert_sound(&timeline, 2);
    operator.until_ready().await.map(drop)
}

/// An operator has done nothing since then.
fn assert_nothing_accepted(audit: &Audit, pod: &Pod, since: Timestamp) -> Result<()> {
    for write in audit.writes_of(pod)? {
        let received: Timestamp = write.received.parse()?;
        ensure!(!write.is_accepted() || received < since, "accepted after {since}: {write:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_operator_stopped_between_judging_and_clearing_clears_nothing_afterwards() -> Result<()> {
    let promise = "leadership is checked before each write";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let (place, leader) = led(&session, "judged", group()).await?;
    let _quick = Quick::elections(&session).await?;
    let timeline = place.timeline().await?;
    let operator = session.operator();
    let audit = Audit::from_now(&session)?;
    let old = operator.leading_pod().await?;

    // It sees its candidate end, and asks for the pod once more before it clears. That question does not arrive.
    let cut = Cut::requests(&session, &old)?;
    place.delete_pod(&leader.name_any()).await?;
    operator.until_logged(&old, &[place.name(), "HolderTerminated"]).await?;
    let paused = Paused::pause(&session, &old)?;
    operator.leading_pod_but(&old).await?;
    let took_over = Timestamp::now();
    until_cleared_for_another(&place, &leader, 1).await?;
    drop(cut);
    drop(paused);
    operator.until_logged(&old, &["standing by"]).await?;
    place.until_settled("billing").await?;
    let writes = audit.writes_of(&old)?;
    ensure!(!writes.iter().any(|write| write.is_clear_in(place.name())), "it cleared: {writes:#?}");
    assert_nothing_accepted(&audit, &old, took_over)?;
    assert_sound(&timeline, 1);
    operator.until_ready().await.map(drop)
}

#[tokio::test]
async fn a_clear_that_was_on_its_way_while_another_took_over_is_refused() -> Result<()> {
    let promise = "a write that comes late is refused";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    // By accepted risk a clear is sent without a look at the pod, a known time after the pod is gone.
    let (place, leader) = led(&session, "late", group().accepts_risk(4)).await?;
    let _quick = Quick::elections(&session).await?;
    let timeline = place.timeline().await?;
    let operator = session.operator();
    let audit = Audit::from_now(&session)?;
    let old = operator.leading_pod().await?;

    place.force_delete_pod(&leader.name_any()).await?;
    let vanished = |g: &LeaderGroup| g.verdict() == Some(Verdict::Vanished);
    place.until("billing", "the holder is known to be gone", vanished).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let cut = Cut::requests(&session, &old)?;
    // A second for the clear, which is now written into a socket from which nothing gets out.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let paused = Paused::pause(&session, &old)?;
    operator.leading_pod_but(&old).await?;
    let took_over = Timestamp::now();
    let group = place.until_led_by_another("billing", &leader.name_any()).await?;
    assert_eq!(group.reason(), Some(TransitionReason::ClearedUnconfirmed), "{:?}", group.newest());
    drop(cut);

    // The kernel sends it again by itself: the operator is still stopped.
    let late = audit.until_written(&old, "its clear arrives", |write| write.is_clear_in(place.name())).await?;
    assert_eq!(late.code, 409, "{late:?}");
    drop(paused);
    operator.until_logged(&old, &["standing by"]).await?;
    place.until_settled("billing").await?;
    let after: LeaderGroup = place.groups().get("billing").await?;
    assert_eq!((after.seen().transitions, after.leading_pod()), (1, group.leading_pod()));
    assert_nothing_accepted(&audit, &old, took_over)?;
    assert_sound(&timeline, 1);
    operator.until_ready().await.map(drop)
}

#[tokio::test]
async fn an_operator_stopped_at_any_moment_around_a_death_does_no_harm() -> Result<()> {
    let promise = "an operator may be stopped at any moment";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let (place, mut leader) = led(&session, "anytime", group()).await?;
    let _quick = Quick::elections(&session).await?;
    let timeline = place.timeline().await?;
    let operator = session.operator();
    let moments = [0_u64, 700, 1_000, 1_150, 1_300, 1_600];
    for (round, moment) in moments.into_iter().enumerate() {
        let audit = Audit::from_now(&session)?;
        let old = operator.until_ready().await?;
        place.delete_pod(&leader.name_any()).await?;
        tokio::time::sleep(Duration::from_millis(moment)).await;
        let paused = Paused::pause(&session, &old)?;
        operator.leading_pod_but(&old).await?;
        let took_over = Timestamp::now();
        until_cleared_for_another(&place, &leader, i64::try_from(round)? + 1).await?;
        drop(paused);
        operator.until_logged(&old, &["standing by"]).await?;
        leader = place.until_settled("billing").await?;
        assert_nothing_accepted(&audit, &old, took_over)?;
    }
    assert_sound(&timeline, moments.len());
    let after: LeaderGroup = place.groups().get("billing").await?;
    assert_eq!(after.seen().transitions, i64::try_from(moments.len())?, "{:?}", after.seen().history);
    Ok(())
}

#[tokio::test]
async fn a_rolling_update_of_the_operator_is_nothing_that_a_group_notices() -> Result<()> {
    let promise = "the operator can be updated at any time";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let (place, leader) = led(&session, "rolled", group()).await?;
    let before: LeaderGroup = place.groups().get("billing").await?;
    let timeline = place.timeline().await?;
    session.operator().roll().await?;
    place.until_settled("billing").await?;
    let after: LeaderGroup = place.groups().get("billing").await?;
    assert_eq!(after.resource_version(), before.resource_version(), "nothing happened, and nothing was written");
    timeline.assert_never_cleared("billing");
    place.delete_pod(&leader.name_any()).await?;
    until_cleared_for_another(&place, &leader, 1).await?;
    Ok(())
}
