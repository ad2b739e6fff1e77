//! Random true histories of a cluster, reported to the operator late, twice, never, or as what is not so: it must not
//! clear a live leader before its Lease ran out, whatever the order.
//!
//! Not part of a history:
//! - a risk the user accepted, or an administrator's false word on a node;
//! - clocks that step by less than five seconds while watches are late: the evidence can't tell a clock that was set back
//!   from a late arrival, so a watch that catches up hides as much of a step;
//! - versions that are used twice after a restore: optimistic concurrency can't bear them;
//! - operators that start before a former one has noted that the storage was restored;
//! - leaders whose host name is a name that the API server generated for another pod: only who wants to be mistaken for
//!   another has one, and harms nobody else;
//! - machines that only their nodes tell apart from others, where the operator may not read nodes;
//! - processes that outlived their pods before the group was created, and take the Lease under another's name after, if no
//!   operator knows the account of a former group.

#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod generate;
mod lies;
mod play;
mod scenes;
mod sim;
mod world;

use std::panic::catch_unwind;

use generate::{History, history_of, history_without};
use lies::Lie;
use play::{first_violation, numbered, play};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use sim::{Mutation, View};

const VISIBLE: View = View { nodes_hidden: false, mutation: None };
const HIDDEN: View = View { nodes_hidden: true, mutation: None };

/// How many shorter histories are tried once one has ended badly.
const MAX_SHRINK_ITERS: u32 = 1_000;

/// Lies that look like the truth to an operator that may not read nodes.
const ONLY_NODES_TELL: [Lie; 1] = [Lie::NodeReplaced];

proptest! {
    #![proptest_config(Config {
        cases: cases(),
        max_shrink_iters: MAX_SHRINK_ITERS,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(number("HISTORIES_SEED").unwrap_or_default() as u64),
        ..Config::default()
    })]

    #[test]
    fn never_clears_live_leader_and_traffic_finds_leader(history in history_without(&[])) {
        let violations = play(&history, VISIBLE).violations;
        prop_assert!(violations.is_empty(), "{}", violations.join("\n"));
    }

    #[test]
    fn never_clears_live_leader_without_nodes(history in history_without(&ONLY_NODES_TELL)) {
        let violations = play(&history, HIDDEN).violations;
        prop_assert!(violations.is_empty(), "{}", violations.join("\n"));
    }
}

/// The number of histories of each test above. `HISTORIES` is that of both.
fn cases() -> u32 {
    number("HISTORIES").map_or(200, |both| u32::try_from(both / 2).unwrap_or(u32::MAX))
}

/// Whether a history ends badly with the mutation that ends well without it.
fn is_caught(mutation: Mutation) -> bool {
    let view = View { mutation: Some(mutation), ..VISIBLE };
    (0..1_000).any(|number| {
        let history = numbered(number, &history_of(&[]));
        !play(&history, view).violations.is_empty() && play(&history, VISIBLE).violations.is_empty()
    })
}

#[test]
fn histories_contain_early_clears() {
    let histories: Vec<_> = (0..160).map(|number| numbered(number, &history_without(&ONLY_NODES_TELL))).collect();
    let [early, without_nodes] =
        [VISIBLE, HIDDEN].map(|view| histories.iter().map(|history| play(history, view).early_clears).sum::<usize>());
    assert!(early >= 120, "{early} in 160 histories");
    assert!((40..early).contains(&without_nodes), "{without_nodes} without nodes, {early} with them");
}

#[test]
fn histories_contain_every_lie() {
    for lie in Lie::ALL {
        let told: usize = (0..5).map(|n| play(&numbered(n, &history_of(&[lie])), VISIBLE).occurrences.of(lie)).sum();
        assert!(told >= 2, "{lie:?} occurred {told} times in 5 histories");
    }
}

#[test]
fn notices_when_deletion_counts_as_end() {
    assert!(is_caught(Mutation::DeletionIsAnEnd));
}

