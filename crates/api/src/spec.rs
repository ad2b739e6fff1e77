//! What a user declares.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::GROUP_LABEL;
use crate::library::Library;
use crate::routing::Routing;
use crate::status::LeaderGroupStatus;

/// A group of candidate pods of which one leads, by holding a Lease.
///
/// Every field has a default: an empty spec observes the Lease of the group's own name and takes
/// the pods labelled `leadergroup.dev/group=<name>` as candidates.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "leadergroup.dev",
    version = "v1alpha1",
    kind = "LeaderGroup",
    plural = "leadergroups",
    shortname = "lg",
    category = "all",
    namespaced,
    status = "LeaderGroupStatus",
    doc = "A group of candidate pods of which one leads, by holding a Lease. The operator tells in the status who leads and why that changed, and clears a holder that is proven dead.",
    derive = "PartialEq",
    validation = Rule::new("size(self.metadata.name) <= 63")
        .message("metadata.name must be at most 63 characters: it is used as the value of the label leadergroup.dev/group"),
    validation = Rule::new("(has(self.spec.lease.name) ? self.spec.lease.name : self.metadata.name) == (has(oldSelf.spec.lease.name) ? oldSelf.spec.lease.name : oldSelf.metadata.name)")
        .message("spec.lease.name cannot change: delete this LeaderGroup (its Lease and leader stay) and create another"),
    validation = Rule::new("!has(self.spec.routing) || has(self.spec.routing.service.name) || self.metadata.name.matches('^[a-z]([-a-z0-9]{0,54}[a-z0-9])?$')")
        .message("the group's name with -leader behind it can't name a Service: set spec.routing.service.name"),
    printcolumn(name = "Leader", type_ = "string", json_path = ".status.leader.podName", description = "The candidate pod that leads"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Candidates", type_ = "integer", json_path = ".status.candidates.total"),
    printcolumn(name = "Transitions", type_ = "integer", json_path = ".status.transitions"),
    printcolumn(name = "Since", type_ = "date", json_path = ".status.leader.acquireTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.leader.nodeName", priority = 1),
    printcolumn(name = "Lease", type_ = "string", json_path = ".status.leaseName", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct LeaderGroupSpec {
    /// Which pods may lead.
    #[serde(default)]
    pub candidates: Candidates,

    /// The Lease they race for, and its timing.
    #[serde(default)]
    pub lease: LeaseSpec,

    /// How a Lease's holderIdentity names its pod: literal text with the placeholders {pod} (the
    /// pod's name or hostname), {node}, {uid} and {any} (one or more characters).
    /// Default: {pod}, or {pod}_{any}, or {node}_{any} for host-network pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(
        validation = Rule::new("self.matches('^([^{}]|[{](pod|node|uid|any)[}])+$')")
            .message("identity may use only the placeholders {pod}, {node}, {uid} and {any}, and no other braces"),
        validation = Rule::new("self.contains('{pod}') || self.contains('{node}') || self.contains('{uid}')")
            .message("identity must contain {pod}, {node} or {uid}: without one, a holder cannot be told from another")
    )]
    pub identity: Option<String>,

    /// What to do with a holder that is dead but still written in the Lease.
    #[serde(default)]
    pub stale_holder: StaleHolder,

    /// A Service whose only endpoint is the pod that leads. By default there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<Routing>,

    /// How many transitions `status.history` keeps.
    #[serde(default = "default_history_limit")]
    #[schemars(range(min = 1, max = 100))]
    pub history_limit: i32,
}

fn default_history_limit() -> i32 {
    20
}

/// Which pods may lead.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Candidates {
    /// The candidate pods, in the group's namespace.
    /// Default: the pods labelled `leadergroup.dev/group=<name of the group>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,

    /// The containers that must all be down for a candidate to be dead: the elector, and whatever
    /// believes it. Default: all containers, sidecars included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 63)))]
    pub containers: Vec<String>,
}

