//! The watch on one Lease, which needs the rights to get and to watch that one name, and no list.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::stream::{BoxStream, StreamExt};
use kube::Api;
use kube::api::{WatchEvent, WatchParams};
use tokio::time::{Instant, timeout, timeout_at};

use crate::lease::Lease;
use crate::problem::Problem;

/// How long the API server keeps a watch open, in seconds. Until then, one that died silently costs time only: what the
/// candidate misses, it learns when the Lease seems to have run out.
const OPEN_FOR: u32 = 290;
/// How late the end of a watch, or the answer when it is opened, may be before the connection is taken for dead.
const LATE: Duration = Duration::from_secs(10);

/// What a watch brings.
pub(crate) enum Brought {
    Lease(Box<Lease>),
    Deleted(Box<Lease>),
    /// It can't be opened. It is tried again.
    Lost(Problem),
}

struct Watch {
    api: Api<Lease>,
    name: String,
    /// From where to go on; empty to begin with the Lease as it is.
    version: String,
    open: Option<BoxStream<'static, kube::Result<WatchEvent<Lease>>>>,
    /// When an open one should have ended.
    ends_at: Instant,
    delays: backon::ExponentialBackoff,
    wait: Duration,
}

fn delays() -> backon::ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(15))
        .with_jitter()
        .without_max_times()
        .build()
}

/// A watch that never ends.
pub(crate) fn watch(api: Api<Lease>, name: &str) -> BoxStream<'static, Brought> {
    let watch = Watch {
        api,
        name: name.to_owned(),
        version: String::new(),
        open: None,
        ends_at: Instant::now(),
        delays: delays(),
        wait: Duration::ZERO,
    };
    futures::stream::unfold(watch, |mut watch| async move {
        loop {
            if let Some(brought) = watch.next().await {
                return Some((brought, watch));
            }
        }
    })
    .boxed()
}

impl Watch {
    async fn next(&mut self) -> Option<Brought> {
        let Some(open) = &mut self.open else { return self.reopen().await };
        // Past its end, it counts as ended.
        match timeout_at(self.ends_at, open.next()).await.unwrap_or(None) {
            Some(Ok(WatchEvent::Added(lease) | WatchEvent::Modified(lease))) => {
                self.note(lease.metadata.resource_version.as_ref());
                Some(Brought::Lease(Box::new(lease)))
            }
            Some(Ok(WatchEvent::Deleted(lease))) => {
                self.note(lease.metadata.resource_version.as_ref());
                Some(Brought::Deleted(Box::new(lease)))
            }
            Some(Ok(WatchEvent::Bookmark(bookmark))) => {
                self.note(Some(&bookmark.metadata.resource_version));
                None
            }
            Some(Ok(WatchEvent::Error(status))) => {
                // 410: it has been away for too long.
                self.begin_anew();
                (status.code != 410).then(|| Brought::Lost(Problem::of("watch", kube::Error::Api(status))))
            }
            Some(Err(error)) => {
                self.begin_anew();
                Some(Brought::Lost(Problem::of("watch", error)))
            }
            None => {
                self.open = None;
                None
            }
        }
    }

    fn note(&mut self, version: Option<&String>) {
        if let Some(version) = version {
            self.version.clone_from(version);
        }
        self.delays = delays();
        self.wait = Duration::ZERO;
    }

    fn begin_anew(&mut self) {
        self.version.clear();
        self.open = None;
        self.wait = self.delays.next().unwrap_or_default();
    }

    async fn reopen(&mut self) -> Option<Brought> {
        tokio::time::sleep(self.wait).await;
        let one = WatchParams::default().fields(&format!("metadata.name={}", self.name)).timeout(OPEN_FOR);
        let Ok(answer) = timeout(LATE, self.api.watch(&one, &self.version)).await else {
            self.begin_anew();
            return Some(Brought::Lost(Problem::NoAnswer { verb: "watch" }));
        };
        match answer {
            Ok(open) => {
                self.open = Some(open.boxed());
                self.ends_at = Instant::now() + Duration::from_secs(OPEN_FOR.into()) + LATE;
                None
            }
            Err(error) => {
                self.begin_anew();
                let too_old = matches!(&error, kube::Error::Api(status) if status.code == 410);
                (!too_old).then(|| Brought::Lost(Problem::of("watch", error)))
            }
        }
    }
}
