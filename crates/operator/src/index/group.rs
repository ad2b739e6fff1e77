//! A group as the operator reads it: the spec with defaults applied and its parts parsed once.

use std::sync::Arc;

use jiff::Timestamp;
use kube::core::{Selector, SelectorExt};
use leadergroup_api::{LeaderGroup, LeaderGroupStatus, StaleHolder};

use crate::judge::Identity;
use crate::model::{Container, Pod};
use crate::time::Mono;
use crate::traffic;

/// A namespaced name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// A namespaced name.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object's metadata.
    pub fn of(metadata: &kube::core::ObjectMeta) -> Self {
        Self::new(metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A group as the operator reads it.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its namespace and name.
    pub key: Key,
    /// Its UID.
    pub uid: String,
    /// The resourceVersion that status writes name.
    pub version: String,
    /// The spec's generation.
    pub generation: Option<i64>,
    /// When it was created: of two groups on one Lease, the older one has it.
    pub created: Option<Timestamp>,
    /// It is being deleted.
    pub deleting: bool,
    /// The status as last seen on the API server.
    pub status: Option<Arc<LeaderGroupStatus>>,
    /// When an answer to this operator last brought it.
    pub answered_at: Option<Mono>,
    /// What can be done with the spec, or the sentence that says why nothing can.
    pub plan: Result<Plan, String>,
}

/// A valid spec, parsed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The name of the Lease.
    pub lease_name: String,
    /// Whether the operator creates it.
    pub create_lease: bool,
    /// Lease duration in seconds.
    pub duration: u64,
    /// Seconds for which a leader tries to renew before it gives up.
    pub renew_deadline: u64,
    /// Seconds between a leader's tries to renew.
    pub retry_period: u64,
    /// Which pods are candidates.
    pub selector: Selector,
    /// How a holder names its pod.
    pub identity: Identity,
    /// The containers that must be down; all if empty.
    pub watched: Vec<String>,
    /// What to do with dead holders.
    pub stale_holder: StaleHolder,
    /// How many transitions the history keeps.
    pub history_limit: usize,
    /// Where the leader's traffic comes by, if anywhere.
    pub routing: Option<traffic::Plan>,
}

impl Plan {
    /// Whether the pod is a candidate.
    pub fn selects(&self, pod: &Pod) -> bool {
        self.selector.matches(&pod.labels)
    }

    /// The pod's containers that are watched and that it has.
    pub fn watched_of<'p>(&'p self, pod: &'p Pod) -> impl Iterator<Item = &'p Container> {
        let all = self.watched.is_empty() || pod.shared_pid;
        pod.containers.iter().filter(move |c| all || self.watched.contains(&c.name))
    }

    fn new(group: &LeaderGroup) -> Result<Self, String> {
        let selector = Selector::try_from(group.candidate_selector())
            .map_err(|e| format!("spec.candidates.selector can't be used: {e}"))?;
        let spec = &group.spec;
        if !is_dns_name(group.lease_name()) {
            return Err("spec.lease.name must be a DNS name: lower-case letters, digits, '-' and '.'".to_owned());
        }
        let seconds = |n: i32| u64::try_from(n).unwrap_or(0).max(1);
        Ok(Self {
            lease_name: group.lease_name().to_owned(),
            create_lease: spec.lease.create,
            duration: seconds(spec.lease.duration_seconds),
            renew_deadline: seconds(spec.lease.renew_deadline_seconds),
            retry_period: seconds(spec.lease.retry_period_seconds),
            selector,
            identity: Identity::new(spec.identity.as_deref()).map_err(|e| format!("spec.{e}"))?,
            watched: spec.candidates.containers.clone(),
            stale_holder: spec.stale_holder.clone(),
            history_limit: usize::try_from(spec.history_limit).unwrap_or(1).max(1),
            routing: traffic::Plan::of(group),
        })
    }
}

/// Whether the API server takes it as a name; an older definition may have let in one that leads out of the namespace.
fn is_dns_name(name: &str) -> bool {
    let inside = |label: &str| label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    name.split('.').all(|label| !label.is_empty() && inside(label) && !label.starts_with('-') && !label.ends_with('-'))
}

impl Group {
    /// Whether it asks for a Service of that name.
    pub fn routes_by(&self, service: &str) -> bool {
        self.plan.as_ref().is_ok_and(|plan| plan.routing.as_ref().is_some_and(|routing| routing.name == service))
    }
}

impl From<LeaderGroup> for Group {
    fn from(group: LeaderGroup) -> Self {
        let plan = Plan::new(&group);
        let metadata = group.metadata;
        Self {
            key: Key::of(&metadata),
            uid: metadata.uid.unwrap_or_default(),
            version: metadata.resource_version.unwrap_or_default(),
            generation: metadata.generation,
            deleting: metadata.deletion_timestamp.is_some(),
            created: metadata.creation_timestamp.map(|t| t.0),
            status: group.status.map(Arc::new),
            answered_at: None,
            plan,
        }
    }
}
