//! What `spec.staleHolder` and `spec.lease` make of a verdict.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use leadergroup_api::{LeaderGroup, ReleaseForm, TransitionReason, Verdict};
use leadergroup_e2e::{Candidates, Group, GroupView, LeaseView, PodView, Seen, Session};

use super::LONG;
use crate::{ARRIVAL, AT_ONCE};

fn group() -> Group {
    Group::named("billing").timing(LONG.0, LONG.1, LONG.2)
}

fn billing() -> Candidates {
    Candidates::named("billing").timing(40, 20, 1)
}

#[tokio::test]
async fn policy_observe_leaves_the_lease_alone_and_says_what_a_clear_would_have_saved() -> Result<()> {
    let promise = "policy Observe writes nothing to the Lease";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("observe").await?;
    let timeline = place.timeline().await?;
    place.create(&Group::named("billing").observes().build()).await?;
    place.run(&Candidates::named("billing").replicas(2).deployment()).await?;
    let leader = place.until_settled("billing").await?.name_any();
    place.delete_pod(&leader).await?;
    let group = place.until_led_by_another("billing", &leader).await?;
    let note = place.until_event("billing", "HolderTerminated").await?;
    assert!(note.contains("policy Observe leaves the Lease alone"), "{note}");
    assert_eq!(group.reason(), Some(TransitionReason::Expired), "{:?}", group.newest());
    let told =
        |reason: &str, note: &str| reason == "LeaderChanged" && note.contains("policy Clear would have saved up to");
    place.until_event_that("billing", told).await?;
    timeline.assert_never_cleared("billing");
    Ok(())
}

#[tokio::test]
async fn a_cleared_lease_has_the_form_the_group_asks_for_and_keeps_its_times_and_count() -> Result<()> {
    let promise = "what a cleared Lease looks like";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("forms").await?;
    let timeline = place.timeline().await?;
    let forms = [("empty", ReleaseForm::Empty), ("null", ReleaseForm::Null), ("delete", ReleaseForm::Delete)];
    for (name, form) in forms {
        place.create(&Group::named(name).timing(LONG.0, LONG.1, LONG.2).release(form).build()).await?;
        place.run(&Candidates::named(name).timing(40, 20, 1).pod()).await?;
    }
    for (name, _) in forms {
        place.until_led(name).await?;
        place.delete_pod(name).await?;
    }
    for (name, form) in forms {
        let gone = |entries: &[leadergroup_e2e::Entry]| {
            entries.iter().find_map(|entry| match &entry.seen {
                Seen::LeaseGone(lease) if lease.name_any() == name => Some((true, lease.clone())),
                Seen::Lease(lease) if lease.name_any() == name && lease.is_cleared() => Some((false, lease.clone())),
                _ => None,
            })
        };
        let (deleted, after) = timeline.find(&format!("{name} is cleared"), Duration::from_secs(30), gone).await?;
        assert_eq!(deleted, form == ReleaseForm::Delete, "{name}");
        if deleted {
            continue;
        }
        let (_, before) = timeline.last_renewal(name, name).context("it never led")?;
        let (before, after) = (before.record(), after.record());
        assert_eq!(after.holder_identity.as_deref(), (form == ReleaseForm::Empty).then_some(""), "{name}");
        assert_eq!(after.lease_duration_seconds, Some(1), "{name}");
        assert_eq!(after.acquire_time, before.acquire_time, "{name}");
        assert_eq!(after.renew_time, before.renew_time, "{name}");
        assert_eq!(after.lease_transitions, before.lease_transitions, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn a_holder_gone_without_proof_is_cleared_early_where_the_user_accepts_the_risk() -> Result<()> {
    let promise = "unconfirmed AcceptRisk clears after its time";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("risk").await?;
    let timeline = place.timeline().await?;
    place.create(&group().accepts_risk(3).build()).await?;
    place.run(&billing().replicas(2).deployment()).await?;
    let leader = place.until_settled("billing").await?.name_any();
    place.force_delete_pod(&leader).await?;
    let group = place.until_led_by_another("billing", &leader).await?;
    assert_eq!(group.reason(), Some(TransitionReason::ClearedUnconfirmed), "{:?}", group.newest());
    let (cleared, _) = timeline.cleared("billing").context("the Lease was not cleared")?;
    let (moved, _) = timeline.last_renewal("billing", &leader).context("it never led")?;
    let waited = cleared.duration_since(moved);
    ensure!(waited + ARRIVAL > Duration::from_secs(3), "cleared after {waited:?}");
    ensure!(waited < AT_ONCE, "cleared only after {waited:?}");
    Ok(())
}

#[tokio::test]
async fn candidates_without_the_right_to_create_leases_lead_a_lease_made_by_the_operator() -> Result<()> {
    let promise = "lease.create spares candidates the right to create Leases";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("create").await?;
    place.create(&Group::named("billing").creates_lease().build()).await?;
    let free = |lease: &Lease| {
        let record = lease.record();
        lease.holder().is_none()
            && record.lease_duration_seconds == Some(6)
            && record.lease_transitions == Some(0)
            && record.acquire_time.is_some()
            && record.renew_time.is_some()
    };
    place.until("billing", "the Lease exists, free, with its times, duration and count set", free).await?;
    place.run(&Candidates::named("billing").without_create().pod()).await?;
    let group = place.until_led("billing").await?;
    assert_eq!((group.reason(), group.seen().transitions), (Some(TransitionReason::First), 0));
    Ok(())
}

#[tokio::test]
async fn a_clear_waits_for_the_delay_that_the_group_grants() -> Result<()> {
    let promise = "delaySeconds passes between proof and clear";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("delay").await?;
    let timeline = place.timeline().await?;
    place.create(&group().delay(4).build()).await?;
    place.run(&billing().replicas(2).deployment()).await?;
    let leader = place.until_settled("billing").await?.name_any();
    place.delete_pod(&leader).await?;
    let proven =
        timeline.pod("the leader has ended", |pod| pod.name_any() == leader && pod.has_ended_run("app")).await?;
    let terminated = |g: &LeaderGroup| g.verdict() == Some(Verdict::Terminated);
    place.until("billing", "the holder is said to be dead", terminated).await?;
    let group = place.until_led_by_another("billing", &leader).await?;
    assert_eq!(group.reason(), Some(TransitionReason::Cleared), "{:?}", group.newest());
    let (cleared, _) = timeline.cleared("billing").context("the Lease was not cleared")?;
    let waited = cleared.duration_since(proven);
    ensure!(waited + ARRIVAL > Duration::from_secs(4) && waited < AT_ONCE, "cleared {waited:?} after the proof");
    Ok(())
}
