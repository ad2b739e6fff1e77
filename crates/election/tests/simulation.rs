//! Long random histories of larger worlds, with every fault mixed in: never do two lead at once, and once the faults
//! stop, somebody leads.
//!
//! `ELECTION_HISTORIES` says how many; a failure prints the seed, and `ELECTION_SEED` plays one again.

#![allow(missing_docs)]

mod support;

use std::time::Duration;

use leadergroup_election::Timing;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use support::world::{Action, Bounds, Lie, Operator, World};

/// Of one history, what its seed decides.
fn bounds(dice: &mut SmallRng, lie: Lie) -> Bounds {
    let seconds = |n: u64| Duration::from_secs(n);
    let timing = *[(15, 10, 2), (6, 4, 2), (5, 3, 1)].choose(dice).expect("one of them");
    let timing = Timing::new(seconds(timing.0), seconds(timing.1), seconds(timing.2)).expect("a good timing");
    let tick = Duration::from_millis(500);
    // Less than lease duration and renew deadline are apart.
    let apart = (timing.lease_duration() - timing.renew_deadline()).as_millis() / tick.as_millis();
    let most_slow = u32::try_from(apart).expect("a few");
    Bounds {
        candidates: dice.random_range(2..=4),
        tick,
        ticks: 120,
        timing,
        losses: dice.random_range(0..8),
        duplicates: dice.random_range(0..3),
        relists: dice.random_range(0..4),
        kills: dice.random_range(0..4),
        restarts: dice.random_range(0..4),
        resignations: dice.random_range(0..2),
        step_downs: dice.random_range(0..3),
        touches: dice.random_range(0..3),
        slow_ticks: dice.random_range(0..=most_slow),
        operator: *[Operator::Absent, Operator::Clears, Operator::Deletes].choose(dice).expect("one of them"),
        lie,
    }
}

struct Ending {
    violation: Option<&'static str>,
    terms: usize,
    cleared: bool,
}

/// Plays the history of a seed.
fn play(seed: u64, lie: Lie) -> Ending {
    let mut dice = SmallRng::seed_from_u64(seed);
    let bounds = bounds(&mut dice, lie);
    let mut world = World::new(&bounds);
    let mut actions = Vec::new();
    for _ in 0..400 {
        actions.clear();
        world.actions(&bounds, &mut actions);
        // Messages move faster than time, and faults are rare.
        let weight = |action: &Action| match action {
            Action::Tick(None) => 6.0,
            Action::Wake(_) | Action::Watch(_) | Action::Serve(_) | Action::Answer(_, false) => 4.0,
            Action::Clear | Action::Judge => 2.0,
            Action::Restart(_) => 0.5,
            _ => 0.05,
        };
        let Ok(action) = actions.choose_weighted(&mut dice, weight) else { break };
        world.apply(&bounds, *action);
    }
    if world.violation.is_none() {
        let left = world.processes.iter().filter(|process| process.alive).count();
        // One that resigned may have been all there was.
        let patience =
            2 * u32::try_from(bounds.timing.lease_duration().as_millis() / bounds.tick.as_millis()).expect("few");
        let resigned = usize::try_from(bounds.resignations).expect("few");
        if left > resigned && world.settle(&bounds, patience).is_none() {
            world.violation = Some("nobody leads although nothing fails any more");
        }
    }
    Ending { violation: world.violation, terms: world.terms.len(), cleared: world.cleared }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn random_histories_go_well() {
    let seeds = match number("ELECTION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ELECTION_HISTORIES").unwrap_or(10_000),
    };
    let (count, mut terms, mut clears) = (seeds.end - seeds.start, 0, 0);
    for seed in seeds {
        let ending = play(seed, Lie::None);
        assert_eq!(ending.violation, None, "play it again with ELECTION_SEED={seed}");
        terms += ending.terms;
        clears += usize::from(ending.cleared);
    }
    println!("{count} histories, {terms} terms, {clears} of them with a clear");
}

/// Whether the lie makes one of the first histories end that badly.
fn ends_badly(lie: Lie, how: &str) {
    let found = (0..3_000).find(|seed| play(*seed, lie).violation == Some(how));
    assert!(found.is_some(), "{lie:?} goes unnoticed");
}

#[test]
fn a_write_that_names_no_version_is_caught() {
    ends_badly(Lie::NoPrecondition, "two lead at once");
}

#[test]
fn a_clock_that_stops_with_its_process_is_caught() {
    ends_badly(Lie::ClockStops, "two lead at once");
}

#[test]
fn a_term_that_counts_from_the_answer_is_caught() {
    ends_badly(Lie::CountsFromAnswer, "two lead at once");
}

#[test]
fn a_standby_that_does_not_wait_long_enough_is_caught() {
    ends_badly(Lie::Impatient, "two lead at once");
}

#[test]
fn an_answer_taken_for_another_is_caught() {
    ends_badly(Lie::MixedUp, "two lead at once");
}

#[test]
fn an_operator_that_clears_the_living_is_caught() {
    ends_badly(Lie::ClearsTheLiving, "a live leader was cleared");
}

#[test]
fn an_operator_that_clears_another_version_than_it_judged_is_caught() {
    ends_badly(Lie::ClearsAnyVersion, "a live leader was cleared");
}

#[test]
fn a_token_that_does_not_grow_is_caught() {
    ends_badly(Lie::TokenIsTransitions, "a term's token is not larger than those before it");
}

#[test]
fn a_candidate_that_gives_up_is_caught() {
    ends_badly(Lie::GivesUp, "nobody leads although nothing fails any more");
}
