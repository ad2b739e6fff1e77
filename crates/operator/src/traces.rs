//! Traces of what the operator does, sent by OTLP over HTTP; only with the feature `otel`.
//!
//! Each piece of work is a span, from the decision to its end, and below it are the requests that it took, as kube-client
//! traces them. Nothing else is: a renewal, a change that a watch tells, the operator's own election. What has ended waits
//! in a queue of bounded length for a thread of its own, so a collector that does not answer costs spans and nothing else.

use std::env;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use axum::http::Uri;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::field::Empty;
use tracing::subscriber::Interest;
use tracing::{Instrument as _, Level, Metadata, Span};
use tracing_subscriber::filter::{LevelFilter, dynamic_filter_fn};
use tracing_subscriber::layer::Context;
use tracing_subscriber::{Layer as _, Registry};
use ureq::tls::{RootCerts, TlsConfig};

use crate::audit::BrokenOff;
use crate::engine::{Failure, Outcome, Work};
use crate::metrics;
use crate::telemetry::Spans;

/// The name under which traces show, unless the environment says another.
const SERVICE: &str = "leadergroup-operator";
/// The target of spans of work. It is no module's, so that no filter of log lines means it.
const WORK: &str = "leadergroup.work";
/// How long one attempt to send may take.
const ATTEMPT: Duration = Duration::from_secs(10);
/// How long an operator that ends waits for what is left to be sent.
const LAST_ATTEMPT: Duration = Duration::from_secs(3);
/// The most that is read of an answer, in bytes.
const LONGEST_ANSWER: u64 = 65_536;
/// That nothing can be sent is said at most so often.
const SAY_AGAIN: Duration = Duration::from_mins(10);

/// What sends the spans.
#[derive(Debug)]
pub struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Sends what is left, in bounded time.
    pub fn finish(self) {
        if self.0.shutdown_with_timeout(LAST_ATTEMPT).is_err() {
            tracing::debug!("the last spans could not be sent");
        }
    }
}

/// Begins to send spans to this collector; the layer gathers them. Name, attributes, sampler and sizes are as the SDK's own
/// variables (`OTEL_…`) say.
///
/// # Errors
/// Fails if that is no address of a collector, or if one of those variables asks for what is not built in.
pub fn start(endpoint: &str) -> anyhow::Result<(Exporter, Spans)> {
    let endpoint = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let scheme = endpoint.parse::<Uri>().ok().and_then(|uri| uri.scheme_str().map(str::to_owned));
    ensure!(
        matches!(scheme.as_deref(), Some("http" | "https")),
        "the collector's address must be like http://collector.monitoring:4318: change --otlp-endpoint"
    );
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Sender::default())
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .build()
        .context("traces can't be sent: correct the OTEL_EXPORTER_OTLP_ variables")?;
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(SERVICE))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
        .with_filter(
            dynamic_filter_fn(is_traced).with_callsite_filter(may_be_traced).with_max_level_hint(LevelFilter::DEBUG),
        );
    Ok((Exporter(provider), layer.boxed()))
}

fn resource() -> Resource {
    let resource = Resource::builder_empty()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_service_name(SERVICE)
        .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())]);
    match env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => resource.with_service_name(name).build(),
        _ => resource.build(),
    }
}

/// Whether log lines show this: not the span of a piece of work, for each line names its group as it is; nor an error for
/// each certificate that is not trusted, for that nothing can be sent is said now and then.
pub(crate) fn is_logged(metadata: &Metadata<'_>) -> bool {
    !is_work(metadata) && !metadata.target().starts_with("rustls_platform_verifier")
}

fn is_work(metadata: &Metadata<'_>) -> bool {
    metadata.target() == WORK
}

/// Whether this is a request, or what kube-client says of one that failed.
fn is_request(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("kube_client") && (metadata.is_span() || *metadata.level() == Level::ERROR)
}

