//! Which cluster, as whom and where in it: the options that all commands have, as with kubectl.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};

use crate::span::span;

/// Which cluster and namespace.
#[derive(Args, Clone, Debug, Default)]
pub struct Connection {
    /// The kubeconfig file [default: $KUBECONFIG, ~/.kube/config; where there is none, the cluster that this runs in]
    #[arg(long, global = true, help_heading = "Which cluster", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context in it
    #[arg(long, global = true, help_heading = "Which cluster", value_name = "NAME")]
    pub context: Option<String>,
    /// The cluster in it [default: the context's]
    #[arg(long, global = true, help_heading = "Which cluster", value_name = "NAME")]
    pub cluster: Option<String>,
    /// The user in it [default: the context's]
    #[arg(long, global = true, help_heading = "Which cluster", value_name = "NAME")]
    pub user: Option<String>,
    /// The namespace [default: the context's]
    #[arg(long, short, global = true, help_heading = "Which cluster", value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// The user to impersonate
    #[arg(long = "as", global = true, help_heading = "Which cluster", value_name = "USER")]
    pub as_user: Option<String>,
    /// A group to impersonate, with --as; may be given several times
    #[arg(long = "as-group", global = true, help_heading = "Which cluster", value_name = "GROUP")]
    pub as_groups: Vec<String>,
    /// How long to wait for an answer of the API server, as in 5s; 0 waits forever
    #[arg(long, global = true, help_heading = "Which cluster", value_name = "TIME", default_value = "20s", value_parser = patience)]
    pub request_timeout: Patience,
}

/// How long to wait for an answer; none is forever.
pub type Patience = Option<Duration>;

fn patience(text: &str) -> Result<Patience, String> {
    // As kubectl has it: without a unit, seconds.
    let span = if text.bytes().all(|byte| byte.is_ascii_digit()) { span(&format!("{text}s")) } else { span(text) };
    span.map(|span| Some(span).filter(|span| !span.is_zero()))
}

impl Connection {
    /// How to reach the cluster, and what the kubeconfig calls that.
    ///
    /// # Errors
    ///
    /// When there is no kubeconfig, or it doesn't name what was asked for.
    pub async fn config(&self) -> Result<(Config, Option<String>)> {
        let kubeconfig = match &self.kubeconfig {
            Some(file) => Kubeconfig::read_from(file),
            None => Kubeconfig::read(),
        };
        let (mut config, context) = match kubeconfig {
            Ok(kubeconfig) => self.chosen(kubeconfig).await?,
            Err(error) => (self.around(error)?, None),
        };
        if self.as_user.is_none() && !self.as_groups.is_empty() {
            bail!("--as-group is for a user that is impersonated: name it with --as");
        }
        if let Some(user) = &self.as_user {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups = Some(self.as_groups.clone()).filter(|groups| !groups.is_empty());
        }
        Ok((config, context))
    }

    async fn chosen(&self, kubeconfig: Kubeconfig) -> Result<(Config, Option<String>)> {
        let Self { context, cluster, user, .. } = self.clone();
        let name = context.clone().or_else(|| kubeconfig.current_context.clone());
        if let Some(user) = &user
            && !kubeconfig.auth_infos.iter().any(|known| known.name == *user)
        {
            bail!("the kubeconfig has no user {user}: `kubectl config get-users` lists those it has");
        }
        let options = KubeConfigOptions { context, cluster, user };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .context("the kubeconfig can't be used: `kubectl config get-contexts` lists what is in it")?;
        Ok((config, name.filter(|name| !name.is_empty())))
    }

    /// The cluster that this runs in, where no kubeconfig is meant and there is none.
    fn around(&self, error: KubeconfigError) -> Result<Config> {
        let is_named = self.kubeconfig.is_some() || std::env::var_os("KUBECONFIG").is_some_and(|it| !it.is_empty());
        let chooses = self.context.is_some() || self.cluster.is_some() || self.user.is_some();
        let around = (!is_named && !chooses).then(Config::incluster).and_then(Result::ok);
        around.ok_or(error).context("no kubeconfig to read: name one with --kubeconfig or KUBECONFIG")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limits_are_written_as_for_kubectl() {
        for (text, seconds) in [("0", None), ("0s", None), ("7", Some(7)), ("7s", Some(7)), ("1m", Some(60))] {
            assert_eq!(patience(text), Ok(seconds.map(Duration::from_secs)), "{text}");
        }
        assert!(patience("soon").is_err());
    }

    #[tokio::test]
    async fn the_kubeconfigs_user_can_speak_for_another() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let kubeconfig = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "prod",
            "clusters": [
                {"name": "a", "cluster": {"server": "https://10.0.0.1"}},
                {"name": "b", "cluster": {"server": "https://10.0.0.2"}},
            ],
            "users": [{"name": "me", "user": {"token": "t"}}],
            "contexts": [{"name": "prod", "context": {"cluster": "a", "user": "me", "namespace": "shop"}}],
        });
        std::fs::write(file.path(), kubeconfig.to_string()).unwrap();
        let mut connection = Connection { kubeconfig: Some(file.path().to_owned()), ..Connection::default() };
        let (config, context) = connection.config().await.unwrap();
        assert_eq!((context.as_deref(), config.default_namespace.as_str()), (Some("prod"), "shop"));
        assert_eq!(config.auth_info.impersonate, None);
        connection.as_groups = vec!["admins".to_owned()];
        assert!(connection.config().await.unwrap_err().to_string().contains("--as"));
        connection.as_user = Some("jane".to_owned());
        connection.cluster = Some("b".to_owned());
        let (config, _) = connection.config().await.unwrap();
        assert_eq!(config.cluster_url.host(), Some("10.0.0.2"));
        assert_eq!(config.auth_info.impersonate.as_deref(), Some("jane"));
        assert_eq!(config.auth_info.impersonate_groups, Some(vec!["admins".to_owned()]));
        connection.user = Some("nobody".to_owned());
        assert!(connection.config().await.is_err());
    }
}
