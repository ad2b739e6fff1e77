//! A Lease, and what the operator has seen it do.

use jiff::Timestamp;
use kube::core::ObjectMeta;
use leadergroup_api::TransitionReason;
use leadergroup_api::library::Library;
use leadergroup_elector::lease::TIMING;

use super::SANE_CLOCK_MS;
use crate::renewals::{Renewals, Rhythm};
use crate::time::{Mono, Now};
use crate::wire::{LeaseRecord, LeaseWire};

/// How many of a holder's last renewals must be sane.
const SANE_RENEWALS: u8 = 3;
/// For how long they must have been: the most that a clock can step without leaving the bounds above.
const SANE_FOR: Mono = Mono::from_secs(4);
/// How much later than the others before it, by what it says, a renewal may arrive, in milliseconds: a clock that was set
/// back and a slow network look the same. A container's next run starts 0.1 s after the last at the earliest, so a
/// smaller step hides no run.
const STEADY_CLOCK_MS: i64 = 250;

/// Lease duration, renew deadline and retry period, in seconds.
pub type AskedTiming = [u64; 3];

/// The timing that a Lease asks candidates for, by its annotations, with zero for what can't be read; none if it has none
/// of them.
fn asked_timing(metadata: &ObjectMeta) -> Option<AskedTiming> {
    let annotations = metadata.annotations.as_ref()?;
    let asks = TIMING.iter().any(|name| annotations.contains_key(*name));
    let seconds = |name: &str| annotations.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
    asks.then(|| TIMING.map(seconds))
}

/// A Lease, and what this operator has seen it do.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "they are facts about a Lease, not states of a machine")]
pub struct Lease {
    /// The UID: a Lease deleted and made anew is another one.
    pub uid: String,
    /// The resourceVersion; every write names the version that was judged.
    pub version: String,
    /// The record.
    pub record: LeaseRecord,
    /// The timing that it asks candidates for.
    pub asks: Option<AskedTiming>,
    /// The version at which the record last changed, or was first seen.
    pub moved_in: u64,
    /// When the record last changed, or was first seen.
    pub moved_at: Mono,
    /// Whether this operator has seen the record change, or has only found it as it is.
    pub seen_moving: bool,
    /// The present holder was seen to renew.
    renewed_in_term: bool,
    /// Its storage was restored in the present term: the record is an older one than the operator has seen.
    pub is_restored: bool,
    /// When an answer to this operator last brought it.
    pub answered_at: Option<Mono>,
    /// The election library that wrote the record last, if it is recognised; a clear does not count.
    pub library: Option<Library>,
    /// It has finalizers, so deleting it does not make it go away.
    pub has_finalizers: bool,
    /// When the record was last read from the API server itself, rather than from a watch.
    pub read_at: Option<Mono>,
    /// The largest duration that the present term has shown, in seconds.
    longest: Option<u64>,
    /// The present holder's latest renewals, counted back from the newest, that were sane.
    sane: SaneRenewals,
    /// How many of its latest renewals in a row were none of the operator's time when they arrived, up to
    /// [`SANE_RENEWALS`].
    off: u8,
    /// By how many seconds that was, when there were so many, until the clock is sane.
    pub clock_off_by: Option<i64>,
    /// The latest renewal of the present term: a clock that was set back is not trusted before it has caught up.
    latest_renewal: Option<Timestamp>,
    /// How late the renewals of the present term came.
    pub renewals: Renewals,
    /// How the term before this one ended.
    pub before: Option<Before>,
    /// The request that brought this record.
    pub source: Source,
}

/// The request that brought a version of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A watch: it is the next version after the one before.
    Watch,
    /// A read, ahead of the watch: others may have gone unseen before it, as far as the watch was behind.
    Get,
    /// A list, when the Lease was found or after the watch was interrupted: others may have gone unseen before it.
    List,
}

impl Source {
    /// Versions between this record and the one before may have gone unseen.
    pub fn after_gap(self) -> bool {
        self != Self::Watch
    }
}

/// Renewals in a row by a clock that nothing speaks against.
#[derive(Clone, Debug, Default, PartialEq)]
struct SaneRenewals {
    /// How many, up to [`SANE_RENEWALS`].
    count: u8,
    /// When the record before the first of them arrived.
    since: Mono,
    /// The least time from what one says to its arrival, in milliseconds.
    least_lag: Option<i64>,
}

/// The end of a term, as seen in the Lease alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Before {
    /// When the record that ended last moved.
    pub moved_at: Mono,
    /// Whether it had run out when it was taken over.
    pub ran_out: bool,
    /// Whether its holder had shortened it to a second, which is how some libraries release.
    pub shrunk: bool,
    /// Whether its last renewal still stands in the Lease. A holder that releases writes the time it did.
    pub times_kept: bool,
    /// How its renewals came.
    pub rhythm: Option<Rhythm>,
    /// The request that brought its last record: unless a watch, it may have stood still for long before.
    pub source: Source,
}

