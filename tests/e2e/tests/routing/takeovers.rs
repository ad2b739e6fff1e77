//! Who answers while leadership changes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use leadergroup_e2e::cluster::Signal;
use leadergroup_e2e::{Candidates, LeaseView, Namespace, PodView, Session, until_second_after};

use super::place::{SERVICE, address, hold, routed, servers, until_routed};
use super::record::{Client, Record, failures, ms, pods_of, tell};

/// How long kube-proxy and a busy machine may take at the very most: the figures are printed, and are far below.
const AT_MOST: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_follow_the_lease_from_one_live_pod_to_another() -> Result<()> {
    let promise = "kube-proxy sends new connections to the pod that holds the Lease";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("switch").await?;
    servers(&place, &["one", "two"]).await?;
    hold(&place, "one").await?;
    place.create(&routed().build()).await?;
    until_routed(&place, "True", "LeaderOnly").await?;
    let slices = Record::<EndpointSlice>::of(&place, SERVICE).await;
    let leases = Record::<Lease>::of(&place, "billing").await;
    let client = Client::of(address(&place).await?);
    // Before that kube-proxy does not know the Service.
    let begun = client.when("the first leader answers", Instant::now(), |r| r.is_by("one")).await?.began;

    let [mut decided, mut synced, mut gone, mut wrong] = [const { Vec::new() }; 4];
    for (old, new) in [("one", "two"), ("two", "one")].into_iter().cycle().take(20) {
        let start = Instant::now();
        hold(&place, new).await?;
        let held = leases.when("the Lease is held by the other", start, |lease: Option<&Lease>| {
            lease.and_then(LeaseView::holder).as_deref() == Some(new)
        });
        let held = held.await?;
        let switched = slices.when("the slice is switched", start, |slice| pods_of(slice) == [new]).await?;
        let first = client.when("the new leader answers", start, |r| r.is_by(new)).await?;
        // The requests that follow would show one that is late.
        let after = client.requests().len();
        while client.requests().len() < after + 50 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let requests = client.requests();
        let last_old = requests.iter().rfind(|r| r.began >= start && r.is_by(old)).map_or(switched, |r| r.began);
        ensure!(last_old < switched + AT_MOST, "{old} answers {} ms after the switch", ms(switched, last_old));
        let in_between = slices.states().into_iter().filter(|(at, _)| *at >= start && *at <= switched);
        let written: Vec<_> = in_between.map(|(_, slice)| pods_of(slice.as_ref())).collect();
        assert_eq!(written, [vec![new.to_owned()]], "one write switches");
        wrong.extend(requests.iter().filter(|r| r.began >= held && r.is_by(old)).map(|r| ms(held, r.began)));
        decided.push(ms(held, switched));
        synced.push(ms(switched, first.ended));
        gone.push(ms(switched, last_old));
    }
    let requests: Vec<_> = client.requests().into_iter().filter(|r| r.began >= begun).collect();
    eprintln!("{} requests in 20 switches between live pods, {}", requests.len(), failures(&requests));
    eprintln!("{} of them were answered by the pod that did not hold the Lease any more", wrong.len());
    tell("Lease seen -> slice seen", decided)?;
    tell("slice seen -> first answer by the new leader", synced)?;
    tell("slice seen -> last connection answered by the old one", gone)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slice_is_emptied_when_nobody_leads() -> Result<()> {
    let promise = "nobody gets traffic from the moment that nobody leads";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("emptied").await?;
    servers(&place, &["one"]).await?;
    hold(&place, "one").await?;
    place.create(&routed().build()).await?;
    until_routed(&place, "True", "LeaderOnly").await?;
    let slices = Record::<EndpointSlice>::of(&place, SERVICE).await;
    let leases = Record::<Lease>::of(&place, "billing").await;
    let [mut emptied_after, mut filled_after] = [const { Vec::new() }; 2];
    for _ in 0..100 {
        for (holder, pods, figures) in [("", &[][..], &mut emptied_after), ("one", &["one"][..], &mut filled_after)] {
            let start = Instant::now();
            hold(&place, holder).await?;
            let is_held = |lease: Option<&Lease>| lease.and_then(LeaseView::holder).unwrap_or_default() == holder;
            let held = leases.when("the Lease has changed", start, is_held).await?;
            let switched = slices.when("the slice has changed", start, |slice| pods_of(slice) == pods).await?;
            ensure!(switched < held + AT_MOST, "the slice changes {} ms after the Lease", ms(held, switched));
            figures.push(ms(held, switched));
        }
    }
    let refused = session.operator().log_about(place.name()).await?;
    let refused: Vec<_> = refused.iter().filter(|line| line.contains("could not")).collect();
    assert!(refused.is_empty(), "no write got into another's way: {refused:?}");
    tell("Lease seen free -> slice seen emptied", emptied_after)?;
    tell("Lease seen taken -> slice seen filled", filled_after)
}

/// How a leader ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Deleted,
    ForceDeleted,
    Crashed,
}

