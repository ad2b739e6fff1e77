//! The world: what can happen in it next, and what becomes of it.

use std::time::Duration;

use leadergroup_election::{
    Answer, Candidate, Change, Input, Observation, Output, Record, Request, Seen, Time, Timing, Version, What,
};

/// How large a world is, and what may go wrong in it.
#[derive(Clone, Debug)]
pub struct Bounds {
    pub candidates: usize,
    /// One step of time.
    pub tick: Duration,
    pub ticks: u32,
    pub timing: Timing,
    /// How many requests and answers may be lost.
    pub losses: u32,
    /// How many answers may come twice.
    pub duplicates: u32,
    /// How often a watch may break, to begin anew with the Lease as it is.
    pub relists: u32,
    pub kills: u32,
    pub restarts: u32,
    pub resignations: u32,
    pub step_downs: u32,
    /// How often somebody may touch the Lease without moving it.
    pub touches: u32,
    /// By how many ticks each clock may fall behind.
    pub slow_ticks: u32,
    /// How far an operator goes with the holders that are dead.
    pub operator: Operator,
    pub lie: Lie,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Absent,
    Clears,
    Deletes,
}

/// One thing that is not as a candidate relies on, or not as it should be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    None,
    /// The API server does not look at the version a write names, as with a patch that names none.
    NoPrecondition,
    /// A clock stops while its process is stopped.
    ClockStops,
    /// A term counts from the answer to a renewal rather than from before it was sent.
    CountsFromAnswer,
    /// A standby counts with a shorter duration than the record's.
    Impatient,
    /// An answer is taken for one to the newest request.
    MixedUp,
    /// The operator clears a holder that lives.
    ClearsTheLiving,
    /// The operator clears whatever version there is.
    ClearsAnyVersion,
    /// The transitions in the record are taken for a token.
    TokenIsTransitions,
    /// A candidate that lost a race does not campaign again.
    GivesUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Time passes; the clock of this candidate does not notice, if there is one.
    Tick(Option<usize>),
    Wake(usize),
    Watch(usize),
    Relist(usize),
    /// The API server takes a request from the network.
    Serve(usize),
    LoseRequest(usize),
    /// An answer arrives, and may arrive again.
    Answer(usize, bool),
    LoseAnswer(usize),
    Kill(usize),
    Restart(usize),
    Resign(usize),
    StepDown(usize),
    Touch,
    Judge,
    Clear,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pub machine: Candidate,
    pub alive: bool,
    /// Its own clock.
    pub clock: u32,
    slow: u32,
    /// What of the history its watch has brought.
    cursor: usize,
    newest_request: u64,
    believes_until: Time,
    stuck: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub now: u32,
    version: u64,
    history: Vec<Observation>,
    pub processes: Vec<Process>,
    requests: Vec<(usize, Request)>,
    answers: Vec<(usize, u64, Answer)>,
    judged: Option<Version>,
    spent: Spent,
    largest_token: u64,
    /// What went wrong, if something did.
    pub violation: Option<&'static str>,
    /// Who led, one after the other.
    pub terms: Vec<usize>,
    pub cleared: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Spent {
    losses: u32,
    duplicates: u32,
    relists: u32,
    kills: u32,
    restarts: u32,
    resignations: u32,
    step_downs: u32,
    touches: u32,
}

impl World {
    pub fn new(bounds: &Bounds) -> Self {
        let process = |n: usize| Process {
            machine: Candidate::new(format!("c{n}"), bounds.timing, Time::ZERO),
            alive: true,
            clock: 0,
            slow: 0,
            cursor: 0,
            newest_request: 0,
            believes_until: Time::ZERO,
            stuck: false,
        };
        Self {
            now: 0,
            version: 1,
            history: vec![Observation::Absent(Some(Version(1)))],
            processes: (0..bounds.candidates).map(process).collect(),
            requests: Vec::new(),
            answers: Vec::new(),
            judged: None,
            spent: Spent::default(),
            largest_token: 0,
            violation: None,
            terms: Vec::new(),
            cleared: false,
        }
    }

