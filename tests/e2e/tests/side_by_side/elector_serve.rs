//! `elector serve` beside a program in pods, as the sample runs it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use leadergroup_api::{LeaderGroup, TransitionReason};
use leadergroup_e2e::cluster::Signal;
use leadergroup_e2e::{GroupView, Namespace, PodView, Session};

const SAMPLE: &str = include_str!("../../../../config/samples/elector-serve.yaml");
/// The program beside the elector takes so long to end.
const PROGRAM: &str = "/workload, --stop-takes=3000";
const PROGRAM_ENDS_AFTER: Duration = Duration::from_secs(3);

/// What the elector in a pod answers, asked through the API server; none if not with success.
async fn ask(place: &Namespace, pod: &str, path: &str) -> Option<String> {
    let path = format!("/api/v1/namespaces/{}/pods/{pod}:4040/proxy{path}", place.name());
    place.kubectl(&["get", "--raw", &path]).await.ok()
}

/// The pods of the sample, ready and not on their way out: the leader by the group's word, then the others.
async fn pods(place: &Namespace) -> Result<(String, Vec<String>)> {
    let leader = place.until_led("invoices").await?.leading_pod().context("nobody leads")?;
    place.kubectl(&["rollout", "status", "deployment/invoices", "--timeout=60s"]).await?;
    let pods = place.pods().list(&kube::api::ListParams::default()).await?;
    let others = pods.items.iter().filter(|pod| pod.is_ready()).map(ResourceExt::name_any);
    Ok((leader.clone(), others.filter(|name| *name != leader).collect()))
}

#[tokio::test]
async fn the_lease_is_released_only_after_the_program_beside_the_elector_has_ended() -> Result<()> {
    let promise = "a native sidecar releases the Lease at the pod's end, and not before the program has ended";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("serve").await?;
    let timeline = place.timeline().await?;
    place.apply_elector_sample(SAMPLE, PROGRAM).await?;
    let (leader, standbys) = pods(&place).await?;
    let standby = standbys.first().context("there is no standby")?;
    assert_eq!(ask(&place, &leader, "/leader").await.as_deref(), Some("leading\n"));
    assert_eq!(ask(&place, standby, "/leader").await, None);
    for pod in [&leader, standby] {
        assert_eq!(ask(&place, pod, "/").await, Some(format!("{{\"name\":\"{leader}\"}}\n")), "{pod}");
        assert_eq!(ask(&place, pod, "/readyz").await.as_deref(), Some("ok\n"), "{pod}");
    }

    let deleted = Instant::now();
    place.delete_pod(&leader).await?;
    let group = place.until_led_by_another("invoices", &leader).await?;
    assert_eq!(group.reason(), Some(TransitionReason::Released), "{:?}", group.newest());
    let (released, _) = timeline
        .holders("invoices")
        .into_iter()
        .skip(1)
        .find(|(_, holder)| holder.is_none())
        .context("not released")?;
    let after = released.duration_since(deleted);
    ensure!(after >= PROGRAM_ENDS_AFTER, "released {after:?} after the deletion, while the program still worked");
    timeline.assert_never_cleared("invoices");
    Ok(())
}

#[tokio::test]
async fn an_elector_that_is_restarted_takes_its_lease_back() -> Result<()> {
    let promise = "the elector's restart beside a program that goes on is no change of the leader";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("serve-restart").await?;
    place.apply_elector_sample(SAMPLE, PROGRAM).await?;
    let (leader, _) = pods(&place).await?;
    let pod: Pod = place.pods().get(&leader).await?;
    let uid = pod.metadata.uid.as_deref().context("the pod has no UID")?;
    let elector = session.cluster().container_pids(uid)?.into_iter().find(|process| process.name == "elector");
    elector.context("there is no elector")?.signal(Signal::KILL)?;
    let restarted = |pod: &Pod| {
        let containers = pod.seen().init_container_statuses.unwrap_or_default();
        containers.iter().any(|elector| elector.restart_count == 1 && elector.started == Some(true))
    };
    place.until(&leader, "the elector runs again", restarted).await?;
    let leads = async || ask(&place, &leader, "/leader").await.is_some();
    let deadline = Instant::now() + leadergroup_e2e::PATIENCE;
    while !leads().await {
        ensure!(Instant::now() < deadline, "it does not lead again\n{}", place.tell().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let group: LeaderGroup = place.groups().get("invoices").await?;
    assert_eq!(group.leading_pod(), Some(leader));
    assert_eq!(group.seen().transitions, 0, "{:?}", group.seen().history);
    assert_eq!(place.pods().get(&group.leading_pod().unwrap_or_default()).await?.restarts(), 0, "the program went on");
    Ok(())
}
