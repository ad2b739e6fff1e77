//! A group that changes many times a second: what is written and logged about it stays bounded, the counts stay exact, and
//! no clear waits for it.

#![allow(missing_docs)]

mod support;

use std::time::Duration;

use leadergroup_operator::decide::Notice;
use leadergroup_operator::pace::{EVENTS, Told};
use leadergroup_operator::text::cut;
use serde_json::{Value, json};
use support::api::Kind;
use support::cluster::{Cluster, leading, web_0_ended};
use support::{ms, pod, running};

fn tells(cluster: &Cluster) -> usize {
    cluster.jobs.iter().filter(|job| job.starts_with("Tell ")).count()
}

/// The Lease goes from one holder to another fifty times a second.
fn flap(cluster: &mut Cluster, holders: [&str; 2], times: usize) {
    for turn in 0..times {
        cluster.renew(holders[turn % 2]);
        cluster.pass(20);
    }
}

fn two_candidates(spec: &Value) -> Cluster {
    let mut cluster = leading(spec);
    cluster.put_pod(pod("web-1", "u1", "n1", "Running", &[("app", running(0))]));
    cluster
}

#[test]
fn a_lease_that_flaps_fifty_times_a_second_is_counted_exactly_and_reported_seldom() {
    let mut cluster = two_candidates(&json!({}));
    let (events, writes) = (tells(&cluster), cluster.api.status_writes);
    flap(&mut cluster, ["web-1", "web-0"], 1_000);
    let (events, writes) = (tells(&cluster) - events, cluster.api.status_writes - writes);
    println!("1000 transitions in 20 s: {events} Events, {writes} status writes");
    // LeaderChanged, and once each what the conditions of the group's conduct say.
    assert!(events <= 25 + 3, "{events} Events, each of them a line in the log");
    assert!(writes <= 31, "{writes} status writes in 20 s");
    cluster.pass(2_000);
    assert_eq!(cluster.status().transitions, 1_000);
    assert_eq!(cluster.status().leader.unwrap().identity, "web-0");

    cluster.pass(300_000);
    cluster.renew("web-1");
    let last = cluster.notices.iter().rev().find(|n| n.reason == "LeaderChanged").unwrap();
    let told_before = cluster.notices.iter().filter(|n| n.reason == "LeaderChanged").count() - 1;
    // The first leader was told, too.
    let untold = 1_001 - told_before;
    assert!(
        last.note.starts_with(&format!("[{untold} more LeaderChanged before this were not told]")),
        "{}",
        last.note
    );
    cluster.pass(2_000);
    assert_eq!(cluster.status().transitions, 1_001);
}

#[test]
fn a_flood_delays_no_clear_and_hides_no_other_event() {
    let mut cluster = two_candidates(&json!({}));
    flap(&mut cluster, ["web-1", "web-0"], 1_000);
    cluster.renew_times("web-0", 4);
    flap(&mut cluster, ["web-1", "web-0"], 100);
    let at = i64::try_from(cluster.now).unwrap();
    cluster.put_pod(web_0_ended(at + 500));
    assert_eq!(cluster.api.cleared.len(), 1, "at once, though the status of the same moment waits");
    assert!(cluster.notices.iter().any(|n| n.reason == "HolderCleared"));
}

#[test]
fn a_takeover_is_reported_without_delay() {
    let mut cluster = two_candidates(&json!({}));
    cluster.put_pod(web_0_ended(7_500));
    cluster.renew("web-1");
    assert_eq!(cluster.status().leader.unwrap().identity, "web-1");
    assert_eq!(cluster.status().transitions, 1);
}

#[test]
fn a_count_that_waits_to_be_written_outlives_the_operator_that_made_it() {
    let mut cluster = two_candidates(&json!({}));
    flap(&mut cluster, ["web-1", "web-0"], 301);
    cluster.take_over();
    cluster.pass(5_000);
    assert_eq!(cluster.status().transitions, 301);
}

