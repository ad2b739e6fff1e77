//! Orders of events that a cluster can produce but a test of a cluster can't wait for: watches ahead of each other,
//! answers that get lost, deletions nobody saw. What must hold: no live holder is cleared before its Lease ran out.

#![allow(missing_docs)]

mod support;

use kube::runtime::watcher::Event;
use leadergroup_api::TransitionReason;
use leadergroup_operator::time::Mono;
use serde_json::{Value, json};
use support::api::{Kind, change};
use support::cluster::{Cluster, Fate, leading, take_as, web_0, web_0_ended};
use support::{counted, ended, ms, node, now_at, pod, restarted, running, time};

#[test]
fn a_holder_whose_pod_ended_is_cleared_at_once() {
    let mut cluster = leading(&json!({}));
    cluster.put_pod(web_0_ended(7_500));
    assert_eq!(cluster.api.cleared.len(), 1);
    assert_eq!(cluster.lease()["holderIdentity"], json!(""));
}

#[test]
fn a_report_that_arrives_after_the_next_run_renewed_clears_nobody() {
    let mut cluster = leading(&json!({}));
    cluster.hold(Kind::Pod);
    cluster.put_pod(web_0("u0", restarted(7_600, 7_500)));
    cluster.renew("web-0");
    cluster.release(Kind::Pod);
    cluster.pass(1_000);
    assert!(cluster.api.cleared.is_empty());
    assert_eq!(cluster.verdict(), "Alive");
}

#[test]
fn a_renewal_the_operator_has_yet_to_see_keeps_the_next_run_in_office() {
    let mut cluster = leading(&json!({}));
    cluster.hold(Kind::Lease);
    cluster.renew("web-0");
    cluster.put_pod(web_0("u0", restarted(7_600, 7_500)));
    assert_eq!(cluster.count("Clear"), 1, "by what the operator knows, no run has renewed since");
    assert!(cluster.api.cleared.is_empty());
    assert_eq!(cluster.verdict(), "Alive");
}

#[test]
fn a_last_renewal_seen_after_the_end_is_no_contradiction() {
    let mut cluster = leading(&json!({}));
    cluster.hold(Kind::Lease);
    cluster.renew("web-0");
    cluster.put_pod(web_0_ended(8_500));
    assert_eq!(cluster.api.cleared.len(), 1);
    cluster.release(Kind::Lease);
    assert_eq!(cluster.verdict(), "Free");
}

#[test]
fn a_pod_that_led_and_went_before_the_watch_brought_it_keeps_the_lease_to_its_end() {
    let mut cluster = leading(&json!({}));
    cluster.hold(Kind::Pod);
    let version = cluster.api.put(Kind::Pod, web_0_ended(8_500));
    let mut namesake = pod("other", "u1", "n2", "Running", &[("app", running(8_100))]);
    namesake["spec"]["hostname"] = json!("web-0");
    cluster.put_pod(namesake);
    cluster.renew("web-0");
    cluster.delete(Kind::Pod, "other");
    let mut ended = web_0_ended(8_500);
    ended["metadata"]["resourceVersion"] = json!(version.to_string());
    cluster.engine.change(change(Kind::Pod, &Event::Apply(ended)), now_at(ms(cluster.now)));
    cluster.pass(2_000);
    assert!(
        cluster.api.cleared.is_empty(),
        "no reading shows the other, but the watch has not come as far as its renewal"
    );
    cluster.release(Kind::Pod);
    cluster.pass(2_000);
    assert!(cluster.api.cleared.is_empty(), "it went without a report");
}

#[test]
fn a_deletion_seen_only_by_a_list_waits_for_the_lease_to_run_out() {
    let mut cluster = leading(&json!({}));
    cluster.hold(Kind::Pod);
    cluster.delete(Kind::Pod, "web-0");
    cluster.relist(Kind::Pod);
    cluster.pass(27_900);
    assert_eq!(cluster.verdict(), "Vanished");
    assert!(cluster.api.cleared.is_empty());
    cluster.pass(200);
    assert_eq!(cluster.api.cleared.len(), 1, "nobody took the Lease for one more duration");
    cluster.renew("web-1");
    assert_eq!(cluster.status().history[0].reason, TransitionReason::Expired);
}

