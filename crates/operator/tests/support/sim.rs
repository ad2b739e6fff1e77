//! Two operators in the simulated cluster, one of which leads: every watch has its own delay, every request takes time
//! and may get lost.

use std::collections::{BTreeMap, VecDeque};

use kube::runtime::watcher::Event;
use leadergroup_operator::decide::{Action, Clear};
use leadergroup_operator::engine::{Engine, Failure, Job, Outcome, Term, Work};
use leadergroup_operator::index::Change;
use serde_json::{Value, json};

use super::api::{Kind, Told, change};
use super::world::{TICK_MS, World};
use super::{ms, now_at};

/// How long the operator waits for an answer.
const DEADLINE_MS: u64 = 5_000;
/// More jobs than this within a second are a loop.
const JOBS_PER_SECOND: usize = 60;

/// Something that happens.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// One container of a pod crashes, or all of them.
    Crash(usize, Option<usize>),
    Finish(usize),
    Delete(usize),
    Force(usize),
    Collect(usize),
    Freeze(usize, u64),
    Kubelet(usize, bool),
    Ready(usize, bool),
    Die(usize),
    Clock(usize, i64),
    ReportDelay(usize, u64),
    Lag(Kind, u64),
    Relist(Kind),
    LoseAnswers(u32),
    LoseRequests(u32),
    /// The leading operator is another process: it knows nothing.
    Restart,
    /// The other operator leads from now on. What the first one has sent arrives so much later.
    Failover(u64),
}

/// A way in which what the engine is shown, or how it is answered, differs from the truth. Each but that of nodes equals a
/// judgement that leaves out one of its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    None,
    /// Deleted pods are shown as ended by their kubelet.
    DeletionIsAnEnd,
    /// Runs are shown to have ended two seconds later than they did.
    EndsLater,
    /// The API server takes any version for the present one.
    AnyVersion,
    /// Nodes are not shown, and the operator is told so.
    NodesHidden,
}

#[derive(Default)]
struct Stream {
    lag: u64,
    told: VecDeque<(u64, Event<Value>)>,
}

/// One operator: its engine, and its own watches.
struct Replica {
    engine: Engine,
    streams: BTreeMap<Kind, Stream>,
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
    lie: Lie,
    replicas: [Replica; 2],
    /// Which of them leads, and in which term.
    leading: usize,
    term: Term,
    restarts: u32,
    failovers: u32,
    requests: Vec<Request>,
    answers: Vec<Answer>,
    lose_answers: u32,
    lose_requests: u32,
    transitions: i64,
    jobs: VecDeque<u64>,
}

