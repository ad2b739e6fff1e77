//! A candidate: standing by, leading, or leaving.
//!
//! Standbys act at once when the Lease is free or has run out, all of them: the API server lets one win, and each other
//! pays one request, after which the watch brings it the winner. To spread them would cost the group time at each
//! takeover to save a few requests.

mod campaign;
pub mod likeness;

use crate::message::{Answer, Input, Loss, Output, Term};
use crate::record::{Observation, Record, Seen, Version};
use crate::{Time, Timing};

use campaign::{Kind, UnderWay};

/// Failed tries are this many times the retry period apart at most.
const MOST_BACKOFF: u32 = 4;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Known {
    Nothing,
    Absent(Option<Version>),
    Present { seen: Seen, moved_at: Time },
}

impl Known {
    fn version(&self) -> Option<Version> {
        match self {
            Self::Nothing => None,
            Self::Absent(version) => *version,
            Self::Present { seen, .. } => Some(seen.version),
        }
    }

    fn record(&self) -> Option<&Record> {
        match self {
            Self::Present { seen, .. } => Some(&seen.record),
            _ => None,
        }
    }

    fn preferred(&self) -> Option<&String> {
        match self {
            Self::Present { seen, .. } => seen.preferred.as_ref(),
            _ => None,
        }
    }

