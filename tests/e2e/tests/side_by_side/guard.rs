//! Guard rails on a real API server: who may write a group, where the operator writes nothing, and what one who means ill
//! can make it do.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use leadergroup_api::{LeaderGroup, MANAGER, RuleName, Verdict};
use leadergroup_e2e::{Candidates, Group, GroupView, LeaseView, Namespace, PATIENCE, Session, lease_of};
use serde_json::{Value, json};

/// A user who may write groups in the namespace and, as `leases` says, Leases.
async fn tenant(place: &Namespace, leases: &Value) -> Result<String> {
    let user = format!("tenant-of-{}", place.name());
    let authorization = "rbac.authorization.k8s.io";
    let mut rules = vec![json!({
        "apiGroups": ["leadergroup.dev"], "resources": ["leadergroups"],
        "verbs": ["get", "list", "create", "update", "patch", "delete"],
    })];
    rules.extend(leases.as_array().cloned().unwrap_or_default());
    let items = json!([
        {"apiVersion": format!("{authorization}/v1"), "kind": "Role", "metadata": {"name": "tenant"}, "rules": rules},
        {
            "apiVersion": format!("{authorization}/v1"), "kind": "RoleBinding", "metadata": {"name": "tenant"},
            "roleRef": {"apiGroup": authorization, "kind": "Role", "name": "tenant"},
            "subjects": [{"apiGroup": authorization, "kind": "User", "name": user}],
        },
    ]);
    place.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()).await?;
    Ok(user)
}

fn lease_rule(verbs: &[&str], names: &[&str]) -> Value {
    let mut rule = json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs});
    if !names.is_empty() {
        rule["resourceNames"] = json!(names);
    }
    rule
}

/// Tries a request until the API server answers as expected: it takes up roles and policies a moment after they were made.
async fn until<T, F: Future<Output = Result<T>>>(
    wanted: &str,
    request: impl Fn() -> F,
    is_so: impl Fn(&Result<T>) -> bool,
) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = request().await;
        if is_so(&answer) {
            return Ok(());
        }
        let told = answer.err().map_or_else(|| "it was accepted".to_owned(), |error| format!("{error:#}"));
        ensure!(Instant::now() < deadline, "not within {} s: {wanted}: {told}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn refused<T>(sentence: &str) -> impl Fn(&Result<T>) -> bool {
    move |answer| answer.as_ref().err().is_some_and(|error| format!("{error:#}").contains(sentence))
}

/// What a user who writes that group is told; it is not kept.
async fn created_by(place: &Namespace, user: &str, name: &str, spec: Value) -> Result<String> {
    let file = std::env::temp_dir().join(format!("{}-{name}.json", place.name()));
    let group = json!({"apiVersion": "leadergroup.dev/v1alpha1", "kind": "LeaderGroup", "metadata": {"name": name}, "spec": spec});
    std::fs::write(&file, group.to_string())?;
    let path = file.display().to_string();
    let told = place.kubectl(&["--as", user, "create", "--dry-run=server", "--filename", &path]).await;
    std::fs::remove_file(&file)?;
    told
}

#[tokio::test]
async fn who_may_not_touch_a_lease_can_not_have_the_operator_do_it() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("deputy").await?;
    let user = tenant(&place, &json!([])).await?;
    let refusal = format!(
        "user {user} may not update Lease billing in namespace {}; ask for a Role there with verb update on \
         leases.coordination.k8s.io named billing",
        place.name()
    );
    until("the group is refused", || created_by(&place, &user, "billing", json!({})), refused(&refusal)).await?;
    let named = || created_by(&place, &user, "mine", json!({"lease": {"name": "billing"}}));
    until("nor by the name of its Lease", named, refused(&refusal)).await?;

    tenant(&place, &json!([lease_rule(&["update"], &["billing"])])).await?;
    until("now it is accepted", || created_by(&place, &user, "billing", json!({})), Result::is_ok).await?;
    until("by that name, too", named, Result::is_ok).await?;
    let others = || created_by(&place, &user, "invoices", json!({}));
    until("another's Lease is not", others, refused("may not update Lease invoices")).await?;
    let deleting = || created_by(&place, &user, "billing", json!({"staleHolder": {"release": "Delete"}}));
    until("to delete it is another right", deleting, refused("may not delete Lease billing")).await?;
    let creating = || created_by(&place, &user, "billing", json!({"lease": {"create": true}}));
    until("so is to create it", creating, refused("may not create Lease billing")).await?;

    tenant(&place, &json!([lease_rule(&["update", "delete"], &["billing"]), lease_rule(&["create"], &[])])).await?;
    until("who may delete", deleting, Result::is_ok).await?;
    until("and create", creating, Result::is_ok).await
}

