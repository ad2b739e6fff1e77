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
use leadergroup_e2e::{Candidates, Group, GroupView, LeaseView, Session};

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
    place.create(&Group::named("killed").timing(120, 80, 2).build()).await?;
    place.create(&Group::named("frozen").timing(30, 20, 2).build()).await?;
    place.create(&Group::named("living").timing(30, 20, 2).build()).await?;
    place.run(&Candidates::named("killed").timing(120, 80, 2).replicas(2).deployment()).await?;
    place.run(&Candidates::named("frozen").timing(30, 20, 2).pod()).await?;
    place.run(&Candidates::named("living").timing(30, 20, 2).pod()).await?;
    let killed = place.until_settled("killed").await?;
    let frozen = place.until_settled("frozen").await?;
    place.until_settled("living").await?;
    let home = killed.spec.as_ref().and_then(|spec| spec.node_name.clone()).context("the leader has no node")?;
    let timeline = place.timeline().await?;

    let mut lost = LostNode::lose(&session, &home).await?;
    session.signal(&killed, Signal::KILL)?;
    session.signal(&frozen, Signal::STOP)?;
    until_ready_is(session.client(), &home, false).await?;

    // Nobody knows: the kubelet is silent.
    let unreachable = |g: &LeaderGroup| g.verdict() == Some(Verdict::Unreachable);
    for group in ["killed", "frozen", "living"] {
        place.until(group, "the holder's node is known to be lost", unreachable).await?;
    }
    let note = place.until_event("killed", "HolderUnreachable").await?;
    assert!(note.contains("is not ready; that is no proof"), "{note}");
    // A Lease that is not renewed runs out, and is cleared then. One that is renewed is left alone, node or not.
    let (cleared, _) = timeline.lease("the Lease is cleared", |l| l.name_any() == "frozen" && l.is_cleared()).await?;
    let (moved, _) = timeline.last_renewal("frozen", "frozen").context("it never led")?;
    let kept = cleared.duration_since(moved);
    ensure!(kept > Duration::from_millis(29_500), "cleared {kept:?} after the last renewal");
    timeline.assert_never_cleared("living");
    timeline.assert_never_cleared("killed");

    let declared = std::time::Instant::now();
    lost.put_out_of_service()?;
    let (cleared, _) = timeline.lease("the Lease is cleared", |l| l.name_any() == "killed" && l.is_cleared()).await?;
    let (moved, _) = timeline.last_renewal("killed", &killed.name_any()).context("it never led")?;
    ensure!(
        cleared.duration_since(moved) < Duration::from_secs(115),
        "the Lease had run out: that proves nothing here"
    );
    // Two retry periods, in which whoever is alive after all renews.
    let waited = cleared.duration_since(declared);
    ensure!(waited > Duration::from_secs(3) && waited < Duration::from_secs(9), "cleared after {waited:?}");
    let note = place.until_event("killed", "HolderTerminated").await?;
    assert!(note.contains("carries the taint node.kubernetes.io/out-of-service"), "{note}");
    let group = place.until_led_by_another("killed", &killed.name_any()).await?;
    assert_eq!(group.reason(), Some(TransitionReason::Cleared), "{:?}", group.newest());

    // One that renews is alive, whatever is said of its node.
    timeline.assert_never_cleared("living");

    session.signal(&frozen, Signal::CONT)?;
    drop(lost);
    until_ready_is(session.client(), &home, true).await?;
    let taints = Api::<Node>::all(session.client()).get(&home).await?.spec.and_then(|spec| spec.taints);
    assert!(taints.unwrap_or_default().iter().all(|taint| taint.key != TAINT), "the taint stays");
    Ok(())
}
