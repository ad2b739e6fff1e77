//! The connection to the cluster.

use std::fmt::Debug;
use std::path::PathBuf;

use anyhow::{Context, Error, Result, anyhow};
use clap::Args;
use k8s_openapi::NamespaceResourceScope;
use kube::api::ListParams;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::core::{DeserializeGuard, ObjectMeta};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

/// Which cluster and namespace, as with kubectl.
#[derive(Args, Clone, Debug)]
pub struct Connection {
    /// The kubeconfig file [default: $KUBECONFIG, ~/.kube/config]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Which cluster")]
    pub kubeconfig: Option<PathBuf>,
    /// The context in it
    #[arg(long, global = true, value_name = "NAME", help_heading = "Which cluster")]
    pub context: Option<String>,
    /// The namespace [default: the context's]
    #[arg(long, short, global = true, value_name = "NAMESPACE", help_heading = "Which cluster")]
    pub namespace: Option<String>,
}

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

    /// One of namespace `shop` whose requests this answers.
    #[cfg(test)]
    pub fn answered_by(answer: impl Fn(&str) -> (u16, String) + Clone + Send + 'static) -> Self {
        use axum::http::{Request, Response};
        use kube::client::Body;
        let service = tower::service_fn(move |request: Request<Body>| {
            let (code, body) = answer(request.uri().path());
            let response = Response::builder().status(code).body(Body::from(body.into_bytes()));
            async { response }
        });
        let namespace = "shop".to_owned();
        Self { client: Client::new(service, &namespace), namespace, server: "https://10.0.0.1/".to_owned() }
    }

    /// What a failed request means, and what to do about it.
    pub fn explain(&self, error: kube::Error) -> Error {
        explain(&self.server, error)
    }
}

fn explain(server: &str, error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) => match status.code {
            // What the API server answers for a kind that it does not know.
            404 if status.details.is_none() => {
                anyhow!(
                    "the cluster has no LeaderGroups: install the custom resource and the operator \
                     (kubectl apply --kustomize config/default)"
                )
            }
            401 => anyhow!("{server} does not accept the kubeconfig's credentials: log in anew"),
            403 => anyhow!("{}; README.md lists the rights that each command needs", status.message),
            _ => anyhow!("{}", status.message),
        },
        kube::Error::Service(_) | kube::Error::HyperError(_) => {
            anyhow!("the cluster at {server} can't be reached: {}", Error::from(error).root_cause())
        }
        other => other.into(),
    }
}

/// Objects of a kind; and of those that can't be read what is known, with the reason.
pub type Listed<K> = (Vec<K>, Vec<(ObjectMeta, String)>);

impl Session {
    /// All objects of a kind in a namespace, or in all.
    ///
    /// # Errors
    ///
    /// What is to be done where the API server refuses, or does not answer.
    pub async fn list<K>(&self, namespace: Option<&str>) -> Result<Listed<K>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned + 'static,
    {
        self.try_list(namespace, &ListParams::default()).await.map_err(|error| self.explain(error))
    }

    /// The objects of a kind in a namespace, or in all. One that can't be read does not hide the others.
    ///
    /// # Errors
    ///
    /// When the API server refuses, or does not answer.
    pub async fn try_list<K>(&self, namespace: Option<&str>, params: &ListParams) -> kube::Result<Listed<K>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned + 'static,
    {
        let api: Api<DeserializeGuard<K>> = match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let list = api.list(params).await?;
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

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn failures_say_what_to_do() {
        let told = |code, message: &str, details: Value| {
            let answer =
                json!({"status": "Failure", "code": code, "message": message, "reason": "", "details": details});
            let status: Status = serde_json::from_value(answer).unwrap();
            explain("https://10.0.0.1/", kube::Error::Api(status.boxed())).to_string()
        };
        let group = || json!({"name": "x", "group": "leadergroup.dev", "kind": "leadergroups"});
        let no_kind = told(404, "404 page not found", Value::Null);
        assert!(no_kind.starts_with("the cluster has no LeaderGroups: install"), "{no_kind}");
        let no_object = told(404, "leadergroups.leadergroup.dev \"x\" not found", group());
        assert_eq!(no_object, "leadergroups.leadergroup.dev \"x\" not found");
        let denied = told(403, "User \"jane\" cannot list resource \"leadergroups\"", group());
        assert!(denied.starts_with("User \"jane\" cannot list") && denied.contains("README.md"), "{denied}");
        let unknown = told(401, "Unauthorized", Value::Null);
        assert_eq!(unknown, "https://10.0.0.1/ does not accept the kubeconfig's credentials: log in anew");
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let unreachable = explain("https://10.0.0.1/", kube::Error::Service(refused.into())).to_string();
        assert_eq!(unreachable, "the cluster at https://10.0.0.1/ can't be reached: connection refused");
    }
}
