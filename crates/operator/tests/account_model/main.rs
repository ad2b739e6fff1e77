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

#[test]
fn never_clears_live_leader_in_any_order() {
    let depth = std::env::var("ACCOUNT_DEPTH").ok().and_then(|depth| depth.parse().ok()).unwrap_or(5);
    let bounds = Bounds { pods: 2, runs: 3, ticks: 3, invented: 1, releases: 1, others: 1, gaps: 1, leaders: 1 };
    let began = Instant::now();
    let checker = Account { bounds }
        .checker()
        .threads(2)
        .target_max_depth(depth)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    println!(
        "{} unique states of {}, {} deep, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64()
    );
    for (name, path) in checker.discoveries() {
        println!("{name}: {:?}", path.into_actions());
    }
    checker.assert_properties();
}
