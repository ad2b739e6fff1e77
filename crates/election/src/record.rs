//! The Lease as a candidate sees it.

use crate::Timing;

/// A resourceVersion. Kubernetes promises since 1.35 that those of one resource can be compared as numbers, and has
/// kept to it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// What `spec` of a Lease says. The stamps are remote times of day: compared with each other, never with a clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// `holderIdentity`; none if it is null or empty.
    pub holder: Option<String>,
    /// `leaseDurationSeconds`.
    pub duration_seconds: Option<i32>,
    /// `acquireTime`, microseconds since 1970.
    pub acquired: Option<i64>,
    /// `renewTime`, microseconds since 1970.
    pub renewed: Option<i64>,
    /// `leaseTransitions`.
    pub transitions: Option<i32>,
}

/// One version of the Lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Its resourceVersion.
    pub version: Version,
    /// What it says.
    pub record: Record,
    /// The timing that the group asks for, if the Lease tells.
    pub timing: Option<Timing>,
    /// The identity that should lead next, if the Lease tells. Others leave it the first try.
    pub preferred: Option<String>,
}

/// The Lease at some moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Observation {
    /// It exists.
    Present(Seen),
    /// It does not exist; with the version of its deletion, if that is known.
    Absent(Option<Version>),
}

impl Observation {
    /// The version that this is about.
    pub fn version(&self) -> Option<Version> {
        match self {
            Self::Present(seen) => Some(seen.version),
            Self::Absent(version) => *version,
        }
    }
}

/// What a candidate wants a Lease to say. Times of day are put in by whoever sends it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// `holderIdentity`; empty to release.
    pub holder: String,
    /// `leaseDurationSeconds`.
    pub duration_seconds: i32,
    /// Whether `acquireTime` becomes now, or stays. `renewTime` always becomes now.
    pub acquires: bool,
    /// `leaseTransitions`.
    pub transitions: i32,
}
