//! Every metric by its name, kind, labels and help: what is registered, and what README's table is made from.

use prometheus_client::metrics::MetricType;

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// Its name, without what its kind adds to it.
    pub name: &'static str,
    /// Its kind.
    pub kind: MetricType,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// How many label sets there can be.
    pub series: &'static str,
    /// What it says.
    pub help: &'static str,
}

impl Described {
    /// Its name as it is exposed and asked for; a histogram's has `_bucket`, `_sum` and `_count` behind it.
    pub fn exposed(&self) -> String {
        let suffix = match self.kind {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            MetricType::Gauge | MetricType::Histogram | MetricType::Unknown => "",
        };
        format!("{}{suffix}", self.name)
    }

    /// Its row in README's table.
    pub fn row(&self) -> String {
        let labels: Vec<_> = self.labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, labels) = (self.kind.as_str(), labels.join(", "));
        format!("| `{}` | {kind} | {labels} | {} | {} |", self.exposed(), self.series, self.help)
    }
}

const GROUP: &[&str] = &["namespace", "group"];

pub(super) const LEADER: Described = Described {
    name: "leadergroup_leader",
    kind: MetricType::Info,
    labels: &["namespace", "group", "pod", "node"],
    series: "1 per group",
    help: "The pod that leads and its node, each empty where it is not known; absent while nobody leads",
};
pub(super) const TRANSITIONS: Described = Described {
    name: "leadergroup_transitions",
    kind: MetricType::Counter,
    labels: &["namespace", "group", "reason"],
    series: "8 per group",
    help: "Changes of leadership since this operator leads, by the reason that `status.history` gives",
};
pub(super) const LEADERLESS: Described = Described {
    name: "leadergroup_leaderless_seconds",
    kind: MetricType::Counter,
    labels: GROUP,
    series: "1 per group",
    help: "Seconds between a leader's end and the next one's start, added when the next one leads",
};
pub(super) const LEADERLESS_SINCE: Described = Described {
    name: "leadergroup_leaderless_since_timestamp_seconds",
    kind: MetricType::Gauge,
    labels: GROUP,
    series: "1 per group",
    help: "Since when nobody leads although there are candidates, in seconds since 1970; absent otherwise, and of a group that \
           can't be judged",
};
pub(super) const STATUS_TRANSITIONS: Described = Described {
    name: "leadergroup_status_transitions",
    kind: MetricType::Gauge,
    labels: GROUP,
    series: "1 per group",
    help: "Changes of leadership that `status.transitions` counts, whichever operator counted them: it never falls, and its \
           growth over a time tells all that there were",
};
pub(super) const CANDIDATES: Described = Described {
    name: "leadergroup_candidates",
    kind: MetricType::Gauge,
    labels: GROUP,
    series: "1 per group",
    help: "Pods that may lead",
};
pub(super) const CANDIDATES_READY: Described = Described {
    name: "leadergroup_candidates_ready",
    kind: MetricType::Gauge,
    labels: GROUP,
    series: "1 per group",
    help: "Those of them that are Ready",
};
pub(super) const AUTHORIZED: Described = Described {
    name: "leadergroup_candidates_authorized",
    kind: MetricType::Gauge,
    labels: GROUP,
    series: "1 per group",
    help: "Whether the ServiceAccounts of all candidates may do what an elector has to (1) or not (0); absent while unknown",
};
pub(super) const ABNORMAL: Described = Described {
    name: "leadergroup_abnormal",
    kind: MetricType::Gauge,
    labels: &["namespace", "group", "condition", "reason"],
    series: "1 per group and condition",
    help: "1 for each condition of the group that is not as it should be; `Ready` and `CandidatesAuthorized` have metrics of \
           their own",
};
pub(super) const TAKEOVERS: Described = Described {
    name: "leadergroup_takeover_seconds",
    kind: MetricType::Histogram,
    labels: &["reason"],
    series: "7",
    help: "Seconds between a leader's end and the next one's start, one observation per transition",
};
pub(super) const VERDICTS: Described = Described {
    name: "leadergroup_verdicts",
    kind: MetricType::Counter,
    labels: &["verdict"],
    series: "12",
    help: "Verdicts on holders, counted when they come to stand",
};
pub(super) const CLEARS: Described = Described {
    name: "leadergroup_clears",
    kind: MetricType::Counter,
    labels: &["verdict", "ground", "release"],
    series: "36",
    help: "Holders cleared: by which verdict, on what ground (`Proof`, `RanOut`, `RiskAccepted`), in which form of release",
};
pub(super) const CLEARS_REFUSED: Described = Described {
    name: "leadergroup_clears_refused",
    kind: MetricType::Counter,
    labels: &["reason"],
    series: "4",
    help: "Clears that did not come about: `Conflict` (the Lease had changed), `Contradicted` (the candidates, read once more, \
           spoke against it), `Denied` (the API server refuses), `NoAnswer`",
};
pub(super) const DECISIONS: Described = Described {
    name: "leadergroup_decision_duration_seconds",
    kind: MetricType::Histogram,
    labels: &[],
    series: "1",
    help: "Time to judge one group and to decide; renewals cause no decision",
};
pub(super) const WORK: Described = Described {
    name: "leadergroup_work_duration_seconds",
    kind: MetricType::Histogram,
    labels: &["job"],
    series: "10",
    help: "Time from a decision to the API server's last answer about it, the wait for a place included",
};
pub(super) const REQUESTS: Described = Described {
    name: "leadergroup_api_request_duration_seconds",
    kind: MetricType::Histogram,
    labels: &["verb", "code"],
    series: "30",
    help: "Time until the API server's answer began, by verb (`WATCH` apart from `GET`) and class of code (`error`: none came); \
           not of the operator's own Lease",
};
pub(super) const WATCH_RESTARTS: Described = Described {
    name: "leadergroup_watch_restarts",
    kind: MetricType::Counter,
    labels: &["kind"],
    series: "6",
    help: "Watches that broke and were opened again",
};
pub(super) const REVIEWS: Described = Described {
    name: "leadergroup_audit_reviews",
    kind: MetricType::Counter,
    labels: &["result"],
    series: "4",
    help: "SubjectAccessReviews sent, by result: allowed, denied, refused (the operator may not ask) or failed",
};
pub(super) const OPERATOR_LEADER: Described = Described {
    name: "leadergroup_operator_leader",
    kind: MetricType::Gauge,
    labels: &[],
    series: "1",
    help: "Whether this operator leads (1) or stands by (0)",
};
pub(super) const BUILD: Described = Described {
    name: "leadergroup_build",
    kind: MetricType::Info,
    labels: &["version"],
    series: "1",
    help: "The operator's version",
};

/// All of them: first those of groups, then those of the operator itself.
pub const ALL: [Described; 20] = [
    LEADER,
    TRANSITIONS,
    LEADERLESS,
    LEADERLESS_SINCE,
    STATUS_TRANSITIONS,
    CANDIDATES,
    CANDIDATES_READY,
    AUTHORIZED,
    ABNORMAL,
    TAKEOVERS,
    VERDICTS,
    CLEARS,
    CLEARS_REFUSED,
    DECISIONS,
    WORK,
    REQUESTS,
    WATCH_RESTARTS,
    REVIEWS,
    OPERATOR_LEADER,
    BUILD,
];
