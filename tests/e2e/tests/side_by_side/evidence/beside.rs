//! Containers beside the one that leads: debug containers, helpers that completed, and rules that restart all of them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use leadergroup_api::{LeaderGroup, RuleName, TransitionReason, Verdict};
use leadergroup_e2e::cluster::{CANDIDATE_IMAGE, ContainerProcess, Signal};
use leadergroup_e2e::{Candidates, Group, GroupView, LeaseView, Namespace, PodView, Seen, Session, Timeline};
use serde_json::json;

use super::restarts::kill_between_renewals;

/// Long after a leader's end, and long before its Lease expires.
const PATIENCE: Duration = Duration::from_secs(30);

fn group() -> Group {
    // The delay is the time in which the status shows what the clear rests on.
    Group::named("billing").timing(40, 20, 2).delay(2)
}

/// A run that follows another does not take over its Lease.
fn billing() -> Candidates {
    Candidates::named("billing").timing(40, 20, 2).identity("$(POD_NAME)_{run}")
}

/// Adds a debug container to a pod, as `kubectl debug` does.
async fn debug(place: &Namespace, pod: &Pod, args: &[&str]) -> Result<()> {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.clone()).unwrap_or_default();
    let token = volumes.iter().find(|volume| volume.projected.is_some()).context("the pod has no token")?;
    let container = json!({
        "name": "debug",
        "image": CANDIDATE_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": args,
        "volumeMounts": [
            {"name": token.name, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
        ],
    });
    let patch = Patch::Strategic(json!({"spec": {"ephemeralContainers": [container]}}));
    place.pods().patch_ephemeral_containers(&pod.name_any(), &PatchParams::default(), &patch).await?;
    Ok(())
}

fn debugging(pod: &Pod) -> Option<ContainerState> {
    pod.seen().ephemeral_container_statuses?.into_iter().next()?.state
}

/// Waits until the group was judged by this rule, with a complete account.
async fn until_judged_by(place: &Namespace, timeline: &Timeline, rule: RuleName) -> Result<()> {
    let find = |entries: &[leadergroup_e2e::Entry]| {
        entries.iter().find_map(|entry| match &entry.seen {
            Seen::Group(group) => {
                let is_complete = group.seen().account.is_some_and(|account| account.complete);
                (group.rule() == Some(rule) && is_complete).then_some(())
            }
            _ => None,
        })
    };
    let wanted = format!("judged by {rule:?}, all accounted for");
    match timeline.find(&wanted, PATIENCE, find).await {
        Err(error) => Err(error.context(place.tell().await)),
        Ok(()) => Ok(()),
    }
}

#[tokio::test]
async fn keeps_crashed_leader_while_its_debug_container_runs() -> Result<()> {
    let promise = "a debug container has to be down as every other";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("debugged").await?;
    place.create(&group().build()).await?;
    place.run(&billing().replicas(2).deployment()).await?;
    let leader = place.until_settled("billing").await?;
    let app = session.processes(&leader)?;
    let namespace = format!("--namespace={}", place.name());
    debug(&place, &leader, &["--lease=billing-side", "--identity=debug", &namespace]).await?;
    let runs = |pod: &Pod| debugging(pod).is_some_and(|state| state.running.is_some());
    let debugged = place.until(&leader.name_any(), "the debug container runs", runs).await?;
    let mut beside = session.processes(&debugged)?;
    beside.retain(|process| !app.contains(process));
    ensure!(beside.iter().any(ContainerProcess::is_alive), "no process of the debug container runs");
    let timeline = place.timeline().await?;

    place.until_between_renewals("billing").await?;
    let holder = place.leases().get("billing").await?.holder();
    app.iter().try_for_each(|process| process.signal(Signal::KILL).map(drop))?;
    let name = leader.name_any();
    let again = |pod: &Pod| pod.name_any() == name && pod.restarts() == 1 && pod.is_ready();
    timeline.pod("the leader's container runs again", again).await?;
    // The next run ends too, and has to wait before it is followed by another.
    let mut next = session.processes(&leader)?;
    next.retain(|process| !beside.contains(process));
    next.iter().try_for_each(|process| process.signal(Signal::KILL).map(drop))?;
    let waits = |pod: &Pod| {
        let runs = |state: &ContainerState| state.running.is_some();
        let app = pod.containers().into_iter().find(|c| c.name == "app" && c.restart_count == 1);
        pod.name_any() == name && app.is_some_and(|app| !app.state.as_ref().is_some_and(runs))
    };
    timeline.pod("the leader's container is down", waits).await?;
    let kept: LeaderGroup = place.groups().get("billing").await?;
    assert_eq!((kept.verdict(), kept.rule()), (Some(Verdict::Alive), Some(RuleName::Running)));
    assert!(kept.seen().account.is_some_and(|account| account.complete), "{:?}", kept.seen().account);
    assert_eq!(place.leases().get("billing").await?.holder(), holder);

    timeline.assert_never_cleared("billing");
    let ended = Instant::now();
    beside.iter().try_for_each(|process| process.signal(Signal::KILL).map(drop))?;
    until_judged_by(&place, &timeline, RuleName::NoRunSinceRenewal).await?;
    let (cleared, _) = timeline.lease("the Lease is cleared", LeaseView::is_cleared).await?;
    ensure!(cleared > ended, "cleared while the debug container ran");
    Ok(())
}

