//! The endpoints of the main listener.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use jiff::Timestamp;
use leadergroup_elector::clock::boottime;
use leadergroup_elector::{Elector, Leadership, Pulse, Status};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::events;
use super::orders::{self, RESIGN, STEP_DOWN};
use super::view::{About, View};

/// A campaign whose next step is overdue by that much hangs.
const HANGS: Duration = Duration::from_secs(30);
/// So many may follow the events at a time.
const MOST_STREAMS: usize = 512;

/// Where clients learn what is known.
pub struct Desk {
    pub leadership: Leadership,
    pub status: watch::Receiver<Status>,
    /// While true, this candidate does not lead for its clients, although the Lease is still to be released.
    pub giving_up: watch::Receiver<bool>,
    /// Cancelled when elector ends.
    pub end: CancellationToken,
    /// Where orders are taken.
    pub orders_address: SocketAddr,
    about: About,
    pulse: Pulse,
    streams: Arc<Semaphore>,
    has_seen_the_lease: AtomicBool,
}

impl Desk {
    pub fn new(
        about: About,
        elector: &Elector,
        giving_up: watch::Receiver<bool>,
        orders_address: SocketAddr,
        end: CancellationToken,
    ) -> Self {
        Self {
            leadership: elector.leadership(),
            status: elector.status(),
            giving_up,
            end,
            orders_address,
            about,
            pulse: elector.pulse(),
            streams: Arc::new(Semaphore::new(MOST_STREAMS)),
            has_seen_the_lease: AtomicBool::new(false),
        }
    }

    /// What is so at this moment.
    pub fn view(&self) -> View {
        let term = self.leadership.term().filter(|_| !*self.giving_up.borrow());
        self.about.view(&self.status.borrow(), term, boottime(), Timestamp::now())
    }

    fn leads(&self) -> bool {
        self.leadership.leads() && !*self.giving_up.borrow()
    }
}

/// Serves until the desk's end.
pub async fn serve(listener: TcpListener, desk: Arc<Desk>) -> io::Result<()> {
    let end = desk.end.clone();
    tokio::spawn(note_the_lease(desk.clone()));
    let router = Router::new()
        .route("/", get(name))
        .route("/leader", get(leader))
        .route("/v1/leadership", get(leadership))
        .route("/v1/leadership/events", get(follow))
        .route(STEP_DOWN, post(orders::refuse))
        .route(RESIGN, post(orders::refuse))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(async || {
            say(StatusCode::NOT_FOUND, "there is no such endpoint: elector serve --help tells which there are")
        })
        .with_state(desk);
    axum::serve(listener, router).with_graceful_shutdown(end.cancelled_owned()).await
}

async fn note_the_lease(desk: Arc<Desk>) {
    let mut status = desk.status.clone();
    if status.wait_for(|status| status.holder.is_some() || status.term.is_some()).await.is_ok() {
        desk.has_seen_the_lease.store(true, Ordering::Relaxed);
    }
}

/// Answers with a sentence.
pub fn say(code: StatusCode, what: &str) -> Response {
    (code, [(header::CACHE_CONTROL, "no-store")], format!("{what}\n")).into_response()
}

/// Answers with JSON.
pub fn json(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => {
            let headers = [(header::CACHE_CONTROL, "no-store"), (header::CONTENT_TYPE, "application/json")];
            (headers, text + "\n").into_response()
        }
        Err(error) => say(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn name(State(desk): State<Arc<Desk>>) -> Response {
    let leads = desk.leads();
    let holder = desk.status.borrow().holder.clone();
    json(&serde_json::json!({"name": desk.about.name(holder.as_deref(), leads)}))
}

async fn leader(State(desk): State<Arc<Desk>>) -> Response {
    if desk.leads() { say(StatusCode::OK, "leading") } else { say(StatusCode::SERVICE_UNAVAILABLE, "not leading") }
}

async fn leadership(State(desk): State<Arc<Desk>>) -> Response {
    json(&desk.view())
}

async fn follow(State(desk): State<Arc<Desk>>) -> Response {
    let Ok(place) = desk.streams.clone().try_acquire_owned() else {
        return say(StatusCode::SERVICE_UNAVAILABLE, &format!("{MOST_STREAMS} clients follow the events already"));
    };
    Sse::new(events::stream(desk, place)).keep_alive(KeepAlive::default()).into_response()
}

async fn healthz(State(desk): State<Arc<Desk>>) -> Response {
    let (code, told) = health(&desk.status.borrow(), desk.pulse.has_ended(), desk.pulse.overdue());
    say(code, &told)
}

/// Whether the campaign goes on. Only what a restart would mend is a failure.
fn health(status: &Status, has_ended: bool, overdue: Duration) -> (StatusCode, String) {
    match &status.problem {
        _ if status.left => (StatusCode::OK, "ok: this candidate has resigned".to_owned()),
        _ if has_ended => (StatusCode::SERVICE_UNAVAILABLE, "the campaign broke off".to_owned()),
        _ if overdue > HANGS => {
            let told = format!("the campaign hangs: its next step is overdue by {} s", overdue.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, told)
        }
        Some(problem) => (StatusCode::OK, format!("ok, but this candidate {problem}")),
        None => (StatusCode::OK, "ok".to_owned()),
    }
}

async fn readyz(State(desk): State<Arc<Desk>>) -> Response {
    let status = desk.status.borrow().clone();
    if status.left {
        say(StatusCode::SERVICE_UNAVAILABLE, "this candidate has resigned")
    } else if let (Some(_), Some(problem)) = (status.missing_right, &status.problem) {
        say(StatusCode::SERVICE_UNAVAILABLE, &format!("this candidate {problem}"))
    } else if desk.has_seen_the_lease.load(Ordering::Relaxed) {
        say(StatusCode::OK, "ok")
    } else {
        say(StatusCode::SERVICE_UNAVAILABLE, "it is not known yet who holds the Lease")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_campaign_that_hangs_or_broke_off_is_a_failure_and_nothing_else_is() {
        let status =
            |left, problem: Option<&str>| Status { left, problem: problem.map(Into::into), ..Status::default() };
        let late = HANGS + Duration::from_secs(1);
        for (status, has_ended, overdue, code, told) in [
            (status(false, None), false, Duration::ZERO, 200, "ok"),
            (status(false, None), false, HANGS, 200, "ok"),
            (status(false, Some("could not get the Lease")), false, HANGS, 200, "ok, but this candidate could not"),
            (status(false, Some("could not get the Lease")), false, late, 503, "overdue by 31 s"),
            (status(false, None), true, Duration::ZERO, 503, "broke off"),
            // Its campaign has ended because it was to.
            (status(true, None), true, late, 200, "has resigned"),
        ] {
            let (is_code, is_told) = health(&status, has_ended, overdue);
            assert_eq!(is_code.as_u16(), code, "{is_told}");
            assert!(is_told.contains(told), "{is_told}");
        }
    }
}
