//! What is sent to the API server.

use leadergroup_operator::engine::Job;
use leadergroup_operator::routing::next::On;
use leadergroup_operator::routing::{Step, Write};
use leadergroup_operator::traffic::RouteKind;
use serde_json::json;

use super::support::sent::{Line, sent_by};

/// What the step sends; everything is answered with that code.
async fn sent(step: Step, answer: u16, leads: bool) -> Vec<Line> {
    sent_by(Job::Route(step), answer, move |_| leads).await
}

fn step(write: Write, version: Option<&str>) -> Step {
    Step { write, on: Some(On { uid: "uid-1".into(), version: version.map(ToOwned::to_owned) }) }
}

fn writes() -> Vec<Write> {
    let name = "web-leader".to_owned();
    vec![
        Write::Slice { name: name.clone(), family: "IPv4".into(), endpoint: None, ports: Vec::new() },
        Write::Empty { name: name.clone() },
        Write::Service { name: name.clone(), ports: Vec::new() },
        Write::Delete { kind: RouteKind::Slice, name: name.clone() },
        Write::Delete { kind: RouteKind::Service, name },
    ]
}

#[tokio::test]
async fn every_change_names_the_object_and_the_version_it_was_decided_on() {
    for write in writes() {
        let told = format!("{write:?}");
        let lines = sent(step(write, Some("41")), 500, true).await;
        let [(line, body)] = lines.as_slice() else { panic!("{told}: {lines:?}") };
        let named = if line.starts_with("DELETE") { &body["preconditions"] } else { &body["metadata"] };
        assert_eq!((&named["uid"], &named["resourceVersion"]), (&json!("uid-1"), &json!("41")), "{told}: {line}");
    }
    let write = Write::Label { pod: "web-0".into(), role: "leader" };
    let lines = sent(step(write, None), 500, true).await;
    let [(line, body)] = lines.as_slice() else { panic!("{lines:?}") };
    assert!(line.starts_with("PATCH /api/v1/namespaces/shop/pods/web-0?"), "{line}");
    assert_eq!(body, &json!({"metadata": {"uid": "uid-1", "labels": {"leadergroup.dev/role": "leader"}}}));
}

#[tokio::test]
async fn an_operator_that_leads_no_more_sends_nothing() {
    for write in writes() {
        assert!(sent(step(write, Some("41")), 500, false).await.is_empty());
    }
}

#[tokio::test]
async fn a_refused_write_is_followed_by_a_read_past_every_cache() {
    for write in writes() {
        let lines = sent(step(write, Some("41")), 409, true).await;
        let lines: Vec<_> = lines.iter().map(|(line, _)| line.as_str()).collect();
        assert!(matches!(lines.as_slice(), [_, read] if read.starts_with("GET ") && !read.contains('?')), "{lines:?}");
    }
}