    /// What can happen next.
    pub fn actions(&self, bounds: &Bounds, actions: &mut Vec<Action>) {
        if self.violation.is_some() {
            return;
        }
        let spent = &self.spent;
        if self.now < bounds.ticks {
            actions.push(Action::Tick(None));
            for (n, process) in self.processes.iter().enumerate() {
                if process.alive && (process.slow < bounds.slow_ticks || bounds.lie == Lie::ClockStops) {
                    actions.push(Action::Tick(Some(n)));
                }
            }
        }
        for (n, process) in self.processes.iter().enumerate() {
            if process.alive {
                if process.machine.next_wake().is_some_and(|at| at <= bounds.tick * process.clock) {
                    actions.push(Action::Wake(n));
                }
                if process.cursor < self.history.len() {
                    actions.push(Action::Watch(n));
                    if spent.relists < bounds.relists {
                        actions.push(Action::Relist(n));
                    }
                }
                if spent.kills < bounds.kills {
                    actions.push(Action::Kill(n));
                }
                if spent.resignations < bounds.resignations {
                    actions.push(Action::Resign(n));
                }
                if spent.step_downs < bounds.step_downs && self.leads(n, bounds) {
                    actions.push(Action::StepDown(n));
                }
            } else if spent.restarts < bounds.restarts {
                actions.push(Action::Restart(n));
            }
        }
        for n in 0..self.requests.len() {
            actions.push(Action::Serve(n));
            if spent.losses < bounds.losses {
                actions.push(Action::LoseRequest(n));
            }
        }
        for n in 0..self.answers.len() {
            actions.push(Action::Answer(n, false));
            if spent.duplicates < bounds.duplicates {
                actions.push(Action::Answer(n, true));
            }
            if spent.losses < bounds.losses {
                actions.push(Action::LoseAnswer(n));
            }
        }
        if spent.touches < bounds.touches && self.lease().is_some() {
            actions.push(Action::Touch);
        }
        if bounds.operator != Operator::Absent {
            if let Some(seen) = self.lease()
                && self.judged != Some(seen.version)
                && self.holder_is_dead(bounds)
            {
                actions.push(Action::Judge);
            }
            if self.judged.is_some() {
                actions.push(Action::Clear);
            }
        }
    }

