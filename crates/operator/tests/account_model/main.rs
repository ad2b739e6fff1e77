//! Every order of events in small worlds, before the real engine: no live leader is cleared before its Lease expires.

#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod bounds;
mod model;
mod operators;
mod world;

use std::time::Instant;

use bounds::Bounds;
use model::Account;
use stateright::{Checker, HasDiscoveries, Model};
use world::Holder;

/// Whichever pod ends, restarts, or is deleted in the first term.
const ONE_TERM: Bounds =
    Bounds { pods: 2, runs: 3, ticks: 1, invented: 1, releases: 0, others: 0, gaps: 1, leaders: 1 };
/// Other candidates lead in between.
const SEVERAL_TERMS: Bounds = Bounds { releases: 1, others: 1, gaps: 0, ..ONE_TERM };

fn check(name: &str, bounds: Bounds, begins_with: Holder, depth: usize) {
    let depth = std::env::var("ACCOUNT_DEPTH").ok().and_then(|d| d.parse().ok()).unwrap_or(depth);
    let began = Instant::now();
    let checker = Account { bounds, begins_with }
        .checker()
        .threads(2)
        .target_max_depth(depth)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    println!(
        "{name}: {} unique states of {}, {} deep, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64()
    );
    for (name, path) in checker.discoveries() {
        println!("  {name}: {:?}", path.into_actions());
    }
    checker.assert_properties();
}

#[test]
fn never_clears_live_leader_of_first_term() {
    check("one term", ONE_TERM, Holder::Ours, 6);
}

#[test]
fn never_clears_live_leader_of_later_term() {
    check("several terms", SEVERAL_TERMS, Holder::Other, 6);
}
