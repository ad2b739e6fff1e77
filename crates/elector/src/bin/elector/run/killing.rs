//! Attempts to kill all processes below this one, repeated until nothing is left.
//!
//! SIGKILL has no effect on a process of another user, nor on one that hangs in the kernel. Only the end of the container
//! ends such a process, so there is a time by which the wrapper has to exit.

use std::fmt;
use std::io;
use std::time::Duration;

use leadergroup_elector::clock::boottime;
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::channel::Time;
use super::processes::signal_all;

/// Interval between two attempts: processes may have been forked meanwhile.
pub const RETRY_INTERVAL: Duration = Duration::from_millis(10);
/// Minimum interval between two messages about processes that are left.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// The attempts to kill all processes below this one.
#[derive(Debug)]
pub struct Killing {
    /// Time of the first attempt.
    pub since: Time,
    /// No message before this time.
    log_at: Time,
}

/// Processes that have not ended.
#[derive(Debug, Default)]
pub struct Left {
    /// Number of processes, as far as `/proc` shows them.
    pub count: usize,
    /// A process that this one may not signal.
    pub refused: Option<(Pid, Errno)>,
}

impl Killing {
    /// No attempt has been made yet.
    pub fn begin() -> Self {
        let now = boottime();
        Self { since: now, log_at: now }
    }

    /// Sends SIGKILL to all processes below this one. Returns those that were still there.
    pub fn attempt(&mut self) -> io::Result<Left> {
        let left = signal_all(Signal::KILL)?;
        let now = boottime();
        let is_stuck = left.refused.is_some() || now >= self.since + LOG_INTERVAL;
        if left.count > 0 && is_stuck && now >= self.log_at {
            self.log_at = now + LOG_INTERVAL;
            tracing::error!("SIGKILL has not ended all processes: {left}");
        }
        Ok(left)
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.count, &self.refused) {
            (0, _) => f.write_str("/proc does not show what is left"),
            (count, None) => write!(f, "{count} left"),
            (count, Some((id, error))) => {
                write!(f, "{count} left, process {} can't be sent a signal: {error}", id.as_raw_nonzero())
            }
        }
    }
}
