//! A candidate: standing by, leading, or leaving.

use std::time::Duration;

use crate::record::{Change, Observation, Record, Seen, Version};
use crate::{Time, Timing};

/// How long after a lost race the watch may take to bring the winner, before it is asked for.
const CATCH_UP: Duration = Duration::from_secs(1);
/// Failed tries are this many times the retry period apart at most.
const MOST_BACKOFF: u32 = 4;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The watch brought the Lease. It may be older than what is known.
    Watched(Observation),
    /// There is no watch any more, until it brings something.
    WatchLost,
    /// A request was answered.
    Answered {
        /// Which.
        request: u64,
        /// What became of it.
        answer: Answer,
    },
    /// The time of [`Candidate::next_wake`] has come.
    Woken,
    /// The work that needs leadership has ended, or never began: release the Lease and campaign no more.
    Resign,
    /// The work that needs leadership has ended: release the Lease and campaign on, after the others.
    StepDown,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It was done; this is the Lease after it.
    Done(Observation),
    /// The Lease is not at the version named: it was changed, made or deleted meanwhile.
    Conflict,
    /// It was certainly not done.
    Refused,
    /// It may have been done, now or later.
    Unknown,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Send this, and report the answer. At most one is under way.
    Send(Request),
    /// This candidate leads.
    Gained(Term),
    /// It still leads, and for longer.
    Extended(Term),
    /// It leads no more.
    Lost(Loss),
    /// It has left: nothing more will happen.
    Left,
}

/// A request to the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// Tells it from others.
    pub id: u64,
    /// An answer after this moment is not waited for.
    pub deadline: Time,
    /// What to do.
    pub what: What,
}

/// What a request does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// Read the Lease, not from a cache.
    Read,
    /// Create the Lease; [`Answer::Conflict`] if it exists.
    Create(Change),
    /// Replace the Lease if it is at exactly this version, leaving all else that it says; else [`Answer::Conflict`].
    Replace(Version, Change),
}

/// One continuous tenure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    /// The version that the acquiring write made: larger in each later term. Systems that remember the largest they have
    /// seen can refuse a leader that does not know yet that it lost.
    pub token: Version,
    /// Until when this candidate leads unless it renews. Counts from before the renewing request was sent.
    pub valid_until: Time,
}

