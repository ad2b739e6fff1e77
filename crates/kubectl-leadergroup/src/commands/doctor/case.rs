//! A group, as each check gets it.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::snapshot::Patient;
use crate::group::is_observed;
use crate::model::LeaderGroup;
use crate::objects::Plan;

/// A group with what the checks need of it.
pub struct Case<'s> {
    pub patient: &'s Patient<'s>,
    pub plan: Plan,
    /// Its candidates that have not ended.
    pub candidates: Vec<&'s Pod>,
}

impl Case<'_> {
    /// The command that changes the group's spec so.
    pub fn patch(&self, spec: &Value) -> String {
        patch(self.patient.group, spec)
    }

    /// The command that has the group select these pods, and no others. What the patch does not name would stay, so what is
    /// to go is named.
    pub fn select(&self, selector: &LabelSelector) -> String {
        let mut patch = json!(selector);
        let present = self.patient.group.spec.candidates.selector.clone().unwrap_or_default();
        let wanted = selector.match_labels.clone().unwrap_or_default();
        for key in present.match_labels.unwrap_or_default().into_keys().filter(|key| !wanted.contains_key(key)) {
            patch["matchLabels"][key] = Value::Null;
        }
        if present.match_expressions.is_some() && selector.match_expressions.is_none() {
            patch["matchExpressions"] = Value::Null;
        }
        patch.sort_all_objects();
        self.patch(&json!({"candidates": {"selector": patch}}))
    }

    /// Whether the operator has seen the spec as it is.
    pub fn is_observed(&self) -> bool {
        is_observed(self.patient.group)
    }
}

/// The command that changes a group's spec so, to be run in a shell.
pub fn patch(group: &LeaderGroup, spec: &Value) -> String {
    let (namespace, name) = (group.namespace().unwrap_or_default(), group.name_any());
    let patch = json!({"spec": spec}).to_string();
    // Escaped as JSON is, it has no NUL, which is all that can't be quoted.
    let patch = shlex::try_quote(&patch).unwrap_or_default();
    format!("kubectl -n {namespace} patch leadergroup {name} --type=merge -p {patch}")
}