    /// What becomes of the world.
    pub fn apply(&mut self, bounds: &Bounds, action: Action) {
        match action {
            Action::Tick(slow) => {
                self.now += 1;
                for (n, process) in self.processes.iter_mut().enumerate() {
                    if slow == Some(n) {
                        process.slow += 1;
                    } else {
                        process.clock += 1;
                    }
                }
            }
            Action::Wake(n) => self.step(bounds, n, Input::Woken),
            Action::Watch(n) => {
                let observation = self.shown(bounds, self.history[self.processes[n].cursor].clone());
                self.processes[n].cursor += 1;
                self.step(bounds, n, Input::Watched(observation));
            }
            Action::Relist(n) => {
                self.spent.relists += 1;
                self.processes[n].cursor = self.history.len();
                self.step(bounds, n, Input::WatchLost);
                let observation = self.shown(bounds, self.present());
                self.step(bounds, n, Input::Watched(observation));
            }
            Action::Serve(k) => {
                let (n, request) = self.requests.remove(k);
                let answer = self.serve(bounds, n, &request.what);
                self.answers.push((n, request.id, answer));
            }
            Action::LoseRequest(k) => {
                self.spent.losses += 1;
                self.requests.remove(k);
            }
            Action::Answer(k, twice) => {
                let (n, id, answer) = self.answers[k].clone();
                if twice {
                    self.spent.duplicates += 1;
                } else {
                    self.answers.remove(k);
                }
                if self.processes[n].alive {
                    let request = if bounds.lie == Lie::MixedUp { self.processes[n].newest_request } else { id };
                    if bounds.lie == Lie::GivesUp && answer == Answer::Conflict {
                        self.processes[n].stuck = true;
                    }
                    self.step(bounds, n, Input::Answered { request, answer });
                }
            }
            Action::LoseAnswer(k) => {
                self.spent.losses += 1;
                self.answers.remove(k);
            }
            Action::Kill(n) => {
                self.spent.kills += 1;
                self.processes[n].alive = false;
            }
            Action::Restart(n) => {
                self.spent.restarts += 1;
                let process = &mut self.processes[n];
                let newest = process.newest_request;
                process.machine = Candidate::new(format!("c{n}"), bounds.timing, bounds.tick * process.clock);
                process.alive = true;
                process.believes_until = Time::ZERO;
                // A watch begins with the Lease as it is.
                process.cursor = self.history.len() - 1;
                // What the process before it asked is answered to nobody.
                self.answers.retain(|(to, id, _)| *to != n || *id > newest);
                for (_, request) in self.requests.iter_mut().filter(|(from, _)| *from == n) {
                    request.id = 0;
                }
            }
            Action::Resign(n) => {
                self.spent.resignations += 1;
                self.step(bounds, n, Input::Resign);
            }
            Action::StepDown(n) => {
                self.spent.step_downs += 1;
                self.step(bounds, n, Input::StepDown);
            }
            Action::Touch => {
                self.spent.touches += 1;
                let record = self.lease().map(|seen| seen.record.clone()).unwrap_or_default();
                self.write(record);
            }
            Action::Judge => self.judged = self.lease().map(|seen| seen.version),
            Action::Clear => self.clear(bounds),
        }
        let leaders = (0..self.processes.len()).filter(|n| self.leads(*n, bounds)).count();
        if leaders > 1 {
            self.violation = Some("two lead at once");
        }
    }

    /// Whether a process would say that it leads, if it were asked now.
    pub fn leads(&self, n: usize, bounds: &Bounds) -> bool {
        let process = &self.processes[n];
        let now = bounds.tick * process.clock;
        let by_itself = process.machine.term(now).is_some();
        process.alive && if bounds.lie == Lie::CountsFromAnswer { now < process.believes_until } else { by_itself }
    }

    pub fn leader(&self, bounds: &Bounds) -> Option<usize> {
        (0..self.processes.len()).find(|n| self.leads(*n, bounds))
    }

    pub fn lease(&self) -> Option<&Seen> {
        match self.history.last() {
            Some(Observation::Present(seen)) => Some(seen),
            _ => None,
        }
    }

    fn present(&self) -> Observation {
        self.history.last().cloned().unwrap_or(Observation::Absent(None))
    }

    /// Nothing fails any more: every message arrives, everybody runs, time passes. The ticks until somebody leads.
    pub fn settle(&mut self, bounds: &Bounds, patience: u32) -> Option<u32> {
        for passed in 0..=patience {
            loop {
                let mut actions = Vec::new();
                let calm = Bounds { ticks: 0, losses: 0, duplicates: 0, relists: 0, kills: 0, ..bounds.clone() };
                let calm = Bounds { resignations: 0, step_downs: 0, touches: 0, operator: Operator::Absent, ..calm };
                self.actions(&calm, &mut actions);
                let Some(action) = actions.first() else { break };
                self.apply(bounds, *action);
            }
            if self.leader(bounds).is_some() {
                return Some(passed);
            }
            self.apply(bounds, Action::Tick(None));
        }
        None
    }

    fn step(&mut self, bounds: &Bounds, n: usize, input: Input) {
        if self.processes[n].stuck {
            return;
        }
        let now = bounds.tick * self.processes[n].clock;
        for output in self.processes[n].machine.step(input, now) {
            match output {
                Output::Send(request) => {
                    self.processes[n].newest_request = request.id;
                    self.requests.push((n, request));
                }
                Output::Gained(term) => {
                    self.note_term(bounds, n, term.token);
                    self.processes[n].believes_until = now + bounds.timing.renew_deadline();
                }
                Output::Extended(_) => self.processes[n].believes_until = now + bounds.timing.renew_deadline(),
                Output::Lost(_) => self.processes[n].believes_until = Time::ZERO,
                Output::Left => {}
            }
        }
    }

