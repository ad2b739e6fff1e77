//! The connection to the cluster.

use anyhow::{Context, Result};
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

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
}
