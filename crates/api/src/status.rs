//! What the operator reports. Nothing here changes while a leader merely renews its Lease.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The observed state of a group.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaderGroupStatus {
    /// The generation of the spec that this status answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The name of the Lease that is observed, defaults applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_name: Option<String>,

    /// Who leads; absent while nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<Leader>,

    /// What the Lease says about its holder, and how that was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,

    /// The processes that may have written the Lease, as far as the operator has seen them. The next operator carries
    /// it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,

    /// How often leadership changed since the group was first observed. Never falls.
    #[serde(default)]
    pub transitions: i64,

    /// The Lease's own counter as last seen; election libraries differ in how well they keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_transitions: Option<i64>,

    /// How many pods may lead.
    #[serde(default)]
    pub candidates: CandidateCount,

    /// The latest changes of leadership, newest first, at most `spec.historyLimit`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Transition>,

    /// Whether there is a leader (`Ready`), and what is in the way (`Stalled`, `CandidatesFound`, `HolderSuspect`,
    /// `LeaseSuspect`, `CandidatesAuthorized`), and how it goes (`Flapping`, `TimingSuspect`, `LeaderSuspect`). Where `spec.routing` is set, whether traffic goes to the leader and to
    /// nobody else (`Routed`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// The candidate that leads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Leader {
    /// The Lease's holderIdentity.
    pub identity: String,

    /// The pod the identity resolves to; absent if it resolves to none or to several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,

    /// The UID of that pod.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "podUID")]
    pub pod_uid: Option<String>,

    /// The node the pod runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,

    /// The node's zone, from its label `topology.kubernetes.io/zone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,

    /// When the holder says it acquired the Lease, by its own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acquire_time: Option<MicroTime>,
}

/// What the Lease says about its holder, and how that was judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// The Lease's holderIdentity; empty if nobody holds it.
    pub identity: String,

    /// The UID of the pod it resolved to.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "podUID")]
    pub pod_uid: Option<String>,

    /// What is known about the holder.
    pub verdict: Verdict,

    /// The rule of the evidence table that gave the verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleName>,

    /// The observation the verdict rests on.
    pub evidence: String,
}

/// The rules of the evidence table, each of which gives one [`Verdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RuleName {
    /// The Lease does not exist.
    LeaseAbsent,
    /// Nobody holds the Lease.
    NotHeld,
    /// Coordinated leader election decides.
    CoordinatedElection,
    /// The Lease was renewed after its holder was proven dead.
    RenewedAfterProof,
    /// The identity fits a pod that the selector does not match, and no candidate.
    PodOutsideSelector,
    /// The identity is not of the form that `spec.identity` gives.
    IdentityNotOfTemplate,
    /// The identity fits the template, but no pod.
    IdentityFitsNoPod,
    /// The identity fits several pods that may be alive.
    IdentityFitsSeveralPods,
    /// The kubelet reported that every watched container of the pod terminated.
    KubeletReportedEnd,
    /// Every watched container's newest run ended after the last renewal.
    NoRunSinceRenewal,
    /// The kubelet restarted all containers of the pod after the last renewal.
    AllContainersRestarted,
    /// An administrator declared the node out of service, and the Lease stands still.
    NodeOutOfService,
    /// A watched container runs, and the Lease is current.
    Running,
    /// A watched container is starting, and the Lease is current.
    Starting,
    /// The pod was deleted, and its kubelet never reported its containers as terminated.
    DeletedWithoutReport,
    /// The pod is in a terminal phase that its kubelet is not known to have set.
    EndNotByKubelet,
    /// The pod's node is not ready.
    NodeNotReady,
    /// A watched container runs, but the Lease expired.
    StoppedRenewing,
    /// No watched container runs, but a run that was not seen may have renewed the Lease.
    RunNotSeen,
    /// A rule of another version of the operator.
    #[serde(other)]
    Unknown,
}

/// Which processes may have written the Lease under its present holder's identity, and whether the end of each is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Whether the operator has kept sight of every process that may have written the holder's identity in this term.
    /// Only then is a holder that is proven dead cleared at once.
    pub complete: bool,

    /// Why the account is incomplete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<AccountGap>,

    /// What was lost sight of for the whole of this term. It matters unless the holder's identity can't be another pod's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<AccountGap>,

    /// The containers it accounts for; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<String>,

    /// Pods whose earlier history the operator has seen, where that can't be read off the pod itself. Of the names that can
    /// be used again, another operator takes only these for accounted for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<AccountedPod>,
}

/// A pod whose history the operator has seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountedPod {
    /// Its name. No other pod has had it that is not known to have ended.
    pub name: String,
    /// The UID of the pod that has the name, or had it last.
    pub uid: String,
    /// Whether no other pod can have the name, since the API server generated it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unique_name: bool,
    /// How many runs of each of its containers have ended, all of them seen.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ended_runs: BTreeMap<String, u32>,
    /// Why its processes are not accounted for all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<AccountGap>,
}

/// How the operator lost sight of a process that may have written the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AccountGap {
    /// The operator was not watching before this term began.
    NotSeenFromStart,
    /// A watch was interrupted, or no operator ran: a pod may have come and gone under this name.
    WatchGap,
    /// A pod was deleted without a report that its containers terminated.
    DeletedWithoutReport,
    /// A run of a container ended in a way that its runtime may have made up.
    UnwitnessedEnd,
    /// A run of a container ended, and no report of it was seen.
    UnseenRun,
    /// The pod's node was registered again: the pod ran on another machine.
    NodeReplaced,
    /// The Lease is at an older version than before: its storage was restored.
    LeaseRestored,
    /// The identity fits another pod, which may be alive.
    OtherPodFits,
    /// More pods were lost than the operator remembers.
    TooManyLost,
    /// A reason given by another version of the operator.
    #[serde(other)]
    Unknown,
}

