//! Whether an operator is there, and can do its work.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;

use super::finding::{Finding, Mend, Report};
use super::operators::{LABEL, Operator, Reach, is_optional};
use super::snapshot::Installation;
use crate::commands::install;
use crate::objects::{holder, is_ready, runs_out_at};
use crate::rights::Right;

/// Clocks of different machines may be that far apart before an operator is said not to renew.
const CLOCKS: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);

/// What there is to say of it. `wanted` are the fields that this plugin knows of, `namespaces` where groups are looked at.
pub fn examine(found: &Installation, wanted: &[String], namespaces: &[String], now: Timestamp) -> Vec<Finding> {
    let mut report = Report::about("installation");
    definition(found, wanted, &mut report);
    operators(found, namespaces, now, &mut report);
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

fn operators(found: &Installation, namespaces: &[String], now: Timestamp, report: &mut Report) {
    const CHECK: &str = "operator";
    let all = match &found.operators {
        Ok(all) => all,
        Err(why) => return report.skip(CHECK, why),
    };
    // Where none is credible, the rights of what may be one are the trouble.
    let (operators, impostors): (Vec<_>, Vec<_>) = all.iter().partition(|operator| operator.is_credible());
    let (operators, impostors) = if operators.is_empty() { (impostors, operators) } else { (operators, impostors) };
    for it in impostors {
        let account = it.account.as_deref().unwrap_or_default();
        let message = format!(
            "pods of namespace {} carry the label of an operator, but their ServiceAccount {account} may not write the status \
             of groups: they are not taken for one",
            it.namespace
        );
        report.warn(CHECK, message, Mend::advice("take the label away, or give the operator its rights"));
    }
    let is_watched = |namespace: &&String| operators.iter().any(|operator| operator.reach.covers(namespace));
    let unwatched: Vec<_> = namespaces.iter().filter(|namespace| !is_watched(namespace)).map(String::as_str).collect();
    if !unwatched.is_empty() {
        let there: Vec<_> = operators
            .iter()
            .map(|it| format!("the one in namespace {} watches {}", it.namespace, watches(it)))
            .collect();
        let message = format!("no operator watches {}: {}", unwatched.join(", "), there.join("; "));
        let advice = "add the namespace to the operator's WATCH_NAMESPACES (with Helm: watchNamespaces), and grant it the Role of \
                      config/namespaced there";
        report.fail(CHECK, message, Mend::advice(advice));
    }
    let matters = |it: &&&Operator| namespaces.is_empty() || namespaces.iter().any(|name| it.reach.covers(name));
    for it in operators.iter().filter(matters) {
        operator(it, now, report);
        rights(it, report);
    }
}

fn watches(operator: &Operator) -> String {
    match &operator.reach {
        Reach::All => "all namespaces".to_owned(),
        Reach::Only(namespaces) => namespaces.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
    }
}

fn operator(it: &Operator, now: Timestamp, report: &mut Report) {
    const CHECK: &str = "operator";
    let Operator { namespace, pods, .. } = it;
    let leader = it.lease.as_ref().ok().and_then(Option::as_ref).and_then(|lease| Some((lease, holder(lease)?)));
    let is_current = |lease: &Lease| runs_out_at(lease).is_some_and(|at| at + CLOCKS > now);
    if pods.is_empty() {
        if leader.is_some_and(|(lease, _)| is_current(lease)) {
            let message = format!("one leads by its Lease in namespace {namespace}, though no pod carries its label");
            return report.ok(CHECK, message);
        }
        let message = format!("no pod is labelled {LABEL}: nobody watches the groups");
        let advice =
            format!("see its Deployment: kubectl get deployments -A -l {LABEL}; where there is none, {}", install::HOW);
        return report.fail(CHECK, message, Mend::advice(advice));
    }
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    let logs = format!("kubectl -n {namespace} logs -l {LABEL} --tail=20");
    if ready == 0 {
        let message = format!("none of its {} pods in namespace {namespace} is ready", pods.len());
        return report.fail(CHECK, message, logs);
    }
    let all = pods.len();
    match (&it.lease, leader) {
        (Err(why), _) => report.skip(CHECK, why),
        (Ok(_), None) => {
            let message =
                format!("{ready} of its {all} pods in namespace {namespace} are ready, but none of them leads");
            report.fail(CHECK, message, logs);
        }
        (Ok(_), Some((lease, who))) if is_current(lease) => {
            let watches = watches(it);
            let message =
                format!("{who} leads; {ready} of {all} pods in namespace {namespace} are ready; it watches {watches}");
            report.ok(CHECK, message);
        }
        (Ok(_), Some((_, who))) => {
            report.fail(CHECK, format!("{who} holds its Lease in namespace {namespace}, but does not renew it"), logs);
        }
    }
}

fn rights(it: &Operator, report: &mut Report) {
    const CHECK: &str = "operator-rights";
    let lacks = match &it.lacks {
        Err(why) => return report.skip(CHECK, why),
        Ok(lacks) => lacks,
    };
    let who = format!("ServiceAccount {}/{}", it.namespace, it.account.as_deref().unwrap_or_default());
    let (optional, needed): (Vec<_>, Vec<_>) = lacks.iter().partition(|right| is_optional(right));
    let told = |rights: &[&Right]| rights.iter().map(|right| in_place(right)).collect::<Vec<_>>().join(", ");
    if !needed.is_empty() {
        let advice = match it.reach {
            Reach::All => install::HOW,
            Reach::Only(_) => {
                "grant it the Role of config/namespaced in each namespace that it watches (with Helm: helm upgrade)"
            }
        };
        report.fail(CHECK, format!("{who} may not {}", told(&needed)), Mend::advice(advice));
    }
    if !optional.is_empty() {
        let mut resources: Vec<_> =
            optional.iter().map(|right| format!("{}.{}", right.resource, right.group)).collect();
        resources.dedup();
        let resources: Vec<_> = resources.iter().map(|name| name.trim_end_matches('.')).collect();
        let message = format!(
            "{who} lacks rights to {}: lost nodes are not seen, or candidates' rights not audited, and the rest works",
            resources.join(", ")
        );
        let advice = match it.reach {
            Reach::All => install::HOW,
            Reach::Only(_) => "config/components/cluster-reads (with Helm: rbac.clusterReads=true) allows it",
        };
        report.warn(CHECK, message, Mend::advice(advice));
    }
    if lacks.is_empty() {
        report.ok(CHECK, format!("{who} may do all that the operator has to"));
    }
}

fn in_place(right: &Right) -> String {
    if right.namespace.is_empty() { right.to_string() } else { format!("{right} in {}", right.namespace) }
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
            let advice =
                "have whoever administers the cluster apply config/admission (with Helm: admissionPolicy.enabled=true)";
            report.warn(CHECK, message, Mend::advice(advice));
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
