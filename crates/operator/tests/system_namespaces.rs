//! Groups in the namespaces that are Kubernetes' own are only observed: nothing is ever written to a Lease there, and the
//! group says so. An operator that is started to clear there treats them as any others.

#![allow(missing_docs)]

mod support;

use leadergroup_api::Policy;
use leadergroup_operator::index::Observed;
use serde_json::{Value, json};
use support::api::Kind;
use support::cluster::{Cluster, web_0, web_0_ended};
use support::{ended, running};

#[test]
fn who_is_only_observed_is_decided_by_namespace_policy_and_flag() {
    use Observed::{Heartbeats, SystemNamespace};
    let table = [
        ("shop", Policy::Clear, false, None),
        ("shop", Policy::Clear, true, None),
        ("shop", Policy::Observe, false, Some(Observed::Policy)),
        ("shop", Policy::Observe, true, Some(Observed::Policy)),
        ("kube-system", Policy::Clear, false, Some(SystemNamespace)),
        ("kube-system", Policy::Observe, false, Some(SystemNamespace)),
        ("kube-system", Policy::Clear, true, None),
        ("kube-system", Policy::Observe, true, Some(Observed::Policy)),
        ("kube-public", Policy::Clear, false, Some(SystemNamespace)),
        ("kube-flannel", Policy::Clear, false, Some(SystemNamespace)),
        ("kube-", Policy::Clear, false, Some(SystemNamespace)),
        ("kube", Policy::Clear, false, None),
        ("kubernetes", Policy::Clear, false, None),
        ("my-kube-system", Policy::Clear, false, None),
        ("", Policy::Clear, false, None),
        ("kube-node-lease", Policy::Clear, false, Some(Heartbeats)),
        ("kube-node-lease", Policy::Clear, true, Some(Heartbeats)),
    ];
    for (namespace, policy, flag, expected) in table {
        assert_eq!(Observed::of(namespace, policy, flag), expected, "{namespace} {policy:?} {flag}");
    }
}

/// How a holder ends.
type Death = (&'static str, fn(&mut Cluster));

/// Ways to have something written to a Lease: all that a spec can ask for, and all that can happen to a holder.
fn written(namespace: &'static str, flag: bool) -> Vec<(String, Cluster)> {
    let risk = json!({"unconfirmed": {"policy": "AcceptRisk", "afterSeconds": 1}});
    let specs = [
        json!({}),
        json!({"lease": {"create": true}}),
        json!({"staleHolder": {"release": "Delete"}}),
        json!({"staleHolder": {"release": "Null", "unconfirmed": risk["unconfirmed"]}}),
    ];
    let deaths: [Death; 4] = [
        ("ended", |c| c.put_pod(web_0_ended(7_500))),
        ("crashed", |c| c.put_pod(web_0("u0", ended(7_500)))),
        ("vanished", |c| c.delete(Kind::Pod, "web-0")),
        ("free", |c| c.set_lease(&json!({"holderIdentity": "", "leaseDurationSeconds": 1}))),
    ];
    let mut played = Vec::new();
    for mut spec in specs {
        // One that candidates have to be told of.
        spec["lease"]["retryPeriodSeconds"] = json!(3);
        for (name, die) in deaths {
            let mut cluster = Cluster::in_namespace(Some(namespace), flag, &spec);
            cluster.put_pod(web_0("u0", running(0)));
            cluster.renew_times("web-0", 4);
            assert_eq!(cluster.verdict(), "Alive");
            die(&mut cluster);
            cluster.pass(120_000);
            cluster.restart();
            cluster.pass(120_000);
            played.push((format!("{namespace} {spec} {name}"), cluster));
        }
    }
    played
}

const WRITES: [&str; 3] = ["Clear", "AskTiming", "CreateLease"];

fn count_of_writes(cluster: &Cluster) -> usize {
    WRITES.iter().map(|job| cluster.count(job)).sum()
}

#[test]
fn nothing_is_ever_written_to_a_lease_in_a_system_namespace() {
    for namespace in ["kube-system", "kube-public", "kube-flannel"] {
        for (what, cluster) in written(namespace, false) {
            assert_eq!(count_of_writes(&cluster), 0, "{what}: {:?}", cluster.jobs);
            assert_eq!(cluster.condition("Stalled"), "False SystemNamespace", "{what}");
        }
    }
}

#[test]
fn the_flag_and_any_other_namespace_make_it_a_group_as_any_other() {
    for (namespace, flag) in [("kube-system", true), ("shop", false)] {
        for (what, cluster) in written(namespace, flag) {
            assert!(count_of_writes(&cluster) > 0, "{what}: {:?}", cluster.jobs);
            assert_eq!(cluster.condition("Stalled"), "False Observing", "{what}");
        }
    }
}

#[test]
fn the_group_says_that_it_is_only_observed_and_why_once() {
    let mut cluster = Cluster::in_namespace(Some("kube-system"), false, &json!({"lease": {"create": true}}));
    let message = |c: &Cluster| c.status().conditions.iter().find(|c| c.type_ == "Stalled").unwrap().message.clone();
    let told = message(&cluster);
    assert!(told.contains("namespace kube-system is Kubernetes' own") && told.contains("only observed"), "{told}");
    assert!(told.contains("--clear-in-system-namespaces"), "{told}");
    cluster.put_pod(web_0("u0", running(0)));
    cluster.renew_times("web-0", 4);
    cluster.put_pod(web_0_ended(7_500));
    let of = |c: &Cluster, reason: &str| -> Vec<String> {
        c.notices.iter().filter(|n| n.reason == reason).map(|n| n.note.clone()).collect()
    };
    assert_eq!(of(&cluster, "OnlyObserved"), [told]);
    assert!(of(&cluster, "HolderTerminated")[0].contains("only observed"), "{:?}", of(&cluster, "HolderTerminated"));
    cluster.restart();
    cluster.renew("web-1");
    assert_eq!(of(&cluster, "OnlyObserved").len(), 1, "not again after a restart");
}

#[test]
fn what_is_not_done_is_not_announced() {
    let unconfirmed = json!({"policy": "AcceptRisk", "afterSeconds": 3});
    let spec: Value = json!({"staleHolder": {"unconfirmed": unconfirmed}});
    let mut cluster = Cluster::in_namespace(Some("kube-system"), false, &spec);
    cluster.put_pod(web_0("u0", running(0)));
    cluster.renew_times("web-0", 4);
    cluster.delete(Kind::Pod, "web-0");
    let vanished = cluster.notices.iter().find(|n| n.reason == "HolderVanished").unwrap();
    assert!(!vanished.note.contains("it is cleared after"), "{}", vanished.note);
}

#[test]
fn a_group_among_the_heartbeats_of_nodes_is_stalled_and_creates_nothing() {
    for flag in [false, true] {
        let spec = json!({"lease": {"create": true}});
        let mut cluster = Cluster::in_namespace(Some("kube-node-lease"), flag, &spec);
        cluster.pass(60_000);
        assert_eq!(count_of_writes(&cluster), 0, "{:?}", cluster.jobs);
        assert_eq!(cluster.condition("Stalled"), "True NodeHeartbeats");
    }
}
