//! Whether takeovers with a LeaderGroup are slower than without one.
//!
//! Both are played [`TRIES`] times in the same run, at the same time and in the same way. How long one takes depends on
//! where the leader's renewals and the standby's polls happen to be, so two equally good takeovers differ by seconds.
//! The spread of a client's takeovers is their standard deviation without a LeaderGroup, pooled over its [`Pair`]s: a few
//! tries of one pair say little of it, those of four to six pairs enough. Tries with a LeaderGroup are left out of it, since a
//! few that are much too slow would excuse themselves.
//!
//! A pair is slower if the mean with a LeaderGroup exceeds the mean without by more than [`STANDARD_ERRORS`] standard errors of
//! that difference, and by more than [`NEGLIGIBLE`]. For polls each 2 s the limit is about 4 s. A unit test plays clients that
//! poll so: one with four pairs that are equally fast fails in about 1 % of the runs, and a pair that is slower by 6 s is
//! found in about 95 %.

use crate::scene::{Outcome, PATIENCE};

/// How often each takeover is played, with a LeaderGroup and without.
pub const TRIES: usize = 3;
/// The limit of the difference between two means.
const STANDARD_ERRORS: f64 = 4.0;
/// Seconds by which two means may differ on a busy machine, however little a client's takeovers vary.
const NEGLIGIBLE: f64 = 1.0;

/// One kind of takeover, with a LeaderGroup and without.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pair {
    /// What followed each leader's end where there was a LeaderGroup.
    pub with: Vec<Outcome>,
    /// The same where there was none.
    pub without: Vec<Outcome>,
}

/// A pair whose takeovers are slower with a LeaderGroup.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slower {
    /// Seconds on average with a LeaderGroup.
    pub with: f64,
    /// Seconds on average without.
    pub without: f64,
}

/// The most by which a client's mean takeover may be slower with a LeaderGroup, in seconds.
pub fn limit<'a>(pairs: impl IntoIterator<Item = &'a Pair>) -> f64 {
    let tries: Vec<_> = pairs.into_iter().filter_map(|pair| all_led(&pair.without)).collect();
    let squares: f64 = tries.iter().map(|seconds| squares(seconds)).sum();
    let freedom: usize = tries.iter().map(|seconds| seconds.len() - 1).sum();
    let spread = if freedom == 0 { 0.0 } else { (squares / count(freedom)).sqrt() };
    let standard_error = spread * (2.0 / count(TRIES)).sqrt();
    (STANDARD_ERRORS * standard_error).max(NEGLIGIBLE)
}

impl Pair {
    /// Whether takeovers are slower with a LeaderGroup, given the client's [`limit`].
    ///
    /// Where nobody may take over without one, nothing is slower. One that never happens counts with the time for which it
    /// was awaited, so it is slower than any that does.
    pub fn slower(&self, limit: f64) -> Option<Slower> {
        let without = mean(&all_led(&self.without)?);
        let seconds: Vec<_> =
            self.with.iter().map(|outcome| outcome.seconds().unwrap_or(PATIENCE.as_secs_f64())).collect();
        let with = mean(&seconds);
        let never = self.with.contains(&Outcome::Never);
        (never || with - without > limit).then_some(Slower { with, without })
    }
}

/// The seconds, if somebody led each time.
fn all_led(outcomes: &[Outcome]) -> Option<Vec<f64>> {
    outcomes.iter().map(|outcome| outcome.seconds()).collect::<Option<Vec<_>>>().filter(|seconds| !seconds.is_empty())
}

fn mean(seconds: &[f64]) -> f64 {
    seconds.iter().sum::<f64>() / count(seconds.len())
}