/// The Lease and its timing, named as in client-go.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.durationSeconds > self.renewDeadlineSeconds")
        .message("durationSeconds must be greater than renewDeadlineSeconds: a leader has to give up before others may take over"),
    validation = Rule::new("self.renewDeadlineSeconds * 5 > self.retryPeriodSeconds * 6")
        .message("renewDeadlineSeconds must be greater than 1.2 x retryPeriodSeconds: a leader needs time for more than one try")
)]
pub struct LeaseSpec {
    /// The name of the Lease, in the group's own namespace. Default: the group's name. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')")
            .message("lease.name must be a DNS name: lower-case letters, digits, '-' and '.'")
    )]
    pub name: Option<String>,

    /// Have the operator create the Lease, so that candidates need no right to create Leases.
    #[serde(default)]
    pub create: bool,

    /// Seconds after which a Lease that was not renewed may be taken over.
    #[serde(default = "default_duration")]
    #[schemars(range(min = 1, max = 86400))]
    pub duration_seconds: i32,

    /// Seconds for which a leader tries to renew before it gives up.
    #[serde(default = "default_renew_deadline")]
    #[schemars(range(min = 1, max = 86400))]
    pub renew_deadline_seconds: i32,

    /// Seconds between tries to acquire or renew.
    #[serde(default = "default_retry_period")]
    #[schemars(range(min = 1, max = 86400))]
    pub retry_period_seconds: i32,
}

fn default_duration() -> i32 {
    15
}

fn default_renew_deadline() -> i32 {
    10
}

fn default_retry_period() -> i32 {
    2
}

impl Default for LeaseSpec {
    fn default() -> Self {
        Self {
            name: None,
            create: false,
            duration_seconds: default_duration(),
            renew_deadline_seconds: default_renew_deadline(),
            retry_period_seconds: default_retry_period(),
        }
    }
}

/// What to do with a holder that is dead but still written in the Lease.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StaleHolder {
    /// Clear the holder once its death is proven, or only observe and say what would have been done.
    #[serde(default)]
    pub policy: Policy,

    /// What a cleared Lease looks like. `Empty`: holder "", duration 1. `Null`: holder null, duration 1
    /// (in YAML write "Null": without quotes it means no value). `Delete`: no Lease, after which some
    /// election libraries never elect a leader again. `Auto`: `Null` where the library that wrote the
    /// Lease last is known to need it, else `Empty`.
    #[serde(default)]
    pub release: Release,

    /// What happens to the Lease of a leader whose container restarts. `Clear`: it is lost at once.
    /// `Keep`: it stays with the leader's pod until it expires. `Auto`: `Keep` where the leader's
    /// election library is known to come back to its own Lease sooner than a standby would take it,
    /// and its identity outlives the restart; else `Clear`.
    #[serde(default)]
    pub on_restart: OnRestart,

    /// Seconds between proof and clear, granted to side effects of the dead leader still in flight.
    #[serde(default)]
    #[schemars(range(min = 0, max = 86400))]
    pub delay_seconds: i32,

    /// What to do with a holder that is gone without proof (forced deletion, lost node).
    #[serde(default)]
    pub unconfirmed: Unconfirmed,
}

/// Whether dead holders are cleared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Policy {
    /// Clear the Lease once its holder is proven dead.
    #[default]
    Clear,
    /// Report what would have been cleared, and write nothing to the Lease.
    Observe,
}

/// What a cleared Lease looks like, as a group asks for it.
///
/// The Lease's times and transitions are kept in every form that keeps the Lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Release {
    /// `Null` or `Empty`: the form that the election library which wrote the Lease last is known to
    /// understand, or `Empty` if it is not known. Never `Delete`.
    #[default]
    Auto,
    /// Holder "", duration 1: as client-go releases.
    Empty,
    /// Holder null, duration 1.
    Null,
    /// The Lease is deleted. Some libraries never elect a leader again after that.
    Delete,
}

