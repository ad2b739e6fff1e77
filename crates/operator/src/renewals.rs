//! How late a leader's renewals came, in constant memory. A renewal costs a few additions here, and a decision only if it
//! comes later, by a whole step, than any lately.

use std::time::Duration;

use jiff::Timestamp;

use crate::time::Mono;

/// The upper bounds of the sizes of gaps that are told apart, each √2 times the one before; the last has none.
const BOUNDS_MS: [u64; 15] =
    [500, 707, 1_000, 1_414, 2_000, 2_828, 4_000, 5_657, 8_000, 11_314, 16_000, 22_627, 32_000, 45_255, 64_000];
/// A renewal is late if it comes that many thirds of the Lease's duration after the one before; and later by a step from
/// the next number on. With client-go's proportions the first is where a leader gives up.
const LATE_THIRDS: [u32; 4] = [2, 3, 6, 12];
/// One that comes while the Lease still lasts is late only beside the others, for some libraries renew as late by design:
/// if it comes later than most of them by half, and so many of them were seen.
const MOST_OF: u32 = 5;
/// A late renewal is told of only after that. A container's restart is known a second or so after it happened, and the
/// first renewal after one is not late.
const SETTLED_AFTER: Duration = Duration::from_secs(5);
/// Out of so many gaps, all but one are as small as is told of the rest.
const ALL_BUT_ONE_OF: u32 = 100;
/// For how many durations of the Lease a late renewal is told of.
pub const TOLD_FOR: u32 = 240;

/// The gaps between one holder's renewals.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Renewals {
    counts: [u32; BOUNDS_MS.len() + 1],
    largest: Duration,
    smallest: Option<Duration>,
    // Seldom there, and there are many Leases.
    late: Option<Box<Late>>,
}

/// How one holder's renewals came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rhythm {
    /// The largest gap.
    pub largest: Duration,
    /// Nearly all gaps were no larger than that; none where too few were seen to say so.
    pub nearly_all: Option<Duration>,
    /// Most gaps were longer than that; none where too few were seen to say so.
    pub most_exceed: Option<Duration>,
}

/// A renewal that came late.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Late {
    step: usize,
    /// How long after the one before it came.
    pub gap: Duration,
    /// Nearly all others, as far as they were seen then, came no later than that.
    pub others: Option<Duration>,
    /// Most others came later than that.
    pub most_exceed: Option<Duration>,
    /// When the one before it came, by the holder's clock.
    pub after: Option<Timestamp>,
    /// The holder restarted meanwhile, so it is not late.
    pub is_excused: bool,
    /// From when on it is told of.
    pub due: Mono,
    /// When it is told of no more, unless others come as late.
    pub until: Mono,
}

impl Renewals {
    /// A renewal came so long after the one before, which says that it was made `after`, of a Lease of that duration.
    pub fn note(&mut self, gap: Duration, after: Option<Timestamp>, duration: Duration, now: Mono) {
        let at = BOUNDS_MS.iter().position(|bound| gap <= Duration::from_millis(*bound)).unwrap_or(BOUNDS_MS.len());
        let step =
            LATE_THIRDS.iter().filter(|thirds| gap.saturating_mul(3) >= duration.saturating_mul(**thirds)).count();
        let stands_out = || {
            let most = most(&self.counts).and_then(|at| BOUNDS_MS.get(at));
            most.is_some_and(|bound| gap.saturating_mul(2) > Duration::from_millis(*bound).saturating_mul(3))
        };
        if (step > 1 || step == 1 && stands_out()) && !duration.is_zero() {
            let until = now.saturating_add(duration.saturating_mul(TOLD_FOR));
            match &mut self.late {
                // What is told stays the same.
                Some(late) if now < late.until && step <= late.step && !late.is_excused => late.until = until,
                late => {
                    *late = Some(Box::new(Late {
                        step,
                        gap,
                        others: nearly_all(&self.counts),
                        most_exceed: most_exceed(&self.counts),
                        after,
                        is_excused: false,
                        due: now.saturating_add(SETTLED_AFTER),
                        until,
                    }));
                }
            }
        }
        self.counts[at] = self.counts[at].saturating_add(1);
        self.largest = self.largest.max(gap);
        self.smallest = Some(self.smallest.map_or(gap, |smallest| smallest.min(gap)));
    }

    /// Whether there were gaps, each of them longer than that.
    pub fn all_exceed(&self, duration: Duration) -> bool {
        self.smallest.is_some_and(|smallest| smallest > duration)
    }

    /// How they came; none where no two came in a row.
    pub fn rhythm(&self) -> Option<Rhythm> {
        let rhythm = Rhythm {
            largest: self.largest,
            nearly_all: nearly_all(&self.counts),
            most_exceed: most_exceed(&self.counts),
        };
        (!self.largest.is_zero()).then_some(rhythm)
    }

    /// The late renewal that is to be told of.
    pub fn late(&self, now: Mono) -> Option<Late> {
        self.late.as_deref().copied().filter(|late| now < late.until)
    }

    /// The late renewal, if `restarted` says that the holder restarted after the one before it, is none.
    pub fn excuse(&mut self, restarted: impl FnOnce(Timestamp) -> bool) {
        if let Some(late) = self.late.as_deref_mut().filter(|late| !late.is_excused) {
            late.is_excused = late.after.is_some_and(restarted);
        }
    }
}

/// The size that half of the gaps do not exceed.
fn most(counts: &[u32]) -> Option<usize> {
    let total: u64 = counts.iter().copied().map(u64::from).sum();
    let mut seen = 0;
    let half = |count: &u32| {
        seen += u64::from(*count);
        seen * 2 >= total
    };
    counts.iter().position(half).filter(|_| total >= u64::from(MOST_OF))
}

