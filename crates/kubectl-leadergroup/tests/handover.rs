//! `step-down` where it can't go as it should: a budget forbids the eviction, it is told to end meanwhile, or nobody else takes
//! the Lease. The API server is a real one; that the candidates' pods run and who renews the Lease is written by the test.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Config, CustomResourceExt, ResourceExt};
use leadergroup_api::LeaderGroup;
use leadergroup_cluster::Cluster;
use leadergroup_elector::lease::{MANAGER, PREFERRED_HOLDER};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a condition may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A namespace with a group of two candidates, of which `a` leads; deleted when this is dropped.
struct Place {
    namespace: String,
    cluster: Cluster,
    client: Client,
}

impl Place {
    /// None where there is no cluster; then it is said that the test proved nothing.
    async fn open(purpose: &str, elector: &str) -> Result<Option<Self>> {
        let Some(cluster) = Cluster::for_test(purpose)? else { return Ok(None) };
        let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig())?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        let name = LeaderGroup::crd_name();
        let params = PatchParams::apply("leadergroup-tests").force();
        definitions.patch(name, &params, &Patch::Apply(&LeaderGroup::crd())).await?;
        timeout(PATIENCE, await_condition(definitions, name, conditions::is_crd_established())).await??;
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let namespace = format!("handover-{purpose}-{:x}", nanos % (1 << 44));
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await?;
        let place = Self { namespace, cluster, client };
        place.create::<LeaderGroup>(json!({"metadata": {"name": "billing"}, "spec": {}}), "tests").await?;
        for name in ["a", "b"] {
            place
                .create::<Pod>(
                    json!({
                        "metadata": {"name": name, "labels": {"leadergroup.dev/group": "billing"}},
                        "spec": {"schedulerName": "nobody", "containers": [{"name": "app", "image": "app"}]},
                    }),
                    "tests",
                )
                .await?;
            let running = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
            let pods: Api<Pod> = place.api();
            pods.patch_status(name, &PatchParams::default(), &Patch::Strategic(running)).await?;
        }
        let lease = json!({"metadata": {"name": "billing"}, "spec": {
            "holderIdentity": "a", "leaseDurationSeconds": 15, "leaseTransitions": 1,
            "renewTime": "2026-11-25T10:00:00.000000Z",
        }});
        place.create::<Lease>(lease, elector).await?;
        Ok(Some(place))
    }

    fn api<K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn create<K>(&self, object: Value, manager: &str) -> Result<()>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let params = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
        self.api::<K>().create(&params, &serde_json::from_value(object)?).await?;
        Ok(())
    }

    /// Has the Lease held so, as its elector would write it.
    async fn held_by(&self, holder: &str) -> Result<()> {
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch =
            Patch::Merge(json!({"spec": {"holderIdentity": holder, "renewTime": "2026-11-25T10:00:01.000000Z"}}));
        self.api::<Lease>().patch("billing", &params, &patch).await?;
        Ok(())
    }

    async fn hint(&self) -> Result<Option<String>> {
        let lease: Lease = self.api().get("billing").await?;
        Ok(lease.annotations().get(PREFERRED_HOLDER).cloned())
    }

    fn start(&self, args: &[&str]) -> Result<Child> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-leadergroup"));
        command.arg("--kubeconfig").arg(self.cluster.kubeconfig()).args(["--namespace", &self.namespace]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Ok(command.spawn()?)
    }

    /// Asks the leader to step down, and waits until it is asked.
    async fn asking(&self) -> Result<Child> {
        let child = self.start(&["step-down", "billing", "--timeout", "60s"])?;
        let is_asked =
            |lease: Option<&Lease>| lease.is_some_and(|lease| lease.annotations().contains_key(PREFERRED_HOLDER));
        timeout(PATIENCE, await_condition(self.api::<Lease>(), "billing", is_asked)).await.context("nobody asks")??;
        Ok(child)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let name = self.namespace.clone();
        // What is left in there hurts nobody.
        let deletion =
            async move { timeout(Duration::from_secs(5), namespaces.delete(&name, &DeleteParams::default())).await };
        let _ = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(deletion));
    }
}

async fn ended(child: Child) -> Result<(Option<i32>, String)> {
    let Output { status, stderr, .. } = timeout(PATIENCE, child.wait_with_output()).await.context("it goes on")??;
    Ok((status.code(), String::from_utf8_lossy(&stderr).into_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_that_a_budget_forbids_is_told_at_once_and_not_tried_again() -> Result<()> {
    let Some(place) = Place::open("budget", "client-go").await? else { return Ok(()) };
    let selector = json!({"matchLabels": {"leadergroup.dev/group": "billing"}});
    let budget = json!({"metadata": {"name": "both"}, "spec": {"minAvailable": 2, "selector": selector}});
    place.create::<PodDisruptionBudget>(budget, "tests").await?;
    let is_counted = |budget: Option<&PodDisruptionBudget>| {
        budget
            .and_then(|it| it.status.as_ref())
            .is_some_and(|it| it.current_healthy == 2 && it.observed_generation == Some(1))
    };
    timeout(PATIENCE, await_condition(place.api(), "both", is_counted))
        .await
        .context("the budget is not counted")??;
    let start = Instant::now();
    let (code, told) = ended(place.start(&["step-down", "billing", "--yes", "--timeout", "60s"])?).await?;
    ensure!(
        code == Some(1) && start.elapsed() < Duration::from_secs(5),
        "{code:?} after {:?}: {told}",
        start.elapsed()
    );
    for part in ["pod a was not evicted", "The disruption budget both needs 2 healthy pods", "get poddisruptionbudgets"]
    {
        ensure!(told.contains(part), "{part:?} is not in {told:?}");
    }
    // The budget is free now, and what the user wanted then is not done later.
    place.api::<PodDisruptionBudget>().delete("both", &DeleteParams::default()).await?;
    let gone = await_condition(place.api::<Pod>(), "a", |pod: Option<&Pod>| {
        pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
    });
    ensure!(timeout(Duration::from_secs(3), gone).await.is_err(), "pod a is evicted after all");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_is_not_asked_any_more_once_the_command_is_told_to_end() -> Result<()> {
    for signal in ["TERM", "HUP", "INT"] {
        let Some(place) = Place::open(&signal.to_lowercase(), MANAGER).await? else { return Ok(()) };
        let child = place.asking().await?;
        let pid = child.id().context("it has ended")?.to_string();
        ensure!(Command::new("kill").args(["-s", signal, &pid]).status().await?.success(), "no signal");
        let (code, told) = ended(child).await?;
        ensure!(code == Some(1) && told.contains("interrupted"), "{signal}: {code:?} {told}");
        ensure!(place.hint().await?.is_none(), "{signal}: the hint stays");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_leader_again_is_no_success() -> Result<()> {
    let Some(place) = Place::open("again", MANAGER).await? else { return Ok(()) };
    let child = place.asking().await?;
    place.held_by("").await?;
    // It takes the hint away first, so that all may try.
    let is_open =
        |lease: Option<&Lease>| lease.is_some_and(|lease| !lease.annotations().contains_key(PREFERRED_HOLDER));
    timeout(PATIENCE, await_condition(place.api::<Lease>(), "billing", is_open)).await??;
    place.held_by("a").await?;
    let (code, told) = ended(child).await?;
    ensure!(code == Some(1) && told.contains("a leads again, "), "{code:?} {told}");

    // Another is.
    let child = place.asking().await?;
    place.held_by("b").await?;
    let (code, told) = ended(child).await?;
    ensure!(code == Some(0), "{code:?} {told}");
    ensure!(place.hint().await?.is_none(), "the hint stays");
    Ok(())
}
