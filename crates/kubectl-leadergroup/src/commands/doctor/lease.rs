//! Whether the Lease is the group's, its holder a candidate, and its timing the declared one.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use leadergroup_api::library::Notice;
use leadergroup_api::{Policy, Release, ReleaseForm};
use leadergroup_elector::lease::{MANAGER, TIMING};
use leadergroup_identity::Identity;
use serde_json::{Value, json};

use super::case::{Case, patch};
use super::finding::{Mend, Report};
use crate::model::LeaderGroup;
use crate::objects::{holder, is_coordinated, is_for_life, is_live, is_ready, library, names, renewed_by};
use crate::owner::Owner;

/// Other groups of the same Lease: it belongs to the oldest.
pub fn shared(case: &Case<'_>, report: &mut Report) {
    let group = case.patient.group;
    let age = |group: &LeaderGroup| (group.metadata.creation_timestamp.as_ref().map(|time| time.0), group.name_any());
    let same = |other: &&LeaderGroup| other.lease_name() == group.lease_name();
    let Some(oldest) = case.patient.place.groups.iter().filter(same).min_by_key(|other| age(other)) else { return };
    if age(oldest) < age(group) {
        let message = format!("Lease {} belongs to the older group {}", group.lease_name(), oldest.name_any());
        let mend = format!("kubectl -n {} delete leadergroup {}", case.patient.namespace, group.name_any());
        report.fail("shared-lease", message, mend);
    }
}

pub fn examine(case: &Case<'_>, report: &mut Report) {
    if report.objects_to("shared-lease") {
        return;
    }
    let lease = case.patient.place.lease_of(case.patient.group);
    let Some((lease, who)) = lease.and_then(|lease| Some((lease, holder(lease)?))) else {
        return never_taken(case, lease, report);
    };
    // Coordinated leader election decides: nothing is judged, and nothing cleared.
    if is_coordinated(lease) {
        return;
    }
    if is_for_life(lease) {
        let message = "the Lease has neither a duration nor renewals: it is held until its holder is proven dead";
        report.ok("lease", message);
    }
    held_by(case, lease, who, report);
    timing(case, lease, report);
    unique(case, who, report);
    release(case, lease, report);
}

fn never_taken(case: &Case<'_>, lease: Option<&Lease>, report: &mut Report) {
    let (namespace, name) = (case.patient.namespace, case.patient.group.lease_name());
    let Some(pod) = case.candidates.iter().find(|pod| is_ready(pod)) else { return };
    let candidates = case.candidates.len();
    let message = match lease {
        None if case.patient.group.spec.lease.create => {
            return report.fail(
                "lease",
                format!("Lease {name} does not exist, and the operator, which is to create it, has not"),
                Mend::advice("see above whether the operator runs"),
            );
        }
        None => {
            format!(
                "Lease {name} does not exist, though candidates run ({candidates}): they use another, or may not create it"
            )
        }
        Some(lease) if lease.spec.as_ref().is_none_or(|spec| spec.lease_transitions.unwrap_or(0) == 0) => {
            format!("Lease {name} was never taken, though candidates run ({candidates})")
        }
        Some(_) => format!("nobody holds Lease {name}, though candidates run ({candidates})"),
    };
    let mend = Mend::from(format!("kubectl -n {namespace} logs {}", pod.name_any()))
        .and("its log tells whether it campaigns, and for which Lease");
    report.fail("lease", message, mend);
}

/// A pod that is no candidate and holds the Lease, with what made it.
pub fn outsider<'c>(case: &'c Case<'_>) -> Option<(&'c Pod, Option<&'c Owner>)> {
    let lease = case.patient.place.lease_of(case.patient.group)?;
    let others = case.patient.place.pods.iter().filter(|pod| is_live(pod) && !case.plan.has_candidate(pod));
    let pod = *case.plan.fitting(holder(lease)?, others).first()?;
    Some((pod, case.patient.place.owners.get(&pod.name_any())))
}

