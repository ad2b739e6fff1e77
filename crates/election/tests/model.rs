//! Every order of events in small worlds: never do two lead at once, and there is always a way to the next leader.
//!
//! The bounds of each world are those of its test. Within them nothing is left out, and time has no end: requests and
//! answers are delayed at will and delivered out of order, processes stop for any time. What else may happen, how
//! often, and what that rests on is said at each test.

#![allow(missing_docs)]

mod support;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use leadergroup_election::Timing;
use stateright::{Checker, HasDiscoveries, Model, Property};
use support::bounds::{Bounds, Budget, Lie, Operator, calm};
use support::world::{Action, LIVE_CLEARED, TOKEN_FELL, TWO_LEAD, World};

struct Worlds {
    bounds: Bounds,
    /// One in so many worlds is played on without faults.
    sample: u64,
}

impl Model for Worlds {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.bounds)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        world.actions(&self.bounds, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.apply(&self.bounds, action);
        next.forget(&self.bounds);
        // A wake that changes nothing is no step.
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one leads at most", |_, world: &World| world.violation != Some(TWO_LEAD)),
            Property::always("no live holder is cleared", |_, world: &World| world.violation != Some(LIVE_CLEARED)),
            Property::always("tokens grow", |_, world: &World| world.violation != Some(TOKEN_FELL)),
            Property::always("nothing else goes wrong", |_, world: &World| {
                world.violation.is_none_or(|v| [TWO_LEAD, LIVE_CLEARED, TOKEN_FELL].contains(&v))
            }),
            Property::always("without faults somebody leads again", |model: &Self, world: &World| {
                let mut hasher = DefaultHasher::new();
                world.hash(&mut hasher);
                let chosen = hasher.finish().is_multiple_of(model.sample);
                !chosen || !world.can_be_led() || world.clone().settle(&model.bounds).is_none()
            }),
            Property::sometimes("another leads later", |_, world: &World| world.succeeded),
        ]
    }
}

/// 3 s, 2 s, 1 s, the shortest timing of whole ticks that keeps client-go's rule.
fn smallest() -> Timing {
    let second = Duration::from_secs(1);
    Timing::new(3 * second, 2 * second, second).expect("a good timing")
}

fn bounds(candidates: usize, most: Budget) -> Bounds {
    Bounds { most, ..calm(candidates, smallest(), Duration::from_secs(1)) }
}

fn check(bounds: Bounds, sample: u64, until: HasDiscoveries) -> impl Checker<Worlds> {
    Worlds { bounds, sample }.checker().threads(2).finish_when(until).spawn_bfs().join()
}