/// The old pod ended and is gone; another is under its name when the delay between proof and clear is over, and only
/// the API server knows of it.
fn replaced_unseen(replacement: &Value) -> Cluster {
    let mut cluster = leading(&json!({"staleHolder": {"delaySeconds": 1}}));
    cluster.put_pod(web_0_ended(7_500));
    cluster.delete(Kind::Pod, "web-0");
    cluster.hold(Kind::Pod);
    cluster.put_pod(replacement.clone());
    cluster.pass(1_100);
    cluster
}

#[test]
fn a_replacement_already_bound_to_a_node_stops_an_early_clear() {
    let mut cluster = replaced_unseen(&web_0("u1", running(8_000)));
    cluster.pass(10_000);
    assert!(cluster.api.cleared.is_empty());
    cluster.release(Kind::Pod);
    assert_eq!(cluster.verdict(), "Alive");
    assert!(cluster.api.cleared.is_empty());
}

#[test]
fn a_replacement_not_bound_yet_does_not_stop_an_early_clear() {
    let cluster = replaced_unseen(&pod("web-0", "u1", "", "Pending", &[("app", Value::Null)]));
    assert_eq!(cluster.api.cleared.len(), 1);
}

#[test]
fn a_clock_that_stepped_back_proves_nothing() {
    let mut cluster = leading(&json!({}));
    cluster.renew_by("web-0", -3_000);
    cluster.pass(1_000);
    cluster.put_pod(web_0("u0", ended(6_500)));
    cluster.pass(3_000);
    assert!(cluster.api.cleared.is_empty());
    assert_eq!(cluster.verdict(), "Unproven");
}

#[test]
fn a_clear_that_landed_unanswered_counts_as_a_clear() {
    let mut cluster = leading(&json!({}));
    cluster.fate = Fate::LandsUnanswered;
    cluster.put_pod(web_0_ended(7_500));
    assert_eq!((cluster.api.cleared.len(), cluster.count("Clear")), (1, 1));
    assert_eq!(cluster.verdict(), "Free");
    cluster.renew("web-1");
    let status = cluster.status();
    assert_eq!((status.transitions, status.history[0].reason), (1, TransitionReason::Cleared));
}

#[test]
fn a_clear_that_got_lost_is_made_again() {
    let mut cluster = leading(&json!({}));
    cluster.fate = Fate::Lost;
    cluster.put_pod(web_0_ended(7_500));
    cluster.pass(5_000);
    assert_eq!((cluster.api.cleared.len(), cluster.count("Clear")), (1, 2));
    assert_eq!(cluster.verdict(), "Free");
}

#[test]
fn a_new_pod_that_took_the_cleared_lease_under_the_old_name_stays() {
    for fate in [Fate::Answered, Fate::LandsUnanswered] {
        let mut cluster = leading(&json!({}));
        cluster.fate = fate;
        cluster.after_clear = Some(|api| {
            api.delete(Kind::Pod, "web-0");
            api.put(Kind::Pod, web_0("u1", running(8_000)));
            take_as(api, "web-0", 8_000);
        });
        cluster.put_pod(web_0_ended(7_500));
        cluster.pass(14_000);
        assert_eq!(cluster.api.cleared.len(), 1, "{fate:?}");
        assert_eq!(cluster.verdict(), "Alive", "{fate:?}");
        assert_eq!(cluster.status().leader.unwrap().pod_uid.as_deref(), Some("u1"), "{fate:?}");
    }
}

#[test]
fn a_new_pod_that_takes_the_lease_before_the_watch_brings_it_is_no_contradiction() {
    for relists in [false, true] {
        let mut cluster = leading(&json!({}));
        cluster.put_pod(web_0_ended(7_500));
        assert_eq!(cluster.api.cleared.len(), 1);
        cluster.delete(Kind::Pod, "web-0");
        if relists {
            cluster.relist(Kind::Pod);
        }
        cluster.hold(Kind::Pod);
        cluster.put_pod(web_0("u1", running(8_000)));
        for _ in 0..3 {
            cluster.renew("web-0");
            cluster.pass(700);
        }
        assert_ne!(cluster.verdict(), "Contradiction", "relists: {relists}");
        cluster.release(Kind::Pod);
        assert_eq!(cluster.verdict(), "Alive", "relists: {relists}");
        cluster.renew_times("web-0", 4);
        let ended_at = i64::try_from(cluster.now).unwrap();
        cluster.put_pod(pod("web-0", "u1", "n1", "Failed", &[("app", ended(ended_at))]));
        assert_eq!(cluster.verdict(), if relists { "Terminated" } else { "Free" }, "relists: {relists}");
        cluster.pass(40_000);
        assert_eq!(cluster.api.cleared.len(), 2, "relists: {relists}");
    }
}

