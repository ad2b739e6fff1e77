//! What two candidates have in common that behave alike: for models, which must not tell them apart.

use super::{Candidate, Known, MOST_BACKOFF, Role, UnderWay};
use crate::Time;
use crate::record::{Record, Version};

/// What names mean nothing to a candidate, so that others do as well. Versions and stamps keep their order.
pub trait Renaming {
    /// Another version for this.
    fn version(&self, version: Version) -> Version;
    /// Another stamp for this.
    fn stamp(&self, stamp: i64) -> i64;
    /// Another identity for this.
    fn identity(&self, identity: &str) -> String;

    /// The record in those names.
    fn record(&self, record: &Record) -> Record {
        Record {
            holder: record.holder.as_deref().map(|holder| self.identity(holder)),
            acquired: record.acquired.map(|stamp| self.stamp(stamp)),
            renewed: record.renewed.map(|stamp| self.stamp(stamp)),
            ..*record
        }
    }
}

impl Candidate {
    /// The candidate that does after `then` what this one does after `now`, under other names: equal for any two that
    /// behave alike. Its next request has the number 1, or 2 if one is under way, which then has the number 1. `then`
    /// must be later than all durations that are in use together.
    #[must_use]
    pub fn likeness(&self, now: Time, then: Time, names: &impl Renaming) -> Self {
        let mut this = self.clone();
        this.let_expire(now);
        this.alike(now, then, names)
    }

    /// What it will take in first, whenever it is called again, and to the same effect.
    fn let_expire(&mut self, now: Time) {
        let is_over = matches!(self.role, Role::Leading { .. }) && self.term(now).is_none();
        // A leader would take an expired request in before or after the end of its term.
        if is_over || !matches!(self.role, Role::Leading { .. }) {
            self.expire(now, &mut Vec::new());
        }
    }

    fn alike(&self, now: Time, then: Time, names: &impl Renaming) -> Self {
        // What has passed has passed, no matter when.
        let due = |at: Time| then.saturating_add(at.saturating_sub(now));
        let past = |at: Time, matters_for: Time| {
            then.saturating_sub(now.saturating_sub(at).min(matters_for)).saturating_add(at.saturating_sub(now))
        };
        let known = match &self.known {
            Known::Nothing => Known::Nothing,
            Known::Absent(version) => Known::Absent(version.map(|version| names.version(version))),
            Known::Present { seen, moved_at } => {
                let mut seen = seen.clone();
                seen.version = names.version(seen.version);
                seen.record = names.record(&seen.record);
                seen.preferred = seen.preferred.as_deref().map(|preferred| names.identity(preferred));
                let recorded = seen.record.duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0);
                let waits = self.timing.lease_duration().max(Time::from_secs(recorded));
                let matters_for = if self.holds() { Time::ZERO } else { waits + self.timing.retry_period() };
                Known::Present { seen, moved_at: past(*moved_at, matters_for) }
            }
        };
        let under_way = self.under_way.as_ref().map(|request| {
            let matters_for = request.timing.renew_deadline().max(self.timing.retry_period() * MOST_BACKOFF);
            let still_known = request.knew == self.known.version();
            UnderWay {
                id: 1,
                deadline: due(request.deadline),
                sent_at: past(request.sent_at, matters_for),
                knew: if still_known { known.version() } else { Some(Version(0)) },
                ..request.clone()
            }
        });
        let mut role = self.role.clone();
        match &mut role {
            Role::Leading { term, renew_at, passed_over } => {
                term.token = names.version(term.token);
                term.valid_until = due(term.valid_until);
                // No decision depends on it.
                term.expires_at = Time::ZERO;
                *renew_at = due(*renew_at);
                *passed_over = passed_over.as_deref().map(|passed_over| names.identity(passed_over));
            }
            Role::Leaving { give_up_at, .. } => *give_up_at = due(*give_up_at),
            Role::Standby | Role::Left => {}
        }
        Self {
            identity: names.identity(&self.identity),
            timing: self.timing,
            known,
            role,
            last_id: u64::from(under_way.is_some()),
            under_way,
            unsure: self.unsure,
            outdated: self.outdated,
            shared: self.shared,
            read_at: self.read_at.map(due),
            blind: self.blind.map(due),
            not_before: due(self.not_before),
            failures: self.failures.min(MOST_BACKOFF.ilog2()),
            yields_until: due(self.yields_until),
        }
    }

    /// The versions that make a difference to it.
    pub fn versions(&self) -> impl Iterator<Item = Version> {
        let token = match &self.role {
            Role::Leading { term, .. } => Some(term.token),
            _ => None,
        };
        self.known.version().into_iter().chain(token)
    }

    /// The request whose answer it waits for, if one would be in time.
    pub fn awaits(&self, now: Time) -> Option<u64> {
        self.under_way.as_ref().filter(|request| now < request.deadline).map(|request| request.id)
    }

    /// Whether it has left.
    pub fn has_left(&self) -> bool {
        self.role == Role::Left
    }
}