#[tokio::test]
async fn who_may_not_write_services_or_pods_can_not_have_the_operator_do_it() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("router").await?;
    let lease = lease_rule(&["update"], &["billing"]);
    let user = tenant(&place, &json!([lease])).await?;
    let group = |routing: Value| {
        let (place, user) = (&place, &user);
        move || created_by(place, user, "billing", json!({"routing": routing}))
    };
    let ports = json!({"ports": [{"port": 80}]});
    let plain = group(json!({"service": ports}));
    let labelled = group(json!({"service": ports, "podLabels": true}));
    until("the right to the Lease is taken up", group(json!(null)), Result::is_ok).await?;
    let refusal = format!(
        "user {user} may not create and update Services in namespace {}; ask for a Role there with verbs create and update on \
         services",
        place.name()
    );
    until("no Service by the operator's hand", &plain, refused(&refusal)).await?;

    let services = |verbs: &[&str]| json!({"apiGroups": [""], "resources": ["services"], "verbs": verbs});
    tenant(&place, &json!([lease, services(&["create"])])).await?;
    until("to create is not enough", &plain, refused("may not create and update Services")).await?;
    tenant(&place, &json!([lease, services(&["create", "update"])])).await?;
    until("who may write Services", &plain, Result::is_ok).await?;
    until("labels are another right", &labelled, refused("may not patch pods")).await?;
    let pods = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]});
    tenant(&place, &json!([lease, services(&["create", "update"]), pods])).await?;
    until("who may patch pods", &labelled, Result::is_ok).await
}

#[tokio::test]
async fn what_is_nothing_to_the_lease_needs_no_right_to_it() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("metadata").await?;
    place.create(&Group::named("billing").build()).await?;
    // The status is the operator's own write; it has no right to update Leases.
    let observed = |g: &LeaderGroup| g.says("Stalled", "False", "Observing");
    place.until("billing", "the operator writes the status", observed).await?;
    let user = tenant(&place, &json!([])).await?;
    let by_user = async |args: &[&str]| place.kubectl(&[&["--as", user.as_str()], args].concat()).await;
    let history = json!({"spec": {"historyLimit": 7}}).to_string();
    let edit =
        || async { place.kubectl(&["--as", &user, "patch", "lg", "billing", "--type=merge", "-p", &history]).await };
    until("the spec can't be changed", edit, refused("may not update Lease billing")).await?;
    by_user(&["label", "lg", "billing", "team=shop"]).await?;
    by_user(&["annotate", "lg", "billing", "note=hello"]).await?;
    let finalizers = json!({"metadata": {"finalizers": ["example.com/held"]}}).to_string();
    by_user(&["patch", "lg", "billing", "--type=merge", "-p", &finalizers]).await?;
    by_user(&["delete", "lg", "billing", "--wait=false"]).await?;
    let none = json!({"metadata": {"finalizers": null}}).to_string();
    by_user(&["patch", "lg", "billing", "--type=merge", "-p", &none]).await?;
    place.until_gone::<LeaderGroup>("billing").await
}

#[tokio::test]
async fn a_lease_that_a_group_does_not_name_is_asked_for_by_the_name_that_the_group_gets() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("unnamed").await?;
    let user = tenant(&place, &json!([])).await?;
    for spec in [json!({}), json!({"lease": {}}), json!({"lease": {"name": null}}), json!({"staleHolder": {}})] {
        let create = || created_by(&place, &user, "billing", spec.clone());
        until(&format!("{spec} is refused"), create, refused("may not update Lease billing in namespace")).await?;
    }
    tenant(&place, &json!([lease_rule(&["update"], &["billing"])])).await?;
    let null = json!({"lease": {"name": null}, "identity": null});
    until("null is as good as nothing", || created_by(&place, &user, "billing", null.clone()), Result::is_ok).await?;
    // A name that the API server makes up.
    let generated = json!({
        "apiVersion": "leadergroup.dev/v1alpha1", "kind": "LeaderGroup", "metadata": {"generateName": "billing-"},
        "spec": {},
    });
    let path = format!("/apis/leadergroup.dev/v1alpha1/namespaces/{}/leadergroups", place.name());
    let file = std::env::temp_dir().join(format!("{}-generated.json", place.name()));
    std::fs::write(&file, generated.to_string())?;
    let told =
        place.kubectl(&["--as", &user, "create", "--raw", &path, "--filename", &file.display().to_string()]).await;
    std::fs::remove_file(&file)?;
    ensure!(refused("may not update Lease billing-")(&told), "{told:?}");
    Ok(())
}