#[test]
fn a_lease_expires_though_a_reading_contradicts_the_watch_all_the_time() {
    let mut cluster = leading(&json!({"staleHolder": {"release": "Delete"}}));
    cluster.hold(Kind::Pod);
    cluster.put_pod(web_0("u1", json!({"state": {"waiting": {}}})));
    let mut ended = web_0_ended(7_500);
    ended["metadata"]["resourceVersion"] = json!(cluster.api.version().to_string());
    cluster.engine.change(change(Kind::Pod, &Event::Apply(ended)), now_at(ms(cluster.now)));
    cluster.pass(12_000);
    assert!(cluster.api.cleared.is_empty());
    assert!(cluster.count("ReadPods") < 6, "{} readings", cluster.count("ReadPods"));
    cluster.pass(2_000);
    assert_eq!(cluster.api.cleared.len(), 1);
}

#[test]
fn a_machine_that_took_the_nodes_name_ends_nothing_before_the_watch_brings_it() {
    for ended in [web_0_ended(7_500), web_0("u0", restarted(7_600, 7_500))] {
        let mut cluster = leading(&json!({}));
        cluster.hold(Kind::Node);
        let mut node = node("n1", true, false);
        node["metadata"]["creationTimestamp"] = json!(time(7_000));
        cluster.api.put(Kind::Node, node);
        cluster.put_pod(bound(ended));
        cluster.pass(3_000);
        assert!(cluster.api.cleared.is_empty());
        cluster.release(Kind::Node);
        cluster.pass(3_000);
        assert!(cluster.api.cleared.is_empty());
    }
    let mut cluster = leading(&json!({}));
    cluster.put_pod(bound(web_0_ended(7_500)));
    assert_eq!(cluster.api.cleared.len(), 1);
}

#[test]
fn a_phase_that_another_wrote_while_the_node_was_not_ready_ends_nothing_before_the_watch_brings_that() {
    for ready_again_at in [None, Some(9_000)] {
        let mut cluster = leading(&json!({}));
        cluster.hold(Kind::Node);
        cluster.api.put(Kind::Node, node("n1", false, false));
        // In the second of the last renewal: the phase alone says that no run follows.
        cluster.put_pod(web_0_ended(6_500));
        cluster.pass(1_500);
        if let Some(at) = ready_again_at {
            let mut node = node("n1", true, false);
            node["status"]["conditions"][0]["lastTransitionTime"] = json!(time(at));
            cluster.api.put(Kind::Node, node);
            cluster.pass(1_500);
        }
        assert!(cluster.api.cleared.is_empty(), "ready again at {ready_again_at:?}");
        cluster.release(Kind::Node);
        cluster.pass(3_000);
        assert!(cluster.api.cleared.is_empty(), "ready again at {ready_again_at:?}");
    }
}

#[test]
fn a_phase_that_another_wrote_before_the_node_was_ready_again_ends_nothing_though_it_is_seen_later() {
    for changes in [false, true] {
        let mut cluster = leading(&json!({}));
        cluster.hold(Kind::Pod);
        cluster.put_node("n1", false, false);
        cluster.put_pod(web_0_ended(6_500));
        let mut again = node("n1", true, false);
        again["status"]["conditions"][0]["lastTransitionTime"] = json!(time(8_000));
        cluster.api.put(Kind::Node, again);
        cluster.settle();
        if changes {
            cluster.put_node("n2", true, false);
        }
        cluster.release(Kind::Pod);
        cluster.pass(5_000);
        assert!(cluster.api.cleared.is_empty(), "another node changes: {changes}");
    }
}

#[test]
fn a_pod_that_another_said_has_failed_may_lead_beside_the_next_of_its_name() {
    let mut cluster = leading(&json!({}));
    cluster.hold(Kind::Node);
    cluster.api.put(Kind::Node, node("n1", false, false));
    cluster.put_pod(web_0_ended(6_500));
    cluster.delete(Kind::Pod, "web-0");
    let next = |status| pod("web-0", "u1", "n2", "Running", &[("app", status)]);
    cluster.put_pod(next(running(8_000)));
    assert!(!cluster.status().account.unwrap().complete);
    cluster.release(Kind::Node);
    cluster.restart();
    cluster.renew_times("web-0", 4);
    let ended_at = i64::try_from(cluster.now).unwrap();
    cluster.put_pod(pod("web-0", "u1", "n2", "Failed", &[("app", ended(ended_at))]));
    cluster.pass(5_000);
    assert!(cluster.api.cleared.is_empty());
}