    fn note_term(&mut self, bounds: &Bounds, n: usize, token: Version) {
        let made = self.history.iter().find(|o| o.version() == Some(token));
        let Some(Observation::Present(seen)) = made else {
            self.violation = Some("a term's token is no version of the Lease");
            return;
        };
        if seen.record.holder.as_deref() != Some(&format!("c{n}")) {
            self.violation = Some("a term's token is the version of another's write");
        }
        let transitions = u64::try_from(seen.record.transitions.unwrap_or(0)).unwrap_or(0);
        let token = if bounds.lie == Lie::TokenIsTransitions { transitions + 1 } else { token.0 };
        if token <= self.largest_token {
            self.violation = Some("a term's token is not larger than those before it");
        }
        self.largest_token = token;
        self.terms.push(n);
    }

    fn shown(&self, bounds: &Bounds, mut observation: Observation) -> Observation {
        if bounds.lie == Lie::Impatient
            && let Observation::Present(seen) = &mut observation
        {
            seen.record.duration_seconds = seen.record.duration_seconds.map(|_| 1);
        }
        observation
    }

    fn serve(&mut self, bounds: &Bounds, n: usize, what: &What) -> Answer {
        let present = self.lease().cloned();
        match (what, present) {
            (What::Read, _) => Answer::Done(self.shown(bounds, self.present())),
            (What::Create(change), None) => Answer::Done(self.change(&Record::default(), change)),
            (What::Replace(version, change), Some(seen))
                if seen.version == *version || bounds.lie == Lie::NoPrecondition =>
            {
                let another = seen.record.holder.as_deref().is_some_and(|holder| holder != format!("c{n}"));
                if another && change.holder.is_empty() {
                    self.violation = Some("somebody released another's Lease");
                }
                Answer::Done(self.change(&seen.record, change))
            }
            (What::Create(_), Some(_)) | (What::Replace(..), _) => Answer::Conflict,
        }
    }

    fn change(&mut self, old: &Record, change: &Change) -> Observation {
        let stamp = i64::try_from(self.version + 1).ok();
        self.write(Record {
            holder: Some(change.holder.clone()).filter(|holder| !holder.is_empty()),
            duration_seconds: Some(change.duration_seconds),
            acquired: if change.acquires { stamp } else { old.acquired },
            renewed: stamp,
            transitions: Some(change.transitions),
        })
    }

    fn write(&mut self, record: Record) -> Observation {
        self.version += 1;
        let seen = Seen { version: Version(self.version), record, timing: None, preferred: None };
        self.history.push(Observation::Present(seen));
        self.present()
    }

    fn holder_is_dead(&self, bounds: &Bounds) -> bool {
        let Some(holder) = self.lease().and_then(|seen| seen.record.holder.as_deref()) else { return false };
        let is_holder = |n: usize| format!("c{n}") == holder;
        (0..self.processes.len())
            .any(|n| is_holder(n) && (!self.processes[n].alive || bounds.lie == Lie::ClearsTheLiving))
    }

    fn clear(&mut self, bounds: &Bounds) {
        let judged = self.judged.take();
        let Some(seen) = self.lease().cloned() else { return };
        if judged != Some(seen.version) && bounds.lie != Lie::ClearsAnyVersion {
            return;
        }
        let holder = seen.record.holder.clone();
        if (0..self.processes.len()).any(|n| Some(format!("c{n}")) == holder && self.leads(n, bounds)) {
            self.violation = Some("a live leader was cleared");
        }
        self.cleared = true;
        if bounds.operator == Operator::Deletes {
            self.version += 1;
            self.history.push(Observation::Absent(Some(Version(self.version))));
        } else {
            self.write(Record { holder: None, duration_seconds: Some(1), ..seen.record });
        }
    }
}
