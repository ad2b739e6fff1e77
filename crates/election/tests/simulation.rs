//! Long random histories of larger worlds, with every fault mixed in: never do two lead at once, and once the faults
//! stop, somebody leads, for as long as nothing fails, and nobody else asks for anything.
//!
//! `ELECTION_HISTORIES` says how many; a failure prints the seed, and `ELECTION_SEED` plays one again and tells it.

#![allow(missing_docs)]

mod support;

use std::thread;
use std::time::{Duration, Instant};

use leadergroup_election::Timing;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use support::bounds::{Bounds, Budget, Lie, Operator};
use support::settle::{NOBODY_LEADS, STANDBYS_ASK};
use support::world::{Action, LIVE_CLEARED, TAKEN_TOO_EARLY, TOKEN_FELL, TWO_LEAD, Tally, World};

fn timing((lease_duration, renew_deadline, retry_period): (u64, u64, u64)) -> Timing {
    let seconds = Duration::from_secs;
    Timing::new(seconds(lease_duration), seconds(renew_deadline), seconds(retry_period)).expect("a good timing")
}

/// Of one history, what its seed decides.
fn bounds(dice: &mut SmallRng, lie: Lie) -> Bounds {
    let timings = [(15, 10, 2), (6, 4, 2), (6, 4, 1)].map(timing);
    let mut most = |times: u32| if dice.random_bool(0.5) { dice.random_range(0..=times) } else { 0 };
    let most = Budget {
        losses: most(8),
        duplicates: most(3),
        failures: most(8),
        breaks: most(4),
        pauses: most(4),
        kills: most(3),
        restarts: most(4),
        resignations: most(2),
        step_downs: most(3),
        touches: most(4),
        vandalisms: most(2),
    };
    Bounds {
        candidates: *[2, 2, 3, 3, 4, 11].choose(dice).expect("one of them"),
        foreign: *[0, 0, 0, 1, 2].choose(dice).expect("one of them"),
        tick: Duration::from_millis(500),
        ticks: 150,
        remembers: true,
        timing: *timings.choose(dice).expect("one of them"),
        timings: if dice.random_bool(0.5) { timings.to_vec() } else { Vec::new() },
        lag: usize::MAX,
        // The lease durations are one and a half times the renew deadlines.
        slips_each: dice.random_bool(0.5).then_some(3),
        most,
        operator: *[Operator::Absent, Operator::Clears, Operator::Deletes].choose(dice).expect("one of them"),
        lie,
    }
}

/// Messages move faster than time, and faults are rare.
fn weight(action: &Action) -> f32 {
    match action {
        Action::Tick(None) => 6.0,
        Action::Wake(_) | Action::Watch(_) | Action::Serve(_) | Action::Answer(_, false) | Action::Foreign(_) => 4.0,
        Action::Clear | Action::Judge | Action::Obey(_) => 2.0,
        Action::Tick(Some(_)) | Action::Restart(_) | Action::Reconnect(_) => 0.5,
        Action::Resume(_) => 0.1,
        _ => 0.03,
    }
}

struct Ending {
    violation: Option<&'static str>,
    tally: Tally,
    spent: Budget,
}

/// Plays the history of a seed, and tells it, if asked to.
fn play(seed: u64, lie: Lie, told: bool) -> Ending {
    let mut dice = SmallRng::seed_from_u64(seed);
    let bounds = bounds(&mut dice, lie);
    play_in(&bounds, &mut dice, told)
}