#[test]
fn an_end_that_the_kubelet_reported_stays_one_when_its_node_is_removed_or_fails() {
    let not_ready: fn(&mut Cluster) = |cluster| cluster.put_node("n1", false, false);
    let removed: fn(&mut Cluster) = |cluster| cluster.delete(Kind::Node, "n1");
    let registered_again: fn(&mut Cluster) = |cluster| {
        cluster.delete(Kind::Node, "n1");
        cluster.pass(500);
        let mut node = node("n1", true, false);
        node["metadata"]["creationTimestamp"] = json!(time(7_900));
        cluster.api.put(Kind::Node, node);
        cluster.settle();
    };
    for becomes in [not_ready, removed, registered_again] {
        let mut cluster = leading(&json!({"staleHolder": {"delaySeconds": 3}}));
        cluster.put_pod(bound(web_0_ended(7_500)));
        becomes(&mut cluster);
        cluster.delete(Kind::Pod, "web-0");
        cluster.pass(3_000);
        assert_eq!(cluster.api.cleared.len(), 1);
    }
}

/// The pod, which the API server bound to its node at the beginning.
fn bound(mut pod: Value) -> Value {
    pod["metadata"]["creationTimestamp"] = json!(time(0));
    pod
}

#[test]
fn a_dead_holder_that_takes_the_lease_back_is_a_contradiction_that_is_remembered() {
    for fate in [Fate::Answered, Fate::LandsUnanswered] {
        let mut cluster = leading(&json!({}));
        cluster.fate = fate;
        cluster.after_clear = Some(|api| take_as(api, "web-0", 8_000));
        cluster.put_pod(web_0_ended(7_500));
        assert_eq!(cluster.verdict(), "Contradiction", "{fate:?}");
        assert_eq!(cluster.condition("HolderSuspect"), "True Contradiction");
        cluster.restart();
        cluster.pass(60_000);
        assert_eq!(cluster.verdict(), "Contradiction", "{fate:?}");
        assert_eq!(cluster.api.cleared.len(), 1, "{fate:?}");

        cluster.put_pod(pod("web-1", "u1", "n2", "Running", &[("app", running(60_000))]));
        cluster.renew("web-1");
        assert_eq!(cluster.verdict(), "Alive", "{fate:?}");
    }
}

#[test]
fn a_lease_taken_just_before_the_clear_is_left_to_its_taker() {
    let mut cluster = leading(&json!({}));
    cluster.put_pod(pod("web-1", "u1", "n2", "Running", &[("app", running(0))]));
    cluster.before_clear = Some(|api| take_as(api, "web-1", 8_000));
    cluster.put_pod(web_0_ended(7_500));
    assert!(cluster.api.cleared.is_empty());
    assert_eq!(cluster.status().leader.unwrap().identity, "web-1");
}

#[test]
fn policy_observe_writes_nothing_to_the_lease_and_says_what_it_would_have_saved() {
    let mut cluster = leading(&json!({"staleHolder": {"policy": "Observe"}}));
    cluster.put_pod(web_0_ended(7_500));
    let version = cluster.api.version_of(Kind::Lease, "web");
    cluster.pass(60_000);
    assert_eq!((cluster.verdict().as_str(), cluster.count("Clear")), ("Terminated", 0));
    assert_eq!(cluster.api.version_of(Kind::Lease, "web"), version);
    cluster.renew("web-1");
    assert_eq!(saved(&cluster), Some(ms(60_000)));
}

/// What the last change of leader could have been shortened by.
fn saved(cluster: &Cluster) -> Option<Mono> {
    cluster.notices.iter().rev().find(|notice| notice.reason == "LeaderChanged").unwrap().saved
}

#[test]
fn policy_observe_claims_only_what_the_library_would_have_gained() {
    const JAVA: &str = "Kubernetes Java Client";
    const PYTHON: &str = "OpenAPI-Generator";
    for (manager, release, gains) in [
        ("web", "Auto", true),
        (PYTHON, "Auto", true),
        (JAVA, "Auto", true),
        // Counts a whole lease duration from such a clear.
        (JAVA, "Empty", false),
        (JAVA, "Null", true),
        (JAVA, "Delete", true),
        // Sleep until the expiry that they last read.
        ("kubert", "Auto", false),
        ("kubert", "Delete", false),
        ("kube-lease-manager-q7Xk2", "Auto", false),
        // Named like its holder.
        ("web-0", "Auto", true),
        ("web-0", "Null", false),
    ] {
        let mut cluster = leading(&json!({"staleHolder": {"policy": "Observe", "release": release}}));
        cluster.write_lease_as(manager);
        cluster.put_pod(web_0_ended(7_500));
        cluster.pass(10_000);
        assert_eq!(cluster.verdict(), "Terminated", "{manager}, {release}");
        cluster.renew("web-1");
        assert_eq!(saved(&cluster), gains.then_some(ms(10_000)), "{manager}, {release}");
    }
}

