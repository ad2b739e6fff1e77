//! Objects for tests of the pure parts, in few words.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::model::LeaderGroup;

/// Lays one value over another: what is an object in both is merged.
fn overlay(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                overlay(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

fn made<T: DeserializeOwned>(mut base: Value, over: &Value) -> T {
    overlay(&mut base, over);
    serde_json::from_value(base).unwrap()
}

/// A pod of namespace `shop` that runs and is Ready: a candidate of group `billing` unless `over` says otherwise.
pub fn pod(name: &str, over: &Value) -> Pod {
    let base = json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-of-{name}"),
            "labels": {"leadergroup.dev/group": "billing", "app": "billing"},
        },
        "spec": {"serviceAccountName": "app", "nodeName": "n1", "containers": [{"name": "app"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    made(base, over)
}

/// The Lease `billing` of namespace `shop`, of 15 s, renewed by that program.
pub fn lease(holder: &str, manager: &str, over: &Value) -> Lease {
    let base = json!({
        "metadata": {"name": "billing", "namespace": "shop", "uid": "l1", "managedFields": [
            {"manager": manager, "operation": "Update", "time": "2026-11-25T10:00:00Z", "fieldsType": "FieldsV1",
             "fieldsV1": {"f:spec": {"f:renewTime": {}}}},
        ]},
        "spec": {
            "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 1,
            "renewTime": "2026-11-25T10:00:00.000000Z",
        },
    });
    made(base, over)
}

/// The group `billing` of namespace `shop`, as the operator has just seen it well.
pub fn group(over: &Value) -> LeaderGroup {
    let base = json!({
        "apiVersion": "leadergroup.dev/v1alpha1", "kind": "LeaderGroup",
        "metadata": {
            "name": "billing", "namespace": "shop", "generation": 1, "creationTimestamp": "2026-11-25T09:00:00Z",
        },
        "spec": {},
        "status": {"observedGeneration": 1},
    });
    made(base, over)
}
