//! Candidates that may not lead are named before they have to, by the API server's own word on what they may do.
#![allow(missing_docs)]

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, RoleBinding};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use leadergroup_api::LeaderGroup;
use leadergroup_e2e::{
    Candidates, Group, GroupView, LeaseView, Namespace, OPERATOR_NAMESPACE, PATIENCE, PodView, Session, lease_of,
};
use serde_json::{Value, json};
use tokio::sync::RwLock;

/// Tests that count the operator's questions, or take its right to ask, are alone; the others share the cluster.
static CLUSTER: RwLock<()> = RwLock::const_new(());

const OPERATOR: &str = "system:serviceaccount:leadergroup-system:leadergroup-operator";
/// Within this a change of rights shows: a second for several to come together, or five after the audit before.
const SOON: Duration = Duration::from_secs(10);

fn says(status: &'static str, reason: &'static str) -> impl Fn(&LeaderGroup) -> bool + Send {
    move |group| group.says("CandidatesAuthorized", status, reason)
}

fn message(group: &LeaderGroup) -> String {
    group.condition("CandidatesAuthorized").map(|condition| condition.message).unwrap_or_default()
}

async fn until_authorized(place: &Namespace) -> Result<LeaderGroup> {
    place.until("billing", "its candidates are authorized", says("True", "Authorized")).await
}

async fn until_lacking(place: &Namespace) -> Result<LeaderGroup> {
    place.until("billing", "a right is missing", says("False", "MissingRights")).await
}

/// The commands that a message ends with.
fn commands(message: &str) -> Vec<Vec<&str>> {
    let told = message.split_once("allow it: ").map_or("", |(_, commands)| commands);
    told.split("; ").filter_map(|command| Some(command.strip_prefix("kubectl ")?.split(' ').collect())).collect()
}

#[tokio::test]
async fn a_candidate_that_can_never_lead_is_named_and_leads_once_the_commands_told_are_run() -> Result<()> {
    let _shared = CLUSTER.read().await;
    let promise = "a candidate without the right to update its Lease is named, and told how to get it";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("audit").await?;
    place.create(&Group::named("billing").creates_lease().build()).await?;
    place.run(&Candidates::named("billing").without_update().without_create().pod()).await?;
    let group = until_lacking(&place).await?;
    let told = message(&group);
    assert!(told.starts_with("ServiceAccount billing may not update or patch Lease billing;"), "{told}");
    assert_eq!(place.until_event("billing", "MissingRights").await?, told);
    let pod: Pod = place.pods().get("billing").await?;

    let commands = commands(&told);
    assert_eq!(commands.len(), 2, "{told}");
    for command in &commands {
        session.kubectl(command).await?;
    }
    let granted = Instant::now();
    until_authorized(&place).await?;
    ensure!(granted.elapsed() < SOON, "it took {:?}", granted.elapsed());
    place.until_led("billing").await?;
    let same: Pod = place.pods().get("billing").await?;
    assert_eq!((same.uid(), same.restarts()), (pod.uid(), 0), "the pod was not touched");

    let bindings: Api<RoleBinding> = place.api();
    bindings.delete("leadergroup-billing-billing", &DeleteParams::default()).await?;
    let taken = Instant::now();
    until_lacking(&place).await?;
    ensure!(taken.elapsed() < SOON, "it took {:?}", taken.elapsed());
    Ok(())
}

#[tokio::test]
async fn of_two_accounts_the_one_that_lacks_a_right_is_named() -> Result<()> {
    let _shared = CLUSTER.read().await;
    let promise = "of several accounts, the one that may not lead is named";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("audit").await?;
    place.create(&Group::named("billing").build()).await?;
    place.run(&Candidates::named("billing").pod()).await?;
    until_authorized(&place).await?;
    place.until_led("billing").await?;
    let other = Candidates::named("batch").lease("billing").of_group("billing").without_update();
    place.run(&other.pod()).await?;
    let told = message(&until_lacking(&place).await?);
    assert!(told.starts_with("ServiceAccount batch may not update or patch Lease billing;"), "{told}");
    place.delete_pod("batch").await?;
    let told = message(&until_authorized(&place).await?);
    assert!(told.starts_with("ServiceAccount billing may get and renew Lease billing"), "{told}");
    Ok(())
}