#[test]
fn the_delay_between_proof_and_clear_is_kept() {
    let mut cluster = leading(&json!({"staleHolder": {"delaySeconds": 5}}));
    cluster.put_pod(web_0_ended(7_500));
    cluster.pass(4_999);
    assert!(cluster.api.cleared.is_empty());
    cluster.pass(1);
    assert_eq!(cluster.api.cleared.len(), 1);
}

#[test]
fn on_restart_keep_leaves_the_lease_to_the_pod_that_restarts() {
    let mut cluster = leading(&json!({"staleHolder": {"onRestart": "Keep"}}));
    cluster.put_pod(web_0("u0", restarted(7_600, 7_500)));
    cluster.pass(10_000);
    assert!(cluster.api.cleared.is_empty());
    cluster.renew("web-0");
    assert_eq!(cluster.verdict(), "Alive");
    // It has a say over restarts only.
    cluster.put_pod(pod("web-0", "u0", "n1", "Failed", &[("app", counted(ended(19_000), 1))]));
    assert_eq!(cluster.api.cleared.len(), 1);
}

#[test]
fn an_accepted_risk_never_clears_a_holder_that_renews() {
    let mut cluster = leading(&json!({"staleHolder": {"unconfirmed": {"policy": "AcceptRisk", "afterSeconds": 3}}}));
    cluster.put_node("n1", false, false);
    cluster.renew_times("web-0", 30);
    assert!(cluster.api.cleared.is_empty());
    // Two seconds have passed since the last renewal.
    cluster.pass(999);
    assert!(cluster.api.cleared.is_empty());
    cluster.pass(2);
    assert_eq!(cluster.api.cleared.len(), 1);
    cluster.renew("web-1");
    assert_eq!(cluster.status().history[0].reason, TransitionReason::ClearedUnconfirmed);
}

#[test]
fn each_form_of_release_writes_what_its_library_understands() {
    for (form, holder) in [("Empty", json!("")), ("Null", json!(null))] {
        let mut cluster = leading(&json!({"staleHolder": {"release": form}}));
        let mut expected = cluster.lease();
        cluster.put_pod(web_0_ended(7_500));
        expected["holderIdentity"] = holder;
        expected["leaseDurationSeconds"] = json!(1);
        let mut found = cluster.lease();
        assert!(form == "Empty" || found.get("holderIdentity").is_none());
        found["holderIdentity"] = found["holderIdentity"].clone();
        assert_eq!(found, expected, "times and transitions stay");
    }
    let mut cluster = leading(&json!({"staleHolder": {"release": "Delete"}}));
    cluster.put_pod(web_0_ended(7_500));
    assert!(cluster.api.get(Kind::Lease, "web").is_none());
    cluster.renew("web-1");
    assert_eq!(cluster.status().history[0].reason, TransitionReason::Cleared);
}

#[test]
fn a_silent_lease_watch_never_clears_a_holder_that_renews() {
    let mut cluster = leading(&json!({}));
    cluster.put_node("n1", false, false);
    cluster.hold(Kind::Lease);
    cluster.renew_times("web-0", 60);
    assert_eq!(cluster.verdict(), "Unreachable");
    assert!(cluster.api.cleared.is_empty());
    cluster.pass(45_000);
    assert_eq!(cluster.api.cleared.len(), 1, "it was read again and again with nothing new in it");
}

#[test]
fn renewals_cause_no_work() {
    let mut cluster = leading(&json!({}));
    let jobs = cluster.jobs.len();
    cluster.renew_times("web-0", 200);
    assert_eq!(cluster.jobs[jobs..], [] as [String; 0]);
}

#[test]
fn a_refused_clear_is_tried_again_ever_more_rarely_and_shown() {
    let mut cluster = leading(&json!({}));
    cluster.fate = Fate::Denied;
    cluster.put_pod(web_0_ended(7_500));
    cluster.pass(60_000);
    assert!((3..15).contains(&cluster.count("Clear")), "{}", cluster.count("Clear"));
    assert_eq!(cluster.condition("Stalled"), "True WriteFailed");
    cluster.fate = Fate::Answered;
    cluster.pass(61_000);
    assert_eq!(cluster.api.cleared.len(), 1);
    assert_eq!(cluster.condition("Stalled"), "False Observing");
}