/// Checks every order; prints how many worlds there were.
fn all_is_well(what: &str, bounds: Bounds, sample: u64) {
    let began = Instant::now();
    let checker = check(bounds, sample, HasDiscoveries::AnyFailures);
    let took = began.elapsed().as_secs_f64();
    println!("{what}: {} worlds, {} deep, {took:.1} s", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
}

/// Any number of takeovers in endless time: messages delayed, lost, and delivered twice, and processes that stop, all of
/// them as often as they like. Watches bring the Lease as it is.
#[test]
fn two_candidates_in_endless_time() {
    all_is_well("two candidates, endless", bounds(2, Budget::default()), 100);
}

/// So many seconds, and what else may happen in them.
fn within(ticks: u32, candidates: usize, most: Budget) -> Bounds {
    Bounds { ticks, ..bounds(candidates, most) }
}

/// One kill, one restart under the same identity, and an operator that clears the dead, at any time after it judged.
#[test]
fn a_kill_a_restart_and_the_operator_within_3_seconds() {
    let most = Budget { kills: 1, restarts: 1, ..Budget::default() };
    let bounds = Bounds { operator: Operator::Clears, ..within(3, 2, most) };
    all_is_well("two candidates, 3 s, a kill, a restart, clears", bounds, 400);
}

/// A clock may lose one second in three, which is what the smallest timing bears.
#[test]
fn clocks_drift_within_4_seconds() {
    let bounds = Bounds { slips_each: Some(3), ..within(4, 2, Budget::default()) };
    all_is_well("two candidates, 4 s, clocks that lose a third", bounds, 400);
}

#[test]
fn a_resignation_and_a_step_down_within_2_seconds() {
    let most = Budget { resignations: 1, step_downs: 1, ..Budget::default() };
    all_is_well("two candidates, 2 s, a resignation, a step-down", within(2, 2, most), 400);
}

/// The API server refuses, or does not tell whether it did; a watch breaks, and is opened again at any time.
#[test]
fn a_failure_and_a_broken_watch_within_3_seconds() {
    let most = Budget { failures: 1, breaks: 1, ..Budget::default() };
    all_is_well("two candidates, 3 s, a failure, a broken watch", within(3, 2, most), 400);
}

/// Watches that lag two versions behind, and somebody who changes the Lease without moving it.
#[test]
fn late_watches_and_a_touch_within_3_seconds() {
    let bounds = Bounds { lag: 2, ..within(3, 2, Budget { touches: 1, ..Budget::default() }) };
    all_is_well("two candidates, 3 s, late watches, a touch", bounds, 400);
}

/// A kill and the operator make a second leader within that time.
#[test]
fn three_candidates_a_kill_and_the_operator_within_1_second() {
    let most = Budget { kills: 1, ..Budget::default() };
    let bounds = Bounds { operator: Operator::Clears, ..within(1, 3, most) };
    all_is_well("three candidates, 1 s, a kill, clears", bounds, 400);
}

/// Whether all orders of a world with a lie in it show what it breaks.
fn is_caught(bounds: Bounds, how: &'static str) {
    let sample = if how == AGAIN { 1 } else { u64::MAX };
    let checker = check(bounds, sample, HasDiscoveries::AnyOf([how].into()));
    assert!(checker.discovery(how).is_some(), "not found in {} worlds", checker.unique_state_count());
}

fn lying(lie: Lie, most: Budget) -> Bounds {
    Bounds { lie, ticks: 5, ..bounds(2, most) }
}

const ONE: &str = "one leads at most";
const NO_CLEAR: &str = "no live holder is cleared";
const AGAIN: &str = "without faults somebody leads again";

#[test]
fn a_write_that_names_no_version_is_caught() {
    is_caught(lying(Lie::NoPrecondition, Budget::default()), ONE);
}

#[test]
fn a_clock_that_stops_with_its_process_is_caught() {
    is_caught(lying(Lie::ClockStops, Budget::default()), ONE);
}

/// One tick in two, where one in three is what the smallest timing bears.
#[test]
fn clocks_that_run_too_far_apart_are_caught() {
    is_caught(Bounds { slips_each: Some(2), ..lying(Lie::None, Budget::default()) }, ONE);
}

#[test]
fn a_standby_that_does_not_wait_long_enough_is_caught() {
    is_caught(lying(Lie::Impatient, Budget::default()), ONE);
}

#[test]
fn an_operator_that_clears_the_living_is_caught() {
    is_caught(Bounds { operator: Operator::Clears, ..lying(Lie::ClearsTheLiving, Budget::default()) }, NO_CLEAR);
}

#[test]
fn an_operator_that_clears_another_version_than_it_judged_is_caught() {
    let most = Budget { kills: 1, restarts: 1, ..Budget::default() };
    is_caught(Bounds { operator: Operator::Clears, ..lying(Lie::ClearsAnyVersion, most) }, NO_CLEAR);
}

#[test]
fn a_token_that_does_not_grow_is_caught() {
    is_caught(lying(Lie::TokenIsTransitions, Budget { resignations: 1, ..Budget::default() }), "tokens grow");
}

#[test]
fn a_candidate_that_gives_up_is_caught() {
    is_caught(lying(Lie::GivesUp, Budget::default()), AGAIN);
}

#[test]
fn a_standby_that_polls_is_caught() {
    is_caught(lying(Lie::Polls, Budget::default()), AGAIN);
}
