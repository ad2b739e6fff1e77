//! The writes: a hint on the Lease of a leader that reads it, and an eviction.

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Status;
use kube::{Api, ResourceExt as _};
use leadergroup_elector::lease::PREFERRED_HOLDER;
use serde_json::{Value, json};

use super::plan::is_ours;
use crate::objects::holder;

/// Who this is in managed fields.
const MANAGER: &str = "kubectl-leadergroup";

/// Sets the hint who shall lead, or takes it away, on exactly that version of the Lease. False if there is a later one.
async fn hint(leases: &Api<Lease>, lease: &Lease, preferred: Value) -> Result<bool> {
    let patch = json!({"metadata": {
        "resourceVersion": lease.resource_version(), "uid": lease.uid(), "annotations": {PREFERRED_HOLDER: preferred},
    }});
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    match leases.patch_metadata(&lease.name_any(), &params, &Patch::Merge(patch)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error).with_context(|| format!("can't annotate Lease {}", lease.name_any())),
    }
}

/// Asks the holder to hand over, while it is that one and reads the hint. Returns false if it is not any more.
pub async fn ask(leases: &Api<Lease>, name: &str, from: &str, preferred: &str) -> Result<bool> {
    loop {
        let Some(lease) = leases.get_opt(name).await.context("can't get the group's Lease")? else { return Ok(false) };
        if holder(&lease) != Some(from) || !is_ours(&lease) {
            return Ok(false);
        }
        if hint(leases, &lease, json!(preferred)).await? {
            return Ok(true);
        }
    }
}

/// Takes that hint away again, and no other. It stays only where it is nothing to the holder, another program, whose Lease is not
/// touched; returns false then.
pub async fn withdraw(leases: &Api<Lease>, name: &str, preferred: &str) -> Result<bool> {
    loop {
        let Some(lease) = leases.get_opt(name).await.context("can't get the group's Lease")? else { return Ok(true) };
        if lease.annotations().get(PREFERRED_HOLDER).is_none_or(|hint| hint != preferred) {
            return Ok(true);
        }
        if holder(&lease).is_some() && !is_ours(&lease) {
            return Ok(false);
        }
        if hint(leases, &lease, Value::Null).await? {
            return Ok(true);
        }
    }
}

/// Evicts a pod, which a `PodDisruptionBudget` may forbid.
pub async fn evict(pods: &Api<Pod>, namespace: &str, name: &str, uid: &str) -> Result<()> {
    // Not by `Api::evict`, which sends the precondition under a name that the API server does not know.
    let preconditions = Preconditions { uid: Some(uid.to_owned()), ..Preconditions::default() };
    let eviction = Eviction {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        delete_options: Some(DeleteOptions { preconditions: Some(preconditions), ..DeleteOptions::default() }),
    };
    let done: kube::Result<Value> = pods.create_subresource("eviction", name, &PostParams::default(), &eviction).await;
    match done {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 429 => bail!(refused(namespace, name, &status)),
        Err(error) => Err(error).with_context(|| format!("can't evict pod {name}")),
    }
}

/// Why the pod is not evicted now, and what to do.
fn refused(namespace: &str, name: &str, status: &Status) -> String {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let budgets: Vec<_> =
        causes.filter(|cause| cause.reason == "DisruptionBudget").map(|cause| cause.message.as_str()).collect();
    if budgets.is_empty() {
        return format!("pod {name} was not evicted, because the API server is busy: {}; try again", status.message);
    }
    format!(
        "pod {name} was not evicted, because a PodDisruptionBudget forbids it: {}; try again when more of its pods are ready \
         (kubectl -n {namespace} get poddisruptionbudgets)",
        budgets.join("; ")
    )
}
