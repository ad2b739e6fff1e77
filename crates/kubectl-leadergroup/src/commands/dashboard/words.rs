//! What conditions and verdicts mean, in words, and how lengths of time are written.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use leadergroup_api::{TransitionReason, Verdict, is_well};
use maud::{Markup, html};

use crate::model::{LeaderGroupStatus, Told};

/// How something is to be taken: the name of a class of the style sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Good,
    Warn,
    Bad,
    Idle,
}

impl Tone {
    pub fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Idle => "idle",
        }
    }

    /// Colour is not for everybody.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Warn => "!",
            Self::Bad => "✕",
            Self::Idle => "–",
        }
    }
}

/// A sign and a word for how a group is: whether it is ready, and whether something else needs attention.
pub fn readiness(status: Option<&LeaderGroupStatus>) -> (Tone, &'static str) {
    let conditions = status.map_or(&[][..], |status| &status.conditions);
    let Some(ready) = conditions.iter().find(|condition| condition.type_ == "Ready") else {
        return (Tone::Idle, "Not observed");
    };
    let needs_attention =
        conditions.iter().any(|condition| condition.type_ != "Ready" && tone(condition) == Tone::Warn);
    match (ready.status.as_str(), needs_attention) {
        ("True", false) => (Tone::Good, "Ready"),
        ("True", true) => (Tone::Warn, "Ready"),
        ("False", _) => (Tone::Bad, "Not ready"),
        _ => (Tone::Idle, "Unknown"),
    }
}

pub fn badge((tone, word): (Tone, &str)) -> Markup {
    html! { span.badge.(tone.class()) { span.sign aria-hidden="true" { (tone.sign()) } (word) } }
}

/// How a condition is to be taken.
pub fn tone(condition: &Condition) -> Tone {
    match (is_well(&condition.type_, &condition.status), condition.type_.as_str()) {
        (Some(true), _) => Tone::Good,
        (Some(false), "Ready") => Tone::Bad,
        (Some(false), _) => Tone::Warn,
        (None, _) => Tone::Idle,
    }
}

/// What a condition says; its message has the details.
pub fn headline(condition: &Condition) -> &str {
    match (condition.type_.as_str(), condition.status.as_str()) {
        ("Ready", "True") => "A candidate leads",
        ("Ready", "False") => "No candidate is known to lead",
        ("Stalled", "True") => "The operator can't do its work here",
        ("Stalled", "False") => "The operator does its work",
        ("CandidatesFound", "True") => "There are candidates",
        ("CandidatesFound", "False") => "Candidates are missing",
        ("HolderSuspect", "True") => "The holder is suspect",
        ("HolderSuspect", "False") => "The holder is nobody, or known",
        ("LeaseSuspect", "True") => "The Lease is suspect",
        ("LeaseSuspect", "False") => "The Lease is in order",
        ("Flapping", "True") => "Leadership changes too often",
        ("Flapping", "False") => "Leadership is stable",
        ("TimingSuspect", "True") => "The timing does not suit",
        ("TimingSuspect", "False") => "The timing suits",
        ("LeaderSuspect", "True") => "The leader is not as it should be",
        ("LeaderSuspect", "False") => "The leader is as it should be",
        ("CandidatesAuthorized", "True") => "Candidates have the rights to lead",
        ("CandidatesAuthorized", "False") => "Candidates lack rights to lead",
        ("CandidatesAuthorized", _) => "The rights of candidates are not known",
        ("Routed", "True") => "Traffic goes to the leader only",
        ("Routed", "False") => "Traffic goes to nobody",
        (type_, _) => type_,
    }
}

/// What is known about the holder.
pub fn verdict(verdict: &Told<Verdict>) -> &'static str {
    let Told::Known(verdict) = verdict else {
        return "The operator is newer than this dashboard, which does not know this verdict";
    };
    match verdict {
        Verdict::Managed => "Kubernetes' coordinated leader election decides; the operator only watches",
        Verdict::Free => "Nobody holds the Lease",
        Verdict::Contradiction => {
            "The Lease was renewed after its holder was proven dead: something shares the identity"
        }
        Verdict::Foreign => "The holder is no candidate of this group",
        Verdict::Ambiguous => "The identity fits several pods that may be alive",
        Verdict::Terminated => "The holder is proven dead",
        Verdict::Alive => "The holder runs and renews its Lease",
        Verdict::Vanished => "The holder's pod is gone, without proof that its process ended",
        Verdict::Unreachable => "The holder's node is not ready",
        Verdict::Unresolved => "No pod fits the holder's identity",
        Verdict::Unproven => "The holder is down, but a later run may have renewed the Lease",
        Verdict::LeaseExpired => "The holder runs, but stopped renewing its Lease",
    }
}

