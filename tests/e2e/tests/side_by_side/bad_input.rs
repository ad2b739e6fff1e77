//! Input that is legal but useless, or worse: it is named in a condition, and does no harm to other groups, to the
//! operator or to the API server.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use leadergroup_api::{LeaderGroup, Verdict};
use leadergroup_e2e::{Candidates, Group, GroupView, LeaseView, Namespace, Session, lease_of};

/// A while in which an operator that retries without end would show.
const A_WHILE: Duration = Duration::from_secs(6);

/// Fails if the operator does not work for another group, was restarted, or talks and writes without end about this one.
async fn assert_harmless(session: &Session, place: &Namespace, group: &str, restarts: i32) -> Result<()> {
    let timeline = place.timeline().await?;
    let healthy = "healthy";
    place.create(&Group::named(healthy).build()).await?;
    place.create(&lease_of(healthy, "long-gone", 2)).await?;
    place.until_cleared(healthy).await?;
    tokio::time::sleep(A_WHILE).await;
    let writes = timeline.groups(group).len();
    ensure!(writes <= 4, "{writes} versions of a group of which nothing changed");
    let lines = session.operator().log_about(place.name()).await?;
    ensure!(lines.len() <= 20, "{} lines in the log:\n{}", lines.len(), lines.join("\n"));
    if session.cluster().has_real_node() {
        assert_eq!(session.operator().restarts().await?, restarts, "the operator was restarted");
    }
    Ok(())
}

async fn restarts(session: &Session) -> Result<i32> {
    if session.cluster().has_real_node() { session.operator().restarts().await } else { Ok(0) }
}

/// Puts a group on a Lease that was changed so, and waits for that reason in its condition `LeaseSuspect`.
async fn with_lease(purpose: &str, reason: &str, change: impl FnOnce(&mut Lease)) -> Result<()> {
    let session = Session::start().await?;
    let before = restarts(&session).await?;
    let place = session.namespace(purpose).await?;
    let mut lease = lease_of("billing", "long-gone", 6);
    change(&mut lease);
    place.create(&lease).await?;
    place.create(&Group::named("billing").timing(60, 40, 2).build()).await?;
    let status = if reason == "Sound" { "False" } else { "True" };
    let named = |g: &LeaderGroup| g.says("LeaseSuspect", status, reason) && g.verdict().is_some();
    place.until("billing", &format!("LeaseSuspect says {reason}"), named).await?;
    assert_harmless(&session, &place, "billing", before).await
}

#[tokio::test]
async fn a_lease_without_a_duration_is_named_and_the_groups_own_is_used() -> Result<()> {
    let without = |lease: &mut Lease| lease.spec.get_or_insert_default().lease_duration_seconds = None;
    with_lease("no-duration", "NoDuration", without).await
}

#[tokio::test]
async fn a_lease_that_would_block_its_group_for_decades_is_named() -> Result<()> {
    let forever = |lease: &mut Lease| lease.spec.get_or_insert_default().lease_duration_seconds = Some(i32::MAX);
    with_lease("forever", "LongDuration", forever).await
}

#[tokio::test]
async fn a_lease_renewed_in_the_year_9999_is_read_as_it_is() -> Result<()> {
    with_lease("year-9999", "Sound", |lease| {
        let record = lease.spec.get_or_insert_default();
        let late = "9999-12-30T22:00:00.999999Z".parse().map(k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime);
        record.renew_time = late.ok();
        record.acquire_time.clone_from(&record.renew_time);
    })
    .await
}

#[tokio::test]
async fn a_lease_without_times_is_named() -> Result<()> {
    with_lease("no-times", "NoRenewTime", |lease| {
        let record = lease.spec.get_or_insert_default();
        record.renew_time = None;
        record.acquire_time = None;
    })
    .await
}

#[tokio::test]
async fn a_lease_with_as_many_annotations_as_the_api_server_takes_is_read() -> Result<()> {
    with_lease("annotations", "Sound", |lease| {
        let filler = (0..250).map(|n| (format!("example.test/filler-{n:03}"), "x".repeat(1_000)));
        lease.metadata.annotations = Some(filler.collect());
    })
    .await
}

