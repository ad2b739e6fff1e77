//! A namespace for candidates that are no pods, and kubeconfigs that lead to it by a way of one's own.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// A namespace, removed when this is dropped.
pub struct Place {
    runtime: Runtime,
    client: Client,
    namespace: String,
    kubeconfig: Value,
}

impl Place {
    /// Makes a namespace in the cluster that a kubeconfig is for.
    pub fn open(kubeconfig: &Path, purpose: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let text = fs::read_to_string(kubeconfig).with_context(|| format!("cannot read {}", kubeconfig.display()))?;
        let read = Kubeconfig::from_yaml(&text)?;
        let millis = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() % 100_000_000;
        let namespace = format!("{purpose}-{millis:x}");
        let client = runtime.block_on(async {
            let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
            config.default_retry = false;
            let client = Client::try_from(config)?;
            let metadata = ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() };
            let object = Namespace { metadata, ..Namespace::default() };
            Api::all(client.clone()).create(&PostParams::default(), &object).await?;
            anyhow::Ok(client)
        })?;
        Ok(Self { runtime, client, namespace, kubeconfig: serde_yaml_ng::from_str(&text)? })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.namespace
    }

    /// The administrator's client.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// What its client runs in.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The Leases in it.
    pub fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client(), &self.namespace)
    }

    /// The API server's address, HOST:PORT.
    pub fn server(&self) -> Result<String> {
        let url =
            self.kubeconfig["clusters"][0]["cluster"]["server"].as_str().context("the kubeconfig has no server")?;
        let address = url.trim_start_matches("https://").trim_end_matches('/');
        Ok(if address.contains(':') { address.to_owned() } else { format!("{address}:443") })
    }

    /// Writes a kubeconfig that reaches the API server at another address, or with a token instead of the administrator's
    /// certificate.
    pub fn write_kubeconfig(&self, path: &Path, address: Option<&str>, token: Option<&str>) -> Result<()> {
        let mut config = self.kubeconfig.clone();
        if let Some(address) = address {
            let server = self.server()?;
            let host = server.rsplit_once(':').map_or(&*server, |(host, _)| host);
            let cluster = &mut config["clusters"][0]["cluster"];
            cluster["server"] = json!(format!("https://{address}"));
            // The certificate is for the server, not for what stands before it.
            cluster["tls-server-name"] = json!(host);
        }
        if let Some(token) = token {
            config["users"][0]["user"] = json!({"token": token});
        }
        fs::write(path, serde_yaml_ng::to_string(&config)?).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let namespaces = Api::<Namespace>::all(self.client());
        let _ = self.runtime.block_on(namespaces.delete(&self.namespace, &DeleteParams::background()));
    }
}
