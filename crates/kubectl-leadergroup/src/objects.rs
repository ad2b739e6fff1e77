//! What is read of pods, Leases and groups, wherever they are judged.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Pod;
use kube::core::{Selector, SelectorExt as _};
use kube::{Resource, ResourceExt as _};
use leadergroup_api::library::{self, Library, Record, Writer};
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

/// Returns the election library that the Lease's holder is known to use.
pub fn library(lease: &Lease) -> Option<Library> {
    let entries = lease.managed_fields();
    let times: Vec<_> = entries.iter().map(|entry| entry.time.as_ref().map(|time| time.0.to_string())).collect();
    let writers = entries.iter().zip(&times).map(|(entry, time)| Writer {
        manager: entry.manager.as_deref().unwrap_or_default(),
        applies: entry.operation.as_deref() == Some("Apply"),
        time: time.as_deref(),
        writes_spec: entry.fields_v1.as_ref().is_some_and(|fields| fields.0.get("f:spec").is_some()),
    });
    let spec = lease.spec.as_ref();
    library::recognise(
        writers,
        Record {
            labels: lease.metadata.labels.as_ref(),
            holder: holder(lease),
            has_duration: spec.is_some_and(|spec| spec.lease_duration_seconds.is_some()),
            has_renew_time: spec.is_some_and(|spec| spec.renew_time.is_some()),
        },
    )
}

/// Returns whether the Lease is held for life: it has neither a duration nor renewals, so it never runs out.
pub fn is_for_life(lease: &Lease) -> bool {
    let lasts = |spec: &LeaseSpec| spec.lease_duration_seconds.is_some() || spec.renew_time.is_some();
    holder(lease).is_some() && !lease.spec.as_ref().is_some_and(lasts)
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
    use crate::samples::lease;
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

    #[test]
    fn recognises_the_library_of_a_lease() {
        let lease = |over| lease("billing-a", "Kubernetes Java Client", &over);
        assert_eq!(library(&lease(json!({}))), Some(Library::OfficialJava));
        let of_fabric8 =
            json!([{"manager": "fabric8-kubernetes-client", "operation": "Update", "fieldsV1": {"f:spec": {}}}]);
        let camels = json!({"metadata": {"managedFields": of_fabric8, "labels": {"provider": "camel"}}});
        assert_eq!(library(&lease(camels)), Some(Library::Camel));
        let applied = json!([{"manager": "billing-a", "operation": "Apply", "fieldsV1": {"f:spec": {}}}]);
        assert_eq!(library(&lease(json!({"metadata": {"managedFields": applied}}))), None);
        let annotated = json!([{"manager": "kubert", "operation": "Update", "fieldsV1": {"f:metadata": {}}}]);
        assert_eq!(library(&lease(json!({"metadata": {"managedFields": annotated}}))), None);
        assert_eq!(library(&lease(json!({"metadata": {"managedFields": null}, "spec": null}))), None);
    }

    #[test]
    fn knows_our_elector_by_its_field_manager() {
        assert_eq!(library::ELECTOR_MANAGER, leadergroup_elector::lease::MANAGER);
    }

    #[test]
    fn a_lease_without_duration_and_renewals_is_held_for_life() {
        let lease = |holder, over| lease(holder, "elector", &json!({"spec": over}));
        let nothing = json!({"leaseDurationSeconds": null, "renewTime": null});
        assert!(is_for_life(&lease("billing-a", nothing.clone())));
        assert!(!is_for_life(&lease("", nothing)));
        assert!(!is_for_life(&lease("billing-a", json!({"renewTime": null}))));
        assert!(!is_for_life(&lease("billing-a", json!({"leaseDurationSeconds": null}))));
    }
}
