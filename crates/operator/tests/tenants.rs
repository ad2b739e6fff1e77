//! What one who shares a namespace, or a Lease, with a group may try: to have another's Lease cleared, to be taken for the
//! holder, to fill the operator's memory. What must hold: no holder that may live is cleared before its Lease ran out.

#![allow(missing_docs)]

mod support;

use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use support::api::{Api, Kind, change};
use support::cluster::{Cluster, leading, take_as, web_0, web_0_ended};
use support::{decode, ended, ms, now_at, pod, restarted, running};

/// What becomes of the Lease just before a clear of it arrives.
type Meanwhile = (&'static str, fn(&mut Api));

/// The leader's pod is back under its name, as a `StatefulSet` has it, and leads.
fn back(api: &mut Api) {
    api.put(Kind::Pod, web_0("u1", running(8_000)));
    take_as(api, "web-0", 8_000);
}

const MEANWHILE: [Meanwhile; 2] = [
    ("another took it, and then one of the same name", |api| {
        take_as(api, "web-1", 7_900);
        back(api);
    }),
    ("it was deleted, and one of its name made by a pod of the same name", |api| {
        api.delete(Kind::Lease, "web");
        back(api);
    }),
];

#[test]
fn a_lease_that_passed_through_other_hands_or_was_made_anew_is_not_cleared_as_the_one_judged() {
    for (what, happens) in MEANWHILE {
        let mut cluster = leading(&json!({}));
        cluster.before_clear = Some(happens);
        cluster.put_pod(web_0_ended(7_500));
        assert_eq!(cluster.count("Clear"), 1, "{what}: it was tried");
        assert!(cluster.api.cleared.is_empty(), "{what}: {:?}", cluster.api.cleared);
        assert_eq!(cluster.lease()["holderIdentity"], json!("web-0"), "{what}");
    }
}

/// A candidate made by one who wants the leader's Lease cleared: it goes by the leader's host name, and ends.
fn impostor(phase: &str, status: Value) -> Value {
    let mut pod = pod("impostor", "impostor-uid", "n1", phase, &[("app", status)]);
    pod["spec"]["hostname"] = json!("web-0");
    pod
}

#[test]
fn a_pod_that_takes_the_leaders_host_name_and_ends_does_not_have_it_cleared() {
    let endings = [("Failed", ended(7_500)), ("Running", restarted(7_600, 7_500)), ("Running", ended(7_500))];
    for is_candidate in [true, false] {
        for (phase, status) in &endings {
            let mut cluster = leading(&json!({}));
            let mut leader = web_0("u0", running(0));
            if !is_candidate {
                leader["metadata"]["labels"] = json!({"app": "other"});
            }
            cluster.put_pod(leader);
            cluster.put_pod(impostor(phase, status.clone()));
            cluster.pass(10_000);
            assert!(cluster.api.cleared.is_empty(), "{is_candidate} {phase}: {:?}", cluster.api.cleared);
            cluster.delete(Kind::Pod, "impostor");
            cluster.pass(2_000);
            assert!(cluster.api.cleared.is_empty(), "{is_candidate} {phase}, deleted: {:?}", cluster.api.cleared);
        }
    }
}

#[test]
fn a_pod_that_takes_the_leaders_host_name_and_runs_is_not_taken_for_it() {
    let mut cluster = Cluster::new(&json!({}));
    let mut leader = web_0("u0", running(0));
    leader["metadata"]["labels"] = json!({"app": "other"});
    cluster.put_pod(leader);
    cluster.put_pod(impostor("Running", running(0)));
    cluster.renew_times("web-0", 4);
    assert_eq!(cluster.verdict(), "Ambiguous");
    assert_eq!(cluster.status().leader.and_then(|leader| leader.pod_name), None);
    assert_eq!(cluster.count("AskTiming"), 0, "the Lease is another's");
}

#[test]
fn a_pod_that_labels_itself_a_candidate_takes_no_lease_from_its_leader() {
    let mut cluster = leading(&json!({}));
    for number in 0..50 {
        let name = format!("grabber-{number}");
        cluster.put_pod(pod(&name, &name, "n1", "Failed", &[("app", ended(7_500))]));
        cluster.delete(Kind::Pod, &name);
    }
    cluster.renew_times("web-0", 3);
    assert_eq!((cluster.verdict().as_str(), cluster.api.cleared.len()), ("Alive", 0));
}

#[test]
fn a_holder_that_writes_anothers_identity_is_told_by_what_it_does_after_that_ones_end() {
    let mut cluster = leading(&json!({}));
    cluster.put_pod(pod("web-1", "u1", "n1", "Running", &[("app", running(0))]));
    // Not web-0: whoever it is goes by its name, and goes on when it has ended and was cleared.
    cluster.put_pod(web_0_ended(7_500));
    assert_eq!(cluster.api.cleared.len(), 1);
    cluster.renew_times("web-0", 30);
    assert_eq!((cluster.verdict().as_str(), cluster.api.cleared.len()), ("Contradiction", 1), "never again");
    assert_eq!(cluster.condition("HolderSuspect"), "True Contradiction");
}

#[test]
fn a_lease_name_that_leads_out_of_the_namespace_is_refused_whatever_the_api_server_let_in() {
    for name in ["../../kube-system/leases/web", "other/web", "web?x=1", "Web", "", ".", "..", "web%2f"] {
        let mut cluster = Cluster::new(&json!({"lease": {"name": name, "create": true}}));
        cluster.pass(60_000);
        assert_eq!(cluster.condition("Stalled"), "True InvalidSpec", "{name:?}");
        assert!(!cluster.jobs.iter().any(|job| job.contains("Lease")), "{name:?}: {:?}", cluster.jobs);
    }
}

#[test]
fn a_lease_of_the_same_name_elsewhere_is_nothing_to_the_group() {
    let mut cluster = leading(&json!({}));
    let mut other = cluster.api.get(Kind::Lease, "web").cloned().unwrap();
    other["metadata"]["namespace"] = json!("elsewhere");
    other["metadata"]["uid"] = json!("elsewhere");
    other["spec"]["holderIdentity"] = json!("stranger");
    cluster.engine.change(change(Kind::Lease, &Event::Apply(other)), now_at(ms(cluster.now)));
    let mut namesake = web_0_ended(7_500);
    namesake["metadata"]["namespace"] = json!("elsewhere");
    cluster.engine.change(change(Kind::Pod, &Event::Apply(namesake)), now_at(ms(cluster.now)));
    cluster.settle();
    assert_eq!((cluster.verdict().as_str(), cluster.api.cleared.len()), ("Alive", 0));
}

#[test]
fn a_holder_that_fits_no_template_is_named_and_never_cleared() {
    let mut cluster = leading(&json!({}));
    cluster.set_lease(&json!({"holderIdentity": "vault:node|7", "leaseDurationSeconds": 2}));
    cluster.pass(600_000);
    assert_eq!((cluster.verdict().as_str(), cluster.api.cleared.len()), ("Foreign", 0));
    let message = cluster.status().conditions.into_iter().find(|c| c.type_ == "HolderSuspect").unwrap().message;
    assert!(message.contains("\"vault:node|7\""), "{message}");
}

#[test]
fn a_leader_with_more_labels_than_are_kept_is_never_cleared_as_nobody() {
    let mut cluster = leading(&json!({}));
    let mut leader = web_0("u0", running(0));
    for label in 0..200 {
        leader["metadata"]["labels"][format!("{label:063}")] = json!("x".repeat(63));
    }
    cluster.put_pod(leader.clone());
    assert_eq!(cluster.verdict(), "Foreign");
    leader["status"] = web_0_ended(7_500)["status"].clone();
    cluster.put_pod(leader);
    cluster.pass(600_000);
    assert!(cluster.api.cleared.is_empty());
}

#[test]
fn identities_of_any_length_are_kept_short_in_every_field_of_a_lease() {
    let long = "x".repeat(1 << 20);
    let lease: leadergroup_operator::wire::LeaseWire = decode(&support::lease(&json!({
        "holderIdentity": long, "preferredHolder": long, "strategy": long,
    })));
    for text in [lease.spec.holder_identity, lease.spec.preferred_holder, lease.spec.strategy] {
        assert!(text.unwrap().len() <= 640);
    }
}
