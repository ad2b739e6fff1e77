//! What is said of the definition, the operators and their rights.

use serde_json::json;

use super::finding::{Finding, Level};
use super::installation::{examine, fields};
use super::operators::{Operator, Reach, lease_name, wanted};
use super::snapshot::Installation;
use crate::rights::Right;
use crate::samples::{lease, pod};

const MANAGER: &str = "leadergroup-operator";

fn operator(namespace: &str, reach: &[&str]) -> Operator {
    let reach: std::collections::BTreeSet<_> = reach.iter().map(|name| (*name).to_owned()).collect();
    Operator {
        namespace: namespace.to_owned(),
        account: Some("operator".to_owned()),
        reach: if reach.is_empty() { Reach::All } else { Reach::Only(reach) },
        pods: vec![pod("operator-1", &json!({"metadata": {"namespace": namespace}}))],
        lease: Ok(Some(lease("operator-1_uid", MANAGER, &json!({})))),
        lacks: Ok(Vec::new()),
    }
}

fn well() -> Operator {
    operator("leadergroup-system", &[])
}

fn examined(change: impl Fn(&mut Installation)) -> Vec<Finding> {
    let mut found = Installation {
        definition: Ok(Some(vec!["spec".into(), "spec.routing".into(), "spec.routing.service".into()])),
        operators: Ok(vec![well()]),
        admission: Ok(Vec::new()),
    };
    change(&mut found);
    let wanted = ["spec", "spec.routing", "spec.routing.service"].map(ToOwned::to_owned);
    examine(&found, &wanted, &["shop".to_owned()], "2026-11-25T10:00:09Z".parse().unwrap())
}

/// The messages of what is not ok.
fn told(change: impl Fn(&mut Installation)) -> Vec<String> {
    let findings = examined(change);
    findings.into_iter().filter(|finding| finding.level != Level::Ok).map(|finding| finding.message).collect()
}

/// The same, of the operators that there are.
fn of(operators: &[Operator]) -> Vec<String> {
    told(|found| found.operators = Ok(operators.to_vec()))
}

#[test]
fn the_definition_and_the_policy() {
    let nothing: [&str; 0] = [];
    assert_eq!(told(|_| {}), nothing);
    let missing = "the custom resource definition leadergroups.leadergroup.dev is missing";
    assert_eq!(told(|found| found.definition = Ok(None)), [missing]);
    let old = told(|found| found.definition = Ok(Some(vec!["spec".into()])));
    assert_eq!(old.len(), 1);
    assert!(old[0].contains("it lacks spec.routing, which"), "only the outermost field that is missing: {old:?}");
    let policy = told(|found| found.admission = Ok(vec!["ValidatingAdmissionPolicyBinding"]));
    assert!(
        policy[0].starts_with("missing: ValidatingAdmissionPolicyBinding leadergroup-lease-rights, so"),
        "{policy:?}"
    );
    // It must not have a second operator installed.
    let findings = examined(|found| found.admission = Ok(vec!["ValidatingAdmissionPolicyBinding"]));
    let mut advice = findings.iter().filter_map(|finding| finding.mend.advice.as_deref());
    assert!(advice.all(|advice| !advice.contains("install --image")), "{findings:?}");
    assert_eq!(told(|found| found.operators = Err("you may not".into())), ["not checked: you may not"]);
}

#[test]
fn an_operator_that_does_not_work() {
    let nothing: [&str; 0] = [];
    let outside = Operator { account: None, pods: Vec::new(), lacks: Err("no account".into()), ..well() };
    assert_eq!(
        of(std::slice::from_ref(&outside)),
        ["not checked: no account"],
        "one leads that is no pod, by its Lease"
    );
    assert_eq!(
        of(&[Operator { lease: Ok(None), lacks: Ok(Vec::new()), ..outside }]),
        ["no pod is labelled app.kubernetes.io/name=leadergroup-operator: nobody watches the groups"]
    );
    let unready = pod("operator-1", &json!({"status": {"conditions": []}}));
    assert_eq!(
        of(&[Operator { pods: vec![unready], ..well() }]),
        ["none of its 1 pods in namespace leadergroup-system is ready"]
    );
    assert_eq!(
        of(&[Operator { lease: Ok(Some(lease("", MANAGER, &json!({})))), ..well() }]),
        ["1 of its 1 pods in namespace leadergroup-system are ready, but none of them leads"]
    );
    let renewed = |at: &str| Operator {
        lease: Ok(Some(lease("operator-1", MANAGER, &json!({"spec": {"renewTime": at}})))),
        ..well()
    };
    assert_eq!(
        of(&[renewed("2026-11-25T09:50:00.000000Z")]),
        ["operator-1 holds its Lease in namespace leadergroup-system, but does not renew it"]
    );
    assert_eq!(of(&[renewed("2026-11-25T10:00:08.000000Z")]), nothing);
}

