//! The terms that a group's status remembers, numbered.

use jiff::Timestamp;
use leadergroup_api::TransitionReason;
use serde::Serialize;

use crate::model::{LeaderGroup, Told, Transition};
use crate::timeline::segments;

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
    pub reason: Told<TransitionReason>,
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
}

/// The terms of a group, newest first.
pub fn terms(group: &LeaderGroup, now: Timestamp) -> Vec<Term> {
    let Some(status) = &group.status else { return Vec::new() };
    // Of each transition one, the oldest first; a leader that no transition tells of comes behind them.
    let segments = segments(status, now).into_iter().filter(|segment| segment.holder.is_some());
    let mut ends: Vec<_> = segments.map(|segment| (!segment.is_open).then_some(segment.to)).collect();
    ends.truncate(status.history.len());
    let mut number = status.transitions;
    let term = |(transition, end): (&Transition, Option<Timestamp>)| {
        let unobserved = transition.unobserved.unwrap_or_default();
        let term = Term {
            number,
            leader: transition.leader.clone(),
            pod_uid: transition.pod_uid.clone(),
            from: transition.from.clone(),
            reason: transition.reason.clone(),
            begin: transition.time.0,
            end,
            leaderless_seconds: transition.leaderless_seconds,
            unobserved,
        };
        number -= 1 + unobserved;
        term
    };
    status.history.iter().zip(ends.into_iter().rev()).map(term).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata;

    /// Number, begin and end in seconds before now, and the seconds without a leader before it.
    fn told(group: &LeaderGroup) -> Vec<(i64, i64, Option<i64>, Option<f64>)> {
        let now = testdata::now().timestamp();
        let ago = |time: Timestamp| now.duration_since(time).as_secs();
        let tell = |it: &Term| (it.number, ago(it.begin), it.end.map(ago), it.leaderless_seconds);
        terms(group, now).iter().map(tell).collect()
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
