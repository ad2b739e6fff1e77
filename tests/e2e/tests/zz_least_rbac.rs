//! The operator has the rights that it needs, and no others: the API server's audit log of the other tests against the
//! `ClusterRole`. Runs after all others, on the same cluster.
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};

use anyhow::{Context, Result};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use leadergroup_e2e::Session;
use serde_json::Value;

const USER: &str = "system:serviceaccount:leadergroup-system:leadergroup-operator";

/// A right: API group, resource with its subresource, verb.
type Right = (String, String, String);

fn granted(role: &ClusterRole) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for rule in role.rules.iter().flatten() {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                rights.extend(rule.verbs.iter().map(|verb| (group.clone(), resource.clone(), verb.clone())));
            }
        }
    }
    rights
}

/// What the operator did, and what it was not allowed to do.
fn used(log: impl BufRead) -> Result<(BTreeSet<Right>, BTreeSet<Right>)> {
    let (mut used, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for line in log.lines() {
        let line = line?;
        if !line.contains(USER) {
            continue;
        }
        // The last line may be half written.
        let Ok(request) = serde_json::from_str::<Value>(&line) else { continue };
        let text = |pointer: &str| request.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        if text("/user/username") != USER {
            continue;
        }
        let resource = match text("/objectRef/subresource") {
            part if part.is_empty() => text("/objectRef/resource"),
            part => format!("{}/{part}", text("/objectRef/resource")),
        };
        let right = (text("/objectRef/apiGroup"), resource, text("/verb"));
        // An answer 403 may also mean that a namespace is on its way out, which is nobody's missing right.
        let decision = request.pointer("/annotations/authorization.k8s.io~1decision").and_then(Value::as_str);
        if decision == Some("forbid") {
            refused.insert(right)
        } else {
            used.insert(right)
        };
    }
    Ok((used, refused))
}

#[tokio::test]
async fn the_operator_used_each_of_its_rights_and_lacked_none() -> Result<()> {
    let promise = "the operator's ClusterRole grants what it needs and nothing else";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let role = Api::<ClusterRole>::all(session.client()).get("leadergroup-operator").await?;
    let log = session.cluster().layout()?.audit_log();
    let log = File::open(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let (used, refused) = used(BufReader::new(log))?;
    assert!(refused.is_empty(), "the operator lacks rights: {refused:?}");
    let granted = granted(&role);
    let unused: Vec<_> = granted.difference(&used).collect();
    assert!(unused.is_empty(), "rights that no test needed (were all the others run on this cluster?): {unused:?}");
    Ok(())
}