#[test]
fn rights_that_an_operator_needs_and_those_it_does_without() {
    let lacking = |rights: Vec<Right>, reach: &[&str]| {
        let it = Operator { lacks: Ok(rights), ..operator("leadergroup-system", reach) };
        let findings = examined(|found| found.operators = Ok(vec![it.clone()]));
        let told = findings.into_iter().filter(|finding| finding.level != Level::Ok);
        told.map(|it| (it.level, it.message, it.mend.advice.unwrap_or_default())).collect::<Vec<_>>()
    };
    let nodes = || wanted(&Reach::All).unwrap().into_iter().filter(|right| right.resource == "nodes").collect();
    let told = lacking(vec![Right::on_leases("patch", "", "")], &[]);
    assert_eq!(told[0].0, Level::Fail);
    assert_eq!(told[0].1, "ServiceAccount leadergroup-system/operator may not patch leases.coordination.k8s.io");
    assert!(told[0].2.contains("kubectl leadergroup install --image"), "{}", told[0].2);
    let told = lacking(vec![Right::on_leases("patch", "shop", "")], &["shop"]);
    assert_eq!(told[0].0, Level::Fail);
    assert!(told[0].1.ends_with("may not patch leases.coordination.k8s.io in shop"), "{}", told[0].1);
    // It must not have a second operator installed, for the whole cluster.
    assert!(told[0].2.contains("config/namespaced") && !told[0].2.contains("install --image"), "{}", told[0].2);
    for (reach, mend) in [(&[][..], "install --image"), (&["shop"], "config/components/cluster-reads")] {
        let told = lacking(nodes(), reach);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].0, Level::Warn);
        assert!(told[0].1.contains("lacks rights to nodes: lost") && told[0].2.contains(mend), "{told:?}");
    }
}

#[test]
fn rights_are_asked_for_where_the_operator_watches() {
    let everywhere = wanted(&Reach::All).unwrap();
    assert!(everywhere.iter().all(|right| right.namespace.is_empty()), "{everywhere:?}");
    let two = wanted(&Reach::Only(["a".to_owned(), "b".to_owned()].into())).unwrap();
    let patches = |namespace: &str| two.contains(&Right::on_leases("patch", namespace, ""));
    assert!(patches("a") && patches("b") && !patches(""), "{two:?}");
    // Nodes are in no namespace, and whether all of them is asked takes rights in none either.
    assert!(two.iter().filter(|right| right.resource == "nodes").all(|right| right.namespace.is_empty()));
}

#[test]
fn of_several_operators_those_count_that_watch_the_groups() {
    let nothing: [&str; 0] = [];
    let broken = Operator { lease: Ok(None), ..operator("b", &["b"]) };
    assert_eq!(of(&[operator("a", &["shop"]), broken]), nothing);
    assert_eq!(
        of(&[operator("a", &["a", "c"]), operator("b", &["b"])]),
        ["no operator watches shop: the one in namespace a watches a, c; the one in namespace b watches b"]
    );
    let here = Operator { lease: Ok(None), ..operator("b", &["shop"]) };
    assert_eq!(of(&[well(), here]), ["1 of its 1 pods in namespace b are ready, but none of them leads"]);
}

#[test]
fn a_label_alone_makes_no_operator() {
    let all = wanted(&Reach::All).unwrap();
    let impostor = || Operator { lease: Ok(None), lacks: Ok(all.clone()), ..operator("evil", &[]) };
    for order in [[impostor(), well()], [well(), impostor()]] {
        let told = of(&order);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("pods of namespace evil carry the label of an operator, but"), "{told:?}");
    }
    // An operator that has lost all its rights is the trouble, where there is no other.
    let alone = Operator { lacks: Ok(all.clone()), ..well() };
    let told = of(&[alone]);
    assert!(told[0].contains("may not list leadergroups.leadergroup.dev, watch leadergroups"), "{told:?}");
}

#[test]
fn what_an_operator_watches_is_in_its_pods_options() {
    let reach = |container: serde_json::Value| {
        Reach::of(&pod("operator-1", &json!({"metadata": {"namespace": "ns"}, "spec": {"containers": [container]}})))
    };
    let only = |names: &[&str]| Reach::Only(names.iter().map(|name| (*name).to_owned()).collect());
    let own = json!({"name": "WATCH_NAMESPACES", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}});
    let two = json!({"name": "WATCH_NAMESPACES", "value": "a,b"});
    assert_eq!(reach(json!({"name": "operator"})), Reach::All);
    assert_eq!(reach(json!({"name": "operator", "env": [{"name": "WATCH_NAMESPACES", "value": ""}]})), Reach::All);
    assert_eq!(reach(json!({"name": "operator", "env": [own]})), only(&["ns"]));
    assert_eq!(reach(json!({"name": "operator", "env": [two]})), only(&["a", "b"]));
    assert_eq!(reach(json!({"name": "operator", "args": ["--namespace=c"], "env": [two]})), only(&["c"]));
    assert_eq!(
        reach(json!({"name": "operator", "args": ["--namespace", "c,d", "--log-format=text"]})),
        only(&["c", "d"])
    );
}

#[test]
fn each_installation_has_the_lease_that_its_pods_are_told() {
    let name = |container: serde_json::Value| {
        lease_name(&pod("operator-1", &json!({"metadata": {"namespace": "ns"}, "spec": {"containers": [container]}})))
    };
    let env = json!([{"name": "LEASE_NAME", "value": "billing-leadergroup"}]);
    assert_eq!(name(json!({"name": "operator"})), "leadergroup-operator");
    assert_eq!(name(json!({"name": "operator", "env": env})), "billing-leadergroup");
    assert_eq!(name(json!({"name": "operator", "args": ["--lease-name", "other"], "env": env})), "other");
}

#[test]
fn a_definitions_fields_are_found_at_any_depth() {
    let schema = json!({"properties": {"spec": {"properties": {
        "ports": {"items": {"properties": {"port": {"type": "integer"}}}},
    }}}});
    assert_eq!(fields(&schema), ["spec.ports.port", "spec.ports", "spec"]);
}
