//! How groups conduct themselves, as their conditions tell it: leadership that changes too often, timing that does not fit,
//! leaders that are not as they should be. And that telling it costs nothing while a leader renews.

#![allow(missing_docs)]

mod support;

use leadergroup_api::TransitionReason;
use serde_json::{Value, json};
use support::api::Kind;
use support::cluster::{Cluster, web_0_ended};
use support::{ended, micro_time, pod, restarted, running};

/// Three candidates, of which `web-0` leads since 20 s.
fn three(spec: &Value) -> Cluster {
    let mut cluster = Cluster::new(spec);
    for n in 0..3 {
        cluster.put_pod(candidate(n, running(0)));
    }
    cluster.renew_times("web-0", 10);
    for condition in ["Flapping", "LeaderSuspect"] {
        assert!(cluster.condition(condition).starts_with("False "), "{}", cluster.condition(condition));
    }
    cluster
}

fn candidate(n: usize, status: Value) -> Value {
    pod(&format!("web-{n}"), &format!("u{n}"), "n1", "Running", &[("app", status)])
}

/// The same pod while it is being deleted, which takes its containers long.
fn leaving(n: usize, status: Value) -> Value {
    let mut pod = candidate(n, status);
    pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:20Z");
    pod
}

/// The same pod once it is known to be evicted, before it is deleted.
fn disrupted(n: usize, status: Value) -> Value {
    let mut pod = candidate(n, status);
    let disrupted = json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"});
    pod["status"]["conditions"].as_array_mut().unwrap().push(disrupted);
    pod
}

fn message(cluster: &Cluster, type_: &str) -> String {
    let conditions = cluster.status().conditions;
    conditions.into_iter().find(|c| c.type_ == type_).map(|c| c.message).unwrap_or_default()
}

/// The Lease stands still until it has run out, and that one takes it.
fn expire_to(cluster: &mut Cluster, holder: &str) {
    cluster.pass(16_000);
    cluster.renew(holder);
}

/// The leader gives the Lease up after a second, and that one takes it a second later.
fn release_to(cluster: &mut Cluster, holder: &str) {
    cluster.pass(1_000);
    let mut spec = cluster.lease();
    spec["holderIdentity"] = json!("");
    spec["leaseDurationSeconds"] = json!(1);
    spec["renewTime"] = json!(micro_time(i64::try_from(cluster.now).unwrap()));
    cluster.set_lease(&spec);
    cluster.pass(1_000);
    cluster.renew(holder);
}

// === Flapping ===

#[test]
fn four_changes_within_forty_durations_are_too_many_and_then_no_more() {
    let mut cluster = three(&json!({}));
    for holder in ["web-1", "web-2", "web-0"] {
        release_to(&mut cluster, holder);
    }
    assert_eq!(cluster.condition("Flapping"), "False Steady");
    expire_to(&mut cluster, "web-1");
    assert_eq!(cluster.condition("Flapping"), "True TooManyTransitions");
    let told = message(&cluster, "Flapping");
    assert!(told.contains("4 times or more within 600 s"), "{told}");
    assert!(told.ends_with("the latest reasons: Expired, Released, Released, Released"), "{told}");
    assert_eq!(cluster.count("Tell TooManyTransitions"), 1);

    // The first of the four was 20 s before the last.
    let written = cluster.count("WriteStatus");
    cluster.renew_times("web-1", 285);
    assert_eq!(
        (cluster.condition("Flapping").as_str(), cluster.count("WriteStatus")),
        ("True TooManyTransitions", written)
    );
    cluster.renew_times("web-1", 10);
    assert_eq!((cluster.condition("Flapping").as_str(), cluster.count("WriteStatus")), ("False Steady", written + 1));
}

#[test]
fn the_same_changes_over_a_longer_time_are_not_too_many() {
    let mut cluster = three(&json!({}));
    for holder in ["web-1", "web-2", "web-0", "web-1", "web-2", "web-0"] {
        release_to(&mut cluster, holder);
        cluster.renew_times(holder, 110);
    }
    assert_eq!((cluster.condition("Flapping").as_str(), cluster.status().transitions), ("False Steady", 6));
}

