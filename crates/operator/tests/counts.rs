//! What the operator counts and remembers: through restarts, deleted Leases, libraries that count badly, and objects
//! that make no sense.

#![allow(missing_docs)]

mod support;

use leadergroup_api::TransitionReason;
use leadergroup_operator::decide::Notice;
use serde_json::{Value, json};
use support::api::Kind;
use support::cluster::{Cluster, condition_of};
use support::{NAMESPACE, ended, micro_time, pod, running};

fn with_pods(spec: &Value) -> Cluster {
    let mut cluster = Cluster::new(spec);
    for (name, uid) in [("web-0", "u0"), ("web-1", "u1"), ("web-2", "u2")] {
        cluster.put_pod(pod(name, uid, "n1", "Running", &[("app", running(0))]));
    }
    cluster
}

/// Steps of a life with four transitions.
const STEPS: [fn(&mut Cluster); 9] = [
    |c| c.renew("web-0"),
    |c| c.renew_times("web-0", 3),
    |c| c.renew("web-1"),
    |c| c.delete(Kind::Pod, "web-0"),
    |c| c.put_pod(pod("web-1", "u1", "n1", "Failed", &[("app", ended(100_000))])),
    |c| c.renew("web-2"),
    |c| c.delete(Kind::Lease, "web"),
    |c| c.renew("web-0"),
    |c| c.renew("web-2"),
];

#[test]
fn an_operator_restart_at_any_step_loses_no_count() {
    for restarts in (0..1_u32 << STEPS.len()).filter(|set| set.count_ones() <= 2 || set.count_ones() > 7) {
        let mut cluster = with_pods(&json!({}));
        let mut before = 0;
        for (at, step) in STEPS.iter().enumerate() {
            step(&mut cluster);
            if restarts & 1 << at != 0 {
                cluster.restart();
            }
            let now = cluster.status().transitions;
            assert!(now >= before, "fell from {before} to {now} at step {at}, restarts {restarts:b}");
            before = now;
            cluster.pass(1_000);
        }
        assert_eq!(before, 4, "restarts {restarts:b}");
    }
}

#[test]
fn what_the_lease_counted_while_the_operator_was_away_is_added_and_named() {
    let mut cluster = with_pods(&json!({}));
    cluster.renew("web-0");
    cluster.renew("web-1");
    assert_eq!(cluster.status().transitions, 1);
    cluster.hold(Kind::Lease);
    for holder in ["web-2", "web-0", "web-2"] {
        cluster.renew(holder);
    }
    cluster.restart();
    let status = cluster.status();
    assert_eq!(status.transitions, 4);
    assert_eq!(status.history[0].reason, TransitionReason::Unobserved);
    assert_eq!((status.history[0].leader.as_str(), status.history[0].unobserved), ("web-2", Some(2)));
}

#[test]
fn a_holder_that_lost_and_retook_the_lease_meanwhile_is_noticed() {
    let mut cluster = with_pods(&json!({}));
    cluster.renew("web-0");
    cluster.pass(1_000);
    cluster.hold(Kind::Lease);
    for holder in ["web-1", "web-0"] {
        cluster.renew(holder);
    }
    cluster.restart();
    let status = cluster.status();
    assert_eq!((status.transitions, status.history[0].reason), (2, TransitionReason::Unobserved));
}

#[test]
fn a_library_that_never_counts_is_counted_for() {
    let mut cluster = with_pods(&json!({}));
    for (n, holder) in ["web-0", "web-1", "web-2", "web-0"].into_iter().enumerate() {
        let at = micro_time(i64::try_from(n).unwrap() * 1_000);
        cluster.set_lease(&json!({
            "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 0, "renewTime": at,
        }));
        cluster.pass(1_000);
    }
    assert_eq!(cluster.status().transitions, 3);
}

#[test]
fn a_lease_made_anew_does_not_lower_the_count() {
    let mut cluster = with_pods(&json!({}));
    cluster.renew("web-0");
    cluster.renew("web-1");
    cluster.delete(Kind::Lease, "web");
    assert_eq!(cluster.verdict(), "Free");
    cluster.renew("web-2");
    let status = cluster.status();
    assert_eq!((status.transitions, status.history[0].reason), (2, TransitionReason::LeaseDeleted));
    assert_eq!(cluster.lease()["leaseTransitions"], json!(0));
}

