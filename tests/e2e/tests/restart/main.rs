//! The operator ends and comes back: counts never fall, and nobody alive is cleared. These tests take turns, because
//! there is one operator: run them with `--test-threads=1`.
#![allow(missing_docs)]

mod namesake;
mod undecodable;

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use leadergroup_api::{LeaderGroup, TransitionReason, Verdict};
use leadergroup_e2e::{
    Candidates, Group, GroupView, LeaseView, OPERATOR_NAMESPACE, OPERATOR_REPLICAS, PodView, Session,
};

/// No operator runs. Has it run again when dropped, whatever becomes of the test.
struct Stopped {
    session: Session,
    started: bool,
}

impl Stopped {
    async fn stop(session: &Session) -> Result<Self> {
        let stopped = Self { session: session.clone(), started: false };
        session.operator().stop().await?;
        Ok(stopped)
    }

    async fn start(mut self) -> Result<()> {
        self.session.operator().start().await?;
        self.started = true;
        Ok(())
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let replicas = format!("--replicas={OPERATOR_REPLICAS}");
        let start = ["scale", "deployment/leadergroup-operator", &replicas, "--namespace", OPERATOR_NAMESPACE];
        if !self.started
            && let Err(error) = self.session.kubectl_now(&start)
        {
            eprintln!("no operator runs: {error:#}");
        }
    }
}

#[tokio::test]
async fn an_operator_told_to_end_ends_well_and_the_next_finds_all_as_it_was() -> Result<()> {
    let promise = "the operator ends gracefully, and a restart changes nothing";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("again").await?;
    place.create(&Group::named("billing").build()).await?;
    place.run(&Candidates::named("billing").replicas(2).deployment()).await?;
    let first = place.until_settled("billing").await?.name_any();
    place.delete_pod(&first).await?;
    place.until_led_by_another("billing", &first).await?;
    place.until_settled("billing").await?;
    let before: LeaderGroup = place.groups().get("billing").await?;
    assert_eq!(before.seen().transitions, 1);

    let timeline = place.timeline().await?;
    let operator = session.operator();
    let old = operator.until_ready().await?;
    let ended = exit_of(&session, &old);
    let (ended, restarted) = tokio::join!(ended, operator.restart());
    restarted?;
    let (code, seconds) = ended?;
    assert_eq!(code, 0, "the exit code of an operator that was told to end");
    ensure!(seconds < 15, "it took {seconds} s to end, which is most of its grace period");
    // A renewal that the new operator sees.
    place.until_settled("billing").await?;
    let after: LeaderGroup = place.groups().get("billing").await?;
    assert_eq!(after.seen().transitions, before.seen().transitions);
    assert_eq!(after.seen().history, before.seen().history);
    assert_eq!(after.seen().leader, before.seen().leader);
    timeline.assert_never_cleared("billing");
    Ok(())
}

/// The exit code of a pod's container when it ends, and how long after it was told so.
async fn exit_of(session: &Session, pod: &Pod) -> Result<(i32, i64)> {
    let pods: Api<Pod> = Api::namespaced(session.client(), OPERATOR_NAMESPACE);
    let config = watcher::Config::default().fields(&format!("metadata.name={}", pod.name_any()));
    let mut versions = pin!(watcher(pods, config).default_backoff().applied_objects());
    let ended = async {
        while let Some(pod) = versions.try_next().await? {
            let terminated = pod.containers().into_iter().find_map(|c| c.state?.terminated);
            let told = pod.metadata.deletion_timestamp.as_ref().map(|time| time.0.as_second());
            if let (Some(run), Some(deadline)) = (terminated, told) {
                let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
                let finished = run.finished_at.map_or(deadline, |time| time.0.as_second());
                return Ok((run.exit_code, finished - (deadline - grace)));
            }
        }
        anyhow::bail!("the operator's pod went without a word of how it ended")
    };
    tokio::time::timeout(Duration::from_mins(1), ended).await.context("the operator's pod does not end")?
}

