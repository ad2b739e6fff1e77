//! What `/metrics` shows of groups and of the operator, and that README's table says the same.

#![allow(missing_docs)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use leadergroup_api::{ReleaseForm, RuleName, TransitionReason, Verdict};
use leadergroup_operator::audit::{Answers, BrokenOff, Question, Right, Subject};
use leadergroup_operator::decide::{Clear, Counted, Ground};
use leadergroup_operator::engine::{Failure, Job, Outcome, Seen};
use leadergroup_operator::figures::GroupFigures;
use leadergroup_operator::index::Key;
use leadergroup_operator::metrics::described::ALL;
use leadergroup_operator::metrics::{Metrics, REASONS, TimeRequests};
use serde_json::{Value, json};
use support::api::Kind;
use support::cluster::{Cluster, Fate, leading, web_0, web_0_ended};
use support::{pod, running};
use tower::{Layer, ServiceExt};

/// The series that begin so, without their values.
fn series(text: &str, name: &str) -> BTreeSet<String> {
    let shown = text.lines().filter(|line| !line.starts_with('#') && line.starts_with(name));
    shown.map(|line| line.rsplit_once(' ').expect("a value").0.to_owned()).collect()
}

/// The series of the group `web` of a metric, with a label more.
fn of_web(metric: &str, label: &str, value: &str) -> String {
    let label = if label.is_empty() { String::new() } else { format!(",{label}=\"{value}\"") };
    format!("{metric}{{namespace=\"shop\",group=\"web\"{label}}}")
}

/// Since when nobody leads although there are candidates.
fn leaderless_since(cluster: &Cluster) -> Option<f64> {
    cluster.metric(&of_web("leadergroup_leaderless_since_timestamp_seconds", "", ""))
}

/// The second that it is, by the clock of the operator.
fn this_second(cluster: &Cluster) -> f64 {
    let now = support::now_at(support::ms(cluster.now));
    #[allow(clippy::cast_precision_loss, reason = "seconds since 1970")]
    let second = now.wall_second().as_second() as f64;
    second
}

fn transitions(cluster: &Cluster, reason: TransitionReason) -> Option<f64> {
    cluster.metric(&of_web("leadergroup_transitions_total", "reason", reason.as_str()))
}

fn all_transitions(cluster: &Cluster) -> f64 {
    REASONS.iter().filter_map(|reason| transitions(cluster, *reason)).sum()
}

fn with_web_1(spec: &Value) -> Cluster {
    let mut cluster = leading(spec);
    cluster.put_pod(pod("web-1", "u1", "n2", "Running", &[("app", running(0))]));
    cluster
}

// === groups ===

