//! A group as this plugin reads it. An operator newer than the plugin may write verdicts and reasons that it does not know:
//! they are shown as they are written, and hide nothing else.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::Resource;
use kube::core::ObjectMeta;
use leadergroup_api::{Account, CandidateCount, Leader, LeaderGroupSpec, TransitionReason, Verdict};
use serde::{Deserialize, Serialize};

/// A group.
#[derive(Resource, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[resource(inherit = "leadergroup_api::LeaderGroup")]
pub struct LeaderGroup {
    pub metadata: ObjectMeta,
    pub spec: LeaderGroupSpec,
    #[serde(default)]
    pub status: Option<LeaderGroupStatus>,
}

/// What is shown of its state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaderGroupStatus {
    pub observed_generation: Option<i64>,
    pub lease_name: Option<String>,
    pub leader: Option<Leader>,
    pub holder: Option<Holder>,
    pub account: Option<Account>,
    pub transitions: i64,
    pub lease_transitions: Option<i64>,
    pub candidates: CandidateCount,
    /// Newest first.
    pub history: Vec<Transition>,
    pub conditions: Vec<Condition>,
}

/// What the Lease says about its holder, and how that was judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    pub identity: String,
    pub verdict: Told<Verdict>,
    pub evidence: String,
}

/// One change of leadership.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    pub leader: String,
    #[serde(default, rename = "podUID")]
    pub pod_uid: Option<String>,
    #[serde(default)]
    pub from: Option<String>,
    pub reason: Told<TransitionReason>,
    pub time: Time,
    #[serde(default)]
    pub leaderless_seconds: Option<f64>,
    #[serde(default)]
    pub unobserved: Option<i64>,
}

/// One of the words that this plugin knows, or another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Told<T> {
    Known(T),
    Newer(String),
}

impl Told<Verdict> {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(verdict) => verdict.as_str(),
            Self::Newer(word) => word,
        }
    }
}

impl Told<TransitionReason> {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(reason) => reason.as_str(),
            Self::Newer(word) => word,
        }
    }
}

impl LeaderGroup {
    /// The name of the group's Lease, defaults applied.
    pub fn lease_name(&self) -> &str {
        self.spec.lease.name.as_deref().or(self.metadata.name.as_deref()).unwrap_or_default()
    }

    /// The group as the API has it, without its status, for what the API says of it.
    fn declared(&self) -> leadergroup_api::LeaderGroup {
        let mut group = leadergroup_api::LeaderGroup::new("", self.spec.clone());
        group.metadata.name.clone_from(&self.metadata.name);
        group
    }

    /// The label selector of the group's candidates, defaults applied.
    pub fn candidate_selector(&self) -> LabelSelector {
        self.declared().candidate_selector()
    }

    /// The name of the Service that only the leader answers, if there is to be one.
    pub fn leader_service_name(&self) -> Option<String> {
        self.declared().leader_service_name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_operator_writes_is_kept_as_it_is_written() {
        let group: LeaderGroup = serde_json::from_value(serde_json::json!({
            "apiVersion": "leadergroup.dev/v1alpha1", "kind": "LeaderGroup", "metadata": {"name": "billing"}, "spec": {},
            "status": {
                "holder": {"identity": "a", "verdict": "Fenced", "evidence": "its node was cut off"},
                "history": [
                    {"leader": "a", "reason": "Fenced", "time": "2026-11-25T10:00:00Z"},
                    {"leader": "b", "reason": "Expired", "time": "2026-11-25T09:00:00Z"},
                ],
                "novelty": {"is": "ignored"},
            },
        }))
        .unwrap();
        let status = group.status.unwrap();
        assert_eq!(status.holder.unwrap().verdict.as_str(), "Fenced");
        assert_eq!(status.history[0].reason.as_str(), "Fenced");
        assert_eq!(status.history[1].reason, Told::Known(TransitionReason::Expired));
        assert_eq!(serde_json::json!(status.history[0].reason), "Fenced");
    }

    #[test]
    fn defaults_are_those_of_the_api() {
        let json = |spec| serde_json::json!({"metadata": {"name": "billing"}, "spec": spec});
        for spec in [serde_json::json!({}), serde_json::json!({"lease": {"name": "other"}})] {
            let ours: LeaderGroup = serde_json::from_value(json(spec.clone())).unwrap();
            let theirs: leadergroup_api::LeaderGroup = serde_json::from_value(json(spec)).unwrap();
            assert_eq!(ours.lease_name(), theirs.lease_name());
            assert_eq!(ours.candidate_selector(), theirs.candidate_selector());
        }
    }
}
