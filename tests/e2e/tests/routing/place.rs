//! A group that routes, with pods that say who they are.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Patch, PatchParams};
use leadergroup_api::{GROUP_LABEL, LeaderGroup, RoutedPort, RoutedService, Routing};
use leadergroup_e2e::cluster::CANDIDATE_IMAGE;
use leadergroup_e2e::{Group, GroupView, Namespace, PodView, lease_of};
use serde_json::json;

/// The Service of the group `billing`.
pub const SERVICE: &str = "billing-leader";

/// A group `billing` whose leader is to be reached at port 80 of `billing-leader`.
pub fn routed() -> Group {
    let port = RoutedPort {
        name: Some("http".into()),
        port: 80,
        target_port: Some(8080),
        protocol: leadergroup_api::Protocol::Tcp,
        app_protocol: None,
    };
    let service = RoutedService { name: None, ports: vec![port] };
    let routing = Routing { service, require_ready: false, pod_labels: false };
    Group::named("billing").timing(40, 20, 1).with(|spec| spec.routing = Some(routing))
}

/// Pods that answer and race for no Lease of this group: the test says who holds it.
pub async fn servers(place: &Namespace, names: &[&str]) -> Result<()> {
    for name in names {
        let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {GROUP_LABEL: "billing"}},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "readinessGates": [{"conditionType": "leadergroup.test/ready"}],
                "containers": [{
                    "name": "app", "image": CANDIDATE_IMAGE, "imagePullPolicy": "IfNotPresent",
                    "args": ["--lease=none", "--serve=:8080"],
                    "env": [field("POD_NAME", "metadata.name"), field("POD_NAMESPACE", "metadata.namespace")],
                }],
            },
        });
        place.apply(&pod.to_string()).await?;
    }
    for name in names {
        let runs = |pod: &Pod| {
            pod.containers().iter().any(|c| c.state.as_ref().is_some_and(|state| state.running.is_some()))
                && pod.seen().pod_ip.is_some()
        };
        place.until::<Pod>(name, "the pod runs", runs).await?;
    }
    Ok(())
}

/// Has that pod hold the group's Lease.
pub async fn hold(place: &Namespace, holder: &str) -> Result<()> {
    let leases = place.leases();
    let lease = lease_of("billing", holder, 40);
    if leases.get_opt("billing").await?.is_none() {
        place.create(&lease).await?;
        return Ok(());
    }
    let patch = Patch::Merge(json!({"spec": lease.spec}));
    leases.patch("billing", &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Waits until the group says that about its traffic.
pub async fn until_routed(place: &Namespace, status: &str, reason: &str) -> Result<LeaderGroup> {
    let wanted = format!("Routed is {status} {reason}");
    place.until("billing", &wanted, |g: &LeaderGroup| g.says("Routed", status, reason)).await
}

/// Where the Service is reached.
pub async fn address(place: &Namespace) -> Result<SocketAddr> {
    let service: Service = place.api().get(SERVICE).await?;
    let ip = service.spec.and_then(|spec| spec.cluster_ip).context("the Service has no address")?;
    Ok(SocketAddr::new(ip.parse()?, 80))
}
