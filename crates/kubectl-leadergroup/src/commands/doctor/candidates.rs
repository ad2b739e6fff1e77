//! Whether there are candidates, and no others than are meant.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use kube::core::SelectorExt as _;
use leadergroup_api::GROUP_LABEL;
use serde_json::json;

use super::case::Case;
use super::finding::{Mend, Report};
use crate::objects::{Plan, is_live, is_ready};
use crate::owner::is_empty;

/// Up to so many letters may differ in a value that was mistyped.
const TYPO: usize = 2;

pub fn examine(case: &Case<'_>, report: &mut Report) {
    system_namespace(case, report);
    if case.candidates.is_empty() {
        return nobody(case, report);
    }
    if is_empty(&case.patient.group.candidate_selector()) {
        let message = format!("the selector leaves no pod out: all {} of the namespace count", case.candidates.len());
        report.warn("candidates", message, Mend::advice("name the candidates' labels in spec.candidates.selector"));
    }
    if !case.candidates.iter().any(|pod| is_ready(pod)) {
        let message = format!("none of the {} candidates is Ready", case.candidates.len());
        let mend = format!("kubectl -n {} describe pod {}", case.patient.namespace, case.candidates[0].name_any());
        report.warn("candidates", message, mend);
    }
    containers(case, report);
    others_claim_them(case, report);
}

fn system_namespace(case: &Case<'_>, report: &mut Report) {
    let namespace = case.patient.namespace;
    if namespace.starts_with("kube-") {
        let message = format!(
            "namespace {namespace} is Kubernetes' own: the group is only observed, unless the operator runs with \
             --clear-in-system-namespaces"
        );
        report.said(super::finding::Level::Warn, "namespace", message);
    }
}

fn nobody(case: &Case<'_>, report: &mut Report) {
    const CHECK: &str = "candidates";
    let (namespace, selector) = (case.patient.namespace, &case.plan.selector);
    let message = format!("no pod in namespace {namespace} matches {:?}", selector.to_string());
    if let Some((key, meant, written)) = mistyped(case) {
        let message = format!("{message}, but some have {key}={written}");
        // A value that no label can have is the group's mistake, and nothing to put into a command.
        let mend = if key == GROUP_LABEL && is_label_value(&meant) {
            Mend::from(format!("kubectl -n {namespace} label pods -l {key}={written} {key}={meant} --overwrite"))
                .and("correct it in the pods' template too")
        } else {
            let mut labels = case.patient.group.candidate_selector().match_labels.unwrap_or_default();
            labels.insert(key, written);
            case.select(&LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }).into()
        };
        return report.fail(CHECK, message, mend);
    }
    // Whoever holds the Lease is most likely meant.
    if let Some((pod, owner)) = super::lease::outsider(case) {
        let message = format!("{message}; pod {} holds the Lease", pod.name_any());
        let mend = owner.map_or_else(
            || {
                format!(
                    "kubectl -n {namespace} label pod {} {GROUP_LABEL}={}",
                    pod.name_any(),
                    case.patient.group.name_any()
                )
            },
            |owner| case.select(&owner.selector),
        );
        return report.fail(CHECK, message, mend);
    }
    let mend = Mend::from(format!("kubectl -n {namespace} get pods --show-labels"))
        .and("label the candidates in their pod template, or name their labels in spec.candidates.selector");
    report.fail(CHECK, message, mend);
}

/// A label that a pod has nearly as the selector wants it: key, wanted value, found value.
fn mistyped(case: &Case<'_>) -> Option<(String, String, String)> {
    let wanted = case.patient.group.candidate_selector().match_labels.unwrap_or_default();
    let others: BTreeSet<String> = case.patient.place.groups.iter().map(kube::ResourceExt::name_any).collect();
    for (key, meant) in wanted {
        let values = case.patient.place.pods.iter().filter(|pod| is_live(pod)).filter_map(|pod| pod.labels().get(&key));
        // A value that another group goes by is meant so.
        let near = |value: &&String| {
            **value != meant
                && strsim::osa_distance(value, &meant) <= TYPO
                && !(key == GROUP_LABEL && others.contains(*value))
        };
        if let Some(value) = values.filter(near).min_by_key(|value| strsim::osa_distance(value, &meant)) {
            return Some((key.clone(), meant.clone(), value.clone()));
        }
    }
    None
}

/// Whether a label can have that value.
fn is_label_value(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let ends = [text.bytes().next(), text.bytes().next_back()].into_iter().flatten();
    text.len() <= 63 && text.bytes().all(inner) && ends.into_iter().all(|byte| byte.is_ascii_alphanumeric())
}

fn container_names(pod: &Pod) -> impl Iterator<Item = &str> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| {
        let regular = spec.containers.iter().map(|c| c.name.as_str());
        let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
        let ephemeral = spec.ephemeral_containers.iter().flatten().map(|c| c.name.as_str());
        regular.chain(sidecars.map(|c| c.name.as_str())).chain(ephemeral)
    })
}

fn containers(case: &Case<'_>, report: &mut Report) {
    for name in &case.patient.group.spec.candidates.containers {
        if case.candidates.iter().any(|pod| container_names(pod).any(|has| has == name)) {
            continue;
        }
        let has: BTreeSet<_> = case.candidates.iter().flat_map(|pod| container_names(pod)).collect();
        let message = format!("no candidate has the container {name:?}, so no death can be proven");
        report.fail("candidates", message, case.patch(&json!({"candidates": {"containers": has}})));
    }
}

/// Pods that are candidates of other groups as well.
fn others_claim_them(case: &Case<'_>, report: &mut Report) {
    let group = case.patient.group;
    for other in case.patient.place.groups.iter().filter(|other| other.name_any() != group.name_any()) {
        let Ok(plan) = Plan::of(other) else { continue };
        let both: Vec<_> = case
            .candidates
            .iter()
            .filter(|pod| plan.selector.matches(pod.labels()))
            .map(|pod| pod.name_any())
            .collect();
        if let Some(first) = both.first()
            && !is_empty(&other.candidate_selector())
        {
            let more = if both.len() > 1 { format!(" and {} more", both.len() - 1) } else { String::new() };
            let message = format!(
                "pod {first}{more} is a candidate of group {} too; that is right only if it campaigns for both Leases",
                other.name_any()
            );
            report.warn("overlap", message, Mend::advice("give the two groups selectors that no pod matches both of"));
        }
    }
}
