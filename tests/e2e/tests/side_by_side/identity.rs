//! How electors name themselves, on a real node: each form is mapped to its pod, and where none can be, the group tells
//! what to write.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use leadergroup_api::{LeaderGroup, TransitionReason, Verdict};
use leadergroup_e2e::cluster::Signal;
use leadergroup_e2e::{Candidates, Group, GroupView, LeaseView, Namespace, PodView, Session};
use serde_json::json;

use crate::AT_ONCE;
use crate::evidence::restarts::kill_between_renewals;

/// What pods see of their names is cut after 63 characters.
const LONG: &str = "a123456789-b123456789-c123456789-d123456789-e123456789-f1234567";

/// The group's template, and what its only candidate calls itself.
fn forms() -> Vec<(Group, Candidates)> {
    let form = |name: &str, identity: &str| (Group::named(name), Candidates::named(name).identity(identity));
    let templated = |name: &str, template: &str, identity: &str| {
        (Group::named(name).identity(template), Candidates::named(name).identity(identity))
    };
    let changed =
        |(group, candidates): (Group, Candidates), change: fn(Candidates) -> Candidates| (group, change(candidates));
    vec![
        form("plain", "{hostname}"),
        form("run", "{hostname}_{run}"),
        templated("dash", "{pod}-{any}", "{hostname}-{run}"),
        templated("controller", "{pod}-external-{any}", "{hostname}-external-hostpath"),
        templated("prefix", "shop-leader-{pod}", "shop-leader-{hostname}"),
        templated("node", "{node}/{pod}", "$(NODE_NAME)/{hostname}"),
        templated("uid", "{any}:{uid}", "{run}:$(POD_UID)"),
        changed(form("renamed", "{hostname}_{run}"), |c| c.hostname("db")),
        changed(form("dots", "dots-0_{run}"), |c| c.pod_name("dots.0")),
        changed(form("cut", "{hostname}_{run}"), |c| c.pod_name(&format!("{LONG}-tail"))),
        changed(form("host", "{hostname}_{run}"), Candidates::on_host_network),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_identity_is_mapped_to_its_pod() -> Result<()> {
    let promise = "a holder is mapped to its pod whatever it calls itself";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("forms").await?;
    try_join_all(forms().into_iter().map(|(group, candidates)| {
        let place = &place;
        async move {
            let group = place.create(&group.build()).await?;
            place.run(&candidates.pod()).await?;
            let name = group.name_any();
            let group = place.until_led(&name).await?;
            let pod = place.pods().get(&group.leading_pod().context("no leader")?).await?;
            ensure!(group.verdict() == Some(Verdict::Alive), "{name}: {:?}", group.holder());
            ensure!(group.seen().leader.and_then(|l| l.pod_uid) == pod.uid(), "{name}: another pod");
            ensure!(group.says("HolderSuspect", "False", "Resolved"), "{:?}", group.condition("HolderSuspect"));
            anyhow::Ok(())
        }
    }))
    .await?;
    Ok(())
}

#[tokio::test]
async fn pods_whose_cut_names_are_the_same_are_not_told_apart_until_one_has_ended() -> Result<()> {
    let promise = "two pods that see the same host name are not taken for each other";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("cut").await?;
    place.create(&Group::named("billing").timing(40, 20, 1).build()).await?;
    let billing = Candidates::named("billing").timing(40, 20, 1).identity("{hostname}_{run}");
    let leader = format!("{LONG}-one");
    place.run(&billing.clone().pod_name(&leader).pod()).await?;
    place.until_led("billing").await?;
    let standby = format!("{LONG}-two");
    place.run(&billing.pod_name(&standby).pod()).await?;
    place.until(&standby, "the standby runs", <Pod as PodView>::is_ready).await?;
    let ambiguous = |g: &LeaderGroup| g.verdict() == Some(Verdict::Ambiguous);
    let group: LeaderGroup = place.until("billing", "the holder may be either", ambiguous).await?;
    let suspect = group.condition("HolderSuspect").context("no condition")?.message;
    ensure!(suspect.contains(&leader) && suspect.contains(&standby) && suspect.contains("{uid}"), "{suspect}");
    place.delete_pod(&standby).await?;
    let group = place.until_led("billing").await?;
    assert_eq!(group.leading_pod(), Some(leader));
    assert_eq!(group.seen().transitions, 0, "{:?}", group.seen().history);
    Ok(())
}

#[tokio::test]
async fn a_run_of_another_identity_need_not_wait_for_the_one_before_it() -> Result<()> {
    let promise = "a container that restarts under another identity is not locked out by its own last run";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("runs").await?;
    let timeline = place.timeline().await?;
    place.create(&Group::named("billing").timing(40, 20, 2).build()).await?;
    place.run(&Candidates::named("billing").timing(40, 20, 2).identity("{hostname}_{run}").pod()).await?;
    let pod = place.until_settled("billing").await?;
    let first = place.groups().get("billing").await?.holder().context("no holder")?.identity;
    kill_between_renewals(&session, &place, &pod).await?;
    let killed = Instant::now();
    let another = |g: &LeaderGroup| g.leading_pod().is_some() && g.holder().is_some_and(|h| h.identity != first);
    let group: LeaderGroup = place.until("billing", "the next run leads", another).await?;
    ensure!(killed.elapsed() < AT_ONCE, "took {:?}", killed.elapsed());
    assert_eq!(group.leading_pod(), Some(pod.name_any()));
    assert_eq!((group.reason(), group.seen().transitions), (Some(TransitionReason::Cleared), 1));
    let (_, cleared) = timeline.cleared("billing").context("not cleared")?;
    assert!(cleared.renewed().is_some(), "{cleared:?}");
    Ok(())
}

#[tokio::test]
async fn keeps_lease_of_lasting_identity_that_crashed_in_second_of_renewal() -> Result<()> {
    let promise = "a run that ended in the second of a renewal proves nothing";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("kept").await?;
    // It expires before the kubelet's second back-off ends, and is left to the next run then.
    let (duration, deadline, retry) = (8, 5, 2);
    place.create(&Group::named("billing").timing(duration, deadline, retry).build()).await?;
    let billing = Candidates::named("billing").timing(8, 5, 2).identity("$(POD_NAME)_kept");
    place.run(&billing.pod()).await?;
    // After a first crash the next run starts at once; after the second it has to wait.
    let pod = place.until_settled("billing").await?;
    session.signal(&pod, Signal::KILL)?;
    let restarted = |pod: &Pod| pod.restarts() == 1 && pod.is_ready();
    let pod = place.until("billing", "the container runs again", restarted).await?;
    place.until_settled("billing").await?;
    let timeline = place.timeline().await?;
    let last = place.leases().get("billing").await?.renewed();
    // Early in a second, so that the end falls into the same one.
    let early = |lease: &Lease| lease.renewed() > last && lease.renewed().is_some_and(|t| t.subsec_millisecond() < 700);
    let renewed = place.until_within(Duration::from_mins(1), "billing", "a renewal early in a second", early).await?;
    session.signal(&pod, Signal::KILL)?;
    place.until_event("billing", "HolderUnproven").await?;
    let again = |lease: &Lease| lease.renewed() > renewed.renewed();
    place.until_within(Duration::from_mins(1), "billing", "the next run renews its Lease", again).await?;
    timeline.assert_never_cleared("billing");
    Ok(())
}

#[tokio::test]
async fn describe_says_what_to_write_for_an_identity_that_cannot_be_resolved() -> Result<()> {
    let promise = "a user is told how to name the holder's form";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("proposal").await?;
    place.create(&Group::named("billing").build()).await?;
    place.run(&Candidates::named("billing").identity("elector-$(POD_NAME)-{run}").pod()).await?;
    let suspected = |g: &LeaderGroup| g.condition("HolderSuspect").is_some_and(|c| c.status == "True");
    place.until("billing", "the holder is suspect", suspected).await?;
    let described = place.kubectl(&["describe", "leadergroup", "billing"]).await?;
    let wanted = "elector-{pod}-{any}";
    ensure!(described.contains(&format!("write in the spec: identity: \"{wanted}\"")), "{described}");
    led_with(&place, wanted).await
}

/// Writes what the group said, and waits until it is led.
async fn led_with(place: &Namespace, template: &str) -> Result<()> {
    let patch = json!({"spec": {"identity": template}}).to_string();
    place.kubectl(&["patch", "leadergroup", "billing", "--type=merge", "--patch", &patch]).await?;
    let group = place.until_led("billing").await?;
    assert_eq!(group.leading_pod().as_deref(), Some("billing"));
    assert!(group.says("HolderSuspect", "False", "Resolved"), "{:?}", group.condition("HolderSuspect"));
    Ok(())
}