/// Objects in a namespace that is not this test's, deleted when this is dropped.
struct InSystem<'a> {
    session: &'a Session,
    name: String,
}

impl Drop for InSystem<'_> {
    fn drop(&mut self) {
        let args = ["--namespace", "kube-system", "delete", "--ignore-not-found", "--wait=false"];
        let objects = [format!("leadergroup/{}", self.name), format!("lease/{}", self.name)];
        let all: Vec<&str> = args.into_iter().chain(objects.iter().map(String::as_str)).collect();
        if let Err(error) = self.session.kubectl_now(&all) {
            eprintln!("{} stays in kube-system: {error:#}", self.name);
        }
    }
}

#[tokio::test]
async fn a_lease_in_kube_system_is_only_observed_and_the_group_says_so() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("beside").await?;
    let name = format!("guard-{}", place.name());
    let system = InSystem { session: &session, name: name.clone() };
    let leases = Api::<Lease>::namespaced(session.client(), "kube-system");
    let groups = Api::<LeaderGroup>::namespaced(session.client(), "kube-system");
    let before = leases.create(&PostParams::default(), &lease_of(&name, "long-gone", 2)).await?;
    groups.create(&PostParams::default(), &Group::named(&name).build()).await?;
    // The same beside it is cleared, so the operator had its time.
    place.create(&Group::named("billing").build()).await?;
    place.create(&lease_of("billing", "long-gone", 2)).await?;
    place.until_cleared("billing").await?;
    let told = async || Ok(groups.get(&name).await?);
    let says = |g: &Result<LeaderGroup>| g.as_ref().is_ok_and(|g| g.says("Stalled", "False", "SystemNamespace"));
    until("the group says so", told, says).await?;
    let group = groups.get(&name).await?;
    assert_eq!(group.verdict(), Some(Verdict::Unresolved), "it is judged all the same");
    let message = group.condition("Stalled").context("no condition")?.message;
    ensure!(message.contains("namespace kube-system is Kubernetes' own"), "{message}");
    let events = Api::<Event>::namespaced(session.client(), "kube-system");
    let listed = async || Ok(events.list(&ListParams::default()).await?.items);
    let about = |e: &Event| e.regarding.as_ref().is_some_and(|r| r.name.as_deref() == Some(&name));
    let has_told = |events: &Result<Vec<Event>>| {
        let only_observed = |e: &Event| about(e) && e.reason.as_deref() == Some("OnlyObserved");
        events.as_ref().is_ok_and(|events| events.iter().any(only_observed))
    };
    until("an Event says so", listed, has_told).await?;
    let after = leases.get(&name).await?;
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version, "nothing was written to the Lease");
    groups.delete(&name, &DeleteParams::default()).await?;
    drop(system);
    Ok(())
}

