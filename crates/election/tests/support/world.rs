//! The world: what can happen in it next, and what becomes of it.

use leadergroup_election::{Answer, Candidate, Input, Observation, Output, Request, Time, Version, What};

use super::bounds::{Bounds, Budget, ENDLESS, Lie, Operator};
use super::changes::shown;
use super::foreign::Foreign;
use super::server::Server;

pub const TWO_LEAD: &str = "two lead at once";
pub const LIVE_CLEARED: &str = "a live leader was cleared";
pub const TOKEN_FELL: &str = "a term's token is not larger than those before it";
pub const RELEASED_ANOTHERS: &str = "somebody released another's Lease";
pub const TAKEN_TOO_EARLY: &str = "a Lease was taken that had not run out";

/// When all began, by every clock: later than all durations together.
pub const START: Time = Time::from_secs(1_000);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Time passes; the clock of this candidate does not notice, if there is one.
    Tick(Option<usize>),
    Wake(usize),
    Watch(usize),
    /// A watch breaks, and begins anew with the Lease as it is.
    Break(usize),
    Reconnect(usize),
    /// The API server takes a request from the network.
    Serve(usize),
    /// It answers with an error: it refuses, or does not tell whether it was done, and it was not, or it was.
    Fail(usize, Failure),
    LoseRequest(usize),
    /// An answer arrives, and may arrive again.
    Answer(usize, bool),
    LoseAnswer(usize),
    Pause(usize),
    Resume(usize),
    Kill(usize),
    Restart(usize),
    Resign(usize),
    StepDown(usize),
    /// It is asked to let another lead, and does.
    Obey(usize),
    Touch(Touch),
    Vandalize(Vandalism),
    Judge,
    Clear,
    /// A candidate of another kind does something.
    Foreign(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    Refused,
    UnknownNotDone,
    UnknownDone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Touch {
    Nothing,
    Timing(usize),
    Prefer(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vandalism {
    Delete,
    Nulls,
    Zeros,
    Negatives,
    Ghost,
}

#[allow(clippy::struct_excessive_bools, reason = "each is so or not whatever the others are")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pub machine: Candidate,
    pub alive: bool,
    pub paused: bool,
    /// Its own clock.
    pub clock: Time,
    /// Ticks since its clock fell behind, as far as they matter.
    pub since_slip: u32,
    /// What of the history its watch has brought.
    pub cursor: usize,
    pub watching: bool,
    /// It campaigns no more, or will not once it has released.
    pub resigned: bool,
    pub newest_request: u64,
    pub believes_until: Time,
    stuck: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub now: u32,
    pub server: Server,
    pub processes: Vec<Process>,
    pub foreign: Vec<Foreign>,
    pub requests: Vec<(usize, Request)>,
    pub answers: Vec<(usize, u64, Answer)>,
    pub judged: Option<Version>,
    pub spent: Budget,
    /// Who led last, and by which token.
    pub last_term: Option<(usize, u64)>,
    /// Terms that began before this version were ended by somebody who should not.
    pub void_before: u64,
    /// Another than before leads, since just now.
    pub succeeded: bool,
    /// What went wrong, if something did.
    pub violation: Option<&'static str>,
    pub tally: Tally,
}

/// What happened, for statistics only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tally {
    pub terms: u32,
    pub successions: u32,
    pub losses: u32,
    pub clears: u32,
    pub foreign_terms: u32,
    /// Requests of those that do not lead.
    pub standby_requests: u32,
}

impl World {
    pub fn new(bounds: &Bounds) -> Self {
        let process = |n: usize| Process {
            machine: Candidate::new(name(n), bounds.timing, START),
            alive: true,
            paused: false,
            clock: START,
            since_slip: bounds.slips_each.map_or(0, |each| each - 1),
            cursor: 1,
            watching: true,
            resigned: false,
            newest_request: 0,
            believes_until: Time::ZERO,
            stuck: false,
        };
        Self {
            now: 0,
            server: Server::new(),
            processes: (0..bounds.candidates).map(process).collect(),
            foreign: (0..bounds.foreign).map(|n| Foreign::new(format!("f{n}"))).collect(),
            requests: Vec::new(),
            answers: Vec::new(),
            judged: None,
            spent: Budget::default(),
            last_term: None,
            void_before: 0,
            succeeded: false,
            violation: None,
            tally: Tally::default(),
        }
    }

    /// What can happen next.
    pub fn actions(&self, bounds: &Bounds, actions: &mut Vec<Action>) {
        if self.violation.is_some() {
            return;
        }
        if self.now < bounds.ticks {
            actions.push(Action::Tick(None));
            for (n, process) in self.processes.iter().enumerate() {
                let slips = bounds.slips_each.is_some_and(|each| process.since_slip + 1 >= each);
                if process.alive && (slips || bounds.lie == Lie::ClockStops) {
                    actions.push(Action::Tick(Some(n)));
                }
            }
        }
        for n in 0..self.processes.len() {
            self.actions_of(n, bounds, actions);
        }
        let (spent, most) = (&self.spent, &bounds.most);
        for n in 0..self.requests.len() {
            actions.push(Action::Serve(n));
            if spent.losses < most.losses {
                actions.push(Action::LoseRequest(n));
            }
            if spent.failures < most.failures {
                let all = [Failure::Refused, Failure::UnknownNotDone, Failure::UnknownDone];
                actions.extend(all.map(|failure| Action::Fail(n, failure)));
            }
        }
        for n in 0..self.answers.len() {
            actions.push(Action::Answer(n, false));
            if spent.duplicates < most.duplicates {
                actions.push(Action::Answer(n, true));
            }
            if spent.losses < most.losses {
                actions.push(Action::LoseAnswer(n));
            }
        }
        if let Some(seen) = self.server.lease() {
            if spent.touches < most.touches {
                actions.push(Action::Touch(Touch::Nothing));
                actions.extend((0..bounds.timings.len()).map(|k| Action::Touch(Touch::Timing(k))));
                if !bounds.timings.is_empty() {
                    actions.extend((0..=bounds.candidates).map(|k| Action::Touch(Touch::Prefer(k))));
                }
            }
            if spent.vandalisms < most.vandalisms {
                let absurd = [Vandalism::Nulls, Vandalism::Zeros, Vandalism::Negatives, Vandalism::Ghost];
                actions.extend(absurd.into_iter().chain([Vandalism::Delete]).map(Action::Vandalize));
            }
            let judgeable = bounds.operator != Operator::Absent && self.judged != Some(seen.version);
            if judgeable && self.holder_is_dead(bounds) {
                actions.push(Action::Judge);
            }
        }
        if self.judged.is_some() {
            actions.push(Action::Clear);
        }
        let due = |n: &usize| self.foreign[*n].is_due(START + bounds.tick * self.now);
        actions.extend((0..self.foreign.len()).filter(due).map(Action::Foreign));
    }

    fn actions_of(&self, n: usize, bounds: &Bounds, actions: &mut Vec<Action>) {
        let (spent, most, process) = (&self.spent, &bounds.most, &self.processes[n]);
        if !process.alive {
            if spent.restarts < most.restarts {
                actions.push(Action::Restart(n));
            }
            return;
        }
        if spent.kills < most.kills {
            actions.push(Action::Kill(n));
        }
        if process.paused {
            actions.push(Action::Resume(n));
            return;
        }
        if spent.pauses < most.pauses {
            actions.push(Action::Pause(n));
        }
        if !process.stuck && process.machine.next_wake().is_some_and(|at| at <= process.clock) {
            actions.push(Action::Wake(n));
        }
        if process.watching {
            if process.cursor < self.server.history.len() {
                actions.push(Action::Watch(n));
            }
            if spent.breaks < most.breaks {
                actions.push(Action::Break(n));
            }
        } else {
            actions.push(Action::Reconnect(n));
        }
        if spent.resignations < most.resignations && !process.resigned {
            actions.push(Action::Resign(n));
        }
        if spent.step_downs < most.step_downs && self.leads(n, bounds) {
            actions.push(Action::StepDown(n));
        }
        if process.machine.should_step_down() {
            actions.push(Action::Obey(n));
        }
    }

    /// What becomes of the world.
    pub fn apply(&mut self, bounds: &Bounds, action: Action) {
        self.succeeded = false;
        let most = &bounds.most;
        match action {
            Action::Tick(slow) => self.tick(bounds, slow),
            Action::Wake(n) => self.step(bounds, n, Input::Woken),
            Action::Watch(n) => {
                let observation = shown(bounds, self.server.history[self.processes[n].cursor].clone());
                self.processes[n].cursor += 1;
                self.step(bounds, n, Input::Watched(observation));
            }
            Action::Break(n) => {
                spend(&mut self.spent.breaks, most.breaks);
                self.processes[n].watching = false;
                self.step(bounds, n, Input::WatchLost);
            }
            Action::Reconnect(n) => {
                self.processes[n].watching = true;
                self.processes[n].cursor = self.server.history.len();
                // It does not tell that there is no Lease.
                if self.server.lease().is_some() {
                    let observation = shown(bounds, self.server.present());
                    self.step(bounds, n, Input::Watched(observation));
                }
            }
            Action::Serve(k) => {
                let (n, request) = self.requests.remove(k);
                let answer = self.serve(bounds, n, &request.what);
                self.answers.push((n, request.id, answer));
            }
            Action::Fail(k, failure) => {
                spend(&mut self.spent.failures, most.failures);
                let (n, request) = self.requests.remove(k);
                if failure == Failure::UnknownDone {
                    self.serve(bounds, n, &request.what);
                }
                let answer = if failure == Failure::Refused { Answer::Refused } else { Answer::Unknown };
                self.answers.push((n, request.id, answer));
            }
            Action::LoseRequest(k) => {
                spend(&mut self.spent.losses, most.losses);
                self.requests.remove(k);
            }
            Action::Answer(k, twice) => {
                let (n, id, answer) = self.answers[k].clone();
                if twice {
                    spend(&mut self.spent.duplicates, most.duplicates);
                } else {
                    self.answers.remove(k);
                }
                self.answer(bounds, n, id, answer);
            }
            Action::LoseAnswer(k) => {
                spend(&mut self.spent.losses, most.losses);
                self.answers.remove(k);
            }
            Action::Pause(n) => {
                spend(&mut self.spent.pauses, most.pauses);
                self.processes[n].paused = true;
            }
            Action::Resume(n) => self.processes[n].paused = false,
            Action::Kill(n) => {
                spend(&mut self.spent.kills, most.kills);
                self.processes[n].alive = false;
            }
            Action::Restart(n) => self.restart(bounds, n),
            Action::Resign(n) => {
                spend(&mut self.spent.resignations, most.resignations);
                self.processes[n].resigned = true;
                self.step(bounds, n, Input::Resign);
            }
            Action::StepDown(n) => {
                spend(&mut self.spent.step_downs, most.step_downs);
                self.step(bounds, n, Input::StepDown);
            }
            Action::Obey(n) => self.step(bounds, n, Input::StepDown),
            Action::Touch(touch) => self.touch(bounds, touch),
            Action::Vandalize(vandalism) => self.vandalize(bounds, vandalism),
            Action::Judge => self.judged = self.server.lease().map(|seen| seen.version),
            Action::Clear => self.clear(bounds),
            Action::Foreign(n) => {
                let now = START + bounds.tick * self.now;
                let foreign = &mut self.foreign[n];
                let led = now < foreign.believes_until;
                foreign.act(&mut self.server, bounds.timing, now, self.now);
                self.tally.foreign_terms += u32::from(!led && now < foreign.believes_until);
            }
        }
        if (0..self.processes.len()).filter(|n| self.leads(*n, bounds) && !self.is_void(*n)).count() > 1 {
            self.violation = Some(TWO_LEAD);
        }
    }

    fn tick(&mut self, bounds: &Bounds, slow: Option<usize>) {
        self.now += u32::from(bounds.ticks != ENDLESS);
        for (n, process) in self.processes.iter_mut().enumerate() {
            let stops = bounds.lie == Lie::ClockStops && process.paused;
            if slow == Some(n) || stops {
                process.since_slip = 0;
            } else {
                process.clock += bounds.tick;
                let most = bounds.slips_each.map_or(0, |each| each - 1);
                process.since_slip = (process.since_slip + 1).min(most);
            }
        }
    }

    fn answer(&mut self, bounds: &Bounds, n: usize, id: u64, answer: Answer) {
        let process = &mut self.processes[n];
        if !process.alive || process.paused {
            return;
        }
        let request = if bounds.lie == Lie::MixedUp { process.newest_request } else { id };
        process.stuck |= bounds.lie == Lie::GivesUp && answer == Answer::Conflict;
        self.step(bounds, n, Input::Answered { request, answer });
    }

    fn restart(&mut self, bounds: &Bounds, n: usize) {
        spend(&mut self.spent.restarts, bounds.most.restarts);
        let process = &mut self.processes[n];
        process.machine = Candidate::new(name(n), bounds.timing, process.clock);
        (process.alive, process.paused, process.watching) = (true, false, true);
        (process.resigned, process.stuck) = (false, false);
        process.believes_until = Time::ZERO;
        // A watch begins with the Lease as it is, if it is.
        process.cursor = self.server.history.len() - usize::from(self.server.lease().is_some());
        // What the process before it asked is answered to nobody.
        self.answers.retain(|(to, ..)| *to != n);
        for (_, request) in self.requests.iter_mut().filter(|(from, _)| *from == n) {
            request.id = 0;
        }
    }

    /// Whether a process would say that it leads, if it were asked now.
    pub fn leads(&self, n: usize, bounds: &Bounds) -> bool {
        let process = &self.processes[n];
        let by_itself = process.machine.term(process.clock).is_some();
        let counts = bounds.lie == Lie::CountsFromAnswer;
        process.alive && if counts { process.clock < process.believes_until } else { by_itself }
    }

    /// Whether its term was ended by somebody who should not, before it could know.
    fn is_void(&self, n: usize) -> bool {
        let process = &self.processes[n];
        process.machine.term(process.clock).is_some_and(|term| term.token.0 < self.void_before)
    }

    fn step(&mut self, bounds: &Bounds, n: usize, input: Input) {
        if self.processes[n].stuck {
            return;
        }
        let now = self.processes[n].clock;
        if bounds.lie == Lie::Polls && matches!(input, Input::Watched(_)) && !self.leads(n, bounds) {
            self.requests.push((n, Request { id: 0, deadline: now, what: What::Read }));
            self.tally.standby_requests += 1;
        }
        for output in self.processes[n].machine.step(input, now) {
            let believes = now + bounds.timing.renew_deadline();
            match output {
                Output::Send(request) => {
                    self.processes[n].newest_request = request.id;
                    self.tally.standby_requests += u32::from(!self.leads(n, bounds));
                    self.requests.push((n, request));
                }
                Output::Gained(term) => {
                    self.note_term(bounds, n, term.token);
                    self.processes[n].believes_until = believes;
                }
                Output::Extended(_) => self.processes[n].believes_until = believes,
                Output::Lost(_) => {
                    self.processes[n].believes_until = Time::ZERO;
                    self.tally.losses += 1;
                }
                Output::Left => {}
            }
        }
    }

    fn note_term(&mut self, bounds: &Bounds, n: usize, token: Version) {
        let made = self.server.history.iter().find(|o| o.version() == Some(token));
        let mut value = token.0;
        if let Some(Observation::Present(seen)) = made {
            if seen.record.holder.as_deref() != Some(&name(n)) {
                self.violation = Some("a term's token is the version of another's write");
            }
            if bounds.lie == Lie::TokenIsTransitions {
                value = 1 + u64::try_from(seen.record.transitions.unwrap_or(0)).unwrap_or(0);
            }
        }
        if token.0 < self.void_before {
            return;
        }
        if self.last_term.is_some_and(|(_, last)| value <= last) {
            self.violation = Some(TOKEN_FELL);
        }
        self.succeeded = self.last_term.is_some_and(|(last, _)| last != n);
        self.last_term = Some((n, value));
        self.tally.terms += 1;
        self.tally.successions += u32::from(self.succeeded);
    }
}

pub fn name(n: usize) -> String {
    format!("c{n}")
}

pub(super) fn spend(spent: &mut u32, most: u32) {
    if most != ENDLESS {
        *spent += 1;
    }
}