#[tokio::test]
async fn the_right_to_create_is_needed_while_there_is_no_lease() -> Result<()> {
    let _shared = CLUSTER.read().await;
    let promise = "the right to create is asked for only while there is no Lease";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("audit").await?;
    place.create(&Group::named("billing").build()).await?;
    place.run(&Candidates::named("billing").without_create().pod()).await?;
    let told = message(&until_lacking(&place).await?);
    assert!(told.starts_with("ServiceAccount billing may not create Lease billing, which does not exist;"), "{told}");
    place.create(&lease_of("billing", "", 6)).await?;
    until_authorized(&place).await?;
    place.until_led("billing").await?;
    place.leases().delete("billing", &DeleteParams::default()).await?;
    until_lacking(&place).await?;
    // The other way out that is told.
    let owner = json!({"spec": {"lease": {"create": true}}});
    place.groups().patch("billing", &PatchParams::default(), &Patch::Merge(&owner)).await?;
    place.until("billing", "the operator creates the Lease", |lease: &Lease| lease.metadata.uid.is_some()).await?;
    until_authorized(&place).await?;
    Ok(())
}

#[tokio::test]
async fn an_account_with_rights_on_every_lease_is_noted() -> Result<()> {
    let _shared = CLUSTER.read().await;
    let promise = "rights on the Leases of all namespaces are noted";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("audit").await?;
    place.create(&Group::named("billing").build()).await?;
    place.run(&Candidates::named("billing").pod()).await?;
    until_authorized(&place).await?;
    let binding = format!("audit-{}", place.name());
    let account = format!("--serviceaccount={}:billing", place.name());
    session.kubectl(&["create", "clusterrolebinding", &binding, "--clusterrole=cluster-admin", &account]).await?;
    let noted = |g: &LeaderGroup| {
        says("True", "Authorized")(g)
            && message(g).contains("note: ServiceAccount billing may update Leases in all namespaces")
    };
    let result = place.until("billing", "the excess is noted", noted).await;
    session.kubectl(&["delete", "clusterrolebinding", &binding]).await?;
    result?;
    let gone = |g: &LeaderGroup| says("True", "Authorized")(g) && !message(g).contains("all namespaces");
    place.until("billing", "the note is gone", gone).await?;
    Ok(())
}

/// What an operator's pod answers to a scrape.
async fn scrape(session: &Session, pod: &Pod) -> Result<String> {
    let path = format!("/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods/{}:8081/proxy/metrics", pod.name_any());
    session.kubectl(&["get", "--raw", &path]).await
}

