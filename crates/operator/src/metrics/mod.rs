//! The metrics. [`described`] lists them all; README's table is made from that list, and a test compares it with what is
//! exposed.
//!
//! To add one: describe it there; if it is the operator's own, a field of [`Metrics`], registered in [`Metrics::default`];
//! if it is one of each group, a field of [`GroupFigures`](crate::figures::GroupFigures) and a line in `groups.rs`. Labels
//! are a group's name, its present leader's, or one of a few words, so that what others write into Leases makes no series.

pub mod described;
mod groups;
mod requests;

use std::borrow::Cow;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use leadergroup_api::{ReleaseForm, TransitionReason, Verdict};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use crate::audit::BrokenOff;
use crate::decide::{Action, Ground};
use crate::engine::{Failure, Job, Outcome, Seen};
use described::Described;
use groups::Groups;
pub use groups::REASONS;
pub use requests::TimeRequests;

/// What `/metrics` is served as.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From a decision of microseconds to a takeover that waited for a long Lease.
const DECISION_BUCKETS: [f64; 7] = [1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 1e-2, 1e-1];
const REQUEST_BUCKETS: [f64; 11] = [1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 5.0];
const TAKEOVER_BUCKETS: [f64; 13] = [0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 300.0];

type Words<const N: usize> = [(&'static str, &'static str); N];
type Counters<const N: usize> = Family<Words<N>, Counter>;
type Histograms<const N: usize> = Family<Words<N>, Histogram, fn() -> Histogram>;

/// Everything that is counted and shown.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    groups: Groups,
    takeovers: Histograms<1>,
    verdicts: Counters<1>,
    clears: Counters<3>,
    clears_refused: Counters<1>,
    decisions: Histogram,
    work: Histograms<1>,
    requests: Histograms<2>,
    watch_restarts: Family<[(&'static str, Cow<'static, str>); 1], Counter>,
    reviews: Counters<1>,
    leads: Gauge<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::default(),
            groups: Groups::default(),
            takeovers: Family::new_with_constructor(|| Histogram::new(TAKEOVER_BUCKETS)),
            verdicts: Family::default(),
            clears: Family::default(),
            clears_refused: Family::default(),
            decisions: Histogram::new(DECISION_BUCKETS),
            work: Family::new_with_constructor(|| Histogram::new(REQUEST_BUCKETS)),
            requests: Family::new_with_constructor(|| Histogram::new(REQUEST_BUCKETS)),
            watch_restarts: Family::default(),
            reviews: Family::default(),
            leads: Gauge::default(),
        };
        metrics.begin_at_zero();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(metrics.groups.clone()));
        register(&mut registry, &described::TAKEOVERS, metrics.takeovers.clone());
        register(&mut registry, &described::VERDICTS, metrics.verdicts.clone());
        register(&mut registry, &described::CLEARS, metrics.clears.clone());
        register(&mut registry, &described::CLEARS_REFUSED, metrics.clears_refused.clone());
        register(&mut registry, &described::DECISIONS, metrics.decisions.clone());
        register(&mut registry, &described::WORK, metrics.work.clone());
        register(&mut registry, &described::REQUESTS, metrics.requests.clone());
        register(&mut registry, &described::WATCH_RESTARTS, metrics.watch_restarts.clone());
        register(&mut registry, &described::REVIEWS, metrics.reviews.clone());
        register(&mut registry, &described::OPERATOR_LEADER, metrics.leads.clone());
        register(&mut registry, &described::BUILD, Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        Self { registry, ..metrics }
    }
}

/// The verdicts on which a holder may be cleared, and on what grounds. Proof there is only of a termination; which of several
/// pods an identity means is not for the user to accept a risk about.
const CLEARABLE: [(Verdict, &[Ground]); 6] = {
    use Ground::{Expired, Proof, RiskAccepted};
    [
        (Verdict::Terminated, &[Proof, Expired, RiskAccepted]),
        (Verdict::Ambiguous, &[Expired]),
        (Verdict::Vanished, &[Expired, RiskAccepted]),
        (Verdict::Unreachable, &[Expired, RiskAccepted]),
        (Verdict::Unresolved, &[Expired, RiskAccepted]),
        (Verdict::Unproven, &[Expired, RiskAccepted]),
    ]
};
/// The others.
const NEVER_CLEARED: [Verdict; 6] =
    [Verdict::Managed, Verdict::Free, Verdict::Contradiction, Verdict::Foreign, Verdict::Alive, Verdict::LeaseExpired];
const REFUSALS: [&str; 4] = ["Conflict", "Contradicted", "Denied", "NoAnswer"];
const REVIEW_RESULTS: [&str; 4] = ["allowed", "denied", "refused", "failed"];
/// The kinds that are watched.
const KINDS: [&str; 6] = ["LeaderGroup", "Lease", "Pod", "Node", "Service", "EndpointSlice"];

fn register(registry: &mut Registry, metric: &Described, it: impl Metric) {
    registry.register(metric.name, metric.help, it);
}

