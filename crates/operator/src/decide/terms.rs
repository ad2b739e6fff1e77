//! Who led when: terms, transitions, and the time between them.
//!
//! A term is one continuous tenure of one holder. Transitions are terms begun after the first; the count is kept in the
//! status and never falls. The Lease's own counter is only consulted for what nobody watched: libraries differ in how
//! they keep it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use leadergroup_api::{LeaderGroupStatus, Transition, TransitionReason, Verdict};

use super::memory::{End, Memory, Successor};
use crate::index::Snapshot;
use crate::judge::{Judgement, Subject};
use crate::model::Lease;
use crate::time::{Mono, Now};

/// Where the count stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// Terms begun after the first.
    pub transitions: i64,
    /// The Lease's own counter at the start of this term.
    pub lease_transitions: Option<i64>,
    /// Newest first.
    pub history: Vec<Transition>,
    /// A term begins with this decision.
    pub began: bool,
    /// The UID of the pod that holds this term, as far as it is known.
    pub pod_uid: Option<String>,
    /// Another pod has the holder's identity; a renewal of its own begins a term.
    pub successor_pending: bool,
}

/// Follows the terms from the status before to this judgement.
pub fn follow(
    base: &LeaderGroupStatus,
    snapshot: &Snapshot<'_>,
    memory: &mut Memory,
    judgement: &Judgement,
    now: Now,
) -> Terms {
    let mut terms = Terms {
        transitions: base.transitions,
        lease_transitions: base.lease_transitions,
        history: base.history.clone(),
        began: false,
        pod_uid: base.holder.as_ref().and_then(|h| h.pod_uid.clone()),
        successor_pending: false,
    };
    let previous = base.holder.as_ref().map(|h| h.identity.as_str());
    let subject = judgement.subject.as_ref();
    let Some((lease, holder)) = snapshot.lease.and_then(|l| Some((l, l.record.holder()?))) else {
        terms.pod_uid = None;
        terms.history.truncate(snapshot.plan.history_limit);
        return terms;
    };
    // Whose Lease it is tells of its leaders.
    if snapshot.older.is_some() {
        terms.pod_uid = subject.map(|s| s.uid.clone());
        return terms;
    }

    let reason = if terms.history.is_empty() {
        Some(TransitionReason::First)
    } else if previous == Some(holder) {
        if retaken_unseen(base, memory, lease) {
            Some(TransitionReason::Unobserved)
        } else {
            replaced(&mut terms, memory, judgement, lease, snapshot.plan.duration, now)
        }
    } else if memory.is_blind() {
        Some(TransitionReason::Unobserved)
    } else {
        Some(why_new_holder(memory, lease, previous))
    };

    if let Some(reason) = reason {
        begin(&mut terms, memory, lease, holder, reason, now);
        terms.pod_uid = subject.map(|s| s.uid.clone());
        if let Some(newest) = terms.history.first_mut() {
            newest.pod_uid.clone_from(&terms.pod_uid);
        }
    } else if terms.pod_uid.is_none()
        && let Some(subject) = subject
    {
        // The pod's own watch may be behind the Lease's.
        terms.pod_uid = Some(subject.uid.clone());
        if let Some(newest) = terms.history.first_mut() {
            newest.pod_uid.get_or_insert_with(|| subject.uid.clone());
        }
    }
    terms.history.truncate(snapshot.plan.history_limit);
    terms
}

/// The same holder, but its Lease passed through other hands while nobody watched: its counter ran ahead and it was
/// acquired anew.
fn retaken_unseen(base: &LeaderGroupStatus, memory: &Memory, lease: &Lease) -> bool {
    let acquired = lease.record.acquired().map(jiff::Timestamp::as_microsecond);
    let known = base.leader.as_ref().and_then(|l| l.acquire_time.as_ref()).map(|t| t.0.as_microsecond());
    may_hide_terms(memory, lease)
        && known.is_some()
        && known != acquired
        && ran_ahead(base.lease_transitions, lease) > 0
}

