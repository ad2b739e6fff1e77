//! Logs, where spans go, and the endpoints for health and metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::{Layered, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::metrics::{CONTENT_TYPE, Metrics};
use crate::time::{Clock, Mono};

/// Past this without a turn, the loop counts as stuck.
const STUCK: Duration = Duration::from_secs(30);

/// What the endpoints report.
#[derive(Debug, Default)]
pub struct Health {
    turned_ms: AtomicU64,
    synced: AtomicBool,
    campaign_ended: AtomicBool,
}

impl Health {
    /// The loop turned.
    pub fn turned(&self, at: Mono) {
        self.turned_ms.store(u64::try_from(at.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Every watch has listed what there is; true the first time.
    pub fn ready(&self) -> bool {
        !self.synced.swap(true, Ordering::Relaxed)
    }

    /// Nothing campaigns for this operator any more.
    pub fn campaign_ended(&self) {
        self.campaign_ended.store(true, Ordering::Relaxed);
    }

    fn is_alive(&self, now: Mono) -> bool {
        !self.campaign_ended.load(Ordering::Relaxed)
            && now < Duration::from_millis(self.turned_ms.load(Ordering::Relaxed)) + STUCK
    }
}

/// Serves `/healthz` (the loop turns, and campaigns) and `/readyz` (every watch is in sync, so this operator can lead)
/// until cancelled. Whether it does lead is part of neither: a rollout waits for its standbys to be ready. Beside them
/// `/metrics`.
///
/// # Errors
/// Fails if the listener breaks.
pub async fn serve(
    listener: TcpListener,
    clock: Clock,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let alive = health.clone();
    let router =
        Router::new()
            .route(
                "/healthz",
                get(move || async move {
                    answer(alive.is_alive(clock.now().mono), "the loop is stuck, or campaigns no more\n")
                }),
            )
            .route(
                "/readyz",
                get(move || async move {
                    answer(health.synced.load(Ordering::Relaxed), "the watches are not in sync yet\n")
                }),
            )
            .route("/metrics", get(move || async move { ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.text()) }));
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn answer(good: bool, otherwise: &'static str) -> (StatusCode, &'static str) {
    if good { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, otherwise) }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What takes spans.
pub type Spans = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts logging to standard error, at the levels that `RUST_LOG` gives. By default the libraries below are
/// quiet: what fails is logged once, where it is known what it was for. Spans go elsewhere, if anywhere.
pub fn init_logs(format: LogFormat, spans: Option<Spans>) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,kube_client=off,kube_runtime=off,leadergroup_elector=warn"));
    #[cfg(feature = "otel")]
    let filter = {
        use tracing_subscriber::filter::{FilterExt as _, filter_fn};
        filter.and(filter_fn(crate::traces::is_logged))
    };
    let lines = fmt::layer::<Layered<Option<Spans>, Registry>>().with_target(false).with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(spans).with(lines.with_filter(filter)).init();
}
