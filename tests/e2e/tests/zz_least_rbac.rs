//! The operator has the rights that it needs, and no others: the API server's audit log of the other tests against the
//! `ClusterRole`s, and against the Role for the Lease that operators elect their leader by. Runs after all others, on the
//! same cluster.
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};

use anyhow::{Context, Result};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::Api;
use leadergroup_e2e::{OPERATOR_NAMESPACE, Session};
use serde_json::Value;

/// The Lease that operators elect their leader by.
const OWN_LEASE: &str = "leadergroup-operator";
const USER: &str = "system:serviceaccount:leadergroup-system:leadergroup-operator";

/// A right: API group, resource with its subresource, verb.
type Right = (String, String, String);

/// What `OpenShift` asks of whoever writes pods' addresses into an `EndpointSlice`, and no other API server: no request to
/// the test cluster can use it.
const OF_OPENSHIFT: (&str, &str, &str) = ("discovery.k8s.io", "endpointslices/restricted", "create");

/// What the operator did.
#[derive(Default)]
struct Used {
    /// With the right of the `ClusterRole`.
    anywhere: BTreeSet<Right>,
    /// To its own Lease, by its name.
    own_lease: BTreeSet<Right>,
    /// What it was not allowed to do, to its own Lease or to anything else.
    refused: BTreeSet<(bool, Right)>,
}

fn granted(rules: Option<&Vec<PolicyRule>>) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for rule in rules.into_iter().flatten() {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                rights.extend(rule.verbs.iter().map(|verb| (group.clone(), resource.clone(), verb.clone())));
            }
        }
    }
    rights
}

fn used(log: impl BufRead) -> Result<Used> {
    let mut used = Used::default();
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
        // A Lease can be created by a right to create any, and by no other.
        let own = text("/objectRef/namespace") == OPERATOR_NAMESPACE
            && text("/objectRef/name") == OWN_LEASE
            && text("/objectRef/resource") == "leases"
            && text("/verb") != "create";
        match decision {
            Some("forbid") => used.refused.insert((own, right)),
            _ if own => used.own_lease.insert(right),
            _ => used.anywhere.insert(right),
        };
    }
    Ok(used)
}

#[tokio::test]
async fn the_operator_used_each_of_its_rights_and_lacked_none() -> Result<()> {
    let promise = "the operator's roles grant what it needs and nothing else";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let cluster_roles = Api::<ClusterRole>::all(session.client());
    let anywhere = cluster_roles.get("leadergroup-operator").await?;
    let routing = cluster_roles.get("leadergroup-operator-routing").await?;
    let roles = Api::<Role>::namespaced(session.client(), OPERATOR_NAMESPACE);
    let own_lease = roles.get("leadergroup-operator-leader-election").await?;
    let log = session.cluster().layout()?.audit_log();
    let log = File::open(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let used = used(BufReader::new(log))?;
    let (mut granted_anywhere, granted_to_own) = (granted(anywhere.rules.as_ref()), granted(own_lease.rules.as_ref()));
    granted_anywhere.extend(granted(routing.rules.as_ref()));
    let (group, resource, verb) = OF_OPENSHIFT;
    assert!(granted_anywhere.remove(&(group.to_owned(), resource.to_owned(), verb.to_owned())), "{granted_anywhere:?}");
    // Installed by the test of spec.routing.podLabels, which has the operator be refused first.
    let pod_labels = cluster_roles.get_opt("leadergroup-operator-pod-labels").await?;
    granted_anywhere.extend(granted(pod_labels.and_then(|role| role.rules).as_ref()));
    // An API server that has just started refuses what it has yet to load the roles for.
    let is_granted = |own: bool, right| granted_anywhere.contains(right) || own && granted_to_own.contains(right);
    let lacked: Vec<_> = used.refused.iter().filter(|(own, right)| !is_granted(*own, right)).collect();
    assert!(lacked.is_empty(), "the operator lacks rights: {lacked:?}");
    for (role, granted, used) in
        [("ClusterRoles", granted_anywhere, used.anywhere), ("Role", granted_to_own, used.own_lease)]
    {
        let unused: Vec<_> = granted.difference(&used).collect();
        assert!(
            unused.is_empty(),
            "rights of the {role} that no test needed (were all the others run on this cluster?): {unused:?}"
        );
    }
    let named = own_lease.rules.iter().flatten().all(|rule| rule.resource_names == Some(vec![OWN_LEASE.to_owned()]));
    assert!(named, "the Role is for one Lease: {:?}", own_lease.rules);
    Ok(())
}
