//! What is read of pods, Leases and groups, wherever they are judged.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::core::{Selector, SelectorExt as _};
use kube::{Resource, ResourceExt as _};
use leadergroup_identity::{Identity, PodNames};

use crate::model::LeaderGroup;

/// The namespace and name of an object, as they are told.
pub fn full_name<K: Resource>(object: &K) -> String {
    format!("{}/{}", object.meta().namespace.as_deref().unwrap_or_default(), object.name_any())
}

/// What the pod is called.
pub fn names(pod: &Pod) -> PodNames<'_> {
    let spec = pod.spec.as_ref();
    // A mirror's own UID says nothing about the static pod, whose programs don't know it.
    let hash = pod.annotations().get("kubernetes.io/config.hash").filter(|_| is_static(pod));
    let uid = hash.or(pod.metadata.uid.as_ref());
    PodNames {
        name: pod.metadata.name.as_deref().unwrap_or_default(),
        uid: uid.map(String::as_str).unwrap_or_default(),
        node: spec.and_then(|spec| spec.node_name.as_deref()).filter(|node| !node.is_empty()),
        hostname: spec.and_then(|spec| spec.hostname.as_deref()).filter(|name| !name.is_empty()),
        host_network: spec.and_then(|spec| spec.host_network).unwrap_or(false),
    }
}

/// Whether it is a mirror of a pod that its kubelet runs from a file: to delete it ends nothing.
pub fn is_static(pod: &Pod) -> bool {
    pod.annotations().contains_key("kubernetes.io/config.mirror")
}

/// Whether it has not ended.
pub fn is_live(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether it is Ready, and not on its way out.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// The name of its `ServiceAccount`.
pub fn account(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.service_account_name.as_deref().filter(|name| !name.is_empty())
}

/// Who holds the Lease, if anybody does.
pub fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// Whether coordinated leader election decides who holds it.
pub fn is_coordinated(lease: &Lease) -> bool {
    lease.spec.as_ref().is_some_and(|spec| spec.strategy.is_some())
}

/// The program that renewed the Lease last, by the name that it gives the API server.
pub fn renewed_by(lease: &Lease) -> Option<&str> {
    let renews = |fields: &serde_json::Value| fields["f:spec"].get("f:renewTime").is_some();
    let entries = lease.managed_fields().iter().filter(|entry| entry.fields_v1.as_ref().is_some_and(|f| renews(&f.0)));
    entries.max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?.manager.as_deref()
}

/// When the Lease runs out unless it is renewed, by its holder's clock.
pub fn runs_out_at(lease: &Lease) -> Option<Timestamp> {
    let spec = lease.spec.as_ref()?;
    let seconds = i64::from(spec.lease_duration_seconds?);
    spec.renew_time.as_ref()?.0.checked_add(jiff::SignedDuration::from_secs(seconds)).ok()
}

/// What a spec says of candidates and identities, parsed.
pub struct Plan {
    pub selector: Selector,
    pub identity: Identity,
}

impl Plan {
    /// The plan, or what is wrong with the spec.
    pub fn of(group: &LeaderGroup) -> Result<Self, String> {
        let selector = Selector::try_from(group.candidate_selector())
            .map_err(|error| format!("spec.candidates.selector can't be used: {error}"))?;
        let identity = Identity::new(group.spec.identity.as_deref()).map_err(|error| format!("spec.{error}"))?;
        Ok(Self { selector, identity })
    }

    /// Whether the pod is a candidate that has not ended.
    pub fn has_candidate(&self, pod: &Pod) -> bool {
        is_live(pod) && self.selector.matches(pod.labels())
    }

    /// The pods that this identity may be of.
    pub fn fitting<'p>(&self, identity: &str, pods: impl IntoIterator<Item = &'p Pod>) -> Vec<&'p Pod> {
        pods.into_iter().filter(|pod| self.identity.fits(identity, names(pod))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_lease_tells_who_renewed_it_last() {
        let entry = |manager: &str, fields: serde_json::Value, time: &str| json!({"manager": manager, "operation": "Update", "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields});
        let spec = |field: &str| json!({"f:spec": {field: {}}});
        let lease = |entries: serde_json::Value| -> Lease {
            serde_json::from_value(json!({"metadata": {"name": "billing", "managedFields": entries}})).unwrap()
        };
        let older = entry("client-go", spec("f:leaseDurationSeconds"), "2026-11-25T10:00:09Z");
        let newer = entry("leadergroup-elector", spec("f:renewTime"), "2026-11-25T10:00:05Z");
        assert_eq!(renewed_by(&lease(json!([older, newer]))), Some("leadergroup-elector"));
        assert_eq!(renewed_by(&lease(json!([older]))), None);
        let before = entry("client-go", spec("f:renewTime"), "2026-11-25T10:00:01Z");
        assert_eq!(renewed_by(&lease(json!([before, newer]))), Some("leadergroup-elector"));
    }
}