/// Work is, and the requests below it.
fn is_traced(metadata: &Metadata<'_>, context: &Context<'_, Registry>) -> bool {
    is_work(metadata) || is_request(metadata) && context.lookup_current().is_some()
}

/// The same, as far as it can be said once and for all.
fn may_be_traced(metadata: &'static Metadata<'static>) -> Interest {
    if is_work(metadata) {
        Interest::always()
    } else if is_request(metadata) {
        Interest::sometimes()
    } else {
        Interest::never()
    }
}

/// The span of a piece of work, which begins now.
pub fn begin(work: &Work) -> Span {
    let job = metrics::name(&work.job);
    tracing::info_span!(
        target: WORK,
        parent: None,
        "work",
        otel.name = job,
        leadergroup.job = job,
        k8s.namespace.name = &*work.group.namespace,
        leadergroup.group = &*work.group.name,
        leadergroup.outcome = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    )
}

/// Does the work within its span, which then tells how it ended.
pub async fn until_done(span: Span, doing: impl Future<Output = Option<(Work, Outcome)>>) -> Option<(Work, Outcome)> {
    let done = doing.instrument(span.clone()).await;
    let (word, error) = done.as_ref().map_or(("TermEnded", None), |(_, outcome)| ending(outcome));
    span.record("leadergroup.outcome", word);
    if let Some(error) = error {
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", error);
    }
    done
}

/// How it ended, in the words that the metrics have, and what is wrong if something is.
fn ending(outcome: &Outcome) -> (&'static str, Option<&str>) {
    match outcome {
        Outcome::Lease { result: Err(failure), .. }
        | Outcome::Pods { result: Err(failure), .. }
        | Outcome::Nodes { result: Err(failure), .. }
        | Outcome::Cleared { result: Err(failure), .. }
        | Outcome::Routed { result: Err(failure), .. }
        | Outcome::Status { result: Err(failure) }
        | Outcome::Told { result: Err(failure) } => match failure {
            Failure::NotLeading => ("NotLeading", None),
            Failure::Conflict => ("Conflict", None),
            Failure::Denied(message) => ("Denied", Some(message)),
            Failure::Unknown(message) => ("NoAnswer", Some(message)),
        },
        Outcome::Routed { result: Ok((false, _)), .. } => ("Conflict", None),
        Outcome::Audited { broke_off: Some(BrokenOff::Refused), .. } => {
            ("Denied", Some("the operator may not create SubjectAccessReviews"))
        }
        Outcome::Audited { broke_off: Some(BrokenOff::Failed(message)), .. } => ("NoAnswer", Some(message)),
        _ => ("Done", None),
    }
}

/// Sends batches, on the exporter's own thread, which may wait. A batch that can't be sent is tried a few times more by
/// the exporter, and then dropped.
#[derive(Debug)]
struct Sender {
    agent: ureq::Agent,
    /// When it was last said that nothing can be sent.
    said: Mutex<Option<Instant>>,
}

impl Default for Sender {
    fn default() -> Self {
        // The certificates that SSL_CERT_FILE names, or the system's; they are read with the first request by TLS.
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(ATTEMPT))
            .http_status_as_error(false)
            .max_redirects(0)
            .tls_config(tls)
            .build();
        Self { agent: config.into(), said: Mutex::default() }
    }
}

impl Sender {
    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let (head, body) = request.into_parts();
        let (head, mut body) = self.agent.run(Request::from_parts(head, &*body))?.into_parts();
        let body = body.with_config().limit(LONGEST_ANSWER).read_to_vec()?;
        Ok(Response::from_parts(head, body.into()))
    }

    fn say(&self, why: &dyn Display) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
            *said = Some(Instant::now());
            tracing::warn!(
                "the collector at --otlp-endpoint takes no traces, so they are lost; nothing else waits for it: {why}"
            );
        }
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.send(request);
        match &answer {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => self.say(&answer.status()),
            Err(error) => self.say(error),
        }
        answer.map_err(Into::into)
    }
}
