//! What a candidate is told, and what it wants done.

use crate::Time;
use crate::record::{Change, Observation, Version};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The watch brought the Lease. It may be older than what is known.
    Watched(Observation),
    /// There is no watch any more, until it brings something.
    WatchLost,
    /// A request was answered.
    Answered {
        /// Which.
        request: u64,
        /// What became of it.
        answer: Answer,
    },
    /// The time of [`crate::Candidate::next_wake`] has come.
    Woken,
    /// The work that needs leadership has ended, or never began: release the Lease and campaign no more.
    Resign,
    /// The work that needs leadership has ended: release the Lease and campaign on, after the others.
    StepDown,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It was done; this is the Lease after it.
    Done(Observation),
    /// The Lease is not at the version named: it was changed, made or deleted meanwhile.
    Conflict,
    /// It was certainly not done.
    Refused,
    /// It may have been done, now or later.
    Unknown,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Send this, and report the answer. At most one is under way.
    Send(Request),
    /// This candidate leads.
    Gained(Term),
    /// It still leads, until another moment: a later one, or an earlier one while it shortens the lease duration.
    Extended(Term),
    /// It leads no more.
    Lost(Loss),
    /// It has left: nothing more will happen.
    Left,
}

/// A request to the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// Tells it from others.
    pub id: u64,
    /// An answer after this moment is not waited for.
    pub deadline: Time,
    /// What to do.
    pub what: What,
}

/// What a request does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// Read the Lease, not from a cache.
    Read,
    /// Create the Lease; [`Answer::Conflict`] if it exists.
    Create(Change),
    /// Replace the Lease if it is at exactly this version, leaving all else that it says; else [`Answer::Conflict`].
    Replace(Version, Change),
}

/// One continuous tenure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    /// The version that the acquiring write made: larger in each later term. Systems that remember the largest they have
    /// seen can refuse a leader that does not know yet that it lost.
    pub token: Version,
    /// Until when this candidate leads unless it renews. Counts from before the renewing request was sent.
    pub valid_until: Time,
    /// When the Lease can have run out unless it is renewed, and another may lead: later than `valid_until`. Whatever
    /// goes on outside of this candidate because it led must have ended by then.
    pub expires_at: Time,
}

/// Why leadership ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// No renewal succeeded within the renew deadline.
    DeadlinePassed,
    /// Another holds the Lease.
    Taken(String),
    /// Somebody else released it, or deleted it.
    Freed,
    /// It was renewed under the same identity, but not by this candidate.
    IdentityShared,
    /// This candidate gave it up.
    Resigned,
}
