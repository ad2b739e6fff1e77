//! What proves nothing: rows 3, 4, 5, 10 and 11. Here a Lease has to run out, or is not the operator's to clear.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::PostParams;
use leadergroup_api::{LeaderGroup, RuleName, TransitionReason, Verdict};
use leadergroup_e2e::cluster::Signal;
use leadergroup_e2e::{Candidates, Group, GroupView, LeaseView, Namespace, PodView, Session, Timeline, lease_of};

use crate::ARRIVAL;

/// Waits until the group has this verdict on its holder.
async fn until_judged(place: &Namespace, group: &str, verdict: Verdict) -> Result<LeaderGroup> {
    let wanted = format!("the verdict is {verdict}");
    place.until(group, &wanted, |g: &LeaderGroup| g.verdict() == Some(verdict)).await
}

/// Waits until a Lease has another holder or none, and fails if that came before it had run out.
async fn kept_until_it_ran_out(timeline: &Timeline, name: &str, holder: &str, seconds: u64) -> Result<()> {
    let released = |entries: &[leadergroup_e2e::Entry]| {
        let held = |lease: &Lease| lease.name_any() == name && lease.holder().as_deref() == Some(holder);
        let first =
            entries.iter().position(|e| matches!(&e.seen, leadergroup_e2e::Seen::Lease(lease) if held(lease)))?;
        entries[first..].iter().find_map(|e| match &e.seen {
            leadergroup_e2e::Seen::Lease(lease) if lease.name_any() == name && !held(lease) => Some(e.at),
            _ => None,
        })
    };
    let freed: Instant = timeline.find("the Lease has another holder", Duration::from_mins(1), released).await?;
    let (moved, _) = timeline.last_renewal(name, holder).context("the holder was never seen")?;
    let kept = freed.duration_since(moved);
    ensure!(kept + ARRIVAL > Duration::from_secs(seconds), "{holder} lost the Lease {kept:?} after its last renewal");
    Ok(())
}

#[tokio::test]
async fn a_leader_deleted_by_force_keeps_its_lease_until_it_runs_out() -> Result<()> {
    let promise = "a forced deletion is no proof: the processes may live on";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("forced").await?;
    let timeline = place.timeline().await?;
    place.create(&Group::named("billing").timing(8, 5, 1).build()).await?;
    place.run(&Candidates::named("billing").timing(8, 5, 1).replicas(2).deployment()).await?;
    let leader = place.until_settled("billing").await?.name_any();
    place.force_delete_pod(&leader).await?;
    let vanished = until_judged(&place, "billing", Verdict::Vanished).await?;
    assert_eq!(vanished.rule(), Some(RuleName::DeletedWithoutReport));
    place.until_event("billing", "HolderVanished").await?;
    kept_until_it_ran_out(&timeline, "billing", &leader, 8).await?;
    let group = place.until_led_by_another("billing", &leader).await?;
    assert_eq!(group.reason(), Some(TransitionReason::Expired), "{:?}", group.newest());
    Ok(())
}

#[tokio::test]
async fn a_frozen_leader_is_never_cleared_and_a_standby_takes_over_by_itself() -> Result<()> {
    let promise = "a leader that runs but does not renew is left to the candidates";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("frozen").await?;
    let timeline = place.timeline().await?;
    place.create(&Group::named("billing").build()).await?;
    place.run(&Candidates::named("billing").replicas(2).deployment()).await?;
    let leader = place.until_settled("billing").await?;
    session.signal(&leader, Signal::STOP)?;
    kept_until_it_ran_out(&timeline, "billing", &leader.name_any(), 6).await?;
    let group = place.until_led_by_another("billing", &leader.name_any()).await?;
    session.signal(&leader, Signal::CONT)?;
    assert_eq!(group.reason(), Some(TransitionReason::Expired), "{:?}", group.newest());
    timeline.assert_never_cleared("billing");
    Ok(())
}

#[tokio::test]
async fn a_holder_that_is_no_candidate_is_never_cleared() -> Result<()> {
    let promise = "a holder outside the selector is not the operator's to judge";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("foreign").await?;
    let timeline = place.timeline().await?;
    place.run(&Candidates::named("stray").without_labels().pod()).await?;
    place.until("stray", "the pod runs", <Pod as PodView>::is_ready).await?;
    place.create(&lease_of("billing", "stray", 2)).await?;
    place.create(&Group::named("billing").build()).await?;
    let group = until_judged(&place, "billing", Verdict::Foreign).await?;
    assert!(group.says("HolderSuspect", "True", "Foreign"), "{:?}", group.condition("HolderSuspect"));
    place.until_event("billing", "HolderForeign").await?;
    // Twice the time after which anything else would have been cleared.
    tokio::time::sleep(Duration::from_secs(4)).await;
    timeline.assert_never_cleared("billing");
    assert_eq!(place.groups().get("billing").await?.verdict(), Some(Verdict::Foreign));
    Ok(())
}