/// The sum of the squared differences from the mean.
fn squares(seconds: &[f64]) -> f64 {
    let mean = mean(seconds);
    seconds.iter().map(|value| (value - mean).powi(2)).sum()
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    fn led(seconds: [f64; TRIES]) -> Vec<Outcome> {
        seconds.map(Outcome::Led).to_vec()
    }

    fn pair(with: [f64; TRIES], without: [f64; TRIES]) -> Pair {
        Pair { with: led(with), without: led(without) }
    }

    #[test]
    fn limit_follows_the_spread_without_a_group() {
        let steady = pair([1.0, 30.0, 90.0], [15.0, 15.0, 15.0]);
        assert!((limit([&steady]) - NEGLIGIBLE).abs() < 1e-9);
        // Variances of 3 and 0: a standard deviation of 1.225 s, and a standard error of 1 s.
        let varied = pair([1.0, 1.0, 1.0], [13.0, 16.0, 16.0]);
        assert!((limit([&steady, &varied]) - 4.0).abs() < 1e-9);
        assert!((limit([]) - NEGLIGIBLE).abs() < 1e-9);
    }

    /// The leader renewed up to 2 s before it ended, and a standby polls each 2 s, or up to 2.2 times more slowly.
    fn at_expiry(dice: &mut SmallRng, slower_by: f64) -> [f64; TRIES] {
        std::array::from_fn(|_| {
            let period = 2.0 * dice.random_range(1.0..2.2);
            15.0 - dice.random_range(0.0..2.0) + dice.random_range(0.0..period) + slower_by
        })
    }

    /// The share of clients that poll so with a pair that is said to be slower, when one is or none.
    fn share_found(slower_by: f64) -> f64 {
        const CLIENTS: u32 = 10_000;
        let mut dice = SmallRng::seed_from_u64(1);
        let found = (0..CLIENTS).filter(|_| {
            let pairs: [Pair; 4] = std::array::from_fn(|n| {
                let slower_by = if n == 0 { slower_by } else { 0.0 };
                pair(at_expiry(&mut dice, slower_by), at_expiry(&mut dice, 0.0))
            });
            let limit = limit(&pairs);
            pairs.iter().any(|pair| pair.slower(limit).is_some())
        });
        f64::from(u32::try_from(found.count()).unwrap()) / f64::from(CLIENTS)
    }

    #[test]
    fn limit_rarely_fails_equals_and_finds_a_slower_pair() {
        let (equals, slower) = (share_found(0.0), share_found(6.0));
        assert!((0.0..0.02).contains(&equals), "{equals}");
        assert!(slower > 0.94, "{slower}");
    }

    #[test]
    fn limit_ignores_a_pair_that_may_never_end() {
        let never = Pair { with: led([1.0; TRIES]), without: vec![Outcome::Led(1.0), Outcome::Never, Outcome::Never] };
        assert!((limit([&never]) - NEGLIGIBLE).abs() < 1e-9);
    }

    #[test]
    fn slower_takeovers_are_found() {
        let never = Outcome::Never;
        for (with, without, is_slower) in [
            (led([1.1, 2.0, 3.5]), led([14.0, 15.0, 17.0]), false),
            (led([15.0, 16.0, 20.0]), led([14.0, 15.0, 16.0]), false),
            (led([31.0, 32.0, 33.0]), led([14.7, 14.8, 15.0]), true),
            (led([17.8, 17.8, 17.8]), led([1.8, 2.0, 2.6]), true),
            // One in three is enough, if it is slow enough.
            (led([15.0, 15.0, 31.0]), led([14.7, 14.8, 15.0]), true),
            (vec![Outcome::Led(1.0), Outcome::Led(1.0), never], led([14.0, 15.0, 16.0]), true),
            (vec![never; TRIES], vec![never; TRIES], false),
            (vec![never; TRIES], vec![never, never, Outcome::Led(1.0)], false),
            (led([44.0; TRIES]), vec![never; TRIES], false),
        ] {
            let pair = Pair { with, without };
            assert_eq!(pair.slower(3.5).is_some(), is_slower, "{pair:?}");
        }
    }
}