impl Lease {
    /// A Lease seen for the first time.
    pub fn found(wire: LeaseWire, source: Source, now: Now) -> Self {
        let record = wire.spec;
        Self {
            moved_in: number_of(wire.metadata.resource_version.as_deref()),
            asks: asked_timing(&wire.metadata),
            has_finalizers: has_finalizers(&wire.metadata),
            uid: wire.metadata.uid.unwrap_or_default(),
            version: wire.metadata.resource_version.unwrap_or_default(),
            longest: record.duration(),
            record,
            moved_at: now.mono,
            seen_moving: false,
            renewed_in_term: false,
            is_restored: false,
            library: wire.library,
            answered_at: None,
            read_at: None,
            sane: SaneRenewals { since: now.mono, ..SaneRenewals::default() },
            off: 0,
            clock_off_by: None,
            latest_renewal: None,
            renewals: Renewals::default(),
            before: None,
            source,
        }
    }

    /// A Lease at an older version than the one known before: only a restored etcd goes back.
    pub fn restored(wire: LeaseWire, source: Source, now: Now) -> Self {
        Self { is_restored: true, ..Self::found(wire, source, now) }
    }

    /// Takes in a later version of the same Lease; true if the record moved.
    pub fn observe(&mut self, wire: LeaseWire, source: Source, now: Now) -> bool {
        self.asks = asked_timing(&wire.metadata);
        self.has_finalizers = has_finalizers(&wire.metadata);
        let moved_in = number_of(wire.metadata.resource_version.as_deref());
        self.version = wire.metadata.resource_version.unwrap_or_default();
        let record = wire.spec;
        if record.holder().is_some() {
            self.library = wire.library;
        }
        if record == self.record {
            return false;
        }
        let same_holder = record.holder() == self.record.holder();
        if same_holder {
            self.longest = self.longest.max(record.duration());
            // One that acquires its own Lease anew has begun anew.
            if !source.after_gap() && self.seen_moving && record.acquire_time == self.record.acquire_time {
                let (gap, duration) = (self.gap_to(&record, now), Mono::from_secs(self.longest.unwrap_or(0)));
                self.renewals.note(gap, self.record.renewed(), duration, now.mono);
            }
            self.note_renewal(&record, now);
            self.renewed_in_term |= record.renew_time.is_some() && record.renew_time != self.record.renew_time;
        } else {
            self.before = Some(Before {
                moved_at: self.moved_at,
                // Candidates time a Lease from when they saw it move, up to a second apart from this operator.
                ran_out: now.mono + Mono::from_secs(1) >= self.moved_at + Mono::from_secs(self.longest.unwrap_or(0)),
                shrunk: self.record.duration() == Some(1) && self.longest > Some(1),
                times_kept: record.renew_time.is_some() && record.renew_time == self.record.renew_time,
                rhythm: self.renewals.rhythm(),
                source: self.source,
            });
            self.renewals = Renewals::default();
            self.longest = record.duration();
            self.sane = SaneRenewals { since: now.mono, ..SaneRenewals::default() };
            (self.off, self.clock_off_by) = (0, None);
            self.latest_renewal = None;
            self.renewed_in_term = false;
            self.is_restored = false;
        }
        self.latest_renewal = self.latest_renewal.max(self.record.renewed().filter(|_| same_holder));
        self.record = record;
        (self.moved_in, self.moved_at) = (moved_in, now.mono);
        self.seen_moving = true;
        self.read_at = None;
        self.source = source;
        true
    }

    /// Whether what a request of that time was answered is older than what was known then: only a restored etcd goes back.
    pub fn goes_back(&self, version: Option<&str>, requested_at: Mono) -> bool {
        self.moved_at <= requested_at && self.moved_in != u64::MAX && number_of(version) < self.moved_in
    }

    /// Why another holds it than before, as far as the Lease alone tells.
    ///
    /// One that did not come in order may have stood still for long before: whether it was taken early is not known.
    pub fn why_another_holds_it(&self) -> TransitionReason {
        match &self.before {
            None => TransitionReason::LeaseDeleted,
            Some(before) if before.shrunk => TransitionReason::Released,
            Some(before) if before.ran_out => TransitionReason::Expired,
            Some(before) if before.source.after_gap() || self.source.after_gap() => TransitionReason::Unobserved,
            Some(_) => TransitionReason::Taken,
        }
    }

    /// The Lease is free, and looks as an operator leaves it that cleared its holder: the reason for the next transition.
    pub fn freed_by_another(&self) -> Option<TransitionReason> {
        let before = self.before.as_ref().filter(|before| before.times_kept)?;
        let cleared = self.record.holder().is_none() && self.record.duration() == Some(1);
        let reason = if before.ran_out { TransitionReason::Expired } else { TransitionReason::Cleared };
        cleared.then_some(reason)
    }

    /// How long after the last this renewal came: by its arrival or by what it says, whichever is less, for neither a slow
    /// watch nor a clock that was set makes a renewal late.
    fn gap_to(&self, record: &LeaseRecord, now: Now) -> Mono {
        let arrived = now.mono.saturating_sub(self.moved_at);
        let said = record.renewed().zip(self.record.renewed()).map(|(renewed, before)| renewed.duration_since(before));
        said.and_then(|said| Mono::try_from(said).ok()).map_or(arrived, |said| said.min(arrived))
    }

