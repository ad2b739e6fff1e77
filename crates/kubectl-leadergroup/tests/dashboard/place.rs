//! A namespace of a test's own with groups in it, and a dashboard of it that has only the rights README names.

use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Config, CustomResourceExt};
use leadergroup_api::LeaderGroup;
use leadergroup_cluster::Cluster;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::RwLock;
use tokio::time::timeout;

/// How long a condition may take.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Whoever stops the API server does so alone.
static API_SERVER: RwLock<()> = RwLock::const_new(());

/// Held for as long as a test uses the API server.
type Share = Box<dyn Send + Sync>;

/// A namespace, deleted when this is dropped.
pub struct Place {
    pub namespace: String,
    pub cluster: Cluster,
    kubeconfig: Kubeconfig,
    client: Client,
    folder: TempDir,
    _share: Share,
}

impl Place {
    /// None where there is no cluster; then it is said that the test proved nothing.
    pub async fn open(purpose: &str) -> Result<Option<Self>> {
        Self::with(purpose, Box::new(API_SERVER.read().await)).await
    }

    /// As long as nobody else uses the API server. None also where it is somebody else's.
    pub async fn open_alone(purpose: &str) -> Result<Option<Self>> {
        let place = Self::with(purpose, Box::new(API_SERVER.write().await)).await?;
        let own = place.filter(|place| !place.cluster.is_existing());
        if own.is_none() {
            eprintln!("NOT PROVEN, for want of a cluster of our own: {purpose}");
        }
        Ok(own)
    }

    async fn with(purpose: &str, share: Share) -> Result<Option<Self>> {
        let Some(cluster) = Cluster::for_test(purpose)? else { return Ok(None) };
        let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig())?;
        let config = Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        define(&client).await?;
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let namespace = format!("dashboard-{purpose}-{:x}", nanos % (1 << 44));
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await?;
        let place = Self { namespace, cluster, kubeconfig, client, folder: TempDir::new()?, _share: share };
        place.allow().await?;
        Ok(Some(place))
    }

    /// The account that dashboards run as, and what README says it needs.
    async fn allow(&self) -> Result<()> {
        self.create::<ServiceAccount>(json!({"metadata": {"name": "viewer"}})).await?;
        self.create::<ServiceAccount>(json!({"metadata": {"name": "nobody"}})).await?;
        self.create::<Role>(json!({
            "metadata": {"name": "leadergroup-view"},
            "rules": [
                {"apiGroups": ["leadergroup.dev"], "resources": ["leadergroups"], "verbs": ["get", "list", "watch"]},
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
            ]
        }))
        .await?;
        self.create::<RoleBinding>(json!({
            "metadata": {"name": "leadergroup-view"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "leadergroup-view"},
            "subjects": [{"kind": "ServiceAccount", "name": "viewer", "namespace": self.namespace}]
        }))
        .await
    }

    pub async fn create<K>(&self, object: Value) -> Result<()>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let object: K = serde_json::from_value(object)?;
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        api.create(&PostParams::default(), &object).await?;
        Ok(())
    }

    /// A group as the operator would report it.
    pub async fn group(&self, name: &str, status: Value) -> Result<()> {
        self.create::<LeaderGroup>(json!({"metadata": {"name": name}, "spec": {}})).await?;
        self.report(name, status).await
    }

    /// Changes what is reported of a group.
    pub async fn report(&self, name: &str, status: Value) -> Result<()> {
        let patch = Patch::Merge(json!({"status": status}));
        self.groups().patch_status(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    pub fn groups(&self) -> Api<LeaderGroup> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A candidate that no node runs.
    pub async fn candidate(&self, group: &str, name: &str) -> Result<()> {
        self.create::<Pod>(json!({
            "metadata": {"name": name, "labels": {"leadergroup.dev/group": group}},
            "spec": {"schedulerName": "nobody", "containers": [{"name": "app", "image": "app"}]}
        }))
        .await
    }

    /// A dashboard of the namespace, by the account that may see it.
    pub async fn dashboard(&self) -> Result<Dashboard> {
        self.dashboard_as("viewer", 0).await
    }

    pub async fn dashboard_as(&self, account: &str, port: u16) -> Result<Dashboard> {
        let kubeconfig = self.folder.path().join(account);
        let text = serde_json::to_string(&self.credentials(account).await?)?;
        std::fs::write(&kubeconfig, text)?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-leadergroup"))
            .args(["dashboard", "--namespace", &self.namespace, "--port", &port.to_string(), "--kubeconfig"])
            .arg(&kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("can't start the dashboard")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("the dashboard has no output")?;
        timeout(PATIENCE, BufReader::new(stdout).read_line(&mut line)).await??;
        let url = line.split_whitespace().next().context("the dashboard does not say where it is")?.to_owned();
        ensure!(url.starts_with("http://127.0.0.1:"), "{line}");
        Ok(Dashboard { url, child })
    }

    async fn credentials(&self, account: &str) -> Result<Kubeconfig> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.namespace);
        let request = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
        let request = accounts.create_token_request(account, &PostParams::default(), &request).await?;
        let token = request.status.context("there is no token")?.token;
        let mut kubeconfig = self.kubeconfig.clone();
        for user in &mut kubeconfig.auth_infos {
            user.auth_info = Some(AuthInfo { token: Some(token.clone().into()), ..AuthInfo::default() });
        }
        Ok(kubeconfig)
    }
}

