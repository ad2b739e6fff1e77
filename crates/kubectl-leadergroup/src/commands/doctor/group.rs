//! What could stop a group from working.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::finding::{Finding, Level, Mend, Report};
use super::snapshot::{Patient, Place};
use super::{candidates, conditions, lease, rights};
use crate::group::is_observed;
use crate::model::LeaderGroup;
use crate::objects::{Plan, full_name, holder};

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

/// What there is to say of the group: one line that it is well, or what is not.
pub fn examine(patient: &Patient<'_>) -> Vec<Finding> {
    let group = patient.group;
    let mut report = Report::about(full_name(group));
    if patient.namespace == "kube-node-lease" {
        let message = "the Leases of this namespace are heartbeats of nodes, not elections";
        let mend = format!("kubectl -n kube-node-lease delete leadergroup {}", group.name_any());
        report.fail("namespace", message, mend);
        return report.findings;
    }
    let plan = match Plan::of(group) {
        Ok(plan) => plan,
        Err(why) => {
            let mend = format!("kubectl -n {} edit leadergroup {}", patient.namespace, group.name_any());
            report.fail("spec", why, mend);
            return report.findings;
        }
    };
    let candidates: Vec<_> = patient.place.pods.iter().filter(|pod| plan.has_candidate(pod)).collect();
    let case = Case { patient, plan, candidates };
    lease::shared(&case, &mut report);
    candidates::examine(&case, &mut report);
    lease::examine(&case, &mut report);
    rights::examine(&case, &mut report);
    observed(&case, &mut report);
    conditions::examine(&case, &mut report);
    if report.findings.iter().all(|finding| finding.level <= Level::Skip) {
        report.ok("group", well(&case));
    }
    report.findings
}

fn observed(case: &Case<'_>, report: &mut Report) {
    if case.is_observed() {
        return;
    }
    let seen = case.patient.group.status.as_ref().and_then(|status| status.observed_generation);
    let message = match seen {
        None => "the operator has not looked at it yet".to_owned(),
        Some(seen) => format!("the operator has not taken in the spec as it is: its status is of generation {seen}"),
    };
    report.fail("observed", message, Mend::advice("see above whether the operator runs"));
}

fn well(case: &Case<'_>) -> String {
    let lease = case.patient.place.lease_of(case.patient.group);
    let leader = lease.and_then(holder).unwrap_or("nobody");
    format!("{leader} leads; candidates: {}", case.candidates.len())
}

/// Groups that can't be read.
pub fn unreadable(namespace: &str, place: &Place) -> Vec<Finding> {
    let told = |(name, why): &(String, String)| {
        let mut report = Report::about(format!("{namespace}/{name}"));
        let mend = format!("kubectl -n {namespace} edit leadergroup {name}");
        report.fail("spec", format!("it can't be read: {why}"), mend);
        report.findings
    };
    place.unreadable.iter().flat_map(told).collect()
}
