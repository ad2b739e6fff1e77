//! Index, memories and timers, kept together: changes and outcomes go in, work comes out.
//!
//! Synchronous and without I/O, so that a test can play any order of events against it. It decides only while this
//! operator leads: one that stands by keeps the index, and so what it has seen of Leases, pods and nodes, and nothing
//! else. What it remembers of a group is recovered from the status when it leads, so nothing stale is left of an earlier
//! term.
//!
//! One group has at most one action and one status write under way, beside what `lanes` has about its traffic, and reports
//! wait for the action: a standby waits for the clear, which would have to share the API server with them. A renewal touches
//! the index only; no decision is made for it unless the last one said that renewals matter.

mod audits;
mod lanes;
mod lists;
mod seen;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use leadergroup_api::LeaderGroupStatus;

use crate::audit::Schedule;
use crate::decide::memory::ReadPods;
use crate::decide::status::cleared_note;
use crate::decide::{Action, Clear, Memory, Notice, Wake, decide, status};
use crate::figures::GroupFigures;
use crate::index::{Cause, Change, Index, Key};
use crate::model::{Node, Pod};
use crate::pace::{Statuses, Told};
use crate::retry::{FAILURES_SHOWN, Retry};
use crate::time::{Mono, Now};
use crate::wire::{LeaseWire, NodeWire};
pub use crate::work::{Failure, Found, Job, Outcome, Stored, Term, Work};
use lanes::Lanes;
use lists::Lists;
pub use seen::Seen;

/// What is kept for one group.
#[derive(Clone, Debug, Default)]
struct Entry {
    uid: String,
    memory: Memory,
    acting: bool,
    /// What to publish once the action under way is answered.
    held: Vec<Notice>,
    writing: Option<Box<LeaderGroupStatus>>,
    /// The status last written, and how the API server stored it, if that differs: an older definition may drop fields.
    written: Option<(LeaderGroupStatus, LeaderGroupStatus)>,
    told_invalid: Option<String>,
    renewals_matter: bool,
    wake: Option<(Mono, Wake)>,
    /// A clear that failed, or whose answer was lost, until the Lease was read again.
    tried: Option<(Clear, Failure)>,
    told: Told,
    statuses: Statuses,
    act_retry: Option<Retry>,
    write_retry: Option<Retry>,
    figures: Option<Arc<GroupFigures>>,
    /// What is under way about its traffic, if that was ever anything.
    lanes: Option<Box<Lanes>>,
}

impl Entry {
    /// Returns the entry of a new group.
    fn of(uid: &str) -> Box<Self> {
        Box::new(Self { uid: uid.to_owned(), ..Self::default() })
    }

    /// Reports wait for what a standby or the group's traffic waits for.
    fn is_busy(&self) -> bool {
        self.acting || self.lanes.as_ref().is_some_and(|lanes| lanes.route_is_busy())
    }

    fn succeeded(&mut self) {
        self.act_retry = None;
        self.memory.error = None;
    }
}

/// Index, memories and timers. It stands by until told that it leads.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    index: Index,
    leads: bool,
    /// The present term, or the last.
    term: Term,
    entries: HashMap<Key, Box<Entry>>,
    timers: BTreeSet<(Mono, Key)>,
    waiting: BTreeSet<Key>,
    audits: Schedule,
    seen: Vec<Seen>,
    lists: Lists,
    work: Vec<Work>,
}

impl Engine {
    /// An engine that clears in the namespaces that are Kubernetes' own, or leaves them alone.
    pub fn new(clears_in_system_namespaces: bool) -> Self {
        Self { index: Index::new(clears_in_system_namespaces), ..Self::default() }
    }

    /// The same that watches these namespaces; all of them if there are none.
    #[must_use]
    pub fn within(self, namespaces: Vec<Arc<str>>) -> Self {
        Self { lists: Lists::of(namespaces), ..self }
    }

    /// This operator leads: every group is decided anew, from what status, Lease and pods show.
    pub fn lead(&mut self, term: Term, now: Now) {
        self.stand_by();
        (self.leads, self.term) = (true, term);
        self.waiting.extend(self.index.group_keys().cloned());
        self.settle(now);
    }

