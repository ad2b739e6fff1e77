//! Two operators in the simulated cluster, one of which leads: every watch has its own delay, every request takes time
//! and may get lost.

mod mutation;
mod operator;
mod step;

use std::collections::VecDeque;
use std::rc::Rc;

use kube::runtime::watcher::Event;
use leadergroup_operator::decide::{Action, Clear};
use leadergroup_operator::engine::{Failure, Job, Outcome, Term, Work};
use leadergroup_operator::index::Change;
use serde_json::Value;

pub use mutation::Mutation;
use operator::Operator;
pub use step::{Step, Which};

use crate::support::api::{Kind, change};
use crate::support::{ms, now_at};
use crate::world::{TICK_MS, World};

/// How long the operator waits for an answer.
const DEADLINE_MS: u64 = 5_000;
/// More jobs than this within a second are a loop.
const JOBS_PER_SECOND: usize = 60;

/// How the operators see the cluster.
#[derive(Clone, Copy, Debug, Default)]
pub struct View {
    /// Operators may not read nodes.
    pub nodes_hidden: bool,
    pub mutation: Option<Mutation>,
}

struct Request {
    arrives: u64,
    sent: u64,
    by: usize,
    work: Work,
}

struct Answer {
    due: u64,
    to: usize,
    work: Work,
    outcome: Outcome,
}

pub struct Sim {
    pub world: World,
    view: View,
    operators: [Operator; 2],
    /// Which of them leads, and in which term.
    leading: usize,
    term: Term,
    requests: Vec<Request>,
    answers: Vec<Answer>,
    lose_answers: u32,
    lose_requests: u32,
    /// The group's UID and its count of transitions.
    transitions: (Value, i64),
    jobs: VecDeque<u64>,
}

impl Sim {
    pub fn new(mut world: World, view: View) -> Self {
        world.api.careless = view.mutation == Some(Mutation::AnyVersion);
        let mut sim = Self {
            world,
            view,
            operators: [Operator::new(), Operator::new()],
            leading: 0,
            term: 0,
            requests: Vec::new(),
            answers: Vec::new(),
            lose_answers: 0,
            lose_requests: 0,
            transitions: (Value::Null, 0),
            jobs: VecDeque::new(),
        };
        for kind in Kind::ALL {
            sim.relist(0, kind);
            sim.relist(1, kind);
        }
        sim.lead();
        sim
    }

    fn lead(&mut self) {
        self.term += 1;
        self.operators[self.leading].engine.lead(self.term, now_at(ms(self.world.now)));
    }

    pub fn run(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds / TICK_MS {
            self.tick();
        }
    }

    fn tick(&mut self) {
        self.world.tick();
        self.tell();
        let now = self.world.now;
        for operator in &mut self.operators {
            operator.resume(&self.world.api, now, &mut self.world.dice);
            for kind in Kind::ALL {
                while let Some(event) = operator.next_event(kind, now) {
                    if let Some(change) = self.view.change(kind, &event) {
                        operator.engine.change(change, now_at(ms(now)));
                    }
                }
            }
            if operator.engine.next_wake().is_some_and(|at| at <= ms(now)) {
                operator.engine.wake(now_at(ms(now)));
            }
        }
        self.carry();
        self.observe_count();
    }

    /// Has the operators' watches hear of what was written.
    fn tell(&mut self) {
        let now = self.world.now;
        for (kind, told) in self.world.api.take_log() {
            let event = Rc::new(told.into());
            self.operators.iter_mut().for_each(|operator| operator.tell(kind, &event, now));
        }
    }

    fn relist(&mut self, at: usize, kind: Kind) {
        self.tell();
        self.operators[at].list(kind, &self.world.api, self.world.now, 0);
    }

