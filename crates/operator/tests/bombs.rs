//! What is hung onto objects, as much as the API server takes of it, does not stay in the operator's memory. A program of
//! its own, for its memory to be its own.

#![allow(missing_docs)]

mod support;

use std::fs;

use kube::runtime::watcher::Event;
use leadergroup_operator::engine::{Engine, Job};
use serde_json::{Value, json};
use support::api::{Kind, change};
use support::{ms, now_at, pod, running};

const BOMB: usize = 262_144;

/// As much as the API server takes of an object's annotations, and labels as large.
fn bomb(object: &mut Value) {
    object["metadata"]["annotations"] = json!({"bomb": "x".repeat(BOMB - 4)});
    for label in 0..2_000 {
        object["metadata"]["labels"][format!("{label:063}")] = json!("x".repeat(63));
    }
    object["metadata"]["managedFields"] = json!([{"manager": "x".repeat(BOMB)}]);
}

fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

#[test]
fn what_is_hung_onto_objects_is_not_kept() {
    let mut engine = Engine::default();
    for kind in Kind::ALL {
        engine.change(change(kind, &Event::Init), now_at(ms(0)));
        engine.change(change(kind, &Event::InitDone), now_at(ms(0)));
    }
    engine.lead(1, now_at(ms(0)));
    let put = |engine: &mut Engine, kind, mut object: Value, name: String| {
        bomb(&mut object);
        object["metadata"]["uid"] = json!(name);
        object["metadata"]["name"] = json!(name);
        engine.change(change(kind, &Event::Apply(object)), now_at(ms(0)));
        engine.take_work().into_iter().for_each(|work| assert!(!matches!(work.job, Job::Act(_))));
    };
    // What the first of them needs, it leaves to the others.
    let round = |engine: &mut Engine, number: usize| {
        put(engine, Kind::Group, support::group(&json!({})), format!("g{number}"));
        put(engine, Kind::Group, support::group(&json!({"historyLimit": "many"})), format!("i{number}"));
        put(engine, Kind::Lease, support::lease(&json!({"holderIdentity": "a"})), format!("l{number}"));
        put(engine, Kind::Pod, pod("p", "p", "n1", "Running", &[("app", running(0))]), format!("p{number}"));
        put(engine, Kind::Node, support::node("n", true, false), format!("n{number}"));
    };
    round(&mut engine, 0);
    let before = resident();
    (1..=60).for_each(|number| round(&mut engine, number));
    let grown = resident().saturating_sub(before);
    let sent = (60 * 5 * 3 * BOMB) >> 20;
    println!("{sent} MiB sent, {} KiB more resident", grown >> 10);
    assert!(grown < 8 << 20, "{} MiB more of {sent} MiB sent", grown >> 20);
}