#[tokio::test]
async fn the_api_server_refuses_a_lease_with_negative_numbers() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("negative").await?;
    for change in [
        |l: &mut Lease| l.spec.get_or_insert_default().lease_transitions = Some(-1),
        |l: &mut Lease| {
            l.spec.get_or_insert_default().lease_duration_seconds = Some(-1);
        },
    ] {
        let mut lease = lease_of("billing", "long-gone", 6);
        change(&mut lease);
        let answer = place.leases().create(&PostParams::default(), &lease).await;
        let refused = answer.err().context("a negative number is accepted")?;
        assert!(refused.to_string().contains("must be greater than"), "{refused}");
    }
    Ok(())
}

#[tokio::test]
async fn a_lease_renewed_under_changing_identities_costs_one_status_write_each() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("flapping").await?;
    place.create(&Group::named("billing").timing(60, 40, 2).build()).await?;
    place.create(&lease_of("billing", "pod-0", 60)).await?;
    let timeline = place.timeline().await?;
    let transitions = 20;
    for n in 1..=transitions {
        let mut lease = place.leases().get("billing").await?.renewed_now();
        lease.spec.get_or_insert_default().holder_identity = Some(format!("pod-{n}"));
        place.leases().replace("billing", &PostParams::default(), &lease).await?;
    }
    let last = format!("pod-{transitions}");
    let seen = |g: &LeaderGroup| g.holder().is_some_and(|holder| holder.identity == last);
    let group: LeaderGroup = place.until("billing", "the last holder is seen", seen).await?;
    assert_eq!(group.seen().transitions, transitions, "every change of holder is counted");
    assert_eq!(group.seen().history.len(), 20, "the history is as long as its limit");
    let writes = timeline.groups("billing").len();
    ensure!(writes <= 2 * usize::try_from(transitions)?, "{writes} writes for {transitions} transitions");
    Ok(())
}

#[tokio::test]
async fn a_selector_that_matches_nothing_is_named() -> Result<()> {
    let session = Session::start().await?;
    let before = restarts(&session).await?;
    let place = session.namespace("nothing").await?;
    place.create(&Group::named("billing").selecting("app", "nobody").build()).await?;
    let named = |g: &LeaderGroup| {
        g.says("CandidatesFound", "False", "NoPodMatches") && g.says("Ready", "False", "NoCandidates")
    };
    let group: LeaderGroup = place.until("billing", "the group says that nothing matches", named).await?;
    let message = group.condition("CandidatesFound").map(|c| c.message).unwrap_or_default();
    assert!(message.contains("app=nobody") && message.contains(place.name()), "{message}");
    assert_harmless(&session, &place, "billing", before).await
}

#[tokio::test]
async fn a_selector_that_matches_every_pod_is_named_and_works() -> Result<()> {
    let promise = "a selector that leaves no pod out";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let before = restarts(&session).await?;
    let place = session.namespace("everything").await?;
    place.create(&Group::named("billing").selecting_all().build()).await?;
    place.run(&Candidates::named("billing").pod()).await?;
    place.run(&Candidates::named("bystander").pod()).await?;
    let named =
        |g: &LeaderGroup| g.says("CandidatesFound", "True", "EveryPodMatches") && g.seen().candidates.ready == 2;
    place.until("billing", "the group says that every pod matches", named).await?;
    let group = place.until_led("billing").await?;
    assert_eq!((group.leading_pod().as_deref(), group.verdict()), (Some("billing"), Some(Verdict::Alive)));
    assert_harmless(&session, &place, "billing", before).await
}

#[tokio::test]
async fn a_watched_container_that_no_candidate_has_is_named_and_proves_nothing() -> Result<()> {
    let promise = "a watched container that does not exist proves no death";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("typo").await?;
    let timeline = place.timeline().await?;
    place.create(&Group::named("billing").containers(&["ap"]).timing(8, 5, 1).build()).await?;
    place.run(&Candidates::named("billing").timing(8, 5, 1).pod()).await?;
    let named = |g: &LeaderGroup| g.says("CandidatesFound", "False", "ContainerMissing");
    place.until("billing", "the group names the container", named).await?;
    place.until("billing", "the candidate leads", |lease: &Lease| lease.holder().is_some()).await?;
    place.delete_pod("billing").await?;
    let (cleared, _) = timeline.lease("the Lease is cleared", LeaseView::is_cleared).await?;
    let (moved, _) = timeline.last_renewal("billing", "billing").context("it never led")?;
    let kept = cleared.duration_since(moved);
    ensure!(kept > Duration::from_millis(7_500), "cleared {kept:?} after the last renewal");
    Ok(())
}
