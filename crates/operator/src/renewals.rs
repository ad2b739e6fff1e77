//! How late a leader's renewals came, in constant memory. A renewal costs a few additions here, and a decision only if it
//! comes later, by a whole step, than any lately.

use std::time::Duration;

use crate::time::Mono;

/// The upper bounds of the sizes of gaps that are told apart, each √2 times the one before; the last has none.
const BOUNDS_MS: [u64; 15] =
    [500, 707, 1_000, 1_414, 2_000, 2_828, 4_000, 5_657, 8_000, 11_314, 16_000, 22_627, 32_000, 45_255, 64_000];
/// A renewal is late if it comes that many thirds of the Lease's duration after the one before; and later by a step from
/// the next number on. With client-go's proportions the first is where a leader gives up.
const LATE_THIRDS: [u32; 4] = [2, 3, 6, 12];
/// Out of so many gaps, all but one are as small as is told of the rest.
const ALL_BUT_ONE_OF: u32 = 100;
/// For how many durations of the Lease a late renewal is told of.
pub const TOLD_FOR: u32 = 240;

/// The gaps between one holder's renewals.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Renewals {
    counts: [u32; BOUNDS_MS.len() + 1],
    largest: Duration,
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
}

/// A renewal that came late.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Late {
    step: usize,
    /// How long after the one before it came.
    pub gap: Duration,
    /// Nearly all others, as far as they were seen then, came no later than that.
    pub others: Option<Duration>,
    /// When it is told of no more, unless others come as late.
    pub until: Mono,
}

impl Renewals {
    /// A renewal came so long after the one before, of a Lease of that duration.
    pub fn note(&mut self, gap: Duration, duration: Duration, now: Mono) {
        let at = BOUNDS_MS.iter().position(|bound| gap <= Duration::from_millis(*bound)).unwrap_or(BOUNDS_MS.len());
        let step =
            LATE_THIRDS.iter().filter(|thirds| gap.saturating_mul(3) >= duration.saturating_mul(**thirds)).count();
        if step > 0 && !duration.is_zero() {
            let until = now.saturating_add(duration.saturating_mul(TOLD_FOR));
            match &mut self.late {
                // What is told stays the same.
                Some(late) if now < late.until && step <= late.step => late.until = until,
                late => *late = Some(Box::new(Late { step, gap, others: nearly_all(&self.counts), until })),
            }
        }
        self.counts[at] = self.counts[at].saturating_add(1);
        self.largest = self.largest.max(gap);
    }

    /// How they came; none where no two came in a row.
    pub fn rhythm(&self) -> Option<Rhythm> {
        let rhythm = Rhythm { largest: self.largest, nearly_all: nearly_all(&self.counts) };
        (!self.largest.is_zero()).then_some(rhythm)
    }

    /// The late renewal that is to be told of.
    pub fn late(&self, now: Mono) -> Option<Late> {
        self.late.as_deref().copied().filter(|late| now < late.until)
    }
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

    #[test]
    fn what_nearly_all_keep_is_told_of_a_hundred_or_more() {
        let mut renewals = Renewals::default();
        assert_eq!(renewals.rhythm(), None);
        let told = |renewals: &Renewals| renewals.rhythm().map(|r| (r.largest, r.nearly_all));
        for _ in 0..98 {
            renewals.note(ms(1_900), DURATION, ms(0));
        }
        renewals.note(ms(3_900), DURATION, ms(0));
        assert_eq!(told(&renewals), Some((ms(3_900), None)), "of 99");
        renewals.note(ms(9_000), DURATION, ms(0));
        assert_eq!(told(&renewals), Some((ms(9_000), Some(ms(4_000)))), "one of a hundred is left out");
        renewals.note(ms(9_000), DURATION, ms(0));
        assert_eq!(told(&renewals), Some((ms(9_000), Some(ms(11_314)))), "two are not");
    }

    #[test]
    fn late_is_two_thirds_of_the_duration_and_is_told_in_steps() {
        let mut renewals = Renewals::default();
        let told = |renewals: &Renewals, at| renewals.late(ms(at)).map(|late| late.gap);
        renewals.note(ms(9_999), DURATION, ms(0));
        assert_eq!(told(&renewals, 0), None);
        renewals.note(ms(10_000), DURATION, ms(1));
        assert_eq!(told(&renewals, 1), Some(ms(10_000)));
        renewals.note(ms(14_999), DURATION, ms(2));
        assert_eq!(told(&renewals, 2), Some(ms(10_000)), "the same step");
        renewals.note(ms(15_000), DURATION, ms(3));
        assert_eq!(told(&renewals, 3), Some(ms(15_000)));
    }

    #[test]
    fn a_late_renewal_is_told_of_for_a_while_after_the_last_that_was_as_late() {
        let mut renewals = Renewals::default();
        let window = 15_000 * u64::from(TOLD_FOR);
        renewals.note(ms(16_000), DURATION, ms(0));
        renewals.note(ms(11_000), DURATION, ms(1_000));
        assert!(renewals.late(ms(window)).is_some());
        assert_eq!(renewals.late(ms(window + 1_000)), None);
        renewals.note(ms(12_000), DURATION, ms(window + 1_000));
        assert_eq!(renewals.late(ms(window + 1_000)).map(|late| late.gap), Some(ms(12_000)), "a lower step, anew");
    }
}
