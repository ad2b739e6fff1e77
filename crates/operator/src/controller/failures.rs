//! What becomes of a watch that fails: how often that is told, and when it is tried again.

use std::time::{Duration, Instant};

use futures::{Stream, StreamExt, stream};
use kube::Resource;
use kube::runtime::watcher::{self, Event};

use crate::metrics::Metrics;

/// How long a watch waits before it asks again for what it may not see: the right can be granted while the operator runs.
/// kube's own waits start anew whenever a list is asked for, before the answer is known.
const BEFORE_ASKING_AGAIN: Duration = Duration::from_secs(10);
/// How often at most a watch that fails again and again is told of.
const BEFORE_TELLING_AGAIN: Duration = Duration::from_mins(5);

/// The failures of one watch.
#[derive(Debug, Default)]
pub(super) struct Failures {
    told: Option<Instant>,
}

impl Failures {
    /// Counts a failure, and tells it if it is news.
    pub(super) fn tell<K: Resource<DynamicType = ()>>(&mut self, error: &watcher::Error, metrics: &Metrics) {
        let kind = K::kind(&());
        metrics.watch_restarted(kind.clone());
        if self.is_news(Instant::now()) {
            tracing::warn!(%kind, %error, "watch interrupted, opening it again");
        } else {
            tracing::debug!(%kind, %error, "watch interrupted once more, opening it again");
        }
    }

    /// What the watch brings shows whether it works.
    pub(super) fn seen<K>(&mut self, event: &Event<K>) {
        // The first of a list says no more than that it was asked for.
        if !matches!(event, Event::Init) {
            self.told = None;
        }
    }

    fn is_news(&mut self, now: Instant) -> bool {
        let news = self.told.is_none_or(|told| now.duration_since(told) >= BEFORE_TELLING_AGAIN);
        if news {
            self.told = Some(now);
        }
        news
    }
}

/// The watch, which asks again for what it may not see only now and then.
pub(super) fn patient<T: Send>(
    events: impl Stream<Item = watcher::Result<T>> + Send,
) -> impl Stream<Item = watcher::Result<T>> + Send {
    stream::unfold((Box::pin(events), Duration::ZERO), async |(mut events, wait)| {
        tokio::time::sleep(wait).await;
        let event = events.next().await?;
        let wait = if event.as_ref().is_err_and(is_forbidden) { BEFORE_ASKING_AGAIN } else { Duration::ZERO };
        Some((event, (events, wait)))
    })
}

pub(super) fn is_forbidden(error: &watcher::Error) -> bool {
    use kube::Error::Api;
    use watcher::Error::{InitialListFailed, WatchError, WatchStartFailed};
    matches!(error, InitialListFailed(Api(status)) | WatchStartFailed(Api(status)) | WatchError(status) if status.is_forbidden())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_failures_is_told_at_first_and_then_seldom() {
        let (start, mut failures) = (Instant::now(), Failures::default());
        let mut news = |seconds| failures.is_news(start + Duration::from_secs(seconds));
        assert_eq!(
            [0, 1, 60, 299, 300, 301, 599, 600].map(&mut news),
            [true, false, false, false, true, false, false, true]
        );
    }

    #[test]
    fn a_failure_after_the_watch_has_worked_is_told() {
        let (now, mut failures) = (Instant::now(), Failures::default());
        assert!(failures.is_news(now));
        failures.seen::<()>(&Event::Init);
        assert!(!failures.is_news(now), "a list was asked for");
        failures.seen::<()>(&Event::InitDone);
        assert!(failures.is_news(now));
    }
}
