//! `rbac`: the least rights that a group's candidates need.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};

use crate::group;
use crate::model::LeaderGroup;
use crate::named::Named;
use crate::objects::{Plan, account};
use crate::output;
use crate::rights::Account;
use crate::session::Session;

#[derive(Args, Debug)]
#[command(after_help = "Example: kubectl leadergroup rbac billing | kubectl apply -f -")]
pub struct Arguments {
    #[command(flatten)]
    group: Named,
    /// A ServiceAccount, of the group's namespace unless another is named; may be given several times [default: those of the
    /// candidates that run]
    #[arg(long, value_name = "[NAMESPACE:]NAME", value_parser = service_account)]
    serviceaccount: Vec<Subject>,
}

/// A `ServiceAccount`, of the group's namespace unless it says another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Subject {
    namespace: Option<String>,
    name: String,
}

/// A `ServiceAccount` on the command line, with its namespace as kubectl takes it, or without.
fn service_account(text: &str) -> Result<Subject, String> {
    let (namespace, name) = text.split_once(':').map_or((None, text), |(namespace, name)| (Some(namespace), name));
    // As the API server has it for the names of most kinds; those of namespaces have no dots.
    let is_name = |text: &str| {
        text.len() <= 253
            && text.split('.').all(|part| {
                let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
                !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
            })
    };
    if !is_name(name) || namespace.is_some_and(|namespace| !is_name(namespace) || namespace.contains('.')) {
        return Err("write the ServiceAccount's name, or NAMESPACE:NAME".to_owned());
    }
    Ok(Subject { namespace: namespace.map(ToOwned::to_owned), name: name.to_owned() })
}

pub async fn run(session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let group = group::get(session, &arguments.group.name).await?;
    let lease_exists = Api::<Lease>::namespaced(session.client.clone(), &session.namespace)
        .get_metadata_opt(group.lease_name())
        .await
        .context("can't get the group's Lease")?
        .is_some();
    let of = |namespace: Option<&String>, name: &str| Account {
        namespace: namespace.unwrap_or(&session.namespace).clone(),
        name: name.to_owned(),
    };
    let named = arguments.serviceaccount.iter().map(|subject| of(subject.namespace.as_ref(), &subject.name));
    let mut accounts: BTreeSet<Account> = named.collect();
    if accounts.is_empty() {
        let plan = Plan::of(&group).map_err(anyhow::Error::msg)?;
        let (pods, _) = session.list::<Pod>(Some(&session.namespace)).await?;
        let candidates = pods.iter().filter(|pod| plan.has_candidate(pod));
        accounts.extend(candidates.filter_map(account).map(|name| of(None, name)));
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
fn manifest(group: &LeaderGroup, lease_exists: bool, accounts: &BTreeSet<Account>) -> String {
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
    let subject = |Account { namespace, name }: &Account| {
        format!("- {{kind: ServiceAccount, name: {name}, namespace: {namespace}}}")
    };
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
  verbs: [get, watch, update, patch]
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
        let of = |subject: Subject| Account {
            namespace: subject.namespace.unwrap_or_else(|| "shop".to_owned()),
            name: subject.name,
        };
        let accounts = accounts.iter().map(|text| of(service_account(text).unwrap())).collect();
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
        let (role, binding) = made(&json!({"lease": {"name": "other"}}), true, &["b", "other:a"]);
        let rules = role.rules.clone().unwrap();
        assert_eq!(rules.len(), 1, "{rules:?}");
        assert_eq!(rules[0].resource_names, Some(vec!["other".to_owned()]));
        assert_eq!(rules[0].verbs, ["get", "watch", "update", "patch"]);
        assert_eq!((role.namespace(), role.name_any()), (Some("shop".to_owned()), "leadergroup-billing".to_owned()));
        assert_eq!(binding.role_ref.name, role.name_any());
        let subjects: Vec<_> =
            binding.subjects.into_iter().flatten().map(|it| (it.namespace.unwrap_or_default(), it.name)).collect();
        assert_eq!(subjects, [("other".to_owned(), "a".to_owned()), ("shop".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn what_is_no_service_account_never_gets_into_a_manifest() {
        for wrong in ["", ":", "a:", ":a", "A", "a b", "a}, {x", "a:b:c", "n.s:a", "-a", "a..b"] {
            assert!(service_account(wrong).is_err(), "{wrong}");
        }
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
