//! What the operator, and those who have groups, may do by what is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result};
use leadergroup_e2e::OPERATOR_NAMESPACE;
use leadergroup_e2e::cluster::workspace_root;
use leadergroup_e2e::packages::{kustomize, render, render_as};
use serde_json::{Value, json};

use super::{of_kind, strings, text, the};

const ONE_NAMESPACE: &str = "watchNamespaces={default}";

/// What may be done: the namespace or `*`, the API group, the resource, its name or `*`, and the verb.
type Right = [String; 5];

fn bindings(objects: &[Value]) -> impl Iterator<Item = &Value> {
    objects.iter().filter(|object| text(object, "/kind").ends_with("RoleBinding"))
}

/// What the operator's account may do by all bindings, each of which must be to it and to a role that is there.
fn rights(objects: &[Value]) -> BTreeSet<Right> {
    let account = text(the(objects, "Deployment"), "/spec/template/spec/serviceAccountName");
    let home = text(the(objects, "ServiceAccount"), "/metadata/namespace");
    let mut rights = BTreeSet::new();
    for binding in bindings(objects) {
        let subject = json!([{"kind": "ServiceAccount", "name": account, "namespace": home}]);
        assert_eq!(binding["subjects"], subject, "{binding}");
        let namespace = text(binding, "/metadata/namespace");
        let is_meant = |role: &&Value| {
            role["metadata"]["name"] == binding["roleRef"]["name"] && text(role, "/metadata/namespace") == namespace
        };
        let role = of_kind(objects, text(binding, "/roleRef/kind")).find(is_meant).expect("the role of a binding");
        for rule in role["rules"].as_array().into_iter().flatten() {
            let names = strings(&rule["resourceNames"]);
            let names = if names.is_empty() { vec!["*".to_owned()] } else { names };
            for [group, resource] in pairs(&rule["apiGroups"], &rule["resources"]) {
                for name in &names {
                    let within = if namespace.is_empty() { "*" } else { namespace };
                    rights.extend(
                        strings(&rule["verbs"])
                            .into_iter()
                            .map(|verb| [within.to_owned(), group.clone(), resource.clone(), name.clone(), verb]),
                    );
                }
            }
        }
    }
    rights
}

fn pairs(some: &Value, others: &Value) -> Vec<[String; 2]> {
    let others = strings(others);
    strings(some)
        .into_iter()
        .flat_map(|a| others.iter().map(move |b| [a.clone(), b.clone()]).collect::<Vec<_>>())
        .collect()
}

/// A kustomization on top of one of `config`, as a user writes it; `rest` are its other lines.
fn on_top(base: &str, component: &str, rest: &str) -> Result<Vec<Value>> {
    let folders = workspace_root()?.join("target/tmp");
    fs::create_dir_all(&folders)?;
    let folder = tempfile::tempdir_in(folders)?;
    let config = "../../../config";
    let text = format!("resources: [{config}/{base}]\ncomponents: [{config}/components/{component}]\n{rest}");
    fs::write(folder.path().join("kustomization.yaml"), text)?;
    kustomize(folder.path().to_str().context("a path of text")?)
}

fn assert_same_rights(chart: &[Value], kustomize: &[Value]) {
    let (chart, kustomize) = (rights(chart), rights(kustomize));
    assert!(chart.len() > 20, "{chart:?}");
    let only = |one: &BTreeSet<Right>, other: &BTreeSet<Right>| one.difference(other).cloned().collect::<Vec<_>>();
    assert_eq!(
        (only(&chart, &kustomize), only(&kustomize, &chart)),
        (Vec::new(), Vec::new()),
        "only the chart grants; only config grants"
    );
}

