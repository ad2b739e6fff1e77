//! A lost node: its kubelet is silent, and its processes live on or do not; nobody can tell. Run this by itself: the
//! node is that of all tests.
#![allow(missing_docs)]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt};
use leadergroup_api::{LeaderGroup, TransitionReason, Verdict};
use leadergroup_e2e::cluster::{Component, Signal};
use leadergroup_e2e::{Candidates, Group, GroupView, LeaseView, Seen, Session};

/// The controller manager notices within its grace period, and some.
const NOTICE: Duration = Duration::from_mins(1);

const TAINT: &str = "node.kubernetes.io/out-of-service";

/// A node whose kubelet is stopped. Its kubelet runs again, and its taint is gone, when this is dropped.
struct LostNode {
    session: Session,
    name: String,
    tainted: bool,
}

impl LostNode {
    async fn lose(session: &Session, name: &str) -> Result<Self> {
        let lost = Self { session: session.clone(), name: name.to_owned(), tainted: false };
        let cluster = session.cluster().clone();
        tokio::task::spawn_blocking(move || cluster.stop(Component::Kubelet)).await??;
        Ok(lost)
    }

    fn restore(&self) -> Result<()> {
        self.session.cluster().start(Component::Kubelet)?;
        if self.tainted {
            self.session.kubectl_now(&["taint", "node", &self.name, &format!("{TAINT}-")])?;
        }
        let node = format!("node/{}", self.name);
        self.session.kubectl_now(&["wait", "--for=condition=Ready", "--timeout=90s", &node]).map(drop)
    }

    /// Taints the node as an administrator does, but without evicting what tolerates no such taint: the operator runs
    /// there.
    fn put_out_of_service(&mut self) -> Result<()> {
        self.tainted = true;
        let taint = format!("{TAINT}=nodeshutdown:NoSchedule");
        self.session.kubectl_now(&["taint", "node", &self.name, &taint]).map(drop)
    }
}

impl Drop for LostNode {
    fn drop(&mut self) {
        if let Err(error) = self.restore() {
            eprintln!("node {} stays lost: {error:#}", self.name);
        }
    }
}

async fn until_ready_is(client: Client, name: &str, ready: bool) -> Result<()> {
    let is_so = |node: Option<&Node>| {
        let conditions = node.and_then(|n| n.status.as_ref()?.conditions.clone()).unwrap_or_default();
        conditions.iter().any(|c| c.type_ == "Ready" && (c.status == "True") == ready)
    };
    let waiting = await_condition(Api::<Node>::all(client), name, is_so);
    tokio::time::timeout(NOTICE, waiting)
        .await
        .with_context(|| format!("node {name} does not become ready={ready}"))??;
    Ok(())
}

#[tokio::test]
async fn the_holder_on_a_lost_node_is_cleared_when_an_administrator_declares_the_node_out_of_service() -> Result<()> {
    let promise = "a lost node is no proof; an administrator's word that it is out of service is";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("lost").await?;
    place.create(&Group::named("killed").timing(150, 100, 2).build()).await?;
    place.create(&Group::named("living").timing(30, 20, 2).build()).await?;
    place.run(&Candidates::named("killed").timing(150, 100, 2).replicas(2).deployment()).await?;
    place.run(&Candidates::named("living").timing(30, 20, 2).pod()).await?;
    let killed = place.until_settled("killed").await?;
    place.until_settled("living").await?;
    let home = killed.spec.as_ref().and_then(|spec| spec.node_name.clone()).context("the leader has no node")?;
    let timeline = place.timeline().await?;

    let mut lost = LostNode::lose(&session, &home).await?;
    session.signal(&killed, Signal::KILL)?;
    until_ready_is(session.client(), &home, false).await?;

    // Nobody knows: the kubelet is silent.
    let unreachable = |g: &LeaderGroup| g.verdict() == Some(Verdict::Unreachable);
    for group in ["killed", "living"] {
        place.until(group, "the holder's node is known to be lost", unreachable).await?;
    }
    place.until_event("killed", "HolderUnreachable").await?;
    timeline.assert_never_cleared("living");
    timeline.assert_never_cleared("killed");

    let declared = std::time::Instant::now();
    lost.put_out_of_service()?;
    let is_cleared = |entries: &[leadergroup_e2e::Entry]| {
        entries.iter().find_map(|entry| match &entry.seen {
            Seen::Lease(lease) if lease.name_any() == "killed" && lease.is_cleared() => Some(entry.at),
            _ => None,
        })
    };
    let cleared = timeline.find("the Lease is cleared", Duration::from_mins(3), is_cleared).await?;
    let (moved, _) = timeline.last_renewal("killed", &killed.name_any()).context("it never led")?;
    ensure!(
        cleared.duration_since(moved) < Duration::from_secs(145),
        "the Lease had run out: that proves nothing here"
    );
    // Two thirds of the duration, in which whoever is alive after all renews.
    let waited = cleared.duration_since(declared);
    ensure!(waited > Duration::from_secs(99) && waited < Duration::from_secs(110), "cleared after {waited:?}");
    place.until_event("killed", "HolderTerminated").await?;
    let group = place.until_led_by_another("killed", &killed.name_any()).await?;
    assert_eq!(group.reason(), Some(TransitionReason::Cleared), "{:?}", group.newest());

    // One that renews is alive, whatever is said of its node.
    timeline.assert_never_cleared("living");

    drop(lost);
    until_ready_is(session.client(), &home, true).await?;
    let taints = Api::<Node>::all(session.client()).get(&home).await?.spec.and_then(|spec| spec.taints);
    assert!(taints.unwrap_or_default().iter().all(|taint| taint.key != TAINT), "the taint stays");
    Ok(())
}