impl AccountGap {
    /// The cause, as a clause that follows "because".
    pub fn cause(self) -> &'static str {
        match self {
            Self::NotSeenFromStart => "the operator was not watching when this term began",
            Self::WatchGap => "another pod may have used this identity while nobody watched",
            Self::DeletedWithoutReport => {
                "a pod of this identity was deleted before its kubelet reported its \
                 containers as terminated, and its processes may still run"
            }
            Self::UnwitnessedEnd => "a run of the pod ended in a way that its runtime may have made up",
            Self::UnseenRun => "the end of an earlier run of the pod was not seen",
            Self::NodeReplaced => "the pod's node was registered again and may be another machine",
            Self::LeaseRestored => "its storage was restored and later renewals may be lost",
            Self::OtherPodFits => "the identity fits another pod that may be alive",
            Self::TooManyLost => "more pods were deleted without a report than the operator remembers",
            Self::Unknown => "another version of the operator lost sight of a process",
        }
    }
}

/// What is known about a Lease's holder: the rows of the evidence table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// Coordinated leader election (`spec.strategy`) decides; the operator only watches.
    Managed,
    /// Nobody holds the Lease.
    Free,
    /// The Lease moved after its holder was proven dead: something else uses the same identity.
    Contradiction,
    /// The identity belongs to no candidate of this group.
    Foreign,
    /// The identity fits more than one candidate that may be alive.
    Ambiguous,
    /// The holder is proven dead.
    Terminated,
    /// The holder runs and its Lease has not run out.
    Alive,
    /// The holder's pod is gone without proof that its process ended.
    Vanished,
    /// The holder's node is not ready.
    Unreachable,
    /// The identity fits the group's template, but no pod.
    Unresolved,
    /// The holder's containers are down, but a newer run may have renewed the Lease.
    Unproven,
    /// The holder runs, but its Lease ran out.
    LeaseExpired,
}

impl Verdict {
    /// The name as written in status, logs and docs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Managed => "Managed",
            Self::Free => "Free",
            Self::Contradiction => "Contradiction",
            Self::Foreign => "Foreign",
            Self::Ambiguous => "Ambiguous",
            Self::Terminated => "Terminated",
            Self::Alive => "Alive",
            Self::Vanished => "Vanished",
            Self::Unreachable => "Unreachable",
            Self::Unresolved => "Unresolved",
            Self::Unproven => "Unproven",
            Self::LeaseExpired => "LeaseExpired",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// How many pods may lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CandidateCount {
    /// Pods that the selector matches and that have not ended.
    pub total: i32,
    /// Those of them that are Ready.
    pub ready: i32,
}

/// One change of leadership.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// The identity that leads since.
    pub leader: String,

    /// The UID of its pod, where it resolved to one.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "podUID")]
    pub pod_uid: Option<String>,

    /// The identity that led before; absent for the first leader seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,

    /// Why leadership changed.
    pub reason: TransitionReason,

    /// When the operator saw it, by the operator's clock.
    pub time: Time,

    /// Seconds from the old leader's end, as far as the operator saw it, to the new one's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaderless_seconds: Option<f64>,

    /// Transitions before this one that the Lease counted and the operator did not see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unobserved: Option<i64>,
}

/// Why leadership changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TransitionReason {
    /// The first leader this group was seen with.
    First,
    /// The old leader gave the Lease up.
    Released,
    /// The operator cleared the old leader, which was proven dead.
    Cleared,
    /// The operator cleared the old leader without proof, as the user asked.
    ClearedUnconfirmed,
    /// The Lease of the old leader ran out.
    Expired,
    /// A new pod took over under the old one's identity.
    Replaced,
    /// The Lease was taken from a holder that neither released it nor let it run out.
    Taken,
    /// The Lease was deleted and made anew.
    LeaseDeleted,
    /// It, or the end of the term before it, was not seen: the operator was not watching, or had only begun to.
    Unobserved,
}

/// Of these conditions `True` says that something is not as it should be; of all others, `False` does.
const ABNORMAL_WHEN_TRUE: [&str; 6] =
    ["Stalled", "HolderSuspect", "LeaseSuspect", "Flapping", "TimingSuspect", "LeaderSuspect"];

/// Whether a condition of that type and status says that all is as it should be; none where it says that this is not known.
pub fn is_well(type_: &str, status: &str) -> Option<bool> {
    let is_abnormal = ABNORMAL_WHEN_TRUE.contains(&type_);
    match status {
        "True" => Some(!is_abnormal),
        "False" => Some(is_abnormal),
        _ => None,
    }
}

impl TransitionReason {
    /// The name as written in status, metrics and docs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "First",
            Self::Released => "Released",
            Self::Cleared => "Cleared",
            Self::ClearedUnconfirmed => "ClearedUnconfirmed",
            Self::Expired => "Expired",
            Self::Replaced => "Replaced",
            Self::Taken => "Taken",
            Self::LeaseDeleted => "LeaseDeleted",
            Self::Unobserved => "Unobserved",
        }
    }
}
