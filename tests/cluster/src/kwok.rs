//! Simulated nodes: pods on them have no processes, but go through the states a kubelet reports.

use anyhow::Result;
use serde_json::json;

use crate::Component;
use crate::certs::write_file;
use crate::control_plane::{Setup, flag};
use crate::kubeconfig::Kubectl;
use crate::layout::Layout;
use crate::process::Launch;
use crate::state::State;

const STAGES: &str = include_str!("kwok-stages.yaml");

/// How to start the simulator. It is prepared with the cluster, whose authority signs its certificate, and started when
/// the first simulated node is asked for.
pub(crate) fn prepare(setup: &Setup) -> Result<Launch> {
    let layout = setup.layout;
    let stages = layout.config("kwok-stages.yaml");
    write_file(&stages, STAGES)?;
    let kubeconfig = setup.kubeconfig(layout.config("kwok.kubeconfig"), "kwok", Some("system:masters"))?;
    let args = vec![
        flag("config", stages.display()),
        flag("kubeconfig", kubeconfig.display()),
        flag("manage-nodes-with-label-selector", "type=kwok"),
        // Nothing routes them; they only have to be unlike the real ones.
        flag("cidr", "10.88.0.0/16"),
        // A quarter of it is the time between two heartbeats, which must be below the controller manager's 12 seconds.
        flag("node-lease-duration-seconds", 32),
        flag("v", "WARN"),
    ];
    Ok(setup.launch(Component::Kwok, args))
}

/// Starts the simulator and makes sure that there are nodes `kwok-0` to `kwok-(COUNT-1)`.
pub(crate) fn add_nodes(layout: &Layout, state: &mut State, kubectl: &Kubectl, count: u32) -> Result<()> {
    state.start(layout, Component::Kwok)?;
    let present = kubectl.run(&["get", "nodes", "-l", "type=kwok", "-o", "name"], "")?;
    let missing: Vec<String> = (0..count)
        .map(|number| format!("kwok-{number}"))
        .filter(|name| !present.lines().any(|line| line.strip_prefix("node/") == Some(name)))
        .collect();
    if !missing.is_empty() {
        kubectl.run(&["create", "-f", "-"], &nodes(&missing, state.real_node))?;
    }
    kubectl.run(&["wait", "--for=condition=Ready", "node", "-l", "type=kwok", "--timeout=120s"], "")?;
    Ok(())
}

/// The nodes as a list. Beside a real node they are tainted, so that only pods that ask for it are simulated.
fn nodes(names: &[String], beside_real_node: bool) -> String {
    let taints = if beside_real_node {
        json!([{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}])
    } else {
        json!([])
    };
    let items: Vec<_> = names
        .iter()
        .map(|name| {
            json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {
                    "name": name,
                    "labels": {"type": "kwok", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
                    "annotations": {"kwok.x-k8s.io/node": "fake"},
                },
                "spec": {"taints": taints},
            })
        })
        .collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[test]
    fn simulated_nodes_are_tainted_beside_a_real_one_only() {
        let list: Value = serde_json::from_str(&nodes(&["kwok-0".to_owned(), "kwok-1".to_owned()], true)).unwrap();
        assert_eq!(list["items"][1]["metadata"]["name"], "kwok-1");
        assert_eq!(list["items"][0]["spec"]["taints"][0]["effect"], "NoSchedule");
        let list: Value = serde_json::from_str(&nodes(&["kwok-0".to_owned()], false)).unwrap();
        assert_eq!(list["items"][0]["spec"]["taints"], json!([]));
    }

    #[test]
    fn a_pod_is_removed_only_after_it_was_reported_as_ended() {
        let stages: Vec<Value> = serde_yaml_ng::Deserializer::from_str(STAGES)
            .map(|document| Value::deserialize(document).unwrap())
            .collect();
        let removing: Vec<_> = stages.iter().filter(|stage| stage["spec"]["next"]["delete"] == true).collect();
        assert_eq!(removing.len(), 1);
        let conditions = removing[0]["spec"]["selector"]["matchExpressions"].as_array().unwrap();
        let phases = json!({"key": ".status.phase", "operator": "In", "values": ["Succeeded", "Failed"]});
        assert!(conditions.contains(&phases), "{conditions:?}");
    }
}