#[test]
fn a_status_conflict_does_not_spin() {
    let mut cluster = leading(&json!({}));
    cluster.hold(Kind::Group);
    let mut group = cluster.api.get(Kind::Group, "web").cloned().unwrap();
    group["metadata"]["labels"] = json!({"edited": "by-another"});
    cluster.put_group(group);
    let writes = cluster.api.status_writes;
    cluster.renew("web-1");
    cluster.renew_times("web-1", 30);
    let tries = cluster.api.status_writes - writes;
    assert!((1..15).contains(&tries), "{tries}");
    cluster.release(Kind::Group);
    cluster.pass(61_000);
    assert_eq!(cluster.status().transitions, 1);
}

#[test]
fn a_namesakes_end_proves_nothing_to_an_operator_that_never_knew_the_leaders_pod() {
    let mut cluster = leading(&json!({}));
    cluster.hold(Kind::Pod);
    cluster.delete(Kind::Pod, "web-0");
    cluster.put_pod(web_0("u1", running(8_000)));
    cluster.restart();
    cluster.release(Kind::Pod);
    // By the process of the pod that was deleted, for all anybody knows.
    cluster.renew("web-0");
    cluster.put_pod(pod("web-0", "u1", "n1", "Failed", &[("app", ended(8_500))]));
    cluster.pass(29_900);
    assert!(cluster.api.cleared.is_empty());
    cluster.pass(200);
    assert_eq!(cluster.api.cleared.len(), 1);
}

#[test]
fn a_lease_renewed_after_its_holders_pod_ended_is_another_processs() {
    let mut cluster = leading(&json!({}));
    cluster.renew("web-1");
    cluster.put_pod(web_0_ended(8_500));
    cluster.pass(2_000);
    cluster.renew("web-0");
    assert!(cluster.api.cleared.is_empty());
    cluster.pass(2_000);
    cluster.renew("web-0");
    assert_eq!(cluster.verdict(), "Contradiction");
    cluster.pass(60_000);
    assert!(cluster.api.cleared.is_empty());
}

#[test]
fn a_process_that_may_outlive_its_pod_is_remembered_through_other_terms() {
    let mut cluster = leading(&json!({}));
    cluster.delete(Kind::Pod, "web-0");
    for other in 1..=6 {
        let name = format!("web-{other}");
        cluster.put_pod(pod(&name, &name, "n2", "Running", &[("app", running(8_000))]));
        cluster.renew_times(&name, 10);
        cluster.put_pod(pod(&name, &name, "n2", "Succeeded", &[("app", ended(1_000_000))]));
        cluster.delete(Kind::Pod, &name);
    }
    cluster.put_pod(web_0("u1", running(100_000)));
    // By the process of the pod that was deleted long ago, for all anybody knows.
    cluster.renew("web-0");
    let cleared = cluster.api.cleared.len();
    cluster.put_pod(pod("web-0", "u1", "n1", "Failed", &[("app", ended(1_000_000))]));
    cluster.pass(14_000);
    assert_eq!((cluster.verdict().as_str(), cluster.api.cleared.len()), ("Vanished", cleared));
}

#[test]
fn the_holder_on_an_out_of_service_node_is_cleared_once_its_lease_has_stood_still() {
    let mut cluster = leading(&json!({"lease": {"durationSeconds": 60, "renewDeadlineSeconds": 40}}));
    cluster.put_node("n1", false, true);
    // The node controller says so of its pods.
    cluster.put_pod(web_0("u0", running(0)));
    assert_eq!(cluster.verdict(), "Unreachable");
    // By its record the Lease lasts 15 s.
    cluster.pass(9_900);
    assert!(cluster.api.cleared.is_empty());
    cluster.pass(200);
    assert_eq!(cluster.api.cleared.len(), 1, "two thirds of the duration have passed, and nothing else happened");
}

#[test]
fn a_holder_that_renews_is_alive_whatever_is_said_of_its_node() {
    let mut cluster = leading(&json!({}));
    cluster.put_node("n1", false, true);
    for _ in 0..30 {
        cluster.renew("web-0");
    }
    assert!(cluster.api.cleared.is_empty());
    assert_eq!(cluster.verdict(), "Unreachable");
}
