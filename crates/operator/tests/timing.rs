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

#[test]
fn a_changed_group_is_told_to_its_candidates_once() {
    let mut cluster = leading(&json!({}));
    assert_eq!(asked(&cluster), [json!("15"), json!("10"), json!("2")]);
    cluster.renew_times("web-0", 5);
    assert_eq!(cluster.count("AskTiming"), 1);

    let mut group =
        support::group(&json!({"lease": {"durationSeconds": 30, "renewDeadlineSeconds": 20, "retryPeriodSeconds": 4}}));
    group["metadata"]["generation"] = json!(2);
    cluster.put_group(group);
    assert_eq!(asked(&cluster), [json!("30"), json!("20"), json!("4")]);
    assert_eq!((cluster.verdict().as_str(), cluster.count("AskTiming")), ("Alive", 2));
}

#[test]
fn what_somebody_else_made_of_it_is_put_right() {
    let mut cluster = leading(&json!({}));
    let mut lease = cluster.api.get(Kind::Lease, "web").expect("the Lease").clone();
    lease["metadata"]["annotations"][TIMING[0]] = json!("soon");
    cluster.api.put(Kind::Lease, lease);
    cluster.settle();
    assert_eq!(asked(&cluster), [json!("15"), json!("10"), json!("2")]);
}

#[test]
fn a_library_that_drops_it_with_each_renewal_is_told_three_times_and_then_seldom() {
    let mut cluster = leading(&json!({}));
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
    let mut group =
        support::group(&json!({"lease": {"durationSeconds": 30, "renewDeadlineSeconds": 20, "retryPeriodSeconds": 4}}));
    group["metadata"]["generation"] = json!(2);
    cluster.put_group(group);
    assert_eq!((asked(&cluster)[0].clone(), cluster.count("AskTiming")), (json!("30"), 5));
}

#[test]
fn a_group_that_observes_and_a_lease_of_others_are_left_alone() {
    let cluster = leading(&json!({"staleHolder": {"policy": "Observe"}}));
    assert_eq!(asked(&cluster), [json!(null), json!(null), json!(null)]);

    let mut cluster = Cluster::new(&json!({}));
    cluster.renew("somebody else");
    assert_eq!(cluster.verdict(), "Foreign");
    assert_eq!((asked(&cluster), cluster.count("AskTiming")), ([json!(null), json!(null), json!(null)], 0));
}
