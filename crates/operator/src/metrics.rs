//! The metrics: all of them are here, and each is a row of README's table, which a test compares with this.
//!
//! To add one of the operator itself: a field of [`Metrics`], registered in [`Metrics::default`]. To add one of each group:
//! a field of [`GroupFigures`], and a few lines in the collector. Labels are a group's name or one of a few words, so that
//! there are no more series than groups times their metrics.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use leadergroup_api::LeaderGroupStatus;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::audit::{BrokenOff, told};
use crate::engine::Outcome;
use crate::index::Key;

/// What `/metrics` is served as.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is shown of one group, by the operator that leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupFigures {
    /// Whether every candidate may lead; none while that is not known.
    pub authorized: Option<bool>,
}

impl GroupFigures {
    /// What this status says.
    pub fn of(status: &LeaderGroupStatus) -> Self {
        Self { authorized: told::authorized(status) }
    }
}

/// The groups of which anything is shown.
#[derive(Clone, Debug, Default)]
struct Groups(Arc<Mutex<BTreeMap<Key, GroupFigures>>>);

impl Collector for Groups {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gauge = |name: &str, help: &str, value: fn(&GroupFigures) -> Option<i64>| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (key, figures) in &*groups {
                let Some(value) = value(figures) else { continue };
                let labels = [("namespace", key.namespace.as_str()), ("group", key.name.as_str())];
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
            Ok(())
        };
        gauge(
            "leadergroup_candidates_authorized",
            "Whether the ServiceAccounts of all candidates may do what an elector has to (1) or not (0); absent while unknown",
            |figures| figures.authorized.map(i64::from),
        )
    }
}

type Reviews = Family<[(&'static str, &'static str); 1], Counter>;

/// Everything that is counted and shown.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    groups: Groups,
    reviews: Reviews,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let (groups, reviews) = (Groups::default(), Reviews::default());
        registry.register_collector(Box::new(groups.clone()));
        registry.register(
            "leadergroup_audit_reviews",
            "SubjectAccessReviews sent, by result: allowed, denied, refused (the operator may not ask) or failed",
            reviews.clone(),
        );
        Self { registry, groups, reviews }
    }
}

impl Metrics {
    /// What `/metrics` answers.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// Takes in what became of a job.
    pub fn note(&self, outcome: &Outcome) {
        if let Outcome::Audited { answers, broke_off, .. } = outcome {
            let count = |result, times: usize| {
                if times > 0 {
                    self.reviews.get_or_create(&[("result", result)]).inc_by(u64::try_from(times).unwrap_or(u64::MAX));
                }
            };
            let allowed = answers.allowed();
            count("allowed", allowed);
            count("denied", answers.count() - allowed);
            count("refused", usize::from(matches!(broke_off, Some(BrokenOff::Refused))));
            count("failed", usize::from(matches!(broke_off, Some(BrokenOff::Failed(_)))));
        }
    }

    /// Shows what has changed about groups.
    pub fn show_groups(&self, changed: Vec<(Key, GroupFigures)>) {
        if changed.is_empty() {
            return;
        }
        let mut groups = self.groups.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, figures) in changed {
            if figures == GroupFigures::default() {
                groups.remove(&key);
            } else {
                groups.insert(key, figures);
            }
        }
    }

    /// Shows nothing of any group: this operator does not lead, or leads anew.
    pub fn forget_groups(&self) {
        self.groups.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
