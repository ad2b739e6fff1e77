//! What happens at the API server: requests, other people's changes, clears.

use leadergroup_election::{Answer, Observation, Record, Time, What};

use super::bounds::{Bounds, Lie, Operator};
use super::world::{LIVE_CLEARED, RELEASED_ANOTHERS, TAKEN_TOO_EARLY, Touch, Vandalism, World, name, spend};

impl World {
    pub(super) fn serve(&mut self, bounds: &Bounds, n: usize, what: &What) -> Answer {
        let version_before = self.server.version;
        let old = self.server.lease().map(|seen| seen.record.clone()).unwrap_or_default();
        let moved_at = self.server.moved_at;
        let answer = self.server.serve(what, bounds.lie != Lie::NoPrecondition, self.now);
        if let (What::Create(change) | What::Replace(_, change), true) = (what, self.server.version > version_before)
            && old.holder.as_ref().is_some_and(|holder| *holder != name(n))
        {
            if change.holder.is_empty() {
                self.violation = Some(RELEASED_ANOTHERS);
            }
            let seconds = old.duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0);
            let stood_still = bounds.tick * (self.now.saturating_sub(moved_at));
            if bounds.remembers && stood_still < Time::from_secs(seconds) {
                self.violation = self.violation.or(Some(TAKEN_TOO_EARLY));
            }
        }
        match answer {
            Answer::Done(observation) => Answer::Done(shown(bounds, observation)),
            other => other,
        }
    }

    pub(super) fn touch(&mut self, bounds: &Bounds, touch: Touch) {
        spend(&mut self.spent.touches, bounds.most.touches);
        let Some(seen) = self.server.lease().cloned() else { return };
        let (mut timing, mut preferred) = (seen.timing, seen.preferred);
        match touch {
            Touch::Nothing => {}
            Touch::Timing(k) => timing = bounds.timings.get(k).copied(),
            Touch::Prefer(n) => preferred = Some(name(n)),
        }
        self.server.put(seen.record, timing, preferred);
    }

    pub(super) fn vandalize(&mut self, bounds: &Bounds, vandalism: Vandalism) {
        spend(&mut self.spent.vandalisms, bounds.most.vandalisms);
        let Some(seen) = self.server.lease().cloned() else { return };
        let number = match vandalism {
            Vandalism::Nulls => None,
            Vandalism::Zeros => Some(0),
            _ => Some(-7),
        };
        let before = seen.record.clone();
        let mut record = Record { duration_seconds: number, transitions: number, ..seen.record };
        match vandalism {
            Vandalism::Delete => self.server.delete(),
            Vandalism::Nulls => self.put(Record { acquired: None, renewed: None, ..record }),
            Vandalism::Zeros | Vandalism::Negatives => self.put(record),
            Vandalism::Ghost => {
                record = Record { holder: Some("ghost".to_owned()), duration_seconds: Some(1), ..record };
                self.put(record);
            }
        }
        if self.server.lease().is_none_or(|now| now.record != before) {
            self.server.moved_at = self.now;
        }
        self.void_before = self.server.version;
    }

    fn put(&mut self, record: Record) {
        self.server.put(record, None, None);
    }

    pub(super) fn holder_is_dead(&self, bounds: &Bounds) -> bool {
        let Some(holder) = self.server.lease().and_then(|seen| seen.record.holder.as_deref()) else { return false };
        let lies = bounds.lie == Lie::ClearsTheLiving;
        let dead = |n: usize| !self.processes[n].alive || lies;
        (0..self.processes.len()).any(|n| name(n) == holder && dead(n))
    }

    pub(super) fn clear(&mut self, bounds: &Bounds) {
        let judged = self.judged.take();
        let Some(seen) = self.server.lease() else { return };
        if judged != Some(seen.version) && bounds.lie != Lie::ClearsAnyVersion {
            return;
        }
        let holder = seen.record.holder.clone();
        if (0..self.processes.len()).any(|n| Some(name(n)) == holder && self.leads(n, bounds)) {
            self.violation = Some(LIVE_CLEARED);
        }
        self.tally.clears += 1;
        if bounds.operator == Operator::Deletes {
            self.server.delete();
        } else {
            self.server.clear(self.now);
        }
    }
}

/// The Lease as a candidate sees it.
pub(super) fn shown(bounds: &Bounds, mut observation: Observation) -> Observation {
    if bounds.lie == Lie::Impatient
        && let Observation::Present(seen) = &mut observation
    {
        seen.record.duration_seconds = seen.record.duration_seconds.map(|_| 1);
    }
    observation
}
