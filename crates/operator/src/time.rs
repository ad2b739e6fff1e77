//! The two clocks a decision may use.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// A point on the operator's own monotonic clock: the time since the operator started.
///
/// Whether a Lease ran out is judged on this clock alone; remote timestamps never enter into it.
pub type Mono = Duration;

/// One moment, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For every span of time that is measured.
    pub mono: Mono,
    /// For what is shown to people, and for judging whether a remote clock is sane.
    pub wall: Timestamp,
}

impl Now {
    /// The wall clock in whole seconds, as the API server keeps it: what is written must equal what is read back.
    pub fn wall_second(&self) -> Timestamp {
        Timestamp::from_second(self.wall.as_second()).unwrap_or(self.wall)
    }
}

/// Reads both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose monotonic zero is now.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The present moment.
    pub fn now(&self) -> Now {
        Now { mono: self.origin.elapsed(), wall: Timestamp::now() }
    }

    /// The instant of a monotonic time, for timers.
    pub fn instant(&self, at: Mono) -> Instant {
        self.origin + at
    }
}
