//! Whether the operator is there, and can do its work.

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::finding::{Finding, Report};
use super::snapshot::Installation;
use crate::objects::{holder, is_ready, runs_out_at};

/// Which pods are the operator's.
pub const OPERATOR_LABEL: &str = "app.kubernetes.io/name=leadergroup-operator";

/// Clocks of different machines may be that far apart before an operator is said not to renew.
const CLOCKS: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);

/// What there is to say of it. `wanted` are the fields that this plugin knows of.
pub fn examine(found: &Installation, wanted: &[String], now: Timestamp) -> Vec<Finding> {
    let mut report = Report::about("installation");
    definition(found, wanted, &mut report);
    operator(found, now, &mut report);
    rights(found, &mut report);
    admission(found, &mut report);
    report.findings
}

fn definition(found: &Installation, wanted: &[String], report: &mut Report) {
    const CHECK: &str = "definition";
    const MEND: &str = "kubectl leadergroup crds | kubectl apply -f -";
    match &found.definition {
        Err(why) => report.skip(CHECK, why),
        Ok(None) => report.fail(CHECK, "the custom resource definition leadergroups.leadergroup.dev is missing", MEND),
        Ok(Some(served)) => {
            let lacking: Vec<_> = wanted.iter().filter(|field| !served.contains(field)).cloned().collect();
            // A field that is missing has all that is in it missing.
            let is_top = |field: &&String| {
                field.rsplit_once('.').is_none_or(|(parent, _)| !lacking.iter().any(|other| other == parent))
            };
            let told: Vec<_> = lacking.iter().filter(is_top).map(String::as_str).collect();
            if told.is_empty() {
                report.ok(CHECK, "leadergroups.leadergroup.dev is served with every field that this plugin knows");
            } else {
                let message = format!(
                    "leadergroups.leadergroup.dev is older than this plugin: it lacks {}, which the API server would drop",
                    told.join(", ")
                );
                report.fail(CHECK, message, MEND);
            }
        }
    }
}

fn operator(found: &Installation, now: Timestamp, report: &mut Report) {
    const CHECK: &str = "operator";
    let pods = match &found.pods {
        Ok(pods) => pods,
        Err(why) => return report.skip(CHECK, why),
    };
    let leader = found.lease.as_ref().ok().and_then(Option::as_ref).and_then(|lease| Some((lease, holder(lease)?)));
    let Some(first) = pods.first() else {
        if leader.is_some_and(|(lease, _)| runs_out_at(lease).is_some_and(|at| at + CLOCKS > now)) {
            return report.ok(CHECK, "it leads by its Lease, though no pod carries its label");
        }
        let message = format!("no pod is labelled {OPERATOR_LABEL}: nobody watches the groups");
        return report.fail(CHECK, message, "kubectl apply -k config/default");
    };
    let namespace = first.namespace().unwrap_or_default();
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    if ready == 0 {
        let message = format!("none of its {} pods in namespace {namespace} is ready", pods.len());
        return report.fail(CHECK, message, format!("kubectl -n {namespace} logs -l {OPERATOR_LABEL} --tail=20"));
    }
    let logs = format!("kubectl -n {namespace} logs -l {OPERATOR_LABEL} --tail=20");
    match (&found.lease, leader) {
        (Err(why), _) => report.skip(CHECK, why),
        (Ok(_), None) => {
            report.fail(CHECK, format!("{ready} of its {} pods are ready, but none of them leads", pods.len()), logs);
        }
        (Ok(_), Some((lease, who))) => match runs_out_at(lease) {
            Some(at) if at + CLOCKS > now => {
                report.ok(CHECK, format!("{who} leads; {ready} of {} pods are ready", pods.len()));
            }
            _ => report.fail(CHECK, format!("{who} holds its Lease, but does not renew it"), logs),
        },
    }
}

fn rights(found: &Installation, report: &mut Report) {
    const CHECK: &str = "operator-rights";
    match &found.lacks {
        Err(why) => report.skip(CHECK, why),
        Ok(lacks) if lacks.is_empty() => report.ok(CHECK, "its ServiceAccount may do all that the operator has to"),
        Ok(lacks) => {
            let verbs: Vec<_> = lacks.iter().map(ToString::to_string).collect();
            let message = format!("its ServiceAccount may not {}", verbs.join(", "));
            report.fail(CHECK, message, "kubectl apply -k config/default");
        }
    }
}

fn admission(found: &Installation, report: &mut Report) {
    const CHECK: &str = "admission";
    match &found.admission {
        Err(why) => report.skip(CHECK, why),
        Ok(missing) if missing.is_empty() => report.ok(CHECK, "who writes a group has to have rights to its Lease"),
        Ok(missing) => {
            let message = format!(
                "missing: {} leadergroup-lease-rights, so whoever may write groups can have any Lease of their namespace \
                 cleared",
                missing.join(" and ")
            );
            report.warn(CHECK, message, "kubectl apply -k config/admission");
        }
    }
}

/// The fields of a definition's schema, with dots between them.
pub fn fields(schema: &serde_json::Value) -> Vec<String> {
    fn walk(schema: &serde_json::Value, at: &str, found: &mut Vec<String>) {
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
            walk(inner, &path, found);
            found.push(path);
        }
        if schema["items"].is_object() {
            walk(&schema["items"], at, found);
        }
    }
    let mut found = Vec::new();
    walk(schema, "", &mut found);
    found
}
