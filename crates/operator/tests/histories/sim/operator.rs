//! One operator: its engine, and its own watches, each with a delay and gaps.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use kube::runtime::watcher::Event;
use leadergroup_operator::engine::Engine;
use serde_json::Value;

use crate::support::api::{Api, Kind};
use crate::world::Dice;

/// How long a list takes that a watch begins with after an interruption.
const MAX_LIST_MS: u64 = 1_500;

/// One of an operator's watches.
struct Watch {
    lag: u64,
    /// It is interrupted until then, and lists what there is after.
    gap_until: Option<u64>,
    events: VecDeque<(u64, Rc<Event<Value>>)>,
}

pub struct Operator {
    pub engine: Engine,
    watches: BTreeMap<Kind, Watch>,
}

impl Operator {
    pub fn new() -> Self {
        let watch = |kind| (kind, Watch { lag: 20, gap_until: None, events: VecDeque::new() });
        Self { engine: Engine::default(), watches: Kind::ALL.into_iter().map(watch).collect() }
    }

    fn watch(&mut self, kind: Kind) -> &mut Watch {
        self.watches.get_mut(&kind).expect("a watch of each kind")
    }

    pub fn set_lag(&mut self, kind: Kind, milliseconds: u64) {
        self.watch(kind).lag = milliseconds;
    }

    /// The watch is interrupted until then.
    pub fn interrupt(&mut self, kind: Kind, until: u64) {
        let watch = self.watch(kind);
        watch.gap_until = watch.gap_until.max(Some(until));
        watch.events.clear();
    }

    /// Lists again what watches have missed that are interrupted no more.
    pub fn resume(&mut self, api: &Api, now: u64, dice: &mut Dice) {
        for kind in Kind::ALL {
            if self.watch(kind).gap_until.is_some_and(|until| until <= now) {
                self.list(kind, api, now, dice.roll(0, MAX_LIST_MS));
            }
        }
    }

    /// The watch begins again, with a list of what there is. `takes` is the time in milliseconds from its first page to its
    /// last.
    pub fn list(&mut self, kind: Kind, api: &Api, now: u64, takes: u64) {
        let watch = self.watch(kind);
        (watch.gap_until, watch.events) = (None, VecDeque::new());
        let events = api.list_events(kind);
        let last = events.len() as u64 - 1;
        (0..).zip(events).for_each(|(at, event)| watch.queue(event.into(), now + takes * at / last));
    }

    /// Something happened that a watch tells of, unless it is interrupted.
    pub fn tell(&mut self, kind: Kind, event: &Rc<Event<Value>>, now: u64) {
        let watch = self.watch(kind);
        if watch.gap_until.is_none() {
            watch.queue(event.clone(), now);
        }
    }

    /// The next event that has arrived.
    pub fn next_event(&mut self, kind: Kind, now: u64) -> Option<Rc<Event<Value>>> {
        self.watch(kind).events.pop_front_if(|(due, _)| *due <= now).map(|(_, event)| event)
    }
}

impl Watch {
    fn queue(&mut self, event: Rc<Event<Value>>, now: u64) {
        let due = (now + self.lag).max(self.events.back().map_or(0, |(due, _)| *due));
        self.events.push_back((due, event));
    }
}
