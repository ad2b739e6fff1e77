//! What the operator says itself, where the checks have not said it already.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::case::Case;
use super::finding::{Level, Report};
use crate::objects::is_for_life;

pub fn examine(case: &Case<'_>, report: &mut Report) {
    // What was said of another spec may not be so any more.
    if !case.is_observed() {
        return;
    }
    let is_for_life = case.patient.place.lease_of(case.patient.group).is_some_and(is_for_life);
    for condition in case.patient.group.status.iter().flat_map(|status| &status.conditions) {
        let Some((level, check)) = judge(condition) else { continue };
        let is_told = is_for_life && is_about_expiry(condition)
            || match check {
                "Ready" => report.findings.iter().any(|finding| finding.level == Level::Fail),
                "Stalled" => report.objects_to("shared-lease") || report.objects_to("namespace"),
                "CandidatesFound" => report.objects_to("candidates"),
                // The same pod is the trouble, whether it is told of as holder or as candidate.
                "HolderSuspect" => report.objects_to("holder") || report.objects_to("candidates"),
                // Just asked, what is missing is known better than by the last audit.
                "CandidatesAuthorized" => case.patient.rights.is_ok(),
                "LeaseSuspect" => report.objects_to("release"),
                "TimingSuspect" => report.objects_to("timing"),
                _ => false,
            };
        if !is_told {
            report.said(level, check, format!("{}: {}", condition.reason, condition.message));
        }
    }
}

/// Returns whether the condition asks for a duration or renewals, which a Lease that is held for life does not have.
fn is_about_expiry(condition: &Condition) -> bool {
    condition.type_ == "TimingSuspect" || matches!(condition.reason.as_str(), "NoDuration" | "NoRenewTime")
}

/// How bad it is what the condition says; nothing if it says that all is well, or that nothing is known.
fn judge(condition: &Condition) -> Option<(Level, &'static str)> {
    match (condition.type_.as_str(), condition.status.as_str()) {
        ("Stalled", "True") => Some((Level::Fail, "Stalled")),
        ("CandidatesFound", "False") => Some((Level::Fail, "CandidatesFound")),
        ("CandidatesAuthorized", "False") => Some((Level::Fail, "CandidatesAuthorized")),
        ("HolderSuspect", "True") => Some((Level::Warn, "HolderSuspect")),
        ("LeaseSuspect", "True") => Some((Level::Warn, "LeaseSuspect")),
        ("Flapping", "True") => Some((Level::Warn, "Flapping")),
        ("TimingSuspect", "True") => Some((Level::Warn, "TimingSuspect")),
        ("LeaderSuspect", "True") => Some((Level::Warn, "LeaderSuspect")),
        ("Routed", "False") => {
            let is_trouble = matches!(condition.reason.as_str(), "ServiceTaken" | "WriteFailed");
            Some((if is_trouble { Level::Fail } else { Level::Warn }, "Routed"))
        }
        ("Ready", "False") => Some((Level::Fail, "Ready")),
        _ => None,
    }
}
