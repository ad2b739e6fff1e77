//! The Service and its slice as objects: whose they are, what becomes of them, what others do to them.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, Patch, PatchParams};
use leadergroup_api::{LeaderGroup, ROLE_LABEL};
use leadergroup_e2e::cluster::{CANDIDATE_IMAGE, workspace_root};
use leadergroup_e2e::packages::sample;
use leadergroup_e2e::{GroupView, Namespace, Session};
use serde_json::{Value, json};

use super::place::{SERVICE, hold, routed, servers, until_routed};
use super::record::pods_of;

/// The group `billing`, led by the pod `one` beside `two`, as that spec asks for it.
async fn led(session: &Session, purpose: &str, group: leadergroup_e2e::Group) -> Result<Namespace> {
    let place = session.namespace(purpose).await?;
    servers(&place, &["one", "two"]).await?;
    hold(&place, "one").await?;
    place.create(&group.build()).await?;
    Ok(place)
}

async fn until_sends_to(place: &Namespace, pods: &[&str]) -> Result<EndpointSlice> {
    let wanted = format!("the slice sends to {pods:?}");
    place.until(SERVICE, &wanted, |slice: &EndpointSlice| pods_of(Some(slice)) == pods).await
}

async fn patch<K>(place: &Namespace, name: &str, patch: Value) -> Result<()>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    place.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

#[tokio::test]
async fn the_samples_leader_gets_the_traffic() -> Result<()> {
    let promise = "the sample's leader gets the traffic";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("sample").await?;
    let published = include_str!("../../../../config/samples/routing.yaml");
    let answers = "        args: [--serve=:8080]\n        ports:\n";
    let ours = sample(published, CANDIDATE_IMAGE, "")?.replacen("        ports:\n", answers, 1);
    place.apply(&ours).await?;
    let leader = place.until_led("billing").await?.leading_pod().context("nobody leads")?;
    until_sends_to(&place, &[&leader]).await.map(drop)
}

