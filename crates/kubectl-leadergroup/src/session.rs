//! The connection to the cluster.

use std::fmt::Debug;

use anyhow::{Context, Result};
use k8s_openapi::NamespaceResourceScope;
use kube::api::ListParams;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::core::{DeserializeGuard, ObjectMeta};
use kube::{Api, Client, Resource};
use leadergroup_api::LeaderGroup;
use serde::de::DeserializeOwned;

use crate::arguments::Connection;

/// A cluster, and the namespace that is meant where none is named.
#[derive(Clone)]
pub struct Session {
    pub client: Client,
    pub namespace: String,
}

impl Session {
    /// Connects as kubectl would.
    ///
    /// # Errors
    ///
    /// When there is no kubeconfig, or it doesn't name what was asked for.
    pub async fn open(connection: &Connection) -> Result<Self> {
        let options = KubeConfigOptions { context: connection.context.clone(), ..KubeConfigOptions::default() };
        let kubeconfig = match &connection.kubeconfig {
            Some(file) => Kubeconfig::read_from(file),
            None => Kubeconfig::read(),
        }
        .context("no kubeconfig to read: name one with --kubeconfig or KUBECONFIG")?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .context("the kubeconfig can't be used: `kubectl config get-contexts` lists what is in it")?;
        let namespace = connection.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        Ok(Self { client: Client::try_from(config)?, namespace })
    }

    /// A group of the session's namespace.
    ///
    /// # Errors
    ///
    /// When there is none of that name, or it can't be read.
    pub async fn group(&self, name: &str) -> Result<LeaderGroup> {
        let groups: Api<LeaderGroup> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = groups.get_opt(name).await.with_context(|| format!("can't get LeaderGroup {name}"))?;
        found.with_context(|| {
            format!(
                "there is no LeaderGroup {name} in namespace {}: `kubectl get leadergroups -A` lists them",
                self.namespace
            )
        })
    }
}

/// Objects of a kind; and of those that can't be read what is known, with the reason.
pub type Listed<K> = (Vec<K>, Vec<(ObjectMeta, String)>);

impl Session {
    /// The objects of a kind in a namespace, or in all. One that can't be read does not hide the others.
    ///
    /// # Errors
    ///
    /// When the API server refuses, or does not answer.
    pub async fn list<K>(&self, namespace: Option<&str>) -> Result<Listed<K>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned + 'static,
    {
        let api: Api<DeserializeGuard<K>> = match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let place = namespace.map_or("all namespaces".to_owned(), |namespace| format!("namespace {namespace}"));
        let list = api.list(&ListParams::default()).await;
        let list = list.with_context(|| format!("can't list {} in {place}", K::plural(&())))?;
        let (mut readable, mut unreadable) = (Vec::new(), Vec::new());
        for item in list {
            match item.0 {
                Ok(object) => readable.push(object),
                Err(error) => unreadable.push((error.metadata, error.error)),
            }
        }
        Ok((readable, unreadable))
    }
}

/// Whether the API server refused because of rights.
pub fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

/// Whether there is no such object, or no such kind.
pub fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
