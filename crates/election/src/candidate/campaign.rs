//! Which request a candidate sends next, and when.

use std::time::Duration;

use super::{Candidate, Known, Role};
use crate::message::{Request, What};
use crate::record::{Change, Record, Version};
use crate::{Time, Timing};

/// How long after a lost race the watch may take to bring the winner, before it is asked for.
const CATCH_UP: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Read,
    /// A write that acquires or renews.
    Hold,
    /// A write that releases.
    Free,
}

/// A request that is not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct UnderWay {
    pub id: u64,
    pub deadline: Time,
    pub sent_at: Time,
    pub kind: Kind,
    /// The version that was known when it was sent.
    pub knew: Option<Version>,
    /// The timing that it puts into force.
    pub timing: Timing,
}

impl UnderWay {
    pub fn is_write(&self) -> bool {
        self.kind != Kind::Read
    }
}

impl Candidate {
    pub(super) fn read_by(&mut self, at: Time) {
        self.read_at = Some(self.read_at.map_or(at, |due| due.min(at)));
    }

    /// A standby leaves it to the watch for a while to bring whatever was in the way of its write.
    pub(super) fn read_after_conflict(&mut self, now: Time) {
        let in_a_hurry = self.blind.is_some() || !matches!(self.role, Role::Standby);
        self.read_by(if in_a_hurry { now } else { now.saturating_add(CATCH_UP) });
    }

    fn read_due_at(&self) -> Option<Time> {
        // A leader learns enough from its renewals.
        let blind = self.blind.filter(|_| matches!(self.role, Role::Standby));
        self.read_at.into_iter().chain(blind).min()
    }

    /// When the next request is due, if nothing else happens.
    pub(super) fn due_at(&self) -> Option<Time> {
        let write = match &self.role {
            Role::Left => return None,
            // The version that a write would name is not the present one.
            _ if self.outdated => None,
            Role::Leading { renew_at, .. } => Some(*renew_at),
            Role::Leaving { .. } => self.holds().then_some(Time::ZERO),
            Role::Standby => self.acquirable_at().map(|at| at.max(self.yields_until)),
        };
        write.into_iter().chain(self.read_due_at()).min()
    }

    /// From when on this standby may take the Lease, by what is known of it.
    fn acquirable_at(&self) -> Option<Time> {
        if self.identity.is_empty() {
            return None;
        }
        let Known::Present { seen, moved_at } = &self.known else {
            return matches!(self.known, Known::Absent(_)).then_some(Time::ZERO);
        };
        let politeness = if self.is_another_preferred() { self.timing.retry_period() } else { Duration::ZERO };
        if seen.record.holder.is_none() {
            return Some(if politeness.is_zero() { Time::ZERO } else { moved_at.saturating_add(politeness) });
        }
        if self.holds() {
            return Some(Time::ZERO);
        }
        // The record's own duration counts: its holder relies on it.
        let seconds = seen.record.duration_seconds.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0);
        let duration = seconds.map_or(self.timing.lease_duration(), Duration::from_secs);
        Some(moved_at.saturating_add(duration).saturating_add(politeness))
    }

    pub(super) fn next_request(&self, now: Time) -> Option<What> {
        if self.under_way.is_some() || now < self.not_before || self.due_at().is_none_or(|due| now < due) {
            return None;
        }
        if self.read_due_at().is_some_and(|due| now >= due) {
            return Some(What::Read);
        }
        match &self.known {
            Known::Nothing => None,
            Known::Absent(_) => Some(What::Create(self.change(None))),
            Known::Present { seen, .. } => Some(What::Replace(seen.version, self.change(Some(&seen.record)))),
        }
    }

    /// As client-go writes it: the holder that comes back to its own record goes on with it, another one counts.
    fn change(&self, old: Option<&Record>) -> Change {
        let counted = old.and_then(|record| record.transitions).unwrap_or(0);
        let mine = self.is_mine();
        let frees = matches!(self.role, Role::Leaving { .. });
        Change {
            holder: if frees { String::new() } else { self.identity.clone() },
            duration_seconds: if frees { 1 } else { self.timing.seconds() },
            // Some electors fail for good at a record without it.
            acquires: frees || !mine || old.is_none_or(|record| record.acquired.is_none()),
            transitions: if old.is_none() || mine { counted } else { counted.saturating_add(1) },
        }
    }

    pub(super) fn send(&mut self, what: What, now: Time) -> Request {
        self.last_id += 1;
        let leaving = matches!(self.role, Role::Leaving { .. });
        let kind = match &what {
            What::Read => Kind::Read,
            _ if leaving => Kind::Free,
            _ => Kind::Hold,
        };
        match &mut self.role {
            // Whoever sees a shortened duration counts on it at once, whether this candidate learns of it or not.
            Role::Leading { term, .. } if kind == Kind::Hold => {
                term.valid_until = term.valid_until.min(now.saturating_add(self.timing.renew_deadline()));
                term.expires_at = term.expires_at.min(now.saturating_add(self.timing.lease_duration()));
            }
            _ => {}
        }
        if kind == Kind::Read {
            self.read_at = None;
            self.blind = self.blind.map(|_| now.saturating_add(self.timing.retry_period()));
        }
        let deadline = now.saturating_add(self.timing.request_timeout());
        let (id, knew, timing) = (self.last_id, self.known.version(), self.timing);
        self.under_way = Some(UnderWay { id, deadline, sent_at: now, kind, knew, timing });
        Request { id, deadline, what }
    }
}
