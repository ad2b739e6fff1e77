//! An operator for some namespaces: each is listed by a watch of its own, and nodes may be hidden from it.

#![allow(missing_docs)]

mod support;

use std::sync::Arc;

use kube::runtime::watcher::Event;
use leadergroup_operator::engine::Engine;
use leadergroup_operator::index::{Change, Key};
use serde_json::{Value, json};
use support::api::{Kind, change};
use support::{decode, ms, now_at};

const KINDS: [Kind; 5] = [Kind::Group, Kind::Lease, Kind::Pod, Kind::Service, Kind::Slice];

fn within(namespace: &str, kind: Kind, event: &Event<Value>) -> Change {
    Change::Within(namespace.into(), Box::new(change(kind, event)))
}

/// A list of the namespace: these groups, and nothing else.
fn list(engine: &mut Engine, namespace: &str, groups: &[&str]) {
    for kind in KINDS {
        let mut tell = |event| engine.change(within(namespace, kind, &event), now_at(ms(0)));
        tell(Event::Init);
        for name in groups.iter().filter(|_| kind == Kind::Group) {
            let mut group = support::group(&json!({}));
            group["metadata"]["name"] = json!(name);
            group["metadata"]["uid"] = json!(format!("{namespace}-{name}"));
            group["metadata"]["namespace"] = json!(namespace);
            tell(Event::InitApply(group));
        }
        tell(Event::InitDone);
    }
}

fn of_shop_and_bank() -> Engine {
    Engine::new(false).within(["shop", "bank"].map(Arc::from).to_vec())
}

#[test]
fn nothing_is_decided_before_every_namespace_was_listed_and_nodes_if_they_can_be() {
    for last in [Change::NodesHidden, Change::Node(Event::InitDone)] {
        let mut engine = of_shop_and_bank();
        list(&mut engine, "shop", &["web"]);
        engine.change(last, now_at(ms(0)));
        assert!(!engine.is_synced(), "bank is yet to be listed");
        list(&mut engine, "bank", &[]);
        assert!(engine.is_synced());
    }
    let mut engine = of_shop_and_bank();
    list(&mut engine, "shop", &["web"]);
    list(&mut engine, "bank", &[]);
    assert!(!engine.is_synced(), "nodes are yet to be listed");
}

#[test]
fn a_list_of_one_namespace_tells_nothing_of_another() {
    let mut engine = of_shop_and_bank();
    list(&mut engine, "shop", &["web", "worker"]);
    list(&mut engine, "bank", &["web"]);
    assert_eq!(engine.group_count(), 3);
    // Both at the same time, and what is missing from one of them is gone from there alone.
    engine.change(within("bank", Kind::Group, &Event::Init), now_at(ms(0)));
    list(&mut engine, "shop", &["worker"]);
    assert_eq!(engine.group_count(), 2);
    engine.change(within("bank", Kind::Group, &Event::InitDone), now_at(ms(0)));
    assert_eq!(engine.group_count(), 1);
    list(&mut engine, "shop", &[]);
    assert_eq!(engine.group_count(), 0);
}

#[test]
fn groups_are_judged_again_when_nodes_come_into_sight() {
    let mut index = leadergroup_operator::index::Index::default();
    let key = Key::new(support::NAMESPACE, "web");
    let at = now_at(ms(0));
    index.apply(Change::NodesHidden, at);
    index.apply(change(Kind::Group, &Event::Apply(support::group(&json!({})))), at);
    index.take_touched();
    assert!(index.snapshot(&key).unwrap().nodes_hidden);
    index.apply(Change::Node(Event::Init), at);
    index.apply(Change::Node(Event::InitApply(decode(&support::node("n1", true, false)))), at);
    assert_eq!(index.take_touched(), [], "not before all are known");
    index.apply(Change::Node(Event::InitDone), at);
    assert!(!index.snapshot(&key).unwrap().nodes_hidden);
    assert_eq!(index.take_touched().len(), 1);
}
