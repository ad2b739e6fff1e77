//! What is shown of each group. A group has a fixed number of series, however its holders change, and none once it is gone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use leadergroup_api::{LeaderGroupStatus, TransitionReason, is_well};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::described::{
    ABNORMAL, AUTHORIZED, CANDIDATES, CANDIDATES_READY, Described, LEADER, LEADERLESS, LEADERLESS_SINCE,
    STATUS_TRANSITIONS, TRANSITIONS,
};
use crate::audit::told;
use crate::decide::Counted;
use crate::index::Key;

/// The reasons of transitions, each shown from the start: of a counter that begins with 1 the first increase is lost.
pub const REASONS: [TransitionReason; 8] = [
    TransitionReason::Released,
    TransitionReason::Cleared,
    TransitionReason::ClearedUnconfirmed,
    TransitionReason::Expired,
    TransitionReason::Replaced,
    TransitionReason::Taken,
    TransitionReason::LeaseDeleted,
    TransitionReason::Unobserved,
];

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

#[derive(Clone, Debug, Default)]
struct Shown {
    figures: Arc<GroupFigures>,
    transitions: [u64; REASONS.len()],
    leaderless: f64,
}

/// The groups that are shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups(Arc<Mutex<BTreeMap<Key, Shown>>>);

impl Groups {
    fn shown(&self) -> MutexGuard<'_, BTreeMap<Key, Shown>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn show(&self, key: Key, figures: Arc<GroupFigures>) {
        self.shown().entry(key).or_default().figures = figures;
    }

    pub(super) fn count(&self, key: Key, counted: &Counted) {
        let mut groups = self.shown();
        let shown = groups.entry(key).or_default();
        if let Some(at) = REASONS.iter().position(|reason| *reason == counted.reason) {
            shown.transitions[at] += counted.transitions;
        }
        shown.leaderless += counted.leaderless_seconds.unwrap_or(0.0);
    }

    pub(super) fn remove(&self, key: &Key) {
        self.shown().remove(key);
    }

    pub(super) fn clear(&self) {
        self.shown().clear();
    }
}

/// A label and its value.
type Label<'a> = (&'static str, &'a str);

/// Writes one metric of all groups.
fn family(
    encoder: &mut DescriptorEncoder<'_>,
    groups: &BTreeMap<Key, Shown>,
    metric: &Described,
    each: impl Fn(&mut MetricEncoder<'_>, [Label<'_>; 2], &Shown) -> fmt::Result,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(metric.name, metric.help, None, metric.kind)?;
    for (key, shown) in groups {
        each(&mut family, [("namespace", &key.namespace), ("group", &key.name)], shown)?;
    }
    Ok(())
}

/// Writes a gauge of all groups that have a value of it.
fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    groups: &BTreeMap<Key, Shown>,
    metric: &Described,
    value: impl Fn(&GroupFigures) -> Option<i64>,
) -> fmt::Result {
    family(encoder, groups, metric, |family, group, shown| match value(&shown.figures) {
        Some(value) => ConstGauge::new(value).encode(family.encode_family(&group)?),
        None => Ok(()),
    })
}

impl Collector for Groups {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Written from a copy: the loop must not wait for thousands of lines.
        let groups = self.shown().clone();
        let (encoder, groups) = (&mut encoder, &groups);
        family(encoder, groups, &LEADER, |family, [namespace, group], shown| match &shown.figures.leader {
            Some((pod, node)) => {
                family.encode_info(&[namespace, group, ("pod", pod.as_str()), ("node", node.as_str())])
            }
            None => Ok(()),
        })?;
        family(encoder, groups, &TRANSITIONS, |family, [namespace, group], shown| {
            REASONS.iter().zip(&shown.transitions).try_for_each(|(reason, count)| {
                let labels = [namespace, group, ("reason", reason.as_str())];
                ConstCounter::new(*count).encode(family.encode_family(&labels)?)
            })
        })?;
        family(encoder, groups, &LEADERLESS, |family, group, shown| {
            ConstCounter::new(shown.leaderless).encode(family.encode_family(&group)?)
        })?;
        gauge(encoder, groups, &LEADERLESS_SINCE, |figures| figures.leaderless_since)?;
        gauge(encoder, groups, &STATUS_TRANSITIONS, |figures| figures.transitions)?;
        gauge(encoder, groups, &CANDIDATES, |figures| Some(figures.candidates.0.into()))?;
        gauge(encoder, groups, &CANDIDATES_READY, |figures| Some(figures.candidates.1.into()))?;
        gauge(encoder, groups, &AUTHORIZED, |figures| figures.authorized.map(i64::from))?;
        family(encoder, groups, &ABNORMAL, |family, [namespace, group], shown| {
            shown.figures.abnormal.iter().try_for_each(|(condition, reason)| {
                let labels = [namespace, group, ("condition", condition.as_str()), ("reason", reason.as_str())];
                ConstGauge::new(1_i64).encode(family.encode_family(&labels)?)
            })
        })
    }
}
