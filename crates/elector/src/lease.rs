//! The Lease on the wire, as the protocol sees it and back.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use k8s_openapi::api::coordination::v1::Lease as K8sLease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Resource;
use kube::core::TypeMeta;
use leadergroup_election::{Change, Observation, Record, Seen, Timing, Version};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

/// Annotation of a Lease: the lease duration, renew deadline and retry period that its group asks for, in seconds.
pub const TIMING: [&str; 3] = [
    "leadergroup.dev/lease-duration-seconds",
    "leadergroup.dev/renew-deadline-seconds",
    "leadergroup.dev/retry-period-seconds",
];
/// Annotation of a Lease: the identity that should lead next.
pub const PREFERRED_HOLDER: &str = "leadergroup.dev/preferred-holder";

/// Who an elector is in managed fields: a Lease that was renewed by it has a holder that can be asked to step down.
pub const MANAGER: &str = "leadergroup-elector";

/// What an API server sent can't be a Lease's version.
#[derive(Debug, thiserror::Error)]
#[error("the API server sent the Lease with resourceVersion {0:?}, which is not a number")]
pub struct NoVersion(String);

/// A Lease as the API server sends it. Its spec is kept as it is: another may have written what can't be read here, and
/// that must not keep a candidate from it.
#[derive(Resource, Clone, Debug, Serialize, Deserialize)]
#[resource(inherit = K8sLease)]
pub(crate) struct Lease {
    #[serde(flatten)]
    types: Option<TypeMeta>,
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    spec: Option<Map<String, Value>>,
}

/// Without managed fields: clients write their times, in years that no timestamp here can have. The API server keeps
/// those that a write does not mention.
fn metadata<'de, D: Deserializer<'de>>(d: D) -> Result<ObjectMeta, D::Error> {
    let mut raw = Map::deserialize(d)?;
    raw.remove("managedFields");
    ObjectMeta::deserialize(Value::Object(raw)).map_err(serde::de::Error::custom)
}

pub(crate) fn seen(lease: &Lease) -> Result<Observation, NoVersion> {
    let spec = lease.spec.as_ref();
    let annotations = lease.metadata.annotations.as_ref();
    Ok(Observation::Present(Seen {
        version: version(&lease.metadata)?,
        record: spec.map(record).unwrap_or_default(),
        timing: annotations.and_then(timing),
        preferred: annotations.and_then(|a| a.get(PREFERRED_HOLDER)).filter(|p| !p.is_empty()).cloned(),
    }))
}

pub(crate) fn version(metadata: &ObjectMeta) -> Result<Version, NoVersion> {
    let text = metadata.resource_version.as_deref().unwrap_or_default();
    text.parse().map(Version).map_err(|_| NoVersion(text.to_owned()))
}

fn record(spec: &Map<String, Value>) -> Record {
    let number = |name: &str| spec.get(name).and_then(Value::as_i64).and_then(|number| i32::try_from(number).ok());
    let stamp = |name: &str| spec.get(name).and_then(Value::as_str).and_then(microseconds);
    let holder = spec.get("holderIdentity").and_then(Value::as_str).filter(|holder| !holder.is_empty());
    Record {
        holder: holder.map(ToOwned::to_owned),
        duration_seconds: number("leaseDurationSeconds"),
        acquired: stamp("acquireTime"),
        renewed: stamp("renewTime"),
        transitions: number("leaseTransitions"),
    }
}

/// Microseconds since 1970. The API server takes the last hours of the year 9999, for which there is no timestamp here.
fn microseconds(text: &str) -> Option<i64> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_microsecond());
    }
    let time: DateTime = text.trim_end_matches('Z').parse().ok()?;
    i64::try_from(time.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0)).as_micros()).ok()
}

/// The timing that a group asks for, if it is whole and can be used.
fn timing(annotations: &BTreeMap<String, String>) -> Option<Timing> {
    let seconds = TIMING.map(|name| annotations.get(name).and_then(|text| text.parse().ok()).map(Duration::from_secs));
    let [Some(lease_duration), Some(renew_deadline), Some(retry_period)] = seconds else { return None };
    Timing::new(lease_duration, renew_deadline, retry_period)
        .inspect_err(|error| tracing::warn!(%error, "the Lease asks for a timing that can't be used"))
        .ok()
}

/// A Lease that does not exist yet, with this change.
pub(crate) fn new(name: &str, change: &Change) -> Lease {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    changed(&Lease { types: Some(TypeMeta::resource::<K8sLease>()), metadata, spec: None }, change)
}

/// The Lease with this change, and with whatever else it says.
pub(crate) fn changed(lease: &Lease, change: &Change) -> Lease {
    let mut lease = lease.clone();
    let now = MicroTime(Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap_or_default());
    let spec = lease.spec.get_or_insert_default();
    let mut set = |name: &str, value: Value| spec.insert(name.to_owned(), value);
    set("holderIdentity", json!(change.holder));
    set("leaseDurationSeconds", json!(change.duration_seconds));
    if change.acquires {
        set("acquireTime", json!(now));
    }
    set("renewTime", json!(now));
    set("leaseTransitions", json!(change.transitions));
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lease: &Value) -> Lease {
        serde_json::from_value(lease.clone()).unwrap()
    }

    #[test]
    fn what_cannot_be_read_keeps_nobody_from_the_lease() {
        let lease = read(&json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": "billing", "resourceVersion": "7",
                "managedFields": [{"manager": "curl", "time": "9999-12-31T23:59:59Z"}],
            },
            "spec": {
                "holderIdentity": "a", "leaseDurationSeconds": 15, "leaseTransitions": 3,
                "acquireTime": "9999-12-31T23:59:59.000000Z", "renewTime": "9999-12-31T23:59:59.999999Z",
                "strategy": "OldestEmulationVersion",
            },
        }));
        let Ok(Observation::Present(seen)) = seen(&lease) else { panic!("the Lease is there") };
        let last_second = 253_402_300_799_000_000;
        assert_eq!((seen.record.acquired, seen.record.renewed), (Some(last_second), Some(last_second + 999_999)));
        assert_eq!((seen.record.holder.as_deref(), seen.record.transitions), (Some("a"), Some(3)));
        let change = Change { holder: "b".to_owned(), duration_seconds: 10, acquires: false, transitions: 4 };
        let written = serde_json::to_value(changed(&lease, &change)).unwrap();
        assert_eq!(written["kind"], "Lease");
        assert_eq!(written["spec"]["acquireTime"], "9999-12-31T23:59:59.000000Z");
        assert_eq!(written["spec"]["strategy"], "OldestEmulationVersion");
        assert_eq!(written["metadata"]["managedFields"], Value::Null);
        assert_eq!(written["spec"]["holderIdentity"], "b");
    }

    #[test]
    fn a_lease_that_is_made_has_its_kind_and_its_times() {
        let change = Change { holder: "b".to_owned(), duration_seconds: 10, acquires: true, transitions: 0 };
        let written = serde_json::to_value(new("billing", &change)).unwrap();
        assert_eq!(
            (written["apiVersion"].as_str(), written["kind"].as_str()),
            (Some("coordination.k8s.io/v1"), Some("Lease"))
        );
        assert!(
            written["spec"]["acquireTime"].as_str().is_some_and(|time| time.parse::<Timestamp>().is_ok()),
            "{written}"
        );
    }
}
