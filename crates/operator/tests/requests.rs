//! What is sent to the API server: nothing once this operator leads no more, no write without the version it was decided
//! on, no read out of a cache, and nothing that waits for an answer beyond its deadline.

#![allow(missing_docs)]

mod support;

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{Request, Response};
use kube::Client;
use kube::client::Body;
use leadergroup_api::{ReleaseForm, RuleName, Verdict};
use leadergroup_operator::apply::Applier;
use leadergroup_operator::audit::Subject;
use leadergroup_operator::decide::{Action, Clear, Ground, Notice};
use leadergroup_operator::engine::Job;
use leadergroup_operator::index::Key;
use leadergroup_operator::time::{Clock, Mono};
use serde_json::{Value, json};
use support::sent::{Line, TERM, sent_by, work};

/// The one request that the job sends.
async fn sent(job: Job) -> Line {
    let mut lines = sent_by(job, 500, |term| term == TERM).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

fn every_job() -> Vec<Job> {
    let lease = Key::new("shop", "web");
    vec![
        clear(ReleaseForm::Empty),
        clear(ReleaseForm::Null),
        clear(ReleaseForm::Delete),
        Job::Act(Action::CreateLease { lease: lease.clone(), duration: 15 }),
        Job::Act(Action::ReadLease { lease }),
        Job::Act(Action::ReadPods { namespace: "shop".to_owned(), name: None, nodes: Vec::new() }),
        Job::ReadGroup,
        Job::WriteStatus { version: "41".into(), status: Box::default() },
        Job::WriteInvalid { version: "41".into(), message: "why".into() },
        Job::Audit(Arc::new(subject())),
        Job::Tell(notice()),
    ]
}

#[tokio::test]
async fn an_operator_that_leads_no_more_sends_nothing_whatever_it_decided() {
    for job in every_job() {
        let told = format!("{job:?}");
        assert_eq!(sent_by(job.clone(), 500, |_| true).await.len(), 1, "{told}");
        assert!(sent_by(job.clone(), 500, |_| false).await.is_empty(), "{told}");
        assert!(sent_by(job, 500, |term| term == TERM + 1).await.is_empty(), "in a later term: {told}");
    }
}

#[tokio::test]
async fn leadership_is_checked_before_each_request_of_one_job() {
    let create = Job::Act(Action::CreateLease { lease: Key::new("shop", "web"), duration: 15 });
    assert_eq!(sent_by(create.clone(), 409, |_| true).await.len(), 2, "it exists, so it is read");
    let leads_once = AtomicBool::new(true);
    assert_eq!(sent_by(create, 409, move |_| leads_once.swap(false, Ordering::Relaxed)).await.len(), 1);
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
        rule: RuleName::KubeletReportedEnd,
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
        let (line, _) =
            sent(Job::Act(Action::ReadPods { namespace: "shop".to_owned(), name, nodes: Vec::new() })).await;
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
    let applier = Applier::new(Client::new(silent, "shop"), Clock::start(), Arc::new(|_| true));
    let given_up = tokio::time::timeout(Duration::from_mins(1), applier.perform(&work(Job::Tell(notice())))).await;
    assert!(given_up.is_ok(), "it holds one of the places that status writes need");
}

fn subject() -> Subject {
    Subject { lease: "web".into(), accounts: vec![Arc::from("app")], of: 1, must_create: false }
}

#[tokio::test]
async fn an_account_is_asked_about_as_the_api_server_knows_its_pods() {
    let (line, body) = sent(Job::Audit(Arc::new(subject()))).await;
    assert_eq!(line, "POST /apis/authorization.k8s.io/v1/subjectaccessreviews?");
    assert_eq!(
        body["spec"],
        json!({
            "user": "system:serviceaccount:shop:app",
            "groups": ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"],
            "resourceAttributes": {
                "group": "coordination.k8s.io", "version": "v1", "resource": "leases", "verb": "get",
                "namespace": "shop", "name": "web",
            },
        })
    );
}

fn notice() -> Notice {
    Notice {
        warning: false,
        reason: "LeaderChanged".into(),
        action: "Transition1".into(),
        note: "web-1 leads".into(),
        pod: None,
        saved: None,
    }
}

/// The lines that a delete of the Lease sends, where the API server answers it with a Lease of these finalizers.
async fn sent_by_delete(finalizers: Value) -> Vec<String> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = seen.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (record, finalizers) = (record.clone(), finalizers.clone());
        async move {
            record.lock().unwrap().push(format!("{} {}", request.method(), request.uri().path()));
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {
                    "name": "web", "namespace": "shop", "uid": "lease-1", "resourceVersion": "42",
                    "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": finalizers,
                },
            });
            Ok::<_, Infallible>(Response::new(Body::from(lease.to_string().into_bytes())))
        }
    });
    let applier = Applier::new(Client::new(service, "shop"), Clock::start(), Arc::new(|_| true));
    applier.perform(&work(clear(ReleaseForm::Delete))).await;
    std::mem::take(&mut seen.lock().unwrap())
}

#[tokio::test]
async fn releases_lease_that_its_finalizers_keep_from_being_deleted() {
    let path = "/apis/coordination.k8s.io/v1/namespaces/shop/leases/web";
    let deleted = format!("DELETE {path}");
    assert_eq!(sent_by_delete(json!(["example.com/backup"])).await, [deleted.clone(), format!("PATCH {path}")]);
    assert_eq!(sent_by_delete(json!([])).await, [deleted]);
}