#[test]
fn the_window_goes_by_the_groups_own_timing() {
    let timing = json!({"lease": {"durationSeconds": 60, "renewDeadlineSeconds": 40, "retryPeriodSeconds": 8}});
    let mut cluster = three(&timing);
    for holder in ["web-1", "web-2", "web-0", "web-1"] {
        release_to(&mut cluster, holder);
        cluster.renew_times(holder, 110);
    }
    assert_eq!(cluster.condition("Flapping"), "True TooManyTransitions");
}

#[test]
fn a_rollout_is_no_flapping() {
    let mut cluster = three(&json!({}));
    for n in 0..8_usize {
        cluster.put_pod(candidate(n + 1, running(0)));
        release_to(&mut cluster, &format!("web-{}", n + 1));
        cluster.delete(Kind::Pod, &format!("web-{n}"));
    }
    cluster.pass(2_000);
    assert_eq!((cluster.condition("Flapping").as_str(), cluster.status().transitions), ("False Steady", 8));
}

#[test]
fn a_rollout_of_pods_that_take_long_to_end_is_no_flapping() {
    let mut cluster = three(&json!({}));
    for n in 0..8_usize {
        cluster.put_pod(candidate(n + 1, running(0)));
        cluster.put_pod(leaving(n, running(0)));
        release_to(&mut cluster, &format!("web-{}", n + 1));
    }
    assert_eq!((cluster.condition("Flapping").as_str(), cluster.status().transitions), ("False Steady", 8));
}

#[test]
fn leaders_whose_pods_were_not_known_go_by_their_identity() {
    // What a rollout, or a change without one, was while no operator led.
    for (goes, expected) in [(true, "False Steady"), (false, "True TooManyTransitions")] {
        let mut cluster = three(&json!({}));
        cluster.is_stopped = true;
        for n in 0..6_usize {
            cluster.put_pod(candidate(n + 1, running(0)));
            release_to(&mut cluster, &format!("web-{}", n + 1));
            if goes {
                cluster.delete(Kind::Pod, &format!("web-{n}"));
            }
        }
        cluster.take_over();
        let unknown = cluster.status().history.iter().filter(|t| t.pod_uid.is_none()).count();
        assert!(unknown > 4, "{:?}", cluster.status().history);
        assert_eq!(cluster.condition("Flapping"), expected, "{:?}", cluster.status().history);
    }
}

#[test]
fn leaders_that_crash_in_turn_are_flapping_and_an_operator_that_takes_over_says_the_same() {
    let mut cluster = three(&json!({}));
    for turn in 0..4_usize {
        let (n, next) = (turn % 3, (turn + 1) % 3);
        let at = i64::try_from(cluster.now).unwrap();
        cluster.put_pod(candidate(n, restarted(at, at - 100)));
        cluster.renew_times(&format!("web-{next}"), 5);
    }
    assert_eq!(cluster.condition("Flapping"), "True TooManyTransitions");
    let (status, written) = (cluster.status(), cluster.count("WriteStatus"));
    cluster.restart();
    assert_eq!((cluster.status(), cluster.count("WriteStatus")), (status, written));
}

// === TimingSuspect ===

