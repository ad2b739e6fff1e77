//! An API server with one group, whose holder is nobody's pod, and which refuses Events.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/shop/leases/web";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";
const STATUS: &str = "/apis/leadergroup.dev/v1alpha1/namespaces/shop/leadergroups/web/status";
/// The holder was taken out of the Lease.
pub const CLEARED: &str = "PATCH /apis/coordination.k8s.io/v1/namespaces/shop/leases/web: no holder";
/// An Event was sent.
pub const TOLD: &str = "POST /apis/events.k8s.io/v1/namespaces/shop/events";
/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The server, for as long as the test's runtime lasts.
pub struct Api {
    pub address: SocketAddr,
    asked: watch::Sender<Vec<String>>,
}

impl Api {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = watch::Sender::default();
        let router = Router::new().fallback(answer).with_state(asked.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        Self { address, asked }
    }

    /// Waits for this request.
    pub async fn until(&self, request: &str) {
        let mut asked = self.asked.subscribe();
        let came = asked.wait_for(|asked| asked.iter().any(|line| line == request));
        tokio::time::timeout(PATIENCE, came).await.unwrap_or_else(|_| panic!("no {request}")).unwrap();
    }

    /// What was asked so far does not count any more.
    pub fn forget(&self) {
        self.asked.send_modify(Vec::clear);
    }
}

async fn answer(State(seen): State<watch::Sender<Vec<String>>>, method: Method, uri: Uri, body: String) -> Response {
    if uri.query().is_some_and(|query| query.contains("watch=true")) {
        return Body::from_stream(futures::stream::pending::<Result<String, std::io::Error>>()).into_response();
    }
    let (method, path) = (method.as_str(), uri.path());
    let sent: Value = serde_json::from_str(&body).unwrap_or_default();
    let clears = if sent["spec"]["holderIdentity"] == "" { ": no holder" } else { "" };
    seen.send_modify(|seen| seen.push(format!("{method} {path}{clears}")));
    let (code, object) = match (method, path) {
        ("GET", "/apis/leadergroup.dev/v1alpha1/leadergroups") => (200, list(&[group()])),
        ("GET", "/apis/coordination.k8s.io/v1/leases") => (200, list(&[lease(1, "web-0")])),
        ("GET", LEASE) => (200, lease(1, "web-0")),
        ("PATCH", LEASE) if !clears.is_empty() => (200, lease(2, "")),
        ("PUT", STATUS) => (200, sent),
        ("POST", EVENTS) => {
            (403, json!({"kind": "Status", "status": "Failure", "code": 403, "message": "no Events here"}))
        }
        ("GET", _) => (200, list(&[])),
        _ => (404, json!({"kind": "Status", "status": "Failure", "code": 404, "message": "no such thing"})),
    };
    (StatusCode::from_u16(code).unwrap(), object.to_string()).into_response()
}

fn list(items: &[Value]) -> Value {
    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items})
}

fn group() -> Value {
    json!({
        "apiVersion": "leadergroup.dev/v1alpha1", "kind": "LeaderGroup", "spec": {},
        "metadata": {"name": "web", "namespace": "shop", "uid": "group-web", "resourceVersion": "1", "generation": 1},
    })
}

/// It runs out a second after it was seen.
fn lease(version: u8, holder: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "web", "namespace": "shop", "uid": "lease-web", "resourceVersion": version.to_string()},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 1, "leaseTransitions": 0,
                 "acquireTime": "2026-01-01T00:00:00.000000Z", "renewTime": "2026-01-01T00:00:00.000000Z"},
    })
}
