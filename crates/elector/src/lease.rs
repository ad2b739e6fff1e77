//! The Lease on the wire, as the protocol sees it and back.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use k8s_openapi::api::coordination::v1::Lease as K8sLease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Resource;
use kube::core::TypeMeta;
use leadergroup_election::{Change, Observation, Record, Seen, Timing, Version};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Annotation of a Lease: the lease duration, renew deadline and retry period that its group asks for, in seconds.
pub const TIMING: [&str; 3] = [
    "leadergroup.dev/lease-duration-seconds",
    "leadergroup.dev/renew-deadline-seconds",
    "leadergroup.dev/retry-period-seconds",
];
/// Maximum lease duration that a group can ask for: that of a LeaderGroup.
const MAX_ASKED_DURATION: Duration = Duration::from_hours(24);
/// Annotation of a Lease: the identity that should lead next.
pub const PREFERRED_HOLDER: &str = "leadergroup.dev/preferred-holder";

/// Who an elector is in managed fields: a Lease that was renewed by it has a holder that can be asked to step down.
pub const MANAGER: &str = "leadergroup-elector";

/// What an API server sent can't be a Lease's version.
#[derive(Debug, thiserror::Error)]
#[error("the API server sent the Lease with resourceVersion {0:?}, which is not a number")]
pub struct NoVersion(String);

/// A Lease as the API server sends it. Nothing in it has to be readable: another may have written what can't be read here,
/// and that must not keep a candidate from it.
#[derive(Resource, Clone, Debug, Serialize, Deserialize)]
#[resource(inherit = K8sLease)]
#[serde(from = "Map<String, Value>", into = "Map<String, Value>")]
pub(crate) struct Lease {
    /// The resourceVersion, and nothing else.
    pub metadata: ObjectMeta,
    object: Map<String, Value>,
}

/// What the API server writes into metadata by itself, and keeps where a write does not mention it. It sends times in years
/// that it does not take back, such as 10000.
const SET_BY_SERVER: [&str; 3] = ["creationTimestamp", "deletionTimestamp", "managedFields"];

impl From<Map<String, Value>> for Lease {
    fn from(mut object: Map<String, Value>) -> Self {
        let mut metadata = ObjectMeta::default();
        if let Some(raw) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            raw.retain(|name, _| !SET_BY_SERVER.contains(&name.as_str()));
            metadata.resource_version = raw.get("resourceVersion").and_then(Value::as_str).map(ToOwned::to_owned);
        }
        Self { metadata, object }
    }
}

impl From<Lease> for Map<String, Value> {
    fn from(lease: Lease) -> Self {
        lease.object
    }
}

impl Lease {
    fn spec(&self) -> Option<&Map<String, Value>> {
        self.object.get("spec")?.as_object()
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.object.get("metadata")?.get("annotations")?.get(name)?.as_str()
    }
}

pub(crate) fn seen(lease: &Lease) -> Result<Observation, NoVersion> {
    Ok(Observation::Present(Seen {
        version: version(&lease.metadata)?,
        record: lease.spec().map(record).unwrap_or_default(),
        timing: timing(lease),
        preferred: lease.annotation(PREFERRED_HOLDER).filter(|p| !p.is_empty()).map(ToOwned::to_owned),
    }))
}

pub(crate) fn version(metadata: &ObjectMeta) -> Result<Version, NoVersion> {
    let text = metadata.resource_version.as_deref().unwrap_or_default();
    text.parse().map(Version).map_err(|_| NoVersion(text.to_owned()))
}

fn record(spec: &Map<String, Value>) -> Record {
    let text = |name: &str| spec.get(name).and_then(Value::as_str);
    let number = |name: &str| spec.get(name).and_then(Value::as_i64).and_then(|number| i32::try_from(number).ok());
    let renewed = spec.get("renewTime").filter(|renewed| !renewed.is_null());
    Record {
        holder: text("holderIdentity").filter(|holder| !holder.is_empty()).map(ToOwned::to_owned),
        duration_seconds: number("leaseDurationSeconds"),
        // None if it can't be read, so that the next write replaces it: the API server does not take it back.
        acquired: text("acquireTime").and_then(microseconds),
        renewed: renewed.map(|renewed| renewed.as_str().and_then(microseconds).unwrap_or_else(|| stand_in(renewed))),
        // The API server refuses a negative one.
        transitions: number("leaseTransitions").filter(|transitions| *transitions >= 0),
    }
}

/// A number for a renewal whose time can't be read. Each other renewal has another one: a holder whose clock is absurd
/// renews all the same.
fn stand_in(renewed: &Value) -> i64 {
    let mut hasher = DefaultHasher::new();
    renewed.to_string().hash(&mut hasher);
    hasher.finish().cast_signed()
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
fn timing(lease: &Lease) -> Option<Timing> {
    let seconds = TIMING.map(|name| lease.annotation(name)?.parse().ok().map(Duration::from_secs));
    let [Some(lease_duration), Some(renew_deadline), Some(retry_period)] = seconds else { return None };
    if lease_duration > MAX_ASKED_DURATION {
        tracing::warn!(?lease_duration, "the Lease asks for a timing that no LeaderGroup can have");
        return None;
    }
    Timing::new(lease_duration, renew_deadline, retry_period)
        .inspect_err(|error| tracing::warn!(%error, "the Lease asks for a timing that can't be used"))
        .ok()
}

/// A Lease that does not exist yet, with this change.
pub(crate) fn new(name: &str, change: &Change) -> Lease {
    let types = TypeMeta::resource::<K8sLease>();
    let fields =
        [("apiVersion", json!(types.api_version)), ("kind", json!(types.kind)), ("metadata", json!({"name": name}))];
    let object: Map<_, _> = fields.into_iter().map(|(field, value)| (field.to_owned(), value)).collect();
    changed(&Lease::from(object), change)
}

/// The Lease with this change, and with whatever else it says.
pub(crate) fn changed(lease: &Lease, change: &Change) -> Lease {
    let mut lease = lease.clone();
    let now = MicroTime(Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap_or_default());
    let mut spec = lease.spec().cloned().unwrap_or_default();
    let mut set = |name: &str, value: Value| spec.insert(name.to_owned(), value);
    set("holderIdentity", json!(change.holder));
    set("leaseDurationSeconds", json!(change.duration_seconds));
    if change.acquires {
        set("acquireTime", json!(now));
    }
    set("renewTime", json!(now));
    set("leaseTransitions", json!(change.transitions));
    lease.object.insert("spec".to_owned(), Value::Object(spec));
    lease
}

#[cfg(test)]
mod tests;
