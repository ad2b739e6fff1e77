//! What of a decision is counted: the transitions that it adds to the status, and verdicts.

use leadergroup_api::{LeaderGroupStatus, TransitionReason, Verdict};

/// What of a decision is counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Noted {
    /// The transitions that the status counts for the first time, oldest first.
    pub transitions: Vec<Counted>,
    /// The verdict, if it comes to stand with this decision.
    pub verdict: Option<Verdict>,
    /// The candidates, read once more before a clear, spoke against it.
    pub contradicted_by_reading: bool,
}

impl Noted {
    /// What a decision for this status adds to the one before it.
    pub fn of(before: &LeaderGroupStatus, status: &LeaderGroupStatus, contradicted_by_reading: bool) -> Self {
        let held = |status: &LeaderGroupStatus| status.holder.as_ref().map(|h| (h.identity.clone(), h.verdict));
        let verdict = status.holder.as_ref().map(|holder| holder.verdict);
        Self {
            transitions: counted(before, status),
            verdict: verdict.filter(|_| held(before) != held(status)),
            contradicted_by_reading,
        }
    }
}

/// A transition, or several that are told of in one.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    /// Why leadership changed.
    pub reason: TransitionReason,
    /// How many transitions these are.
    pub transitions: u64,
    /// Seconds without a leader, as far as the operator saw them.
    pub leaderless_seconds: Option<f64>,
}

/// What the status counts beyond the one before it, oldest first.
fn counted(before: &LeaderGroupStatus, status: &LeaderGroupStatus) -> Vec<Counted> {
    let mut left = u64::try_from(status.transitions.saturating_sub(before.transitions)).unwrap_or(0);
    let mut counted = Vec::new();
    for entry in &status.history {
        if left == 0 {
            break;
        }
        let unobserved = entry.unobserved.and_then(|n| u64::try_from(n).ok()).unwrap_or(0).min(left - 1);
        let add = |reason, transitions, leaderless_seconds| Counted { reason, transitions, leaderless_seconds };
        counted.push(add(entry.reason, 1, entry.leaderless_seconds));
        if unobserved > 0 {
            counted.push(add(TransitionReason::Unobserved, unobserved, None));
        }
        left -= 1 + unobserved;
    }
    // More than the history keeps.
    if left > 0 {
        counted.push(Counted { reason: TransitionReason::Unobserved, transitions: left, leaderless_seconds: None });
    }
    counted.reverse();
    counted
}
