//! Who led when, as far as the status' history goes back.

use jiff::{SignedDuration, Timestamp};
use leadergroup_api::{LeaderGroup, TransitionReason};
use serde::Serialize;

/// One continuous tenure of one holder.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Term {
    /// How many transitions there had been when it began.
    pub number: i64,
    /// The identity of who led.
    pub leader: String,
    /// The UID of its pod, where that is known.
    #[serde(rename = "podUID")]
    pub pod_uid: Option<String>,
    /// The identity that led before.
    pub from: Option<String>,
    /// Why leadership changed.
    pub reason: TransitionReason,
    /// When the operator saw it begin.
    pub begin: Timestamp,
    /// When it was over; absent while it lasts.
    pub end: Option<Timestamp>,
    /// Seconds without a leader before it, where the operator saw them.
    pub leaderless_seconds: Option<f64>,
    /// Transitions right before it that nobody saw.
    pub unobserved: i64,
}

impl Term {
    /// How many seconds it lasted, or lasts until now.
    pub fn seconds(&self, now: Timestamp) -> f64 {
        self.end.unwrap_or(now).duration_since(self.begin).as_secs_f64().max(0.0)
    }

    /// Whether there was more before it than was seen.
    pub fn is_unseen(&self) -> bool {
        self.unobserved > 0 || self.reason == TransitionReason::Unobserved
    }
}

/// The terms of a group, newest first.
pub fn terms(group: &LeaderGroup) -> Vec<Term> {
    let Some(status) = &group.status else { return Vec::new() };
    let mut number = status.transitions;
    // While nobody leads, the last term was over when the group ceased to be Ready.
    let newest = status.history.first();
    let lasts = status.leader.as_ref().is_some_and(|it| newest.is_some_and(|newest| it.identity == newest.leader));
    let not_ready = status.conditions.iter().find(|it| it.type_ == "Ready" && it.status == "False");
    let mut end = match newest {
        Some(newest) if !lasts => Some(not_ready.map_or(newest.time.0, |it| it.last_transition_time.0)),
        _ => None,
    };
    let mut terms = Vec::new();
    for transition in &status.history {
        let begin = transition.time.0;
        let unobserved = transition.unobserved.unwrap_or_default();
        terms.push(Term {
            number,
            leader: transition.leader.clone(),
            pod_uid: transition.pod_uid.clone(),
            from: transition.from.clone(),
            reason: transition.reason,
            begin,
            end: end.map(|end| end.max(begin)),
            leaderless_seconds: transition.leaderless_seconds,
            unobserved,
        });
        number -= 1 + unobserved;
        let gap = SignedDuration::try_from_secs_f64(transition.leaderless_seconds.unwrap_or_default());
        end = Some(gap.ok().and_then(|gap| begin.checked_sub(gap).ok()).unwrap_or(begin));
    }
    terms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata;

    /// Number, begin and end in seconds before now, and the seconds without a leader before it.
    fn told(group: &LeaderGroup) -> Vec<(i64, i64, Option<i64>, Option<f64>)> {
        let ago = |time: Timestamp| testdata::now().timestamp().duration_since(time).as_secs();
        let tell = |it: &Term| (it.number, ago(it.begin), it.end.map(ago), it.leaderless_seconds);
        terms(group).iter().map(tell).collect()
    }

    #[test]
    fn a_term_ends_where_the_time_without_a_leader_before_the_next_begins() {
        let expected = [
            (6, 312, None, Some(0.614)),
            (5, 1500, Some(312), Some(16.0)),
            // Two transitions before the fifth were not seen.
            (2, 5400, Some(1516), None),
            (1, 9000, Some(5400), Some(31.0)),
            (0, 12_600, Some(9031), None),
        ];
        assert_eq!(told(&testdata::led()), expected);
    }

    #[test]
    fn while_nobody_leads_the_last_term_ended_when_the_group_was_no_longer_ready() {
        assert_eq!(told(&testdata::leaderless()), [(1, 600, Some(9), Some(14.2)), (0, 3600, Some(614), None)]);
    }

    #[test]
    fn a_group_that_nobody_has_led_has_no_terms() {
        assert_eq!(told(&testdata::new()), []);
        assert_eq!(told(&testdata::never_led()), []);
    }
}
