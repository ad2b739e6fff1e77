//! The operator's command.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use leadergroup_operator::controller;
use leadergroup_operator::telemetry::{Health, LogFormat, init_logs, serve};
use leadergroup_operator::time::Clock;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Observes LeaderGroups, explains their transitions, and clears holders proven dead.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Where /healthz and /readyz are served.
    #[arg(long, env = "HEALTH_ADDRESS", default_value = "0.0.0.0:8081")]
    health_address: SocketAddr,

    /// How log lines look. Levels come from `RUST_LOG`.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    init_logs(args.log_format);
    let clock = Clock::start();
    let mut config = kube::Config::infer()
        .await
        .context("no way to the API server: run in a pod with a ServiceAccount, or set KUBECONFIG")?;
    // Failed requests are judged again before they are sent again.
    config.default_retry = false;
    let client = kube::Client::try_from(config).context("the API server's address or credentials can't be used")?;
    let listener = TcpListener::bind(args.health_address)
        .await
        .with_context(|| format!("can't listen on {}: set --health-address", args.health_address))?;

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
    let server = tokio::spawn(serve(listener, clock, health.clone(), stop.clone()));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting");
    controller::run(client, clock, health, stop).await;
    server.await.context("the health endpoints broke")??;
    Ok(())
}