#[test]
fn notices_when_ends_are_read_too_late() {
    assert!(is_caught(Mutation::EndsLater));
}

#[test]
fn notices_when_another_version_is_cleared() {
    assert!(is_caught(Mutation::AnyVersion));
}

/// Prints for each lie how many histories that tell only that one are played until one ends badly; and how often it
/// occurs in each of a hundred, how often a pod ends while a process of the same identity leads, and early clears.
///
/// `HISTORIES` is the maximum for each.
#[test]
#[ignore = "prints a table"]
fn first_violation_of_each_lie() {
    let max = number("HISTORIES").unwrap_or(2_000);
    std::panic::set_hook(Box::new(|_| ()));
    println!("lie               first violation  occurrences        traps early clears");
    let lies = Lie::ALL.iter().map(|lie| (format!("{lie:?}"), Some(*lie))).chain([("none".to_owned(), None)]);
    for (name, lie) in lies {
        let lies = Vec::from_iter(lie);
        let history = |at| numbered(at, &history_of(&lies));
        let found = first_violation(max, |at| (history(at), VISIBLE));
        let found = found.map_or_else(|| format!("none in {max}"), |at| (at + 1).to_string());
        let played = (0..100).filter_map(|at| catch_unwind(|| play(&history(at), VISIBLE)).ok());
        let mut sums = [0; 3];
        for played in played {
            let told = lie.map_or(0, |lie| played.occurrences.of(lie));
            sums = [sums[0] + told, sums[1] + played.traps, sums[2] + played.early_clears];
        }
        let [occurrences, traps, clears] = sums.map(percent);
        println!("{name:<16} {found:>16} {occurrences:>12} {traps:>12} {clears:>12}");
    }
}

fn percent(count: usize) -> String {
    format!("{}.{:02}", count / 100, count % 100)
}

/// Prints how many histories are played until one ends badly, every other one with nodes hidden. `make bench BENCH=mutants`
/// runs it.
///
/// `HISTORIES` is the maximum. `LIES` names the lies that the histories may tell; any if it is not set.
#[test]
#[ignore = "prints a number"]
fn first_violation_of_all_lies() {
    std::panic::set_hook(Box::new(|_| ()));
    let found = first_violation(number("HISTORIES").unwrap_or(2_000), history_at);
    println!("first violation: {}", found.map_or_else(|| "none".to_owned(), |at| (at + 1).to_string()));
}

/// Prints history `HISTORY` of the test above, and plays it. `LIES` as above.
#[test]
#[ignore = "prints a history"]
fn one_history_again() {
    let (history, view) = history_at(number("HISTORY").unwrap_or(1) - 1);
    println!("{:#?}\nnodes hidden: {}", history.setup, view.nodes_hidden);
    history.steps.iter().for_each(|(pause, step)| println!("{pause:>5} ms {step:?}"));
    let played = play(&history, view);
    println!("{} early clears, {:?}\n{}", played.early_clears, played.occurrences, played.violations.join("\n"));
}

/// The history of that number that tells the lies in `LIES`, or any, and how it is played.
fn history_at(at: usize) -> (History, View) {
    let view = if at.is_multiple_of(2) { VISIBLE } else { HIDDEN };
    match std::env::var("LIES") {
        Ok(names) => {
            let lies = named(&names);
            let view = if lies.iter().any(|lie| ONLY_NODES_TELL.contains(lie)) { VISIBLE } else { view };
            (numbered(at, &history_of(&lies)), view)
        }
        Err(_) if view.nodes_hidden => (numbered(at, &history_without(&ONLY_NODES_TELL)), view),
        Err(_) => (numbered(at, &history_without(&[])), view),
    }
}

/// The lies in a list with commas.
fn named(names: &str) -> Vec<Lie> {
    let is_named = |lie: &Lie| names.split(',').any(|name| name == format!("{lie:?}"));
    Lie::ALL.into_iter().filter(is_named).collect()
}

fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok()?.parse().ok()
}
