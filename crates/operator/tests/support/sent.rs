//! What the applier sends.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::http::{Request, Response};
use kube::Client;
use kube::client::Body;
use leadergroup_operator::apply::Applier;
use leadergroup_operator::engine::{Job, Term, Work};
use leadergroup_operator::index::Key;
use leadergroup_operator::time::Clock;
use serde_json::{Value, json};

/// The term in which all work was decided.
pub const TERM: Term = 7;

pub fn work(job: Job) -> Work {
    Work { term: TERM, group: Key::new("shop", "web"), uid: "group-web".into(), job }
}

/// A request: `METHOD path?query` and the body.
pub type Line = (String, Value);

/// What the job sends where this operator leads as that tells; everything is answered with that status.
pub async fn sent_by(job: Job, answer: u16, leads: impl Fn(Term) -> bool + Send + Sync + 'static) -> Vec<Line> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = seen.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let record = record.clone();
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let body = request.into_body().collect_bytes().await.unwrap_or_default();
            record.lock().unwrap().push((line, serde_json::from_slice(&body).unwrap_or_default()));
            let status = json!({"kind": "Status", "metadata": {}, "code": answer, "reason": "", "message": ""});
            let body = Body::from(status.to_string().into_bytes());
            Ok::<_, Infallible>(Response::builder().status(answer).body(body).unwrap())
        }
    });
    Applier::new(Client::new(service, "shop"), Clock::start(), Arc::new(leads)).perform(&work(job)).await;
    std::mem::take(&mut seen.lock().unwrap())
}
