//! The endpoints for health and metrics, on a thread of their own: however often whoever reaches the port asks, and however
//! slowly they read, the loop that decides does not wait for it, and memory stays bounded.

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::routing::get;
use axum::serve::Listener;
use futures::future::join_all;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::metrics::{CONTENT_TYPE, Metrics};
use crate::time::{Clock, Mono};

/// Past this without a turn, the loop counts as stuck.
const STUCK: Duration = Duration::from_secs(30);
/// Past this, a connection without a whole request is closed.
const LONGEST_REQUEST: Duration = Duration::from_secs(5);
/// A connection is for one request, and past this it is closed, however much of the answer was read.
const LONGEST_CONNECTION: Duration = Duration::from_secs(30);
/// So many connections at a time. One more ends the oldest, so that a probe gets in whatever others hold open.
const MOST_CONNECTIONS: usize = 128;
/// The metrics are written anew at most this often.
const FRESH: Duration = Duration::from_secs(1);
/// At the end, answers that have begun get this long.
const GRACE: Duration = Duration::from_secs(1);

/// What the endpoints report.
#[derive(Debug, Default)]
pub struct Health {
    turned_ms: AtomicU64,
    synced: AtomicBool,
    campaign_ended: AtomicBool,
}

impl Health {
    /// The loop turned.
    pub fn turned(&self, at: Mono) {
        self.turned_ms.store(u64::try_from(at.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Every watch has listed what there is; true the first time.
    pub fn ready(&self) -> bool {
        !self.synced.swap(true, Ordering::Relaxed)
    }

    /// Nothing campaigns for this operator any more.
    pub fn campaign_ended(&self) {
        self.campaign_ended.store(true, Ordering::Relaxed);
    }

    fn is_alive(&self, now: Mono) -> bool {
        !self.campaign_ended.load(Ordering::Relaxed)
            && now < Duration::from_millis(self.turned_ms.load(Ordering::Relaxed)) + STUCK
    }
}

/// Serves `/healthz` (the loop turns, and campaigns) and `/readyz` (every watch is in sync, so this operator can lead)
/// until cancelled. Whether it does lead is part of neither: a rollout waits for its standbys to be ready. Beside them
/// `/metrics`.
///
/// The thread ends soon after the cancellation, whatever its clients do.
///
/// # Errors
/// Fails if the thread can't be started.
pub fn serve(
    listener: TcpListener,
    clock: Clock,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let alive = health.clone();
    let page = Arc::new(Page { metrics, texts: Mutex::default() });
    let router =
        Router::new()
            .route(
                "/healthz",
                get(move || async move {
                    answer(alive.is_alive(clock.now().mono), "the loop is stuck, or campaigns no more\n")
                }),
            )
            .route(
                "/readyz",
                get(move || async move {
                    answer(health.synced.load(Ordering::Relaxed), "the watches are not in sync yet\n")
                }),
            )
            .route("/metrics", get(move || async move { ([(header::CONTENT_TYPE, CONTENT_TYPE)], page.body()) }));
    thread::Builder::new().name("endpoints".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        runtime.block_on(accept(listener, router, stop))
    })
}

async fn accept(listener: TcpListener, router: Router, stop: CancellationToken) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut listener = tokio::net::TcpListener::from_std(listener)?;
    let mut open = VecDeque::new();
    while let Some((stream, _)) = stop.run_until_cancelled(Listener::accept(&mut listener)).await {
        if open.len() == MOST_CONNECTIONS {
            open.retain(|connection: &AbortOnDropHandle<()>| !connection.is_finished());
        }
        if open.len() == MOST_CONNECTIONS {
            open.pop_front();
        }
        open.push_back(AbortOnDropHandle::new(tokio::spawn(one_request(stream, router.clone()))));
    }
    // What is cut off then was not read, or not even asked for.
    let _ = timeout(GRACE, join_all(open)).await;
    Ok(())
}

async fn one_request(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(LONGEST_REQUEST)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // Whoever asked knows best what went wrong.
    let _ = timeout(LONGEST_CONNECTION, connection).await;
}

fn answer(good: bool, otherwise: &'static str) -> (StatusCode, &'static str) {
    if good { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, otherwise) }
}

/// The text of `/metrics`, which all who ask at a time share: that of many groups takes megabytes.
#[derive(Debug)]
struct Page {
    metrics: Arc<Metrics>,
    texts: Mutex<Texts>,
}

#[derive(Debug, Default)]
struct Texts {
    /// While it is fresh.
    fresh: Option<Arc<String>>,
    /// The last two that were written, as long as somebody reads them.
    read: [Weak<String>; 2],
}

/// A text that is kept for as long as it is being read.
struct Reading(Arc<String>);

impl AsRef<[u8]> for Reading {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Page {
    fn texts(&self) -> MutexGuard<'_, Texts> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn body(self: &Arc<Self>) -> Body {
        Body::from(Bytes::from_owner(Reading(self.text())))
    }

    fn text(self: &Arc<Self>) -> Arc<String> {
        let mut texts = self.texts();
        if let Some(fresh) = &texts.fresh {
            return fresh.clone();
        }
        // Whoever asks while both are still being read is told what the newer one says, so that slow readers hold no more
        // than these.
        if let [Some(newer), Some(_)] = texts.read.each_ref().map(Weak::upgrade) {
            return newer;
        }
        let text = Arc::new(self.metrics.text());
        texts.fresh = Some(text.clone());
        texts.read.rotate_right(1);
        texts.read[0] = Arc::downgrade(&text);
        let page = self.clone();
        tokio::spawn(async move {
            sleep(FRESH).await;
            page.texts().fresh = None;
        });
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_metrics_are_written_once_a_second_and_slow_readers_hold_two_texts_at_most() {
        let metrics = Arc::new(Metrics::default());
        let page = Arc::new(Page { metrics: metrics.clone(), texts: Mutex::default() });
        // Each a text of its own.
        let turn = |kind: &'static str| metrics.watch_restarted(kind.into());
        let next = async || {
            sleep(FRESH + Duration::from_millis(1)).await;
            page.text()
        };
        let first = page.text();
        turn("Lease");
        assert!(Arc::ptr_eq(&first, &page.text()), "who asks at the same time is told the same");
        let second = next().await;
        assert!(second.contains("leadergroup_watch_restarts_total{kind=\"Lease\"} 1\n"), "{second}");
        turn("Lease");
        assert!(Arc::ptr_eq(&second, &next().await), "two are being read");
        drop(first);
        let third = next().await;
        assert!(third.contains("leadergroup_watch_restarts_total{kind=\"Lease\"} 2\n"), "{third}");
        let is_held = Arc::downgrade(&third);
        drop(third);
        sleep(FRESH + Duration::from_millis(1)).await;
        assert!(is_held.upgrade().is_none(), "what nobody reads is not kept");
    }
}