/// Waits until the pod's metrics are as described: they have no watch.
async fn until_shown(session: &Session, pod: &Pod, wanted: &str, is_so: impl Fn(&str) -> bool) -> Result<()> {
    let began = Instant::now();
    loop {
        let text = scrape(session, pod).await?;
        if is_so(&text) {
            return Ok(());
        }
        ensure!(began.elapsed() < SOON, "not shown: {wanted}\n{text}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn the_operator_that_leads_shows_it_as_a_metric() -> Result<()> {
    let _shared = CLUSTER.read().await;
    let promise = "the operator that leads shows whether candidates may lead as a metric";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("audit").await?;
    place.create(&Group::named("billing").build()).await?;
    place.run(&Candidates::named("billing").pod()).await?;
    until_authorized(&place).await?;
    let group = format!("leadergroup_candidates_authorized{{namespace=\"{}\",group=\"billing\"}}", place.name());
    let leading = session.operator().leading_pod().await?;
    let asked = r#"leadergroup_audit_reviews_total{result="allowed"} "#;
    until_shown(&session, &leading, "the group", |text| text.contains(&format!("{group} 1")) && text.contains(asked))
        .await?;
    let pods: Api<Pod> = Api::namespaced(session.client(), OPERATOR_NAMESPACE);
    for pod in pods.list(&ListParams::default()).await?.iter().filter(|pod| pod.uid() != leading.uid()) {
        let text = scrape(&session, pod).await?;
        ensure!(text.ends_with("# EOF\n") && !text.contains("group="), "one that stands by shows groups:\n{text}");
    }
    place.kubectl(&["delete", "rolebinding", "billing"]).await?;
    until_shown(&session, &leading, "the lack", |text| text.contains(&format!("{group} 0"))).await?;
    place.groups().delete("billing", &DeleteParams::default()).await?;
    until_shown(&session, &leading, "nothing of a deleted group", |text| !text.contains(&group)).await
}

/// The operator's requests from here on, in the API server's audit log.
struct Asked {
    log: PathBuf,
    from: u64,
}

impl Asked {
    fn from_now(session: &Session) -> Result<Self> {
        let log = session.cluster().layout()?.audit_log();
        let from = std::fs::metadata(&log)?.len();
        Ok(Self { log, from })
    }

    /// The questions after rights.
    fn count(&self) -> Result<usize> {
        self.count_of("subjectaccessreviews", |_| true)
    }

    /// The requests for a resource that are so.
    fn count_of(&self, resource: &str, is_so: impl Fn(&Value) -> bool) -> Result<usize> {
        let mut log = File::open(&self.log)?;
        log.seek(SeekFrom::Start(self.from))?;
        let mut count = 0;
        for line in BufReader::new(log).lines() {
            // The last line may be half written, and so may the first be read.
            let Ok(request) = serde_json::from_str::<Value>(&line?) else { continue };
            let is = |pointer: &str, text: &str| request.pointer(pointer).and_then(Value::as_str) == Some(text);
            count += usize::from(
                is("/user/username", OPERATOR)
                    && is("/objectRef/resource", resource)
                    && is("/stage", "ResponseComplete")
                    && is_so(&request),
            );
        }
        Ok(count)
    }
}

/// Waits until the groups of earlier tests are gone.
async fn until_only_group_of(session: &Session, place: &Namespace) -> Result<()> {
    let groups = Api::<LeaderGroup>::all(session.client());
    let others = |list: &[LeaderGroup]| list.iter().filter(|g| g.namespace().as_deref() != Some(place.name())).count();
    let began = Instant::now();
    while others(&groups.list(&ListParams::default()).await?.items) > 0 {
        ensure!(began.elapsed() < PATIENCE, "groups of other tests stay");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

#[tokio::test]
async fn at_rest_nothing_is_asked_and_a_burst_of_changes_is_asked_about_a_few_times() -> Result<()> {
    let _alone = CLUSTER.write().await;
    let promise = "an audit costs nothing at rest, and a bounded number of requests under a burst of changes";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("audit").await?;
    place.create(&Group::named("billing").build()).await?;
    place.run(&Candidates::named("billing").replicas(3).deployment()).await?;
    until_authorized(&place).await?;
    place.until_settled("billing").await?;
    until_only_group_of(&session, &place).await?;
    // What has changed until now is asked about within this.
    tokio::time::sleep(SOON).await;

    let (asked, timeline) = (Asked::from_now(&session)?, place.timeline().await?);
    let mut last = None;
    for _ in 0..30 {
        let moved = |lease: &Lease| lease.renewed() > last;
        last = place.until("billing", "the Lease is renewed", moved).await?.renewed();
    }
    assert_eq!(asked.count()?, 0, "questions within 30 renewals");
    assert_eq!(timeline.groups("billing").len(), 1, "versions of the group");

    let (asked, began) = (Asked::from_now(&session)?, Instant::now());
    let bindings: Api<RoleBinding> = place.api();
    for number in 0..100 {
        let mark = json!({"metadata": {"annotations": {"leadergroup.test/number": number.to_string()}}});
        bindings.patch("billing", &PatchParams::default(), &Patch::Merge(&mark)).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The last of them is asked about within this.
    tokio::time::sleep(SOON).await;
    let (count, seconds) = (asked.count()?, began.elapsed().as_secs());
    println!("100 changes of a RoleBinding within {} s: {count} questions", seconds.saturating_sub(SOON.as_secs()));
    // Four questions about the one account, every five seconds.
    let most = 4 * (usize::try_from(seconds)? / 5 + 1);
    ensure!((4..=most).contains(&count), "{count} questions in {seconds} s, where {most} are allowed");
    assert_eq!(timeline.groups("billing").len(), 1, "versions of the group");
    Ok(())
}

/// The operator's `ClusterRole` without some of its rules. It has them again when dropped.
struct WithoutRules {
    session: Session,
    rules: Vec<PolicyRule>,
}

impl WithoutRules {
    async fn on(session: &Session, resources: &[&str]) -> Result<Self> {
        let all = Api::<ClusterRole>::all(session.client());
        let rules = all.get("leadergroup-operator").await?.rules.context("the ClusterRole has no rules")?;
        let is_about =
            |rule: &PolicyRule| rule.resources.iter().flatten().any(|name| resources.contains(&name.as_str()));
        let (taken, left): (Vec<_>, Vec<_>) = rules.iter().cloned().partition(is_about);
        ensure!(!taken.is_empty(), "the ClusterRole has no rule about {resources:?}");
        let this = Self { session: session.clone(), rules };
        this.session.kubectl(&Self::set(&left).each_ref().map(String::as_str)).await?;
        Ok(this)
    }

    fn set(rules: &[PolicyRule]) -> [String; 6] {
        let patch = json!({"rules": rules}).to_string();
        ["patch", "clusterrole", "leadergroup-operator", "--type=merge", "--patch", &patch].map(ToOwned::to_owned)
    }
}

impl Drop for WithoutRules {
    fn drop(&mut self) {
        if let Err(error) = self.session.kubectl_now(&Self::set(&self.rules).each_ref().map(String::as_str)) {
            eprintln!("the operator lacks rights from here on: {error:#}");
        }
    }
}

#[tokio::test]
async fn an_operator_that_may_not_ask_says_so_and_does_all_else() -> Result<()> {
    let _alone = CLUSTER.write().await;
    let promise = "an operator without the rights for the audit leads, clears and says what it lacks";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("audit").await?;
    place.create(&Group::named("billing").build()).await?;
    place.run(&Candidates::named("billing").replicas(2).deployment()).await?;
    until_authorized(&place).await?;

    let without = ["subjectaccessreviews", "roles"];
    let lacking = WithoutRules::on(&session, &without).await?;
    // One that never had them.
    let start = Instant::now();
    let asked = if session.cluster().is_existing() { None } else { Some(Asked::from_now(&session)?) };
    let operator = session.operator().restart().await?;
    let unknown = says("Unknown", "NotAudited");
    let group = place.until("billing", "the operator says that it may not ask", unknown).await?;
    assert!(message(&group).contains("config/rbac/role.yaml"), "{}", message(&group));
    for kind in ["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"] {
        session.operator().until_logged(&operator, &["can't watch these", &format!("kind={kind} ")]).await?;
    }
    let leader = place.until_settled("billing").await?.name_any();
    let timeline = place.timeline().await?;
    place.delete_pod(&leader).await?;
    place.until_led_by_another("billing", &leader).await?;
    ensure!(timeline.cleared("billing").is_some(), "the holder was not cleared");
    let lines = session.operator().log(1_000).await?;
    let told = lines.lines().filter(|line| line.contains("can't watch these")).count();
    ensure!(
        told <= 8,
        "each of two replicas says it once for each of four kinds, but there are {told} lines:\n{lines}"
    );
    if let Some(asked) = asked {
        let refused =
            asked.count_of("roles", |request| request["verb"] == "list" && request["responseStatus"]["code"] == 403)?;
        let most = 2 * (2 + usize::try_from(start.elapsed().as_secs())? / 10);
        ensure!(refused > 0, "it was not refused");
        ensure!(
            refused <= most,
            "two replicas asked for roles {refused} times in {:?}, although refused",
            start.elapsed()
        );
    }

    drop(lacking);
    // The watches are tried again by and by.
    let patience = Duration::from_secs(90);
    place.until_within(patience, "billing", "it asks again", says("True", "Authorized")).await?;
    Ok(())
}