/// Whether there may have been terms before the present record that nobody has told of.
fn may_hide_terms(memory: &Memory, lease: &Lease) -> bool {
    lease.source.after_gap() || memory.is_blind()
}

/// By how much the Lease's counter is ahead of what was last seen.
fn ran_ahead(known: Option<i64>, lease: &Lease) -> i64 {
    match (known, lease.record.transitions()) {
        (Some(known), Some(counted)) => counted.saturating_sub(known).max(0),
        _ => 0,
    }
}

/// A new pod under the old one's identity (a StatefulSet's) begins a term with its first renewal.
///
/// A kubelet that went silent before it reported that the pod runs never will. Then it takes a renewal that can't be one of
/// the old pod's which arrives late.
fn replaced(
    terms: &mut Terms,
    memory: &mut Memory,
    judgement: &Judgement,
    lease: &Lease,
    default_seconds: u64,
    now: Now,
) -> Option<TransitionReason> {
    let held_by = terms.pod_uid.clone()?;
    let may_lead = judgement.verdict() == Verdict::Alive;
    // Of several, the one that held it may hold it still.
    let is_one = judgement.verdict() != Verdict::Ambiguous;
    let leads = |s: &&Subject| is_one && (s.runs || may_lead) && s.uid != held_by;
    let Some(subject) = judgement.subject.as_ref().filter(leads) else {
        memory.successor = None;
        return None;
    };
    let known = memory.successor.take().filter(|known| known.uid == subject.uid && known.runs == subject.runs);
    if let Some(known) = &known {
        let late = if known.runs { Mono::ZERO } else { lease.duration(default_seconds) };
        if lease.moved_at > known.since.saturating_add(late) {
            return Some(TransitionReason::Replaced);
        }
    }
    let first_seen = || Successor { uid: subject.uid.clone(), runs: subject.runs, since: now.mono };
    memory.successor = Some(known.unwrap_or_else(first_seen));
    terms.successor_pending = true;
    None
}

fn why_new_holder(memory: &Memory, lease: &Lease, previous: Option<&str>) -> TransitionReason {
    let freed = previous.is_none_or(str::is_empty);
    let cleared = |end: &End| matches!(end.reason, TransitionReason::Cleared | TransitionReason::ClearedUnconfirmed);
    let known = memory.end.filter(|end| freed || cleared(end));
    known.map_or_else(|| lease.why_another_holds_it(), |end| end.reason)
}

fn begin(terms: &mut Terms, memory: &mut Memory, lease: &Lease, holder: &str, reason: TransitionReason, now: Now) {
    let first = reason == TransitionReason::First;
    // One of the Lease's transitions is the one seen now.
    let hidden = if may_hide_terms(memory, lease) { ran_ahead(terms.lease_transitions, lease) - 1 } else { 0 };
    let unseen = if first { 0 } else { hidden.max(0) };
    if !first {
        terms.transitions = terms.transitions.saturating_add(1).saturating_add(unseen);
    }
    terms.lease_transitions = lease.record.transitions();
    let ended_at = match reason {
        TransitionReason::First | TransitionReason::Unobserved => None,
        // It was held until then.
        TransitionReason::Taken => Some(memory.end.map_or(now.mono, |end| end.at)),
        _ => memory.end.map(|e| e.at).or_else(|| lease.before.as_ref().map(|b| b.moved_at)),
    };
    terms.history.insert(
        0,
        Transition {
            leader: holder.to_owned(),
            pod_uid: None,
            from: terms.history.first().map(|t| t.leader.clone()),
            reason,
            time: Time(now.wall_second()),
            leaderless_seconds: ended_at.map(|at| seconds(now.mono.saturating_sub(at))),
            unobserved: (unseen > 0).then_some(unseen),
        },
    );
    terms.began = true;
    memory.end = None;
}

/// Seconds with millisecond precision.
pub(super) fn seconds(span: Mono) -> f64 {
    (span.as_secs_f64() * 1_000.0).round() / 1_000.0
}
