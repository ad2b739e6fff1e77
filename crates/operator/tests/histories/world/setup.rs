//! What stays the same throughout a history.

use leadergroup_api::ReleaseForm;
use serde_json::{Value, json};

use super::LEASE_MS;
use crate::support;

/// What stays the same throughout a history.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "they are facts about a history, not states of a machine")]
pub struct Setup {
    pub seed: u64,
    pub naming: Naming,
    pub host: Host,
    pub owner: Owner,
    pub elector: Elector,
    /// An elector that can't renew leads no more, instead of exiting.
    pub stays: bool,
    /// A program runs in a container beside the elector and believes it.
    pub program: bool,
    pub helper: Option<Helper>,
    pub restarts: RestartPolicy,
    /// Processes live in sandboxes, whose clocks are so many milliseconds ahead of their node's.
    pub sandbox_ahead: Option<i64>,
    pub virtual_node: Option<VirtualMark>,
    /// The group asks for `onRestart: Keep`.
    pub keep: bool,
    /// The group asks for traffic to its leader.
    pub routes: bool,
    pub release: ReleaseForm,
    /// The API server's storage is backed up.
    pub is_backed_up: bool,
}

/// How electors call themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// By their host name, as another pod of that name does.
    Host,
    /// By host name and a random number, as every controller-runtime process does.
    HostAndNumber,
    /// By host name, UID and run.
    HostUidAndRun,
}

/// Where the host name comes from that the processes of the group's pods see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// It is the pod's name.
    Pod,
    /// It is the node's name: the pods use its network.
    Node,
    /// All pods declare the same.
    Shared,
}

/// What replaces the group's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::enum_variant_names, reason = "they are kinds of Kubernetes and of OpenKruise")]
pub enum Owner {
    /// A new pod has the name of the old one.
    StatefulSet,
    /// A new pod has a name that no other has.
    ReplicaSet,
    /// A new pod has the name of the old one, which the API server generated once.
    CloneSet,
}

impl Owner {
    /// The version and the kind of pods' owners.
    pub fn kind(self) -> (&'static str, &'static str) {
        match self {
            Self::StatefulSet => ("apps/v1", "StatefulSet"),
            Self::ReplicaSet => ("apps/v1", "ReplicaSet"),
            Self::CloneSet => ("apps.kruise.io/v1alpha1", "CloneSet"),
        }
    }
}

/// How electors renew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elector {
    ClientGo,
    /// Each renewal comes after nine tenths of the duration.
    Late,
    /// The first renewal comes after the whole duration.
    FirstLate,
    /// The Lease has no duration and is never renewed.
    ForLife,
}

impl Elector {
    /// Milliseconds from one renewal to the next.
    pub fn interval(self, renewals: u32) -> u64 {
        match self {
            Self::Late => LEASE_MS * 9 / 10,
            Self::FirstLate if renewals == 0 => LEASE_MS + 100,
            _ => super::RETRY_MS,
        }
    }

    /// Milliseconds after its last renewal in which an elector believes to lead.
    pub fn deadline(self) -> Option<u64> {
        match self {
            Self::ClientGo => Some(LEASE_MS * 2 / 3),
            Self::Late => Some(LEASE_MS - 500),
            Self::FirstLate => Some(LEASE_MS + 1_000),
            Self::ForLife => None,
        }
    }
}

/// A container that ends by itself and is not run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helper {
    /// A regular container with exit code 0 under `restartPolicy: OnFailure`.
    Regular,
    Ephemeral,
}

/// A pod's `restartPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

/// By what a virtual node can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirtualMark {
    Label,
    Taint,
    Both,
}

impl Setup {
    /// The group of such a history.
    pub fn group(&self) -> Value {
        let on_restart = if self.keep { "Keep" } else { "Clear" };
        let mut spec = json!({"staleHolder": {"onRestart": on_restart, "release": self.release}});
        if self.routes {
            spec["routing"] = json!({"service": {"ports": [{"port": 80}]}});
        }
        if self.naming == Naming::HostUidAndRun {
            spec["identity"] = json!("{pod}_{uid}_{any}");
        }
        support::group(&spec)
    }
}
