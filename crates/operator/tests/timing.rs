//! A group's timing is told to its candidates through their Lease, and to nobody else's.

#![allow(missing_docs)]

mod support;

use serde_json::{Value, json};
use support::api::Kind;
use support::cluster::{Cluster, leading};

const TIMING: [&str; 3] = [
    "leadergroup.dev/lease-duration-seconds",
    "leadergroup.dev/renew-deadline-seconds",
    "leadergroup.dev/retry-period-seconds",
];

fn asked(cluster: &Cluster) -> [Value; 3] {
    let lease = cluster.api.get(Kind::Lease, "web").expect("the Lease");
    TIMING.map(|name| lease["metadata"]["annotations"][name].clone())
}

/// The group's spec changes to this timing.
fn declare(cluster: &mut Cluster, generation: u64, [duration, deadline, period]: [u64; 3]) {
    let timing = json!({
        "durationSeconds": duration, "renewDeadlineSeconds": deadline, "retryPeriodSeconds": period,
    });
    let mut group = support::group(&json!({"lease": timing}));
    group["metadata"]["generation"] = json!(generation);
    cluster.put_group(group);
}

const NOTHING: [Value; 3] = [Value::Null, Value::Null, Value::Null];

#[test]
fn a_group_is_told_to_its_candidates_once_if_it_differs_from_what_they_do_by_themselves() {
    let mut cluster = leading(&json!({}));
    cluster.renew_times("web-0", 5);
    assert_eq!((asked(&cluster), cluster.count("AskTiming")), (NOTHING, 0), "the defaults");

    declare(&mut cluster, 2, [30, 20, 4]);
    assert_eq!(asked(&cluster), [json!("30"), json!("20"), json!("4")]);
    cluster.renew_times("web-0", 5);
    assert_eq!((cluster.verdict().as_str(), cluster.count("AskTiming")), ("Alive", 1));

    declare(&mut cluster, 3, [15, 10, 2]);
    assert_eq!((asked(&cluster), cluster.count("AskTiming")), ([json!("15"), json!("10"), json!("2")], 2));
    declare(&mut cluster, 4, [15, 10, 3]);
    assert_eq!((asked(&cluster), cluster.count("AskTiming")), ([json!("15"), json!("10"), json!("3")], 3));
}

#[test]
fn what_somebody_else_made_of_it_is_put_right() {
    for annotations in [json!({TIMING[0]: "soon"}), json!({TIMING[1]: "12"}), json!({TIMING[2]: ""})] {
        let mut cluster = leading(&json!({}));
        let mut lease = cluster.api.get(Kind::Lease, "web").expect("the Lease").clone();
        lease["metadata"]["annotations"] = annotations;
        cluster.api.put(Kind::Lease, lease);
        cluster.settle();
        assert_eq!(asked(&cluster), [json!("15"), json!("10"), json!("2")]);
    }
}

#[test]
fn a_library_that_drops_it_with_each_renewal_is_told_three_times_and_then_seldom() {
    let mut cluster = leading(&json!({"lease": {"durationSeconds": 20}}));
    let renew_without = |cluster: &mut Cluster| {
        cluster.renew("web-0");
        let mut lease = cluster.api.get(Kind::Lease, "web").expect("the Lease").clone();
        lease["metadata"]["annotations"] = json!(null);
        cluster.api.put(Kind::Lease, lease);
        cluster.settle();
    };
    for _ in 0..310 {
        cluster.pass(2_000);
        renew_without(&mut cluster);
    }
    assert_eq!((cluster.verdict().as_str(), cluster.count("AskTiming")), ("Alive", 3));
    // Anything that has the group decided.
    let another = |cluster: &mut Cluster, uid: &str| {
        cluster.put_pod(support::pod("web-9", uid, "n1", "Running", &[("app", support::running(0))]));
        renew_without(cluster);
    };
    another(&mut cluster, "u9");
    assert_eq!(cluster.count("AskTiming"), 4);
    another(&mut cluster, "u10");
    assert_eq!(cluster.count("AskTiming"), 4);

    // Another timing is news.
    declare(&mut cluster, 2, [30, 20, 4]);
    assert_eq!((asked(&cluster)[0].clone(), cluster.count("AskTiming")), (json!("30"), 5));
}

#[test]
fn a_group_that_observes_and_a_lease_of_others_are_left_alone() {
    let cluster = leading(&json!({"staleHolder": {"policy": "Observe"}, "lease": {"durationSeconds": 20}}));
    assert_eq!(asked(&cluster), NOTHING);

    let mut cluster = Cluster::new(&json!({"lease": {"durationSeconds": 20}}));
    cluster.renew("somebody else");
    assert_eq!(cluster.verdict(), "Foreign");
    assert_eq!((asked(&cluster), cluster.count("AskTiming")), (NOTHING, 0));
}