impl Metrics {
    /// Shows every counter of events from the start: of one that begins with 1 the first increase is lost.
    fn begin_at_zero(&self) {
        // Of these no time is known.
        for reason in REASONS.into_iter().filter(|reason| *reason != TransitionReason::Unobserved) {
            drop(self.takeovers.get_or_create(&[("reason", reason.as_str())]));
        }
        for (verdict, grounds) in CLEARABLE.into_iter().chain(NEVER_CLEARED.map(|verdict| (verdict, &[][..]))) {
            drop(self.verdicts.get_or_create(&[("verdict", verdict.as_str())]));
            for ground in grounds {
                for form in [ReleaseForm::Empty, ReleaseForm::Null, ReleaseForm::Delete] {
                    drop(self.clears.get_or_create(&clear_labels(verdict, *ground, form)));
                }
            }
        }
        for reason in REFUSALS {
            drop(self.clears_refused.get_or_create(&[("reason", reason)]));
        }
        for result in REVIEW_RESULTS {
            drop(self.reviews.get_or_create(&[("result", result)]));
        }
        for kind in KINDS {
            drop(self.watch_restarts.get_or_create(&[("kind", kind.into())]));
        }
    }

    /// What `/metrics` answers.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// Takes in what the engine has seen since the last call.
    pub fn see(&self, seen: Vec<Seen>) {
        for seen in seen {
            match seen {
                Seen::Group(key, figures) => self.groups.show(key, figures),
                Seen::Gone(key) => self.groups.remove(&key),
                Seen::Transitions(key, counted) => {
                    if let Some(seconds) = counted.leaderless_seconds {
                        self.takeovers.get_or_create(&[("reason", counted.reason.as_str())]).observe(seconds);
                    }
                    self.groups.count(key, &counted);
                }
                Seen::Verdict(verdict) => {
                    self.verdicts.get_or_create(&[("verdict", verdict.as_str())]).inc();
                }
                Seen::Cleared(clear) => {
                    self.clears.get_or_create(&clear_labels(clear.verdict, clear.ground, clear.form)).inc();
                }
                Seen::Contradicted => self.refused("Contradicted"),
                Seen::Decided(took) => self.decisions.observe(took.as_secs_f64()),
            }
        }
    }

    /// Takes in what became of a job.
    pub fn note(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Audited { answers, broke_off, .. } => {
                let count = |result, times: usize| {
                    if times > 0 {
                        let times = u64::try_from(times).unwrap_or(u64::MAX);
                        self.reviews.get_or_create(&[("result", result)]).inc_by(times);
                    }
                };
                let allowed = answers.allowed();
                count("allowed", allowed);
                count("denied", answers.count() - allowed);
                count("refused", usize::from(matches!(broke_off, Some(BrokenOff::Refused))));
                count("failed", usize::from(matches!(broke_off, Some(BrokenOff::Failed(_)))));
            }
            Outcome::Cleared { result: Err(failure), .. } => match failure {
                Failure::Conflict => self.refused("Conflict"),
                Failure::Denied(_) => self.refused("Denied"),
                Failure::Unknown(_) => self.refused("NoAnswer"),
                Failure::NotLeading => {}
            },
            _ => {}
        }
    }

    /// A job was done, so long after it was decided.
    pub fn worked(&self, job: &Job, took: Duration) {
        self.work.get_or_create(&[("job", name(job))]).observe(took.as_secs_f64());
    }

    fn refused(&self, reason: &'static str) {
        self.clears_refused.get_or_create(&[("reason", reason)]).inc();
    }

    fn requested(&self, verb: &'static str, code: &'static str, took: Duration) {
        self.requests.get_or_create(&[("verb", verb), ("code", code)]).observe(took.as_secs_f64());
    }

    /// A watch of this kind broke.
    pub fn watch_restarted(&self, kind: Cow<'static, str>) {
        self.watch_restarts.get_or_create(&[("kind", kind)]).inc();
    }

    /// This operator leads, anew or no more. Groups are shown as it comes to decide about them.
    pub fn leads(&self, leads: bool) {
        self.leads.set(leads.into());
        self.groups.clear();
    }
}

fn clear_labels(verdict: Verdict, ground: Ground, form: ReleaseForm) -> Words<3> {
    let ground = match ground {
        Ground::Proof => "Proof",
        Ground::Expired => "RanOut",
        Ground::RiskAccepted => "RiskAccepted",
    };
    let release = match form {
        ReleaseForm::Empty => "Empty",
        ReleaseForm::Null => "Null",
        ReleaseForm::Delete => "Delete",
    };
    [("verdict", verdict.as_str()), ("ground", ground), ("release", release)]
}

/// The kind of a job, in a word.
pub(crate) fn name(job: &Job) -> &'static str {
    match job {
        Job::Act(Action::CreateLease { .. }) => "CreateLease",
        Job::Act(Action::AskTiming { .. }) => "AskTiming",
        Job::Act(Action::ReadLease { .. }) => "ReadLease",
        Job::Act(Action::ReadPods { .. }) => "ReadPods",
        Job::Act(Action::ReadNodes { .. }) => "ReadNodes",
        Job::Act(Action::Clear(_)) => "Clear",
        Job::Route(_) => "Route",
        Job::ReadGroup => "ReadGroup",
        Job::WriteStatus { .. } => "WriteStatus",
        Job::WriteInvalid { .. } => "WriteInvalid",
        Job::Audit(_) => "Audit",
        Job::Tell(_) => "Tell",
    }
}