#[tokio::test]
async fn leading_or_standing_by_an_operator_is_alive_and_ready() -> Result<()> {
    let promise = "/healthz and /readyz answer, whether an operator leads or not";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    session.operator().until_ready().await?;
    let pods: Api<Pod> = Api::namespaced(session.client(), OPERATOR_NAMESPACE);
    let pods = pods.list(&ListParams::default()).await?.items;
    assert_eq!(i32::try_from(pods.len()), Ok(OPERATOR_REPLICAS));
    for pod in pods {
        for endpoint in ["healthz", "readyz"] {
            let path = format!("/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods/{}:8081/proxy/{endpoint}", pod.name_any());
            assert_eq!(session.kubectl(&["get", "--raw", &path]).await?, "ok\n");
        }
    }
    Ok(())
}

#[tokio::test]
async fn leaders_that_came_and_went_while_no_operator_ran_are_counted_as_unobserved() -> Result<()> {
    let promise = "transitions that nobody watched are counted";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("unobserved").await?;
    place.create(&Group::named("billing").build()).await?;
    place.run(&Candidates::named("billing").replicas(2).deployment()).await?;
    let first = place.until_settled("billing").await?.name_any();
    let before: LeaderGroup = place.groups().get("billing").await?;
    let timeline = place.timeline().await?;
    let stopped = Stopped::stop(&session).await?;
    let mut leader = first.clone();
    for _ in 0..2 {
        place.delete_pod(&leader).await?;
        let another = |lease: &k8s_openapi::api::coordination::v1::Lease| lease.holder().is_some_and(|h| h != leader);
        leader = place.until("billing", "a standby leads", another).await?.holder().context("nobody leads")?;
    }
    stopped.start().await?;
    let counted = |g: &LeaderGroup| g.leading_pod().as_ref() == Some(&leader);
    let group: LeaderGroup = place.until("billing", "the present leader is seen", counted).await?;
    assert_eq!(group.seen().transitions, before.seen().transitions + 2, "{:?}", group.seen().history);
    let newest = group.newest().context("there is no history")?;
    assert_eq!((newest.reason, newest.unobserved), (TransitionReason::Unobserved, Some(1)), "{newest:?}");
    assert_eq!(group.verdict(), Some(Verdict::Alive));
    timeline.assert_never_cleared("billing");
    Ok(())
}

#[tokio::test]
async fn a_group_without_a_leader_at_the_restart_counts_its_next_one_once() -> Result<()> {
    let promise = "a leaderless group is not miscounted by a restart";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("leaderless").await?;
    place.create(&Group::named("billing").build()).await?;
    place.run(&Candidates::named("billing").pod()).await?;
    place.until_settled("billing").await?;
    place.delete_pod("billing").await?;
    let free = |g: &LeaderGroup| g.verdict() == Some(Verdict::Free);
    place.until("billing", "nobody leads", free).await?;
    session.operator().restart().await?;
    let next = Candidates::named("next").lease("billing").of_group("billing");
    place.run(&next.pod()).await?;
    place.until_settled("billing").await?;
    let group: LeaderGroup = place.groups().get("billing").await?;
    assert_eq!((group.seen().transitions, group.seen().history.len()), (1, 2), "{:?}", group.seen().history);
    assert_eq!(group.leading_pod().as_deref(), Some("next"));
    Ok(())
}

#[tokio::test]
async fn a_proof_that_the_operator_took_with_it_is_not_made_up() -> Result<()> {
    let promise = "an operator that did not see a pod end waits for the Lease to run out";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("forgotten").await?;
    place.create(&Group::named("billing").timing(12, 8, 1).build()).await?;
    place.run(&Candidates::named("billing").timing(12, 8, 1).pod()).await?;
    place.until_settled("billing").await?;
    let timeline = place.timeline().await?;
    let stopped = Stopped::stop(&session).await?;
    place.delete_pod("billing").await?;
    place.until_gone::<Pod>("billing").await?;
    stopped.start().await?;
    let (cleared, _) = timeline.lease("the Lease is cleared", LeaseView::is_cleared).await?;
    let (moved, _) = timeline.last_renewal("billing", "billing").context("it never led")?;
    let kept = cleared.duration_since(moved);
    ensure!(kept > Duration::from_millis(23_500), "cleared {kept:?} after the last renewal, without proof");
    Ok(())
}
