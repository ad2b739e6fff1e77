//! What every form of the command needs: which Lease, as whom, and with which timing.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use leadergroup_elector::{Elector, MissingRight, Options, Timing, least_rights};

/// Where a pod finds its namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Which Lease to campaign for, as whom, and with which timing.
#[derive(Clone, Debug, clap::Args)]
pub struct CampaignArguments {
    /// The name of the Lease
    #[arg(long, env = "ELECTOR_LEASE", value_name = "NAME")]
    lease: Option<String>,

    /// The namespace of the Lease [default: that of this pod]
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,

    /// This candidate's identity, which no other that lives may have
    /// [default: `POD_NAME_POD_UID` from the environment, or the host name with a random suffix]
    #[arg(long, env = "ELECTOR_IDENTITY", value_name = "TEXT")]
    identity: Option<String>,

    /// How long after its last renewal a Lease may be taken over, in whole seconds
    #[arg(long, env = "ELECTOR_LEASE_DURATION", value_name = "TIME", default_value = "15s", value_parser = duration)]
    lease_duration: Duration,

    /// How long after its last renewal the leader goes on trying before it gives up
    #[arg(long, env = "ELECTOR_RENEW_DEADLINE", value_name = "TIME", default_value = "10s", value_parser = duration)]
    renew_deadline: Duration,

    /// The time from one renewal to the next
    #[arg(long, env = "ELECTOR_RETRY_PERIOD", value_name = "TIME", default_value = "2s", value_parser = duration)]
    retry_period: Duration,
}

/// `15s`, `1m30s`, `500ms`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}: write it as in 15s or 500ms"))?;
    Duration::try_from(span).map_err(|_| "it can't be negative".to_owned())
}

impl CampaignArguments {
    /// What the library needs.
    pub fn options(&self) -> Result<Options> {
        let timing = Timing::new(self.lease_duration, self.renew_deadline, self.retry_period)?;
        let Some(lease) = self.lease.as_ref().filter(|lease| !lease.is_empty()) else {
            bail!(
                "it is not said which Lease to campaign for: give --lease NAME, or set ELECTOR_LEASE, in a pod for \
                 instance from its label app:\n  \
                 env: [{{name: ELECTOR_LEASE, valueFrom: {{fieldRef: {{fieldPath: \"metadata.labels['app']\"}}}}}}]"
            );
        };
        Ok(Options::new(self.namespace()?, lease, self.identity()?).timing(timing))
    }

    fn namespace(&self) -> Result<String> {
        if let Some(namespace) = &self.namespace {
            return Ok(namespace.clone());
        }
        fs::read_to_string(NAMESPACE_FILE).context(
            "the Lease's namespace is not known: this is no pod, or one without a ServiceAccount's token; \
             set --namespace, or POD_NAMESPACE from the field metadata.namespace",
        )
    }

    fn identity(&self) -> Result<String> {
        if let Some(identity) = &self.identity {
            if identity.is_empty() {
                bail!("--identity is empty: leave it out, or give this candidate one of its own");
            }
            return Ok(identity.clone());
        }
        let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        let uid = variable("POD_UID");
        match (variable("POD_NAME"), uid) {
            // The same after a restart of the container, whose Lease it then takes back at once.
            (Some(name), Some(uid)) => Ok(format!("{name}_{uid}")),
            (name, _) => {
                let host = || fs::read_to_string("/proc/sys/kernel/hostname").map(|host| host.trim().to_owned());
                let name = name.map_or_else(host, Ok).context("this machine does not tell its name: set --identity")?;
                let random = fs::read_to_string("/proc/sys/kernel/random/uuid").context("set --identity")?;
                Ok(format!("{name}_{}", &random[..8]))
            }
        }
    }

    /// Begins to campaign. Missing rights are told, with what to apply, for as long as the candidate lives.
    pub async fn start(options: Options) -> Result<Elector> {
        let config = kube::Config::infer()
            .await
            .context("no way to the API server: run in a pod with a ServiceAccount, or set KUBECONFIG")?;
        tracing::info!(
            lease = options.lease,
            namespace = options.namespace,
            identity = options.identity,
            "campaigning"
        );
        let (namespace, lease) = (options.namespace.clone(), options.lease.clone());
        let elector = Elector::start(config, options)?;
        let mut status = elector.status();
        tokio::spawn(async move {
            let mut told: Option<MissingRight> = None;
            while let Ok(now) = status.wait_for(|now| now.missing_right.is_some() && now.missing_right != told).await {
                told.clone_from(&now.missing_right);
                drop(now);
                if let Some(right) = &told {
                    tell_missing_right(&namespace, &lease, right);
                }
            }
        });
        Ok(elector)
    }
}

fn tell_missing_right(namespace: &str, lease: &str, right: &MissingRight) {
    let (whose, account) = match &right.service_account {
        Some((of, name)) => (format!("ServiceAccount {name} of namespace {of}"), name.as_str()),
        None => ("this candidate".to_owned(), "default"),
    };
    let rights = least_rights(namespace, lease, account);
    tracing::warn!(
        "{whose} may not {} Lease {lease} in namespace {namespace}, so it can't lead. It goes on trying. To let it, apply:\n{rights}",
        right.verb
    );
}
