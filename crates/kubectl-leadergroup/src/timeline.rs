//! Who led when: what a group's status remembers, as segments of time.

use jiff::{SignedDuration, Timestamp};
use leadergroup_api::TransitionReason;

use crate::model::{LeaderGroupStatus, Told};

/// A stretch of time in which one holder led, or nobody did.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    pub from: Timestamp,
    pub to: Timestamp,
    /// Who led; `None` is a gap.
    pub holder: Option<String>,
    /// Of a term why it began, of a gap why the term before it ended; `None` where the status doesn't tell.
    pub reason: Option<Told<TransitionReason>>,
    /// Transitions just before this one that the Lease counted and nobody saw.
    pub unobserved: i64,
    /// It goes on.
    pub is_open: bool,
}

impl Segment {
    pub fn length(&self) -> SignedDuration {
        self.to.duration_since(self.from)
    }
}

/// The segments from the oldest transition that the history keeps until now, oldest first and without holes. A gap is
/// what the operator saw of it: where a transition has no `leaderlessSeconds`, the terms touch.
pub fn segments(status: &LeaderGroupStatus, now: Timestamp) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for transition in status.history.iter().rev() {
        let reason = Some(transition.reason.clone());
        // Clocks are set back: no term begins before the one before it did.
        let earliest = segments.last().map(|before| before.from);
        let from = earliest.map_or(transition.time.0, |earliest| earliest.max(transition.time.0));
        let gap_from = transition.leaderless_seconds.map_or(from, |seconds| before(from, seconds));
        let gap_from = earliest.map_or(gap_from, |earliest| earliest.max(gap_from));
        if let Some(last) = segments.last_mut() {
            last.to = gap_from;
        }
        if gap_from < from {
            segments.push(Segment {
                from: gap_from,
                to: from,
                holder: None,
                reason: reason.clone(),
                unobserved: 0,
                is_open: false,
            });
        }
        let unobserved = transition.unobserved.unwrap_or(0);
        segments.push(Segment {
            from,
            to: from,
            holder: Some(transition.leader.clone()),
            reason,
            unobserved,
            is_open: false,
        });
    }
    go_on(&mut segments, status, now);
    segments
}

/// What is so since the newest transition.
fn go_on(segments: &mut Vec<Segment>, status: &LeaderGroupStatus, now: Timestamp) {
    let open = |from: Timestamp, holder| {
        Some(Segment { from, to: now.max(from), holder, reason: None, unobserved: 0, is_open: true })
    };
    let next = match (&status.leader, segments.last_mut()) {
        (Some(leader), Some(last)) if last.holder.as_deref() == Some(&leader.identity) => {
            last.to = now.max(last.from);
            last.is_open = true;
            None
        }
        (Some(leader), last) => {
            let acquired = leader.acquire_time.as_ref().map(|time| time.0);
            let from = match last {
                Some(last) => {
                    last.to = acquired.unwrap_or(now).max(last.from);
                    Some(last.to)
                }
                None => acquired,
            };
            from.and_then(|from| open(from, Some(leader.identity.clone())))
        }
        (None, Some(last)) => {
            last.to = leaderless_since(status).unwrap_or(now).max(last.from);
            open(last.to, None)
        }
        (None, None) => None,
    };
    segments.extend(next);
}

fn leaderless_since(status: &LeaderGroupStatus) -> Option<Timestamp> {
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready")?;
    (ready.status == "False").then_some(ready.last_transition_time.0)
}

