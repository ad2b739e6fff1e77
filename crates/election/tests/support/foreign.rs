//! A candidate as client-go makes it: it polls, tells the Lease's age by its own clock, and believes for the renew
//! deadline and a retry period from its last answer.

use leadergroup_election::{Change, Record, Time, Timing, Version, What};

use super::server::Server;

/// The version that was read, if there is a Lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Read(Option<Version>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Foreign {
    pub identity: String,
    pub alive: bool,
    next_poll: Time,
    observed: Option<Record>,
    observed_at: Time,
    /// What it read, and has not written yet.
    read: Option<Read>,
    pub believes_until: Time,
}

impl Foreign {
    pub fn new(identity: String) -> Self {
        Self {
            identity,
            alive: true,
            next_poll: Time::ZERO,
            observed: None,
            observed_at: Time::ZERO,
            read: None,
            believes_until: Time::ZERO,
        }
    }

    /// Whether it has something to do.
    pub fn is_due(&self, now: Time) -> bool {
        self.alive && (self.read.is_some() || now >= self.next_poll)
    }

    /// It reads, or writes upon what it read.
    pub fn act(&mut self, server: &mut Server, timing: Timing, now: Time, ticks: u32) {
        let Some(Read(read)) = self.read.take() else {
            let record = server.lease().map(|seen| seen.record.clone());
            if record != self.observed {
                (self.observed, self.observed_at) = (record, now);
            }
            self.next_poll = now + timing.retry_period();
            self.read = self.may_write(now).then(|| Read(server.lease().map(|seen| seen.version)));
            return;
        };
        let mine = self.is_mine();
        let transitions = self.observed.as_ref().and_then(|record| record.transitions).unwrap_or(0);
        let change = Change {
            holder: self.identity.clone(),
            duration_seconds: i32::try_from(timing.lease_duration().as_secs()).unwrap_or(i32::MAX),
            acquires: !mine,
            transitions: if read.is_none() || mine { transitions } else { transitions.saturating_add(1) },
        };
        let what = match read {
            None => What::Create(change),
            Some(version) => What::Replace(version, change),
        };
        if let leadergroup_election::Answer::Done(_) = server.serve(&what, true, ticks) {
            (self.observed, self.observed_at) = (server.lease().map(|seen| seen.record.clone()), now);
            self.believes_until = now + timing.renew_deadline() + timing.retry_period();
        }
    }

    fn is_mine(&self) -> bool {
        self.observed.as_ref().is_some_and(|record| record.holder.as_deref() == Some(&self.identity))
    }

    /// A null duration counts as none: it has run out.
    fn may_write(&self, now: Time) -> bool {
        let Some(record) = &self.observed else { return true };
        let seconds = record.duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0);
        let has_run_out = now >= self.observed_at + Time::from_secs(seconds);
        record.holder.is_none() || self.is_mine() || has_run_out
    }
}
