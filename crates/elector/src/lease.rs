//! The Lease on the wire, as the protocol sees it and back.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use leadergroup_election::{Change, Observation, Record, Seen, Timing, Version};

/// Annotation of a Lease: the lease duration, renew deadline and retry period that its group asks for, in seconds.
pub const TIMING: [&str; 3] = [
    "leadergroup.dev/lease-duration-seconds",
    "leadergroup.dev/renew-deadline-seconds",
    "leadergroup.dev/retry-period-seconds",
];
/// Annotation of a Lease: the identity that should lead next.
pub const PREFERRED_HOLDER: &str = "leadergroup.dev/preferred-holder";

/// What an API server sent can't be a Lease's version.
#[derive(Debug, thiserror::Error)]
#[error("the API server sent the Lease with resourceVersion {0:?}, which is not a number")]
pub struct NoVersion(String);

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

fn record(spec: &LeaseSpec) -> Record {
    let stamp = |time: &Option<MicroTime>| time.as_ref().map(|time| time.0.as_microsecond());
    Record {
        holder: spec.holder_identity.clone().filter(|holder| !holder.is_empty()),
        duration_seconds: spec.lease_duration_seconds,
        acquired: stamp(&spec.acquire_time),
        renewed: stamp(&spec.renew_time),
        transitions: spec.lease_transitions,
    }
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
    changed(&Lease { metadata, spec: None }, change)
}

/// The Lease with this change, and with whatever else it says.
pub(crate) fn changed(lease: &Lease, change: &Change) -> Lease {
    let mut lease = lease.clone();
    let now = MicroTime(Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap_or_default());
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(change.holder.clone());
    spec.lease_duration_seconds = Some(change.duration_seconds);
    if change.acquires {
        spec.acquire_time = Some(now.clone());
    }
    spec.renew_time = Some(now);
    spec.lease_transitions = Some(change.transitions);
    lease
}
