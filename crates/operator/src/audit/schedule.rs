//! When a group is audited.
//!
//! One group at a time, and no faster than [`RATE`] on average: what is due waits its turn, the longest due first. A group
//! is due soon after what is asked about it has changed, or rights have; otherwise once in a while, since there are
//! authorizers whose rules can't be watched. It is never due twice within five seconds, however often rights change.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use super::told::suffices;
use super::{Answers, BrokenOff, Finding, Subject};
use crate::index::Key;
use crate::time::Mono;

/// Questions per second, at most, over the time of an audit or longer.
pub const RATE: u32 = 50;
/// From a change to the audit: several come together, and the API server's authorizer learns of it no sooner than this
/// operator.
const SETTLE: Mono = Mono::from_secs(1);
/// Between two audits of one group.
const GAP: Mono = Mono::from_secs(5);
/// From one audit to the next where nothing changes, give or take a fifth.
pub const PERIOD: Mono = Mono::from_mins(30);
/// The same where rights were lacking, or could not be asked for: a mend that can't be watched shows sooner.
pub const PERIOD_LACKING: Mono = Mono::from_mins(5);
/// For each group, what a change that concerns all of them is spread over: somewhat less than the rate allows, so that
/// what concerns one group comes in between.
const SPREAD: Mono = Mono::from_millis(100);
/// How long to wait after a first failure, doubled with each one more, up to [`PERIOD_LACKING`].
const FIRST_RETRY: Mono = Mono::from_secs(10);

/// Whose rights may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of one namespace.
    Namespace(String),
    /// Anybody's.
    Cluster,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask about this group.
    Ask(Arc<Key>, Arc<Subject>),
    /// Its finding is another, without a question.
    Found(Arc<Key>),
}

/// What is kept for one group.
#[derive(Clone, Debug, Default)]
struct State {
    /// What to ask about; none while there is nothing.
    subject: Option<Arc<Subject>>,
    finding: Option<Arc<Finding>>,
    /// Rights may have changed since the last audit began.
    is_stale: bool,
    due: Option<Mono>,
    last: Option<Mono>,
    /// When to audit although nothing changes.
    periodic: Mono,
    failures: u32,
}

impl State {
    /// Whether the finding answers for what is.
    fn is_answered(&self) -> bool {
        match (self.finding.as_deref(), &self.subject) {
            (Some(Finding::Answered { subject, .. }), Some(present)) => !self.is_stale && subject == present,
            _ => false,
        }
    }

    /// The soonest moment for an audit after a change that was just seen.
    fn soonest(&self, now: Mono) -> Mono {
        (now + SETTLE).max(self.last.map_or(Mono::ZERO, |last| last + GAP))
    }
}

/// When which group is audited.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    groups: BTreeMap<Arc<Key>, State>,
    due: BTreeSet<(Mono, Arc<Key>)>,
    under_way: Option<Arc<Key>>,
    /// When the next audit may begin.
    free_at: Mono,
    /// When all groups are to be audited again. One pass over them is enough for all changes until then.
    everyone_at: Option<Mono>,
    /// The operator itself may not ask, and does not try before then.
    refused_until: Option<Mono>,
}

impl Schedule {
    /// What was found about the group.
    pub fn finding(&self, key: &Key) -> Option<Arc<Finding>> {
        self.groups.get(key)?.finding.clone()
    }

    /// Whether the operator itself may not ask, as the last answer was.
    pub fn is_refused(&self) -> bool {
        self.refused_until.is_some()
    }

    /// How many groups are audited.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether no group is audited.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// This is what the group's candidates are. `is_old` says that it is older than this operator's term, so one of
    /// `groups` that all begin to be audited now.
    pub fn observe(&mut self, key: &Key, subject: Option<Subject>, is_old: bool, groups: usize, now: Mono) {
        let (key, is_new) = match self.groups.get_key_value(key) {
            Some((known, _)) => (known.clone(), false),
            None => (Arc::new(key.clone()), true),
        };
        let state = self.groups.entry(key.clone()).or_default();
        if !is_new && state.subject.as_deref() == subject.as_ref() {
            return;
        }
        state.subject = subject.map(Arc::new);
        let at = if state.subject.is_none() {
            None
        } else if state.is_answered() {
            Some(state.periodic)
        } else if is_new && is_old {
            Some(now + SETTLE + spread(&key, groups, now))
        } else {
            Some(state.soonest(now))
        };
        self.set_due(&key, at);
    }

    /// The group is audited no more.
    pub fn forget(&mut self, key: &Key) {
        let Some((key, state)) = self.groups.remove_entry(key) else { return };
        if self.under_way.as_ref() == Some(&key) {
            self.under_way = None;
        }
        if let Some(at) = state.due {
            self.due.remove(&(at, key));
        }
    }

    /// Rights may have changed.
    pub fn rights_changed(&mut self, scope: &Scope, now: Mono) {
        match scope {
            Scope::Namespace(namespace) => {
                let from = Key::new(namespace, "");
                let all = self.groups.range::<Key, _>(&from..).map(|(key, state)| (key.clone(), state.soonest(now)));
                let concerned: Vec<_> = all.take_while(|(key, _)| key.namespace == *namespace).collect();
                self.expire(concerned);
            }
            Scope::Cluster => {
                // Perhaps the operator's own.
                self.refused_until = None;
                self.everyone_at.get_or_insert(now + SETTLE);
            }
        }
    }