    /// This operator leads no more: what it remembers and what it meant to do is void.
    pub fn stand_by(&mut self) {
        self.leads = false;
        self.entries.clear();
        self.timers.clear();
        self.waiting.clear();
        self.work.clear();
        self.audits = Schedule::default();
        self.seen.clear();
    }

    /// Takes in one watch event.
    pub fn change(&mut self, change: Change, now: Now) {
        self.lists.note(&change);
        self.index.apply(change, now);
        self.settle(now);
    }

    /// Whether every watch has listed what there is. No decision is made before.
    pub fn is_synced(&self) -> bool {
        self.lists.are_complete()
    }

    /// How many groups exist.
    pub fn group_count(&self) -> usize {
        self.index.group_count()
    }

    /// When [`Engine::wake`] has to be called next.
    pub fn next_wake(&self) -> Option<Mono> {
        self.timers.first().map(|(at, _)| *at).into_iter().chain(self.audits.next_wake()).min()
    }

    /// The work that has come up since the last call.
    pub fn take_work(&mut self) -> Vec<Work> {
        std::mem::take(&mut self.work)
    }

    /// Lets due timers go off.
    pub fn wake(&mut self, now: Now) {
        while let Some((at, key)) = self.timers.first().cloned()
            && at <= now.mono
        {
            self.timers.remove(&(at, key.clone()));
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            let Some((_, wake)) = entry.wake.take() else { continue };
            // Renewals have put it off without anybody touching the timer.
            if wake == Wake::WhenLeaseExpires && self.index.expires_at(&key).is_some_and(|at| at > now.mono) {
                self.set_wake(&key, Some(wake), now);
            } else {
                self.waiting.insert(key);
            }
        }
        self.settle(now);
    }

    /// Takes in what became of a job. Of one from an earlier term the watches tell as well.
    pub fn outcome(&mut self, work: &Work, outcome: Outcome, now: Now) {
        let key = &work.group;
        if !self.leads || self.term != work.term {
            return;
        }
        let Some(entry) = self.entries.get_mut(key).filter(|e| e.uid == work.uid) else { return };
        match outcome {
            Outcome::Status { result } => {
                let sent = entry.writing.take();
                match result {
                    Ok(Some((version, stored))) => {
                        entry.written =
                            sent.map(|sent| (*sent, stored.clone())).filter(|(sent, stored)| sent != stored);
                        entry.write_retry = None;
                        entry.memory.note_status_taken();
                        self.index.note_status(key, version, stored, now);
                    }
                    Ok(None) => entry.write_retry = None,
                    Err(failure) => {
                        entry.told_invalid = None;
                        let failures = Retry::after_failure(&mut entry.write_retry, now);
                        match failure {
                            // A version that moved on is normal, and the watch brings the new one; but not where the
                            // watch is behind a restored etcd.
                            Failure::Conflict if failures > 1 => {
                                let uid = entry.uid.clone();
                                self.work.push(Work { term: self.term, group: key.clone(), uid, job: Job::ReadGroup });
                            }
                            Failure::Conflict | Failure::NotLeading => {}
                            Failure::Denied(message) | Failure::Unknown(message) => {
                                tracing::warn!(group = %key, failures, "could not write the status: {message}");
                            }
                        }
                    }
                }
            }
            Outcome::Lease { requested_at, result } => {
                entry.acting = false;
                match result {
                    Ok(lease) => self.lease_read(key, lease, requested_at, now),
                    Err(failure) => {
                        let asks = matches!(work.job, Job::Act(Action::AskTiming { .. }));
                        let what = if asks { "write the timing to the Lease" } else { "read the Lease" };
                        self.failed(key, what, failure, now);
                    }
                }
            }
            Outcome::Group { result } => match result {
                Ok(group) => self.index.note_group(key, group.map(|group| *group), now),
                // The next refused write asks again.
                Err(failure) => tracing::debug!(group = %key, ?failure, "could not read the group"),
            },
            Outcome::Pods { requested_at, name, result } => {
                entry.acting = false;
                match result {
                    Ok(Found { pods, nodes }) => {
                        let pods = pods.into_iter().map(Pod::from).collect();
                        let nodes = self.note_nodes(nodes, requested_at);
                        let Some(entry) = self.entries.get_mut(key) else { return };
                        let read = ReadPods { requested_at, name, pods, nodes, contradicted: false };
                        entry.memory.read_pods = Some(read);
                        entry.succeeded();
                    }
                    Err(failure) => self.failed(key, "read the candidates", failure, now),
                }
            }
            Outcome::Nodes { requested_at, result } => {
                entry.acting = false;
                match result {
                    Ok(nodes) => {
                        entry.succeeded();
                        self.note_nodes(nodes, requested_at);
                    }
                    Err(failure) => self.failed(key, "read the nodes of deleted pods", failure, now),
                }
            }
            Outcome::Routed { step, result } => self.routed(key, &step, result, now),
            Outcome::Cleared { clear, requested_at, result } => {
                entry.acting = false;
                self.cleared(key, clear, requested_at, result, now);
            }
            Outcome::Audited { subject, answers, broke_off } => self.audited(key, subject, answers, broke_off, now),
            // Nothing is decided by it.
            Outcome::Told { .. } => return,
        }
        self.waiting.insert(key.clone());
        self.settle(now);
    }

