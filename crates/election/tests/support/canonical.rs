//! Worlds in which the same can happen, made equal: so that a model of endless time is finite.
//!
//! What is left out can make no difference: versions and stamps count by their order only, times by how far away they
//! are and not once they have passed, numbers of requests by whether their answer is awaited. Of the history, what each
//! watch has brought or whose bringing changes nothing is forgotten; of the network, what nobody awaits any more, but for
//! writes that may still be done. Candidates are alike, so which is which is forgotten as well.
//!
//! Since a message may take for ever, each may be lost; and since a second answer is one that nobody awaits, each may
//! come twice. `properties.rs` checks what this rests on.

use std::hash::{DefaultHasher, Hash, Hasher};

use leadergroup_election::{Answer, Change, Observation, Record, Renaming, Request, Seen, Version, What};

use super::bounds::{Bounds, Lie};
use super::world::{START, Tally, World, name};

/// Versions by their rank, and candidates by their number in another order.
struct Names {
    versions: Vec<u64>,
    /// The new number of each candidate.
    order: Vec<usize>,
}

impl Renaming for Names {
    fn version(&self, version: Version) -> Version {
        // In between, what is not listed makes no difference.
        Version(u64::try_from(self.versions.partition_point(|v| *v < version.0)).unwrap_or(0) + 1)
    }

    fn stamp(&self, stamp: i64) -> i64 {
        let version = Version(u64::try_from(stamp).unwrap_or(0));
        i64::try_from(self.version(version).0).unwrap_or(0)
    }

    fn identity(&self, identity: &str) -> String {
        let number = identity.strip_prefix('c').and_then(|n| n.parse::<usize>().ok());
        number.map_or_else(|| identity.to_owned(), |n| name(self.order[n]))
    }
}

impl Names {
    fn observation(&self, observation: &Observation) -> Observation {
        match observation {
            Observation::Absent(version) => Observation::Absent(version.map(|version| self.version(version))),
            Observation::Present(seen) => Observation::Present(Seen {
                version: self.version(seen.version),
                record: self.record(&seen.record),
                timing: seen.timing,
                preferred: seen.preferred.as_deref().map(|preferred| self.identity(preferred)),
            }),
        }
    }

    fn what(&self, what: &What) -> What {
        let change = |change: &Change| {
            let holder = if change.holder.is_empty() { String::new() } else { self.identity(&change.holder) };
            Change { holder, ..*change }
        };
        match what {
            What::Read => What::Read,
            What::Create(wanted) => What::Create(change(wanted)),
            What::Replace(version, wanted) => What::Replace(self.version(*version), change(wanted)),
        }
    }
}

fn stamps(record: &Record, versions: &mut Vec<u64>) {
    versions.extend(record.renewed.and_then(|stamp| u64::try_from(stamp).ok()));
}

fn noted(observation: &Observation, versions: &mut Vec<u64>) {
    versions.extend(observation.version().map(|version| version.0));
    if let Observation::Present(seen) = observation {
        stamps(&seen.record, versions);
    }
}

impl World {
    /// The same, without what makes no difference.
    pub fn forget(&mut self, bounds: &Bounds) {
        self.tally = Tally::default();
        // These lies make of something a difference that should be none.
        if matches!(bounds.lie, Lie::TokenIsTransitions | Lie::MixedUp) {
            return;
        }
        for observation in &mut self.server.history {
            blank(observation);
        }
        for (_, _, answer) in &mut self.answers {
            if let Answer::Done(observation) = answer {
                blank(observation);
            }
        }
        self.forget_messages(bounds);
        self.forget_tokens();
        self.forget_history(bounds);
        self.rename(&Names { versions: self.versions(), order: self.order() });
        self.sort_messages();
    }

    fn forget_messages(&mut self, bounds: &Bounds) {
        let awaits = |n: usize, id: u64, world: &Self| {
            let process = &world.processes[n];
            process.alive && process.machine.awaits(process.clock) == Some(id)
        };
        let answers = std::mem::take(&mut self.answers);
        self.answers = answers.into_iter().filter(|(n, id, _)| awaits(*n, *id, self)).collect();
        for (_, id, _) in &mut self.answers {
            *id = 1;
        }
        let requests = std::mem::take(&mut self.requests);
        for (n, mut request) in requests {
            let awaited = awaits(n, request.id, self);
            let may_be_done = match &request.what {
                What::Read => false,
                What::Create(_) => true,
                What::Replace(version, _) => version.0 == self.server.version || bounds.lie == Lie::NoPrecondition,
            };
            if awaited || may_be_done {
                request.id = u64::from(awaited);
                request.deadline = START;
                self.requests.push((n, request));
            }
        }
    }

