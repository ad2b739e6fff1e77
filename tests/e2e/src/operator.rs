//! The operator as a user's cluster has it.

use anyhow::{Context, Result};
use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::{Duration, timeout};

use crate::install::OPERATOR_NAMESPACE;
use crate::{PodView, Session};

const NAME: &str = "leadergroup-operator";
const SELECTOR: &str = "app.kubernetes.io/name=leadergroup-operator";
const PATIENCE: Duration = Duration::from_mins(1);

/// The operator: its log, and ways to end it.
#[derive(Clone)]
pub struct Operator {
    pods: Api<Pod>,
    deployments: Api<Deployment>,
    local: bool,
}

impl Operator {
    pub(crate) fn new(session: &Session) -> Self {
        Self {
            pods: Api::namespaced(session.client(), OPERATOR_NAMESPACE),
            deployments: Api::namespaced(session.client(), OPERATOR_NAMESPACE),
            local: session.installed.local_program.is_some(),
        }
    }

    /// Its pod, once one is ready.
    pub async fn ready_pod(&self) -> Result<Pod> {
        let config = watcher::Config::default().labels(SELECTOR);
        let mut pods = std::pin::pin!(watcher(self.pods.clone(), config).default_backoff().applied_objects());
        let ready = async {
            loop {
                match pods.try_next().await {
                    Ok(Some(pod)) if pod.is_ready() => return Ok(pod),
                    Ok(Some(_)) | Err(_) => {}
                    Ok(None) => anyhow::bail!("the watch on the operator's pods ended"),
                }
            }
        };
        timeout(PATIENCE, ready).await.context("no pod of the operator became ready within 60 s")?
    }

    /// The last lines of its log.
    pub async fn log(&self, lines: i64) -> Result<String> {
        if self.local {
            let log = std::fs::read_to_string(Session::local_log())?;
            let skip = log.lines().count().saturating_sub(usize::try_from(lines)?);
            return Ok(log.lines().skip(skip).collect::<Vec<_>>().join("\n"));
        }
        let params = LogParams { tail_lines: Some(lines), ..LogParams::default() };
        let mut log = String::new();
        for pod in self.pods.list(&ListParams::default().labels(SELECTOR)).await? {
            log.push_str(&self.pods.logs(&pod.name_any(), &params).await?);
        }
        Ok(log)
    }

    /// The lines of its log that name a namespace, of at most the last 5000.
    pub async fn log_about(&self, namespace: &str) -> Result<Vec<String>> {
        let log = self.log(5_000).await?;
        Ok(log.lines().filter(|line| line.contains(namespace)).map(ToOwned::to_owned).collect())
    }

    /// How often its container was restarted.
    pub async fn restarts(&self) -> Result<i32> {
        Ok(self.ready_pod().await?.restarts())
    }

    /// Ends its pod, gracefully, and returns when the pod is gone.
    pub async fn delete_pod(&self) -> Result<()> {
        let pod = self.ready_pod().await?;
        self.pods.delete(&pod.name_any(), &DeleteParams::default()).await?;
        self.until_gone(&pod).await
    }

    /// Replaces its pod as `kubectl rollout restart` does, and returns when the new one is ready.
    pub async fn restart(&self) -> Result<()> {
        let pod = self.ready_pod().await?;
        self.deployments.restart(NAME).await?;
        self.until_gone(&pod).await?;
        self.ready_pod().await.map(drop)
    }

    /// Has no operator run, and returns when its pod is gone.
    pub async fn stop(&self) -> Result<()> {
        let pod = self.ready_pod().await?;
        self.scale(0).await?;
        self.until_gone(&pod).await
    }

    /// Has one operator run, and returns when it is ready.
    pub async fn start(&self) -> Result<()> {
        self.scale(1).await?;
        self.ready_pod().await.map(drop)
    }

    async fn scale(&self, replicas: i32) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        self.deployments.patch_scale(NAME, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    async fn until_gone(&self, pod: &Pod) -> Result<()> {
        let uid = pod.uid().context("the operator's pod has no UID")?;
        let name = pod.name_any();
        let waiting = await_condition(self.pods.clone(), &name, conditions::is_deleted(&uid));
        timeout(PATIENCE, waiting).await.context("the operator's pod does not go within 60 s")??;
        Ok(())
    }
}