#[test]
fn a_leader_that_was_replaced_though_it_runs_says_what_timing_would_have_kept_it() {
    let mut cluster = three(&json!({}));
    expire_to(&mut cluster, "web-1");
    assert_eq!(cluster.condition("TimingSuspect"), "True NeedlessTransition");
    let told = message(&cluster, "TimingSuspect");
    // The last renewal was two seconds before the sixteen.
    for part in [
        "\"web-1\" took the Lease from \"web-0\", whose pod web-0 still runs, 18.0 s after its last renewal",
        "the latest of those before came after 2.0 s",
        "renewDeadlineSeconds: 23 and durationSeconds: 34, instead of 10 and 15",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(cluster.count("Tell NeedlessTransition"), 1);
    cluster.renew_times("web-1", 5);
    let (status, written) = (cluster.status(), cluster.count("WriteStatus"));
    cluster.restart();
    cluster.renew_times("web-1", 5);
    assert_eq!((cluster.status(), cluster.count("WriteStatus")), (status, written), "a new operator says the same");
    cluster.take_over();
    cluster.renew_times("web-1", 1_780);
    assert_eq!(cluster.condition("TimingSuspect"), "True NeedlessTransition");
    cluster.renew_times("web-1", 20);
    assert_eq!(cluster.condition("TimingSuspect"), "False Fits", "an hour later");
}

#[test]
fn a_leader_that_ended_was_not_replaced_needlessly() {
    let mut cluster = three(&json!({}));
    cluster.put_pod(web_0_ended(20_500));
    cluster.pass(500);
    cluster.renew("web-1");
    assert_eq!(cluster.condition("TimingSuspect"), "False Fits");
    cluster.renew_times("web-1", 5);
    cluster.delete(Kind::Pod, "web-1");
    expire_to(&mut cluster, "web-2");
    assert_eq!(cluster.condition("TimingSuspect"), "False Fits", "its pod is gone");
}

#[test]
fn a_leader_that_was_being_deleted_was_not_replaced_needlessly() {
    for (what, pod) in [("deleted", leaving(0, running(0))), ("evicted", disrupted(0, running(0)))] {
        for seconds in [4, 16] {
            let mut cluster = three(&json!({}));
            cluster.put_pod(pod.clone());
            assert_eq!(cluster.verdict(), "Alive", "that proves nothing");
            cluster.pass(seconds * 1_000);
            cluster.renew("web-1");
            assert_eq!(cluster.condition("TimingSuspect"), "False Fits", "{what}, {seconds} s");
            assert_eq!(cluster.status().transitions, 1);
        }
    }
}

#[test]
fn what_a_transition_said_is_not_told_by_the_next_operator_after_one_that_came_between() {
    let mut cluster = three(&json!({}));
    expire_to(&mut cluster, "web-1");
    assert_eq!(cluster.condition("TimingSuspect"), "True NeedlessTransition");
    cluster.is_stopped = true;
    release_to(&mut cluster, "web-2");
    cluster.take_over();
    let newest = cluster.status().history.remove(0);
    assert_eq!((newest.leader.as_str(), newest.reason), ("web-2", TransitionReason::Released));
    assert_eq!(cluster.condition("TimingSuspect"), "False Fits");
}

#[test]
fn what_a_transition_said_is_told_by_the_next_operator_however_long_the_condition_was_true() {
    let mut cluster = Cluster::new(&json!({"lease": {"durationSeconds": 30, "renewDeadlineSeconds": 20}}));
    cluster.put_pod(candidate(0, running(0)));
    cluster.put_pod(candidate(1, running(0)));
    // Longer than a transition is told of.
    cluster.renew_times("web-0", 3_650);
    assert_eq!(cluster.condition("TimingSuspect"), "True OtherDuration");
    expire_to(&mut cluster, "web-1");
    assert_eq!(cluster.condition("TimingSuspect"), "True NeedlessTransition");
    cluster.renew_times("web-1", 5);
    let (status, written) = (cluster.status(), cluster.count("WriteStatus"));
    cluster.restart();
    cluster.renew_times("web-1", 5);
    assert_eq!((cluster.status(), cluster.count("WriteStatus")), (status, written));
}

#[test]
fn an_operator_that_does_not_know_how_long_the_lease_stood_still_accuses_nobody() {
    use TransitionReason::{Expired, Taken, Unobserved};
    // What happens before another takes the Lease, the reason that is told then, and what of the timing.
    type Case = (&'static str, fn(&mut Cluster), TransitionReason, &'static str);
    let cases: [Case; 6] = [
        (
            "an operator starts while the leader hangs",
            |c| {
                c.pass(9_000);
                c.restart();
                c.pass(5_000);
            },
            Unobserved,
            "False Fits",
        ),
        (
            "and it has waited for as long as the Lease lasts",
            |c| {
                c.pass(9_000);
                c.restart();
                c.pass(16_000);
            },
            Expired,
            "False Fits",
        ),
        (
            "the last renewal is known by a list that came late",
            |c| {
                c.hold(Kind::Lease);
                c.renew("web-0");
                c.pass(12_000);
                c.relist(Kind::Lease);
                c.release(Kind::Lease);
                c.pass(4_000);
            },
            Unobserved,
            "False Fits",
        ),
        (
            "the other is known by a list that came late",
            |c| {
                c.pass(4_000);
                c.hold(Kind::Lease);
                c.renew("web-1");
                c.pass(6_000);
                c.relist(Kind::Lease);
                c.release(Kind::Lease);
            },
            Unobserved,
            "False Fits",
        ),
        (
            "the other is known by the read that asks whether the Lease ran out",
            |c| {
                c.pass(12_950);
                c.hold(Kind::Lease);
                c.renew("web-1");
                c.pass(100);
                assert_eq!(c.count("ReadLease"), 1);
                c.release(Kind::Lease);
            },
            Expired,
            "True NeedlessTransition",
        ),
        (
            "an operator starts, and sees the leader renew",
            |c| {
                c.restart();
                c.renew_times("web-0", 1);
                c.pass(4_000);
            },
            Taken,
            "True TakenEarly",
        ),
    ];
    for (what, happens, reason, told) in cases {
        let mut cluster = three(&json!({}));
        happens(&mut cluster);
        cluster.renew("web-1");
        let newest = cluster.status().history.remove(0);
        assert_eq!((newest.leader.as_str(), newest.reason), ("web-1", reason), "{what}");
        assert_eq!(cluster.condition("TimingSuspect"), told, "{what}");
        assert_eq!(cluster.status().transitions, 1, "{what}");
    }
}

#[test]
fn a_lease_taken_before_it_ran_out_is_told_as_such_until_a_sound_transition() {
    let mut cluster = three(&json!({}));
    cluster.pass(4_000);
    cluster.renew("web-1");
    assert_eq!(cluster.condition("TimingSuspect"), "True TakenEarly");
    let told = message(&cluster, "TimingSuspect");
    assert!(
        told.contains("6.0 s after its last renewal, before it had run out") && told.contains("(15 s, 10 s, 2 s)"),
        "{told}"
    );
    release_to(&mut cluster, "web-2");
    assert_eq!(cluster.condition("TimingSuspect"), "False Fits");
}

#[test]
fn late_renewals_are_told_once_for_each_step() {
    let mut cluster = three(&json!({}));
    cluster.renew_times("web-0", 100);
    cluster.pass(4_000);
    let written = cluster.count("WriteStatus");
    let after = |cluster: &mut Cluster, gap: u64| {
        cluster.pass(gap - 6_000);
        cluster.renew("web-0");
        cluster.pass(6_000);
        cluster.count("WriteStatus") - written
    };
    assert_eq!(after(&mut cluster, 9_900), 0);
    assert_eq!(after(&mut cluster, 11_000), 1);
    assert_eq!(cluster.condition("TimingSuspect"), "True LateRenewals");
    let told = message(&cluster, "TimingSuspect");
    assert!(told.contains("one came 11.0 s after the one before (99 of 100 within 2.0 s)"), "{told}");
    assert!(told.contains("renewDeadlineSeconds: 14 and durationSeconds: 21, instead of 10 and 15"), "{told}");
    for gap in [12_000, 14_000, 10_500, 14_900] {
        assert_eq!(after(&mut cluster, gap), 1, "the same step, {gap}: {:#?}", cluster.status());
    }
    // It ran out meanwhile, which is told as well, and when it led again.
    assert_eq!(after(&mut cluster, 17_000), 4);
    assert!(
        message(&cluster, "TimingSuspect").contains("one came 17.0 s after"),
        "{}",
        message(&cluster, "TimingSuspect")
    );
    cluster.renew_times("web-0", 1_810);
    assert_eq!(cluster.condition("TimingSuspect"), "False Fits", "an hour after the last");
    assert_eq!(cluster.count("Tell LateRenewals"), 1);
}

/// The leader renews once more, so long after the last time.
fn pause(cluster: &mut Cluster, milliseconds: u64) {
    cluster.pass(milliseconds - 2_000);
    cluster.renew_times("web-0", 4);
}

#[test]
fn late_renewals_are_told_by_the_next_operator_until_their_time_is_over_or_another_leads() {
    let late = || {
        let mut cluster = three(&json!({}));
        pause(&mut cluster, 12_000);
        assert_eq!(cluster.condition("TimingSuspect"), "True LateRenewals");
        let (status, written) = (cluster.status(), cluster.count("WriteStatus"));
        cluster.restart();
        cluster.renew_times("web-0", 20);
        assert_eq!((cluster.status(), cluster.count("WriteStatus")), (status, written));
        cluster
    };
    let mut cluster = late();
    cluster.renew_times("web-0", 1_760);
    assert_eq!(cluster.condition("TimingSuspect"), "True LateRenewals");
    // A later one is told in its place.
    pause(&mut cluster, 16_000);
    assert!(message(&cluster, "TimingSuspect").contains("one came 16.0 s after"), "{:?}", cluster.status());

    let mut cluster = late();
    cluster.renew_times("web-0", 1_790);
    assert_eq!(cluster.condition("TimingSuspect"), "False Fits", "an hour later");

    let mut cluster = late();
    release_to(&mut cluster, "web-1");
    assert_eq!(cluster.condition("TimingSuspect"), "False Fits", "another leads");
}

#[test]
fn a_leader_that_restarted_did_not_renew_late() {
    // Whether its kubelet says that it crashed, and when that it runs again, in milliseconds from the first renewal.
    let cases = [0, 1_500, 4_500, 9_000].into_iter().flat_map(|at| [(true, at), (false, at)]);
    for (crash_is_reported, reported_at) in cases {
        let mut cluster = three(&json!({"staleHolder": {"policy": "Observe"}}));
        let crashed = i64::try_from(cluster.now).unwrap();
        if crash_is_reported {
            cluster.put_pod(candidate(0, ended(crashed)));
        }
        cluster.pass(12_000);
        let back = i64::try_from(cluster.now).unwrap();
        cluster.renew("web-0");
        cluster.pass(reported_at);
        cluster.put_pod(candidate(0, restarted(back - 500, crashed)));
        cluster.renew_times("web-0", 6);
        assert_eq!((cluster.verdict().as_str(), cluster.status().transitions), ("Alive", 0), "the Lease is its own");
        assert_eq!(cluster.condition("TimingSuspect"), "False Fits", "reported after {reported_at}");
        let told = usize::from(!crash_is_reported && reported_at > 5_000);
        assert_eq!(cluster.count("Tell LateRenewals"), told, "reported after {reported_at}");
        // One that is late all the same is told of.
        pause(&mut cluster, 12_000);
        assert_eq!(cluster.condition("TimingSuspect"), "True LateRenewals");
    }
}

#[test]
fn the_restart_of_a_container_that_is_not_watched_excuses_nothing() {
    let with_proxy = |proxy| pod("web-0", "u0", "n1", "Running", &[("app", running(0)), ("proxy", proxy)]);
    let mut cluster = Cluster::new(&json!({"candidates": {"containers": ["app"]}}));
    cluster.put_pod(with_proxy(running(0)));
    cluster.renew_times("web-0", 10);
    let at = i64::try_from(cluster.now).unwrap();
    cluster.put_pod(with_proxy(restarted(at + 1_000, at)));
    pause(&mut cluster, 12_000);
    assert_eq!(cluster.condition("TimingSuspect"), "True LateRenewals");
}

#[test]
fn a_leader_that_acquires_its_own_lease_anew_did_not_renew_late() {
    let mut cluster = three(&json!({}));
    cluster.pass(12_000);
    let mut spec = cluster.lease();
    let at = micro_time(i64::try_from(cluster.now).unwrap());
    (spec["acquireTime"], spec["renewTime"]) = (json!(at), json!(at));
    cluster.set_lease(&spec);
    cluster.renew_times("web-0", 6);
    assert_eq!((cluster.condition("TimingSuspect").as_str(), cluster.status().transitions), ("False Fits", 0));
}

#[test]
fn a_library_that_renews_late_by_design_is_told_of_only_when_the_lease_ran_out_and_to_renew_more_often() {
    let mut cluster =
        Cluster::new(&json!({"lease": {"durationSeconds": 15, "renewDeadlineSeconds": 14, "retryPeriodSeconds": 11}}));
    cluster.put_pod(candidate(0, running(0)));
    for _ in 0..40 {
        cluster.renew("web-0");
        cluster.pass(11_000);
    }
    assert_eq!((cluster.condition("TimingSuspect").as_str(), cluster.count("Tell LateRenewals")), ("False Fits", 0));
    cluster.pass(6_000);
    cluster.renew_times("web-0", 4);
    assert_eq!(cluster.condition("TimingSuspect"), "True LateRenewals");
    let told = message(&cluster, "TimingSuspect");
    assert!(told.ends_with("renew more often: most renewals come 8.0 s or more after the one before, which leaves little of 15 s for a pause"), "{told}");
}

#[test]
fn a_watch_that_falls_behind_makes_no_renewal_late() {
    let mut cluster = three(&json!({}));
    cluster.hold(Kind::Lease);
    cluster.renew_times("web-0", 6);
    cluster.release(Kind::Lease);
    cluster.renew_times("web-0", 2);
    assert_eq!(cluster.condition("TimingSuspect"), "False Fits");
}

#[test]
fn candidates_of_another_duration_than_declared_are_named() {
    let mut cluster = Cluster::new(&json!({"lease": {"durationSeconds": 30, "renewDeadlineSeconds": 20}}));
    cluster.put_pod(candidate(0, running(0)));
    cluster.renew_times("web-0", 3);
    assert_eq!(cluster.condition("TimingSuspect"), "True OtherDuration");
    let told = message(&cluster, "TimingSuspect");
    assert!(told.contains("lasts 15 s by its own record") && told.contains("durationSeconds is 30"), "{told}");
    assert_eq!(cluster.count("Tell OtherDuration"), 0);
}

// === LeaderSuspect ===

fn unready(n: usize) -> Value {
    let mut pod = candidate(n, running(0));
    pod["status"]["conditions"][0]["status"] = json!("False");
    pod
}

#[test]
fn a_leader_that_renews_but_stays_unready_is_named() {
    let mut cluster = three(&json!({}));
    cluster.put_pod(unready(0));
    let written = cluster.count("WriteStatus");
    cluster.renew_times("web-0", 14);
    assert_eq!(cluster.condition("LeaderSuspect"), "False Sound", "it may be starting");
    cluster.renew_times("web-0", 2);
    assert_eq!(cluster.condition("LeaderSuspect"), "True LeaderNotReady");
    cluster.renew_times("web-0", 50);
    assert_eq!((cluster.count("WriteStatus") - written, cluster.count("Tell LeaderNotReady")), (1, 1));
    cluster.restart();
    cluster.renew_times("web-0", 20);
    assert_eq!(
        (cluster.condition("LeaderSuspect").as_str(), cluster.count("WriteStatus") - written),
        ("True LeaderNotReady", 1),
        "a new operator says the same"
    );
    cluster.put_pod(candidate(0, running(0)));
    assert_eq!(cluster.condition("LeaderSuspect"), "False Sound");
    cluster.put_pod(unready(1));
    cluster.renew_times("web-0", 30);
    assert_eq!(cluster.condition("LeaderSuspect"), "False Sound", "a standby may be");
    let mut leader = leaving(0, running(0));
    leader["status"]["conditions"][0]["status"] = json!("False");
    cluster.put_pod(leader);
    cluster.renew_times("web-0", 30);
    assert_eq!(cluster.condition("LeaderSuspect"), "False Sound", "one that is being deleted has to be");
}

#[test]
fn two_that_take_the_lease_from_each_other_may_both_lead() {
    let mut cluster = three(&json!({}));
    cluster.renew_times("web-1", 1);
    assert_eq!(cluster.condition("LeaderSuspect"), "False Sound");
    cluster.renew_times("web-0", 1);
    assert_eq!(cluster.condition("LeaderSuspect"), "True Alternating");
    let told = message(&cluster, "LeaderSuspect");
    assert!(told.starts_with("\"web-0\" and \"web-1\" took the Lease from each other within 15 s"), "{told}");
    cluster.renew_times("web-0", 310);
    assert_eq!(cluster.condition("LeaderSuspect"), "False Sound", "forty durations later");
}

#[test]
fn leadership_that_comes_back_by_releases_or_to_a_pod_that_is_gone_is_no_split_brain() {
    let mut cluster = three(&json!({}));
    release_to(&mut cluster, "web-1");
    release_to(&mut cluster, "web-0");
    assert_eq!(cluster.condition("LeaderSuspect"), "False Sound");
    let mut cluster = three(&json!({}));
    cluster.renew_times("web-1", 1);
    cluster.delete(Kind::Pod, "web-1");
    cluster.renew_times("web-0", 1);
    assert_eq!(cluster.condition("LeaderSuspect"), "False Sound");
    let mut cluster = three(&json!({}));
    cluster.renew_times("web-1", 1);
    cluster.put_pod(leaving(1, running(0)));
    cluster.renew_times("web-0", 1);
    assert_eq!(cluster.condition("LeaderSuspect"), "False Sound", "it is being deleted");
}
