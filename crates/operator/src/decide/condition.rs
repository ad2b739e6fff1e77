//! Conditions: how they are made, and the types and reasons that more than one module speaks of.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use leadergroup_api::LeaderGroupStatus;

use crate::text::cut;
use crate::time::Now;

/// Whether the holder is who it should be. It also remembers a contradiction, behind a candidate that lives.
pub(super) const HOLDER_SUSPECT: &str = "HolderSuspect";
/// Whether leadership changes too often.
pub(super) const FLAPPING: &str = "Flapping";
/// Whether the timing fits what is seen.
pub(super) const TIMING_SUSPECT: &str = "TimingSuspect";
/// The reason of [`TIMING_SUSPECT`] that is no Event: candidates that take up a new timing differ from it for a moment.
pub(super) const OTHER_DURATION: &str = "OtherDuration";
/// Whether the leader is as it should be.
pub(super) const LEADER_SUSPECT: &str = "LeaderSuspect";
/// Whether the group's traffic goes to the leader, where `spec.routing` asks for some.
pub(super) const ROUTED: &str = "Routed";

/// The longest message of a condition, in bytes: evidence and advice fit. A selector or an error of the API server may
/// be of any length.
const LONGEST_MESSAGE: usize = 4_096;

/// A condition before it has its times.
pub(super) struct Draft {
    type_: &'static str,
    value: bool,
    reason: String,
    message: String,
}

impl Draft {
    pub(super) fn new(type_: &'static str, value: bool, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { type_, value, reason: reason.into(), message: cut(message.into(), LONGEST_MESSAGE) }
    }
}

/// The conditions with their times: one that has the status it had, has it since then.
pub(super) fn conditions(
    base: &LeaderGroupStatus,
    drafts: Vec<Draft>,
    generation: Option<i64>,
    now: Now,
) -> Vec<Condition> {
    let at = |type_: &str, value: &str| {
        let before = base.conditions.iter().find(|c| c.type_ == type_ && c.status == value);
        before.map_or_else(|| Time(now.wall_second()), |c| c.last_transition_time.clone())
    };
    drafts
        .into_iter()
        .map(|s| {
            let value = if s.value { "True" } else { "False" };
            Condition {
                last_transition_time: at(s.type_, value),
                message: s.message,
                observed_generation: generation,
                reason: s.reason,
                status: value.to_owned(),
                type_: s.type_.to_owned(),
            }
        })
        .collect()
}