    /// Takes requests to the API server and answers back.
    fn carry(&mut self) {
        let now = self.world.now;
        let idle = 1 - self.leading;
        assert!(self.operators[idle].engine.take_work().is_empty(), "an operator that does not lead does something");
        for work in self.operators[self.leading].engine.take_work() {
            self.jobs.push_back(now);
            let arrives = now + self.world.dice.roll(0, 60);
            self.requests.push(Request { arrives, sent: now, by: self.leading, work });
        }
        while self.jobs.front().is_some_and(|at| at + 1_000 < now) {
            self.jobs.pop_front();
        }
        assert!(self.jobs.len() <= JOBS_PER_SECOND, "{} jobs within a second", self.jobs.len());

        for request in self.requests.extract_if(.., |request| request.arrives <= now).collect::<Vec<_>>() {
            self.perform(request);
        }
        for answer in self.answers.extract_if(.., |answer| answer.due <= now) {
            self.operators[answer.to].engine.outcome(&answer.work, answer.outcome, now_at(ms(now)));
        }
    }

    fn perform(&mut self, Request { sent, by, work, .. }: Request) {
        let now = self.world.now;
        let (lost, unanswered) = match &work.job {
            Job::Act(Action::Clear(_)) => (take_one(&mut self.lose_requests), take_one(&mut self.lose_answers)),
            _ => (false, false),
        };
        let outcome = if lost { None } else { self.world.api.perform(&work, ms(sent)) };
        self.world.check();
        let (due, outcome) = match (&work.job, outcome) {
            (Job::Act(Action::Clear(clear)), _) if lost || unanswered => (sent + DEADLINE_MS, no_answer(clear, sent)),
            (_, Some(outcome)) => (now + self.world.dice.roll(0, 60), self.view.answered(outcome)),
            (_, None) => return,
        };
        self.answers.push(Answer { due, to: by, work, outcome });
    }

    /// What is wrong about who gets the group's traffic, by the truth and by what the status says of the holder.
    pub fn misrouted(&self) -> Option<String> {
        let object = |kind, name| self.world.api.get(kind, name).cloned().unwrap_or_default();
        let (group, slice) = (object(Kind::Group, "web"), object(Kind::Slice, "web-leader"));
        let endpoints = slice["endpoints"].as_array().into_iter().flatten();
        let sent_to: Vec<_> = endpoints.filter_map(|e| e["targetRef"]["uid"].as_str()).collect();
        let holders = self.world.holders();
        let verdict = &group["status"]["holder"]["verdict"];
        let is_right = match verdict.as_str() {
            Some("Alive") => sent_to.len() == 1 && sent_to[0] == group["status"]["leader"]["podUID"],
            Some("Unreachable" | "Unproven") => sent_to.len() <= 1,
            _ => sent_to.is_empty(),
        };
        let told =
            || format!("traffic goes to {sent_to:?}, the holder is {verdict} and by the Lease one of {holders:?}");
        (!is_right || !sent_to.iter().all(|uid| holders.contains(uid))).then(told)
    }

    /// The stored count never falls, as long as the group is the same and its storage keeps what was written.
    fn observe_count(&mut self) {
        let Some(group) = self.world.api.get(Kind::Group, "web") else { return };
        let now = group["status"]["transitions"].as_i64().unwrap_or(0);
        let (uid, before) = &self.transitions;
        if *uid != group["metadata"]["uid"] {
            self.transitions = (group["metadata"]["uid"].clone(), now);
            return;
        }
        assert!(now >= *before, "transitions fell from {before} to {now}");
        self.transitions.1 = now;
    }
}

impl View {
    /// An event as the operators get to see it, if they do.
    fn change(self, kind: Kind, event: &Event<Value>) -> Option<Change> {
        if kind == Kind::Node && self.nodes_hidden {
            return matches!(event, Event::InitDone).then_some(Change::NodesHidden);
        }
        Some(match self.mutation {
            Some(mutation) => change(kind, &mutation.shown(kind, event.clone())),
            None => change(kind, event),
        })
    }

    /// An answer as the operator gets to see it.
    fn answered(self, outcome: Outcome) -> Outcome {
        match self.mutation {
            Some(mutation) => mutation.answered(outcome),
            None => outcome,
        }
    }
}

fn take_one(count: &mut u32) -> bool {
    let some = *count > 0;
    *count = count.saturating_sub(1);
    some
}

fn no_answer(clear: &Clear, sent: u64) -> Outcome {
    let result = Err(Failure::Unknown("no answer".to_owned()));
    Outcome::Cleared { clear: clear.clone(), requested_at: ms(sent), result }
}
