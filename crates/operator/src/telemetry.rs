//! Logs, and where spans go.

use std::env;

use anyhow::Context;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layered, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

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

/// What is logged at this `RUST_LOG`. A mere level is the operator's own: the libraries below say no more for it than that,
/// and mostly nothing, for what fails is logged once, where it is known what it was for. Anything else is taken as it is.
///
/// # Errors
/// Fails if it is neither a level nor directives.
pub fn log_filter(asked: Option<&str>) -> anyhow::Result<EnvFilter> {
    let asked = asked.map(str::trim).filter(|asked| !asked.is_empty()).unwrap_or("info");
    let directives = match asked.parse::<LevelFilter>() {
        Ok(own) => {
            let (others, elector) = (own.min(LevelFilter::INFO), own.min(LevelFilter::WARN));
            format!(
                "{others},leadergroup_operator={own},leadergroup_elector={elector},kube_client=off,kube_runtime=off"
            )
        }
        Err(_) => asked.to_owned(),
    };
    EnvFilter::try_new(directives).with_context(|| {
        format!("RUST_LOG={asked:?} can't be used: give a level, such as debug, or directives, such as info,kube_client=debug")
    })
}

/// Starts logging to standard error, as `RUST_LOG` asks. Spans go elsewhere, if anywhere.
///
/// # Errors
/// Fails if `RUST_LOG` can't be used.
pub fn init_logs(format: LogFormat, spans: Option<Spans>) -> anyhow::Result<()> {
    let filter = log_filter(env::var("RUST_LOG").ok().as_deref())?;
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
    Ok(())
}
