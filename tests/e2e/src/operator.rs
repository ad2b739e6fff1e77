//! The operator as a user's cluster has it: two replicas, one of which leads.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt, wait};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::{Duration, timeout};

use crate::install::{OPERATOR_NAMESPACE, OPERATOR_REPLICAS};
use crate::{LeaseView, PodView, Session};

const NAME: &str = "leadergroup-operator";
const SELECTOR: &str = "app.kubernetes.io/name=leadergroup-operator";
const PATIENCE: Duration = Duration::from_mins(1);

/// The operator: its pods, its log, and ways to end it.
#[derive(Clone)]
pub struct Operator {
    pods: Api<Pod>,
    leases: Api<Lease>,
    deployments: Api<Deployment>,
    local: bool,
}

impl Operator {
    pub(crate) fn new(session: &Session) -> Self {
        Self {
            pods: Api::namespaced(session.client(), OPERATOR_NAMESPACE),
            leases: Api::namespaced(session.client(), OPERATOR_NAMESPACE),
            deployments: Api::namespaced(session.client(), OPERATOR_NAMESPACE),
            local: session.installed.local_program.is_some(),
        }
    }

    /// The pod that leads, once one does.
    pub async fn leading_pod(&self) -> Result<Pod> {
        self.until_led("an operator leads", |_| true).await
    }

    /// The pod that leads, once another than that one does.
    pub async fn leading_pod_but(&self, other: &Pod) -> Result<Pod> {
        self.until_led("another operator leads", |pod| pod.uid() != other.uid()).await
    }

    async fn until_led(&self, wanted: &str, is_so: impl Fn(&Pod) -> bool + Sync) -> Result<Pod> {
        let led = async {
            loop {
                let held = |lease: Option<&Lease>| lease.is_some_and(|lease| lease.holder().is_some());
                let lease = wait::await_condition(self.leases.clone(), NAME, held).await?;
                let holder = lease.and_then(|lease| lease.holder()).unwrap_or_default();
                let pods = self.pods.list(&ListParams::default().labels(SELECTOR)).await?.items;
                let is_holder = |pod: &Pod| holder == format!("{}_{}", pod.name_any(), pod.uid().unwrap_or_default());
                if let Some(pod) = pods.into_iter().find(|pod| is_holder(pod) && pod.is_ready() && is_so(pod)) {
                    return Ok(pod);
                }
                let moved = |lease: Option<&Lease>| lease.and_then(LeaseView::holder).as_ref() != Some(&holder);
                // The pod may be about to become ready under the same Lease.
                let _ = timeout(Duration::from_millis(500), await_condition(self.leases.clone(), NAME, moved)).await;
            }
        };
        timeout(PATIENCE, led).await.with_context(|| format!("not within {} s: {wanted}", PATIENCE.as_secs()))?
    }

    /// The Lease that says which operator leads.
    pub async fn lease(&self) -> Result<Lease> {
        Ok(self.leases.get(NAME).await?)
    }

    /// Its pods, once they are as described.
    async fn until_pods(&self, wanted: &str, are_so: impl Fn(&BTreeMap<String, Pod>) -> bool + Sync) -> Result<()> {
        let config = watcher::Config::default().labels(SELECTOR);
        let mut events = std::pin::pin!(watcher(self.pods.clone(), config).default_backoff());
        let waiting = async {
            let (mut pods, mut listed) = (BTreeMap::new(), false);
            loop {
                match events.try_next().await {
                    Ok(Some(Event::Init)) => (pods, listed) = (BTreeMap::new(), false),
                    Ok(Some(Event::InitApply(pod) | Event::Apply(pod))) => drop(pods.insert(pod.name_any(), pod)),
                    Ok(Some(Event::Delete(pod))) => drop(pods.remove(&pod.name_any())),
                    Ok(Some(Event::InitDone)) => listed = true,
                    Ok(None) => bail!("the watch on the operator's pods ended"),
                    Err(_) => {}
                }
                if listed && are_so(&pods) {
                    return Ok(());
                }
            }
        };
        timeout(PATIENCE, waiting).await.with_context(|| format!("not within {} s: {wanted}", PATIENCE.as_secs()))?
    }

