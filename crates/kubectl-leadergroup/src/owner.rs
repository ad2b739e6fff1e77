//! What a pod was made by, and which label selector that goes by.

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

/// What made a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Owner {
    /// As `kubectl` takes it: `deployment/billing`.
    pub name: String,
    /// Which pods are its own, in every rollout.
    pub selector: LabelSelector,
}

/// Labels of one rollout, or of one pod: a selector with one of them would lose its pods.
const OF_THE_MOMENT: [&str; 11] = [
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/job-name",
    "controller-revision-hash",
    "controller-uid",
    "job-name",
    "leadergroup.dev/role",
    "pod-template-generation",
    "pod-template-hash",
    "statefulset.kubernetes.io/pod-name",
];

fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

impl Owner {
    /// What made the pod; none if nothing did that is known here.
    ///
    /// # Errors
    ///
    /// When it can't be read.
    pub async fn of(client: &Client, pod: &Pod) -> Result<Option<Self>> {
        let Some(reference) = controller(&pod.metadata) else { return Ok(None) };
        let namespace = pod.namespace().unwrap_or_default();
        let (metadata, selector) = match reference.kind.as_str() {
            "ReplicaSet" => {
                let Some(set) = get::<ReplicaSet>(client, &namespace, &reference.name).await? else { return Ok(None) };
                (set.metadata, set.spec.map(|spec| spec.selector))
            }
            "StatefulSet" => {
                let Some(set) = get::<StatefulSet>(client, &namespace, &reference.name).await? else { return Ok(None) };
                (set.metadata, set.spec.map(|spec| spec.selector))
            }
            "DaemonSet" => {
                let Some(set) = get::<DaemonSet>(client, &namespace, &reference.name).await? else { return Ok(None) };
                (set.metadata, set.spec.map(|spec| spec.selector))
            }
            // A Job's selector is its own UID: the next one has other pods.
            "Job" => {
                let Some(job) = get::<Job>(client, &namespace, &reference.name).await? else { return Ok(None) };
                (job.metadata, Some(lasting_labels(pod)))
            }
            _ => return Ok(None),
        };
        let made_by = controller(&metadata).map_or((&reference.kind, &reference.name), |it| (&it.kind, &it.name));
        let selector = lasting(selector.unwrap_or_default());
        Ok(Some(Self { name: format!("{}/{}", made_by.0.to_lowercase(), made_by.1), selector }))
    }
}

async fn get<K>(client: &Client, namespace: &str, name: &str) -> Result<Option<K>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    Ok(Api::namespaced(client.clone(), namespace).get_opt(name).await?)
}

/// The selector without what is of the moment. A `ReplicaSet`'s is then its Deployment's.
fn lasting(mut selector: LabelSelector) -> LabelSelector {
    if let Some(labels) = &mut selector.match_labels {
        labels.retain(|name, _| !OF_THE_MOMENT.contains(&name.as_str()));
    }
    selector
}

/// The pod's labels as a selector, without what is of the moment.
pub fn lasting_labels(pod: &Pod) -> LabelSelector {
    let labels: BTreeMap<_, _> = pod.labels().clone();
    lasting(LabelSelector { match_labels: Some(labels), match_expressions: None })
}

/// Whether a selector says nothing, so that it matches every pod.
pub fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_outlives_the_rollout_it_was_found_in() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"metadata": {"name": "billing-7d9-x", "labels": {
            "app": "billing", "pod-template-hash": "7d9", "leadergroup.dev/role": "leader",
        }}}))
        .unwrap();
        let labels = lasting_labels(&pod).match_labels.unwrap();
        assert_eq!(labels.into_iter().collect::<Vec<_>>(), [("app".to_owned(), "billing".to_owned())]);
    }
}
