//! What is sent to the API server: no write without the version it was decided on, no read out of a cache, and nothing that
//! waits for an answer beyond its deadline.

#![allow(missing_docs)]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{Request, Response};
use kube::Client;
use kube::client::Body;
use leadergroup_api::{ReleaseForm, Verdict};
use leadergroup_operator::apply::Applier;
use leadergroup_operator::decide::{Action, Clear, Ground, Notice};
use leadergroup_operator::engine::{Job, Work};
use leadergroup_operator::index::Key;
use leadergroup_operator::time::{Clock, Mono};
use serde_json::{Value, json};

fn work(job: Job) -> Work {
    Work { group: Key::new("shop", "web"), uid: "group-web".into(), job }
}

/// What the job sends, as `METHOD path?query` and the body; it is answered with an error.
async fn sent(job: Job) -> (String, Value) {
    let seen = Arc::new(Mutex::new(None));
    let sees = seen.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let sees = sees.clone();
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let body = request.into_body().collect_bytes().await.unwrap_or_default();
            *sees.lock().unwrap() = Some((line, serde_json::from_slice(&body).unwrap_or_default()));
            Ok::<_, Infallible>(Response::builder().status(500).body(Body::empty()).unwrap())
        }
    });
    Applier::new(Client::new(service, "shop"), Clock::start()).perform(&work(job)).await;
    seen.lock().unwrap().take().expect("a request")
}

fn clear(form: ReleaseForm) -> Job {
    Job::Act(Action::Clear(Clear {
        lease: Key::new("shop", "web"),
        uid: "lease-1".into(),
        version: "41".into(),
        moved_at: Mono::ZERO,
        holder: "web-0".into(),
        form,
        ground: Ground::Proof,
        verdict: Verdict::Terminated,
        evidence: String::new(),
        since: Mono::ZERO,
    }))
}

#[tokio::test]
async fn a_clear_names_the_lease_and_the_version_that_was_judged() {
    for (form, holder) in [(ReleaseForm::Empty, json!("")), (ReleaseForm::Null, json!(null))] {
        let (line, body) = sent(clear(form)).await;
        assert!(line.starts_with("PATCH /apis/coordination.k8s.io/v1/namespaces/shop/leases/web?"), "{line}");
        assert_eq!(
            body,
            json!({
                "metadata": {"resourceVersion": "41", "uid": "lease-1"},
                "spec": {"holderIdentity": holder, "leaseDurationSeconds": 1},
            })
        );
    }
    let (line, body) = sent(clear(ReleaseForm::Delete)).await;
    assert!(line.starts_with("DELETE /apis/coordination.k8s.io/v1/namespaces/shop/leases/web?"), "{line}");
    assert_eq!(body["preconditions"], json!({"resourceVersion": "41", "uid": "lease-1"}));
}

#[tokio::test]
async fn candidates_are_read_past_every_cache() {
    for name in [None, Some("web-0".to_owned())] {
        let (namespace, selector) = ("shop".to_owned(), "app=web".to_owned());
        let (line, _) = sent(Job::Act(Action::ReadPods { namespace, selector, name })).await;
        assert!(line.starts_with("GET /api/v1/namespaces/shop/pods"), "{line}");
        assert!(!line.contains("resourceVersion"), "{line}");
    }
}

#[tokio::test]
async fn a_status_names_the_version_it_was_decided_on() {
    let status = Box::default();
    let (line, body) = sent(Job::WriteStatus { version: "41".into(), status }).await;
    assert!(line.starts_with("PUT /apis/leadergroup.dev/v1alpha1/namespaces/shop/leadergroups/web/status?"), "{line}");
    assert_eq!(body["metadata"]["resourceVersion"], json!("41"));
    assert_eq!(body["metadata"]["uid"], json!("group-web"));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_never_answered_is_given_up() {
    let silent = tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let applier = Applier::new(Client::new(silent, "shop"), Clock::start());
    let notice = Notice {
        warning: false,
        reason: "LeaderChanged".into(),
        action: "Transition1".into(),
        note: "web-1 leads".into(),
        pod: None,
    };
    let given_up = tokio::time::timeout(Duration::from_mins(1), applier.perform(&work(Job::Tell(notice)))).await;
    assert!(given_up.is_ok(), "it holds one of the places that status writes need");
}