impl Release {
    /// Returns the form in which a Lease that this library wrote is cleared.
    ///
    /// `Auto` never deletes: writing a Lease, by which a library is recognised, does not take the right to delete it.
    pub const fn form(self, library: Option<Library>) -> ReleaseForm {
        let best = match library {
            Some(library) => library.release(),
            None => ReleaseForm::Empty,
        };
        match (self, best) {
            (Self::Null, _) | (Self::Auto, ReleaseForm::Null) => ReleaseForm::Null,
            (Self::Empty, _) | (Self::Auto, ReleaseForm::Empty | ReleaseForm::Delete) => ReleaseForm::Empty,
            (Self::Delete, _) => ReleaseForm::Delete,
        }
    }
}

impl From<ReleaseForm> for Release {
    fn from(form: ReleaseForm) -> Self {
        match form {
            ReleaseForm::Empty => Self::Empty,
            ReleaseForm::Null => Self::Null,
            ReleaseForm::Delete => Self::Delete,
        }
    }
}

/// What a cleared Lease looks like, once it is known which library wrote it ([`Release::form`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReleaseForm {
    /// Holder "", duration 1.
    Empty,
    /// Holder null, duration 1.
    Null,
    /// The Lease is deleted.
    Delete,
}

/// What a restart of the leader's containers means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnRestart {
    /// `Keep` where the leader's election library is known to come back to its own Lease sooner than
    /// a standby would take it, and the leader keeps its identity. `Clear` otherwise.
    #[default]
    Auto,
    /// A restarted leader has lost: whoever acquires first leads.
    Clear,
    /// The Lease stays with the restarting pod until it runs out.
    Keep,
}

impl OnRestart {
    /// Returns whether the Lease stays with a pod that restarts, whose holder this library wrote.
    ///
    /// `is_lasting` says whether the holder's identity outlives the restart, as a pod's name does and a random suffix
    /// does not.
    pub const fn keeps(self, library: Option<Library>, is_lasting: bool) -> bool {
        match self {
            Self::Auto => match library {
                Some(library) => is_lasting && library.resumes_after_restart(),
                None => false,
            },
            Self::Clear => false,
            Self::Keep => true,
        }
    }
}

/// What to do with a holder that is gone without proof.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.policy == 'AcceptRisk') == has(self.afterSeconds)")
        .message("unconfirmed.afterSeconds goes with unconfirmed.policy AcceptRisk: set both or neither")
)]
pub struct Unconfirmed {
    /// `WaitForExpiry` leaves the Lease alone until it has run out. `AcceptRisk` clears it
    /// `afterSeconds` after the holder was last heard of; if it is alive after all, two lead.
    #[serde(default)]
    pub policy: UnconfirmedPolicy,

    /// Seconds without proof and without a renewal after which the risk is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub after_seconds: Option<i32>,
}

/// What to do with a holder that is gone without proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UnconfirmedPolicy {
    /// Leave the Lease alone until it has run out.
    #[default]
    WaitForExpiry,
    /// Clear it after `afterSeconds`; if the holder is alive after all, two lead.
    AcceptRisk,
}

impl LeaderGroup {
    /// The name of the group's Lease, defaults applied.
    pub fn lease_name(&self) -> &str {
        match &self.spec.lease.name {
            Some(name) => name,
            None => self.metadata.name.as_deref().unwrap_or_default(),
        }
    }

    /// The label selector of the group's candidates, defaults applied.
    pub fn candidate_selector(&self) -> LabelSelector {
        self.spec.candidates.selector.clone().unwrap_or_else(|| {
            let name = self.metadata.name.clone().unwrap_or_default();
            LabelSelector {
                match_labels: Some(BTreeMap::from([(GROUP_LABEL.to_owned(), name)])),
                match_expressions: None,
            }
        })
    }
}
