//! The API server, the operator that leads, and the standby: each operator is the real engine with watches of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher as _};

use leadergroup_operator::engine::{Engine, Term};

use crate::support::api::{Api, Cleared, Kind, Told, change};
use crate::support::{ms, now_at};

/// Rounds of work after which the engine is said to find no rest.
const MAX_ROUNDS: usize = 50;
/// What comes before a version in the text of an engine or an object.
const VERSION_MARKS: [&str; 3] = ["ersion: \"", "ersion\": String(\"", "version: "];

/// The part of the leading operator's watches that is interrupted. The standby's never are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sight {
    Full,
    WithoutPods,
    /// The operator is stopped: it neither sees nor does anything.
    Stopped,
}

impl Sight {
    fn covers(self, kind: Kind) -> bool {
        match self {
            Self::Full => true,
            Self::WithoutPods => kind != Kind::Pod,
            Self::Stopped => false,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Operators {
    pub api: Api,
    /// In milliseconds, on every clock.
    pub now: u64,
    pub sight: Sight,
    leading: Engine,
    standby: Engine,
    term: Term,
    /// Events that the leading operator has missed so far.
    missed: Vec<(Kind, Told)>,
}

impl Operators {
    /// Starts both operators with the objects of this API server.
    pub fn around(api: Api, now: u64) -> Self {
        let (leading, standby) = (Engine::default(), Engine::default());
        let mut operators = Self { api, now, sight: Sight::Full, leading, standby, term: 0, missed: Vec::new() };
        operators.standby = operators.started();
        operators.restart();
        operators
    }

    /// Returns an engine that has listed all objects.
    fn started(&self) -> Engine {
        let mut engine = Engine::default();
        for kind in Kind::ALL {
            list(&self.api, kind, &mut engine, self.now);
        }
        engine
    }

    /// The leading operator is replaced by one that knows nothing but what the API server has.
    pub fn restart(&mut self) {
        self.tell_standby();
        self.missed.clear();
        self.leading = self.started();
        self.lead();
    }

    /// The standby leads, and the leading operator becomes the standby, restarted if it was stopped.
    pub fn take_over(&mut self) {
        self.tell_standby();
        std::mem::swap(&mut self.leading, &mut self.standby);
        if self.sight == Sight::Full {
            self.standby.stand_by();
        } else {
            self.standby = self.started();
        }
        self.missed.clear();
        self.lead();
    }

    fn lead(&mut self) {
        self.sight = Sight::Full;
        self.term += 1;
        self.leading.lead(self.term, now_at(ms(self.now)));
        self.settle();
    }

    /// The interrupted watch delivers what it has missed.
    pub fn catch_up(&mut self) {
        self.sight = Sight::Full;
        for (kind, told) in std::mem::take(&mut self.missed) {
            self.leading.change(change(kind, &told.into()), now_at(ms(self.now)));
        }
        self.settle();
    }

    /// The interrupted watch lists again, without what it has missed.
    pub fn relist_pods(&mut self) {
        self.sight = Sight::Full;
        self.missed.clear();
        list(&self.api, Kind::Pod, &mut self.leading, self.now);
        self.settle();
    }

    /// Advances the clocks by this many milliseconds.
    pub fn pass(&mut self, milliseconds: u64) {
        let end = self.now + milliseconds;
        let due = |engine: &Engine| engine.next_wake().filter(|at| *at <= ms(end));
        while self.sight != Sight::Stopped
            && let Some(wake) = due(&self.leading)
        {
            self.now = self.now.max(u64::try_from(wake.as_millis()).expect("a short history"));
            // Timers have a finer grain than this clock.
            self.now += u64::from(ms(self.now) < wake);
            self.leading.wake(now_at(ms(self.now)));
            self.settle();
        }
        self.now = end;
    }

    /// Delivers every event, and does all work.
    pub fn settle(&mut self) {
        for _ in 0..MAX_ROUNDS {
            let log = self.api.take_log();
            let is_quiet = log.is_empty();
            for (kind, told) in log {
                let event = told.clone().into();
                self.standby.change(change(kind, &event), now_at(ms(self.now)));
                if self.sight.covers(kind) {
                    self.leading.change(change(kind, &event), now_at(ms(self.now)));
                } else {
                    self.missed.push((kind, told));
                }
            }
            drop(self.leading.take_seen());
            let work = self.leading.take_work();
            if is_quiet && work.is_empty() {
                return;
            }
            for work in work {
                if let Some(outcome) = self.api.perform(&work, ms(self.now)) {
                    self.leading.outcome(&work, outcome, now_at(ms(self.now)));
                }
            }
        }
        panic!("no rest after {MAX_ROUNDS} rounds");
    }

    fn tell_standby(&mut self) {
        for (kind, told) in self.api.take_log() {
            self.standby.change(change(kind, &told.into()), now_at(ms(self.now)));
        }
    }

    /// The clears that were carried out since the last call.
    pub fn take_cleared(&mut self) -> Vec<Cleared> {
        std::mem::take(&mut self.api.cleared)
    }

    /// A hash of all that the operators remember, and of what a restarted one finds.
    ///
    /// Nothing but the order of versions matters, so versions are replaced by their ranks.
    pub fn fingerprint(&self) -> u64 {
        let [group, lease] = [Kind::Group, Kind::Lease].map(|kind| self.api.get(kind, "web"));
        let text = format!("{:?}{:?}{group:?}{lease:?}{:?}", self.leading, self.standby, self.missed);
        let mut hasher = DefaultHasher::new();
        hasher.write(with_ranks(&text).as_bytes());
        hasher.finish()
    }
}

/// The text with the rank of each version in its place.
fn with_ranks(text: &str) -> String {
    let digits = |at: usize| text[at..].bytes().take_while(u8::is_ascii_digit).count();
    let starts = VERSION_MARKS.iter().flat_map(|mark| text.match_indices(mark).map(|(at, mark)| at + mark.len()));
    let found: BTreeMap<usize, &str> = starts.map(|at| (at, &text[at..at + digits(at)])).collect();
    let number = |digits: &str| digits.parse::<u64>().ok();
    let versions: BTreeSet<u64> = found.values().filter_map(|digits| number(digits)).collect();
    let ranks: BTreeMap<u64, usize> = versions.into_iter().zip(0..).collect();
    let (mut ranked, mut done) = (String::with_capacity(text.len()), 0);
    for (at, digits) in found {
        let Some(rank) = number(digits).and_then(|version| ranks.get(&version)) else { continue };
        write!(ranked, "{}{rank}", &text[done..at]).expect("a string takes any text");
        done = at + digits.len();
    }
    ranked + &text[done..]
}

fn list(api: &Api, kind: Kind, engine: &mut Engine, now: u64) {
    for event in api.list_events(kind) {
        engine.change(change(kind, &event), now_at(ms(now)));
    }
}
