//! Pods that run a client.

use leadergroup_api::GROUP_LABEL;
use serde_json::{Value, json};

use crate::build::{Built, HOME};

/// The name of the Lease, of the group on it, and of the account that all campaign as.
pub const NAME: &str = "demo";

/// What an account needs for whatever any of the libraries does to a Lease.
pub fn rights() -> Vec<Value> {
    let authorization = "rbac.authorization.k8s.io";
    let rules = json!([
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]},
        {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
    ]);
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME}}),
        json!({"apiVersion": format!("{authorization}/v1"), "kind": "Role", "metadata": {"name": NAME}, "rules": rules}),
        json!({
            "apiVersion": format!("{authorization}/v1"), "kind": "RoleBinding", "metadata": {"name": NAME},
            "roleRef": {"apiGroup": authorization, "kind": "Role", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", "name": NAME}],
        }),
    ]
}

/// A pod that nothing replaces. `restarts` says whether its container is started again when it ends.
pub fn pod(name: &str, image: &str, built: &Built, restarts: bool) -> Value {
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let mut env = vec![
        field("POD_NAME", "metadata.name"),
        field("IDENTITY", "metadata.name"),
        field("NAMESPACE", "metadata.namespace"),
        json!({"name": "LEASE_NAME", "value": NAME}),
        json!({"name": "HOME", "value": "/tmp"}),
    ];
    env.extend(built.env.iter().map(|(name, value)| json!({"name": name, "value": value})));
    let mut volumes = vec![json!({"name": "client", "hostPath": {"path": built.folder, "type": "Directory"}})];
    let mut mounts = vec![json!({"name": "client", "mountPath": HOME, "readOnly": true})];
    for (n, folder) in built.needs.iter().enumerate() {
        let volume = format!("needs-{n}");
        volumes.push(json!({"name": volume, "hostPath": {"path": folder}}));
        mounts.push(json!({"name": volume, "mountPath": folder, "readOnly": true}));
    }
    volumes.push(json!({"name": "tmp", "emptyDir": {}}));
    mounts.push(json!({"name": "tmp", "mountPath": "/tmp"}));
    let requests = built.cpu.map(|cpu| json!({"cpu": cpu}));
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {GROUP_LABEL: NAME}},
        "spec": {
            "serviceAccountName": NAME,
            "terminationGracePeriodSeconds": 5,
            "restartPolicy": if restarts { "Always" } else { "Never" },
            "containers": [{
                "name": "app", "image": image, "imagePullPolicy": "IfNotPresent",
                "command": built.command, "env": env, "volumeMounts": mounts,
                "resources": {"requests": requests},
            }],
            "volumes": volumes,
        },
    })
}
