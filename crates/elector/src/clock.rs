//! The clock that leadership is measured by.

use std::time::Duration;

use leadergroup_election::Time;
use rustix::time::{ClockId, clock_gettime};

/// Apple's monotonic clock goes on while the machine sleeps; Linux has another one for that.
#[cfg(target_vendor = "apple")]
const CLOCK: ClockId = ClockId::Monotonic;
#[cfg(not(target_vendor = "apple"))]
const CLOCK: ClockId = ClockId::Boottime;

/// The time since this machine started, including what it slept: unlike [`std::time::Instant`], which stands still
/// while a host is suspended and would let a leader believe in a term that ended long ago.
pub fn boottime() -> Time {
    let now = clock_gettime(CLOCK);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// How long it is until then.
pub(crate) fn until(at: Time) -> Duration {
    at.saturating_sub(boottime())
}
