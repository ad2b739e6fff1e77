//! Groups, written and read.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use leadergroup_api::{
    Holder, LeaderGroup, LeaderGroupSpec, LeaderGroupStatus, OnRestart, Policy, Release, Transition, TransitionReason,
    UnconfirmedPolicy, Verdict,
};

/// A `LeaderGroup` in the making.
#[derive(Clone, Debug)]
pub struct Group {
    name: String,
    spec: LeaderGroupSpec,
}

impl Group {
    /// A group with an empty spec, but the timing that [`crate::Candidates`] have: 6 s, 4 s, 1 s.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), spec: LeaderGroupSpec { history_limit: 20, ..LeaderGroupSpec::default() } }
            .timing(6, 4, 1)
    }

    /// Lease duration, renew deadline and retry period, in seconds.
    #[must_use]
    pub fn timing(self, duration: i32, renew_deadline: i32, retry_period: i32) -> Self {
        self.with(|spec| {
            spec.lease.duration_seconds = duration;
            spec.lease.renew_deadline_seconds = renew_deadline;
            spec.lease.retry_period_seconds = retry_period;
        })
    }

    /// The containers that must be down.
    #[must_use]
    pub fn containers(self, names: &[&str]) -> Self {
        self.with(|spec| spec.candidates.containers = names.iter().map(|name| (*name).to_owned()).collect())
    }

    /// Candidates are the pods with this label.
    #[must_use]
    pub fn selecting(self, label: &str, value: &str) -> Self {
        let match_labels = Some(BTreeMap::from([(label.to_owned(), value.to_owned())]));
        self.with(|spec| spec.candidates.selector = Some(LabelSelector { match_labels, match_expressions: None }))
    }

    /// Candidates are all pods of the namespace.
    #[must_use]
    pub fn selecting_all(self) -> Self {
        self.with(|spec| spec.candidates.selector = Some(LabelSelector::default()))
    }

    /// The name of the Lease, if it is not the group's.
    #[must_use]
    pub fn lease(self, name: &str) -> Self {
        self.with(|spec| spec.lease.name = Some(name.to_owned()))
    }

    /// The operator creates the Lease.
    #[must_use]
    pub fn creates_lease(self) -> Self {
        self.with(|spec| spec.lease.create = true)
    }

    /// How a holder's identity names its pod.
    #[must_use]
    pub fn identity(self, template: &str) -> Self {
        self.with(|spec| spec.identity = Some(template.to_owned()))
    }

    /// Dead holders are reported, and left alone.
    #[must_use]
    pub fn observes(self) -> Self {
        self.with(|spec| spec.stale_holder.policy = Policy::Observe)
    }

    /// What a cleared Lease looks like.
    #[must_use]
    pub fn release(self, form: impl Into<Release>) -> Self {
        self.with(|spec| spec.stale_holder.release = form.into())
    }

    /// A leader that restarts keeps its Lease until it runs out.
    #[must_use]
    pub fn keeps_on_restart(self) -> Self {
        self.with(|spec| spec.stale_holder.on_restart = OnRestart::Keep)
    }

    /// Seconds between proof and clear.
    #[must_use]
    pub fn delay(self, seconds: i32) -> Self {
        self.with(|spec| spec.stale_holder.delay_seconds = seconds)
    }

    /// A holder gone without proof is cleared after that many seconds.
    #[must_use]
    pub fn accepts_risk(self, after_seconds: i32) -> Self {
        self.with(|spec| {
            spec.stale_holder.unconfirmed.policy = UnconfirmedPolicy::AcceptRisk;
            spec.stale_holder.unconfirmed.after_seconds = Some(after_seconds);
        })
    }

    /// Any other change of the spec.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut LeaderGroupSpec)) -> Self {
        change(&mut self.spec);
        self
    }

    /// The object.
    pub fn build(self) -> LeaderGroup {
        LeaderGroup::new(&self.name, self.spec)
    }
}

/// What tests ask a group.
pub trait GroupView {
    /// The status; an empty one before the first was written.
    fn seen(&self) -> LeaderGroupStatus;

    /// The name of the pod that leads.
    fn leading_pod(&self) -> Option<String> {
        self.seen().leader.and_then(|leader| leader.pod_name)
    }

    /// What the Lease says about its holder.
    fn holder(&self) -> Option<Holder> {
        self.seen().holder
    }

    /// The verdict on the holder.
    fn verdict(&self) -> Option<Verdict> {
        self.holder().map(|holder| holder.verdict)
    }

    /// The newest transition.
    fn newest(&self) -> Option<Transition> {
        self.seen().history.into_iter().next()
    }

    /// Why the present leader leads.
    fn reason(&self) -> Option<TransitionReason> {
        self.newest().map(|transition| transition.reason)
    }

    /// A condition by its type.
    fn condition(&self, type_: &str) -> Option<Condition> {
        self.seen().conditions.into_iter().find(|condition| condition.type_ == type_)
    }

    /// Whether a condition has this status and this reason.
    fn says(&self, type_: &str, status: &str, reason: &str) -> bool {
        self.condition(type_).is_some_and(|condition| condition.status == status && condition.reason == reason)
    }
}

impl GroupView for LeaderGroup {
    fn seen(&self) -> LeaderGroupStatus {
        self.status.clone().unwrap_or_default()
    }
}
