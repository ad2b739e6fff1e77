//! What can be done about a group's Lease, and what there is to tell.

use leadergroup_api::{ReleaseForm, RuleName, Verdict};

use crate::index::Key;
use crate::model::AskedTiming;
use crate::time::Mono;

/// Something to do on the API server for one group.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Create the Lease, free, with this duration in seconds.
    CreateLease {
        /// Which.
        lease: Key,
        /// Lease duration in seconds.
        duration: u64,
    },
    /// Write the group's timing to the Lease, for candidates that take it from there, if it is still at this version.
    AskTiming {
        /// Which.
        lease: Key,
        /// Its UID.
        uid: String,
        /// Its version.
        version: String,
        /// The timing.
        timing: AskedTiming,
    },
    /// Read the Lease, to know whether it really has not moved.
    ReadLease {
        /// Which.
        lease: Key,
    },
    /// Read the pods that may be the holder and their nodes, to know whether another run of it is accounted for nowhere,
    /// whether each pod's machine is still the one that it ran on, and whose word their phases are.
    ReadPods {
        /// The namespace.
        namespace: String,
        /// The only pod to read, where no other can be the holder: the API server answers that without the wait for
        /// its cache that a consistent list costs. All pods of the namespace otherwise.
        name: Option<String>,
        /// The nodes to read.
        nodes: Vec<String>,
    },
    /// Read nodes, to know whose word the phases of the deleted pods are that they ran.
    ReadNodes {
        /// Their names.
        nodes: Vec<String>,
    },
    /// Clear the holder.
    Clear(Clear),
}

/// A clear of exactly one version of a Lease.
#[derive(Clone, Debug, PartialEq)]
pub struct Clear {
    /// Which Lease.
    pub lease: Key,
    /// Its UID.
    pub uid: String,
    /// The version that was judged.
    pub version: String,
    /// When that version's record moved, as the operator saw it.
    pub moved_at: Mono,
    /// The holder to clear.
    pub holder: String,
    /// What a cleared Lease looks like.
    pub form: ReleaseForm,
    /// What allows it.
    pub ground: Ground,
    /// The rule it rests on.
    pub rule: RuleName,
    /// The verdict it rests on.
    pub verdict: Verdict,
    /// The evidence it rests on.
    pub evidence: String,
    /// Since when the verdict stands.
    pub since: Mono,
}

/// What allows a clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// The holder is proven dead.
    Proof,
    /// The Lease expired and nobody took it.
    Expired,
    /// The user accepts that it may be alive.
    RiskAccepted,
}

/// Something a user wants to be told once: an Event on the group and a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Something is not as it should be.
    pub warning: bool,
    /// A CamelCase word.
    pub reason: String,
    /// What tells it from others of the same reason within minutes, which would be counted as one Event.
    pub action: String,
    /// A sentence.
    pub note: String,
    /// The pod it concerns, name and UID.
    pub pod: Option<(String, String)>,
    /// The most by which a clear would have shortened the time without a leader.
    pub saved: Option<Mono>,
}
