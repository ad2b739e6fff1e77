//! Who held a group's Lease one after the other, as far as this operator saw without a gap.
//!
//! The leading operator writes transitions into the status as they come. One that stands by sees the same Leases, so
//! that when it takes over it can tell what came after the last status its predecessor wrote.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;
use leadergroup_api::TransitionReason;

use super::Key;
use crate::model::Lease;
use crate::time::{Mono, Now};

/// Remembered for each group: no more happen while one operator takes over from another.
const KEPT: usize = 8;

/// One holder's continuous hold of a Lease.
#[derive(Clone, Debug, PartialEq)]
pub struct Tenure {
    /// The holder's identity.
    pub holder: String,
    /// The Lease's own counter at its start.
    pub transitions: Option<i64>,
    /// When this operator saw it begin, or found it.
    pub began: Mono,
    /// This operator found it, and did not see it begin.
    pub was_found: bool,
    /// The same by the wall clock, in whole seconds.
    pub began_wall: Timestamp,
    /// How it ended, once it has.
    pub ended: Option<Ended>,
}

/// The end of a tenure, as seen in the Lease alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Since when nobody holds the Lease, or held it.
    pub at: Mono,
    /// The reason for the transition that follows.
    pub reason: TransitionReason,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Tenures(HashMap<Key, OfGroup>);

#[derive(Clone, Debug, Default)]
struct OfGroup {
    /// The name of the Lease.
    lease: String,
    tenures: VecDeque<Tenure>,
}

impl Tenures {
    /// The group's, oldest first. Only the last can be open.
    pub(super) fn of(&self, group: &Key) -> impl Iterator<Item = &Tenure> {
        self.0.get(group).into_iter().flat_map(|known| &known.tenures)
    }

    /// The group's Lease is at a new version. `after_gap` says that others may have gone unseen before it.
    pub(super) fn note(&mut self, group: &Key, name: &str, lease: &Lease, after_gap: bool, now: Now) {
        let known = self.0.entry(group.clone()).or_default();
        name.clone_into(&mut known.lease);
        let known = &mut known.tenures;
        let holder = lease.record.holder();
        if let Some(open) = known.back_mut().filter(|t| t.ended.is_none()) {
            let counted_on = after_gap && open.transitions != lease.record.transitions();
            if holder == Some(&open.holder) && !counted_on {
                return;
            }
            open.ended = Some(ended(lease, now));
        }
        if after_gap {
            known.clear();
        }
        if let Some(holder) = holder {
            known.push_back(Tenure {
                holder: holder.to_owned(),
                transitions: lease.record.transitions(),
                began: now.mono,
                was_found: after_gap,
                began_wall: now.wall_second(),
                ended: None,
            });
        }
        if known.len() > KEPT {
            known.pop_front();
        }
    }

    /// The group's Lease was deleted. `seen` says that its last version was known.
    pub(super) fn note_deleted(&mut self, group: &Key, seen: bool, now: Mono) {
        let Some(known) = self.0.get_mut(group).map(|known| &mut known.tenures) else { return };
        if !seen {
            known.clear();
        } else if let Some(open) = known.back_mut().filter(|t| t.ended.is_none()) {
            open.ended = Some(Ended { at: now, reason: TransitionReason::LeaseDeleted });
        }
    }

    /// Nobody watched another Lease than this for the group.
    pub(super) fn keep_only(&mut self, group: &Key, lease: &str) {
        if self.0.get(group).is_some_and(|known| known.lease != lease) {
            self.remove_group(group);
        }
    }

    pub(super) fn remove_group(&mut self, group: &Key) {
        self.0.remove(group);
    }
}

/// How the tenure ended that this version of the Lease has ended.
fn ended(lease: &Lease, now: Now) -> Ended {
    let freed = lease.record.holder().is_none();
    let Some(before) = &lease.before else { return Ended { at: now.mono, reason: TransitionReason::LeaseDeleted } };
    match lease.freed_by_another() {
        Some(reason @ TransitionReason::Expired) => Ended { at: before.moved_at, reason },
        Some(reason) => Ended { at: now.mono, reason },
        None if freed => Ended { at: now.mono, reason: TransitionReason::Released },
        None => {
            let reason = lease.why_another_holds_it();
            // One from which it was taken held it until then.
            let at = if reason == TransitionReason::Taken { now.mono } else { before.moved_at };
            Ended { at, reason }
        }
    }
}