async fn define(client: &Client) -> Result<()> {
    let definition = LeaderGroup::crd();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = LeaderGroup::crd_name();
    let params = PatchParams::apply("leadergroup-tests").force();
    definitions.patch(name, &params, &Patch::Apply(&definition)).await?;
    let established = await_condition(definitions, name, conditions::is_crd_established());
    timeout(PATIENCE, established).await.context("LeaderGroups are not served")??;
    Ok(())
}

impl Drop for Place {
    fn drop(&mut self) {
        let (client, name) = (self.client.clone(), self.namespace.clone());
        let deletion = async move {
            let namespaces: Api<Namespace> = Api::all(client);
            // What is left in there hurts nobody.
            let _ = timeout(Duration::from_secs(5), namespaces.delete(&name, &DeleteParams::default())).await;
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(deletion));
    }
}

/// A dashboard that runs; it ends when this is dropped.
pub struct Dashboard {
    pub url: String,
    child: Child,
}

impl Dashboard {
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    pub fn port(&self) -> Result<u16> {
        let (_, port) = self.address().rsplit_once(':').context("the dashboard has no port")?;
        Ok(port.parse()?)
    }

    pub async fn end(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// That many seconds ago, as a status has it.
pub fn ago(seconds: i64) -> String {
    (Timestamp::now() - SignedDuration::from_secs(seconds)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What is reported of a group that a pod leads.
pub fn led_by(pod: &str, transitions: i64) -> Value {
    let since = ago(120);
    json!({
        "leaseName": "billing",
        "leader": {
            "identity": pod, "podName": pod, "podUID": format!("uid-of-{pod}"), "nodeName": "node-1",
            "acquireTime": since.replace('Z', ".000000Z")
        },
        "holder": {"identity": pod, "verdict": "Alive", "evidence": format!("pod {pod} runs on a ready node")},
        "transitions": transitions,
        "candidates": {"total": 3, "ready": 2},
        "conditions": [ready("True", "Leading", &format!("pod {pod} leads"))]
    })
}

/// The condition Ready, since two minutes.
pub fn ready(status: &str, reason: &str, message: &str) -> Value {
    json!({"type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": ago(120)})
}

/// The same, with a history: a led until it was cleared, then b until now.
pub fn with_history() -> Value {
    let mut status = led_by("billing-b", 1);
    status["history"] = json!([
        {"leader": "billing-b", "from": "billing-a", "reason": "Cleared", "time": ago(120), "leaderlessSeconds": 20.0},
        {"leader": "billing-a", "reason": "First", "time": ago(600)}
    ]);
    status
}
