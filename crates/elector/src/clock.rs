//! The clock that leadership is measured by.

use std::time::Duration;

use leadergroup_election::Time;
use rustix::time::{ClockId, clock_gettime};

/// The time since this machine started, including what it slept: unlike [`std::time::Instant`], which stands still
/// while a host is suspended and would let a leader believe in a term that ended long ago.
pub fn boottime() -> Time {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// How long it is until then.
pub(crate) fn until(at: Time) -> Duration {
    at.saturating_sub(boottime())
}