/// Why leadership ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// No renewal succeeded within the renew deadline.
    DeadlinePassed,
    /// Another holds the Lease.
    Taken(String),
    /// Somebody else released it, or deleted it.
    Freed,
    /// It was renewed under the same identity, but not by this candidate.
    IdentityShared,
    /// This candidate gave it up.
    Resigned,
}

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
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Role {
    Standby,
    Leading { term: Term, renew_at: Time },
    Leaving { give_up_at: Time, for_good: bool },
    Left,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct UnderWay {
    id: u64,
    deadline: Time,
    sent_at: Time,
    is_write: bool,
    frees: bool,
    timing: Timing,
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
    /// A write of this candidate may have been done without its knowing.
    unsure: bool,
    /// A write was refused because there is a later version than the one that is known.
    outdated: bool,
    /// Without a watch the Lease is read each retry period.
    blind: bool,
    read_at: Option<Time>,
    /// No request before that, after failures.
    not_before: Time,
    failures: u32,
    /// No try to acquire before that: others come first.
    yields_until: Time,
}

impl Candidate {
    /// A candidate that has seen nothing yet. No two candidates that live at the same time may have the same identity;
    /// one that starts anew may take the identity of one that has ended, and takes back its Lease at once.
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
            blind: false,
            // A watch does not tell that there is no Lease.
            read_at: Some(now),
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
                self.blind = false;
                if self.is_news(&observation) {
                    self.observe(observation, now, &mut out);
                }
            }
            Input::WatchLost => {
                self.blind = true;
                self.look_soon(now);
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
        if let Some(what) = self.next_request(now, &mut out) {
            out.push(Output::Send(self.send(what, now)));
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
        match &self.role {
            Role::Leading { term, .. } if now < term.valid_until => Some(*term),
            _ => None,
        }
    }

    /// The version of the Lease that the next write will name.
    pub fn version(&self) -> Option<Version> {
        self.known.version()
    }

    /// Who holds the Lease as far as is known.
    pub fn holder(&self) -> Option<&str> {
        self.known.record()?.holder.as_deref()
    }

    /// The timing in use: the one given at first, or what the Lease asks for.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// Whether another candidate is asked to lead instead of this one, which leads: end the work, then
    /// [`Input::StepDown`].
    pub fn should_step_down(&self) -> bool {
        matches!(self.role, Role::Leading { .. }) && self.is_another_preferred()
    }

    fn is_another_preferred(&self) -> bool {
        match &self.known {
            Known::Present { seen, .. } => seen.preferred.as_ref().is_some_and(|p| *p != self.identity),
            _ => false,
        }
    }

    fn expire(&mut self, now: Time, out: &mut Vec<Output>) {
        if let Role::Leading { term, .. } = &self.role
            && now >= term.valid_until
        {
            self.lose(Loss::DeadlinePassed, now, out);
        }
        if let Some(request) = self.under_way.take_if(|request| now >= request.deadline) {
            self.answered(&request, Answer::Unknown, now, out);
        }
    }

    fn lose(&mut self, loss: Loss, now: Time, out: &mut Vec<Output>) {
        self.role = Role::Standby;
        self.failures = 0;
        self.look_soon(now);
        out.push(Output::Lost(loss));
    }

    /// A standby without a watch reads; a leader learns enough from its renewals.
    fn look_soon(&mut self, now: Time) {
        if self.blind && matches!(self.role, Role::Standby) {
            self.read_by(now + self.timing.retry_period());
        }
    }

    fn leave(&mut self, for_good: bool, now: Time, out: &mut Vec<Output>) {
        match &mut self.role {
            Role::Leading { .. } => self.lose(Loss::Resigned, now, out),
            Role::Standby => {}
            Role::Leaving { for_good: already, .. } => {
                *already |= for_good;
                return;
            }
            Role::Left => return,
        }
        // After that, whatever it holds has run out by itself.
        self.role = Role::Leaving { give_up_at: now + self.timing.lease_duration(), for_good };
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
        if let Observation::Present(Seen { timing: Some(timing), .. }) = &observation {
            // A leader counts on it from its next renewal on: see `send` and `answered`.
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
        self.look_soon(now);
        if matches!(self.role, Role::Leading { .. }) && moved {
            let wrote = self.unsure || self.under_way.as_ref().is_some_and(|request| request.is_write);
            match self.holder() {
                Some(holder) if holder != self.identity => {
                    let loss = Loss::Taken(holder.to_owned());
                    self.lose(loss, now, out);
                }
                None => self.lose(Loss::Freed, now, out),
                Some(_) if !wrote => {
                    self.lose(Loss::IdentityShared, now, out);
                    // The twin may go on; it is not raced for its own Lease.
                    self.yields_until = now + self.timing.lease_duration();
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
                if request.is_write {
                    self.wrote(request, observation, now, out);
                } else {
                    self.observe(observation, now, out);
                    self.unsure = false;
                }
            }
            Answer::Conflict => {
                self.failures = 0;
                self.not_before = now;
                self.outdated = true;
                let in_a_hurry = self.blind || !matches!(self.role, Role::Standby);
                self.read_by(if in_a_hurry { now } else { now + CATCH_UP });
            }
            Answer::Refused | Answer::Unknown => {
                self.unsure |= request.is_write && answer == Answer::Unknown;
                if self.unsure || !request.is_write {
                    self.read_by(now);
                }
                let longest = if matches!(self.role, Role::Standby) { MOST_BACKOFF } else { 1 };
                let times = 2_u32.saturating_pow(self.failures.min(8)).min(longest);
                self.failures = self.failures.saturating_add(1);
                // The request took its time already.
                self.not_before = now.max(request.sent_at + self.timing.retry_period() * times);
            }
        }
    }

    /// A write of this candidate was done.
    fn wrote(&mut self, request: &UnderWay, observation: Observation, now: Time, out: &mut Vec<Output>) {
        let Some(version) = observation.version() else { return };
        // The watch may have brought a later version before the answer came.
        let superseded = self.known.version().is_some_and(|known| known > version);
        if !superseded {
            (self.unsure, self.outdated, self.read_at) = (false, false, None);
            self.known = match observation {
                Observation::Present(seen) => Known::Present { seen, moved_at: now },
                Observation::Absent(version) => Known::Absent(version),
            };
        }
        if request.frees {
            return;
        }
        // Standbys count from when they see the record, which is after it was sent.
        let valid_until = request.sent_at + request.timing.renew_deadline();
        let renew_at = request.sent_at + request.timing.retry_period();
        match &mut self.role {
            // What is known to have come after it did not end the term.
            Role::Leading { term, renew_at: at } => {
                (term.valid_until, *at) = (valid_until, renew_at);
                out.push(Output::Extended(*term));
            }
            Role::Standby if !superseded && now < valid_until => {
                let term = Term { token: version, valid_until };
                self.role = Role::Leading { term, renew_at };
                out.push(Output::Gained(term));
            }
            _ => {}
        }
    }

    fn read_by(&mut self, at: Time) {
        self.read_at = Some(self.read_at.map_or(at, |due| due.min(at)));
    }

    fn is_mine(&self) -> bool {
        self.holder() == Some(&*self.identity)
    }

    /// When the next request is due, if nothing else happens.
    fn due_at(&self) -> Option<Time> {
        let due = match &self.role {
            Role::Left => return None,
            // The version that a write would name is not the present one.
            _ if self.outdated => None,
            Role::Leading { renew_at, .. } => Some(*renew_at),
            Role::Leaving { .. } => self.is_mine().then_some(Time::ZERO),
            Role::Standby => self.acquirable_at().map(|at| at.max(self.yields_until)),
        };
        due.into_iter().chain(self.read_at).min()
    }

    /// From when on this standby may take the Lease, by what is known of it.
    fn acquirable_at(&self) -> Option<Time> {
        let Known::Present { seen, moved_at } = &self.known else {
            return matches!(self.known, Known::Absent(_)).then_some(Time::ZERO);
        };
        let politeness = if self.is_another_preferred() { self.timing.retry_period() } else { Duration::ZERO };
        if seen.record.holder.is_none() {
            return Some(if politeness.is_zero() { Time::ZERO } else { *moved_at + politeness });
        }
        if self.is_mine() {
            return Some(Time::ZERO);
        }
        // The record's own duration counts: its holder relies on it.
        let seconds = seen.record.duration_seconds.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0);
        let duration = seconds.map_or(self.timing.lease_duration(), Duration::from_secs);
        Some(moved_at.saturating_add(duration).saturating_add(politeness))
    }

    fn next_request(&mut self, now: Time, out: &mut Vec<Output>) -> Option<What> {
        if self.under_way.is_some() {
            return None;
        }
        if let Role::Leaving { give_up_at, for_good } = self.role {
            let nothing_held = !self.is_mine() && !self.unsure;
            if nothing_held || now >= give_up_at {
                if for_good {
                    self.role = Role::Left;
                    out.push(Output::Left);
                } else {
                    self.role = Role::Standby;
                    self.yields_until = now + self.timing.retry_period();
                }
            }
        }
        if now < self.not_before || self.due_at().is_none_or(|due| now < due) {
            return None;
        }
        if self.read_at.is_some_and(|due| now >= due) {
            return Some(What::Read);
        }
        let frees = matches!(self.role, Role::Leaving { .. });
        match &self.known {
            Known::Nothing => None,
            Known::Absent(_) => Some(What::Create(self.change(None, false))),
            Known::Present { seen, .. } => Some(What::Replace(seen.version, self.change(Some(&seen.record), frees))),
        }
    }

    /// As client-go writes it: the holder that comes back to its own record goes on with it, another one counts.
    fn change(&self, old: Option<&Record>, frees: bool) -> Change {
        let counted = old.and_then(|record| record.transitions).unwrap_or(0);
        let mine = self.is_mine();
        Change {
            holder: if frees { String::new() } else { self.identity.clone() },
            duration_seconds: if frees { 1 } else { self.timing.seconds() },
            acquires: frees || !mine,
            transitions: if old.is_none() || mine { counted } else { counted.saturating_add(1) },
        }
    }

    fn send(&mut self, what: What, now: Time) -> Request {
        self.last_id += 1;
        let is_write = !matches!(what, What::Read);
        let frees = matches!(self.role, Role::Leaving { .. }) && is_write;
        if let Role::Leading { term, .. } = &mut self.role
            && is_write
        {
            // Whoever sees a shortened duration counts on it at once, whether this candidate learns of it or not.
            term.valid_until = term.valid_until.min(now + self.timing.renew_deadline());
        }
        if !is_write {
            self.read_at = None;
        }
        let deadline = now + self.timing.request_timeout();
        self.under_way =
            Some(UnderWay { id: self.last_id, deadline, sent_at: now, is_write, frees, timing: self.timing });
        Request { id: self.last_id, deadline, what }
    }
}