/// Why a term began.
pub fn began(reason: &Told<TransitionReason>) -> &'static str {
    let Told::Known(reason) = reason else { return "in a way that this dashboard does not know" };
    match reason {
        TransitionReason::First => "the first leader seen",
        TransitionReason::Released => "the leader before released the Lease",
        TransitionReason::Cleared => "the leader before was proven dead and cleared",
        TransitionReason::ClearedUnconfirmed => "the leader before was cleared without proof",
        TransitionReason::Expired => "the Lease of the leader before ran out",
        TransitionReason::Replaced => "a new pod took over under the same identity",
        TransitionReason::Taken => "the Lease was taken from the leader before",
        TransitionReason::LeaseDeleted => "the Lease was deleted and made anew",
        TransitionReason::Unobserved => "the operator was not watching, or had only begun to",
    }
}

/// A length of time in its two largest units.
pub fn length(duration: SignedDuration) -> String {
    let seconds = duration.as_secs_f64().max(0.0);
    let whole = duration.as_secs().max(0);
    let two = |large: i64, large_unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{large} {large_unit}") } else { format!("{large} {large_unit} {small} {small_unit}") }
    };
    match whole {
        0 if seconds == 0.0 => "0 s".to_owned(),
        0 => format!("{seconds:.2} s"),
        1..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3_600 => two(whole / 60, "min", whole % 60, "s"),
        3_600..86_400 => two(whole / 3_600, "h", whole % 3_600 / 60, "min"),
        _ => two(whole / 86_400, "d", whole % 86_400 / 3_600, "h"),
    }
}

/// A moment: the exact one here, to which the browser adds how long ago that is.
pub fn moment(time: Timestamp) -> Markup {
    html! { time datetime=(time) title=(exact(time)) { (exact(time)) } }
}

pub fn exact(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status(conditions: &[(&str, &str)]) -> LeaderGroupStatus {
        let condition = |(type_, status): &(&str, &str)| -> Value {
            json!({"type": type_, "status": status, "reason": "R", "message": "",
                "lastTransitionTime": "2026-11-25T12:00:00Z"})
        };
        let conditions: Vec<_> = conditions.iter().map(condition).collect();
        serde_json::from_value(json!({"conditions": conditions})).unwrap()
    }

    #[test]
    fn a_group_that_is_ready_may_need_attention_all_the_same() {
        for (conditions, expected) in [
            (&[][..], (Tone::Idle, "Not observed")),
            (&[("Ready", "True"), ("Stalled", "False")], (Tone::Good, "Ready")),
            (&[("Ready", "True"), ("CandidatesAuthorized", "Unknown")], (Tone::Good, "Ready")),
            (&[("Ready", "True"), ("CandidatesAuthorized", "False")], (Tone::Warn, "Ready")),
            (&[("Ready", "True"), ("LeaseSuspect", "True")], (Tone::Warn, "Ready")),
            (&[("Ready", "True"), ("Flapping", "True")], (Tone::Warn, "Ready")),
            (&[("Ready", "True"), ("Flapping", "False"), ("TimingSuspect", "False")], (Tone::Good, "Ready")),
            (&[("Ready", "False"), ("LeaseSuspect", "True")], (Tone::Bad, "Not ready")),
            (&[("Ready", "Unknown")], (Tone::Idle, "Unknown")),
        ] {
            assert_eq!(readiness(Some(&status(conditions))), expected, "{conditions:?}");
        }
        assert_eq!(readiness(None), (Tone::Idle, "Not observed"));
    }

    #[test]
    fn lengths_have_at_most_two_units() {
        for (seconds, expected) in [
            (0.0, "0 s"),
            (0.614, "0.61 s"),
            (8.25, "8.2 s"),
            (14.9, "14 s"),
            (60.0, "1 min"),
            (200.0, "3 min 20 s"),
            (7_500.0, "2 h 5 min"),
            (273_600.0, "3 d 4 h"),
            (-5.0, "0 s"),
        ] {
            assert_eq!(length(SignedDuration::from_secs_f64(seconds)), expected, "{seconds}");
        }
    }
}