    fn note_renewal(&mut self, record: &LeaseRecord, now: Now) {
        let lag = record.renewed().map(|renewed| now.wall.as_millisecond() - renewed.as_millisecond());
        let forward = record.renewed() >= self.record.renewed().max(self.latest_renewal);
        let steady = |lag: i64| self.sane.least_lag.is_none_or(|least| lag <= least + STEADY_CLOCK_MS);
        self.sane = match lag {
            Some(lag) if self.record.renewed().is_some() && forward && lag.abs() <= SANE_CLOCK_MS && steady(lag) => {
                SaneRenewals {
                    count: (self.sane.count + 1).min(SANE_RENEWALS),
                    since: self.sane.since,
                    least_lag: Some(self.sane.least_lag.map_or(lag, |least| least.min(lag))),
                }
            }
            _ => SaneRenewals { count: 0, since: now.mono, least_lag: lag },
        };
        match lag {
            Some(lag) if lag.abs() > SANE_CLOCK_MS => {
                self.off = (self.off + 1).min(SANE_RENEWALS);
                if self.off == SANE_RENEWALS {
                    self.clock_off_by.get_or_insert(lag / 1_000);
                }
            }
            _ if self.sane.count >= SANE_RENEWALS => (self.off, self.clock_off_by) = (0, None),
            _ => self.off = 0,
        }
    }

    /// Whether the holder's clock has agreed with the operator's, and never gone back, over its last three renewals
    /// and four seconds.
    pub fn clock_is_sane(&self) -> bool {
        self.sane.count >= SANE_RENEWALS && self.moved_at >= self.sane.since + SANE_FOR
    }

    /// Whether the Lease is held until somebody takes it away, so that it never expires: its record has no duration or no
    /// time of renewal and nobody renews it, or each of its renewals comes later than the duration allows.
    pub fn is_held_for_life(&self, default_seconds: u64) -> bool {
        let has_no_timing = self.longest.is_none() || self.record.renewed().is_none();
        has_no_timing && !self.renewed_in_term || self.renewals.all_exceed(self.duration(default_seconds))
    }

    /// For how long a renewal lasts: the largest duration this term has shown; none if for ever.
    ///
    /// `default_seconds` stands in where the record has no usable duration. Before its first renewal a holder is given a
    /// third more: Camel acquires, and then sleeps for one duration before it leads and renews.
    pub fn lasts(&self, default_seconds: u64) -> Option<Mono> {
        let duration = self.duration(default_seconds);
        let is_first = !self.renewed_in_term
            && self.record.acquired().is_some()
            && self.record.acquired() == self.record.renewed();
        let grace = if is_first { duration / 3 } else { Mono::ZERO };
        (!self.is_held_for_life(default_seconds)).then(|| duration.saturating_add(grace))
    }

    /// The duration that the term has shown, in seconds; `default_seconds` where the record has none.
    pub fn duration(&self, default_seconds: u64) -> Mono {
        Mono::from_secs(self.longest.unwrap_or(default_seconds))
    }

    /// When this Lease expires if it does not move; none if it never does.
    pub fn expires_at(&self, default_seconds: u64) -> Option<Mono> {
        self.lasts(default_seconds).map(|lasts| self.moved_at.saturating_add(lasts))
    }

    /// Whether it expired. A silent watch looks like a leader that stopped renewing, so the record must have been
    /// read from the API server after the time was up.
    pub fn has_expired(&self, default_seconds: u64) -> bool {
        self.was_read_after(self.expires_at(default_seconds))
    }

    /// When a holder that nobody has replaced since its Lease expired is stale for certain: one more duration later.
    pub fn abandoned_at(&self, default_seconds: u64) -> Option<Mono> {
        self.expires_at(default_seconds).map(|at| at.saturating_add(self.duration(default_seconds)))
    }

    /// Whether the record is known to have stood still until that moment.
    pub fn was_read_after(&self, moment: Option<Mono>) -> bool {
        moment.is_some_and(|at| self.read_at.is_some_and(|read| read >= at))
    }

    /// How long a leader that is alive may go without a renewal that arrives here, by what its term has shown: the longest
    /// of two retry periods, twice the largest gap between two renewals, and two thirds of the duration.
    pub fn max_silence(&self, retry_period: Mono, default_seconds: u64) -> Mono {
        let largest_gap = self.renewals.rhythm().map_or(Mono::ZERO, |rhythm| rhythm.largest);
        let duration = self.duration(default_seconds);
        (retry_period * 2).max(largest_gap * 2).max(duration * 2 / 3)
    }
}

/// A version as a number; later than any if it is none.
fn number_of(version: Option<&str>) -> u64 {
    version.and_then(|version| version.parse().ok()).unwrap_or(u64::MAX)
}

fn has_finalizers(metadata: &ObjectMeta) -> bool {
    metadata.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty())
}
