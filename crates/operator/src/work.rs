//! What the engine asks for, and what becomes of it.

use std::sync::Arc;

use leadergroup_api::LeaderGroupStatus;

use crate::audit::{Answers, BrokenOff, Subject};
use crate::decide::{Action, Clear, Notice};
use crate::index::Key;
use crate::routing::Step;
use crate::time::Mono;
use crate::traffic::wire::{ServiceWire, SliceWire};
use crate::wire::{GroupWire, LeaseWire, NodeWire, PodWire};

/// Tells the terms of this operator, as a leader among operators, from each other.
pub type Term = u64;

/// Something for the outside world to do.
#[derive(Clone, Debug)]
pub struct Work {
    /// The term it was decided in: it is not to be begun in any other.
    pub term: Term,
    /// The group it is for.
    pub group: Key,
    /// The group's UID.
    pub uid: String,
    /// What to do.
    pub job: Job,
}

/// What to do.
#[derive(Clone, Debug)]
pub enum Job {
    /// Something about the Lease; answered by an [`Outcome`].
    Act(Action),
    /// Something about the group's traffic; answered by [`Outcome::Routed`].
    Route(Step),
    /// Read the group, whose status could not be written at the version known; answered by [`Outcome::Group`].
    ReadGroup,
    /// Replace the status, if the group is still at this version; answered by [`Outcome::Status`].
    WriteStatus {
        /// The group's resourceVersion.
        version: String,
        /// The status.
        status: Box<LeaderGroupStatus>,
    },
    /// Say in the status of an object that can't be read why it can't; answered by [`Outcome::Status`].
    WriteInvalid {
        /// The object's resourceVersion.
        version: String,
        /// Why it can't be read.
        message: String,
    },
    /// Ask what the candidates' accounts may do; answered by [`Outcome::Audited`].
    Audit(Arc<Subject>),
    /// Publish an Event; answered by [`Outcome::Told`].
    Tell(Notice),
}

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It was not sent, because this operator does not lead.
    NotLeading,
    /// The object is not at the version named, or gone.
    Conflict,
    /// The API server refuses; asking again does not help by itself.
    Denied(String),
    /// It is not known whether the API server did it.
    Unknown(String),
}

/// What there is after a write to an object that routes, or after one that was refused.
#[derive(Clone, Debug)]
pub enum Stored {
    /// The Service of that name; none if it does not exist.
    Service(Key, Option<ServiceWire>),
    /// The `EndpointSlice` of that name; none if it does not exist.
    Slice(Key, Option<SliceWire>),
    /// A pod was labelled: its watch tells.
    Pod,
}

impl Stored {
    /// The same, as if there were no such object.
    #[must_use]
    pub fn without_object(self) -> Self {
        match self {
            Self::Service(key, _) => Self::Service(key, None),
            Self::Slice(key, _) => Self::Slice(key, None),
            Self::Pod => Self::Pod,
        }
    }
}

/// Pods as read, and the nodes that were asked for with them.
#[derive(Clone, Debug)]
pub struct Found {
    /// The pods.
    pub pods: Vec<PodWire>,
    /// The nodes by name; none of one that does not exist.
    pub nodes: Vec<(String, Option<NodeWire>)>,
}

/// What became of a job.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The Lease was read; none if it does not exist.
    Lease {
        /// When it was asked for.
        requested_at: Mono,
        /// The Lease.
        result: Result<Option<LeaseWire>, Failure>,
    },
    /// The group was read; none if it does not exist.
    Group {
        /// The group.
        result: Result<Option<Box<GroupWire>>, Failure>,
    },
    /// Pods were read.
    Pods {
        /// When they were asked for.
        requested_at: Mono,
        /// The only one that was asked for.
        name: Option<String>,
        /// The pods, and their nodes.
        result: Result<Found, Failure>,
    },
    /// Nodes were read.
    Nodes {
        /// When they were asked for.
        requested_at: Mono,
        /// The nodes by name; none of one that does not exist.
        result: Result<Vec<(String, Option<NodeWire>)>, Failure>,
    },
    /// The Lease was cleared; with its new version, or none if it was deleted.
    Cleared {
        /// What was asked for.
        clear: Clear,
        /// When it was asked for.
        requested_at: Mono,
        /// The Lease after it.
        result: Result<Option<LeaseWire>, Failure>,
    },
    /// Something about the group's traffic was written.
    Routed {
        /// What was asked for.
        step: Step,
        /// Whether it was done, or refused because the object is not as it was; and what there is now.
        result: Result<(bool, Stored), Failure>,
    },
    /// The status was written; with the group's new version and the status as stored.
    Status {
        /// The group's new version and the status as stored.
        result: Result<Option<(String, LeaderGroupStatus)>, Failure>,
    },
    /// The candidates' accounts were asked about.
    Audited {
        /// What was asked about.
        subject: Arc<Subject>,
        /// The answers, as far as they came.
        answers: Answers,
        /// Why it broke off, if it did.
        broke_off: Option<BrokenOff>,
    },
    /// An Event was published.
    Told {
        /// Whether it was.
        result: Result<(), Failure>,
    },
}
