//! `rbac`: the least rights that a group's candidates need.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};
use leadergroup_api::LeaderGroup;

use crate::group;
use crate::named::Named;
use crate::objects::{Plan, account};
use crate::output;
use crate::session::Session;

#[derive(Args, Debug)]
#[command(after_help = "Example: kubectl leadergroup rbac billing | kubectl apply -f -")]
pub struct Arguments {
    #[command(flatten)]
    group: Named,
    /// A ServiceAccount of the group's namespace; may be given several times [default: those of the candidates that run]
    #[arg(long, value_name = "NAME")]
    serviceaccount: Vec<String>,
}

pub async fn run(session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let group = group::get(session, &arguments.group.name).await?;
    let lease_exists = Api::<Lease>::namespaced(session.client.clone(), &session.namespace)
        .get_metadata_opt(group.lease_name())
        .await
        .context("can't get the group's Lease")?
        .is_some();
    let mut accounts: BTreeSet<String> = arguments.serviceaccount.iter().cloned().collect();
    if accounts.is_empty() {
        let plan = Plan::of(&group).map_err(anyhow::Error::msg)?;
        let (pods, _) = session.list::<Pod>(Some(&session.namespace)).await?;
        accounts.extend(pods.iter().filter(|pod| plan.has_candidate(pod)).filter_map(account).map(ToOwned::to_owned));
    }
    if accounts.is_empty() {
        bail!(
            "no candidate of group {} runs, so its ServiceAccount is not known: name it with --serviceaccount",
            arguments.group.name
        );
    }
    output::print(&manifest(&group, lease_exists, &accounts))?;
    Ok(ExitCode::SUCCESS)
}

/// The Role and its binding, with comments that say why.
fn manifest(group: &LeaderGroup, lease_exists: bool, accounts: &BTreeSet<String>) -> String {
    let (namespace, lease) = (group.namespace().unwrap_or_default(), group.lease_name());
    let name = format!("leadergroup-{}", group.name_any());
    let create = if lease_exists || group.spec.lease.create {
        ""
    } else {
        "\
# The Lease does not exist yet. The right to create can't be limited to a name; with spec.lease.create in the group, the
# operator creates it, and this rule can go.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
"
    };
    let subject = |account: &String| format!("- {{kind: ServiceAccount, name: {account}, namespace: {namespace}}}");
    let subjects: Vec<_> = accounts.iter().map(subject).collect();
    format!(
        "\
# The least that lets these ServiceAccounts lead group {group_name}.
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {name}
  namespace: {namespace}
rules:
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{lease}]
  verbs: [get, watch, update]
{create}---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {name}
  namespace: {namespace}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {name}
subjects:
{subjects}
",
        group_name = group.name_any(),
        subjects = subjects.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
    use serde::Deserialize as _;
    use serde_json::json;

    use super::*;

    fn made(spec: &serde_json::Value, lease_exists: bool, accounts: &[&str]) -> (Role, RoleBinding) {
        let group = json!({
            "apiVersion": "leadergroup.dev/v1alpha1", "kind": "LeaderGroup",
            "metadata": {"name": "billing", "namespace": "shop"}, "spec": spec,
        });
        let group: LeaderGroup = serde_json::from_value(group).unwrap();
        let accounts = accounts.iter().map(|name| (*name).to_owned()).collect();
        let text = manifest(&group, lease_exists, &accounts);
        let mut documents = serde_yaml_ng::Deserializer::from_str(&text);
        let mut next = || documents.next().unwrap();
        (Role::deserialize(next()).unwrap(), RoleBinding::deserialize(next()).unwrap())
    }

    fn creates(role: &Role) -> bool {
        role.rules.iter().flatten().any(|rule| rule.verbs == ["create"] && rule.resource_names.is_none())
    }

    #[test]
    fn only_the_groups_lease_may_be_renewed() {
        let (role, binding) = made(&json!({"lease": {"name": "other"}}), true, &["a", "b"]);
        let rules = role.rules.clone().unwrap();
        assert_eq!(rules.len(), 1, "{rules:?}");
        assert_eq!(rules[0].resource_names, Some(vec!["other".to_owned()]));
        assert_eq!(rules[0].verbs, ["get", "watch", "update"]);
        assert_eq!((role.namespace(), role.name_any()), (Some("shop".to_owned()), "leadergroup-billing".to_owned()));
        assert_eq!(binding.role_ref.name, role.name_any());
        let subjects: Vec<_> =
            binding.subjects.into_iter().flatten().map(|it| (it.namespace.unwrap_or_default(), it.name)).collect();
        assert_eq!(subjects, [("shop".to_owned(), "a".to_owned()), ("shop".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn leases_may_be_created_only_while_somebody_has_to() {
        for (spec, exists, expected) in
            [(json!({}), false, true), (json!({}), true, false), (json!({"lease": {"create": true}}), false, false)]
        {
            let (role, _) = made(&spec, exists, &["a"]);
            assert_eq!(creates(&role), expected, "{spec} with a Lease: {exists}");
        }
    }
}
