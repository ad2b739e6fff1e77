//! Plays histories.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::generate::History;
use crate::lies::Occurrences;
use crate::sim::{Sim, View};
use crate::world::World;

/// How a history of two operators ended.
#[derive(Default)]
pub struct Played {
    /// The live leaders that were cleared in it, and traffic that goes astray though nothing happens any more.
    pub violations: Vec<String>,
    pub early_clears: usize,
    pub traps: usize,
    pub occurrences: Occurrences,
}

pub fn play(history: &History, view: View) -> Played {
    let mut sim = Sim::new(World::new(history.setup), view);
    sim.run(8_000);
    for (pause, step) in &history.steps {
        sim.run(*pause);
        sim.step(*step);
    }
    sim.run(16_000);
    if history.setup.routes && history.lies.is_empty() {
        await_routes(&mut sim);
    }
    let World { violations, early_clears, traps, occurrences, .. } = sim.world;
    Played { violations, early_clears, traps, occurrences }
}

/// Waits until traffic finds the leader, for as long as anything that happened before goes on: a freeze, and requests
/// that arrive late.
fn await_routes(sim: &mut Sim) {
    let finds_it = |_| {
        sim.run(1_000);
        sim.misrouted().is_none()
    };
    if !(0..60).any(finds_it) {
        sim.world.violations.extend(sim.misrouted());
    }
}

/// The history of that number, the same each time.
pub fn numbered(number: usize, histories: &impl Strategy<Value = History>) -> History {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&(number as u64 + 1).to_le_bytes());
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    histories.new_tree(&mut runner).expect("a history").current()
}

/// After how many histories a search says how far it is.
const PROGRESS: usize = 50_000;

/// The number of the first history that ends badly, by a violation or a panic, among so many.
pub fn first_violation(max: usize, history: impl Fn(usize) -> (History, View) + Sync) -> Option<usize> {
    let (next, first) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
    let search = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= max.min(first.load(Ordering::Relaxed)) {
                return;
            }
            if number > 0 && number.is_multiple_of(PROGRESS) {
                println!("{number} histories begun");
            }
            let (history, view) = history(number);
            let played = catch_unwind(AssertUnwindSafe(|| play(&history, view).violations));
            if played.is_ok_and(|violations| violations.is_empty()) {
                continue;
            }
            first.fetch_min(number, Ordering::Relaxed);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(search))));
    Some(first.into_inner()).filter(|number| *number != usize::MAX)
}
