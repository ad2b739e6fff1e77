//! `install`: what installs the operator, for `kubectl apply`.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Deserialize as _;
use serde_yaml_ng::Value;

use crate::output;

/// Where the operator is, unless told otherwise; `config` names it too.
pub const NAMESPACE: &str = "leadergroup-system";

/// The files that `config/default` consists of, besides the definition.
const FILES: [&str; 15] = [
    include_str!("../../../../config/default/namespace.yaml"),
    include_str!("../../../../config/rbac/account/service_account.yaml"),
    include_str!("../../../../config/rbac/account/leader_election_role.yaml"),
    include_str!("../../../../config/rbac/account/leader_election_role_binding.yaml"),
    include_str!("../../../../config/rbac/role.yaml"),
    include_str!("../../../../config/rbac/role_binding.yaml"),
    include_str!("../../../../config/components/routing/role.yaml"),
    include_str!("../../../../config/components/routing/role_binding.yaml"),
    include_str!("../../../../config/users/view_role.yaml"),
    include_str!("../../../../config/users/edit_role.yaml"),
    include_str!("../../../../config/admission/policy.yaml"),
    include_str!("../../../../config/admission/binding.yaml"),
    include_str!("../../../../config/operator/deployment.yaml"),
    include_str!("../../../../config/operator/disruption_budget.yaml"),
    include_str!("../../../../config/operator/network_policy.yaml"),
];

/// The kinds among them that are in no namespace.
const OF_THE_CLUSTER: [&str; 5] =
    ["Namespace", "ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"];

/// What to do where the operator is not installed, or not as a whole.
pub const HOW: &str = "install it: kubectl leadergroup install --image YOUR/leadergroup-operator:TAG | kubectl apply \
                       --server-side -f - (or, where Helm did: helm upgrade)";

const WHERE: &str = "\
A namespace that --namespace names is taken to exist, and is not printed: what is printed may then be deleted again, and the
namespace stays as it was. One that is printed admits restricted pods only, and is deleted with everything in it.

  kubectl leadergroup install --image YOUR/leadergroup-operator:TAG | kubectl apply --server-side -f -";

#[derive(Args, Debug)]
#[command(after_help = WHERE)]
pub struct Arguments {
    /// The operator's image, where the nodes find it
    #[arg(long, value_name = "IMAGE")]
    image: String,
    /// Print the namespace too, though --namespace names one [default: only of leadergroup-system]
    #[arg(long)]
    create_namespace: bool,
}

/// Prints them, for the namespace that is named.
pub fn run(namespace: Option<&str>, arguments: &Arguments) -> Result<ExitCode> {
    let namespace = namespace.unwrap_or(NAMESPACE);
    let is_ours = namespace == NAMESPACE || arguments.create_namespace;
    output::print(&manifest(namespace, is_ours, &arguments.image)?)?;
    Ok(ExitCode::SUCCESS)
}

fn manifest(namespace: &str, is_ours: bool, image: &str) -> Result<String> {
    let mut text = leadergroup_api::crd_yaml()?;
    for object in FILES.iter().flat_map(|file| serde_yaml_ng::Deserializer::from_str(file)) {
        let object = Value::deserialize(object)?;
        if !is_ours && object.get("kind").and_then(Value::as_str) == Some("Namespace") {
            continue;
        }
        let object = placed(object, namespace, image);
        text += "---\n";
        text += &serde_yaml_ng::to_string(&object.context("a file of config has no kind or no metadata")?)?;
    }
    Ok(text)
}

/// The object in that namespace, with that image.
fn placed(mut object: Value, namespace: &str, image: &str) -> Option<Value> {
    let kind = object.get("kind")?.as_str()?.to_owned();
    let metadata = object.get_mut("metadata")?.as_mapping_mut()?;
    if kind == "Namespace" {
        metadata.insert("name".into(), namespace.into());
    } else if !OF_THE_CLUSTER.contains(&kind.as_str()) {
        metadata.insert("namespace".into(), namespace.into());
    }
    for subject in object.get_mut("subjects").and_then(Value::as_sequence_mut).into_iter().flatten() {
        subject.as_mapping_mut()?.insert("namespace".into(), namespace.into());
    }
    if kind == "Deployment" {
        let containers = object.get_mut("spec")?.get_mut("template")?.get_mut("spec")?.get_mut("containers")?;
        containers.get_mut(0)?.as_mapping_mut()?.insert("image".into(), image.into());
    }
    Some(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_in_the_namespace_that_is_named() {
        let text = manifest("operators", true, "example.com/operator:1").unwrap();
        assert!(!text.contains(NAMESPACE), "{text}");
        assert!(text.contains("name: operators\n"), "{text}");
        assert!(text.contains("image: example.com/operator:1\n"), "{text}");
    }

    #[test]
    fn a_namespace_that_is_somebody_elses_is_neither_labelled_nor_deleted() {
        let kinds = |is_ours| manifest("operators", is_ours, "x").unwrap().matches("kind: Namespace\n").count();
        assert_eq!((kinds(true), kinds(false)), (1, 0));
    }
}
