//! Waiting after failures.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::time::{Mono, Now};

/// How often in a row a write must fail before the status says so.
pub(crate) const FAILURES_SHOWN: u32 = 3;

/// How long to wait after a first failure, and at most.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_mins(1);

/// Waiting after failures.
#[derive(Clone, Debug)]
pub(crate) struct Retry {
    failures: u32,
    /// When to try again.
    pub(crate) not_before: Mono,
}

impl Retry {
    /// Notes one more failure in a row, and puts the next try off for longer.
    pub(crate) fn after_failure(retry: &mut Option<Self>, now: Now) -> u32 {
        let retry = retry.get_or_insert(Self { failures: 0, not_before: now.mono });
        let delay = usize::try_from(retry.failures).ok().and_then(|failures| delays().nth(failures));
        retry.failures += 1;
        retry.not_before = now.mono + delay.unwrap_or(LAST_RETRY);
        retry.failures
    }

    pub(crate) fn is_due(retry: Option<&Self>, now: Now) -> bool {
        retry.is_none_or(|r| now.mono >= r.not_before)
    }
}

/// How long to wait after each failure in a row.
fn delays() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default().with_min_delay(FIRST_RETRY).with_max_delay(LAST_RETRY).without_max_times().build()
}