    /// What was found about these groups may not be so any more: they are due then, or before.
    fn expire(&mut self, groups: Vec<(Arc<Key>, Mono)>) {
        for (key, at) in groups {
            let Some(state) = self.groups.get_mut(&key) else { continue };
            state.is_stale = true;
            // A change that goes on and on does not put it off.
            if state.subject.is_some() && state.due.is_none_or(|due| at < due) {
                self.set_due(&key, Some(at));
            }
        }
    }

    /// When [`Schedule::poll`] has to be called next.
    pub fn next_wake(&self) -> Option<Mono> {
        let next = self.due.first().filter(|_| self.under_way.is_none()).map(|(at, _)| (*at).max(self.free_at));
        next.into_iter().chain(self.everyone_at).min()
    }

    /// What is to be done now.
    pub fn poll(&mut self, now: Mono) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.everyone_at.take_if(|at| *at <= now).is_some() {
            let count = self.groups.len();
            let all = self.groups.iter().map(|(key, state)| {
                let soonest = state.last.map_or(now, |last| now.max(last + GAP));
                (key.clone(), soonest + spread(key, count, now))
            });
            self.expire(all.collect());
        }
        while self.next_wake().is_some_and(|at| at <= now)
            && let Some((_, key)) = self.due.first().cloned()
        {
            self.set_due(&key, None);
            let refused = self.refused_until.filter(|until| *until > now);
            let Some(state) = self.groups.get_mut(&key) else { continue };
            let Some(subject) = state.subject.clone() else { continue };
            if let Some(until) = refused {
                if state.finding.as_deref() != Some(&Finding::Refused) {
                    state.finding = Some(Arc::new(Finding::Refused));
                    steps.push(Step::Found(key.clone()));
                }
                let at = until + spread(&key, self.groups.len(), now);
                self.set_due(&key, Some(at));
                continue;
            }
            state.is_stale = false;
            self.under_way = Some(key.clone());
            steps.push(Step::Ask(key, subject));
        }
        steps
    }

    /// The group's audit has ended, after so many questions.
    pub fn done(
        &mut self,
        key: &Key,
        subject: Arc<Subject>,
        asked: usize,
        result: Result<Answers, BrokenOff>,
        now: Mono,
    ) {
        let Some((key, _)) = self.groups.get_key_value(key) else { return };
        let key = key.clone();
        self.under_way = None;
        self.free_at = now + Mono::from_secs(1) * u32::try_from(asked).unwrap_or(RATE) / RATE;
        let is_let_in = result.is_ok() && self.refused_until.take().is_some();
        let groups = self.groups.len();
        let Some(state) = self.groups.get_mut(&key) else { return };
        state.last = Some(now);
        let at = match result {
            Ok(answers) => {
                let period = if suffices(&subject, &answers) { PERIOD } else { PERIOD_LACKING };
                state.finding = Some(Arc::new(Finding::Answered { subject, answers }));
                state.failures = 0;
                state.periodic = now + jittered(period, &key, now);
                if state.is_answered() { state.periodic } else { state.soonest(now) }
            }
            Err(BrokenOff::Refused) => {
                state.finding = Some(Arc::new(Finding::Refused));
                state.failures = 0;
                let until = now + PERIOD_LACKING;
                self.refused_until = Some(until);
                until + spread(&key, groups, now)
            }
            Err(BrokenOff::Failed(_)) => {
                // What was found stands; that it may be out of date is not forgotten.
                state.is_stale = true;
                let wait = FIRST_RETRY * 2_u32.saturating_pow(state.failures.min(16));
                state.failures += 1;
                now + jittered(wait.min(PERIOD_LACKING), &key, now)
            }
        };
        let at = state.subject.as_ref().map(|_| at);
        self.set_due(&key, at);
        if is_let_in || self.refused_until.is_some() {
            self.all_follow(&key, now);
        }
    }

    /// Whether the operator may ask has shown in one group's audit, and holds for all: those that it speaks of otherwise
    /// come next.
    fn all_follow(&mut self, shown_by: &Key, now: Mono) {
        let groups = self.groups.len();
        let may_ask = self.refused_until.is_none();
        let is_refused = |state: &State| state.finding.as_deref() == Some(&Finding::Refused);
        let others: Vec<_> = self
            .groups
            .iter()
            .filter(|(key, state)| ***key != *shown_by && state.subject.is_some() && is_refused(state) == may_ask)
            .map(|(key, _)| key.clone())
            .collect();
        for key in others {
            let at = now + SETTLE + spread(&key, groups, now);
            self.set_due(&key, Some(at));
        }
    }

    fn set_due(&mut self, key: &Arc<Key>, at: Option<Mono>) {
        let Some(state) = self.groups.get_mut(&**key) else { return };
        if let Some(before) = std::mem::replace(&mut state.due, at) {
            self.due.remove(&(before, key.clone()));
        }
        if let Some(at) = at {
            self.due.insert((at, key.clone()));
        }
    }
}

/// A share of the whole, from 0 to 999 thousandths, that differs from group to group and from time to time.
fn thousandths(key: &Key, now: Mono) -> u32 {
    let mut hash = DefaultHasher::new();
    (key, now).hash(&mut hash);
    u32::try_from(hash.finish() % 1_000).unwrap_or_default()
}

/// The period, give or take a fifth.
fn jittered(period: Mono, key: &Key, now: Mono) -> Mono {
    period * (800 + thousandths(key, now) * 2 / 5) / 1_000
}

/// A moment within the time over which so many groups are spread.
fn spread(key: &Key, groups: usize, now: Mono) -> Mono {
    SPREAD * u32::try_from(groups).unwrap_or(u32::MAX) / 1_000 * thousandths(key, now)
}
