//! The operator installed, upgraded and uninstalled in a cluster, as its users do it. Each test begins by taking away what is
//! there, so one test at a time: run them with `--test-threads=1`.
#![allow(missing_docs)]

mod image;
mod release;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use leadergroup_api::{LeaderGroup, TransitionReason, Verdict};
use leadergroup_e2e::cluster::{prometheus_operator_definitions, workspace_root};
use leadergroup_e2e::packages::{documents, kustomize, render};
use leadergroup_e2e::{Candidates, Group, GroupView, LeaseView, Namespace, Session, run_with_input, tell_not_proven};
use serde_json::{Value, json};

use release::Release;

const DEFINITION: &str = "customresourcedefinition/leadergroups.leadergroup.dev";

/// A cluster in which nothing of ours is installed.
async fn bare() -> Result<Session> {
    let session = Session::without_operator().await?;
    let everything = workspace_root()?.join("config/default");
    let everything = everything.to_str().context("a path in UTF-8")?;
    session.kubectl(&["delete", "--kustomize", everything, "--ignore-not-found", "--timeout=90s"]).await?;
    Ok(session)
}

/// The same where pods are processes and the node takes the images built here.
async fn bare_with_node(promise: &str) -> Result<Option<Session>> {
    let session = bare().await?;
    if session.cluster().has_real_node() && !session.cluster().is_existing() {
        return Ok(Some(session));
    }
    tell_not_proven("no node of this cluster's own", promise);
    Ok(None)
}

/// A lease that does not run out while a test lasts: whoever leads next does so after a clear.
fn group() -> Group {
    Group::named("billing").timing(120, 80, 2)
}

/// The group `billing` with two candidates, one of which leads.
async fn led(session: &Session, purpose: &str) -> Result<(Namespace, LeaderGroup)> {
    let place = session.namespace(purpose).await?;
    place.create(&group().build()).await?;
    place.run(&Candidates::named("billing").timing(120, 80, 2).replicas(2).deployment()).await?;
    let group = place.until_led("billing").await?;
    Ok((place, group))
}

/// Applies objects by `kubectl apply`, with these arguments.
async fn apply(session: &Session, objects: &[Value], args: &[&str]) -> Result<String> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    let kubeconfig = session.kubeconfig().to_owned();
    let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let kubectl = leadergroup_e2e::cluster::program("kubectl")?;
    let apply = move || {
        let mut command = std::process::Command::new(kubectl);
        command.arg("--kubeconfig").arg(kubeconfig).args(["apply", "--filename=-"]).args(args);
        run_with_input(&mut command, &list)
    };
    tokio::task::spawn_blocking(apply).await?
}

#[tokio::test]
async fn the_api_server_takes_every_manifest() -> Result<()> {
    let session = bare().await?;
    let borrowed = know_prometheus_operator(&session).await?;
    let monitored =
        ["serviceMonitor", "prometheusRule", "dashboard"].map(|part| format!("metrics.{part}.enabled=true"));
    let choices = [&["watchNamespaces={default}"][..], &monitored.each_ref().map(String::as_str)].concat();
    for (what, objects) in [
        ("config/default", kustomize("config/default")?),
        ("config/namespaced", kustomize("config/namespaced")?),
        ("config/monitoring", kustomize("config/monitoring")?),
        ("the chart", render("leadergroup-system", &choices)?),
    ] {
        let mut objects = objects;
        for object in &mut objects {
            // Nothing can be put into a namespace that a dry run does not create.
            if object["metadata"]["namespace"] == "leadergroup-system" {
                object["metadata"]["namespace"] = json!("default");
            }
        }
        let dry = ["--dry-run=server", "--server-side", "--validate=strict"];
        let said = apply(&session, &objects, &dry).await.context(what)?;
        assert_eq!(said.lines().count(), objects.len(), "{what}: {said}");
        assert!(!said.contains("unknown field") && !said.to_lowercase().contains("warning"), "{what}: {said}");
    }
    for definition in borrowed {
        session.kubectl(&["delete", "customresourcedefinition", &definition]).await?;
    }
    Ok(())
}

/// Has the API server know the kinds of the Prometheus operator, and returns the definitions that it did not have before.
async fn know_prometheus_operator(session: &Session) -> Result<Vec<String>> {
    let definitions = tokio::task::spawn_blocking(prometheus_operator_definitions).await??;
    let mut borrowed = Vec::new();
    for kind in ["servicemonitors", "prometheusrules"] {
        let name = format!("{kind}.monitoring.coreos.com");
        if session.kubectl(&["get", "customresourcedefinition", &name]).await.is_ok() {
            continue;
        }
        let file = definitions.join(format!("monitoring.coreos.com_{kind}.yaml"));
        let file = file.to_str().context("a path in UTF-8")?;
        session.kubectl(&["apply", "--server-side", "--filename", file]).await?;
        let definition = format!("customresourcedefinition/{name}");
        session.kubectl(&["wait", "--for=condition=Established", &definition, "--timeout=30s"]).await?;
        borrowed.push(name);
    }
    Ok(borrowed)
}