#[tokio::test]
async fn clears_leader_whose_debug_container_ended_before() -> Result<()> {
    let promise = "a debug container that ended keeps nobody alive";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("undebugged").await?;
    place.create(&group().build()).await?;
    place.run(&billing().replicas(2).deployment()).await?;
    let leader = place.until_settled("billing").await?;
    debug(&place, &leader, &["-h"]).await?;
    let ended = |pod: &Pod| debugging(pod).is_some_and(|state| state.terminated.is_some());
    place.until(&leader.name_any(), "the debug container has ended", ended).await?;
    let timeline = place.timeline().await?;
    kill_between_renewals(&session, &place, &leader).await?;
    until_judged_by(&place, &timeline, RuleName::NoRunSinceRenewal).await?;
    timeline.lease("the Lease is cleared", LeaseView::is_cleared).await?;

    let next = place.until_settled("billing").await?;
    debug(&place, &next, &["-h"]).await.or_else(|error| {
        // It leads again by another run: its debug container cannot be added twice.
        if next.name_any() == leader.name_any() { Ok(()) } else { Err(error) }
    })?;
    place.until(&next.name_any(), "the debug container has ended", ended).await?;
    let timeline = place.timeline().await?;
    place.delete_pod(&next.name_any()).await?;
    until_judged_by(&place, &timeline, RuleName::KubeletReportedEnd).await?;
    let group = place.until_led_by_another("billing", &next.name_any()).await?;
    assert_eq!(group.reason(), Some(TransitionReason::Cleared), "{:?}", group.newest());
    Ok(())
}

/// Waits until a later term than the first was cleared: a helper has completed before it began.
async fn until_later_term_is_cleared(place: &Namespace) -> Result<()> {
    let cleared = |g: &LeaderGroup| {
        g.seen().history.iter().rev().skip(2).any(|transition| transition.reason == TransitionReason::Cleared)
    };
    place.until_within(Duration::from_mins(2), "billing", "a later term was cleared", cleared).await.map(drop)
}

#[tokio::test]
async fn clears_leader_whose_helper_completed_before() -> Result<()> {
    let promise = "a container that completed and is not run again has not to end once more";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let crashing = billing().with_helper().crashing_after(Duration::from_millis(9_300));
    let workloads = [crashing.clone().restarted_on_failure().pod(), crashing.deployment()];
    let mut places = Vec::new();
    for workload in workloads {
        let place = session.namespace("helped").await?;
        let timeline = place.timeline().await?;
        place.create(&group().build()).await?;
        place.run(&workload).await?;
        places.push((place, timeline));
    }
    for (place, timeline) in &places {
        until_later_term_is_cleared(place).await?;
        until_judged_by(place, timeline, RuleName::NoRunSinceRenewal).await?;
        let completed = |pod: &Pod| {
            let helper = pod.containers().into_iter().find(|c| c.name == "helper");
            let run = helper.filter(|c| c.restart_count == 0).and_then(|c| c.state?.terminated);
            run.is_some_and(|run| run.exit_code == 0)
        };
        timeline.pod("the helper has completed", completed).await?;
    }
    Ok(())
}

/// When each container's present run began, if all of them run.
fn started(pod: &Pod) -> Option<Vec<i64>> {
    let began = |state: Option<ContainerState>| Some(state?.running?.started_at?.0.as_second());
    let all: Option<Vec<i64>> = pod.containers().into_iter().map(|container| began(container.state)).collect();
    all.filter(|all| all.len() == 2)
}

#[tokio::test]
async fn clears_leader_once_all_containers_were_restarted() -> Result<()> {
    let promise = "a restart of all containers proves that each ended";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("all").await?;
    let timeline = place.timeline().await?;
    place.create(&group().build()).await?;
    let crashing = billing().with_sidecar().restarting_all().crashing_after(Duration::from_millis(9_300));
    place.run(&crashing.pod()).await?;
    until_judged_by(&place, &timeline, RuleName::AllContainersRestarted).await?;
    let (_, lease) = timeline.lease("the Lease is cleared", LeaseView::is_cleared).await?;
    let renewed = lease.renewed().context("a cleared Lease keeps its times")?.as_second();
    let later = |pod: &Pod| started(pod).is_some_and(|began| began.iter().all(|began| *began > renewed));
    timeline.pod("all containers began after the last renewal", later).await?;
    let reported = timeline.entries().into_iter().find_map(|entry| match entry.seen {
        Seen::Pod(pod) if later(&pod) => Some(pod),
        _ => None,
    });
    let pod = reported.context("it was just seen")?;
    let all = pod.containers().into_iter().all(|c| {
        let run = c.last_state.and_then(|state| state.terminated);
        run.is_some_and(|run| run.reason.as_deref() == Some("RestartingAllContainers"))
    });
    assert!(all, "{:?}", pod.containers());
    Ok(())
}