#[test]
fn a_takeover_after_a_clear_is_shown_as_the_status_tells_it() {
    let mut cluster = with_web_1(&json!({}));
    let leader = r#"leadergroup_leader_info{namespace="shop",group="web",pod="web-0",node="n1"}"#;
    assert_eq!(series(&cluster.metrics.text(), "leadergroup_leader_info"), [leader.to_owned()].into());
    assert_eq!(transitions(&cluster, TransitionReason::Cleared), Some(0.0), "a first increase must not be lost");

    cluster.put_pod(web_0_ended(7_500));
    assert_eq!(leaderless_since(&cluster), Some(1_767_225_608.0));
    assert!(series(&cluster.metrics.text(), "leadergroup_leader_info").is_empty());
    let clears = r#"leadergroup_clears_total{verdict="Terminated",ground="Proof",release="Empty"}"#;
    assert_eq!(cluster.metric(clears), Some(1.0));

    cluster.pass(400);
    cluster.renew("web-1");
    let leader = r#"leadergroup_leader_info{namespace="shop",group="web",pod="web-1",node="n2"}"#;
    assert_eq!(series(&cluster.metrics.text(), "leadergroup_leader_info"), [leader.to_owned()].into());
    assert_eq!((transitions(&cluster, TransitionReason::Cleared), all_transitions(&cluster)), (Some(1.0), 1.0));
    assert_eq!(leaderless_since(&cluster), None);
    let told = cluster.status().history[0].leaderless_seconds;
    assert_eq!(cluster.metric(&of_web("leadergroup_leaderless_seconds_total", "", "")), told);
    assert_eq!(cluster.metric(r#"leadergroup_takeover_seconds_sum{reason="Cleared"}"#), told);
    assert_eq!(cluster.metric(r#"leadergroup_takeover_seconds_count{reason="Cleared"}"#), Some(1.0));
    assert_eq!(cluster.metric(r#"leadergroup_verdicts_total{verdict="Terminated"}"#), Some(1.0));
    assert_eq!(cluster.metric(&of_web("leadergroup_candidates", "", "")), Some(1.0), "web-0 has ended");
}

#[test]
fn a_group_is_not_leaderless_while_it_has_no_candidates() {
    let mut cluster = leading(&json!({}));
    cluster.put_pod(web_0_ended(7_500));
    cluster.delete(Kind::Pod, "web-0");
    assert_eq!(leaderless_since(&cluster), None, "there is nobody to lead");
    cluster.pass(10 * 3_600_000);
    cluster.put_pod(pod("web-1", "u1", "n2", "Pending", &[]));
    let morning = this_second(&cluster);
    assert_eq!(leaderless_since(&cluster), Some(morning), "since there are candidates, not since the evening");

    cluster.pass(30_000);
    for new_operator in [Cluster::restart, Cluster::take_over] {
        new_operator(&mut cluster);
        assert_eq!(leaderless_since(&cluster), Some(morning), "whichever operator leads");
    }
    cluster.put_pod(pod("web-1", "u1", "n2", "Running", &[("app", running(0))]));
    cluster.renew("web-1");
    assert_eq!(leaderless_since(&cluster), None);
}

#[test]
fn a_group_whose_leader_is_suspect_is_leaderless_only_once_that_is_gone() {
    let mut cluster = leading(&json!({}));
    cluster.renew("somebody else");
    for _ in 0..60 {
        cluster.pass(60_000);
        cluster.renew("somebody else");
    }
    assert_eq!((leaderless_since(&cluster), cluster.verdict().as_str()), (None, "Foreign"));
    cluster.set_lease(&json!({"holderIdentity": "", "leaseDurationSeconds": 1}));
    let now = this_second(&cluster);
    assert_eq!(leaderless_since(&cluster), Some(now), "though it has not been Ready for an hour");
    cluster.pass(5_000);
    for new_operator in [Cluster::restart, Cluster::take_over] {
        new_operator(&mut cluster);
        assert_eq!(leaderless_since(&cluster), Some(now), "whichever operator leads");
    }
}

#[test]
fn a_group_that_cannot_be_judged_is_not_said_to_be_leaderless() {
    let mut cluster = leading(&json!({}));
    let selector = json!({"matchLabels": {"leadergroup.dev/group": "web"}});
    let mut second = support::group(&json!({"lease": {"name": "web"}, "candidates": {"selector": selector}}));
    second["metadata"]["name"] = json!("web-again");
    second["metadata"]["uid"] = json!("another");
    second["metadata"]["creationTimestamp"] = json!("2026-01-01T01:00:00Z");
    cluster.put_group(second);
    cluster.pass(1_000);
    let stalled = r#"leadergroup_abnormal{namespace="shop",group="web-again",condition="Stalled",reason="LeaseTaken"}"#;
    let candidates = r#"leadergroup_candidates{namespace="shop",group="web-again"}"#;
    assert_eq!((cluster.metric(stalled), cluster.metric(candidates)), (Some(1.0), Some(1.0)));
    let shown = series(&cluster.metrics.text(), "leadergroup_leaderless_since");
    assert_eq!(shown, BTreeSet::new(), "the Lease has a leader");

    let mut invalid = support::group(&json!({"identity": "{pod"}));
    invalid["metadata"]["generation"] = json!(2);
    invalid["status"] = json!(cluster.status());
    cluster.put_group(invalid);
    let stalled = r#"leadergroup_abnormal{namespace="shop",group="web",condition="Stalled",reason="InvalidSpec"}"#;
    assert_eq!((cluster.metric(stalled), leaderless_since(&cluster)), (Some(1.0), None));
}

#[test]
fn a_group_that_nobody_leads_since_a_clear_is_denied_is_said_to_be_leaderless() {
    let mut cluster = with_web_1(&json!({}));
    cluster.fate = Fate::Broken;
    cluster.put_pod(web_0_ended(7_500));
    let now = this_second(&cluster);
    cluster.pass(20_000);
    let stalled = of_web("leadergroup_abnormal", "condition", "Stalled").replace('}', ",reason=\"WriteFailed\"}");
    assert_eq!((cluster.metric(&stalled), leaderless_since(&cluster)), (Some(1.0), Some(now)));
}

#[test]
fn the_count_of_the_status_is_shown_by_whoever_leads() {
    let mut cluster = with_web_1(&json!({}));
    cluster.renew("web-1");
    let count = |cluster: &Cluster| cluster.metric(&of_web("leadergroup_status_transitions", "", ""));
    assert_eq!(count(&cluster), Some(1.0));
    cluster.is_stopped = true;
    cluster.renew("web-0");
    cluster.take_over();
    assert_eq!((count(&cluster), cluster.status().transitions), (Some(2.0), 2), "what came between is in it");
    let mut broken = support::group(&json!({"staleHolder": "no object"}));
    broken["metadata"]["generation"] = json!(2);
    cluster.put_group(broken);
    assert_eq!(count(&cluster), None, "of a group that can't be read it is not known");
}

#[test]
fn transitions_are_counted_once_however_operators_change() {
    let mut cluster = with_web_1(&json!({}));
    let mut counted = 0.0;
    for turn in 0..12 {
        cluster.renew(["web-1", "web-0"][turn % 2]);
        cluster.pass(1_000);
        match turn % 4 {
            1 => {
                counted += all_transitions(&cluster);
                cluster.restart();
            }
            3 => {
                counted += all_transitions(&cluster);
                cluster.take_over();
            }
            _ => {}
        }
    }
    counted += all_transitions(&cluster);
    assert_eq!((counted, cluster.status().transitions), (12.0, 12));
}

#[test]
fn transitions_that_nobody_saw_are_counted_as_such() {
    let mut cluster = with_web_1(&json!({}));
    cluster.hold(Kind::Lease);
    for holder in ["web-1", "web-0", "web-1"] {
        cluster.renew(holder);
    }
    cluster.restart();
    assert_eq!(cluster.status().transitions, 3);
    assert_eq!((transitions(&cluster, TransitionReason::Unobserved), all_transitions(&cluster)), (Some(3.0), 3.0));
}

#[test]
fn more_transitions_than_the_history_keeps_are_all_counted() {
    let mut cluster = with_web_1(&json!({"historyLimit": 1}));
    cluster.is_stopped = true;
    for turn in 0..3 {
        cluster.renew(["web-1", "web-0"][turn % 2]);
        cluster.pass(1_000);
    }
    cluster.take_over();
    assert_eq!((cluster.status().transitions, all_transitions(&cluster)), (3, 3.0));
}

#[test]
fn a_flood_of_identities_makes_no_series() {
    let mut cluster = with_web_1(&json!({}));
    let shown = |cluster: &Cluster| {
        series(&cluster.metrics.text(), "leadergroup_").into_iter().filter(|s| s.contains("group=")).count()
    };
    let before = shown(&cluster);
    for turn in 0..300 {
        cluster.renew(&format!("stranger-{turn}"));
        cluster.pass(100);
    }
    assert_eq!(cluster.status().transitions, 300);
    let after = shown(&cluster);
    // What is said of the holder may be one more.
    assert!(after <= before + 2, "{before} series became {after}");
}

#[test]
fn renewals_leave_nothing_to_be_seen() {
    let mut cluster = leading(&json!({}));
    let before = cluster.metrics.text();
    cluster.renew_times("web-0", 50);
    assert_eq!(cluster.metrics.text(), before);
}

#[test]
fn a_group_goes_with_all_its_series() {
    let mut cluster = leading(&json!({}));
    cluster.delete(Kind::Group, "web");
    assert!(!cluster.metrics.text().contains("group="));
}

#[test]
fn an_operator_that_stands_by_shows_no_group() {
    let cluster = leading(&json!({}));
    assert_eq!(cluster.metric("leadergroup_operator_leader"), Some(1.0));
    cluster.metrics.leads(false);
    assert_eq!(cluster.metric("leadergroup_operator_leader"), Some(0.0));
    assert!(!cluster.metrics.text().contains("group="));
    assert!(cluster.metrics.text().contains("leadergroup_verdicts_total"), "what it did itself it still shows");
}

#[test]
fn conditions_that_are_not_as_they_should_be_are_shown_with_their_reason() {
    let mut cluster = Cluster::new(&json!({}));
    cluster.put_pod(web_0("u0", running(0)));
    let shown = |cluster: &Cluster| series(&cluster.metrics.text(), "leadergroup_abnormal");
    assert_eq!(shown(&cluster), BTreeSet::new());
    cluster.renew("somebody else");
    let foreign = r#"leadergroup_abnormal{namespace="shop",group="web",condition="HolderSuspect",reason="Foreign"}"#;
    assert_eq!(shown(&cluster), [foreign.to_owned()].into());
    cluster.renew("web-0");
    assert_eq!(shown(&cluster), BTreeSet::new());
    let mut broken = support::group(&json!({"staleHolder": "no object"}));
    broken["metadata"]["generation"] = json!(2);
    cluster.put_group(broken);
    let undecodable = r#"leadergroup_abnormal{namespace="shop",group="web",condition="Stalled",reason="Undecodable"}"#;
    assert_eq!(shown(&cluster), [undecodable.to_owned()].into());
}

// === clears ===

fn refused(cluster: &Cluster, reason: &str) -> Option<f64> {
    cluster.metric(&format!("leadergroup_clears_refused_total{{reason=\"{reason}\"}}"))
}

#[test]
fn clears_that_do_not_come_about_are_counted_by_why() {
    let mut cluster = with_web_1(&json!({}));
    assert_eq!(refused(&cluster, "Denied"), Some(0.0), "a first increase must not be lost");
    cluster.fate = Fate::Lost;
    cluster.put_pod(web_0_ended(7_500));
    assert_eq!(refused(&cluster, "NoAnswer"), Some(1.0));

    let mut cluster = with_web_1(&json!({}));
    cluster.fate = Fate::Denied;
    cluster.put_pod(web_0_ended(7_500));
    assert_eq!(refused(&cluster, "Denied"), Some(1.0));

    let mut cluster = with_web_1(&json!({}));
    cluster.before_clear = Some(|api| support::cluster::take_as(api, "web-1", 8_000));
    cluster.put_pod(web_0_ended(7_500));
    assert_eq!(refused(&cluster, "Conflict"), Some(1.0));
}

#[test]
fn a_clear_whose_answer_was_lost_counts_once_it_is_known_to_have_landed() {
    let mut cluster = with_web_1(&json!({}));
    cluster.fate = Fate::LandsUnanswered;
    cluster.put_pod(web_0_ended(7_500));
    let clears = r#"leadergroup_clears_total{verdict="Terminated",ground="Proof",release="Empty"}"#;
    assert_eq!((cluster.metric(clears), refused(&cluster, "NoAnswer")), (Some(1.0), Some(1.0)));
}

#[test]
fn candidates_that_speak_against_a_clear_when_read_are_counted_once_per_reading() {
    let mut cluster = leading(&json!({"staleHolder": {"delaySeconds": 1}}));
    cluster.put_pod(web_0_ended(7_500));
    cluster.delete(Kind::Pod, "web-0");
    cluster.hold(Kind::Pod);
    // Only the API server knows of it.
    cluster.put_pod(web_0("u1", running(8_000)));
    cluster.pass(1_100);
    assert_eq!((cluster.count("ReadPods"), refused(&cluster, "Contradicted")), (1, Some(1.0)));
    cluster.pass(4_000);
    let read = cluster.count("ReadPods");
    assert!(read > 1);
    #[allow(clippy::cast_precision_loss, reason = "a few")]
    let expected = read as f64;
    assert_eq!(refused(&cluster, "Contradicted"), Some(expected));
}

// === requests ===

#[tokio::test]
async fn requests_are_timed_by_verb_and_class_of_code() {
    use axum::http::{Method, Request, Response};
    let metrics = Arc::new(Metrics::default());
    let answers = |request: Request<()>| async move {
        match request.uri().path() {
            "/broken" => Err("no answer"),
            path => Ok(Response::builder().status(path.trim_start_matches('/')).body(()).unwrap()),
        }
    };
    let client = TimeRequests(metrics.clone()).layer(tower::service_fn(answers));
    let cases = [
        (Method::GET, "/200", r#"verb="GET",code="2xx""#),
        (Method::GET, "/200?limit=1&watch=true", r#"verb="WATCH",code="2xx""#),
        (Method::PATCH, "/409", r#"verb="PATCH",code="4xx""#),
        (Method::PUT, "/503", r#"verb="PUT",code="5xx""#),
        (Method::POST, "/broken", r#"verb="POST",code="error""#),
    ];
    for (method, uri, labels) in cases {
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        let _ = client.clone().oneshot(request).await;
        let counted = format!("leadergroup_api_request_duration_seconds_count{{{labels}}} 1");
        assert!(metrics.text().lines().any(|line| line == counted), "{counted}:\n{}", metrics.text());
    }
}

// === the table ===

#[test]
fn every_counter_of_events_is_there_before_the_first_of_them() {
    let counters = [
        "leadergroup_takeover_seconds_count",
        "leadergroup_verdicts_total",
        "leadergroup_clears_total",
        "leadergroup_clears_refused_total",
        "leadergroup_watch_restarts_total",
        "leadergroup_audit_reviews_total",
    ];
    let (fresh, used) = (Metrics::default().text(), full().text());
    for counter in counters {
        let described = ALL.iter().find(|metric| counter.trim_end_matches("_count") == metric.exposed()).unwrap();
        let shown = series(&fresh, counter);
        assert_eq!(shown.len().to_string(), described.series, "{counter}");
        assert_eq!(shown, series(&used, counter), "a first increase must not be lost");
    }
}

/// Metrics of which every one has a series.
fn full() -> Arc<Metrics> {
    let metrics = Arc::new(Metrics::default());
    let key = || Key::new("shop", "billing");
    let figures = GroupFigures {
        leader: Some(("billing-0".into(), "n1".into())),
        leaderless_since: Some(1),
        transitions: Some(1),
        candidates: (2, 1),
        authorized: Some(true),
        abnormal: vec![("Stalled".into(), "WriteFailed".into())],
    };
    let clear = Clear {
        lease: key(),
        uid: String::new(),
        version: String::new(),
        moved_at: Duration::ZERO,
        holder: "billing-1".into(),
        form: ReleaseForm::Null,
        ground: Ground::Expired,
        rule: RuleName::KubeletReportedEnd,
        verdict: Verdict::Vanished,
        evidence: String::new(),
        since: Duration::ZERO,
    };
    let counted = Counted { reason: TransitionReason::Expired, transitions: 1, leaderless_seconds: Some(2.5) };
    metrics.see(vec![
        Seen::Group(key(), Arc::new(figures)),
        Seen::Transitions(key(), counted),
        Seen::Verdict(Verdict::Vanished),
        Seen::Cleared(clear.clone()),
        Seen::Contradicted,
        Seen::Decided(Duration::from_micros(20)),
    ]);
    let mut answers = Answers::default();
    answers.note(Question { account: 0, right: Right::Get }, true);
    answers.note(Question { account: 0, right: Right::Watch }, true);
    answers.note(Question { account: 0, right: Right::Update }, false);
    metrics.note(&audited(answers, None));
    metrics.note(&audited(Answers::default(), Some(BrokenOff::Refused)));
    metrics.note(&audited(Answers::default(), Some(BrokenOff::Failed("no answer".into()))));
    let refused = Outcome::Cleared { clear, requested_at: Duration::ZERO, result: Err(Failure::Conflict) };
    metrics.note(&refused);
    metrics.worked(&Job::WriteInvalid { version: String::new(), message: String::new() }, Duration::from_millis(3));
    metrics.watch_restarted("Lease".into());
    let answer = |_: axum::http::Request<()>| std::future::ready(Ok::<_, ()>(axum::http::Response::new(())));
    let client = TimeRequests(metrics.clone()).layer(tower::service_fn(answer));
    futures::executor::block_on(client.oneshot(axum::http::Request::new(()))).unwrap();
    metrics
}

fn audited(answers: Answers, broke_off: Option<BrokenOff>) -> Outcome {
    let subject = Subject { lease: "web".into(), accounts: vec![Arc::from("app")], of: 1, must_create: false };
    Outcome::Audited { subject: Arc::new(subject), answers, broke_off }
}

#[test]
fn reviews_are_counted_by_result() {
    let text = full().text();
    for expected in
        [r#"{result="allowed"} 2"#, r#"{result="denied"} 1"#, r#"{result="failed"} 1"#, r#"{result="refused"} 1"#]
    {
        assert!(text.contains(&format!("leadergroup_audit_reviews_total{expected}\n")), "{text}");
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn what_is_described_is_what_is_exposed() {
    let text = full().text();
    // Name, type and labels, by what the text says.
    let mut exposed = BTreeMap::new();
    let (mut family, mut kind) = ("", "");
    for line in text.lines() {
        if let Some((name, of)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            (family, kind) = (name, of);
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(name.starts_with(family), "{line}");
            let labels =
                line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(labels, _)| labels);
            let labels: Vec<_> = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0)).collect();
            let labels: Vec<_> = labels.into_iter().filter(|label| *label != "le").collect();
            exposed.insert(family, (kind, labels.join(",")));
        }
    }
    let described: BTreeMap<_, _> =
        ALL.iter().map(|metric| (metric.name, (metric.kind.as_str(), metric.labels.join(",")))).collect();
    assert_eq!(exposed, described);
    let helps: BTreeSet<_> = text.lines().map(|line| line.trim_end_matches('.').to_owned()).collect();
    for metric in ALL {
        assert!(helps.contains(&format!("# HELP {} {}", metric.name, metric.help)), "{}", metric.name);
    }
}

/// The part of a document between two marks, and the whole with that part replaced.
fn between<'a>(document: &'a str, mark: &str, part: &str) -> (&'a str, String) {
    let (begin, end) = (format!("<!-- {mark}: written by `make generate` -->\n"), format!("<!-- {mark}: end -->\n"));
    let (before, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
    let (found, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end}"));
    (found, format!("{before}{begin}{part}{end}{after}"))
}

#[test]
fn the_readme_has_the_table_of_metrics() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let mut table = "| metric | type | labels | series | meaning |\n|---|---|---|---|---|\n".to_owned();
    for metric in ALL {
        table.push_str(&metric.row());
        table.push('\n');
    }
    let (found, written) = between(&readme, "metrics", &table);
    if std::env::var_os("WRITE_README").is_some() {
        std::fs::write(&path, written).unwrap();
    } else {
        assert_eq!(found, table, "the table is not what the code says: run `make generate`");
    }
}
