//! The objects as they are written.

use kube::Resource;
use leadergroup_api::{LeaderGroup, MANAGER, ROLE_LABEL};
use serde_json::{Value, json};

use super::Write;
use crate::index::Key;
use crate::traffic::wire::{MANAGED_BY, SERVICE_NAME, SLICE_MANAGED_BY};
use crate::traffic::{Endpoint, Port};

/// The object that a write creates, or what it changes; none where the object is to be deleted.
pub fn body(write: &Write, group: &Key, uid: &str) -> Option<Value> {
    let owners = json!([{
        "apiVersion": LeaderGroup::api_version(&()), "kind": LeaderGroup::kind(&()),
        "name": group.name, "uid": uid, "controller": true,
    }]);
    match write {
        Write::Service { name, ports } => Some(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "labels": {MANAGED_BY: MANAGER}, "ownerReferences": owners},
            "spec": {"type": "ClusterIP", "selector": null, "ports": ports.iter().map(port).collect::<Vec<_>>()},
        })),
        Write::Slice { name, family, endpoint, ports } => {
            let (by, whom) = SLICE_MANAGED_BY;
            let labels = json!({MANAGED_BY: MANAGER, SERVICE_NAME: name, by: whom});
            let namespace = &group.namespace;
            Some(json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": name, "labels": labels, "ownerReferences": owners},
                "addressType": family,
                "endpoints": endpoint.iter().map(|e| self::endpoint(namespace, e)).collect::<Vec<_>>(),
                "ports": ports.iter().map(port).collect::<Vec<_>>(),
            }))
        }
        Write::Empty { .. } => Some(json!({"endpoints": []})),
        Write::Label { role, .. } => Some(json!({"metadata": {"labels": {ROLE_LABEL: role}}})),
        Write::Delete { .. } => None,
    }
}

fn port(port: &Port) -> Value {
    let mut wire = json!({"protocol": port.protocol});
    if !port.name.is_empty() {
        wire["name"] = json!(port.name);
    }
    if let Some(of_service) = port.port {
        (wire["port"], wire["targetPort"]) = (json!(of_service), json!(port.target));
    } else {
        // An endpoint's port always has a name, be it none.
        (wire["port"], wire["name"]) = (json!(port.target), json!(port.name));
    }
    if let Some(application) = &port.app_protocol {
        wire["appProtocol"] = json!(application);
    }
    wire
}

fn endpoint(namespace: &str, endpoint: &Endpoint) -> Value {
    let mut wire = json!({
        "addresses": [endpoint.ip.to_string()],
        "conditions": {"ready": true, "serving": true, "terminating": false},
        "targetRef": {"kind": "Pod", "namespace": namespace, "name": endpoint.pod, "uid": endpoint.uid},
    });
    if let Some(node) = &endpoint.node {
        wire["nodeName"] = json!(node);
    }
    if let Some(zone) = &endpoint.zone {
        wire["zone"] = json!(zone);
    }
    wire
}