    /// The last lines of its log, one replica after the other.
    pub async fn log(&self, lines: i64) -> Result<String> {
        if self.local {
            let log = std::fs::read_to_string(Session::local_log())?;
            let skip = log.lines().count().saturating_sub(usize::try_from(lines)?);
            return Ok(log.lines().skip(skip).collect::<Vec<_>>().join("\n"));
        }
        let params = LogParams { tail_lines: Some(lines), ..LogParams::default() };
        let mut log = String::new();
        for pod in self.pods.list(&ListParams::default().labels(SELECTOR)).await? {
            // One that is on its way out, or in, has none.
            log.push_str(&self.pods.logs(&pod.name_any(), &params).await.unwrap_or_default());
        }
        Ok(log)
    }

    /// Waits until one of its pods has logged a line that contains all of these.
    pub async fn until_logged(&self, pod: &Pod, parts: &[&str]) -> Result<()> {
        let name = pod.name_any();
        let logged = async {
            loop {
                let params = LogParams { tail_lines: Some(1_000), ..LogParams::default() };
                let log = self.pods.logs(&name, &params).await.unwrap_or_default();
                if log.lines().any(|line| parts.iter().all(|part| line.contains(part))) {
                    return;
                }
                // A log has no watch.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(PATIENCE, logged).await.with_context(|| format!("{name} does not log {parts:?}"))
    }

    /// The lines of its log that name a namespace, of at most the last 5000 of each replica.
    pub async fn log_about(&self, namespace: &str) -> Result<Vec<String>> {
        let log = self.log(5_000).await?;
        Ok(log.lines().filter(|line| line.contains(namespace)).map(ToOwned::to_owned).collect())
    }

    /// How often its containers were restarted.
    pub async fn restarts(&self) -> Result<i32> {
        let pods = self.pods.list(&ListParams::default().labels(SELECTOR)).await?;
        Ok(pods.iter().map(PodView::restarts).sum())
    }

    /// Ends the pod that leads, gracefully, and returns it when it is gone.
    pub async fn delete_leading_pod(&self) -> Result<Pod> {
        let pod = self.leading_pod().await?;
        self.pods.delete(&pod.name_any(), &DeleteParams::default()).await?;
        let uid = pod.uid().context("the operator's pod has no UID")?;
        let name = pod.name_any();
        let waiting = await_condition(self.pods.clone(), &name, conditions::is_deleted(&uid));
        timeout(PATIENCE, waiting).await.context("the operator's pod does not go within 60 s")??;
        Ok(pod)
    }

    /// Replaces its pods one by one as `kubectl rollout restart` does, and returns when all run and one leads.
    pub async fn roll(&self) -> Result<Pod> {
        let before = self.pods.list(&ListParams::default().labels(SELECTOR)).await?;
        let old: Vec<_> = before.iter().filter_map(ResourceExt::uid).collect();
        self.deployments.restart(NAME).await?;
        let is_new = |pod: &Pod| pod.uid().is_some_and(|uid| !old.contains(&uid));
        self.until_pods("every pod of the operator is a new one", |pods| {
            pods.values().all(is_new) && pods.values().filter(|pod| pod.is_ready()).count() == replicas()
        })
        .await?;
        self.leading_pod().await
    }

    /// Has no operator run for a moment, so that those that run then know nothing; returns when one leads.
    pub async fn restart(&self) -> Result<Pod> {
        self.stop().await?;
        self.start().await
    }

    /// Has no operator run, and returns when its pods are gone.
    pub async fn stop(&self) -> Result<()> {
        self.scale(0).await?;
        self.until_pods("no operator runs", BTreeMap::is_empty).await
    }

    /// Has the operator run, and returns the pod that leads when all are ready.
    pub async fn start(&self) -> Result<Pod> {
        self.scale(OPERATOR_REPLICAS).await?;
        self.until_ready().await
    }

    /// Waits until every replica is ready, and returns the pod that leads.
    pub async fn until_ready(&self) -> Result<Pod> {
        let ready = |pods: &BTreeMap<String, Pod>| pods.len() == replicas() && pods.values().all(PodView::is_ready);
        self.until_pods("every replica is ready", ready).await?;
        self.leading_pod().await
    }

    async fn scale(&self, replicas: i32) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        self.deployments.patch_scale(NAME, &PatchParams::default(), &patch).await?;
        Ok(())
    }
}

fn replicas() -> usize {
    usize::try_from(OPERATOR_REPLICAS).unwrap_or_default()
}
