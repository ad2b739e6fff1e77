//! Traces: the operator as a process, between an API server with one group and a collector.

#![allow(missing_docs)]

mod api;
mod collector;
mod operator;

use std::time::{Duration, Instant};

use api::{Api, CLEARED, TOLD};
use collector::{Collector, Manner, Span};
use operator::Operator;
use serde_json::Value;

/// Longer than a test lasts: only an operator that ends sends its spans.
const NEVER: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "600000");
const AT_ONCE: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "50");

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} among {spans:#?}"))
}

/// Its job and group are told, and how it ended.
fn assert_work(span: &Span, outcome: &str) {
    let told = ["leadergroup.job", "k8s.namespace.name", "leadergroup.group", "leadergroup.outcome"];
    assert_eq!(told.map(|key| span.attribute(key)), [&*span.name, "shop", "web", outcome], "{span:#?}");
    assert!(span.parent.is_empty(), "{span:#?}");
}

#[tokio::test]
async fn each_piece_of_work_is_a_span_above_its_requests_and_nothing_else_is_traced() {
    let (api, collector) = (Api::start().await, Collector::start(Manner::Takes).await);
    // However much is logged.
    let verbose = ("RUST_LOG", "trace");
    let operator = Operator::start(&api, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url), NEVER, verbose]);
    api.until(CLEARED).await;
    api.until(TOLD).await;
    assert!(collector.spans().is_empty(), "they are sent in batches");
    operator.end().await;

    let spans = collector.spans();
    let clear = named(&spans, "Clear");
    assert_work(clear, "Done");
    let requests: Vec<_> = spans.iter().filter(|span| span.parent == clear.id).collect();
    assert_eq!(requests.len(), 1, "{requests:#?}");
    assert_eq!((requests[0].attribute("http.method"), requests[0].attribute("http.status_code")), ("PATCH", "200"));
    assert!(requests[0].attribute("http.url").contains("/leases/web"), "{requests:#?}");

    // The API server refuses Events.
    let tell = named(&spans, "Tell");
    assert_work(tell, "Denied");
    assert_eq!(tell.error.as_deref(), Some("no Events here"));

    // No watch, no list.
    let (work, requests): (Vec<_>, Vec<_>) = spans.iter().partition(|span| span.parent.is_empty());
    assert!(work.iter().all(|span| !span.attribute("leadergroup.job").is_empty()), "{spans:#?}");
    assert!(requests.iter().all(|request| work.iter().any(|span| span.id == request.parent)), "{spans:#?}");
    assert!(spans.iter().all(|span| span.events == 0), "log lines are no part of it: {spans:#?}");
    assert_eq!(collector.service(), "leadergroup-operator");
}

#[tokio::test]
async fn log_lines_are_as_they_are_without_traces() {
    let (api, collector) = (Api::start().await, Collector::start(Manner::Takes).await);
    let verbose = [("LOG_FORMAT", "json"), ("RUST_LOG", "debug"), ("OTEL_SERVICE_NAME", "ours"), AT_ONCE];
    let mut keys = Vec::new();
    for endpoint in ["", &*collector.url] {
        let operator = Operator::start(&api, &[&verbose[..], &[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]].concat());
        api.until(TOLD).await;
        let log = operator.end().await.log;
        api.forget();
        // Of a line that is written within work, below no request.
        let line = log.lines().find(|line| line.contains("could not publish an Event")).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        keys.push(line.as_object().unwrap().keys().cloned().collect::<Vec<_>>());
    }
    assert_eq!(keys[0], keys[1]);
    assert!(!keys[0].iter().any(|key| key.contains("span")), "{keys:?}");
    assert_eq!(collector.service(), "ours", "it was told by the environment");
}

#[tokio::test]
async fn a_collector_that_takes_nothing_costs_spans_and_one_line() {
    for manner in [Manner::Refuses, Manner::IsDown] {
        let (api, collector) = (Api::start().await, Collector::start(manner).await);
        let operator = Operator::start(&api, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url), AT_ONCE]);
        if manner == Manner::Refuses {
            collector.until_asked(3).await;
        }
        api.until(CLEARED).await;
        let ended = operator.end().await;
        let lines = ended.log.lines().filter(|line| line.contains("--otlp-endpoint")).count();
        assert_eq!(lines, 1, "{manner:?}: {}", ended.log);
    }
}

#[tokio::test]
async fn a_collector_that_does_not_answer_delays_neither_a_clear_nor_the_end() {
    let (api, collector) = (Api::start().await, Collector::start(Manner::IsSilent).await);
    let operator = Operator::start(&api, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url), AT_ONCE]);
    collector.until_asked(1).await;
    let asked = Instant::now();
    api.until(CLEARED).await;
    // An attempt is given up after ten seconds.
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    let ended = operator.end().await;
    assert!(ended.after < Duration::from_secs(8), "{:?}", ended.after);
}

#[tokio::test]
async fn an_address_without_a_scheme_is_refused_at_the_start() {
    let api = Api::start().await;
    let ended = Operator::start(&api, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")]).ended().await;
    assert!(ended.log.contains("change --otlp-endpoint"), "{}", ended.log);
}
