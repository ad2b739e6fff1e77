//! The kubectl plugin on a real node: it finds what is amiss and its commands mend it, proposes groups that are right, and
//! has leaders hand over without ever touching the Lease of one that can't be asked.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::StreamExt as _;
use futures::future::try_join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use kube::runtime::watcher::{self, watcher};
use leadergroup_api::{GROUP_LABEL, LeaderGroup, Policy, TransitionReason};
use leadergroup_e2e::{Candidates, ElectorPods, Group, GroupView, LeaseView, Namespace, PATIENCE, PodView, Session};
use serde_json::Value;

use crate::AT_ONCE;

/// What `doctor` says of a group, by check: the finding as it is printed.
async fn findings(place: &Namespace, group: &str) -> Result<Vec<Value>> {
    let told = place.plugin(&["doctor", group, "--output=json"]).await?.json()?;
    let about = format!("{}/{group}", place.name());
    let all = told.as_array().cloned().unwrap_or_default();
    Ok(all.into_iter().filter(|finding| finding["about"] == about.as_str()).collect())
}

/// Waits until `doctor` says something of the group.
async fn until_found(
    place: &Namespace,
    group: &str,
    wanted: &str,
    is_so: impl Fn(&[Value]) -> bool + Sync,
) -> Result<Vec<Value>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = findings(place, group).await?;
        if is_so(&found) {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "{group}: not {wanted}: {found:#?}\n{}", place.tell().await);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Waits until a check of `doctor` objects, runs the command that it prints, and waits until all is well.
