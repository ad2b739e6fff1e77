//! Services and `EndpointSlices` as they are read: those that carry this operator's label.

use k8s_openapi::api::core::v1::Service as K8sService;
use k8s_openapi::api::discovery::v1::EndpointSlice as K8sSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use leadergroup_api::{LeaderGroup, MANAGER};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

use super::{Endpoint, Found, Port, ServiceFacts, SliceFacts};
use crate::wire::{list, owned_metadata};

/// The label by which this operator's objects are watched, and its value, [`MANAGER`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The label that says whose endpoints a slice has.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label that keeps Kubernetes' own controllers away from a slice, and its value.
pub const SLICE_MANAGED_BY: (&str, &str) = ("endpointslice.kubernetes.io/managed-by", "leadergroup.dev");
/// More ports than a group can ask for are not kept.
const MOST_PORTS: usize = 16;
/// Longer names are nobody's, in bytes. In references the API server takes any.
const LONGEST_NAME: usize = 253;

/// A Service.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = K8sService)]
pub struct ServiceWire {
    /// Name, namespace, UID, resourceVersion, labels, owners.
    #[serde(deserialize_with = "owned_metadata")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    spec: ServiceSpecWire,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceSpecWire {
    #[serde(rename = "type")]
    type_: Option<String>,
    selector: Option<BTreeMap<String, String>>,
    #[serde(deserialize_with = "list")]
    ports: Vec<PortWire>,
}

/// A port of either kind of object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PortWire {
    name: Option<String>,
    port: Option<i64>,
    target_port: Option<Value>,
    protocol: Option<String>,
    app_protocol: Option<String>,
}

impl PortWire {
    fn read(self, is_services: bool) -> Option<Port> {
        let (port, target) = if is_services { (self.port, self.target_port?.as_i64()?) } else { (None, self.port?) };
        let protocol = self.protocol.unwrap_or_else(|| "TCP".to_owned());
        Some(Port { name: self.name.unwrap_or_default(), port, target, protocol, app_protocol: self.app_protocol })
    }
}

fn read_ports(ports: Vec<PortWire>, are_services: bool) -> Option<Vec<Port>> {
    (ports.len() <= MOST_PORTS).then(|| ports.into_iter().map(|port| port.read(are_services)).collect())?
}

/// An `EndpointSlice`.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = K8sSlice)]
#[serde(rename_all = "camelCase")]
pub struct SliceWire {
    /// Name, namespace, UID, resourceVersion, labels, owners.
    #[serde(deserialize_with = "owned_metadata")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    address_type: String,
    #[serde(default, deserialize_with = "list")]
    endpoints: Vec<EndpointWire>,
    #[serde(default, deserialize_with = "list")]
    ports: Vec<PortWire>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EndpointWire {
    #[serde(deserialize_with = "list")]
    addresses: Vec<String>,
    conditions: ConditionsWire,
    target_ref: Option<ReferenceWire>,
    node_name: Option<String>,
    zone: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ConditionsWire {
    ready: Option<bool>,
    serving: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ReferenceWire {
    kind: String,
    name: String,
    uid: String,
}

impl EndpointWire {
    fn read(self) -> Option<Endpoint> {
        let [address] = self.addresses.as_slice() else { return None };
        let is_sent_to = self.conditions.ready == Some(true) && self.conditions.serving == Some(true);
        let pod = self.target_ref.filter(|to| to.kind == "Pod" && is_sent_to)?;
        let ip = address.parse().ok()?;
        let kept = [Some(&pod.name), Some(&pod.uid), self.node_name.as_ref(), self.zone.as_ref()];
        if kept.into_iter().flatten().any(|name| name.len() > LONGEST_NAME) {
            return None;
        }
        Some(Endpoint { ip, pod: pod.name, uid: pod.uid, node: self.node_name, zone: self.zone })
    }
}

/// The group that the object says controls it.
fn owner(metadata: &ObjectMeta) -> Option<(String, String)> {
    let mut owners = metadata.owner_references.iter().flatten();
    let kind = LeaderGroup::kind(&());
    let ours = |api_version: &str| api_version.split_once('/').is_some_and(|(group, _)| group == "leadergroup.dev");
    owners
        .find(|o| o.controller == Some(true) && o.kind == kind && ours(&o.api_version))
        .filter(|o| o.name.len() <= LONGEST_NAME && o.uid.len() <= LONGEST_NAME)
        .map(|o| (o.name.clone(), o.uid.clone()))
}

fn found<F>(metadata: ObjectMeta, facts: F) -> Found<F> {
    Found {
        owner: owner(&metadata),
        uid: metadata.uid.unwrap_or_default(),
        version: metadata.resource_version.unwrap_or_default(),
        facts,
    }
}

fn has_label(metadata: &ObjectMeta, label: &str, value: &str) -> bool {
    metadata.labels.as_ref().and_then(|labels| labels.get(label)).is_some_and(|found| found == value)
}

impl From<ServiceWire> for Found<ServiceFacts> {
    fn from(wire: ServiceWire) -> Self {
        let ServiceWire { metadata, spec } = wire;
        let is_plain = spec.type_.as_deref().unwrap_or("ClusterIP") == "ClusterIP";
        let as_written = is_plain && has_label(&metadata, MANAGED_BY, MANAGER);
        let selects = spec.selector.is_some_and(|selector| !selector.is_empty());
        let ports = read_ports(spec.ports, true).filter(|_| as_written);
        found(metadata, ServiceFacts { selects, ports })
    }
}

impl From<SliceWire> for Found<SliceFacts> {
    fn from(wire: SliceWire) -> Self {
        let SliceWire { metadata, address_type, endpoints, ports } = wire;
        let name = metadata.name.clone().unwrap_or_default();
        let (by, whom) = SLICE_MANAGED_BY;
        let as_written = has_label(&metadata, MANAGED_BY, MANAGER)
            && has_label(&metadata, SERVICE_NAME, &name)
            && has_label(&metadata, by, whom);
        let is_empty = endpoints.is_empty();
        let mut endpoints = endpoints.into_iter();
        let holds = match (endpoints.next(), endpoints.next()) {
            (None, _) => Some(None),
            (Some(only), None) => only.read().map(Some),
            _ => None,
        };
        let content = holds.zip(read_ports(ports, false)).filter(|_| as_written);
        found(metadata, SliceFacts { family: address_type, is_empty, content })
    }
}