impl Sim {
    pub fn new(mut world: World, lie: Lie) -> Self {
        world.api.careless = lie == Lie::AnyVersion;
        let streams = || Kind::ALL.into_iter().map(|kind| (kind, Stream { lag: 20, ..Stream::default() })).collect();
        let replica = || Replica { engine: Engine::default(), streams: streams() };
        let mut sim = Self {
            world,
            lie,
            replicas: [replica(), replica()],
            leading: 0,
            term: 0,
            restarts: 0,
            failovers: 0,
            requests: Vec::new(),
            answers: Vec::new(),
            lose_answers: 0,
            lose_requests: 0,
            transitions: 0,
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
        self.replicas[self.leading].engine.lead(self.term, now_at(ms(self.world.now)));
    }

    pub fn run(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds / TICK_MS {
            self.tick();
        }
    }

    fn tick(&mut self) {
        self.world.tick();
        let now = self.world.now;
        self.tell();
        for at in 0..self.replicas.len() {
            for kind in Kind::ALL {
                while let Some((_, event)) = self.due(at, kind, now) {
                    let event = self.shown(kind, event);
                    let change = match &event {
                        Event::InitDone if kind == Kind::Node && self.lie == Lie::NodesHidden => Change::NodesHidden,
                        _ if kind == Kind::Node && self.lie == Lie::NodesHidden => continue,
                        event => change(kind, event),
                    };
                    self.replicas[at].engine.change(change, now_at(ms(now)));
                }
            }
            let engine = &mut self.replicas[at].engine;
            if engine.next_wake().is_some_and(|at| at <= ms(now)) {
                engine.wake(now_at(ms(now)));
            }
        }
        self.carry();
        self.observe_count();
    }

    fn due(&mut self, at: usize, kind: Kind, now: u64) -> Option<(u64, Event<Value>)> {
        self.replicas[at].streams.get_mut(&kind).unwrap().told.pop_front_if(|(due, _)| *due <= now)
    }

    fn tell(&mut self) {
        for (kind, told) in self.world.api.take_log() {
            for at in 0..self.replicas.len() {
                self.queue(
                    at,
                    kind,
                    match &told {
                        Told::Applied(object) => Event::Apply(object.clone()),
                        Told::Deleted(object) => Event::Delete(object.clone()),
                    },
                );
            }
        }
    }

    fn queue(&mut self, at: usize, kind: Kind, event: Event<Value>) {
        let stream = self.replicas[at].streams.get_mut(&kind).unwrap();
        let due = (self.world.now + stream.lag).max(stream.told.back().map_or(0, |(due, _)| *due));
        stream.told.push_back((due, event));
    }

    fn relist(&mut self, at: usize, kind: Kind) {
        self.tell();
        self.replicas[at].streams.get_mut(&kind).unwrap().told.clear();
        self.queue(at, kind, Event::Init);
        for object in self.world.api.list(kind) {
            self.queue(at, kind, Event::InitApply(object));
        }
        self.queue(at, kind, Event::InitDone);
    }

    /// The event as the operator gets to see it.
    fn shown(&self, kind: Kind, event: Event<Value>) -> Event<Value> {
        match event {
            Event::Delete(pod) if kind == Kind::Pod && self.lie == Lie::DeletionIsAnEnd => Event::Delete(end(pod)),
            Event::Apply(pod) if kind == Kind::Pod && self.lie == Lie::EndsLater => Event::Apply(end_later(pod)),
            event => event,
        }
    }

    /// Takes requests to the API server and answers back.
    fn carry(&mut self) {
        let now = self.world.now;
        let idle = 1 - self.leading;
        assert!(self.replicas[idle].engine.take_work().is_empty(), "an operator that does not lead does something");
        for work in self.replicas[self.leading].engine.take_work() {
            self.jobs.push_back(now);
            let arrives = now + self.world.dice.roll(0, 60);
            self.requests.push(Request { arrives, sent: now, by: self.leading, work });
        }
        while self.jobs.front().is_some_and(|at| at + 1_000 < now) {
            self.jobs.pop_front();
        }
        assert!(self.jobs.len() <= JOBS_PER_SECOND, "{} jobs within a second", self.jobs.len());

        let (arrived, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.requests).into_iter().partition(|r| r.arrives <= now);
        self.requests = waiting;
        for Request { sent, by, work, .. } in arrived {
            let (lost, unanswered) = match &work.job {
                Job::Act(Action::Clear(_)) => (take_one(&mut self.lose_requests), take_one(&mut self.lose_answers)),
                _ => (false, false),
            };
            let outcome = if lost { None } else { self.world.api.perform(&work, ms(sent)) };
            let outcome = match (&work.job, outcome) {
                (Job::Act(Action::Clear(clear)), _) if lost || unanswered => {
                    let outcome = no_answer(clear, sent);
                    self.answers.push(Answer { due: sent + DEADLINE_MS, to: by, work, outcome });
                    continue;
                }
                (_, Some(outcome)) => self.answered(outcome),
                (_, None) => continue,
            };
            let due = now + self.world.dice.roll(0, 60);
            self.answers.push(Answer { due, to: by, work, outcome });
        }
        let (answered, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.answers).into_iter().partition(|a| a.due <= now);
        self.answers = waiting;
        for Answer { to, work, outcome, .. } in answered {
            self.replicas[to].engine.outcome(&work, outcome, now_at(ms(now)));
        }
    }

    /// The answer as the operator gets to see it.
    fn answered(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Pods { requested_at, name, result: Ok(mut pods) } if self.lie == Lie::EndsLater => {
                let statuses = pods.iter_mut().flat_map(|pod| &mut pod.status.container_statuses);
                let states = statuses.flat_map(|s| [&mut s.state, &mut s.last_state]);
                for end in states.filter_map(|s| s.terminated.as_mut()?.finished_at.as_mut()) {
                    *end = later(end);
                }
                Outcome::Pods { requested_at, name, result: Ok(pods) }
            }
            outcome => outcome,
        }
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

    /// The stored count never falls.
    fn observe_count(&mut self) {
        let stored = self.world.api.get(Kind::Group, "web").and_then(|g| g["status"]["transitions"].as_i64());
        let now = stored.unwrap_or(0);
        assert!(now >= self.transitions, "transitions fell from {} to {now}", self.transitions);
        self.transitions = now;
    }

    pub fn step(&mut self, step: Step) {
        let world = &mut self.world;
        match step {
            Step::Crash(slot, container) => {
                if let Some(at) = world.current(slot) {
                    (0..2).filter(|c| container.is_none_or(|only| only == *c)).for_each(|c| world.end(at, c));
                }
            }
            Step::Finish(slot) => world.current(slot).into_iter().for_each(|at| world.finish(at)),
            Step::Delete(slot) => world.current(slot).into_iter().for_each(|at| world.remove_pod(at, false)),
            Step::Force(slot) => world.current(slot).into_iter().for_each(|at| world.remove_pod(at, true)),
            Step::Collect(slot) => world.current(slot).into_iter().for_each(|at| world.collect(at)),
            Step::Freeze(slot, span) => world.current(slot).into_iter().for_each(|at| world.freeze(at, span)),
            Step::Kubelet(node, up) => world.set_kubelet(node, up),
            Step::Ready(node, ready) => {
                world.api.put(Kind::Node, super::node(&format!("n{node}"), ready, false));
            }
            Step::Die(node) => world.kill_machine(node),
            Step::Clock(node, ahead) => world.machines[node].clock_ahead = ahead,
            Step::ReportDelay(node, delay) => world.machines[node].report_delay = delay,
            Step::Lag(kind, lag) => self.replicas[self.leading].streams.get_mut(&kind).unwrap().lag = lag,
            Step::Relist(kind) => self.relist(self.leading, kind),
            Step::LoseAnswers(count) => self.lose_answers = count,
            Step::LoseRequests(count) => self.lose_requests = count,
            // The stored status names one pod of a shared identity, the holder's. Any other process that outlived its pod
            // is unknown to an operator that starts after, and so is that one to a second operator.
            Step::Restart
                if !world.with_uid && (self.restarts + self.failovers > 0 || world.has_unnamed_survivors()) => {}
            Step::Failover(_) if !world.with_uid && self.restarts > 0 => {}
            Step::Restart => {
                self.replicas[self.leading].engine = Engine::default();
                self.restarts += 1;
                for kind in Kind::ALL {
                    self.relist(self.leading, kind);
                }
                self.lead();
            }
            Step::Failover(late) => {
                self.failovers += 1;
                self.requests.iter_mut().for_each(|request| request.arrives += late);
                self.replicas[self.leading].engine.stand_by();
                self.leading = 1 - self.leading;
                self.lead();
            }
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

fn statuses(pod: &mut Value) -> impl Iterator<Item = &mut Value> {
    pod["status"]["containerStatuses"].as_array_mut().into_iter().flatten()
}

fn end(mut pod: Value) -> Value {
    pod["status"]["phase"] = json!("Failed");
    let ended = super::ended(1_000_000);
    statuses(&mut pod).for_each(|s| s["state"] = ended["state"].clone());
    pod
}

fn end_later(mut pod: Value) -> Value {
    for status in statuses(&mut pod) {
        for state in ["state", "lastState"] {
            let end = &mut status[state]["terminated"]["finishedAt"];
            if let Some(at) = end.as_str() {
                *end = json!(later(at));
            }
        }
    }
    pod
}

fn later(time: &str) -> String {
    let time: jiff::Timestamp = time.parse().expect("a time");
    (time + jiff::SignedDuration::from_secs(2)).to_string()
}
