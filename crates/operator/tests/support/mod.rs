//! What the tests of this crate share: objects as the API server sends them, and a fake cluster around the engine.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod api;
pub mod cluster;
pub mod routes;
pub mod sent;

use jiff::Timestamp;
use leadergroup_operator::time::{Mono, Now};
use leadergroup_operator::wire::GroupWire;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The wall clock's reading when the operator's monotonic clock reads zero: 2026-01-01T00:00:00Z.
pub const EPOCH: i64 = 1_767_225_600;

/// The namespace of everything.
pub const NAMESPACE: &str = "shop";

/// Milliseconds on the operator's monotonic clock.
pub fn ms(milliseconds: u64) -> Mono {
    Mono::from_millis(milliseconds)
}

/// That moment on both of the operator's clocks.
pub fn now_at(mono: Mono) -> Now {
    Now { mono, wall: wall(i64::try_from(mono.as_millis()).unwrap()) }
}

/// A clock that reads so many milliseconds after the epoch.
pub fn wall(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(EPOCH * 1_000 + milliseconds).unwrap()
}

/// As a Lease's times are written: six digits.
pub fn micro_time(milliseconds: i64) -> String {
    format!("{:.6}", wall(milliseconds))
}

/// As a kubelet writes times: whole seconds, cut.
pub fn time(milliseconds: i64) -> String {
    Timestamp::from_second(wall(milliseconds).as_second()).unwrap().to_string()
}

/// Decodes an object as the operator decodes it.
pub fn decode<T: DeserializeOwned>(object: &Value) -> T {
    T::deserialize(object).unwrap_or_else(|e| panic!("{e} in {object:#}"))
}

/// Decodes a group as the operator does, which a broken one must survive.
pub fn decode_group(object: &Value) -> GroupWire {
    decode(object)
}

/// A group named `web` that selects the pods labelled so.
pub fn group(spec: &Value) -> Value {
    json!({
        "apiVersion": "leadergroup.dev/v1alpha1", "kind": "LeaderGroup",
        "metadata": {
            "name": "web", "namespace": NAMESPACE, "uid": "group-web", "generation": 1, "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": spec,
    })
}

/// A Lease named `web`.
pub fn lease(spec: &Value) -> Value {
    json!({"metadata": {"name": "web", "namespace": NAMESPACE, "uid": "lease-1", "resourceVersion": "1"}, "spec": spec})
}

/// A node.
pub fn node(name: &str, ready: bool, out_of_service: bool) -> Value {
    let taints = if out_of_service { json!([{"key": "node.kubernetes.io/out-of-service"}]) } else { json!(null) };
    let ready = if ready { "True" } else { "Unknown" };
    json!({
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": format!("zone-of-{name}")}},
        "spec": {"taints": taints},
        "status": {"conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": time(0)}]},
    })
}

/// A candidate whose containers have these statuses (see [`running`] and [`ended`]); on no node if that is empty.
pub fn pod(name: &str, uid: &str, node: &str, phase: &str, containers: &[(&str, Value)]) -> Value {
    let specs: Vec<_> = containers.iter().map(|(name, _)| json!({"name": name})).collect();
    let statuses: Vec<_> = containers
        .iter()
        .filter(|(_, status)| !status.is_null())
        .map(|(name, status)| {
            let mut status = status.clone();
            status["name"] = json!(name);
            if status["containerID"].is_null() {
                status["containerID"] = json!(format!("containerd://{name}"));
            }
            status
        })
        .collect();
    json!({
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": uid, "labels": {"leadergroup.dev/group": "web"}},
        "spec": {"nodeName": node, "containers": specs},
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": if phase == "Running" { "True" } else { "False" }}],
            "containerStatuses": statuses,
        },
    })
}

/// Gives the metadata of this pod a name that the API server generated for a controller of that kind.
pub fn generate_name(metadata: &mut Value, name: &str, api_version: &str, kind: &str) {
    metadata["generateName"] = json!(name[..name.len() - 5]);
    metadata["ownerReferences"] = owned_by(api_version, kind);
}

/// The owner references of a pod that a controller of that kind created.
pub fn owned_by(api_version: &str, kind: &str) -> Value {
    json!([{"apiVersion": api_version, "kind": kind, "name": "web", "uid": "web", "controller": true}])
}

/// The status of a container that runs since then, by its node's clock.
pub fn running(since: i64) -> Value {
    json!({"state": {"running": {"startedAt": time(since)}}})
}

/// The status of a container that ended then, by its node's clock.
pub fn ended(at: i64) -> Value {
    json!({"state": {"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": time(at)}}})
}

/// The status of a container that runs since then, after a run that ended earlier.
pub fn restarted(since: i64, ended_at: i64) -> Value {
    json!({"state": running(since)["state"], "lastState": ended(ended_at)["state"], "restartCount": 1})
}

/// The status of a container that was run again so many times.
pub fn counted(mut status: Value, restarts: u32) -> Value {
    status["restartCount"] = json!(restarts);
    status
}
