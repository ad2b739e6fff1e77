//! Pods and nodes as the API server has them.

use serde_json::{Value, json};

use super::World;
use super::kubelet::{Container, Role};
use super::pod::Pod;
use super::setup::{Helper, RestartPolicy, VirtualMark};
use crate::support::{NAMESPACE, owned_by, time};

impl World {
    /// The pod's object, as it is created or bound.
    pub(super) fn object(&self, at: usize) -> Value {
        let (pod, setup) = (&self.pods[at], &self.setup);
        let named = |role: fn(Role) -> bool| -> Vec<_> {
            let containers = pod.containers.iter().filter(|c| role(c.role));
            containers.map(|c| json!({"name": c.name})).collect()
        };
        let mut metadata = json!({
            "name": pod.name, "namespace": NAMESPACE, "uid": pod.uid, "creationTimestamp": wall_time(pod.created),
            "labels": labels(pod.is_candidate), "annotations": pod.annotations,
        });
        if pod.is_generated {
            metadata["generateName"] = json!("web-");
        }
        if pod.slot.is_some() {
            let (version, kind) = setup.owner.kind();
            metadata["ownerReferences"] = owned_by(version, kind);
        }
        let restart_policy = match setup.restarts {
            _ if setup.helper == Some(Helper::Regular) && pod.slot.is_some() => "OnFailure",
            RestartPolicy::Always => "Always",
            RestartPolicy::OnFailure => "OnFailure",
            RestartPolicy::Never => "Never",
        };
        json!({
            "metadata": metadata,
            "spec": {
                "nodeName": pod.machine.map(|machine| &self.machines[machine].name),
                "hostname": pod.hostname,
                "hostNetwork": pod.host_network,
                "restartPolicy": restart_policy,
                "runtimeClassName": setup.sandbox_ahead.map(|_| "sandboxed"),
                "containers": named(|role| role != Role::Ephemeral),
                "ephemeralContainers": named(|role| role == Role::Ephemeral),
            },
            "status": self.status(at),
        })
    }

    /// The pod's status, as its kubelet knows it.
    pub(super) fn status(&self, at: usize) -> Value {
        let pod = &self.pods[at];
        let phase = match () {
            () if pod.rejected || pod.finished => pod.last_phase(),
            () if pod.started => "Running",
            () => "Pending",
        };
        let mut conditions =
            vec![json!({"type": "Ready", "status": if phase == "Running" { "True" } else { "False" }})];
        if let Some(bound_at) = pod.bound_at {
            let bound_at = wall_time(bound_at);
            conditions.push(json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": bound_at}));
        }
        let shown =
            |c: &&Container| pod.machine.is_some() && !pod.rejected && (pod.started || c.role == Role::Ephemeral);
        let is_virtual = pod.machine.is_some_and(|machine| self.machines[machine].virtual_mark.is_some());
        let runtime = if is_virtual { "cloud" } else { "containerd" };
        let statuses = |role: fn(Role) -> bool| -> Vec<Value> {
            pod.containers.iter().filter(|c| role(c.role)).filter(shown).map(|c| c.status(runtime)).collect()
        };
        let mut status = json!({
            "phase": phase,
            "conditions": conditions,
            "containerStatuses": statuses(|role| role != Role::Ephemeral),
        });
        if pod.containers.iter().any(|c| c.role == Role::Ephemeral) {
            status["ephemeralContainerStatuses"] = json!(statuses(|role| role == Role::Ephemeral));
        }
        if pod.machine.is_some() {
            status["podIP"] = json!(format!("10.0.{}.{}", at / 250, 1 + at % 250));
        }
        if pod.rejected {
            status["reason"] = json!("NodeAffinity");
        }
        status
    }

    /// The node that the machine is registered as.
    pub(super) fn node_object(&self, machine: usize) -> Value {
        let this = &self.machines[machine];
        let mut labels = json!({"topology.kubernetes.io/zone": format!("zone-of-{}", this.name)});
        let mut taints = Vec::new();
        let is_marked_by = |mark| this.virtual_mark.is_some_and(|by| by == mark || by == VirtualMark::Both);
        if is_marked_by(VirtualMark::Label) {
            labels["type"] = json!("virtual-kubelet");
        }
        if is_marked_by(VirtualMark::Taint) {
            taints.push(json!({"key": "virtual-kubelet.io/provider", "value": "cloud", "effect": "NoSchedule"}));
        }
        if this.out_of_service {
            taints.push(json!({"key": "node.kubernetes.io/out-of-service", "value": "", "effect": "NoExecute"}));
        }
        json!({
            "metadata": {
                "name": this.name, "uid": this.uid, "creationTimestamp": wall_time(this.created), "labels": labels,
            },
            "spec": {"taints": taints},
            "status": {
                "conditions": [{
                    "type": "Ready",
                    "status": if this.ready { "True" } else { "Unknown" },
                    "lastTransitionTime": time(this.ready_since),
                }],
                "nodeInfo": {"containerRuntimeVersion": "containerd://2.1.4", "bootID": format!("boot-{}", this.boot)},
            },
        })
    }
}

/// The labels of a pod in the group's selector, or outside it.
pub(super) fn labels(is_candidate: bool) -> Value {
    if is_candidate { json!({"app": "web", "leadergroup.dev/group": "web"}) } else { json!({"app": "web"}) }
}

/// A moment by the API server's clock.
fn wall_time(now: u64) -> String {
    time(i64::try_from(now).unwrap())
}

impl Pod {
    fn last_phase(&self) -> &'static str {
        if self.succeeded() && !self.rejected { "Succeeded" } else { "Failed" }
    }
}
