//! What is shown of each group. A group has a fixed number of series, however its holders change, and none once it is gone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leadergroup_api::TransitionReason;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::described::{
    ABNORMAL, AUTHORIZED, CANDIDATES, CANDIDATES_READY, Described, LEADER, LEADERLESS, LEADERLESS_SINCE,
    STATUS_TRANSITIONS, TRANSITIONS,
};
use crate::decide::Counted;
use crate::figures::GroupFigures;
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
