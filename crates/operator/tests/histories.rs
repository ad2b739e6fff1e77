//! Random true histories of a cluster, told to the operator late, twice or never: it must not clear a live leader
//! before its Lease ran out, whatever the order.
//!
//! Not part of a history:
//! - a risk the user accepted, or an administrator's false word on a node;
//! - clocks that step by less than five seconds while watches are late: the evidence can't tell a clock that was set back
//!   from a late arrival, so a watch that catches up hides as much of a step;
//! - some restarts of the operator where pods share identities, which lose what only the old one knew (see
//!   [`support::sim::Sim::step`]).

#![allow(missing_docs)]

mod support;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;
use support::api::Kind;
use support::sim::{Lie, Sim, Step};
use support::world::World;

#[derive(Clone, Debug)]
struct History {
    seed: u64,
    containers: usize,
    with_uid: bool,
    keep: bool,
    routes: bool,
    steps: Vec<(u64, Step)>,
}

fn a_history() -> impl Strategy<Value = History> {
    let steps = any::<bool>().prop_flat_map(|late| prop::collection::vec((0_u64..4_000, a_step(late)), 5..40));
    let choices = (any::<bool>(), any::<bool>(), any::<bool>());
    (any::<u64>(), 1_usize..3, choices, steps).prop_map(|(seed, containers, (with_uid, keep, routes), steps)| History {
        seed,
        containers,
        with_uid,
        keep,
        routes,
        steps,
    })
}

/// One step, of a history with late watches or of one with small errors of clocks.
fn a_step(late: bool) -> impl Strategy<Value = Step> {
    let slot = 0_usize..3;
    let kind = prop::sample::select(Kind::ALL.to_vec());
    let small = if late { 0_i64..1 } else { -5_000..5_001 };
    let clock = prop_oneof![3 => small, 1 => 5_000_i64..3_600_000, 1 => -3_600_000_i64..-5_000];
    let lag = if late { 20_u64..3_000 } else { 20..51 };
    prop_oneof![
        24 => (slot.clone(), prop::option::of(0_usize..2)).prop_map(|(s, c)| Step::Crash(s, c)),
        8 => slot.clone().prop_map(Step::Finish),
        12 => slot.clone().prop_map(Step::Delete),
        6 => slot.clone().prop_map(Step::Force),
        1 => slot.clone().prop_map(Step::Collect),
        6 => (slot.clone(), 500_u64..20_000).prop_map(|(s, ms)| Step::Freeze(s, ms)),
        4 => (slot.clone(), prop::bool::weighted(0.75)).prop_map(|(n, up)| Step::Kubelet(n, up)),
        2 => (slot.clone(), prop::bool::weighted(0.75)).prop_map(|(n, ready)| Step::Ready(n, ready)),
        1 => slot.clone().prop_map(Step::Die),
        4 => (slot.clone(), clock).prop_map(|(n, ahead)| Step::Clock(n, ahead)),
        6 => (slot, 50_u64..3_000).prop_map(|(n, ms)| Step::ReportDelay(n, ms)),
        10 => (kind.clone(), prop_oneof![Just(20_u64), lag]).prop_map(|(k, ms)| Step::Lag(k, ms)),
        4 => kind.prop_map(Step::Relist),
        1 => (1_u32..3).prop_map(Step::LoseAnswers),
        1 => (1_u32..3).prop_map(Step::LoseRequests),
        2 => Just(Step::Restart),
        6 => prop_oneof![Just(0_u64), 0_u64..20_000].prop_map(Step::Failover),
    ]
}

/// How a history of two operators ended.
struct Played {
    /// The live leaders that were cleared in it, and traffic that goes astray though nothing happens any more.
    violations: Vec<String>,
    early_clears: usize,
}

fn play(history: &History, lie: Lie) -> Played {
    let mut spec = json!({"staleHolder": {"onRestart": if history.keep { "Keep" } else { "Clear" }}});
    if history.routes {
        spec["routing"] = json!({"service": {"ports": [{"port": 80}]}});
    }
    if history.with_uid {
        spec["identity"] = json!("{pod}_{uid}_{any}");
    }
    let world = World::new(history.seed, history.containers, history.with_uid, support::group(&spec));
    let mut sim = Sim::new(world, lie);
    sim.run(12_000);
    for (pause, step) in &history.steps {
        sim.run(*pause);
        sim.step(*step);
    }
    sim.run(20_000);
    // The longest that anything which happened before goes on: a freeze, and requests that arrive late.
    if history.routes
        && !(0..60).any(|_| {
            sim.run(1_000);
            sim.misrouted().is_none()
        })
    {
        sim.world.violations.extend(sim.misrouted());
    }
    Played { violations: sim.world.violations, early_clears: sim.world.early_clears }
}

proptest! {
    #![proptest_config(Config { cases: cases(), ..Config::default() })]

    #[test]
    fn no_live_leader_is_cleared_before_its_lease_ran_out_and_traffic_finds_the_leader(history in a_history()) {
        let violations = play(&history, Lie::None).violations;
        prop_assert!(violations.is_empty(), "{}", violations.join("\n"));
    }

    #[test]
    fn nor_is_one_by_an_operator_that_may_not_read_nodes(history in a_history()) {
        let violations = play(&history, Lie::NodesHidden).violations;
        prop_assert!(violations.is_empty(), "{}", violations.join("\n"));
    }
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(200)
}

/// Plays the same histories each time until one ends badly that ends well without the lie.
fn is_caught(lie: Lie) -> bool {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    (0..1_000).any(|_| {
        let history = a_history().new_tree(&mut runner).unwrap().current();
        !play(&history, lie).violations.is_empty() && play(&history, Lie::None).violations.is_empty()
    })
}

#[test]
fn histories_contain_early_clears() {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let histories: Vec<_> = (0..20).map(|_| a_history().new_tree(&mut runner).unwrap().current()).collect();
    let [early, without_nodes] = [Lie::None, Lie::NodesHidden]
        .map(|lie| histories.iter().map(|history| play(history, lie).early_clears).sum::<usize>());
    assert!(early >= 20, "{early} in 20 histories");
    assert!((10..early).contains(&without_nodes), "{without_nodes} without nodes, {early} with them");
}

#[test]
fn taking_every_deletion_for_an_end_would_be_noticed() {
    assert!(is_caught(Lie::DeletionIsAnEnd));
}

#[test]
fn reading_ends_too_late_would_be_noticed() {
    assert!(is_caught(Lie::EndsLater));
}

#[test]
fn clearing_another_version_than_the_judged_one_would_be_noticed() {
    assert!(is_caught(Lie::AnyVersion));
}
