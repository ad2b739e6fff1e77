//! A test's own place in the cluster.

use std::fmt::Debug;
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace as K8sNamespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, Resource, ResourceExt};
use leadergroup_api::LeaderGroup;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use crate::command::{run, run_with_input};
use crate::install::Installed;
use crate::packages::sample;
use crate::{ElectorPods, GroupView, LeaseView, Operator, Session, Timeline, Workload};

/// How long a condition may take unless a test says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(45);

/// By how much the times that renewals take to arrive may differ, so that a clock is trusted: less than the operator allows.
const STEADY: SignedDuration = SignedDuration::from_millis(200);
/// Halfway between two renewals.
const BETWEEN_RENEWALS: SignedDuration = SignedDuration::from_millis(1_200);
/// Later than this after one, the next may have been written.
const TOO_LATE: SignedDuration = SignedDuration::from_millis(1_800);

/// A namespace of a test's own, deleted when this is dropped, also by a panic.
pub struct Namespace {
    name: String,
    client: Client,
    pub(crate) installed: &'static Installed,
    operator: Operator,
}

impl Namespace {
    pub(crate) async fn open(session: &Session, purpose: &str) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let millis = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() % 100_000_000;
        let name = format!("e2e-{purpose}-{millis:x}-{number}");
        let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let object = K8sNamespace { metadata, ..K8sNamespace::default() };
        let client = session.client();
        Api::all(client.clone()).create(&PostParams::default(), &object).await?;
        Ok(Self { name, client, installed: session.installed, operator: session.operator() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.installed.kubeconfig
    }

    /// Objects of one kind in it.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// The groups in it.
    pub fn groups(&self) -> Api<LeaderGroup> {
        self.api()
    }

    /// The Leases in it.
    pub fn leases(&self) -> Api<Lease> {
        self.api()
    }

    /// The pods in it.
    pub fn pods(&self) -> Api<Pod> {
        self.api()
    }

    /// Creates an object.
    pub async fn create<K>(&self, object: &K) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let created = self.api::<K>().create(&PostParams::default(), object).await;
        created.with_context(|| format!("cannot create {} {}", K::kind(&()), object.name_any()))
    }

    /// Runs candidates, with the rights they need.
    pub async fn run(&self, workload: &Workload) -> Result<()> {
        let mut objects = workload.rights();
        objects.push(workload.object(&self.installed.candidate_image));
        self.apply_all(&objects).await
    }

    /// Runs pods of the elector command, with the rights they need. Applied again, they change.
    pub async fn run_elector(&self, pods: &ElectorPods) -> Result<()> {
        let installed = self.installed;
        let image = tokio::task::spawn_blocking(|| installed.elector_image()).await??;
        self.apply_all(&pods.objects(image)).await
    }

    /// Applies a sample, with the elector's image of this cluster for every image, and with this program.
    pub async fn apply_elector_sample(&self, published: &str, program: &str) -> Result<()> {
        let installed = self.installed;
        let image = tokio::task::spawn_blocking(|| installed.elector_image()).await??;
        self.apply(&sample(published, image, program)?).await
    }

    async fn apply_all(&self, objects: &[serde_json::Value]) -> Result<()> {
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
        self.apply(&list.to_string()).await
    }

    /// `kubectl apply` of a manifest, into this namespace.
    pub async fn apply(&self, manifest: &str) -> Result<()> {
        let mut command = self.installed.kubectl();
        command.args(["--namespace", &self.name, "apply", "--filename=-"]);
        let manifest = manifest.to_owned();
        tokio::task::spawn_blocking(move || run_with_input(&mut command, &manifest)).await??;
        Ok(())
    }

