//! How long things may take.

use std::time::Duration;

/// Lease duration, renew deadline and retry period, as client-go names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    lease_duration: Duration,
    renew_deadline: Duration,
    retry_period: Duration,
}

/// Why a timing can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// A Lease tells its duration in whole seconds.
    #[error("the lease duration must be a whole number of seconds, at least 1 and at most 2147483647")]
    LeaseDuration,
    /// Standbys may take over a lease duration after the last renewal, so a leader must have stopped by then.
    #[error("the lease duration must be longer than the renew deadline")]
    RenewDeadline,
    /// One lost renewal must not end a term.
    #[error("the renew deadline must be longer than 1.2 times the retry period, which must not be zero")]
    RetryPeriod,
}

impl Timing {
    /// What client-go's users run most: 15 s, 10 s, 2 s.
    pub const DEFAULT: Self = Self {
        lease_duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry_period: Duration::from_secs(2),
    };

    /// A timing, if lease duration > renew deadline > 1.2 × retry period > 0, the rule of client-go.
    ///
    /// The ratio of lease duration to renew deadline is how much faster the clock of one candidate may run than that of
    /// another before two can lead at once: by half with 15 s and 10 s, by a thousandth with 10.01 s for each 10 s. The
    /// rule does not ask for more; clocks of real machines are apart by less than one in a thousand.
    pub fn new(
        lease_duration: Duration,
        renew_deadline: Duration,
        retry_period: Duration,
    ) -> Result<Self, TimingError> {
        let seconds = lease_duration.as_secs();
        if lease_duration.subsec_nanos() != 0 || seconds == 0 || i32::try_from(seconds).is_err() {
            return Err(TimingError::LeaseDuration);
        }
        if renew_deadline >= lease_duration {
            return Err(TimingError::RenewDeadline);
        }
        // Each is shorter than the next now, so nothing overflows.
        if retry_period.is_zero() || retry_period >= renew_deadline || renew_deadline <= retry_period * 6 / 5 {
            return Err(TimingError::RetryPeriod);
        }
        Ok(Self { lease_duration, renew_deadline, retry_period })
    }

    /// How long after its last move a Lease may be taken over; whole seconds.
    pub fn lease_duration(&self) -> Duration {
        self.lease_duration
    }

    /// How long after the start of its last successful renewal a leader still leads.
    pub fn renew_deadline(&self) -> Duration {
        self.renew_deadline
    }

    /// The time from one renewal to the next, and from a failure to the next try.
    pub fn retry_period(&self) -> Duration {
        self.retry_period
    }

    /// How long one request may take: a renewal that hangs leaves time for a second one.
    pub fn request_timeout(&self) -> Duration {
        self.renew_deadline / 2
    }

    pub(crate) fn seconds(&self) -> i32 {
        i32::try_from(self.lease_duration.as_secs()).unwrap_or(i32::MAX)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::DEFAULT
    }
}
