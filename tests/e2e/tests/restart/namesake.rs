//! A `StatefulSet`'s leader that is deleted by force and lives on, while another pod of its name comes and goes.

use anyhow::{Context, Result};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use leadergroup_api::{AccountGap, LeaderGroup, RuleName, Verdict};
use leadergroup_e2e::cluster::{ContainerProcess, Signal};
use leadergroup_e2e::{Candidates, Group, GroupView, LeaseView, PodView, Session};

use crate::Stopped;

const POD: &str = "billing-0";

/// A pod whose processes outlive it: the runtime's shim that should end them is stopped. So are they: the API server takes
/// no more renewals from a deleted pod, but a leader need not notice before its deadline. Dropping this lets the shim end
/// them.
struct Survivor {
    processes: Vec<ContainerProcess>,
    shims: Vec<ContainerProcess>,
}

impl Survivor {
    fn of(session: &Session, pod: &Pod) -> Result<Self> {
        let uid = pod.uid().context("the pod has no UID")?;
        let survivor = Self { processes: session.processes(pod)?, shims: session.cluster().shims(&uid)? };
        assert!(!survivor.shims.is_empty(), "no shim of the pod runs");
        for process in survivor.shims.iter().chain(&survivor.processes) {
            process.signal(Signal::STOP)?;
        }
        Ok(survivor)
    }
}

impl Drop for Survivor {
    fn drop(&mut self) {
        for process in self.processes.iter().chain(&self.shims) {
            if let Err(error) = process.signal(Signal::CONT) {
                eprintln!("process {} stays stopped: {error:#}", process.pid);
            }
        }
    }
}

/// The leader's deletion is seen by the operator that ends then, or by none.
async fn keeps_survivor(session: &Session, purpose: &str, is_seen: bool, expected: AccountGap) -> Result<()> {
    let place = session.namespace(purpose).await?;
    place.create(&Group::named("billing").timing(150, 100, 2).build()).await?;
    place.run(&Candidates::named("billing").timing(150, 100, 2).stateful_set()).await?;
    let first = place.until_settled("billing").await?;
    let uid = first.uid().context("the pod has no UID")?;
    let timeline = place.timeline().await?;
    let survivor = Survivor::of(session, &first)?;
    let before = place.leases().get("billing").await?.renewed();

    let is_another = |pod: &Pod| pod.uid().is_some_and(|another| another != uid) && pod.is_ready();
    if is_seen {
        place.force_delete_pod(POD).await?;
        let lost = |g: &LeaderGroup| g.seen().account.unwrap_or_default().reason == Some(expected);
        place.until("billing", "the pod is known to be lost", lost).await?;
        session.operator().restart().await?;
        place.until(POD, "another pod of its name runs", is_another).await?;
    } else {
        let stopped = Stopped::stop(session).await?;
        place.force_delete_pod(POD).await?;
        place.until(POD, "another pod of its name runs", is_another).await?;
        stopped.start().await?;
    }
    place.until("billing", "the other pod renews", |lease: &Lease| lease.renewed() > before).await?;
    place.kubectl(&["scale", "statefulset/billing", "--replicas=0"]).await?;
    place.until_gone::<Pod>(POD).await?;

    let in_doubt = |g: &LeaderGroup| {
        let account = g.seen().account.unwrap_or_default();
        (g.verdict(), g.rule()) == (Some(Verdict::Terminated), Some(RuleName::KubeletReportedEnd))
            && (account.complete, account.reason) == (false, Some(expected))
    };
    place.until("billing", "the other pod has ended, and the first is not accounted for", in_doubt).await?;
    // A clear would come with it.
    place.until_event("billing", "HolderTerminated").await?;
    assert_eq!(place.leases().get("billing").await?.holder().as_deref(), Some(POD));
    assert!(survivor.processes.iter().all(ContainerProcess::is_alive), "it has ended");
    timeline.assert_never_cleared("billing");
    Ok(())
}

#[tokio::test]
async fn keeps_process_that_outlived_its_pod_and_its_namesake() -> Result<()> {
    let promise = "the end of a pod of the same name proves nothing about one deleted by force";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    keeps_survivor(&session, "namesake", true, AccountGap::DeletedWithoutReport).await
}

#[tokio::test]
async fn keeps_process_whose_pod_was_replaced_while_no_operator_ran() -> Result<()> {
    let promise = "a pod that nobody saw end stands in the way of a clear";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    keeps_survivor(&session, "unseen", false, AccountGap::WatchGap).await
}