async fn mended(place: &Namespace, group: &str, check: &str) -> Result<()> {
    let objects = |found: &[Value]| found.iter().any(|finding| finding["check"] == check && finding["level"] != "ok");
    let found = until_found(place, group, &format!("found by {check}"), objects).await?;
    let finding = found.into_iter().find(|finding| finding["check"] == check).context("no finding")?;
    let command = finding["mend"].as_str().context("no command")?;
    place.shell(command).await?.printed().with_context(|| format!("{group}: {command}"))?;
    let is_gone = place.groups().get_opt(group).await?.is_none();
    if !is_gone {
        let is_well = |found: &[Value]| found.iter().all(|finding| finding["level"] == "ok");
        until_found(place, group, "well", is_well).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_each_fault_and_its_command_mends_it() -> Result<()> {
    let promise = "kubectl leadergroup doctor finds a planted fault of each kind, and the command it prints mends it";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("doctor").await?;
    let candidates = |name: &str| Candidates::named(name).replicas(2);
    let mistyped = candidates("typo").without_labels().label(GROUP_LABEL, "tpyo");
    for (group, workload, check) in [
        (Group::named("typo"), mistyped, "candidates"),
        (Group::named("unlabelled"), candidates("unlabelled").without_labels(), "candidates"),
        (Group::named("rights"), candidates("rights").without_update(), "rights"),
        (Group::named("form"), candidates("form").identity("elector-$(POD_NAME)-{run}"), "holder"),
        (Group::named("timing"), candidates("timing").timing(9, 6, 1), "timing"),
        (Group::named("side").containers(&["elector"]), candidates("side"), "candidates"),
    ]
    .map(|(group, candidates, check)| (group.build(), candidates.deployment(), check))
    {
        place.create(&group).await?;
        place.run(&workload).await?;
        let name = group.name_any();
        place.until(&name, "the Lease was taken", |lease: &Lease| lease.holder().is_some()).await?;
        // One at a time: another group's leader would be found by mistyped names.
        mended(&place, &name, check).await?;
    }
    let second = place.create(&Group::named("second").lease("typo").build()).await?;
    mended(&place, &second.name_any(), "shared-lease").await?;
    ensure!(place.groups().get_opt("second").await?.is_none(), "the younger of two groups on one Lease is deleted");

    // A group that is well, in an installation that is.
    let told = place.plugin(&["doctor", "typo"]).await?;
    ensure!(told.code == Some(0), "{told:?}");
    for check in ["definition", "operator", "operator-rights", "admission"] {
        ensure!(told.stdout.contains(&format!("ok    installation: {check}: ")), "{check}: {}", told.stdout);
    }
    let told = place.plugin(&["doctor", "nosuch"]).await?;
    ensure!(told.code == Some(1) && told.stderr.contains("there is no LeaderGroup nosuch"), "{told:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_are_discovered_resolve_their_leaders() -> Result<()> {
    let promise = "what kubectl leadergroup discover proposes applies cleanly, and finds each leader";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("discover").await?;
    let plain = |name: &str| Candidates::named(name).without_labels().replicas(2);
    place.run(&plain("billing").deployment()).await?;
    place.run(&plain("invoices").identity("{hostname}_{run}").stateful_set()).await?;
    place.run(&plain("mails").identity("shop/$(POD_NAME)/{run}").deployment()).await?;
    place.run_elector(&ElectorPods::run("reports", &["/workload"]).replicas(2)).await?;
    let names = ["billing", "invoices", "mails", "reports"];
    try_join_all(names.map(|name| place.until(name, "the Lease is held", |lease: &Lease| lease.holder().is_some())))
        .await?;
    let table = place.plugin(&["discover"]).await?.printed()?;
    ensure!(table.lines().filter(|line| line.contains("certain") || line.contains("likely")).count() == 4, "{table}");
    let manifests = place.plugin(&["discover", "--output=yaml"]).await?.printed()?;
    place.apply(&manifests).await?;
    for name in names {
        let group = place.until_led(name).await?;
        let lease = place.leases().get(name).await?;
        let leader = group.leading_pod().unwrap_or_default();
        ensure!(lease.holder().is_some_and(|holder| holder.contains(&leader)), "{name}: {leader} leads\n{manifests}");
        ensure!(group.spec.stale_holder.policy == Policy::Observe, "{name} only observes");
        ensure!(group.seen().candidates.total == 2, "{name}: {:?}\n{manifests}", group.seen().candidates);
    }
    let again = place.plugin(&["discover", "--output=yaml"]).await?.printed()?;
    ensure!(again.is_empty(), "each Lease has a group now:\n{again}");
    Ok(())
}

#[tokio::test]
async fn candidates_can_do_what_the_printed_rights_allow_and_no_more() -> Result<()> {
    let promise = "the Role that kubectl leadergroup rbac prints is what a candidate needs";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("rbac").await?;
    place.create(&Group::named("billing").build()).await?;
    let pods = ElectorPods::run("billing", &["/workload"]).replicas(2);
    place.run_elector(&pods.without_right("watch").without_right("update").without_right("create")).await?;
    let two = |group: &LeaderGroup| group.seen().candidates.total == 2;
    place.until("billing", "there are candidates", two).await?;
    place
        .shell(&format!("kubectl leadergroup -n {} rbac billing | kubectl apply -f -", place.name()))
        .await?
        .printed()?;
    place.until_led("billing").await?;
    let account = format!("--as=system:serviceaccount:{}:billing", place.name());
    let may = async |verb: &str, what: &str| place.kubectl(&["auth", "can-i", verb, what, &account]).await.is_ok();
    for (verb, what, expected) in [
        ("get", "lease/billing", true),
        ("watch", "lease/billing", true),
        ("update", "lease/billing", true),
        ("patch", "lease/billing", true),
        ("create", "leases", true),
        ("delete", "lease/billing", false),
        ("update", "lease/other", false),
        ("list", "leases", false),
        ("get", "pods", false),
    ] {
        ensure!(may(verb, what).await == expected, "{verb} {what}: not {expected}");
    }
    // The Lease exists now, so nobody has to create it.
    place
        .shell(&format!("kubectl leadergroup -n {} rbac billing | kubectl apply -f -", place.name()))
        .await?
        .printed()?;
    let deadline = Instant::now() + PATIENCE;
    while may("create", "leases").await {
        ensure!(Instant::now() < deadline, "the right to create Leases is not needed any more, and is still printed");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let told = place.plugin(&["rbac", "billing", "--serviceaccount=a", "--serviceaccount=b"]).await?.printed()?;
    ensure!(told.contains("name: a, ") && told.contains("name: b, ") && !told.contains("name: billing, "), "{told}");
    Ok(())
}

/// Everybody who was seen in the managed fields of a namespace's Leases, since this began.
struct Writers {
    seen: Arc<Mutex<BTreeSet<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Writers {
    fn watch(place: &Namespace) -> Self {
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let leases = watcher(place.leases(), watcher::Config::default());
        let noted = seen.clone();
        let task = tokio::spawn(leases.for_each(move |event| {
            if let Ok(watcher::Event::Apply(lease) | watcher::Event::InitApply(lease)) = event {
                let managers = lease.managed_fields().iter().filter_map(|entry| entry.manager.clone());
                noted.lock().unwrap_or_else(PoisonError::into_inner).extend(managers);
            }
            std::future::ready(())
        }));
        Self { seen, task }
    }

    fn include(&self, manager: &str) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).contains(manager)
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Who the plugin is in managed fields.
const PLUGIN: &str = "kubectl-leadergroup";

/// The names of the candidates, all of them ready, without that of the leader.
async fn standbys(place: &Namespace, leader: &str, replicas: usize) -> Result<Vec<String>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let pods = place.pods().list(&ListParams::default()).await?.items;
        let ready: Vec<_> = pods.iter().filter(|pod| pod.is_ready()).map(ResourceExt::name_any).collect();
        if ready.len() == replicas {
            return Ok(ready.into_iter().filter(|name| name != leader).collect());
        }
        ensure!(Instant::now() < deadline, "ready are only {ready:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_of_our_elector_hands_over_when_asked() -> Result<()> {
    let promise = "a leader that runs this project's elector is asked to hand over, to anybody or to one";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("handover").await?;
    place.create(&Group::named("billing").timing(15, 10, 2).build()).await?;
    let pods = ElectorPods::run("billing", &["/workload"]).timing(15, 10, 2).replicas(3);
    place.run_elector(&pods).await?;
    let first = place.until_led("billing").await?.leading_pod().context("nobody leads")?;
    standbys(&place, &first, 3).await?;
    let writers = Writers::watch(&place);
    // The first call builds it.
    place.plugin(&["crds"]).await?.printed()?;

    let start = Instant::now();
    let told = place.plugin(&["step-down", "billing"]).await?.printed()?;
    ensure!(start.elapsed() < AT_ONCE, "it took {:?}", start.elapsed());
    let second = place.until_led_by_another("billing", &first).await?;
    ensure!(second.reason() == Some(TransitionReason::Released), "{:?}", second.newest());
    let second = second.leading_pod().context("nobody leads")?;
    ensure!(told.starts_with(&format!("{second} leads, ")), "{told}");
    ensure!(writers.include(PLUGIN), "it is asked by the Lease");

    let chosen = standbys(&place, &second, 3).await?.into_iter().find(|pod| *pod != first).context("no third")?;
    place.plugin(&["promote", "billing", &chosen]).await?.printed()?;
    let led = |group: &LeaderGroup| group.leading_pod().as_deref() == Some(&chosen);
    let group = place.until("billing", "the chosen one leads", led).await?;
    ensure!(group.reason() == Some(TransitionReason::Released), "{:?}", group.newest());
    let lease = place.leases().get("billing").await?;
    ensure!(lease.annotations().keys().all(|key| !key.ends_with("preferred-holder")), "{:?}", lease.annotations());
    let told = place.plugin(&["promote", "billing", &chosen]).await?.printed()?;
    ensure!(told == format!("{chosen} leads already.\n"), "{told}");
    let told = place.plugin(&["promote", "billing", "nosuch"]).await?;
    ensure!(told.code == Some(1) && told.stderr.contains("pod nosuch is no candidate"), "{told:?}");
    // Nobody was ended for it.
    let pods = place.pods().list(&ListParams::default()).await?.items;
    ensure!(pods.iter().all(|pod| pod.restarts() == 0 && pod.is_ready()), "{}", place.tell().await);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_of_another_elector_is_evicted_and_its_lease_never_touched() -> Result<()> {
    let promise = "a leader that can't be asked is evicted, after a question, and its Lease is not written";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("evict").await?;
    place.create(&Group::named("billing").build()).await?;
    place.run(&Candidates::named("billing").replicas(2).deployment()).await?;
    let first = place.until_led("billing").await?.leading_pod().context("nobody leads")?;
    let others = standbys(&place, &first, 2).await?;
    let writers = Writers::watch(&place);

    for (args, why) in [
        (&["step-down", "billing"][..], "with --yes the pod is evicted"),
        (&["promote", "billing", &others[0]], "With --evict its pod is evicted"),
        (&["promote", "billing", &others[0], "--evict"], "with --yes the pod is evicted"),
    ] {
        let told = place.plugin(args).await?;
        ensure!(told.code == Some(1) && told.stderr.contains(why), "{args:?}: {told:?}");
    }
    let pod: Pod = place.pods().get(&first).await?;
    ensure!(pod.is_ready(), "nothing happens without a yes");

    let told = place.plugin(&["step-down", "billing", "--yes"]).await?.printed()?;
    let second = place.until_led_by_another("billing", &first).await?;
    ensure!(second.reason() == Some(TransitionReason::Cleared), "{:?}", second.newest());
    ensure!(told.starts_with(&format!("{} leads, ", second.leading_pod().unwrap_or_default())), "{told}");
    place.until_gone::<Pod>(&first).await?;
    ensure!(!writers.include(PLUGIN), "the Lease was written");
    ensure!(writers.include(leadergroup_api::MANAGER), "the operator cleared it, so the writers are seen");
    Ok(())
}
