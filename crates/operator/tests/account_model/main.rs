//! Every order of events in small worlds, before the real engine: no live leader is cleared before its Lease expires.
//!
//! In the worlds, processes go by one name that comes again, such as a `StatefulSet` gives, or as the node has whose network
//! they use; there is one node, and it is ready. Two pods have the name one after the other, with three runs of their
//! containers in all. Any process of them may renew, release or take the Lease,
//! also one whose pod's object is gone, or whose end the runtime has made up. A run may end unseen: its kubelet reports at
//! once or later, and shows two runs at most.
//!
//! The leading operator and a standby are engines of their own. Once in each world the first is restarted or the standby
//! takes over. In the first world, also once, the leading operator stops, or its watch of pods is interrupted, and catches
//! up or lists again. In the second, another candidate leads before, and once in between.
//!
//! Bounds: one second, one invented end, and `ACCOUNT_DEPTH` steps in a row, [`DEPTH`] if it is not set. The Lease
//! lasts for fifteen seconds, so no expiry is reached, and every clear rests on proof. Within the bounds nothing is left
//! out, except that the standby sees everything at once, requests take no time, and a pod's phase is terminal only by a
//! report. A write of the status that is lost has the effect of an operator that stopped before the event.

#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod bounds;
mod model;
mod operators;
mod world;

use std::time::Instant;

use bounds::{Bounds, Events};
use model::Account;
use stateright::{Checker, HasDiscoveries, Model};
use world::{Holder, Naming};

/// How many steps in a row there are by default: under a minute as `make test` builds the model.
const DEPTH: usize = 5;

/// A pod leads from the beginning.
const ONE_TERM: Bounds =
    Bounds { pods: 2, runs: 3, events: Events { ticks: 1, invented: 1, releases: 0, others: 0, gaps: 1, leaders: 1 } };
/// Another candidate leads at first, and once more.
const SEVERAL_TERMS: Bounds =
    Bounds { events: Events { releases: 1, others: 1, gaps: 0, ..ONE_TERM.events }, ..ONE_TERM };

/// The same, and the watch of pods is interrupted before.
const NODE_NAME: Bounds = Bounds { events: Events { invented: 0, gaps: 1, ..SEVERAL_TERMS.events }, ..SEVERAL_TERMS };

#[test]
fn never_clears_live_leader_of_first_term() {
    check("one term", Account { bounds: ONE_TERM, naming: Naming::Pod, begins_with: Holder::Ours, depth: depth() });
}

#[test]
fn never_clears_live_leader_of_later_term() {
    let bounds = SEVERAL_TERMS;
    check("several terms", Account { bounds, naming: Naming::Pod, begins_with: Holder::Other, depth: depth() });
}

#[test]
fn never_clears_live_leader_that_goes_by_node() {
    let bounds = NODE_NAME;
    check("name of the node", Account { bounds, naming: Naming::Node, begins_with: Holder::Other, depth: depth() });
}

/// Checks every order; prints how many states there were, and one way to each state of interest.
fn check(name: &str, model: Account) {
    let began = Instant::now();
    let checker = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let [unique, total] = [checker.unique_state_count(), checker.state_count()];
    let seconds = began.elapsed().as_secs_f64();
    println!("{name}: {unique} unique states of {total}, {} steps, {seconds:.1} s", model.depth);
    for (name, path) in checker.discoveries() {
        println!("  {name}: {:?}", path.into_actions());
    }
    checker.assert_properties();
}

fn depth() -> usize {
    std::env::var("ACCOUNT_DEPTH").ok().and_then(|depth| depth.parse().ok()).unwrap_or(DEPTH)
}