    /// Notes the nodes that were read, and returns them.
    fn note_nodes(&mut self, nodes: Vec<(String, Option<NodeWire>)>, at: Mono) -> Vec<(String, Option<Node>)> {
        let nodes: Vec<_> = nodes.into_iter().map(|(name, node)| (name, node.map(Node::from))).collect();
        for (name, node) in &nodes {
            self.index.note_node(name, node.as_ref(), at);
        }
        nodes
    }

    fn lease_read(&mut self, key: &Key, lease: Option<LeaseWire>, requested_at: Mono, now: Now) {
        let before = self.index.lease(key).map(|l| (l.moved_at, l.record.renew_time.clone()));
        self.index.observe_lease(key, lease, requested_at, now);
        let lease = self.index.lease(key);
        let Some(entry) = self.entries.get_mut(key) else { return };
        let tried = entry.tried.take();
        if let Some((clear, Failure::Unknown(_))) = &tried {
            let free = lease.is_none_or(|l| l.record.holder().is_none());
            let as_written = lease.is_none_or(|l| before.is_some_and(|(_, renewed)| renewed == l.record.renew_time));
            let landed = free && as_written;
            // If it landed and the holder is back, the Lease moved after the proof; so no other may be cleared on it.
            entry.memory.note_cleared(clear, landed, now);
            self.seen.extend(landed.then(|| Seen::Cleared(clear.clone())));
        }
        if let Some(lease) = lease {
            entry.memory.note_lease_read(lease.moved_at);
        }
        // Where the Lease stands as it did, the same clear would fail the same way at once.
        let stands = |clear: &Clear| lease.is_some_and(|l| l.uid == clear.uid && l.version == clear.version);
        match tried {
            Some((clear, failure)) if stands(&clear) => self.failed(key, "clear the Lease", failure, now),
            _ => entry.succeeded(),
        }
    }

