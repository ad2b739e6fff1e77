//! What came after the last status that another operator wrote, as this one saw it while it stood by.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use leadergroup_api::{Holder, LeaderGroupStatus, Transition, TransitionReason, UnconfirmedPolicy, Verdict};

use super::memory::{End, Memory};
use super::terms::seconds;
use crate::index::{Snapshot, Tenure};

/// The stored status, brought up to the Lease as it is; none if it tells nothing that this operator has seen, and where
/// a decision was made before.
///
/// The term that the status names last is looked for among those that were seen without a gap. The counter of the Lease
/// tells two terms of one holder apart; where a library does not count, the later one is meant.
pub fn catch_up(stored: &LeaderGroupStatus, snapshot: &Snapshot<'_>, memory: &mut Memory) -> Option<LeaderGroupStatus> {
    if !memory.is_first() {
        return None;
    }
    let from = match stored.history.first() {
        None => 0,
        Some(newest) => {
            let is_newest = |t: &&Tenure| t.holder == newest.leader && t.transitions == stored.lease_transitions;
            snapshot.tenures.iter().rposition(is_newest)?
        }
    };
    memory.beginning.caught_up = true;
    let mut base = stored.clone();
    let mut end = None;
    for tenure in &snapshot.tenures[from..] {
        match end {
            Some(end) => begin(&mut base, tenure, Some(end)),
            None if base.history.is_empty() => begin(&mut base, tenure, None),
            // The one that is told of.
            None => {}
        }
        end = tenure.ended.map(|ended| End { at: ended.at, reason: as_known(ended.reason, &base, snapshot) });
    }
    memory.end = end.or(memory.end);
    Some(base)
}

/// A term began, after another that ended so, or as the first.
fn begin(base: &mut LeaderGroupStatus, tenure: &Tenure, after: Option<End>) {
    if after.is_some() {
        base.transitions = base.transitions.saturating_add(1);
    }
    base.lease_transitions = tenure.transitions;
    base.leader = None;
    base.holder = Some(Holder {
        identity: tenure.holder.clone(),
        pod_uid: None,
        verdict: Verdict::Alive,
        rule: None,
        evidence: String::new(),
    });
    let transition = Transition {
        leader: tenure.holder.clone(),
        pod_uid: None,
        from: base.history.first().map(|t| t.leader.clone()),
        reason: after.map_or(TransitionReason::First, |end| end.reason),
        time: Time(tenure.began_wall),
        leaderless_seconds: after
            .filter(|end| end.reason != TransitionReason::Unobserved)
            .map(|end| seconds(tenure.began.saturating_sub(end.at))),
        unobserved: None,
    };
    base.history.insert(0, transition);
}

/// The reason of a transition after a clear that this operator did not make itself: whether it was proven is known only
/// where nothing else is allowed, or the status says so.
pub(super) fn as_known(
    reason: TransitionReason,
    base: &LeaderGroupStatus,
    snapshot: &Snapshot<'_>,
) -> TransitionReason {
    let needs_proof = snapshot.plan.stale_holder.unconfirmed.policy != UnconfirmedPolicy::AcceptRisk;
    let was_proven = base.holder.as_ref().is_some_and(|h| h.verdict == Verdict::Terminated);
    match reason {
        TransitionReason::Cleared if !needs_proof && !was_proven => TransitionReason::ClearedUnconfirmed,
        reason => reason,
    }
}
