//! A node, and what its readiness says about the reports of its kubelet.

use jiff::Timestamp;

use super::{Phase, PhaseSeen, Pod};
use crate::time::Mono;
use crate::wire::NodeWire;

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "they are facts about a node, not states of a machine")]
pub struct Node {
    /// Its Ready condition is true.
    pub ready: bool,
    /// Since when its Ready condition is true, by the node's own clock.
    pub ready_since: Option<Timestamp>,
    /// When it was registered, by the API server's clock.
    pub created: Option<Timestamp>,
    /// It carries the taint `node.kubernetes.io/out-of-service`.
    pub out_of_service: bool,
    /// No kubelet beside a container runtime reports for it, but a provider that is asked from afar.
    pub is_virtual: bool,
    /// Its zone.
    pub zone: Option<String>,
    /// Since when it has been both not ready and out of service, as far as this operator has seen. Set by the index.
    pub lost_since: Option<Mono>,
    /// Its version in which it was first seen as it is. Set by the index.
    pub known_since: u64,
}

/// How long before the API server shows it a kubelet may have noted that its node is ready, in milliseconds; times are whole
/// seconds.
const SHOWN_AFTER_MS: i64 = 3_000;

/// Values of the label `type` that virtual-kubelet and Liqo give their nodes.
const VIRTUAL_TYPES: [&str; 2] = ["virtual-kubelet", "virtual-node"];

/// Whether the node is one of virtual-kubelet's: by the label and the taint that it gives its nodes, by the version that its
/// providers report (such as `v1.19.10-vk-azure-aci-1.4.8`), or because it names no container runtime.
fn is_virtual(wire: &NodeWire) -> bool {
    let is_labelled = wire
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get("type"))
        .is_some_and(|kind| VIRTUAL_TYPES.contains(&kind.as_str()));
    let is_tainted = wire.spec.taints.iter().any(|taint| taint.key.starts_with("virtual-kubelet.io/"));
    let info = &wire.status.node_info;
    let has_no_runtime = !info.kubelet_version.is_empty() && info.container_runtime_version.is_empty();
    is_labelled || is_tainted || has_no_runtime || info.kubelet_version.contains("-vk")
}

impl Node {
    /// Whether it is the same but for what this operator adds.
    pub fn is_reported_as(&self, other: &Self) -> bool {
        let reported = |node: &Self| Self { lost_since: None, known_since: 0, ..node.clone() };
        reported(self) == reported(other)
    }

    /// Whether the pod was bound to this node, rather than to one that had its name before, and a kubelet reports for it.
    pub fn is_machine_of(&self, pod: &Pod) -> bool {
        !self.is_virtual && !self.replaced_machine_of(pod)
    }

    /// Whether the node was registered after the pod was bound to one of its name: the pod ran on another machine.
    pub fn replaced_machine_of(&self, pod: &Pod) -> bool {
        self.created.zip(pod.bound_at).is_some_and(|(created, bound)| created > bound)
    }

    /// Whether it was so while processes of the pod may have run: not if the kubelet before is known to have reported the
    /// end.
    pub fn replaced_under(&self, pod: &Pod) -> bool {
        let had_ended = pod.phase == Phase::Terminal && pod.phase_seen == PhaseSeen::Confirmed;
        self.replaced_machine_of(pod) && !had_ended
    }

    /// Whether a terminal phase of the pod is its kubelet's word. Unless the node is known to have been so when the phase
    /// was written (`witnessed`), it has to have been ready for a while when the pod ended, both by the node's clock: it
    /// is a moment before the API server shows it.
    pub fn reported_end_of(&self, pod: &Pod, witnessed: bool) -> bool {
        let was_ready = || {
            let known = self.ready_since.zip(pod.last_end().filter(|_| !pod.ended_ahead()));
            known.is_some_and(|(since, end)| since.as_millisecond() + SHOWN_AFTER_MS <= end.as_millisecond())
        };
        self.ready && (witnessed || was_ready()) && self.is_machine_of(pod)
    }
}

impl From<NodeWire> for Node {
    fn from(wire: NodeWire) -> Self {
        let ready = wire.status.conditions.iter().find(|c| c.type_ == "Ready" && c.status == "True");
        Self {
            ready: ready.is_some(),
            ready_since: ready.and_then(|c| c.last_transition_time.as_deref()?.parse().ok()),
            created: wire.metadata.creation_timestamp.as_ref().map(|time| time.0),
            out_of_service: wire.spec.taints.iter().any(|t| t.key == "node.kubernetes.io/out-of-service"),
            is_virtual: is_virtual(&wire),
            zone: wire.metadata.labels.and_then(|mut l| l.remove("topology.kubernetes.io/zone")),
            lost_since: None,
            known_since: 0,
        }
    }
}