#[tokio::test]
async fn the_objects_go_with_their_group() -> Result<()> {
    let promise = "the garbage collector takes the Service and its slice with their group";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    for propagation in [DeleteParams::background(), DeleteParams::foreground()] {
        let place = led(&session, "gone", routed()).await?;
        until_routed(&place, "True", "LeaderOnly").await?;
        place.groups().delete("billing", &propagation).await?;
        place.until_gone::<LeaderGroup>("billing").await?;
        place.until_gone::<EndpointSlice>(SERVICE).await?;
        place.until_gone::<Service>(SERVICE).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_objects_follow_the_spec() -> Result<()> {
    let promise = "another name or no routing leaves nothing behind";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = led(&session, "spec", routed()).await?;
    until_sends_to(&place, &["one"]).await?;
    patch::<LeaderGroup>(&place, "billing", json!({"spec": {"routing": {"service": {"name": "rw"}}}})).await?;
    place.until_gone::<Service>(SERVICE).await?;
    place.until_gone::<EndpointSlice>(SERVICE).await?;
    let sends = |slice: &EndpointSlice| pods_of(Some(slice)) == ["one"];
    place.until("rw", "the slice of the new name sends to the leader", sends).await?;

    patch::<LeaderGroup>(&place, "billing", json!({"spec": {"routing": null}})).await?;
    place.until_gone::<Service>("rw").await?;
    place.until_gone::<EndpointSlice>("rw").await?;
    let silent = |group: &LeaderGroup| group.condition("Routed").is_none();
    place.until("billing", "nothing is said of traffic", silent).await.map(drop)
}

#[tokio::test]
async fn what_is_anothers_stays_as_it_is() -> Result<()> {
    let promise = "no Service and no EndpointSlice of somebody else is touched";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE},
        "spec": {"selector": {"app": "mine"}, "ports": [{"port": 1234}]},
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": SERVICE},
        "addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.1"]}], "ports": [],
    });
    for (kind, object) in [("service", service), ("endpointslice", slice)] {
        let place = session.namespace("anothers").await?;
        servers(&place, &["one"]).await?;
        hold(&place, "one").await?;
        place.apply(&object.to_string()).await?;
        let get = ["get", kind, SERVICE, "--output=json"];
        let before = place.kubectl(&get).await?;
        place.create(&routed().build()).await?;
        let group = until_routed(&place, "False", "ServiceTaken").await?;
        let message = group.condition("Routed").context("it was there")?.message;
        ensure!(message.contains(SERVICE) && message.contains("delete it"), "{message}");
        place.until_event("billing", "ServiceTaken").await?;
        assert_eq!(place.kubectl(&get).await?, before);
        assert!(group.leading_pod().is_some(), "it is led all the same");

        place.kubectl(&["delete", kind, SERVICE]).await?;
        until_routed(&place, "True", "LeaderOnly").await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_done_to_the_objects_by_hand_is_put_right() -> Result<()> {
    let promise = "the Service and its slice are kept as they are declared";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = led(&session, "drift", routed()).await?;
    until_sends_to(&place, &["one"]).await?;
    patch::<EndpointSlice>(&place, SERVICE, json!({"endpoints": []})).await?;
    until_sends_to(&place, &["one"]).await?;
    place.api::<EndpointSlice>().delete(SERVICE, &DeleteParams::default()).await?;
    until_sends_to(&place, &["one"]).await?;

    let port = |service: &Service| {
        service.spec.as_ref().and_then(|spec| Some(spec.ports.as_ref()?.first()?.port)).unwrap_or_default()
    };
    patch::<Service>(&place, SERVICE, json!({"spec": {"ports": [{"name": "http", "port": 81}]}})).await?;
    place.until(SERVICE, "the port is 80 again", |service: &Service| port(service) == 80).await?;
    patch::<Service>(&place, SERVICE, json!({"metadata": {"labels": null}})).await?;
    let labelled = |service: &Service| service.metadata.labels.as_ref().is_some_and(|labels| !labels.is_empty());
    place.until(SERVICE, "the label is back", labelled).await?;

    // Kubernetes makes a slice of all pods for a selector, and leaves it where the selector is taken away.
    let uid = place.api::<Service>().get(SERVICE).await?.metadata.uid;
    patch::<Service>(&place, SERVICE, json!({"spec": {"selector": {"leadergroup.dev/group": "billing"}}})).await?;
    let replaced = |service: &Service| {
        service.metadata.uid != uid && service.spec.as_ref().is_some_and(|spec| spec.selector.is_none())
    };
    place.until(SERVICE, "the Service is another one, without a selector", replaced).await?;
    until_sends_to(&place, &["one"]).await?;
    for attempt in 0.. {
        let all = place.kubectl(&["get", "endpointslices", "--output=name"]).await?;
        if all.trim() == format!("endpointslice.discovery.k8s.io/{SERVICE}") {
            break;
        }
        ensure!(attempt < 100, "other slices stay: {all}");
        // Gone with the Service, once the garbage collector has come by.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_leader_that_is_not_ready_gets_traffic_unless_readiness_is_asked_for() -> Result<()> {
    let promise = "requireReady sends only while the leader's pod is Ready";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = led(&session, "ready", routed()).await?;
    // Its readiness gate is open: no pod here is Ready.
    until_sends_to(&place, &["one"]).await?;
    patch::<LeaderGroup>(&place, "billing", json!({"spec": {"routing": {"requireReady": true}}})).await?;
    until_sends_to(&place, &[]).await?;
    until_routed(&place, "False", "LeaderNotReady").await?;
    let condition = json!({"status": {"conditions": [{"type": "leadergroup.test/ready", "status": "True"}]}});
    place.pods().patch_status("one", &PatchParams::default(), &Patch::Strategic(condition)).await?;
    until_sends_to(&place, &["one"]).await?;
    until_routed(&place, "True", "LeaderOnly").await.map(drop)
}

#[tokio::test]
async fn pods_are_labelled_once_the_operator_may_and_it_says_what_it_needs_before() -> Result<()> {
    let promise = "podLabels tells the leader's pod from its standbys'";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let component = workspace_root()?.join("config/components/pod-labels");
    let component = component.to_str().context("a path of text")?;
    session.kubectl(&["delete", "--ignore-not-found", "--kustomize", component]).await?;
    let group = routed().with(|spec| spec.routing.iter_mut().for_each(|routing| routing.pod_labels = true));
    let place = led(&session, "labels", group).await?;
    let refused = |g: &LeaderGroup| g.says("Stalled", "True", "PodLabelsFailed");
    let stalled: LeaderGroup = place.until("billing", "labels are refused", refused).await?;
    let message = stalled.condition("Stalled").context("it was there")?.message;
    ensure!(message.contains("apply config/components/pod-labels"), "{message}");
    until_routed(&place, "True", "LeaderOnly").await?;

    // It stays for the test of least rights.
    session.kubectl(&["apply", "--kustomize", component]).await?;
    let has_role = |role: &'static str| {
        move |pod: &Pod| {
            pod.metadata.labels.as_ref().and_then(|labels| labels.get(ROLE_LABEL)).is_some_and(|found| found == role)
        }
    };
    place.until("one", "it is labelled as the leader", has_role("leader")).await?;
    place.until("two", "it is labelled as a standby", has_role("standby")).await?;
    hold(&place, "two").await?;
    place.until("one", "it is labelled as a standby", has_role("standby")).await?;
    place.until("two", "it is labelled as the leader", has_role("leader")).await?;
    let well = |g: &LeaderGroup| g.says("Stalled", "False", "Observing");
    place.until("billing", "nothing is in the way any more", well).await.map(drop)
}