#[test]
fn the_chart_grants_what_the_kustomizations_grant() -> Result<()> {
    assert_same_rights(&render(OPERATOR_NAMESPACE, &[])?, &kustomize("config/default")?);
    assert_same_rights(&render("default", &[ONE_NAMESPACE])?, &kustomize("config/namespaced")?);
    let reads = render("default", &[ONE_NAMESPACE, "rbac.clusterReads=true"])?;
    assert_same_rights(&reads, &on_top("namespaced", "cluster-reads", "")?);
    let labels = render(OPERATOR_NAMESPACE, &["rbac.podLabels=true"])?;
    assert_same_rights(&labels, &on_top("default", "pod-labels", "")?);
    let labels = render("default", &[ONE_NAMESPACE, "rbac.podLabels=true"])?;
    assert_same_rights(&labels, &on_top("namespaced", "namespaced-pod-labels", "")?);
    Ok(())
}

#[test]
fn without_routing_the_operator_may_write_no_service_and_no_slice() -> Result<()> {
    let is_of_traffic = |right: &Right| right[2] == "services" || right[2].starts_with("endpointslices");
    // The kustomization's line left out.
    let mut without = kustomize("config/default")?;
    without.retain(|object| {
        let is_of_routing = text(object, "/metadata/name") == "leadergroup-operator-routing";
        !(is_of_routing && ["ClusterRole", "ClusterRoleBinding"].contains(&text(object, "/kind")))
    });
    assert_same_rights(&render(OPERATOR_NAMESPACE, &["rbac.routing=false"])?, &without);
    let verbs: BTreeSet<_> = rights(&without).into_iter().filter(is_of_traffic).map(|right| right[4].clone()).collect();
    assert_eq!(verbs, ["list", "watch"].map(ToOwned::to_owned).into(), "what all groups' watches need");
    let with = rights(&kustomize("config/default")?);
    for right in [["", "services", "create"], ["discovery.k8s.io", "endpointslices/restricted", "create"]] {
        let [group, resource, verb] = right;
        assert!(with.contains(&["*", group, resource, "*", verb].map(ToOwned::to_owned)), "{right:?}");
    }
    Ok(())
}

#[test]
fn whoever_may_view_or_edit_a_namespace_may_do_so_with_its_groups() -> Result<()> {
    let roles = |objects: &[Value]| -> BTreeMap<String, Value> {
        of_kind(objects, "ClusterRole")
            .filter(|role| role["metadata"]["labels"].to_string().contains("aggregate-to-"))
            .map(|role| {
                let labels = role["metadata"]["labels"].as_object().into_iter().flatten();
                let to: BTreeSet<_> =
                    labels.filter_map(|(key, _)| key.strip_prefix("rbac.authorization.k8s.io/aggregate-to-")).collect();
                (text(role, "/metadata/name").to_owned(), json!({"to": to, "rules": role["rules"]}))
            })
            .collect()
    };
    let of_chart = roles(&render(OPERATOR_NAMESPACE, &[])?);
    assert_eq!(of_chart, roles(&kustomize("config/users")?));
    assert_eq!(of_chart, roles(&kustomize("config/default")?));
    let allowed = |to: &str| -> BTreeSet<String> {
        let aggregated = of_chart.values().filter(|role| strings(&role["to"]).contains(&to.to_owned()));
        aggregated.flat_map(|role| strings(&role["rules"][0]["verbs"])).collect()
    };
    assert_eq!(allowed("view"), ["get", "list", "watch"].map(ToOwned::to_owned).into());
    for verb in ["get", "list", "watch", "create", "update", "patch", "delete"] {
        assert!(allowed("edit").contains(verb) && allowed("admin").contains(verb), "{verb}");
    }
    for choice in ["rbac.aggregateClusterRoles=false", "crds.enabled=false"] {
        assert!(roles(&render(OPERATOR_NAMESPACE, &[choice])?).is_empty(), "{choice}");
    }
    Ok(())
}

/// The names of what is in no namespace.
fn of_the_cluster(objects: &[Value]) -> BTreeSet<String> {
    let outside = objects.iter().filter(|object| object["metadata"]["namespace"].is_null());
    outside.map(|object| format!("{} {}", text(object, "/kind"), text(object, "/metadata/name"))).collect()
}

