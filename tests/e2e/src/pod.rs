//! Pods, read.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodStatus};
use kube::Resource;

/// What tests ask a pod.
pub trait PodView {
    /// Its status.
    fn seen(&self) -> PodStatus;

    /// Its containers, as the kubelet reports them.
    fn containers(&self) -> Vec<ContainerStatus> {
        self.seen().container_statuses.unwrap_or_default()
    }

    /// Whether it is ready, and not on its way out.
    fn is_ready(&self) -> bool;

    /// How often its containers were restarted.
    fn restarts(&self) -> i32 {
        self.containers().iter().map(|container| container.restart_count).sum()
    }

    /// Whether the kubelet says that a run of this container ended, the present one or the one before.
    fn has_ended_run(&self, container: &str) -> bool {
        let ended = |state: &Option<ContainerState>| state.as_ref().is_some_and(|state| state.terminated.is_some());
        self.containers().iter().any(|c| c.name == container && (ended(&c.state) || ended(&c.last_state)))
    }
}

impl PodView for Pod {
    fn seen(&self) -> PodStatus {
        self.status.clone().unwrap_or_default()
    }

    fn is_ready(&self) -> bool {
        let conditions = self.seen().conditions.unwrap_or_default();
        self.meta().deletion_timestamp.is_none() && conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
    }
}