    /// Runs kubectl in this namespace and returns what it printed.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        let mut command = self.installed.kubectl();
        command.args(["--namespace", &self.name]).args(args);
        tokio::task::spawn_blocking(move || run(&mut command)).await?
    }

    /// Records what happens to Leases, groups and pods in here, from now on.
    pub async fn timeline(&self) -> Result<Timeline> {
        Timeline::start(self.installed, &self.name).await
    }

    /// Waits until an object is as it should be, and returns it; `wanted` is a sentence for when it does not come true.
    pub async fn until<K>(&self, name: &str, wanted: &str, is_so: impl Fn(&K) -> bool + Send) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Send
            + DeserializeOwned
            + 'static,
    {
        self.until_within(PATIENCE, name, wanted, is_so).await
    }

    /// [`Namespace::until`] with a patience of one's own.
    pub async fn until_within<K>(
        &self,
        patience: Duration,
        name: &str,
        wanted: &str,
        is_so: impl Fn(&K) -> bool + Send,
    ) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Send
            + DeserializeOwned
            + 'static,
    {
        let condition = |object: Option<&K>| object.is_some_and(&is_so);
        let found = self.within(patience, wanted, || await_condition(self.api::<K>(), name, condition)).await?;
        found.context("a condition that wants an object was met without one")
    }

    /// Waits until an object does not exist.
    pub async fn until_gone<K>(&self, name: &str) -> Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Send
            + DeserializeOwned
            + 'static,
    {
        let wanted = format!("{} {name} is gone", K::kind(&()));
        let gone = |object: Option<&K>| object.is_none();
        self.within(PATIENCE, &wanted, || await_condition(self.api::<K>(), name, gone)).await.map(drop)
    }

    /// Repeats a wait whose watch broke, until its time is up.
    async fn within<T, F>(&self, patience: Duration, wanted: &str, wait: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T, kube::runtime::wait::Error>>,
    {
        let deadline = Instant::now() + patience;
        let until_met = async {
            loop {
                if let Ok(met) = wait().await {
                    return met;
                }
            }
        };
        if let Ok(met) = timeout_at(deadline, until_met).await {
            return Ok(met);
        }
        let told = self.tell().await;
        Err(anyhow!("not within {} s: {wanted}\n{told}", patience.as_secs()))
    }

    /// Waits until a pod leads the group, and returns the group.
    pub async fn until_led(&self, group: &str) -> Result<LeaderGroup> {
        self.until(group, "a pod leads", |g: &LeaderGroup| {
            g.leading_pod().is_some() && g.says("Ready", "True", "Leading")
        })
        .await
    }

    /// Waits until another pod than that one leads the group, and returns the group.
    pub async fn until_led_by_another(&self, group: &str, pod: &str) -> Result<LeaderGroup> {
        let wanted = format!("another pod than {pod} leads");
        self.until(group, &wanted, |g: &LeaderGroup| g.leading_pod().is_some_and(|leader| leader != pod)).await
    }

    /// Waits until the operator has cleared a Lease, and returns it.
    pub async fn until_cleared(&self, lease: &str) -> Result<Lease> {
        self.until(lease, "the Lease is cleared", <Lease as LeaseView>::is_cleared).await
    }

    /// Waits until the leader has renewed its Lease so often that its clock is trusted, and returns its pod.
    pub async fn until_settled(&self, group: &str) -> Result<Pod> {
        let lease = self.until_led(group).await?.lease_name().to_owned();
        self.until_renewed_steadily(&lease).await?;
        let name = self.until_led(group).await?.leading_pod().context("nobody leads any more")?;
        Ok(self.pods().get(&name).await?)
    }

    /// Waits until a Lease has been renewed so often that its holder's clock is trusted.
    pub async fn until_renewed_steadily(&self, lease: &str) -> Result<()> {
        // The operator may have found this one rather than seen it arrive.
        let mut last = self.renewal_after(lease, None).await?;
        let (mut steady, mut shortest) = (0, SignedDuration::MAX);
        while steady < 4 {
            last = self.renewal_after(lease, Some(last)).await?;
            let lag = Timestamp::now().duration_since(last);
            (steady, shortest) =
                if lag <= shortest.saturating_add(STEADY) { (steady + 1, shortest.min(lag)) } else { (0, lag) };
        }
        Ok(())
    }

    /// After [`Namespace::until_settled`], waits until halfway between two renewals that come every two seconds, so that what
    /// ends now ends in a later second than the last of them, by a clock that is trusted.
    pub async fn until_between_renewals(&self, group: &str) -> Result<()> {
        let lease = self.groups().get(group).await?.lease_name().to_owned();
        let mut last = self.leases().get(&lease).await?.renewed();
        loop {
            let renewed = self.renewal_after(&lease, last).await?;
            last = Some(renewed);
            // The holder's clock is this machine's. On a busy one the news may come late, and so may what wakes.
            let age = || Timestamp::now().duration_since(renewed);
            if age() > STEADY {
                self.until_settled(group).await?;
                continue;
            }
            tokio::time::sleep((BETWEEN_RENEWALS - age()).try_into().unwrap_or_default()).await;
            if age() < TOO_LATE {
                return Ok(());
            }
        }
    }

    async fn renewal_after(&self, lease: &str, last: Option<Timestamp>) -> Result<Timestamp> {
        let moved = |lease: &Lease| lease.renewed() > last;
        self.until(lease, "the Lease is renewed", moved).await?.renewed().context("a renewal has its time")
    }

    /// Deletes a pod, leaving it the time it was granted.
    pub async fn delete_pod(&self, name: &str) -> Result<()> {
        self.pods().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Deletes a pod without waiting for its processes to end.
    pub async fn force_delete_pod(&self, name: &str) -> Result<()> {
        self.pods().delete(name, &DeleteParams::default().grace_period(0)).await?;
        Ok(())
    }

    /// The Events about a group: reason and note, oldest first.
    pub async fn events(&self, group: &str) -> Result<Vec<(String, String)>> {
        use k8s_openapi::api::events::v1::Event;
        let mut events = self.api::<Event>().list(&kube::api::ListParams::default()).await?.items;
        events.retain(|e| e.regarding.as_ref().is_some_and(|about| about.name.as_deref() == Some(group)));
        events.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
        Ok(events.into_iter().map(|e| (e.reason.unwrap_or_default(), e.note.unwrap_or_default())).collect())
    }

    /// Waits until an Event about a group was written, and returns its note.
    pub async fn until_event(&self, group: &str, reason: &str) -> Result<String> {
        let waiting = self.until_event_that(group, |r, _| r == reason).await;
        waiting.with_context(|| format!("no Event {reason} about {group}"))
    }

    /// Waits until an Event was written whose reason and note are as described, and returns its note.
    pub async fn until_event_that(&self, group: &str, is_so: impl Fn(&str, &str) -> bool) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let events = self.events(group).await?;
            if let Some((_, note)) = events.into_iter().rfind(|(reason, note)| is_so(reason, note)) {
                return Ok(note);
            }
            if Instant::now() > deadline {
                return Err(anyhow!("not within {} s\n{}", PATIENCE.as_secs(), self.tell().await));
            }
            // Events come soon after what they tell of, and are not worth a watch.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What there is in here, and what the operator said lately: for messages of failed tests.
    pub async fn tell(&self) -> String {
        let objects = self.kubectl(&["get", "leadergroups,leases,pods,events", "--output=wide"]).await;
        let groups = self.kubectl(&["get", "leadergroups", "--output=yaml"]).await;
        let log = self.operator.log_about(&self.name).await.map(|lines| lines.join("\n"));
        let part = |told: Result<String>| told.unwrap_or_else(|error| format!("cannot be told: {error:#}"));
        format!("{}\n{}\noperator:\n{}", part(objects), part(groups), part(log))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let kubectl = || {
            let mut command = self.installed.kubectl();
            command.args(["--namespace", &self.name]);
            command
        };
        if thread::panicking() {
            let told = run(kubectl().args(["get", "leadergroups,leases,pods,events", "--output=wide"]));
            eprintln!("namespace {}:\n{}", self.name, told.unwrap_or_else(|error| format!("{error:#}")));
        }
        if let Err(error) = run(kubectl().args(["delete", "namespace", &self.name, "--wait=false"])) {
            eprintln!("namespace {} stays: {error:#}", self.name);
        }
    }
}
