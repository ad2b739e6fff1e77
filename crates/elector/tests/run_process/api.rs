//! An API server with one Lease, which can fall silent, and at which nothing else is wrong.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use leadergroup_elector::clock::boottime;
use serde_json::{Value, json};

/// What was written, and when that arrived.
#[derive(Clone, Debug)]
pub struct Written {
    pub at: Duration,
    pub holder: String,
    /// What the test wanted to know at that moment.
    pub noted: usize,
}

type Noting = Box<dyn Fn() -> usize + Send>;

#[derive(Default)]
struct Store {
    lease: Option<Value>,
    version: u64,
    silent: bool,
    written: Vec<Written>,
    note: Option<Noting>,
}

/// The server, for as long as the test lasts.
#[derive(Clone)]
pub struct Api {
    store: Arc<Mutex<Store>>,
    pub address: String,
}

impl Api {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let store = Arc::new(Mutex::new(Store::default()));
        let router = Router::new().fallback(answer).with_state(store.clone());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, router).await.unwrap();
            });
        });
        Self { store, address }
    }

    fn store<T>(&self, of: impl FnOnce(&mut Store) -> T) -> T {
        of(&mut self.store.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on it answers nothing, or again.
    pub fn silent(&self, silent: bool) {
        self.store(|store| store.silent = silent);
    }

    /// Somebody else has the Lease.
    pub fn hold_by_another(&self) {
        let now = jiff::Timestamp::now();
        self.store(|store| {
            store.version += 1;
            store.lease = Some(json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": "billing", "namespace": "shop", "resourceVersion": store.version.to_string()},
                "spec": {"holderIdentity": "leader", "leaseDurationSeconds": 600, "renewTime": format!("{now:.6}")},
            }));
        });
    }

    /// Somebody else takes the Lease.
    pub fn take(&self) {
        self.store(|store| {
            store.version += 1;
            let version = store.version.to_string();
            let lease = store.lease.as_mut().expect("there is no Lease yet");
            lease["spec"]["holderIdentity"] = json!("somebody-else");
            lease["metadata"]["resourceVersion"] = json!(version);
        });
    }

    /// Somebody asks for another leader, as the holder reads when it next looks.
    pub fn prefer(&self, identity: &str) {
        self.store(|store| {
            store.version += 1;
            let version = store.version.to_string();
            let lease = store.lease.as_mut().expect("there is no Lease yet");
            lease["metadata"]["annotations"][leadergroup_elector::lease::PREFERRED_HOLDER] = json!(identity);
            lease["metadata"]["resourceVersion"] = json!(version);
        });
    }

    /// With each write, remember what this says.
    pub fn note(&self, note: impl Fn() -> usize + Send + 'static) {
        self.store(|store| store.note = Some(Box::new(note)));
    }

    /// All that was written so far.
    pub fn written(&self) -> Vec<Written> {
        self.store(|store| store.written.clone())
    }

    /// The release of the Lease, if it was released.
    pub fn release(&self) -> Option<Written> {
        self.written().into_iter().find(|written| written.holder.is_empty())
    }
}

async fn answer(State(store): State<Arc<Mutex<Store>>>, method: Method, uri: Uri, body: String) -> Response {
    let is_watch = uri.query().is_some_and(|query| query.contains("watch="));
    if store.lock().unwrap().silent {
        return std::future::pending().await;
    }
    if is_watch {
        return Body::from_stream(futures::stream::pending::<Result<String, std::io::Error>>()).into_response();
    }
    let mut store = store.lock().unwrap();
    let sent: Value = serde_json::from_str(&body).unwrap_or_default();
    let current = store.lease.as_ref().map(|lease| lease["metadata"]["resourceVersion"].clone());
    match method {
        Method::GET if current.is_none() => status(404),
        Method::POST if current.is_some() => status(409),
        Method::PUT if current != Some(sent["metadata"]["resourceVersion"].clone()) => status(409),
        Method::POST | Method::PUT => {
            store.version += 1;
            let mut lease = sent;
            lease["metadata"]["resourceVersion"] = json!(store.version.to_string());
            lease["metadata"]["namespace"] = json!("shop");
            let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
            let noted = store.note.as_ref().map_or(0, |note| note());
            store.written.push(Written { at: boottime(), holder, noted });
            store.lease = Some(lease.clone());
            lease.to_string().into_response()
        }
        _ => store.lease.clone().unwrap_or_default().to_string().into_response(),
    }
}

fn status(code: u16) -> Response {
    let reason = if code == 404 { "NotFound" } else { "Conflict" };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": "as told by the test's API server",
    });
    (StatusCode::from_u16(code).unwrap(), status.to_string()).into_response()
}