#[test]
fn installations_in_two_namespaces_take_nothing_from_each_other() -> Result<()> {
    // As the head of config/components/cluster-reads says.
    let kustomization = |namespace: &str| {
        on_top("namespaced", "cluster-reads", &format!("namespace: {namespace}\nnameSuffix: -{namespace}\n"))
    };
    let own = ["crds.enabled=false", "admissionPolicy.enabled=false", "rbac.clusterReads=true"];
    let release = |namespace: &str| {
        let watched = format!("watchNamespaces={{{namespace}}}");
        render(namespace, &[&own[..], &[watched.as_str()]].concat())
    };
    for [shop, bank] in [[kustomization("shop")?, kustomization("bank")?], [release("shop")?, release("bank")?]] {
        let (in_shop, in_bank) = (of_the_cluster(&shop), of_the_cluster(&bank));
        assert_eq!(in_shop.len(), 2, "a role and its binding: {in_shop:?}");
        assert!(in_shop.is_disjoint(&in_bank), "{in_shop:?} {in_bank:?}");
        let may_read_nodes = |objects: &[Value]| rights(objects).iter().any(|right| right[2] == "nodes");
        assert!(may_read_nodes(&shop) && may_read_nodes(&bank));
    }
    Ok(())
}

#[test]
fn each_release_has_its_own_lease() -> Result<()> {
    let lease = |release: &str| -> Result<String> {
        let objects = render_as(release, "operators", &["watchNamespaces={shop}", "rbac.clusterReads=true"])?;
        let env = &the(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"];
        let set = env.as_array().into_iter().flatten().find(|variable| variable["name"] == "LEASE_NAME");
        let lease = set.context("no LEASE_NAME")?["value"].as_str().context("a name")?.to_owned();
        let renews = ["operators", "coordination.k8s.io", "leases", &lease, "update"].map(ToOwned::to_owned);
        assert!(rights(&objects).contains(&renews), "it may not renew {lease}");
        Ok(lease)
    };
    // The name without a chart, so that the two can take over from each other.
    assert_eq!(lease("leadergroup")?, "leadergroup-operator");
    assert_ne!(lease("leadergroup-shop")?, lease("leadergroup-bank")?);
    Ok(())
}

#[test]
fn an_operator_for_one_namespace_has_there_what_another_has_everywhere_and_nothing_else() -> Result<()> {
    let in_no_namespace = |right: &Right| {
        ["nodes", "subjectaccessreviews"].contains(&right[2].as_str()) || right[1] == "rbac.authorization.k8s.io"
    };
    let everywhere = rights(&kustomize("config/default")?);
    let expected: BTreeSet<Right> = everywhere
        .into_iter()
        .filter(|right| !in_no_namespace(right))
        .map(|[_, group, resource, name, verb]| ["default".to_owned(), group, resource, name, verb])
        .collect();
    let kustomization = kustomize("config/namespaced")?;
    assert_eq!(rights(&kustomization), expected);
    let chart = render("default", &[ONE_NAMESPACE, "crds.enabled=false", "admissionPolicy.enabled=false"])?;
    for object in kustomization.iter().chain(&chart) {
        assert_eq!(text(object, "/metadata/namespace"), "default", "{object}");
    }
    Ok(())
}

#[test]
fn an_operator_that_watches_other_namespaces_than_its_own_may_create_its_lease() -> Result<()> {
    let rights = rights(&render("operators", &["watchNamespaces={shop,bank}"])?);
    let right =
        |namespace: &str, verb: &str| [namespace, "coordination.k8s.io", "leases", "*", verb].map(ToOwned::to_owned);
    for namespace in ["shop", "bank"] {
        assert!(rights.contains(&right(namespace, "patch")), "{rights:?}");
    }
    assert!(
        rights.contains(&right("operators", "create")) && !rights.contains(&right("operators", "patch")),
        "{rights:?}"
    );
    Ok(())
}
