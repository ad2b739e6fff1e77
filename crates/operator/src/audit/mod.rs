//! The audit of candidates' rights: may the `ServiceAccounts` of a group's pods do with the Lease what an elector has to?
//!
//! A candidate that may not update its Lease looks like any other standby until it has to lead, and then never does. So
//! the operator asks the API server, for each account, before it matters. [`questions`] says what is asked, [`told`] what
//! the answers mean to the user, [`schedule`] when a group is asked about. All three are pure.

pub mod questions;
pub mod schedule;
pub mod told;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use questions::{Answers, Question, Right};
pub use schedule::{Schedule, Scope, Step};

use crate::index::Snapshot;
use crate::model::Phase;

/// Of so many accounts of one group the rights are checked, the first by name. A group has one or two; whoever may make
/// pods can make it any number.
pub const MOST_ACCOUNTS: usize = 8;

/// What of a group is audited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The name of the Lease, in the group's namespace.
    pub lease: String,
    /// The `ServiceAccounts` of the candidates that have not ended, in order, at most [`MOST_ACCOUNTS`] and at least one.
    pub accounts: Vec<Arc<str>>,
    /// How many there are in all.
    pub of: usize,
    /// Whether the Lease does not exist, and is the candidates' to create.
    pub must_create: bool,
}

impl Subject {
    /// What of this group is audited, or why nothing is.
    pub fn of(snapshot: &Snapshot<'_>) -> Result<Self, &'static str> {
        if snapshot.older.is_some() {
            return Err("another LeaderGroup has this Lease");
        }
        let mut live = snapshot.candidates.iter().filter(|pod| pod.phase == Phase::Live).peekable();
        if live.peek().is_none() {
            return Err("no candidate exists, so there is nobody to check the rights of");
        }
        let all: BTreeSet<&Arc<str>> = live.filter_map(|pod| pod.account.as_ref()).collect();
        if all.is_empty() {
            return Err("no candidate has a ServiceAccount, so what it may do is not known");
        }
        Ok(Self {
            lease: snapshot.plan.lease_name.clone(),
            of: all.len(),
            accounts: all.into_iter().take(MOST_ACCOUNTS).cloned().collect(),
            must_create: snapshot.lease.is_none() && !snapshot.plan.create_lease,
        })
    }
}

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Every question was answered.
    Answered {
        /// What was asked about.
        subject: Arc<Subject>,
        /// The answers.
        answers: Answers,
    },
    /// The operator itself may not ask.
    Refused,
}

/// Why an audit broke off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokenOff {
    /// The operator itself may not ask.
    Refused,
    /// A question was not answered, for this reason.
    Failed(String),
}
