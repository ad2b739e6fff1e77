//! What the operator is installed from, without a cluster: the chart and the kustomizations say the same, and a choice that
//! can't be meant is refused with a sentence.
#![allow(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result};
use leadergroup_e2e::cluster::workspace_root;
use leadergroup_e2e::packages::{chart, documents, helm, install_of_plugin, kustomize, render};
use leadergroup_e2e::{OPERATOR_NAMESPACE, run};
use serde_json::{Value, json};

const ONE_NAMESPACE: &str = "watchNamespaces={default}";

/// What may be done: the namespace or `*`, the API group, the resource, its name or `*`, and the verb.
type Right = [String; 5];

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

fn the<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = of_kind(objects, kind);
    let object = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "two of kind {kind}");
    object
}

/// What the operator's account may do by all bindings, each of which must be to it and to a role that is there.
fn rights(objects: &[Value]) -> BTreeSet<Right> {
    let account = text(the(objects, "Deployment"), "/spec/template/spec/serviceAccountName");
    let home = text(the(objects, "ServiceAccount"), "/metadata/namespace");
    let mut rights = BTreeSet::new();
    for binding in objects.iter().filter(|object| text(object, "/kind").ends_with("RoleBinding")) {
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

/// A kustomization with components, as a user writes it.
fn with_component(base: &str, component: &str) -> Result<Vec<Value>> {
    let mut objects = kustomize(base)?;
    let namespace = text(the(&objects, "ServiceAccount"), "/metadata/namespace").to_owned();
    let folder = workspace_root()?.join("config/components").join(component);
    for file in ["role.yaml", "role_binding.yaml"] {
        let mut found = documents(&fs::read_to_string(folder.join(file))?)?;
        if let Some(subject) = found[0].pointer_mut("/subjects/0/namespace") {
            *subject = json!(namespace);
        }
        objects.append(&mut found);
    }
    Ok(objects)
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
fn the_plugin_installs_what_the_kustomization_does() -> Result<()> {
    let sorted = |mut objects: Vec<Value>| {
        objects.iter_mut().for_each(level_numbers);
        objects.sort_by_key(|object| (text(object, "/kind").to_owned(), text(object, "/metadata/name").to_owned()));
        objects
    };
    // The image that the kustomization names.
    let installed = sorted(install_of_plugin("leadergroup.test/leadergroup-operator:dev")?);
    let expected = sorted(kustomize("config/default")?);
    assert_eq!(installed, expected);
    Ok(())
}

#[test]
fn the_chart_grants_what_the_kustomizations_grant() -> Result<()> {
    assert_same_rights(&render(OPERATOR_NAMESPACE, &[])?, &kustomize("config/default")?);
    assert_same_rights(&render("default", &[ONE_NAMESPACE])?, &kustomize("config/namespaced")?);
    let reads = render("default", &[ONE_NAMESPACE, "rbac.clusterReads=true"])?;
    assert_same_rights(&reads, &with_component("config/namespaced", "cluster-reads")?);
    let labels = render(OPERATOR_NAMESPACE, &["rbac.podLabels=true"])?;
    assert_same_rights(&labels, &with_component("config/default", "pod-labels")?);
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

/// Without what one of the two has by its nature: labels of a release, the image, the level of logs.
fn pod(objects: &[Value]) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.remove("app.kubernetes.io/instance");
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => {
                items.retain(|item| item["name"] != "RUST_LOG");
                items.iter_mut().for_each(strip);
            }
            _ => {}
        }
    }
    let mut spec = the(objects, "Deployment")["spec"].clone();
    strip(&mut spec);
    spec["template"]["spec"]["containers"][0]["image"] = json!(null);
    spec
}

#[test]
fn the_chart_runs_the_operator_as_the_kustomization_does() -> Result<()> {
    let (chart, kustomization) = (render(OPERATOR_NAMESPACE, &[])?, kustomize("config/default")?);
    assert_eq!(pod(&chart), pod(&kustomization));
    for kind in ["PodDisruptionBudget", "NetworkPolicy"] {
        let spec = |objects: &[Value]| {
            let mut spec = the(objects, kind)["spec"].clone();
            for selector in ["/selector/matchLabels", "/podSelector/matchLabels"] {
                if let Some(Value::Object(labels)) = spec.pointer_mut(selector) {
                    labels.remove("app.kubernetes.io/instance");
                }
            }
            spec
        };
        assert_eq!(spec(&chart), spec(&kustomization), "{kind}");
    }
    Ok(())
}

fn level_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => *value = json!(number.as_f64()),
        Value::Array(items) => items.iter_mut().for_each(level_numbers),
        Value::Object(fields) => fields.values_mut().for_each(level_numbers),
        _ => {}
    }
}