#[test]
fn a_new_pod_that_renews_under_the_old_name_begins_a_term() {
    let mut cluster = with_pods(&json!({}));
    cluster.renew_times("web-0", 4);
    cluster.delete(Kind::Pod, "web-0");
    cluster.put_pod(pod("web-0", "u0-again", "n1", "Running", &[("app", running(9_000))]));
    cluster.pass(7_000);
    assert_eq!(cluster.status().transitions, 0, "the deleted pod's process may still lead");
    cluster.pass(60_000);
    cluster.renew("web-0");
    cluster.renew_times("web-0", 2);
    let status = cluster.status();
    assert_eq!(status.transitions, 1, "{:?}", status.history);
    assert_eq!(status.leader.unwrap().pod_uid.as_deref(), Some("u0-again"));
}

#[test]
fn of_two_groups_on_one_lease_the_older_has_it_until_it_is_deleted() {
    let mut cluster = with_pods(&json!({}));
    let mut younger = support::group(&json!({
        "lease": {"name": "web"}, "candidates": {"selector": {"matchLabels": {"leadergroup.dev/group": "web"}}},
    }));
    younger["metadata"]["name"] = json!("younger");
    younger["metadata"]["uid"] = json!("group-younger");
    younger["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:01Z");
    cluster.put_group(younger);
    cluster.renew_times("web-0", 4);
    assert_eq!(condition_of(&cluster.status_of("younger"), "Stalled"), "True LeaseTaken");
    assert!(cluster.status_of("younger").leader.is_none());
    assert_eq!(cluster.condition("Stalled"), "False Observing");
    cluster.renew("web-1");
    cluster.renew_times("web-0", 4);
    assert_eq!((cluster.status().transitions, cluster.status_of("younger").history.len()), (2, 0));
    let told = |notice: &&Notice| notice.reason == "LeaderChanged";
    assert_eq!(cluster.notices.iter().filter(told).count(), 3, "the group whose Lease it is tells of its leaders");

    let end = i64::try_from(cluster.now).unwrap() - 500;
    cluster.put_pod(pod("web-0", "u0", "n1", "Failed", &[("app", ended(end))]));
    assert_eq!(cluster.count("Clear"), 1, "the younger leaves it alone");
    cluster.renew("web-1");

    cluster.delete(Kind::Group, "web");
    let status = cluster.status_of("younger");
    assert_eq!(condition_of(&status, "Stalled"), "False Observing");
    assert_eq!((status.leader.unwrap().identity, status.history.len()), ("web-1".to_owned(), 1));
}

#[test]
fn a_group_that_cannot_be_decoded_says_so_and_harms_no_other() {
    let mut cluster = with_pods(&json!({}));
    let mut broken = support::group(&json!({"historyLimit": "many"}));
    broken["metadata"]["name"] = json!("broken");
    broken["metadata"]["uid"] = json!("group-broken");
    cluster.put_group(broken);
    cluster.renew("web-0");
    assert_eq!(cluster.status().leader.unwrap().identity, "web-0");
    assert_eq!(condition_of(&cluster.status_of("broken"), "Stalled"), "True Undecodable");
    assert!(cluster.count("WriteInvalid") <= 2, "{}", cluster.count("WriteInvalid"));

    let mut mended = cluster.api.get(Kind::Group, "broken").cloned().unwrap();
    mended["spec"] = json!({});
    cluster.put_group(mended);
    assert_eq!(condition_of(&cluster.status_of("broken"), "Stalled"), "False Observing");
}