fn play_in(bounds: &Bounds, dice: &mut SmallRng, told: bool) -> Ending {
    let mut world = World::new(bounds);
    let mut actions = Vec::new();
    for _ in 0..500 {
        actions.clear();
        world.actions(bounds, &mut actions);
        let Ok(action) = actions.choose_weighted(dice, weight) else { break };
        if told {
            println!("{:5.1} s  {action:?}", bounds.tick.as_secs_f64() * f64::from(world.now));
        }
        world.apply(bounds, *action);
    }
    if told {
        println!("then nothing fails any more\n{bounds:?}\n{world:#?}");
    }
    let (tally, spent) = (world.tally.clone(), world.spent.clone());
    if world.violation.is_none() && world.can_be_led() {
        world.violation = world.settle(bounds);
    }
    Ending { violation: world.violation, tally, spent }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[derive(Default)]
struct Sum {
    terms: u64,
    successions: u64,
    losses: u64,
    clears: u64,
    foreign_terms: u64,
    lost: u64,
    failed: u64,
    pauses: u64,
    kills: u64,
    touches: u64,
    vandalisms: u64,
}

impl Sum {
    fn add(&mut self, Ending { tally, spent, .. }: &Ending) {
        let pairs = [
            (&mut self.terms, tally.terms),
            (&mut self.successions, tally.successions),
            (&mut self.losses, tally.losses),
            (&mut self.clears, tally.clears),
            (&mut self.foreign_terms, tally.foreign_terms),
            (&mut self.lost, spent.losses),
            (&mut self.failed, spent.failures),
            (&mut self.pauses, spent.pauses),
            (&mut self.kills, spent.kills),
            (&mut self.touches, spent.touches),
            (&mut self.vandalisms, spent.vandalisms),
        ];
        for (sum, one) in pairs {
            *sum += u64::from(one);
        }
    }

    fn each(&mut self) -> [(&'static str, u64); 11] {
        [
            ("terms of our candidates", self.terms),
            ("takeovers among them", self.successions),
            ("terms lost", self.losses),
            ("clears by the operator", self.clears),
            ("terms of client-go's candidates", self.foreign_terms),
            ("messages lost", self.lost),
            ("requests that failed", self.failed),
            ("pauses", self.pauses),
            ("kills", self.kills),
            ("touches, other timings and hints", self.touches),
            ("deletions and absurd records", self.vandalisms),
        ]
    }
}

fn play_all(seeds: impl Iterator<Item = u64>) -> Sum {
    let mut sum = Sum::default();
    for seed in seeds {
        let ending = play(seed, Lie::None, number("ELECTION_SEED").is_some());
        assert_eq!(ending.violation, None, "play it again with ELECTION_SEED={seed}");
        sum.add(&ending);
    }
    sum
}

#[test]
fn random_histories_go_well() {
    let began = Instant::now();
    let seeds = match number("ELECTION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ELECTION_HISTORIES").unwrap_or(10_000),
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let parts: Vec<_> = (0..threads)
        .map(|part| {
            let seeds = seeds.clone();
            thread::spawn(move || play_all(seeds.skip(part).step_by(threads)))
        })
        .collect();
    let mut sums: Vec<Sum> =
        parts.into_iter().map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect();
    println!("{} histories in {:.1} s", seeds.end - seeds.start, began.elapsed().as_secs_f64());
    for k in 0..11 {
        let (name, count) = (sums[0].each()[k].0, sums.iter_mut().map(|sum| sum.each()[k].1).sum::<u64>());
        println!("{count:10} {name}");
        assert!(count > 0 || seeds.end - seeds.start < 10_000, "no {name}: the histories try less than they should");
    }
}

/// Whether the lie makes one of the first histories end that badly.
fn ends_badly(lie: Lie, how: &str) {
    let found = (0..10_000).find(|seed| {
        let mut dice = SmallRng::seed_from_u64(*seed);
        // Else a takeover that comes too early would end each history before two lead.
        let bounds = Bounds { remembers: how == TAKEN_TOO_EARLY, ..bounds(&mut dice, lie) };
        play_in(&bounds, &mut dice, false).violation == Some(how)
    });
    assert!(found.is_some(), "{lie:?} goes unnoticed");
}

#[test]
fn a_write_that_names_no_version_is_caught() {
    ends_badly(Lie::NoPrecondition, TWO_LEAD);
}

#[test]
fn a_clock_that_stops_with_its_process_is_caught() {
    ends_badly(Lie::ClockStops, TWO_LEAD);
}

#[test]
fn a_term_that_counts_from_the_answer_is_caught() {
    ends_badly(Lie::CountsFromAnswer, TWO_LEAD);
}

#[test]
fn a_standby_that_does_not_wait_long_enough_is_caught() {
    ends_badly(Lie::Impatient, TWO_LEAD);
    ends_badly(Lie::Impatient, TAKEN_TOO_EARLY);
}

#[test]
fn an_answer_taken_for_another_is_caught() {
    ends_badly(Lie::MixedUp, TWO_LEAD);
}

#[test]
fn an_operator_that_clears_the_living_is_caught() {
    ends_badly(Lie::ClearsTheLiving, LIVE_CLEARED);
}

#[test]
fn an_operator_that_clears_another_version_than_it_judged_is_caught() {
    ends_badly(Lie::ClearsAnyVersion, LIVE_CLEARED);
}

#[test]
fn a_token_that_does_not_grow_is_caught() {
    ends_badly(Lie::TokenIsTransitions, TOKEN_FELL);
}

#[test]
fn a_candidate_that_gives_up_is_caught() {
    ends_badly(Lie::GivesUp, NOBODY_LEADS);
}

#[test]
fn a_standby_that_polls_is_caught() {
    ends_badly(Lie::Polls, STANDBYS_ASK);
}