/// Which pod the holder is.
fn held_by(case: &Case<'_>, lease: &Lease, who: &str, report: &mut Report) {
    const CHECK: &str = "holder";
    let fitting = case.plan.fitting(who, case.candidates.iter().copied());
    if fitting.len() > 1 {
        let fits: Vec<_> = fitting.iter().map(|pod| pod.name_any()).collect();
        let message = format!("holder {who:?} may be any of {}, so no death is proven", fits.join(", "));
        let mend = Mend::advice("have candidates name themselves with their UID, as in {pod}_{uid}");
        return report.warn(CHECK, message, mend);
    }
    // Without candidates, that is the trouble.
    if !fitting.is_empty() || report.objects_to("candidates") && case.candidates.is_empty() {
        return;
    }
    if let Some((pod, owner)) = outsider(case) {
        let message = format!("the Lease is held by pod {}, which the selector does not match", pod.name_any());
        let advice = format!("correct spec.candidates.selector, or label pod {} as it says", pod.name_any());
        let mend = owner.map_or_else(
            || Mend::advice(advice),
            |owner| {
                Mend::from(case.select(&owner.selector))
                    .and(format!("if {} is not meant, give the group a Lease of its own", owner.name))
            },
        );
        return report.fail(CHECK, message, mend);
    }
    if let Some(template) = Identity::proposal(who, case.candidates.iter().map(|pod| names(pod))) {
        let message = format!("holder {who:?} fits no candidate by spec.identity, but would by {template:?}");
        return report.fail(CHECK, message, case.patch(&json!({"identity": template})));
    }
    if case.plan.identity.fits_some_pod(who) {
        let message = format!(
            "holder {who:?} fits no pod that exists: it is gone, or spec.identity does not say how it names its pod"
        );
        let if_gone = if is_for_life(lease) {
            "if its process has ended, delete the Lease, which never runs out"
        } else {
            "if it is gone, wait until its Lease has run out"
        };
        let mend = Mend::advice(format!("{if_gone}; else say in spec.identity how candidates name themselves"));
        return report.warn(CHECK, message, mend);
    }
    let message = format!("holder {who:?} is not of the form that spec.identity gives, and is never cleared");
    let mend =
        Mend::advice("say in spec.identity how candidates name themselves, or give the group a Lease of its own");
    report.fail(CHECK, message, mend);
}

/// Whether candidates run the timing that the group declares.
fn timing(case: &Case<'_>, lease: &Lease, report: &mut Report) {
    let declared = &case.patient.group.spec.lease;
    let Some(recorded) = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).filter(|s| *s > 0) else {
        return;
    };
    // Our elector takes up what the group declares.
    if recorded == declared.duration_seconds
        || renewed_by(lease) == Some(MANAGER) && asks_for(lease, declared.duration_seconds)
    {
        return;
    }
    let message = format!(
        "the holder's Lease lasts {recorded} s, the group declares {} s; what counts is what the holder writes",
        declared.duration_seconds
    );
    report.warn("timing", message, patch(case.patient.group, &json!({"lease": timing_of(recorded)})));
}

fn asks_for(lease: &Lease, duration: i32) -> bool {
    lease.annotations().get(TIMING[0]).is_some_and(|text| *text == duration.to_string())
}

/// A lease duration with the other two times in client-go's proportions: 15, 10, 2.
pub fn timing_of(duration: i32) -> Value {
    let (deadline, retry) = (duration * 2 / 3, duration * 2 / 15);
    // The shortest that a Lease can be written with, as whole seconds.
    let deadline = deadline.clamp(1, (duration - 1).max(1));
    let retry = if deadline * 5 > retry.max(1) * 6 { retry.max(1) } else { (deadline * 5 - 1) / 6 };
    json!({"durationSeconds": duration, "renewDeadlineSeconds": deadline, "retryPeriodSeconds": retry})
}

/// Whether one who comes back under a leader's name can be taken for it.
fn unique(case: &Case<'_>, who: &str, report: &mut Report) {
    let in_set = |pod: &Pod| pod.owner_references().iter().any(|owner| owner.kind == "StatefulSet");
    if !case.candidates.iter().any(|pod| in_set(pod) && who == names(pod).name) {
        return;
    }
    let message = "the candidates are a StatefulSet's and call themselves by their names alone: after a forced deletion, the \
                   next pod of the name can't be told from the last";
    report.warn(
        "identity",
        message,
        Mend::advice("have them call themselves {pod}_{uid}, by the downward API's metadata.uid"),
    );
}

/// Reports a form of clear that the standbys' library is known not to understand.
fn release(case: &Case<'_>, lease: &Lease, report: &mut Report) {
    const CHECK: &str = "release";
    let Some(library) = library(lease) else { return };
    let stale = &case.patient.group.spec.stale_holder;
    let form = stale.release.form(Some(library));
    let needs_deletion = library.release() == ReleaseForm::Delete;
    let wanted = if needs_deletion { Release::Delete } else { Release::Auto };
    let set = case.patch(&json!({"staleHolder": {"release": wanted}}));
    match library.notices(form) {
        Notice::NextTry | Notice::LastReadExpiry => {}
        Notice::AfterOwnDuration => {
            let message = format!(
                "the Lease is written by {library}: after a clear in the form {form:?}, its standbys wait a whole lease \
                 duration more"
            );
            report.warn(CHECK, message, set);
        }
        // Such standbys would not lead either if nobody cleared the Lease; a pod that starts later would.
        Notice::Never if needs_deletion => {
            let message = format!("the Lease is written by {library}, whose standbys notice only that it is deleted");
            report.warn(CHECK, message, set);
        }
        Notice::Never => {
            let message = format!(
                "the Lease is written by {library}: after a clear in the form {form:?}, none of its standbys leads again by \
                 itself"
            );
            // Nothing is cleared yet.
            if stale.policy == Policy::Observe {
                report.warn(CHECK, message, set);
            } else {
                report.fail(CHECK, message, set);
            }
        }
    }
}