#[tokio::test]
async fn a_holder_of_another_form_than_the_groups_identity_is_never_cleared() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("form").await?;
    let timeline = place.timeline().await?;
    place.create(&lease_of("billing", "somebody@elsewhere", 2)).await?;
    place.create(&Group::named("billing").identity("billing/{pod}").build()).await?;
    let group = until_judged(&place, "billing", Verdict::Foreign).await?;
    assert_eq!(group.rule(), Some(RuleName::IdentityNotOfTemplate));
    tokio::time::sleep(Duration::from_secs(4)).await;
    timeline.assert_never_cleared("billing");
    Ok(())
}

#[tokio::test]
async fn clears_holder_that_fits_no_pod_one_duration_after_expiry() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("nobody").await?;
    let timeline = place.timeline().await?;
    place.create(&Group::named("billing").build()).await?;
    place.create(&lease_of("billing", "long-gone", 4)).await?;
    let group = until_judged(&place, "billing", Verdict::Unresolved).await?;
    assert!(group.says("HolderSuspect", "True", "Unresolved"), "{:?}", group.condition("HolderSuspect"));
    // One duration until it expires, and one more in which nobody takes it.
    kept_until_it_ran_out(&timeline, "billing", "long-gone", 8).await?;
    assert!(timeline.cleared("billing").is_some());
    let group = until_judged(&place, "billing", Verdict::Free).await?;
    assert!(group.says("Ready", "False", "NoCandidates"), "{:?}", group.condition("Ready"));
    Ok(())
}

#[tokio::test]
async fn an_identity_that_two_live_pods_share_is_cleared_only_once_its_lease_ran_out() -> Result<()> {
    let promise = "the death of one of two pods that may hold the Lease proves nothing";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("shared").await?;
    let timeline = place.timeline().await?;
    // The candidates race for a Lease of another name: this test holds the group's.
    place.run(&Candidates::named("billing").lease("other").replicas(2).deployment()).await?;
    let list = kube::api::ListParams::default().labels("app=billing");
    let bound = |entries: &[leadergroup_e2e::Entry]| {
        let nodes = entries.iter().filter_map(|e| match &e.seen {
            leadergroup_e2e::Seen::Pod(pod) if pod.is_ready() => {
                Some((pod.name_any(), pod.spec.as_ref()?.node_name.clone()?))
            }
            _ => None,
        });
        let nodes: std::collections::BTreeMap<_, _> = nodes.collect();
        (nodes.len() == 2).then(|| nodes.into_values().collect::<Vec<_>>())
    };
    let nodes = timeline.find("both candidates run", Duration::from_secs(45), bound).await?;
    if nodes[0] != nodes[1] {
        leadergroup_e2e::tell_not_proven("the candidates are on two nodes", "an identity that two pods share");
        return Ok(());
    }
    place.create(&Group::named("billing").identity("{node}").build()).await?;
    place.create(&lease_of("billing", &nodes[0], 5)).await?;
    let group = until_judged(&place, "billing", Verdict::Ambiguous).await?;
    assert!(group.says("HolderSuspect", "True", "Ambiguous"), "{:?}", group.condition("HolderSuspect"));
    ensure!(place.pods().list(&list).await?.items.len() == 2);
    kept_until_it_ran_out(&timeline, "billing", &nodes[0], 10).await
}

#[tokio::test]
async fn a_lease_renewed_after_its_holder_was_proven_dead_is_never_cleared() -> Result<()> {
    let promise = "something that renews under a dead pod's identity is noticed, and never cleared";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("undead").await?;
    let timeline = place.timeline().await?;
    // The delay is the time in which this test renews.
    place.create(&Group::named("billing").timing(30, 20, 1).delay(6).build()).await?;
    place.run(&Candidates::named("billing").timing(30, 20, 1).pod()).await?;
    place.until_settled("billing").await?;
    place.delete_pod("billing").await?;
    place.until_gone::<Pod>("billing").await?;
    until_judged(&place, "billing", Verdict::Terminated).await?;
    place.until_event("billing", "HolderTerminated").await?;
    let lease = place.leases().get("billing").await?.renewed_now();
    place.leases().replace("billing", &PostParams::default(), &lease).await?;
    let group = until_judged(&place, "billing", Verdict::Contradiction).await?;
    assert!(group.says("HolderSuspect", "True", "Contradiction"), "{:?}", group.condition("HolderSuspect"));
    place.until_event("billing", "HolderContradiction").await?;
    // Past the delay, when the clear was due.
    tokio::time::sleep(Duration::from_secs(7)).await;
    timeline.assert_never_cleared("billing");
    assert_eq!(place.leases().get("billing").await?.holder().as_deref(), Some("billing"));
    Ok(())
}