fn before(time: Timestamp, seconds: f64) -> Timestamp {
    let length = SignedDuration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(SignedDuration::ZERO);
    time.checked_sub(length).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What a status says at second 1000 of a minute-by-minute story, a segment a line.
    fn told(status: Value) -> Vec<String> {
        let status = serde_json::from_value(status).unwrap();
        segments(&status, at(1000)).iter().map(line).collect()
    }

    fn line(segment: &Segment) -> String {
        let holder = segment.holder.as_deref().unwrap_or("-");
        let reason = segment.reason.as_ref().map_or("?", Told::<TransitionReason>::as_str);
        let open = if segment.is_open { ".." } else { "" };
        let unobserved = if segment.unobserved > 0 { format!(" +{}", segment.unobserved) } else { String::new() };
        let second = |time: Timestamp| time.as_duration().as_secs_f64();
        format!("{} {}{open} {holder} {reason}{unobserved}", second(segment.from), second(segment.to))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn transition(leader: &str, reason: &str, second: i64, leaderless: Option<f64>) -> Value {
        json!({"leader": leader, "reason": reason, "time": at(second).to_string(), "leaderlessSeconds": leaderless})
    }

    fn leader(identity: &str, acquired: i64) -> Value {
        json!({"identity": identity, "acquireTime": format!("{:.6}", at(acquired))})
    }

    #[test]
    fn a_leader_then_a_gap_then_another() {
        let history = json!([transition("b", "Expired", 400, Some(14.5)), transition("a", "First", 100, None)]);
        assert_eq!(
            told(json!({"leader": leader("b", 400), "history": history})),
            ["100 385.5 a First", "385.5 400 - Expired", "400 1000.. b Expired"]
        );
    }

    #[test]
    fn terms_touch_where_no_gap_is_known_or_it_was_none() {
        let history = json!([
            transition("a", "Released", 600, Some(0.0)),
            transition("b", "Taken", 400, None),
            transition("a", "First", 100, None)
        ]);
        assert_eq!(
            told(json!({"leader": leader("a", 600), "history": history})),
            ["100 400 a First", "400 600 b Taken", "600 1000.. a Released"]
        );
    }

    #[test]
    fn nobody_leads_since_ready_became_false() {
        let history = json!([transition("a", "First", 100, None)]);
        let ready = |status: &str| {
            json!([{"type": "Ready", "status": status, "reason": "Terminated", "message": "",
                "lastTransitionTime": at(900).to_string()}])
        };
        assert_eq!(
            told(json!({"history": history, "conditions": ready("False")})),
            ["100 900 a First", "900 1000.. - ?"]
        );
        assert_eq!(
            told(json!({"history": history, "conditions": ready("True")})),
            ["100 1000 a First", "1000 1000.. - ?"]
        );
    }

    #[test]
    fn a_history_cut_short_begins_with_the_gap_before_its_oldest_leader() {
        let history = json!([transition("c", "Cleared", 300, Some(1.0))]);
        assert_eq!(
            told(json!({"leader": leader("c", 300), "history": history})),
            ["299 300 - Cleared", "300 1000.. c Cleared"]
        );
    }

    #[test]
    fn what_nobody_saw_is_counted_where_it_happened() {
        let unseen = json!({"leader": "b", "reason": "Unobserved", "time": at(500).to_string(), "unobserved": 3});
        let history = json!([unseen, transition("a", "First", 100, None)]);
        assert_eq!(
            told(json!({"leader": leader("b", 450), "history": history})),
            ["100 500 a First", "500 1000.. b Unobserved +3"]
        );
    }

    #[test]
    fn a_leader_the_history_does_not_know_leads_since_it_acquired() {
        assert_eq!(told(json!({"leader": leader("a", 700)})), ["700 1000.. a ?"]);
        let history = json!([transition("a", "First", 100, None)]);
        assert_eq!(
            told(json!({"leader": leader("b", 700), "history": history})),
            ["100 700 a First", "700 1000.. b ?"]
        );
    }

    #[test]
    fn clocks_that_jump_make_no_segment_run_backwards() {
        let history = json!([
            transition("c", "Expired", 300, Some(900.0)),
            transition("b", "Expired", 400, Some(5000.0)),
            transition("a", "First", 500, None)
        ]);
        assert_eq!(
            told(json!({"leader": leader("c", 300), "history": history})),
            ["500 500 a First", "500 500 b Expired", "500 1000.. c Expired"]
        );
        let future = json!([transition("a", "First", 2000, None)]);
        assert_eq!(told(json!({"leader": leader("a", 2000), "history": future})), ["2000 2000.. a First"]);
    }

    #[test]
    fn a_status_without_leaders_has_no_segments() {
        assert!(told(json!({})).is_empty());
    }
}