    /// Whether that is the Lease as it is known.
    fn is_at(&self, observation: &Observation) -> bool {
        match (self, observation) {
            (Self::Absent(_), Observation::Absent(_)) => true,
            (Self::Present { seen, .. }, Observation::Present(now)) => seen.version == now.version,
            _ => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Role {
    Standby,
    Leading {
        term: Term,
        renew_at: Time,
        /// Who was to lead when this candidate won, and did not try.
        passed_over: Option<String>,
    },
    Leaving {
        give_up_at: Time,
        for_good: bool,
    },
    Left,
}

/// One candidate for one Lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    identity: String,
    timing: Timing,
    known: Known,
    role: Role,
    under_way: Option<UnderWay>,
    last_id: u64,
    /// A write of this candidate names the version that is known, and may have been done or may still be.
    unsure: bool,
    /// A write was refused because there is a later version than the one that is known.
    outdated: bool,
    /// The Lease bears this candidate's identity, but another renews it.
    shared: bool,
    read_at: Option<Time>,
    /// There is no watch: a standby reads the Lease then, and each retry period.
    blind: Option<Time>,
    /// No request before that, after failures.
    not_before: Time,
    failures: u32,
    /// No try to acquire before that: others come first.
    yields_until: Time,
}

impl Candidate {
    /// A candidate that has seen nothing yet. No two candidates that live at the same time may have the same identity;
    /// one that starts anew may take the identity of one that has ended, and takes back its Lease at once. One with an
    /// empty identity never leads: an empty holder is none.
    pub fn new(identity: impl Into<String>, timing: Timing, now: Time) -> Self {
        Self {
            identity: identity.into(),
            timing,
            known: Known::Nothing,
            role: Role::Standby,
            under_way: None,
            last_id: 0,
            unsure: false,
            outdated: false,
            shared: false,
            // A watch does not tell that there is no Lease.
            read_at: Some(now),
            blind: None,
            not_before: now,
            failures: 0,
            yields_until: now,
        }
    }

    /// Takes in what happened, and says what to do, in that order.
    pub fn step(&mut self, input: Input, now: Time) -> Vec<Output> {
        let mut out = Vec::new();
        // First, so that what comes too late is not taken for what came in time.
        self.expire(now, &mut out);
        match input {
            Input::Watched(observation) => {
                self.blind = None;
                if self.is_news(&observation) {
                    self.observe(observation, now, &mut out);
                }
            }
            Input::WatchLost => {
                self.blind.get_or_insert(now.saturating_add(self.timing.retry_period()));
            }
            Input::Answered { request, answer } => {
                if let Some(request) = self.under_way.take_if(|under_way| under_way.id == request) {
                    self.answered(&request, answer, now, &mut out);
                }
            }
            Input::Woken => {}
            Input::Resign => self.leave(true, now, &mut out),
            Input::StepDown => {
                if matches!(self.role, Role::Leading { .. }) {
                    self.leave(false, now, &mut out);
                }
            }
        }
        self.finish_leaving(now, &mut out);
        if let Some(what) = self.next_request(now) {
            let before = self.own_term();
            let request = self.send(what, now);
            out.extend(self.own_term().filter(|term| before != Some(*term)).map(Output::Extended));
            out.push(Output::Send(request));
        }
        out
    }

    /// When to call [`Candidate::step`] with [`Input::Woken`], if nothing happens before.
    pub fn next_wake(&self) -> Option<Time> {
        let end = match &self.role {
            Role::Leading { term, .. } => Some(term.valid_until),
            Role::Leaving { give_up_at, .. } => Some(*give_up_at),
            Role::Standby | Role::Left => None,
        };
        let request = match &self.under_way {
            Some(under_way) => Some(under_way.deadline),
            None => self.due_at().map(|at| at.max(self.not_before)),
        };
        end.into_iter().chain(request).min()
    }

    /// The present term, if this candidate leads at that moment.
    pub fn term(&self, now: Time) -> Option<Term> {
        self.own_term().filter(|term| now < term.valid_until)
    }

    fn own_term(&self) -> Option<Term> {
        match &self.role {
            Role::Leading { term, .. } => Some(*term),
            _ => None,
        }
    }

    /// As whom it campaigns.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The version of the Lease that the next write will name.
    pub fn version(&self) -> Option<Version> {
        self.known.version()
    }

    /// Who holds the Lease as far as is known.
    pub fn holder(&self) -> Option<&str> {
        self.known.record()?.holder.as_deref()
    }

    /// What the Lease says, as far as is known.
    pub fn record(&self) -> Option<&Record> {
        self.known.record()
    }

    /// The timing in use: the one given at first, or what the Lease asks for.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// Whether another candidate is asked to lead instead of this one, which leads: end the work, then
    /// [`Input::StepDown`]. One that let its turn pass is not waited for again: only a hint that is new in this term
    /// counts.
    pub fn should_step_down(&self) -> bool {
        match &self.role {
            Role::Leading { passed_over, .. } => {
                self.is_another_preferred() && self.known.preferred() != passed_over.as_ref()
            }
            _ => false,
        }
    }

    fn is_another_preferred(&self) -> bool {
        self.known.preferred().is_some_and(|preferred| *preferred != self.identity)
    }

    fn expire(&mut self, now: Time, out: &mut Vec<Output>) {
        if let Role::Leading { term, .. } = &self.role
            && now >= term.valid_until
        {
            self.lose(Loss::DeadlinePassed, out);
        }
        if let Some(request) = self.under_way.take_if(|request| now >= request.deadline) {
            self.answered(&request, Answer::Unknown, now, out);
        }
    }

    fn lose(&mut self, loss: Loss, out: &mut Vec<Output>) {
        self.role = Role::Standby;
        self.failures = 0;
        out.push(Output::Lost(loss));
    }

    fn leave(&mut self, for_good: bool, now: Time, out: &mut Vec<Output>) {
        match &mut self.role {
            Role::Leading { .. } => self.lose(Loss::Resigned, out),
            Role::Standby => {}
            Role::Leaving { for_good: already, .. } => {
                *already |= for_good;
                return;
            }
            Role::Left => return,
        }
        // After that, whatever it holds has run out by itself.
        self.role = Role::Leaving { give_up_at: now.saturating_add(self.timing.lease_duration()), for_good };
    }

    /// Ends the leaving once nothing is held, and nothing can be by a write that is not answered for.
    fn finish_leaving(&mut self, now: Time, out: &mut Vec<Output>) {
        let Role::Leaving { give_up_at, for_good } = self.role else { return };
        let may_hold = self.holds() || self.unsure || self.is_writing();
        if may_hold && now < give_up_at {
            return;
        }
        if for_good {
            (self.role, self.under_way) = (Role::Left, None);
            out.push(Output::Left);
        } else {
            self.role = Role::Standby;
            self.yields_until = now.saturating_add(self.timing.retry_period());
        }
    }

    /// Whether this is later than what is known. A watch may lag behind the answers to one's own requests.
    fn is_news(&self, observation: &Observation) -> bool {
        match (observation.version(), self.known.version()) {
            (Some(new), Some(old)) => new > old,
            (None, Some(_)) | (_, None) => true,
        }
    }

    /// Takes in the Lease as it is now.
    fn observe(&mut self, observation: Observation, now: Time, out: &mut Vec<Output>) {
        let moved = match (&observation, self.known.record()) {
            (Observation::Present(seen), Some(record)) => seen.record != *record,
            (Observation::Absent(_), None) => false,
            _ => true,
        };
        let may_be_own = self.unsure || self.is_writing();
        if !self.known.is_at(&observation) {
            // Whatever named the version before can't be done any more.
            self.unsure = false;
        }
        if let Observation::Present(Seen { timing: Some(timing), .. }) = &observation {
            // A leader counts on it from its next renewal on: see `send` and `wrote`.
            self.timing = *timing;
        }
        self.known = match observation {
            Observation::Absent(version) => Known::Absent(version),
            Observation::Present(seen) => {
                let moved_at = match &self.known {
                    Known::Present { moved_at, .. } if !moved => *moved_at,
                    _ => now,
                };
                Known::Present { seen, moved_at }
            }
        };
        self.outdated = false;
        self.read_at = None;
        self.shared &= self.is_mine();
        if matches!(self.role, Role::Leading { .. }) && moved {
            match self.holder() {
                Some(holder) if holder != self.identity => {
                    let loss = Loss::Taken(holder.to_owned());
                    self.lose(loss, out);
                }
                None => self.lose(Loss::Freed, out),
                Some(_) if !may_be_own => {
                    self.lose(Loss::IdentityShared, out);
                    // The twin may go on; it is not raced for its own Lease.
                    self.shared = true;
                }
                Some(_) => {}
            }
        }
    }

    fn answered(&mut self, request: &UnderWay, answer: Answer, now: Time, out: &mut Vec<Output>) {
        match answer {
            Answer::Done(observation) => {
                self.failures = 0;
                self.not_before = now;
                if request.is_write() {
                    self.wrote(request, observation, now, out);
                } else {
                    self.looked(request, observation, now, out);
                }
            }
            Answer::Conflict => {
                self.failures = 0;
                self.not_before = now;
                if self.known.version() == request.knew {
                    self.outdated = true;
                    self.read_after_conflict(now);
                }
            }
            Answer::Refused | Answer::Unknown => {
                if request.is_write() && answer == Answer::Unknown && self.known.version() == request.knew {
                    self.unsure = true;
                }
                if self.unsure || !request.is_write() {
                    self.read_by(now);
                }
                let longest = if matches!(self.role, Role::Standby) { MOST_BACKOFF } else { 1 };
                let times = 2_u32.saturating_pow(self.failures.min(8)).min(longest);
                self.failures = self.failures.saturating_add(1);
                // The request took its time already.
                self.not_before = now.max(request.sent_at.saturating_add(self.timing.retry_period() * times));
            }
        }
    }

    /// A read was done. It is no older than what was known when it was sent, but the watch may have been faster.
    fn looked(&mut self, request: &UnderWay, observation: Observation, now: Time, out: &mut Vec<Output>) {
        let is_later = observation.version().is_some() && self.is_news(&observation);
        if self.known.version() != request.knew && !is_later {
            return;
        }
        if self.outdated && self.known.is_at(&observation) {
            // The Lease is where the write that was refused expected it: something else is wrong, and may last.
            self.not_before = now.saturating_add(self.timing.retry_period());
        }
        self.observe(observation, now, out);
    }

    /// A write of this candidate was done.
    fn wrote(&mut self, request: &UnderWay, observation: Observation, now: Time, out: &mut Vec<Output>) {
        let Some(version) = observation.version() else { return };
        // The watch may have brought a later version before the answer came.
        let superseded = self.known.version().is_some_and(|known| known > version);
        if !superseded {
            (self.unsure, self.outdated, self.shared, self.read_at) = (false, false, false, None);
            self.known = match observation {
                Observation::Present(seen) => Known::Present { seen, moved_at: now },
                Observation::Absent(version) => Known::Absent(version),
            };
        }
        if request.kind == Kind::Free {
            return;
        }
        // Standbys count from when they see the record, which is after it was sent.
        let valid_until = request.sent_at.saturating_add(request.timing.renew_deadline());
        let expires_at = request.sent_at.saturating_add(request.timing.lease_duration());
        let next = request.sent_at.saturating_add(request.timing.retry_period());
        match &mut self.role {
            // What is known to have come after it did not end the term.
            Role::Leading { term, renew_at, .. } => {
                (term.valid_until, term.expires_at, *renew_at) = (valid_until, expires_at, next);
                out.push(Output::Extended(*term));
            }
            Role::Standby if !superseded && now < valid_until => {
                let term = Term { token: version, valid_until, expires_at };
                let passed_over = self.known.preferred().cloned();
                self.role = Role::Leading { term, renew_at: next, passed_over };
                out.push(Output::Gained(term));
            }
            _ => {}
        }
    }

    fn is_mine(&self) -> bool {
        self.holder() == Some(&*self.identity)
    }

    /// Whether the Lease is this candidate's, as far as is known.
    fn holds(&self) -> bool {
        self.is_mine() && !self.shared
    }

    fn is_writing(&self) -> bool {
        self.under_way.as_ref().is_some_and(UnderWay::is_write)
    }
}
