//! The connection to the cluster.

use anyhow::{Context, Error, Result, anyhow};
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use crate::arguments::Connection;

/// A cluster, and the namespace that is meant where none is named.
#[derive(Clone)]
pub struct Session {
    pub client: Client,
    pub namespace: String,
    server: String,
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
        let server = config.cluster_url.to_string();
        Ok(Self { client: Client::try_from(config)?, namespace, server })
    }

    /// What a failed request means, and what to do about it.
    pub fn explain(&self, error: kube::Error) -> Error {
        match error {
            kube::Error::Api(status) => match status.code {
                // What the API server answers for a kind that it does not know.
                404 if status.details.is_none() => {
                    anyhow!(
                        "the cluster has no LeaderGroups: install the custom resource and the operator \
                         (kubectl apply --kustomize config/default)"
                    )
                }
                401 => anyhow!("{} does not accept the kubeconfig's credentials: log in anew", self.server),
                403 => anyhow!("{}; README.md lists the rights that each command needs", status.message),
                _ => anyhow!("{}", status.message),
            },
            kube::Error::Service(_) | kube::Error::HyperError(_) => {
                let error = Error::from(error);
                anyhow!("the cluster at {} can't be reached: {}", self.server, error.root_cause())
            }
            other => other.into(),
        }
    }
}