#[tokio::test]
async fn a_lease_that_flaps_is_counted_exactly_and_reported_seldom() -> Result<()> {
    const TRANSITIONS: i64 = 400;
    let session = Session::start().await?;
    let place = session.namespace("flood").await?;
    let timeline = place.timeline().await?;
    let begun = Instant::now();
    place.create(&Group::named("billing").build()).await?;
    place.create(&lease_of("billing", "tenant-0", 30)).await?;
    let first = |g: &LeaderGroup| g.verdict() == Some(Verdict::Unresolved);
    place.until("billing", "the first holder is seen", first).await?;
    let first = Instant::now();
    for turn in 1..=TRANSITIONS {
        let due = first + Duration::from_millis(20) * u32::try_from(turn)?;
        tokio::time::sleep_until(due.into()).await;
        let spec = json!({"holderIdentity": format!("tenant-{}", turn % 2), "leaseTransitions": turn});
        place.leases().patch("billing", &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await?;
    }
    let took = first.elapsed();
    let counted = |g: &LeaderGroup| g.seen().transitions == TRANSITIONS;
    place.until("billing", "every transition is counted", counted).await?;
    let in_all = begun.elapsed();
    let versions = timeline.groups("billing").len();
    let about = place.events("billing").await?;
    let lines = session.operator().log_about(place.name()).await?;
    println!(
        "{TRANSITIONS} transitions in {took:?}: {versions} versions of the group, {} Events, {} lines",
        about.len(),
        lines.len()
    );
    // The group as it was made, a burst of ten, and one a second.
    let most = 1 + 10 + in_all.as_secs() + 1;
    ensure!(versions as u64 <= most, "{versions} versions of the group in {in_all:?}");
    ensure!(about.len() <= 3 * 25, "{} Events", about.len());
    ensure!(lines.len() <= 3 * 25 + 5, "{} lines in the log", lines.len());
    Ok(())
}

#[tokio::test]
async fn one_who_shares_the_namespace_has_no_live_leader_cleared_and_stops_no_clear() -> Result<()> {
    let promise = "a pod that takes the leader's host name and ends, or that is full of labels, changes nothing for it";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("hostile").await?;
    let timeline = place.timeline().await?;
    place.create(&Group::named("billing").build()).await?;
    // The leader is no candidate: nobody labelled it.
    place.run(&Candidates::named("db").lease("billing").without_labels().pod()).await?;
    place.until("billing", "it leads", |lease: &Lease| lease.holder().as_deref() == Some("db")).await?;
    let impostor = Candidates::named("impostor").lease("none").of_group("billing").hostname("db").never_restarted();
    place.run(&impostor.arg("--no-such-flag").pod()).await?;
    place
        .until("impostor", "it has ended", |pod: &k8s_openapi::api::core::v1::Pod| {
            pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Failed"))
        })
        .await?;
    let judged = |g: &LeaderGroup| g.verdict() == Some(Verdict::Ambiguous);
    let group: LeaderGroup = place.until("billing", "the leader may be either", judged).await?;
    assert_eq!(group.rule(), Some(RuleName::IdentityFitsSeveralPods));
    // As large as the API server takes them.
    let bomb = json!({"metadata": {"annotations": {"bomb": "x".repeat(260_000)}}});
    place.leases().patch("billing", &PatchParams::default(), &Patch::Merge(bomb.clone())).await?;
    place.groups().patch("billing", &PatchParams::default(), &Patch::Merge(bomb.clone())).await?;
    place.pods().patch("impostor", &PatchParams::default(), &Patch::Merge(bomb)).await?;
    let restarts = session.operator().restarts().await?;
    // Another group of the namespace is served as ever, in which time the leader was left alone.
    place.create(&Group::named("healthy").build()).await?;
    place.create(&lease_of("healthy", "long-gone", 2)).await?;
    place.until_cleared("healthy").await?;
    timeline.assert_never_cleared("billing");
    let lease = place.leases().get("billing").await?;
    assert_eq!(lease.holder().as_deref(), Some("db"));
    let by_operator = lease.managed_fields().iter().any(|entry| entry.manager.as_deref() == Some(MANAGER));
    ensure!(!by_operator, "the operator wrote to the Lease of a leader that is no candidate");
    assert_eq!(session.operator().restarts().await?, restarts);
    Ok(())
}

#[tokio::test]
async fn a_group_can_not_name_a_lease_of_another_namespace() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("mine").await?;
    let other = session.namespace("yours").await?;
    let victim = other.create(&lease_of("billing", "long-gone", 2)).await?;
    for name in [format!("{}/billing", other.name()), format!("../../{}/leases/billing", other.name())] {
        let spec = json!({"lease": {"name": name}});
        let group = json!({
            "apiVersion": "leadergroup.dev/v1alpha1", "kind": "LeaderGroup", "metadata": {"name": "billing"}, "spec": spec,
        });
        let answer = place.apply(&group.to_string()).await;
        ensure!(refused("lease.name must be a DNS name")(&answer), "{name}: {answer:?}");
    }
    place.create(&Group::named("billing").build()).await?;
    place.create(&lease_of("billing", "long-gone", 2)).await?;
    place.until_cleared("billing").await?;
    assert_eq!(other.leases().get("billing").await?.metadata.resource_version, victim.metadata.resource_version);
    Ok(())
}