#[test]
fn a_lease_of_nonsense_is_named_and_harms_nobody() {
    let huge = "x".repeat(200_000);
    let fields = [
        ("leaseDurationSeconds", json!(null), "True NoDuration"),
        ("leaseDurationSeconds", json!(0), "True BadDuration"),
        ("leaseDurationSeconds", json!(-1), "True BadDuration"),
        ("leaseDurationSeconds", json!(i64::MIN), "True BadDuration"),
        ("leaseDurationSeconds", json!(i64::MAX), "True LongDuration"),
        ("leaseTransitions", json!(i64::MIN), "True BadTransitions"),
        ("leaseTransitions", json!(i64::MAX), "False Sound"),
        ("renewTime", json!(null), "True NoRenewTime"),
        ("renewTime", json!("9999-12-31T23:59:59Z"), "True NoRenewTime"),
        ("renewTime", json!("0000-01-01T00:00:00Z"), "False Sound"),
        ("renewTime", json!("yesterday"), "True NoRenewTime"),
        ("acquireTime", json!("9999-12-31T23:59:59Z"), "False Sound"),
        ("acquireTime", json!(huge), "False Sound"),
    ];
    for (field, value, expected) in fields {
        let mut cluster = with_pods(&json!({}));
        cluster.renew("web-0");
        let mut spec = cluster.lease();
        spec[field] = value.clone();
        cluster.set_lease(&spec);
        assert_eq!(cluster.condition("LeaseSuspect"), expected, "{field} {value:.40}");
        cluster.pass(10_000);
        assert_eq!(cluster.verdict(), "Alive", "{field} {value:.40}");
        cluster.restart();
        cluster.renew("web-1");
        assert_eq!(cluster.status().leader.unwrap().identity, "web-1", "{field} {value:.40}");
        assert!(cluster.status().transitions >= 1, "{field} {value:.40}");
        cluster.pass(100_000);
        assert!(cluster.api.cleared.is_empty(), "{field} {value:.40}");
    }
}

#[test]
fn a_lease_without_a_spec_or_with_huge_annotations_is_read() {
    let mut cluster = with_pods(&json!({}));
    let huge = "x".repeat(250_000);
    cluster
        .api
        .put(Kind::Lease, json!({"metadata": {"name": "web", "namespace": NAMESPACE, "annotations": {"huge": huge}}}));
    cluster.settle();
    assert_eq!(cluster.verdict(), "Free");
    cluster.renew("web-0");
    assert_eq!(cluster.verdict(), "Alive");
}

#[test]
fn a_lease_the_group_asks_for_is_created_free() {
    let cluster = with_pods(&json!({"lease": {"create": true}}));
    assert_eq!(cluster.lease()["leaseDurationSeconds"], json!(15));
    assert_eq!((cluster.verdict().as_str(), cluster.count("CreateLease")), ("Free", 1));
}

#[test]
fn a_group_made_anew_that_cannot_be_read_yet_inherits_no_count() {
    let mut cluster = with_pods(&json!({}));
    cluster.renew("web-0");
    cluster.renew("web-1");
    assert_eq!(cluster.status().transitions, 1);
    cluster.hold(Kind::Group);
    let mut another = support::group(&json!({"historyLimit": "many"}));
    another["metadata"]["uid"] = json!("group-another");
    cluster.put_group(another.clone());
    cluster.relist(Kind::Group);
    cluster.release(Kind::Group);
    assert_eq!(cluster.condition("Stalled"), "True Undecodable");
    another["spec"] = json!({});
    cluster.put_group(another);
    cluster.renew("web-0");
    assert_eq!((cluster.condition("Stalled").as_str(), cluster.status().history.len()), ("False Observing", 2));
    assert_eq!(cluster.status().transitions, 1);
}

#[test]
fn a_clock_that_is_not_the_operators_is_named_until_it_is() {
    const FIVE_HOURS: i64 = 18_000_000;
    let mut cluster = with_pods(&json!({}));
    let off = |cluster: &mut Cluster, times: usize| {
        for _ in 0..times {
            cluster.renew_by("web-0", -FIVE_HOURS);
            cluster.pass(2_000);
        }
    };
    off(&mut cluster, 3);
    assert_eq!(cluster.condition("LeaseSuspect"), "False Sound", "one acquisition and two renewals may be late");
    off(&mut cluster, 1);
    assert_eq!(cluster.condition("LeaseSuspect"), "True ClockOff");
    let status = cluster.status();
    let told = status.conditions.iter().find(|c| c.type_ == "LeaseSuspect").unwrap();
    assert!(told.message.contains("18000 s behind the operator's clock"), "{}", told.message);
    let written = cluster.count("WriteStatus");
    off(&mut cluster, 5);
    cluster.restart();
    off(&mut cluster, 1);
    assert_eq!((cluster.status(), cluster.count("WriteStatus")), (status, written), "said once");
    cluster.renew_times("web-0", 2);
    assert_eq!(cluster.condition("LeaseSuspect"), "True ClockOff", "two renewals are no habit");
    cluster.renew_times("web-0", 1);
    assert_eq!(cluster.condition("LeaseSuspect"), "False Sound");
}
