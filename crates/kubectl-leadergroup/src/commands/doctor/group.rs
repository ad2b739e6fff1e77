//! What could stop a group from working.

use kube::ResourceExt as _;

use super::case::Case;
use super::finding::{Finding, Level, Mend, Report};
use super::snapshot::{Patient, Place};
use super::{candidates, conditions, lease, rights};
use crate::objects::{Plan, full_name, holder};

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