/// The definition as it was before `spec.routing` and `status.leaseTransitions`.
fn older_definition() -> Result<Value> {
    let text = std::fs::read_to_string(workspace_root()?.join("crds/leadergroups.yaml"))?;
    let mut definition = documents(&text)?.remove(0);
    let schema = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema").context("a schema")?;
    let spec = schema.pointer_mut("/properties/spec/properties").and_then(Value::as_object_mut).context("a spec")?;
    spec.remove("routing").context("a field to take away")?;
    let status =
        schema.pointer_mut("/properties/status/properties").and_then(Value::as_object_mut).context("a status")?;
    status.remove("leaseTransitions").context("a field to take away")?;
    let rules = schema["x-kubernetes-validations"].as_array_mut().context("rules")?;
    rules.retain(|rule| !rule.to_string().contains("routing"));
    Ok(definition)
}

#[tokio::test]
async fn an_older_definition_is_upgraded_and_its_groups_stay() -> Result<()> {
    let session = bare().await?;
    apply(&session, &[older_definition()?], &["--server-side"]).await?;
    session.kubectl(&["wait", "--for=condition=Established", DEFINITION, "--timeout=30s"]).await?;
    let place = session.namespace("older").await?;
    let old = place.create(&group().build()).await?;
    let routing = Patch::Merge(json!({"spec": {"routing": {"service": {"ports": [{"port": 80}]}}}}));
    let params = PatchParams::default();
    let refused = place.groups().patch("billing", &params, &routing).await?;
    assert!(refused.spec.routing.is_none(), "the older definition does not know it");

    apply(&session, &kustomize("crds")?, &["--server-side"]).await?;
    let taken = |group: &LeaderGroup| group.spec.routing.is_some();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let new = loop {
        let new = place.groups().patch("billing", &params, &routing).await?;
        if taken(&new) || tokio::time::Instant::now() > deadline {
            break new;
        }
        // A new definition is served a moment after it was accepted, which nothing tells.
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert!(taken(&new), "the new definition knows routing");
    assert_eq!((new.uid(), new.spec.lease), (old.uid(), old.spec.lease), "the group is the same");
    Ok(())
}

/// Waits until there is nothing more to tell of the group while its leader leads on.
async fn until_quiet(place: &Namespace) -> Result<LeaderGroup> {
    let is_told = |group: &LeaderGroup| {
        group.says("CandidatesAuthorized", "True", "Authorized") && group.seen().candidates.ready == 2
    };
    place.until("billing", "two candidates are ready, and audited", is_told).await
}

/// Ends the leader's pod, and returns the group when another leads it by a clear.
async fn hand_over(place: &Namespace) -> Result<LeaderGroup> {
    let leader = place.until_settled("billing").await?.name_any();
    place.delete_pod(&leader).await?;
    let group = place.until_led_by_another("billing", &leader).await?;
    assert_eq!(group.reason(), Some(TransitionReason::Cleared), "{:?}", group.newest());
    Ok(group)
}

#[tokio::test]
async fn an_operator_newer_than_the_definition_works_and_goes_on_counting_when_that_is_upgraded() -> Result<()> {
    let promise = "definition and operator are upgraded in any order";
    let Some(session) = bare_with_node(promise).await? else { return Ok(()) };
    apply(&session, &[older_definition()?], &["--server-side"]).await?;
    session.kubectl(&["wait", "--for=condition=Established", DEFINITION, "--timeout=30s"]).await?;
    let choices = ["crds.enabled=false", "admissionPolicy.enabled=false"];
    let _release = Release::install(&session, "leadergroup-newer", &choices).await?;
    let (place, _) = led(&session, "skew").await?;
    let first = hand_over(&place).await?;
    assert_eq!((first.seen().transitions, first.seen().lease_transitions), (1, None));
    place.until_settled("billing").await?;
    let before = until_quiet(&place).await?;
    place.until_settled("billing").await?;
    let after = place.groups().get("billing").await?;
    assert_eq!(
        after.resource_version(),
        before.resource_version(),
        "what the definition drops is not written again and again"
    );

    apply(&session, &kustomize("crds")?, &["--server-side", "--force-conflicts"]).await?;
    let second = hand_over(&place).await?;
    assert_eq!(second.uid(), first.uid());
    let counted = |group: &LeaderGroup| group.seen().transitions == 2 && group.seen().lease_transitions.is_some();
    place.until("billing", "both counts are there", counted).await.map(drop)
}

#[tokio::test]
async fn a_release_is_installed_upgraded_and_uninstalled_and_no_leader_notices() -> Result<()> {
    let promise = "an upgrade by Helm changes no leader, and uninstalling keeps groups and leaders";
    let Some(session) = bare_with_node(promise).await? else { return Ok(()) };
    let release = Release::install(&session, "leadergroup-helm", &[]).await?;
    let (place, _) = led(&session, "helm").await?;
    place.until_settled("billing").await?;
    let before = until_quiet(&place).await?;
    let timeline = place.timeline().await?;

    release.upgrade(&["log.format=json", "podAnnotations.upgraded=yes"]).await?;
    place.until_settled("billing").await?;
    let after = place.groups().get("billing").await?;
    assert_eq!(after.resource_version(), before.resource_version(), "nothing happened, and nothing was written");
    assert!(release.logs().await?.iter().any(|line| line.contains("\"message\"")), "the upgrade took effect");
    timeline.assert_never_cleared("billing");

    release.uninstall().await?;
    let kept = place.groups().get("billing").await?;
    assert_eq!((kept.uid(), kept.seen().transitions), (before.uid(), before.seen().transitions));
    let lease = place.leases().get("billing").await?;
    assert_eq!(lease.holder(), before.leading_pod(), "whoever leads, leads on");

    release.reinstall(&[]).await?;
    let leader = place.until_settled("billing").await?;
    assert_eq!(Some(leader.name_any()), before.leading_pod());
    assert_eq!(hand_over(&place).await?.seen().transitions, 1);
    Ok(())
}

/// Ends the leader's pod more than a second after a renewal: what its kubelet reports of the containers then proves that no
/// run has renewed since.
async fn end_between_renewals(place: &Namespace) -> Result<String> {
    let leader = place.until_settled("billing").await?.name_any();
    place.until_between_renewals("billing").await?;
    place.delete_pod(&leader).await?;
    Ok(leader)
}

#[tokio::test]
async fn with_roles_in_one_namespace_a_dead_holder_is_cleared_and_another_namespace_is_left_alone() -> Result<()> {
    let promise = "an operator with Roles only clears in its namespaces, and touches no other";
    let Some(session) = bare_with_node(promise).await? else { return Ok(()) };
    // Who administers the cluster installs the definition and the policy.
    apply(&session, &kustomize("crds")?, &["--server-side"]).await?;
    session.kubectl(&["wait", "--for=condition=Established", DEFINITION, "--timeout=30s"]).await?;
    let shop = session.namespace("shop").await?;
    let watched = format!("watchNamespaces={{{}}}", shop.name());
    let choices = [watched.as_str(), "crds.enabled=false", "admissionPolicy.enabled=false"];
    let release = Release::install(&session, "leadergroup-roles", &choices).await?;
    let account = "--as=system:serviceaccount:leadergroup-roles:leadergroup-operator";
    for forbidden in [["list", "nodes"], ["list", "leases.coordination.k8s.io"]] {
        let asked = session.kubectl(&["auth", "can-i", forbidden[0], forbidden[1], account, "--all-namespaces"]).await;
        assert!(asked.is_err(), "it may {forbidden:?}");
    }

    let bank = session.namespace("bank").await?;
    for place in [&shop, &bank] {
        place.create(&group().build()).await?;
        place.run(&Candidates::named("billing").timing(120, 80, 2).replicas(2).deployment()).await?;
    }
    let held = |lease: &Lease| lease.holder().is_some();
    let leader_there = bank.until("billing", "somebody leads", held).await?.holder().context("a holder")?;
    bank.delete_pod(&leader_there).await?;

    let leader = end_between_renewals(&shop).await?;
    let led = shop.until_led_by_another("billing", &leader).await?;
    assert_eq!((led.reason(), led.seen().transitions), (Some(TransitionReason::Cleared), 1), "{:?}", led.newest());
    assert_eq!(led.verdict(), Some(Verdict::Alive));
    assert!(led.says("CandidatesAuthorized", "Unknown", "NotAudited"), "{:?}", led.condition("CandidatesAuthorized"));

    let there = bank.groups().get("billing").await?;
    assert_eq!(there.status.map(|status| status.transitions), None, "no operator has looked at it");
    assert_eq!(bank.leases().get("billing").await?.holder(), Some(leader_there), "nobody has cleared it");
    let logs = release.logs().await?;
    let said = |what: &str| logs.iter().filter(|line| line.contains(what)).count();
    assert_eq!(said("may not read nodes"), 2, "each replica says so once: {logs:#?}");
    assert_eq!(said("may not create subjectaccessreviews"), 1, "the one that leads says so once: {logs:#?}");

    let log = File::open(session.cluster().layout()?.audit_log())?;
    for line in BufReader::new(log)
        .lines()
        .map_while(Result::ok)
        .filter(|line| line.contains("leadergroup-roles:leadergroup-operator"))
    {
        let request: Value = serde_json::from_str(&line).unwrap_or_default();
        let namespace = request.pointer("/objectRef/namespace").and_then(Value::as_str).unwrap_or_default();
        let own = ["", "leadergroup-roles", shop.name()].contains(&namespace);
        assert!(own, "it asked for something in {namespace}: {line}");
    }
    Ok(())
}