    /// Every later write makes a larger one.
    fn forget_tokens(&mut self) {
        let made = self.answers.iter().filter_map(|(_, _, answer)| match answer {
            Answer::Done(observation) => observation.version(),
            _ => None,
        });
        if let (Some((_, token)), Some(smallest)) = (&mut self.last_term, made.chain([Version(u64::MAX)]).min())
            && *token < smallest.0
        {
            *token = 0;
        }
    }

    /// The network keeps no order, and the same write twice is done at most once.
    fn sort_messages(&mut self) {
        let print = |what: &What| {
            let mut hasher = DefaultHasher::new();
            what.hash(&mut hasher);
            hasher.finish()
        };
        self.requests.sort_by_key(|(n, request)| (*n, request.id, print(&request.what)));
        self.requests.dedup();
        self.answers.sort_by_key(|(n, id, _)| (*n, *id));
    }

    fn forget_history(&mut self, bounds: &Bounds) {
        let length = self.server.history.len();
        for process in &mut self.processes {
            if !process.alive || !process.watching {
                process.cursor = length;
                continue;
            }
            process.cursor = process.cursor.max(length.saturating_sub(bounds.lag));
            // What it knows already is no news.
            let known = process.machine.version();
            while process.cursor < length && self.server.history[process.cursor].version() <= known {
                process.cursor += 1;
            }
        }
        let brought = self.processes.iter().map(|process| process.cursor).min().unwrap_or(0).min(length - 1);
        self.server.history.drain(..brought);
        for process in &mut self.processes {
            process.cursor -= brought;
        }
        self.server.moved_at = 0;
    }

    fn versions(&self) -> Vec<u64> {
        let mut versions = vec![self.server.version];
        for observation in &self.server.history {
            noted(observation, &mut versions);
        }
        for process in &self.processes {
            versions.extend(process.machine.versions().map(|version| version.0));
            if let Some(record) = process.machine.record() {
                stamps(record, &mut versions);
            }
        }
        for (_, request) in &self.requests {
            if let What::Replace(version, _) = &request.what {
                versions.push(version.0);
            }
        }
        for (_, _, answer) in &self.answers {
            if let Answer::Done(observation) = answer {
                noted(observation, &mut versions);
            }
        }
        versions.extend(self.judged.map(|version| version.0));
        versions.extend(self.last_term.map(|(_, token)| token));
        versions.sort_unstable();
        versions.dedup();
        versions
    }

    fn rename(&mut self, names: &Names) {
        let number = |n: usize| names.order[n];
        for observation in &mut self.server.history {
            *observation = names.observation(observation);
        }
        self.server.version = names.version(Version(self.server.version)).0;
        for process in &mut self.processes {
            process.machine = process.machine.likeness(process.clock, START, names);
            process.believes_until = START + process.believes_until.saturating_sub(process.clock);
            process.clock = START;
            process.newest_request = process.machine.awaits(START).unwrap_or(0);
        }
        // Their identities tell where they belong.
        self.processes.sort_by(|a, b| a.machine.identity().cmp(b.machine.identity()));
        for (n, Request { what, .. }) in &mut self.requests {
            *n = number(*n);
            *what = names.what(what);
        }
        for (n, _, answer) in &mut self.answers {
            *n = number(*n);
            if let Answer::Done(observation) = answer {
                *observation = names.observation(observation);
            }
        }
        self.judged = self.judged.map(|version| names.version(version));
        self.last_term = self.last_term.map(|(n, token)| (number(n), names.version(Version(token)).0));
    }

    /// The new number of each candidate, by what is cheap to tell of each: candidates are alike, so that it does not
    /// matter which is which.
    fn order(&self) -> Vec<usize> {
        let holder = self.server.lease().and_then(|seen| seen.record.holder.as_deref());
        let key = |n: usize| {
            let process = &self.processes[n];
            let machine = &process.machine;
            let leads = machine.term(process.clock).map(|term| term.valid_until.saturating_sub(process.clock));
            let wakes = machine.next_wake().map(|at| at.saturating_sub(process.clock));
            let holds = holder == Some(machine.identity());
            let led = self.last_term.is_some_and(|(last, _)| last == n);
            (
                process.alive,
                holds,
                led,
                leads,
                wakes,
                machine.awaits(process.clock).is_some(),
                machine.version(),
                process.since_slip,
            )
        };
        let mut by_key: Vec<usize> = (0..self.processes.len()).collect();
        by_key.sort_by_key(|n| key(*n));
        let mut order = vec![0; by_key.len()];
        for (new, old) in by_key.iter().enumerate() {
            order[*old] = new;
        }
        order
    }
}

/// No candidate decides by how often it changed hands, or by when it was acquired.
fn blank(observation: &mut Observation) {
    if let Observation::Present(seen) = observation {
        (seen.record.transitions, seen.record.acquired) = (Some(0), Some(0));
    }
}
