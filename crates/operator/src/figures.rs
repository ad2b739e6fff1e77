//! What there is to show of a group in figures, by its status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use leadergroup_api::{LeaderGroupStatus, is_well};

use crate::audit::told;

/// Conditions that have metrics of their own.
const APART: [&str; 2] = ["Ready", told::CANDIDATES_AUTHORIZED];

/// A group that is Stalled for these reasons is judged as any other: only a write about it fails.
const JUDGED_ALL_THE_SAME: [&str; 2] = ["WriteFailed", "PodLabelsFailed"];

/// A group that nobody leads is so since the last of these came to stand, as far as its status tells: that it is not Ready,
/// that it has candidates, that its holder is not in doubt (a suspect one may lead), that it can be judged.
const LEADERLESS_CONDITIONS: [(&str, &str); 4] =
    [("Ready", "False"), ("CandidatesFound", "True"), ("HolderSuspect", "False"), ("Stalled", "False")];

/// How a group is, as far as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupFigures {
    /// The pod that leads and its node.
    pub leader: Option<(String, String)>,
    /// Since when nobody leads although there are candidates, in seconds since 1970.
    pub leaderless_since: Option<i64>,
    /// What the status counts; none before the group was ever judged.
    pub transitions: Option<i64>,
    /// How many pods may lead, and how many of them are Ready.
    pub candidates: (i32, i32),
    /// Whether every candidate may lead; none while that is not known.
    pub authorized: Option<bool>,
    /// The conditions that are not as they should be, with their reasons.
    pub abnormal: Vec<(String, String)>,
}

impl GroupFigures {
    /// What this status says, after `before` was shown or, by an operator that shows the group for the first time, on top
    /// of the status `stored` by another.
    pub fn of(
        status: &LeaderGroupStatus,
        before: Option<&Self>,
        stored: Option<&LeaderGroupStatus>,
        now: jiff::Timestamp,
    ) -> Self {
        let leader = status.leader.as_ref();
        let abnormal = status
            .conditions
            .iter()
            .filter(|c| is_well(&c.type_, &c.status) == Some(false) && !APART.contains(&c.type_.as_str()));
        Self {
            leader: leader.map(|l| (l.pod_name.clone().unwrap_or_default(), l.node_name.clone().unwrap_or_default())),
            leaderless_since: is_leaderless(status).then(|| match before {
                Some(before) => before.leaderless_since.unwrap_or(now.as_second()),
                None if stored.is_some_and(is_leaderless) => leaderless_since(status).unwrap_or(now.as_second()),
                None => now.as_second(),
            }),
            transitions: status.holder.as_ref().map(|_| status.transitions),
            candidates: (status.candidates.total, status.candidates.ready),
            authorized: told::authorized(status),
            abnormal: abnormal.map(|c| (c.type_.clone(), c.reason.clone())).collect(),
        }
    }
}

/// Whether nobody leads although there are candidates. Of a group that can't be judged that is not known: its Lease may well
/// have a leader.
fn is_leaderless(status: &LeaderGroupStatus) -> bool {
    let is_judged = |condition: &Condition| {
        condition.type_ != "Stalled"
            || condition.status != "True"
            || JUDGED_ALL_THE_SAME.contains(&condition.reason.as_str())
    };
    status.leader.is_none() && status.candidates.total > 0 && status.conditions.iter().all(is_judged)
}

fn leaderless_since(status: &LeaderGroupStatus) -> Option<i64> {
    let stands = |c: &&Condition| LEADERLESS_CONDITIONS.contains(&(c.type_.as_str(), c.status.as_str()));
    status.conditions.iter().filter(stands).map(|c| c.last_transition_time.0.as_second()).max()
}