/// The bound that most exceed.
fn most_exceed(counts: &[u32]) -> Option<Duration> {
    let below = most(counts)?.checked_sub(1)?;
    BOUNDS_MS.get(below).map(|bound| Duration::from_millis(*bound))
}

/// The bound that all but one of a hundred keep.
fn nearly_all(counts: &[u32]) -> Option<Duration> {
    let total: u32 = counts.iter().fold(0, |sum, count| sum.saturating_add(*count));
    let mut above = total / ALL_BUT_ONE_OF;
    let last = counts.iter().enumerate().rev().find(|(_, count)| {
        let is_it = **count > above;
        above = above.saturating_sub(**count);
        is_it
    });
    let (at, _) = last.filter(|_| total >= ALL_BUT_ONE_OF)?;
    BOUNDS_MS.get(at).map(|bound| Duration::from_millis(*bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// A few renewals, each so many milliseconds after the one before.
    fn every(milliseconds: u64) -> Renewals {
        let mut renewals = Renewals::default();
        for _ in 0..MOST_OF {
            renewals.note(ms(milliseconds), None, DURATION, ms(0));
        }
        renewals
    }

    #[test]
    fn what_nearly_all_keep_is_told_of_a_hundred_or_more() {
        let mut renewals = Renewals::default();
        assert_eq!(renewals.rhythm(), None);
        let told = |renewals: &Renewals| renewals.rhythm().map(|r| (r.largest, r.nearly_all));
        for _ in 0..98 {
            renewals.note(ms(1_900), None, DURATION, ms(0));
        }
        renewals.note(ms(3_900), None, DURATION, ms(0));
        assert_eq!(told(&renewals), Some((ms(3_900), None)), "of 99");
        renewals.note(ms(9_000), None, DURATION, ms(0));
        assert_eq!(told(&renewals), Some((ms(9_000), Some(ms(4_000)))), "one of a hundred is left out");
        renewals.note(ms(9_000), None, DURATION, ms(0));
        assert_eq!(told(&renewals), Some((ms(9_000), Some(ms(11_314)))), "two are not");
    }

    #[test]
    fn late_is_two_thirds_of_the_duration_and_is_told_in_steps() {
        let mut renewals = every(2_000);
        let told = |renewals: &Renewals, at| renewals.late(ms(at)).map(|late| late.gap);
        renewals.note(ms(9_999), None, DURATION, ms(0));
        assert_eq!(told(&renewals, 0), None);
        renewals.note(ms(10_000), None, DURATION, ms(1));
        assert_eq!(told(&renewals, 1), Some(ms(10_000)));
        renewals.note(ms(14_999), None, DURATION, ms(2));
        assert_eq!(told(&renewals, 2), Some(ms(10_000)), "the same step");
        renewals.note(ms(15_000), None, DURATION, ms(3));
        assert_eq!(told(&renewals, 3), Some(ms(15_000)));
    }

    #[test]
    fn a_late_renewal_is_told_of_for_a_while_after_the_last_that_was_as_late() {
        let mut renewals = every(2_000);
        let window = 15_000 * u64::from(TOLD_FOR);
        renewals.note(ms(16_000), None, DURATION, ms(0));
        renewals.note(ms(11_000), None, DURATION, ms(1_000));
        assert!(renewals.late(ms(window)).is_some());
        assert_eq!(renewals.late(ms(window + 1_000)), None);
        renewals.note(ms(12_000), None, DURATION, ms(window + 1_000));
        assert_eq!(renewals.late(ms(window + 1_000)).map(|late| late.gap), Some(ms(12_000)), "a lower step, anew");
    }

    #[test]
    fn late_is_what_stands_out_from_the_rhythm_or_comes_when_the_lease_has_run_out() {
        // The rhythm, one more gap, and whether that is late; all of a Lease of 15 s.
        let cases = [
            (2_000, 9_900, false),
            (2_000, 10_000, true),
            // Libraries that renew late by design: by retryPeriodSeconds: 11, or a few seconds before the end.
            (11_000, 11_300, false),
            (11_000, 14_900, false),
            (11_000, 15_000, true),
            (12_500, 12_500, false),
            (12_500, 14_900, false),
            (12_500, 16_000, true),
            (5_000, 10_000, true),
            (6_600, 11_900, false),
        ];
        for (rhythm, gap, expected) in cases {
            let mut renewals = every(rhythm);
            assert_eq!(renewals.late(ms(0)), None, "{rhythm}");
            renewals.note(ms(gap), None, DURATION, ms(0));
            assert_eq!(renewals.late(ms(0)).is_some(), expected, "{gap} after each {rhythm}");
        }
        let mut renewals = Renewals::default();
        renewals.note(ms(12_000), None, DURATION, ms(0));
        assert_eq!(renewals.late(ms(0)), None, "the rhythm is not known yet");
        renewals.note(ms(15_000), None, DURATION, ms(0));
        assert!(renewals.late(ms(0)).is_some());
    }

    #[test]
    fn an_excused_renewal_hides_none_that_is_late() {
        let mut renewals = every(2_000);
        let at = |second| Some(Timestamp::from_second(second).expect("a second"));
        renewals.note(ms(20_000), at(100), DURATION, ms(0));
        renewals.excuse(|after| after < Timestamp::from_second(90).expect("a second"));
        assert!(renewals.late(ms(0)).is_some_and(|late| !late.is_excused), "it restarted before");
        renewals.excuse(|_| true);
        assert!(renewals.late(ms(0)).is_some_and(|late| late.is_excused));
        renewals.note(ms(12_000), at(200), DURATION, ms(0));
        assert_eq!(renewals.late(ms(0)).map(|late| (late.gap, late.is_excused)), Some((ms(12_000), false)));
    }
}
