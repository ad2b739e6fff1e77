//! The endpoints, and who may ask them.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::board::{Board, Page, stream};
use super::group::Subject;
use super::strip::Range;

/// So many pages may be open at a time.
const MOST_STREAMS: usize = 64;

/// What every answer says: nothing is loaded from elsewhere, nothing runs that is not a file of ours, no other site may
/// frame or read it, nothing is kept.
const HEADERS: [(header::HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    ),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

#[derive(Clone)]
struct Desk {
    board: Arc<Board>,
    streams: Arc<Semaphore>,
}

/// Serves until the program ends.
pub async fn serve(listener: TcpListener, board: Board) -> std::io::Result<()> {
    let desk = Desk { board: Arc::new(board), streams: Arc::new(Semaphore::new(MOST_STREAMS)) };
    let router = Router::new()
        .route("/", get(overview))
        .route("/events", get(overview_events))
        .route("/groups/{namespace}/{name}", get(group))
        .route("/groups/{namespace}/{name}/events", get(group_events))
        .route("/assets/style.css", get(asset("text/css; charset=utf-8", include_str!("assets/style.css"))))
        .route("/assets/script.js", get(asset("text/javascript; charset=utf-8", include_str!("assets/script.js"))))
        .route("/assets/icon.svg", get(asset("image/svg+xml", include_str!("assets/icon.svg"))))
        .fallback(async || (StatusCode::NOT_FOUND, "There is no such page: the groups are at /\n"))
        .with_state(desk)
        .layer(middleware::from_fn(guard));
    axum::serve(listener, router).await
}

fn asset(kind: &'static str, text: &'static str) -> impl Fn() -> std::future::Ready<Response> + Clone {
    move || std::future::ready(([(header::CONTENT_TYPE, kind)], text).into_response())
}

async fn guard(request: Request, next: Next) -> Response {
    let mut response = match refusal(request.headers()) {
        Some(why) => (StatusCode::FORBIDDEN, format!("{why}\n")).into_response(),
        None => next.run(request).await,
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Why a request is not answered. A site whose name was made to point here is known by that name in `Host`; another one
/// that asks from within a browser by its `Origin`.
fn refusal(headers: &HeaderMap) -> Option<&'static str> {
    let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(header::HOST).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    if !["127.0.0.1", "localhost", "[::1]"].iter().any(|own| name.eq_ignore_ascii_case(own)) {
        return Some("This dashboard answers only to localhost and 127.0.0.1, whatever other names lead here.");
    }
    match text(header::ORIGIN) {
        Some(origin) if origin.strip_prefix("http://") != Some(host) => Some("This dashboard answers no other site."),
        _ => None,
    }
}

async fn overview(State(desk): State<Desk>) -> Response {
    answer(&desk, &Page::Overview)
}

async fn overview_events(State(desk): State<Desk>) -> Response {
    follow(desk, Page::Overview)
}

async fn group(State(desk): State<Desk>, Path(path): Path<(String, String)>, RawQuery(query): RawQuery) -> Response {
    answer(&desk, &Page::Group(subject(path, query.as_deref())))
}

async fn group_events(
    State(desk): State<Desk>,
    Path(path): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    follow(desk, Page::Group(subject(path, query.as_deref())))
}

fn subject((namespace, name): (String, String), query: Option<&str>) -> Subject {
    Subject { namespace, name, range: Range::of(query) }
}

fn answer(desk: &Desk, page: &Page) -> Response {
    let (exists, markup) = desk.board.page(page);
    let code = if exists { StatusCode::OK } else { StatusCode::NOT_FOUND };
    (code, Html(markup.into_string())).into_response()
}

fn follow(desk: Desk, page: Page) -> Response {
    let Ok(place) = desk.streams.try_acquire_owned() else {
        let why = format!("{MOST_STREAMS} pages are open already: close one\n");
        return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    };
    Sse::new(stream(desk.board, page, place)).keep_alive(KeepAlive::default()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        refusal(&headers).is_some()
    }

    #[test]
    fn only_this_machines_own_names_and_pages_are_answered() {
        for (host, origin) in [
            ("127.0.0.1:3777", None),
            ("localhost:3777", None),
            ("LOCALHOST", None),
            ("[::1]:3777", None),
            // Through a forwarded port.
            ("localhost:9000", Some("http://localhost:9000")),
        ] {
            assert!(!refused(host, origin), "{host} {origin:?}");
        }
        for (host, origin) in [
            ("evil.example:3777", None),
            ("localhost.evil.example:3777", None),
            ("127.0.0.1.evil.example", None),
            ("evil.example:127.0.0.1", None),
            ("", None),
            ("127.0.0.1:3777", Some("http://evil.example")),
            ("127.0.0.1:3777", Some("https://127.0.0.1:3777")),
            // Another server of this machine is another site.
            ("127.0.0.1:3777", Some("http://127.0.0.1:8080")),
            ("127.0.0.1:3777", Some("null")),
        ] {
            assert!(refused(host, origin), "{host} {origin:?}");
        }
    }
}
