//! What goes wrong around a clear: writes that fail for long, pods lost from sight, identities seen to be shared. What must
//! hold: nobody alive is cleared early, nothing is tried without rest, and the user is told why it takes its time.

#![allow(missing_docs)]

mod support;

use kube::runtime::watcher::Event;
use leadergroup_api::{AccountGap, ReleaseForm, TransitionReason};
use serde_json::{Value, json};
use support::api::{Kind, change};
use support::cluster::{Cluster, Fate, leading, take_as, web_0, web_0_ended};
use support::{ended, micro_time, ms, now_at, pod, restarted, running};

#[test]
fn a_clear_that_the_api_server_fails_at_is_tried_again_ever_more_rarely_and_shown() {
    let mut cluster = leading(&json!({}));
    cluster.fate = Fate::Broken;
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
fn a_group_that_cannot_be_read_nor_told_so_is_told_ever_more_rarely() {
    let mut cluster = leading(&json!({}));
    let mut broken = support::group(&json!({"historyLimit": "many"}));
    let stale = broken.clone();
    broken["metadata"]["name"] = json!("web");
    cluster.hold(Kind::Group);
    cluster.put_group(broken);
    cluster.engine.change(change(Kind::Group, &Event::Apply(stale)), now_at(ms(cluster.now)));
    cluster.pass(60_000);
    assert!((2..15).contains(&cluster.count("WriteInvalid")), "{}", cluster.count("WriteInvalid"));
    cluster.release(Kind::Group);
    cluster.pass(61_000);
    assert_eq!(cluster.condition("Stalled"), "True Undecodable");
}

/// A way in which the leader's pod gets lost while its process lives on.
type Loss = (&'static str, fn(&mut Cluster));

const LOSSES: [Loss; 4] = [
    ("relabelled first", |cluster| {
        let mut outsider = web_0("u0", running(0));
        outsider["metadata"]["labels"] = json!({"app": "other"});
        cluster.put_pod(outsider);
        assert_eq!(cluster.verdict(), "Foreign");
        cluster.delete(Kind::Pod, "web-0");
    }),
    ("while the spec was invalid", |cluster| {
        let selector = json!({"matchExpressions": [{"key": "app", "operator": "Like"}]});
        edit(cluster, &json!({"candidates": {"selector": selector}}));
        assert_eq!(cluster.condition("Stalled"), "True InvalidSpec");
        cluster.delete(Kind::Pod, "web-0");
        edit(cluster, &json!({}));
    }),
    ("before the group could not be read", |cluster| {
        cluster.delete(Kind::Pod, "web-0");
        edit(cluster, &json!({"historyLimit": "many"}));
        assert_eq!(cluster.condition("Stalled"), "True Undecodable");
        edit(cluster, &json!({}));
    }),
    ("before many others", |cluster| {
        cluster.delete(Kind::Pod, "web-0");
        for other in 1..=20 {
            let name = format!("web-{other}");
            cluster.put_pod(pod(&name, &name, "n2", "Running", &[("app", running(0))]));
            cluster.delete(Kind::Pod, &name);
        }
    }),
];

fn edit(cluster: &mut Cluster, spec: &Value) {
    let mut group = cluster.api.get(Kind::Group, "web").cloned().unwrap();
    group["spec"] = spec.clone();
    group["metadata"]["generation"] = json!(group["metadata"]["generation"].as_i64().unwrap() + 1);
    cluster.put_group(group);
}

#[test]
fn a_namesakes_end_proves_nothing_however_the_leaders_pod_got_lost() {
    for (how, lose) in LOSSES {
        let mut cluster = leading(&json!({}));
        lose(&mut cluster);
        cluster.put_pod(web_0("u1", running(8_000)));
        // By the process of the pod that was deleted, for all anybody knows.
        cluster.renew("web-0");
        cluster.put_pod(pod("web-0", "u1", "n1", "Failed", &[("app", ended(8_500))]));
        cluster.pass(29_900);
        assert!(cluster.api.cleared.is_empty(), "{how}");
        cluster.pass(200);
        assert_eq!(cluster.api.cleared.len(), 1, "{how}: nobody took the Lease for one more duration");
    }
}

#[test]
fn on_restart_keep_holds_where_a_risk_is_accepted_too() {
    let unconfirmed = json!({"policy": "AcceptRisk", "afterSeconds": 3});
    let spec = json!({"staleHolder": {"onRestart": "Keep", "unconfirmed": unconfirmed}});
    let mut cluster = leading(&spec);
    cluster.put_pod(web_0("u0", restarted(7_600, 7_500)));
    cluster.pass(10_000);
    assert!(cluster.api.cleared.is_empty());
    cluster.pass(19_000);
    assert_eq!(cluster.api.cleared.len(), 1, "its Lease expired, and nobody took it");

    let mut cluster = leading(&spec);
    cluster.put_pod(web_0("u0", ended(6_500)));
    assert_eq!(cluster.verdict(), "Unproven");
    cluster.pass(10_000);
    assert!(cluster.api.cleared.is_empty());
}

#[test]
fn a_late_event_of_a_lease_that_was_deleted_begins_no_term() {
    let mut cluster = leading(&json!({"staleHolder": {"release": "Delete"}}));
    cluster.hold(Kind::Lease);
    cluster.renew("web-0");
    cluster.put_pod(web_0_ended(8_500));
    assert!(cluster.api.get(Kind::Lease, "web").is_none());
    cluster.release(Kind::Lease);
    assert_eq!((cluster.verdict().as_str(), cluster.status().transitions), ("Free", 0));
    cluster.renew("web-1");
    assert_eq!(cluster.status().transitions, 1);
}

#[test]
fn a_contradiction_is_remembered_behind_a_live_candidate_that_fits() {
    let mut cluster = leading(&json!({}));
    cluster.after_clear = Some(|api| take_as(api, "web-0", 8_000));
    cluster.put_pod(web_0_ended(7_500));
    assert_eq!(cluster.verdict(), "Contradiction");
    cluster.delete(Kind::Pod, "web-0");
    cluster.put_pod(web_0("u1", running(8_000)));
    cluster.pass(1_000);
    assert_eq!(cluster.condition("HolderSuspect"), "True Contradiction");
    cluster.restart();
    cluster.renew("web-0");
    cluster.put_pod(pod("web-0", "u1", "n1", "Failed", &[("app", ended(9_900))]));
    cluster.pass(60_000);
    assert_eq!((cluster.verdict().as_str(), cluster.api.cleared.len()), ("Contradiction", 1));
}

#[test]
fn a_leader_outside_the_selector_is_foreign_though_it_took_a_candidates_name() {
    let mut cluster = leading(&json!({}));
    cluster.put_pod(web_0_ended(7_500));
    cluster.delete(Kind::Pod, "web-0");
    let mut outsider = web_0("u1", running(8_000));
    outsider["metadata"]["labels"] = json!({"app": "other"});
    cluster.put_pod(outsider);
    cluster.pass(100);
    cluster.renew_times("web-0", 30);
    assert_eq!((cluster.verdict().as_str(), cluster.api.cleared.len()), ("Foreign", 1));
    assert!(cluster.count("ReadPods") < 5, "{} reads in a minute", cluster.count("ReadPods"));
}

#[test]
fn status_says_why_a_holder_proven_dead_is_not_cleared_at_once() {
    let mut cluster = leading(&json!({}));
    cluster.hold(Kind::Pod);
    cluster.delete(Kind::Pod, "web-0");
    cluster.put_pod(web_0("u1", running(8_000)));
    cluster.restart();
    cluster.release(Kind::Pod);
    cluster.renew("web-0");
    cluster.put_pod(pod("web-0", "u1", "n1", "Failed", &[("app", ended(8_500))]));
    assert_eq!(cluster.verdict(), "Terminated");
    let account = cluster.status().account.unwrap();
    assert_eq!((account.complete, account.reason), (false, Some(AccountGap::WatchGap)));
    assert!(cluster.notices.iter().any(|notice| notice.reason == "HolderTerminated"));
    assert!(cluster.api.cleared.is_empty());
}

/// A holder that is never cleared: what it is, and how it writes the Lease.
type NeverCleared = (&'static str, fn(&mut Cluster));

const NEVER_CLEARED: [NeverCleared; 3] = [
    ("Alive", |cluster| cluster.renew("web-0")),
    ("Foreign", |cluster| {
        cluster.renew("somebody else");
        cluster.pass(1_000);
        cluster.renew("somebody else");
    }),
    ("Managed", |cluster| {
        let at = micro_time(i64::try_from(cluster.now).unwrap());
        cluster.set_lease(&json!({
            "holderIdentity": "web-0", "leaseDurationSeconds": 15, "renewTime": at, "strategy": "OldestEmulationVersion",
        }));
    }),
];

#[test]
fn nobody_leads_by_a_lease_that_ran_out_though_it_is_never_cleared() {
    for (verdict, renew) in NEVER_CLEARED {
        let mut cluster = leading(&json!({}));
        renew(&mut cluster);
        cluster.pass(14_000);
        assert_eq!(cluster.verdict(), verdict);
        assert!(cluster.status().leader.is_some(), "{verdict}: its Lease is current");
        cluster.pass(2_000);
        assert_eq!(cluster.status().leader, None, "{verdict}: its Lease ran out");
        cluster.pass(3_600_000);
        assert_eq!(cluster.api.cleared.len(), 0, "{verdict}");
        renew(&mut cluster);
        assert!(cluster.status().leader.is_some(), "{verdict}: it renews again");
    }
}

#[test]
fn releases_lease_with_finalizers_instead_of_deleting_it() {
    let mut cluster = leading(&json!({"staleHolder": {"release": "Delete"}}));
    let mut lease = cluster.api.get(Kind::Lease, "web").cloned().unwrap();
    lease["metadata"]["finalizers"] = json!(["example.com/backup"]);
    cluster.api.put(Kind::Lease, lease);
    cluster.put_pod(web_0_ended(8_500));
    let forms: Vec<_> = cluster.api.cleared.iter().map(|cleared| cleared.clear.form).collect();
    assert_eq!(forms, [ReleaseForm::Empty]);
    assert_eq!(cluster.verdict(), "Free");
}

#[test]
fn believes_lease_that_was_thought_deleted_and_is_seen_again() {
    let mut cluster = leading(&json!({}));
    let lease = cluster.api.get(Kind::Lease, "web").cloned().unwrap();
    cluster.delete(Kind::Lease, "web");
    assert_eq!(cluster.verdict(), "Free");
    cluster.api.put(Kind::Lease, lease);
    cluster.settle();
    assert_eq!(cluster.verdict(), "Alive");
}

#[test]
fn reads_group_whose_status_is_refused_time_and_again() {
    let mut cluster = leading(&json!({}));
    cluster.hold(Kind::Group);
    let mut group = cluster.api.get(Kind::Group, "web").cloned().unwrap();
    group["metadata"]["labels"] = json!({"edited": "by-another"});
    cluster.put_group(group);
    cluster.renew_times("web-1", 20);
    assert!(cluster.count("ReadGroup") > 0);
    assert_eq!(cluster.status().transitions, 1, "though its watch is silent");
}

#[test]
fn counts_no_replacement_while_both_pods_may_lead() {
    let mut cluster = leading(&json!({}));
    cluster.delete(Kind::Pod, "web-0");
    cluster.put_pod(web_0("u1", running(8_000)));
    cluster.renew_times("web-0", 20);
    assert_eq!((cluster.verdict().as_str(), cluster.status().transitions), ("Ambiguous", 0));
}

#[test]
fn counts_no_leaderless_time_while_lease_was_held() {
    let mut cluster = leading(&json!({}));
    cluster.pass(3_000);
    cluster.renew("web-1");
    let newest = cluster.status().history.remove(0);
    assert_eq!((newest.reason, newest.leaderless_seconds), (TransitionReason::Taken, Some(0.0)));
}

#[test]
fn a_lease_expires_though_the_pods_can_not_be_read() {
    let mut cluster = leading(&json!({"staleHolder": {"release": "Delete"}}));
    cluster.api.refuses_readings = true;
    cluster.put_pod(web_0_ended(7_500));
    cluster.pass(12_900);
    assert!(cluster.api.cleared.is_empty());
    assert_eq!(cluster.condition("Stalled"), "True WriteFailed");
    cluster.pass(60_000);
    assert_eq!(cluster.api.cleared.len(), 1);
}

#[test]
fn a_restored_etcd_is_known_by_a_reading_where_the_watches_bring_nothing() {
    let mut cluster = leading(&json!({}));
    let backup = cluster.api.stored();
    cluster.renew_times("web-0", 3);
    cluster.api.restore(backup);
    cluster.pass(16_000);
    assert_eq!(cluster.status().account.unwrap().reason, Some(AccountGap::LeaseRestored));
    cluster.pass(10_000);
    assert!(cluster.api.cleared.is_empty(), "the Lease has not stood still for a duration since");
}

#[test]
fn a_lease_made_again_under_a_whole_watch_is_no_gap() {
    let mut cluster = leading(&json!({}));
    cluster.delete(Kind::Lease, "web");
    cluster.renew("web-1");
    cluster.pass(1_000);
    cluster.renew("web-2");
    let reasons: Vec<_> = cluster.status().history.iter().map(|term| term.reason).collect();
    assert_eq!(reasons, [TransitionReason::Taken, TransitionReason::LeaseDeleted, TransitionReason::First]);
}

#[test]
fn never_clears_lease_that_expires_while_its_holder_may_be_replaced() {
    let mut cluster = leading(&json!({}));
    cluster.delete(Kind::Pod, "web-0");
    cluster.pass(14_000);
    assert_eq!(cluster.verdict(), "Vanished");
    cluster.renew("web-1");
    cluster.renew_times("web-1", 20);
    assert!(cluster.api.cleared.is_empty());
}

#[test]
fn deletes_lease_when_it_expires_where_candidates_need_that() {
    let mut cluster = leading(&json!({"staleHolder": {"release": "Delete"}}));
    cluster.delete(Kind::Pod, "web-0");
    cluster.pass(12_900);
    assert!(cluster.api.cleared.is_empty());
    cluster.pass(200);
    assert_eq!(cluster.api.cleared.len(), 1);
}
