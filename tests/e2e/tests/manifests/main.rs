//! What the operator is installed from, without a cluster: the chart and the kustomizations say the same, and a choice that
//! can't be meant is refused with a sentence.
#![allow(missing_docs)]

mod rights;

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use leadergroup_e2e::cluster::workspace_root;
use leadergroup_e2e::packages::{chart, documents, helm, install_of_plugin, kustomize, render, sample};
use leadergroup_e2e::{OPERATOR_NAMESPACE, run};
use serde_json::{Value, json};

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
fn prometheus_and_grafana_are_told_the_same_by_the_chart_and_the_kustomization() -> Result<()> {
    let choices = ["serviceMonitor", "prometheusRule", "dashboard"].map(|part| format!("metrics.{part}.enabled=true"));
    let rendered = render(OPERATOR_NAMESPACE, &choices.each_ref().map(String::as_str))?;
    let root = workspace_root()?.join("config/monitoring");
    let own = |file: &str| -> Result<Value> { Ok(documents(&fs::read_to_string(root.join(file))?)?.remove(0)) };
    let endpoint = |monitor: &Value| {
        let mut endpoint = monitor["spec"]["endpoints"][0].clone();
        endpoint.as_object_mut().map(|fields| fields.remove("interval"));
        endpoint
    };
    let monitor = own("service_monitor.yaml")?;
    assert_eq!(endpoint(the(&rendered, "ServiceMonitor")), endpoint(&monitor));
    assert_eq!(monitor["spec"]["endpoints"][0]["honorLabels"], true, "else a group's namespace is the operator's");
    // Prometheus fills in its templates, not Helm.
    let rules = own("rules.yaml")?;
    assert!(rules["spec"].to_string().contains("{{ $labels.namespace }}"));
    assert!(the(&rendered, "PrometheusRule")["spec"] == rules["spec"], "the chart's alerts are others");
    let dashboard = of_kind(&rendered, "ConfigMap").next().context("a ConfigMap")?;
    assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
    assert_eq!(text(dashboard, "/data/leadergroup.json"), fs::read_to_string(root.join("dashboard.json"))?);
    Ok(())
}

#[test]
fn a_sample_names_what_its_user_has_to_replace_and_no_image_that_nobody_has() -> Result<()> {
    for file in fs::read_dir(workspace_root()?.join("config/samples"))? {
        let (path, published) = (file.as_ref().expect("an entry").path(), fs::read_to_string(file?.path())?);
        let path = path.display();
        let containers = |text: &str| -> Result<Vec<Value>> {
            let objects = documents(text)?;
            let pod = &the(&objects, "Deployment")["spec"]["template"]["spec"];
            let both =
                [&pod["initContainers"], &pod["containers"]].map(|all| all.as_array().cloned().unwrap_or_default());
            Ok(both.concat())
        };
        let (head, _) = published.split_once("\napiVersion").context("no comment at its head")?;
        for container in containers(&published)? {
            let image = text(&container, "/image").to_owned();
            assert!(
                image.starts_with("YOUR/") && head.contains(&image),
                "{path}: {image} is not explained at the head"
            );
            assert!(container["imagePullPolicy"].is_null(), "{path}");
        }
        for container in containers(&sample(&published, "example.com/program:1", "/program")?)? {
            assert_eq!(container["image"], "example.com/program:1", "{path}");
            assert!(!container.to_string().contains("YOUR"), "{path}: {container}");
        }
    }
    Ok(())
}

/// Without what one of the two has by its nature: labels and Lease of a release, the image, the level of logs.
fn pod(objects: &[Value]) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.remove("app.kubernetes.io/instance");
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => {
                items.retain(|item| item["name"] != "RUST_LOG" && item["name"] != "LEASE_NAME");
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
    let choices = [
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
        (
            "image.tag=",
            "Deployment",
            "/spec/template/spec/containers/0/image",
            json!(concat!("leadergroup.test/leadergroup-operator:v", env!("CARGO_PKG_VERSION"))),
        ),
        (
            "podSecurityContext.runAsUser=1000",
            "Deployment",
            "/spec/template/spec/securityContext",
            json!({"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}),
        ),
        (
            "podSecurityContext.seccompProfile=null",
            "Deployment",
            "/spec/template/spec/securityContext",
            json!({"runAsNonRoot": true}),
        ),
        (
            "securityContext.readOnlyRootFilesystem=false",
            "Deployment",
            "/spec/template/spec/containers/0/securityContext/readOnlyRootFilesystem",
            json!(false),
        ),
        (
            "metrics.prometheusRule.labels.team=mine,metrics.prometheusRule.enabled=true",
            "PrometheusRule",
            "/metadata/labels/team",
            json!("mine"),
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
            "/spec/template/spec/containers/0/env/5",
            json!({"name": "WATCH_NAMESPACES", "value": "shop,bank"}),
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
    let pod = &the(&objects, "Deployment")["spec"]["template"]["spec"];
    let fixed = ["runAsUser", "runAsGroup", "fsGroup"].map(|field| pod["securityContext"][field].is_null());
    assert_eq!(fixed, [true; 3], "OpenShift refuses a user that it has not given to the namespace");
    assert_eq!(the(&objects, "PodDisruptionBudget")["spec"]["unhealthyPodEvictionPolicy"], "AlwaysAllow");
    let limits = &pod["containers"][0]["resources"]["limits"];
    assert_eq!((limits["memory"].is_string(), limits["cpu"].is_null()), (true, true), "throttled, it loses its Lease");
    Ok(())
}