#[test]
fn holders_that_fit_nobody_in_turn_are_reported_seldom_too() {
    let mut cluster = two_candidates(&json!({}));
    let (events, writes) = (tells(&cluster), cluster.api.status_writes);
    flap(&mut cluster, ["not|of|the|form", "nobody-0"], 1_000);
    let (events, writes) = (tells(&cluster) - events, cluster.api.status_writes - writes);
    // LeaderChanged, HolderForeign, HolderUnresolved, and once each what the conditions of the group's conduct say.
    assert!(events <= 3 * 25 + 3, "{events} Events");
    assert!(writes <= 31, "{writes} status writes in 20 s");
    cluster.pass(2_000);
    assert_eq!(cluster.status().transitions, 1_000);
}

#[test]
fn pods_that_change_many_times_a_second_are_reported_seldom() {
    let mut cluster = leading(&json!({}));
    let writes = cluster.api.status_writes;
    for turn in 0..500 {
        cluster.put_pod(pod("web-1", "u1", "n1", if turn % 2 == 0 { "Running" } else { "Pending" }, &[]));
        cluster.pass(20);
    }
    let writes = cluster.api.status_writes - writes;
    assert!(writes <= 21, "{writes} status writes in 10 s");
    cluster.delete(Kind::Pod, "web-1");
    cluster.pass(2_000);
    assert_eq!(cluster.status().candidates.total, 1);
}

#[test]
fn a_spec_that_changes_many_times_a_second_is_reported_seldom() {
    for odd in
        [json!({"candidates": {"selector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}}), json!(null)]
    {
        let mut cluster = leading(&json!({}));
        let writes = cluster.api.status_writes;
        for turn in 0..500 {
            let mut group = cluster.api.get(Kind::Group, "web").cloned().unwrap();
            // What can't be read tells each time of something else.
            group["spec"] = if odd.is_null() { json!({"historyLimit": format!("many {turn}")}) } else { odd.clone() };
            if turn % 2 == 1 && !odd.is_null() {
                group["spec"] = json!({});
            }
            group["metadata"]["generation"] = json!(turn + 2);
            cluster.put_group(group);
            cluster.pass(20);
        }
        let writes = cluster.api.status_writes - writes;
        assert!(writes <= 21, "{writes} status writes in 10 s");
    }
}

fn notice(reason: &str) -> Notice {
    Notice {
        warning: false,
        reason: reason.into(),
        action: "Judge".into(),
        note: "note".into(),
        pod: None,
        saved: None,
    }
}

#[test]
fn events_of_each_reason_are_told_in_a_burst_and_then_one_in_five_minutes() {
    let mut told = Told::default();
    let burst = (0..100).filter_map(|_| told.admit(notice("Alive"), ms(0))).count();
    assert_eq!(burst, 25);
    assert!(told.admit(notice("Other"), ms(0)).is_some(), "another reason has its own");
    let every = u64::try_from(EVENTS.every.as_millis()).unwrap();
    assert!(told.admit(notice("Alive"), ms(every - 1)).is_none());
    let one = told.admit(notice("Alive"), ms(every)).unwrap();
    assert_eq!(one.note, "[76 more Alive before this were not told] note");
    assert!(told.admit(notice("Alive"), ms(every)).is_none());
    let later = ms(every * 60);
    assert!(told.admit(notice("Alive"), later).unwrap().note.starts_with("[1 more"), "none is forgotten");
    let again = (0..100).filter_map(|_| told.admit(notice("Alive"), later + Duration::from_secs(1))).count();
    assert_eq!(again, 24, "after a long rest a burst is told again");
}

#[test]
fn how_many_were_not_told_survives_the_cut_of_a_long_note() {
    let mut told = Told::default();
    let long = || Notice { note: "x".repeat(10_000), ..notice("Alive") };
    let burst: Vec<_> = (0..30).filter_map(|_| told.admit(long(), ms(0))).collect();
    let last = cut(burst.last().unwrap().note.clone(), 1_000);
    assert!(last.starts_with("[too many Alive: from here on one in 5 minutes is told]"), "{last}");
}
