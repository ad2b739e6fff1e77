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
fn a_group_that_observes_and_a_lease_of_others_are_left_alone() {
    let cluster = leading(&json!({"staleHolder": {"policy": "Observe"}}));
    assert_eq!(asked(&cluster), [json!(null), json!(null), json!(null)]);

    let mut cluster = Cluster::new(&json!({}));
    cluster.renew("somebody else");
    assert_eq!(cluster.verdict(), "Foreign");
    assert_eq!((asked(&cluster), cluster.count("AskTiming")), ([json!(null), json!(null), json!(null)], 0));
}
