//! The operator's command.

use std::collections::BTreeSet;
use std::env;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{ArgAction, Parser};
use kube::client::ClientBuilder;
use leadergroup_elector::{Options, Timing};
use leadergroup_operator::candidacy::Candidacy;
use leadergroup_operator::controller;
use leadergroup_operator::endpoints::{Health, serve};
use leadergroup_operator::metrics::{Metrics, TimeRequests};
use leadergroup_operator::telemetry::{LogFormat, init_logs};
use leadergroup_operator::time::Clock;
#[cfg(feature = "otel")]
use leadergroup_operator::traces;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Observes LeaderGroups, explains their transitions, and clears holders proven dead.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Where /healthz, /readyz and /metrics are served: at the first of these addresses that this machine has. By default on
    /// all of IPv6 and IPv4, or on IPv4 alone where IPv6 is off.
    #[arg(
        long,
        env = "HEALTH_ADDRESS",
        value_name = "IP:PORT",
        value_delimiter = ',',
        default_value = "[::]:8081,0.0.0.0:8081"
    )]
    health_address: Vec<SocketAddr>,

    /// How log lines look. How much is logged says `RUST_LOG`: a level, such as debug, for the operator's own lines, or
    /// directives, such as `info,kube_client=debug`.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,

    /// The namespaces to watch, separated by commas; all of them by default. With some, the operator needs no rights
    /// outside of them.
    #[arg(long = "namespace", env = "WATCH_NAMESPACES", value_name = "NAMESPACE", value_delimiter = ',')]
    namespaces: Vec<String>,

    /// Clear dead holders also in the namespaces that are Kubernetes' own (kube-system and all others that begin with
    /// `kube-`). Groups there are only observed otherwise: nothing is written to a Lease.
    #[arg(long, env = "CLEAR_IN_SYSTEM_NAMESPACES", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true")]
    clear_in_system_namespaces: bool,

    /// The OpenTelemetry collector that traces are sent to, by OTLP over HTTP, such as <http://collector.monitoring:4318>;
    /// none by default.
    #[cfg(feature = "otel")]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,

    #[command(flatten)]
    election: Election,
}

/// Which of several operators leads.
#[derive(clap::Args)]
struct Election {
    /// Whether this operator campaigns against others. Set it to false for one that runs alone.
    #[arg(long, env = "LEADER_ELECT", action = ArgAction::Set, default_value_t = true)]
    leader_elect: bool,

    /// The name of the Lease that operators campaign for.
    #[arg(long, env = "LEASE_NAME", default_value = "leadergroup-operator")]
    lease_name: String,

    /// The namespace of that Lease: the one operators run in.
    #[arg(long, env = "POD_NAMESPACE")]
    lease_namespace: Option<String>,

    /// This operator's identity, different from any other's. By default the pod's name and UID, from `POD_NAME` and
    /// `POD_UID`.
    #[arg(long, env = "IDENTITY")]
    identity: Option<String>,

    /// How long others wait after the last renewal before they take over, in seconds.
    #[arg(long, env = "LEASE_DURATION_SECONDS", default_value_t = 15)]
    lease_duration_seconds: u64,

    /// How long this operator leads without a renewal, in seconds.
    #[arg(long, env = "RENEW_DEADLINE_SECONDS", default_value_t = 10)]
    renew_deadline_seconds: u64,

    /// How long it is from one renewal to the next, in seconds.
    #[arg(long, env = "RETRY_PERIOD_SECONDS", default_value_t = 2)]
    retry_period_seconds: u64,
}

impl Election {
    fn candidacy(self, config: &kube::Config) -> anyhow::Result<Candidacy> {
        if !self.leader_elect {
            return Ok(Candidacy::Alone);
        }
        let alone = "or set LEADER_ELECT=false for an operator that runs alone";
        let namespace = self.lease_namespace.filter(|namespace| !namespace.is_empty());
        let namespace = namespace.with_context(|| {
            format!("no namespace to elect a leader in: set POD_NAMESPACE, as config/operator does, {alone}")
        })?;
        let part = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let of_pod = || Some(format!("{}_{}", part("POD_NAME")?, part("POD_UID")?));
        let identity = self.identity.filter(|identity| !identity.is_empty()).or_else(of_pod);
        let identity = identity.with_context(|| {
            format!("no identity to campaign as: set POD_NAME and POD_UID, as config/operator does, {alone}")
        })?;
        let [duration, deadline, period] =
            [self.lease_duration_seconds, self.renew_deadline_seconds, self.retry_period_seconds]
                .map(Duration::from_secs);
        let timing = Timing::new(duration, deadline, period).context("the timing of the election can't be used")?;
        let options = Options::new(namespace, self.lease_name, identity).timing(timing);
        Ok(Candidacy::ForLease { config: Box::new(config.clone()), options })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    #[cfg(feature = "otel")]
    let (exporter, spans) =
        args.otlp_endpoint.filter(|url| !url.is_empty()).map(|url| traces::start(&url)).transpose()?.unzip();
    #[cfg(not(feature = "otel"))]
    let spans = None;
    init_logs(args.log_format, spans)?;
    let clock = Clock::start();
    let mut config = kube::Config::infer()
        .await
        .context("no way to the API server: run in a pod with a ServiceAccount, or set KUBECONFIG")?;
    // Failed requests are judged again before they are sent again.
    config.default_retry = false;
    // A request that opens a watch has no deadline of its own: without this it would hang until the kernel gives a dead
    // connection up.
    config.read_timeout = Some(controller::LONGEST_SILENCE);
    config.reset_reader_on_write = true;
    let candidacy = args.election.candidacy(&config)?;
    let metrics = Arc::new(Metrics::default());
    let client = ClientBuilder::try_from(config).context("the API server's address or credentials can't be used")?;
    let client = client.with_layer(&TimeRequests(metrics.clone())).build();
    let listener = TcpListener::bind(&*args.health_address).with_context(|| {
        let asked: Vec<_> = args.health_address.iter().map(ToString::to_string).collect();
        format!("can't listen on {}: set --health-address", asked.join(" or "))
    })?;
    let health_address = listener.local_addr()?;
    let stop = CancellationToken::new();
    let health = Arc::new(Health::default());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn({
        let stop = stop.clone();
        async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            stop.cancel();
        }
    });
    let endpoints = serve(listener, clock, health.clone(), metrics.clone(), stop.clone())?;
    let namespaces: BTreeSet<Arc<str>> = args
        .namespaces
        .iter()
        .map(|namespace| namespace.trim())
        .filter(|name| !name.is_empty())
        .map(Arc::from)
        .collect();
    let reach = controller::Reach {
        namespaces: namespaces.into_iter().collect(),
        clears_in_system_namespaces: args.clear_in_system_namespaces,
    };
    let of = if reach.namespaces.is_empty() { "all namespaces".to_owned() } else { reach.namespaces.join(", ") };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), namespaces = of, %health_address, "starting");
    controller::run(client, clock, health, metrics, candidacy, reach, stop).await?;
    let served = endpoints.join().map_err(|_| anyhow!("the thread of the health endpoints panicked"))?;
    served.context("the health endpoints broke")?;
    // Leadership is given up by now, so nobody waits for this.
    #[cfg(feature = "otel")]
    if let Some(exporter) = exporter {
        exporter.finish();
    }
    Ok(())
}