#[test]
fn the_chart_has_no_other_definition_and_policy_than_the_project() -> Result<()> {
    let objects = render(OPERATOR_NAMESPACE, &[])?;
    let root = workspace_root()?;
    for (kind, file) in [
        ("CustomResourceDefinition", "crds/leadergroups.yaml"),
        ("ValidatingAdmissionPolicy", "config/admission/policy.yaml"),
        ("ValidatingAdmissionPolicyBinding", "config/admission/binding.yaml"),
    ] {
        let mut own = documents(&fs::read_to_string(root.join(file))?)?;
        let mut rendered = the(&objects, kind).clone();
        // Helm writes 1 for 1.0.
        for object in [&mut own[0], &mut rendered] {
            level_numbers(object);
        }
        assert_eq!(rendered["metadata"]["name"], own[0]["metadata"]["name"], "{file}");
        assert!(rendered["spec"] == own[0]["spec"], "the chart's is another than {file}");
    }
    let keeps = |objects: &[Value]| {
        the(objects, "CustomResourceDefinition")["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    };
    assert!(keeps(&objects), "uninstalling the release would delete every LeaderGroup");
    assert!(!keeps(&render(OPERATOR_NAMESPACE, &["crds.keep=false"])?));
    let without = render(OPERATOR_NAMESPACE, &["crds.enabled=false", "admissionPolicy.enabled=false"])?;
    assert_eq!(of_kind(&without, "CustomResourceDefinition").count(), 0);
    assert_eq!(without.iter().filter(|object| text(object, "/kind").starts_with("Validating")).count(), 0);
    Ok(())
}

#[test]
fn every_choice_passes_helms_own_check_and_shows_in_what_is_rendered() -> Result<()> {
    let choices: [(&str, &str, &str, Value); 12] = [
        ("replicas=3", "Deployment", "/spec/replicas", json!(3)),
        (
            "image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "Deployment",
            "/spec/template/spec/containers/0/image",
            json!(
                "leadergroup.test/leadergroup-operator@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
            ),
        ),
        (
            "image.tag=v9",
            "Deployment",
            "/spec/template/spec/containers/0/image",
            json!("leadergroup.test/leadergroup-operator:v9"),
        ),
        ("imagePullSecrets[0].name=key", "Deployment", "/spec/template/spec/imagePullSecrets/0/name", json!("key")),
        (
            "priorityClassName=system-cluster-critical",
            "Deployment",
            "/spec/template/spec/priorityClassName",
            json!("system-cluster-critical"),
        ),
        ("log.format=json", "Deployment", "/spec/template/spec/containers/0/args/0", json!("--log-format=json")),
        ("tolerations[0].operator=Exists", "Deployment", "/spec/template/spec/tolerations/0/operator", json!("Exists")),
        (
            "topologySpreadConstraints[0].topologyKey=rack",
            "Deployment",
            "/spec/template/spec/topologySpreadConstraints/0/topologyKey",
            json!("rack"),
        ),
        ("serviceAccount.name=mine", "ServiceAccount", "/metadata/name", json!("mine")),
        ("networkPolicy.egress[0].ports[0].port=6443", "NetworkPolicy", "/spec/policyTypes/1", json!("Egress")),
        ("metrics.serviceMonitor.enabled=true", "ServiceMonitor", "/spec/endpoints/0/port", json!("metrics")),
        (
            "watchNamespaces={shop,bank}",
            "Deployment",
            "/spec/template/spec/containers/0/env/4/value",
            json!("shop,bank"),
        ),
    ];
    for (choice, kind, pointer, expected) in choices {
        run(helm()?.args(["lint", "--strict"]).arg(chart()?).args(["--set", choice])).context(choice)?;
        let objects = render(OPERATOR_NAMESPACE, &[choice])?;
        assert_eq!(the(&objects, kind).pointer(pointer), Some(&expected), "{choice}");
    }
    let alone = render(OPERATOR_NAMESPACE, &["replicas=1"])?;
    assert_eq!(of_kind(&alone, "PodDisruptionBudget").count(), 0, "it would keep a node from being drained");
    Ok(())
}

#[test]
fn a_choice_that_can_not_be_meant_is_refused_with_a_sentence() -> Result<()> {
    for (choice, said) in [
        ("replicas=-1", "replicas"),
        ("replica=3", "replica"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("image.digest=v1", "digest"),
        ("watchNamespaces={Shop}", "watchNamespaces"),
        ("metrics.service.enabled=false,metrics.serviceMonitor.enabled=true", "set metrics.service.enabled=true"),
    ] {
        let refused = render(OPERATOR_NAMESPACE, &[choice]).unwrap_err().to_string();
        assert!(refused.contains(said), "{choice}: {refused}");
    }
    let mut old = helm()?;
    old.args(["template", "leadergroup"]).arg(chart()?).args(["--kube-version", "1.29.0"]);
    let refused = run(&mut old).unwrap_err().to_string();
    assert!(refused.contains("set admissionPolicy.enabled=false"), "{refused}");
    Ok(())
}

#[test]
fn the_versions_of_the_chart_are_the_workspaces() -> Result<()> {
    let chart: BTreeMap<String, Value> = serde_yaml_ng::from_str(&fs::read_to_string(chart()?.join("Chart.yaml"))?)?;
    for field in ["version", "appVersion"] {
        assert_eq!(chart[field], env!("CARGO_PKG_VERSION"), "{field}");
    }
    Ok(())
}

#[test]
fn what_is_run_is_what_a_restricted_namespace_takes() -> Result<()> {
    let objects = kustomize("config/default")?;
    let namespace = the(&objects, "Namespace");
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    let limits = &the(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"];
    assert_eq!((limits["memory"].is_string(), limits["cpu"].is_null()), (true, true), "throttled, it loses its Lease");
    Ok(())
}