/// The leader has ended, for all that can be seen: what the operator goes by.
fn is_evidence(end: End, restarts: i32, pod: Option<&Pod>) -> bool {
    match end {
        End::ForceDeleted => pod.is_none(),
        End::Deleted => pod.is_none_or(|pod| {
            pod.has_ended_run("app") && matches!(pod.seen().phase.as_deref(), Some("Succeeded" | "Failed"))
        }),
        End::Crashed => pod.is_some_and(|pod| {
            let is_down = pod.containers().iter().any(|c| c.state.as_ref().is_some_and(|s| s.terminated.is_some()));
            is_down || pod.restarts() > restarts
        }),
    }
}

async fn end_leader(session: &Session, place: &Namespace, end: End, leader: &Pod) -> Result<()> {
    let name = leader.name_any();
    match end {
        End::Deleted => place.delete_pod(&name).await,
        End::ForceDeleted => place.force_delete_pod(&name).await,
        End::Crashed => {
            // In a later second than the last renewal, or it is no proof.
            let lease = place.leases().get("billing").await?;
            let last = lease.renewed();
            let lease = place.until("billing", "the Lease is renewed", |l: &Lease| l.renewed() > last).await?;
            let renewed = lease.renewed().context("never renewed")?;
            until_second_after(renewed).await;
            session.signal(leader, Signal::KILL)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connection_is_answered_by_a_pod_that_lost_the_lease() -> Result<()> {
    let promise = "whatever ends a leader, new connections go to nobody, then to the next one";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("takeover").await?;
    place.create(&routed().timing(8, 5, 2).build()).await?;
    // A crashed container takes its Lease back at once if its identity outlives it, so here it does not.
    let candidates =
        Candidates::named("billing").timing(8, 5, 2).arg("--serve=:8080").identity("$(POD_NAME)_{run}").replicas(3);
    place.run(&candidates.deployment()).await?;
    place.until_settled("billing").await?;
    until_routed(&place, "True", "LeaderOnly").await?;
    let slices = Record::<EndpointSlice>::of(&place, SERVICE).await;
    let leases = Record::<Lease>::of(&place, "billing").await;
    let client = Client::of(address(&place).await?);
    let mut emptied_after = Vec::new();

    for end in [End::Deleted, End::Crashed, End::ForceDeleted, End::Deleted, End::Crashed, End::ForceDeleted] {
        let leader = place.until_settled("billing").await?;
        let name = leader.name_any();
        until_routed(&place, "True", "LeaderOnly").await?;
        let start = Instant::now();
        let pods = Record::<Pod>::of(&place, &name).await;
        let holder = place.leases().get("billing").await?.holder().context("nobody holds the Lease")?;
        // A pod that is gone before a watch has listed it is not told of.
        pods.when("the leader's pod is watched", start, |pod| pod.is_some()).await?;
        client.when("the leader answers", start, |r| r.is_by(&name)).await?;
        let before = leader.restarts();
        end_leader(&session, &place, end, &leader).await?;
        let evidence = pods.when("the leader's end is seen", start, |pod| is_evidence(end, before, pod)).await?;
        let emptied = slices.when("the slice no longer sends to it", start, |s| pods_of(s).is_empty()).await?;
        let late = ms(evidence, emptied);
        ensure!(late < 2_000.0, "{end:?}: emptied {late} ms after the evidence");

        let by_another = |lease: Option<&Lease>| lease.and_then(LeaseView::holder).filter(|h| *h != holder);
        let taken = leases.when("another holds the Lease", start, |lease| by_another(lease).is_some()).await?;
        let next = leases.states().iter().rev().find_map(|(_, lease)| by_another(lease.as_ref()));
        let next = next.and_then(|h| Some(h.split_once('_')?.0.to_owned())).context("the holder names no pod")?;
        let switched = slices.when("the slice sends to the next", emptied, |s| pods_of(s) == [next.clone()]).await?;
        let first = client.when("the next answers", taken, |r| r.is_by(&next)).await?;

        let requests = client.requests();
        let of_this: Vec<_> = requests.into_iter().filter(|r| r.began >= start).collect();
        let wrong: Vec<_> = of_this.iter().filter(|r| matches!(&r.answer, Ok((_, false)))).collect();
        let late_old = of_this.iter().filter(|r| r.is_by(&name) && r.began > emptied + AT_MOST && name != next).count();
        let late_wrong = wrong.iter().filter(|r| r.began > switched + AT_MOST).count();
        eprintln!(
            "{end:?}: evidence -> emptied {late:.1} ms; Lease taken -> switched {:.1} ms; switched -> first answer {:.1} ms; \
             of {} requests {}, {} were answered by a pod that did not lead; {:.1} s from the end to the next answer",
            ms(taken, switched),
            ms(switched, first.ended),
            of_this.len(),
            failures(&of_this),
            wrong.len(),
            ms(start, first.ended) / 1e3,
        );
        assert_eq!((late_old, late_wrong), (0, 0), "{end:?}: {wrong:?}");
        emptied_after.push(late);
    }
    tell("evidence seen -> slice seen emptied", emptied_after)
}
