//! How often one group may make this operator write about it: whoever may write to a Lease or a group can change it many
//! times a second, and each change would be a status, an Event and a line in the log.
//!
//! Only reports are paced, never what is done about a Lease. Nothing is lost of the counts: a status that waits is
//! replaced by the newest, and an Event says how many of its kind were not told before it.

use std::time::Duration;

use crate::decide::Notice;
use crate::time::Mono;

/// So many at once, and then one each time that so much time has passed.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// How many at once.
    pub burst: u32,
    /// How long until there may be one more.
    pub every: Duration,
}

/// Events of one group and one reason, as client-go limits those about one object. By reason, so that a flood of one kind
/// hides no other.
pub const EVENTS: Rate = Rate { burst: 25, every: Duration::from_mins(5) };
/// Status writes of one group: a takeover takes no more than the burst.
pub const STATUSES: Rate = Rate { burst: 10, every: Duration::from_secs(1) };

/// What was spent of a [`Rate`]: the moment at which nothing will be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace(Mono);

impl Pace {
    /// When the next one is due; a moment that has passed if it is due now.
    pub fn next(self, rate: Rate) -> Mono {
        self.0.saturating_sub(rate.every * rate.burst.saturating_sub(1))
    }

    /// One is done now.
    pub fn spend(&mut self, rate: Rate, now: Mono) {
        self.0 = self.0.max(now).saturating_add(rate.every);
    }

    fn is_whole(self, now: Mono) -> bool {
        self.0 <= now
    }
}

/// When the status of one group may be written.
#[derive(Clone, Debug, Default)]
pub struct Statuses {
    pace: Pace,
    /// When one that was not admitted may be written.
    pub waits_until: Option<Mono>,
}

impl Statuses {
    /// Whether one may be written now, which is then taken to be done.
    pub fn admit(&mut self, now: Mono) -> bool {
        let due = self.pace.next(STATUSES);
        self.waits_until = (due > now).then_some(due);
        if self.waits_until.is_none() {
            self.pace.spend(STATUSES, now);
        }
        self.waits_until.is_none()
    }
}

/// What was told of one group lately.
#[derive(Clone, Debug, Default)]
pub struct Told(Vec<OfReason>);

#[derive(Clone, Debug)]
struct OfReason {
    reason: String,
    pace: Pace,
    /// How many were not told since the last that was.
    untold: u64,
}

impl Told {
    /// The notice as it is to be told; none if there were too many of its reason.
    pub fn admit(&mut self, mut notice: Notice, now: Mono) -> Option<Notice> {
        self.0.retain(|told| told.untold > 0 || !told.pace.is_whole(now));
        let at = self.0.iter().position(|told| told.reason == notice.reason).unwrap_or_else(|| {
            self.0.push(OfReason { reason: notice.reason.clone(), pace: Pace::default(), untold: 0 });
            self.0.len() - 1
        });
        let told = &mut self.0[at];
        if told.pace.next(EVENTS) > now {
            told.untold += 1;
            return None;
        }
        told.pace.spend(EVENTS, now);
        if told.untold > 0 {
            notice.note = format!("[{} more {} before this were not told] {}", told.untold, notice.reason, notice.note);
            told.untold = 0;
        } else if told.pace.next(EVENTS) > now {
            notice.note = format!(
                "[too many {}: from here on one in {} minutes is told] {}",
                notice.reason,
                EVENTS.every.as_secs() / 60,
                notice.note
            );
        }
        Some(notice)
    }
}