    fn cleared(
        &mut self,
        key: &Key,
        clear: Clear,
        requested_at: Mono,
        result: Result<Option<LeaseWire>, Failure>,
        now: Now,
    ) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        match result {
            Ok(lease) => {
                entry.memory.note_cleared(&clear, true, now);
                entry.succeeded();
                self.seen.push(Seen::Cleared(clear.clone()));
                let after = now.mono.saturating_sub(clear.since);
                let note = cleared_note(&clear, after);
                self.index.observe_lease(key, lease, requested_at, now);
                self.tell(
                    key,
                    Notice {
                        warning: false,
                        reason: "HolderCleared".into(),
                        action: format!("Clear{}", clear.version),
                        note,
                        pod: None,
                        saved: None,
                    },
                    now,
                );
            }
            Err(failure) => {
                if matches!(failure, Failure::Denied(_) | Failure::NotLeading) {
                    self.failed(key, "clear the Lease", failure, now);
                } else {
                    let said = "clear not done, reading the Lease again";
                    // A lost race is normal, and comes as often as somebody writes to the Lease.
                    if matches!(failure, Failure::Conflict) {
                        tracing::debug!(group = %key, holder = clear.holder, "{said}");
                    } else {
                        tracing::info!(group = %key, holder = clear.holder, ?failure, "{said}");
                    }
                    let uid = entry.uid.clone();
                    entry.acting = true;
                    let job = Job::Act(Action::ReadLease { lease: clear.lease.clone() });
                    entry.tried = Some((clear, failure));
                    self.work.push(Work { term: self.term, group: key.clone(), uid, job });
                }
            }
        }
    }

    /// Puts the group's next action off, longer with each failure in a row.
    fn failed(&mut self, key: &Key, what: &str, failure: Failure, now: Now) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let failures = Retry::after_failure(&mut entry.act_retry, now);
        let (why, lost_race) = match failure {
            // Said once, by the loss itself.
            Failure::NotLeading => return,
            Failure::Conflict => ("it changed meanwhile".to_owned(), true),
            Failure::Denied(message) | Failure::Unknown(message) => (message, false),
        };
        let message = format!("could not {what}: {why}");
        // A lost race is normal.
        if lost_race {
            tracing::debug!(group = %key, failures, "{message}");
        } else {
            tracing::warn!(group = %key, failures, "{message}");
        }
        if failures >= FAILURES_SHOWN {
            entry.memory.error = Some(message);
        }
    }

    fn settle(&mut self, now: Now) {
        let touched = self.index.take_touched();
        if !self.leads {
            return;
        }
        for (key, cause) in touched {
            let decided_by_renewals = self.entries.get(&key).is_none_or(|e| e.renewals_matter);
            if cause == Cause::Change || decided_by_renewals {
                self.waiting.insert(key);
            }
        }
        if self.is_synced() {
            self.poll_audits(now);
            for key in std::mem::take(&mut self.waiting) {
                self.decide(&key, now);
            }
        }
    }

    fn decide(&mut self, key: &Key, now: Now) {
        if let Some(invalid) = self.index.invalid(key) {
            let version = invalid.metadata.resource_version.clone().unwrap_or_default();
            let uid = invalid.metadata.uid.clone().unwrap_or_default();
            let message = format!("the object can't be read: {}", invalid.error);
            if self.entries.get(key).is_some_and(|e| e.uid != uid) {
                self.forget(key);
            }
            let entry = self.entries.entry(key.clone()).or_insert_with(|| Entry::of(&uid));
            let is_new = entry.told_invalid.as_ref() != Some(&message);
            let undecodable = status::undecodable(message.clone(), now);
            if is_new && Retry::is_due(entry.write_retry.as_ref(), now) && entry.statuses.admit(now.mono) {
                entry.told_invalid = Some(message.clone());
                tracing::warn!(group = %key, "{message}");
                let job = Job::WriteInvalid { version, message };
                self.work.push(Work { term: self.term, group: key.clone(), uid, job });
            }
            self.stop_traffic(key, now);
            self.audits.forget(key);
            self.see_group(key, &undecodable, now);
            self.set_wake(key, None, now);
            return;
        }
        let Some(group) = self.index.group(key) else {
            self.forget(key);
            return;
        };
        let uid = group.uid.clone();
        if self.entries.get(key).is_some_and(|e| e.uid != uid) {
            self.forget(key);
        }
        let Some(group) = self.index.group(key) else { return };
        let entry = self.entries.entry(key.clone()).or_insert_with(|| Entry::of(&uid));
        entry.told_invalid = None;
        let (desired, notices, wake) = match &group.plan {
            Ok(_) => {
                let Some(snapshot) = self.index.snapshot(key) else { return };
                entry.memory.audit = self.audits.finding(key);
                let began = Instant::now();
                let (decision, memory) = decide(&snapshot, std::mem::take(&mut entry.memory), now);
                entry.memory = memory;
                let took = began.elapsed();
                let verdict = decision.status.holder.as_ref().map(|h| h.verdict.as_str());
                tracing::debug!(group = %key, verdict, action = ?decision.action, "decided");
                entry.renewals_matter = decision.renewals_matter;
                let ready = Retry::is_due(entry.act_retry.as_ref(), now);
                if let Some(action) = decision.action.filter(|_| ready && !entry.acting) {
                    entry.acting = true;
                    if let Action::AskTiming { timing, .. } = &action {
                        entry.memory.note_asked(*timing, now);
                    }
                    let job = Job::Act(action);
                    self.work.push(Work { term: self.term, group: key.clone(), uid: uid.clone(), job });
                }
                self.see_decision(key, decision.noted, took);
                self.route(key, decision.routing, now);
                self.observe_audit(key, decision.audit.ok(), now);
                (decision.status, decision.notices, decision.wake)
            }
            Err(reason) => {
                let base = group.status.as_deref().cloned().unwrap_or_default();
                let desired = status::stalled_only(base.clone(), group.generation, "InvalidSpec", reason.clone(), now);
                let notices = status::stalled_notice(&base, &desired);
                self.stop_traffic(key, now);
                self.audits.forget(key);
                (desired, notices.into_iter().collect(), None)
            }
        };
        for notice in notices {
            self.tell(key, notice, now);
        }
        self.publish(key);
        self.see_group(key, &desired, now);
        self.write_status(key, desired, now);
        self.set_wake(key, wake, now);
    }

    fn write_status(&mut self, key: &Key, desired: LeaderGroupStatus, now: Now) {
        let (Some(entry), Some(group)) = (self.entries.get_mut(key), self.index.group(key)) else { return };
        let stored = group.status.as_deref();
        let as_far_as_it_goes =
            entry.written.as_ref().is_some_and(|(sent, kept)| *sent == desired && stored == Some(kept));
        let ready = Retry::is_due(entry.write_retry.as_ref(), now);
        if stored == Some(&desired)
            || as_far_as_it_goes
            || entry.is_busy()
            || entry.writing.is_some()
            || !ready
            || !entry.statuses.admit(now.mono)
        {
            return;
        }
        let status = Box::new(desired);
        entry.memory.note_status_sent(&status);
        entry.writing = Some(status.clone());
        let job = Job::WriteStatus { version: group.version.clone(), status };
        let uid = entry.uid.clone();
        self.work.push(Work { term: self.term, group: key.clone(), uid, job });
    }

    fn forget(&mut self, key: &Key) {
        self.audits.forget(key);
        let Some(entry) = self.entries.remove(key) else { return };
        self.seen.push(Seen::Gone(key.clone()));
        if let Some((at, _)) = entry.wake {
            self.timers.remove(&(at, key.clone()));
        }
    }

    fn set_wake(&mut self, key: &Key, wake: Option<Wake>, now: Now) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let of_lanes = entry.lanes.iter().flat_map(|lanes| lanes.retries());
        let retries = [&entry.act_retry, &entry.write_retry].into_iter().chain(of_lanes);
        let retries = retries.flatten().map(|r| r.not_before);
        let retry =
            retries.chain(entry.statuses.waits_until).chain(entry.memory.recheck_at).filter(|at| *at > now.mono).min();
        let decided = wake.and_then(|wake| match wake {
            Wake::At(at) => Some((at, wake)),
            Wake::WhenLeaseExpires => self.index.expires_at(key).map(|at| (at, wake)),
        });
        let next = match (decided, retry) {
            (Some((at, _)), Some(retry)) if retry < at => Some((retry, Wake::At(retry))),
            (None, Some(retry)) => Some((retry, Wake::At(retry))),
            (decided, _) => decided,
        };
        if let Some((at, _)) = entry.wake.take() {
            self.timers.remove(&(at, key.clone()));
        }
        if let Some((at, wake)) = next {
            self.arm(key, at, wake);
        }
    }

    fn arm(&mut self, key: &Key, at: Mono, wake: Wake) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.wake = Some((at, wake));
            self.timers.insert((at, key.clone()));
        }
    }
}
