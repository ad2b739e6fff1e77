//! What is found for a Lease, case by case.

use k8s_openapi::api::core::v1::Pod;
use leadergroup_api::{Library, Release};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::find::{Confidence, Proposal, holder_of, propose};
use super::{groups, manifest};
use crate::model::LeaderGroup;
use crate::owner::Owner;
use crate::samples::{group, lease, pod};
use crate::session::Session;

fn owner(app: &str) -> Owner {
    let selector = serde_json::from_value(json!({"matchLabels": {"app": app}})).unwrap();
    Owner { name: format!("deployment/{app}"), selector }
}

fn found(holder: &str, over: &Value, pods: &[Pod], groups: &[LeaderGroup]) -> Result<Proposal, String> {
    let lease = lease(holder, "client-go", over);
    let holder = holder_of(&lease, pods, groups)?;
    propose(&lease, holder, Some(owner("billing")), pods, groups)
}

fn on_node(name: &str, app: &str) -> Pod {
    let labels = json!({"app": app, "leadergroup.dev/group": app});
    pod(name, &json!({"metadata": {"labels": labels}, "spec": {"hostNetwork": true}}))
}

#[test]
fn the_leader_is_found_however_it_calls_itself() {
    let pods = [pod("billing-a", &json!({})), pod("billing-b", &json!({}))];
    let long = "billing-with-a-name-so-long-that-its-host-name-is-cut-by-the-kubelet-7d9c8b-xyz";
    let cut = &long[..63];
    let many = [pods[0].clone(), pod(long, &json!({})), on_node("billing", "billing"), on_node("kcm", "kcm")];
    for (holder, pods, leader, identity, confidence) in [
        ("billing-a", &pods[..], "billing-a", None, Confidence::Certain),
        ("billing-b_5f2c", &pods, "billing-b", None, Confidence::Certain),
        ("billing-b_uid-of-billing-b", &pods, "billing-b", Some("{pod}_{uid}"), Confidence::Certain),
        ("elector-billing-a-77", &pods, "billing-a", Some("elector-{pod}-{any}"), Confidence::Likely),
        ("uid-of-billing-b", &pods, "billing-b", Some("{uid}"), Confidence::Likely),
        (&format!("{cut}_77"), &many, long, None, Confidence::Certain),
        ("n1_77", &many, "billing", None, Confidence::Likely),
        ("n1_77", &many[..3], "billing", None, Confidence::Likely),
    ] {
        let proposal = found(holder, &json!({}), pods, &[]).unwrap();
        assert_eq!(
            (proposal.leader.as_str(), proposal.identity.as_deref(), proposal.confidence),
            (leader, identity, confidence),
            "{holder}: {}",
            proposal.evidence
        );
    }
}

#[test]
fn nothing_is_proposed_without_evidence() {
    let pods = [pod("billing-a", &json!({})), pod("old", &json!({"status": {"phase": "Succeeded"}}))];
    let twins = [on_node("x", "x"), on_node("y", "y")];
    let elsewhere = [pod("billing-a", &json!({"metadata": {"namespace": "other"}}))];
    let has_it = [group(&json!({"metadata": {"name": "mine"}, "spec": {"lease": {"name": "billing"}}}))];
    let coordinated = json!({"spec": {"strategy": "OldestEmulationVersion"}});
    for (holder, over, pods, groups, why) in [
        ("", json!({}), &pods[..], &[][..], "nobody holds it"),
        (
            "billing-a",
            coordinated,
            &pods,
            &[],
            "coordinated leader election (OldestEmulationVersion) decides who holds it",
        ),
        ("billing-a", json!({}), &pods, &has_it, "group mine has it"),
        ("old", json!({}), &pods, &[], "its holder, pod old, has ended"),
        ("n1_77", json!({}), &twins, &[], "the holder may be any of x, y"),
        (
            "billing-a",
            json!({}),
            &elsewhere,
            &[],
            "pod other/billing-a holds it, but is in another namespace than its Lease, which no group can span",
        ),
        (
            "gone",
            json!({}),
            &elsewhere,
            &[],
            "holder \"gone\" fits no pod of namespace shop: it is gone, is in another namespace, or names nothing of its pod",
        ),
    ] {
        assert_eq!(found(holder, &over, pods, groups).unwrap_err(), why, "{holder}");
    }
    let heartbeat = json!({"metadata": {"labels": {"apiserver.kubernetes.io/identity": "kube-apiserver"}}});
    let why = found("billing-a", &heartbeat, &pods, &[]).unwrap_err();
    assert!(why.starts_with("an API server tells by it that it lives"), "{why}");
    let bare = [pod("billing-a", &json!({"metadata": {"labels": null}}))];
    let lease = lease("billing-a", "client-go", &json!({}));
    let why = propose(&lease, holder_of(&lease, &bare, &[]).unwrap(), None, &bare, &[]).unwrap_err();
    assert_eq!(why, "pod billing-a holds it, but has no labels that a selector could go by");
}

#[test]
fn a_manifest_is_a_group_that_only_observes() {
    let pods = [pod("billing-a", &json!({})), pod("billing-b", &json!({}))];
    let taken = [group(&json!({"spec": {"lease": {"name": "another"}}}))];
    let cases = [
        (found("billing-a", &json!({}), &pods, &[]).unwrap(), json!({})),
        (
            found("x-billing-a", &json!({"spec": {"leaseDurationSeconds": 60}}), &pods, &taken).unwrap(),
            json!({
                "identity": "x-{pod}",
                "lease": {"name": "billing", "durationSeconds": 60, "renewDeadlineSeconds": 40, "retryPeriodSeconds": 8},
            }),
        ),
    ];
    let proposals: Vec<_> = cases.iter().map(|(proposal, _)| proposal.clone()).collect();
    let text = manifest::yaml(&proposals).unwrap();
    let documents: Vec<Value> =
        serde_yaml_ng::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap()).collect();
    assert_eq!(documents.len(), 2, "{text}");
    for (document, (_, mut spec)) in documents.into_iter().zip(cases) {
        spec["candidates"] = json!({"selector": {"matchLabels": {"app": "billing"}}});
        spec["staleHolder"] = json!({"policy": "Observe"});
        assert_eq!(document["spec"], spec);
        assert_eq!(document["metadata"]["namespace"], "shop");
        let group: LeaderGroup = serde_json::from_value(document).unwrap();
        assert_eq!(group.lease_name(), "billing");
    }
    assert!(text.contains("# Certain: the holder begins with the name of pod billing-a and of no other."), "{text}");
    assert!(text.contains("# Pod billing-a leads. Candidates, by the selector of deployment/billing: 2."), "{text}");
}

#[test]
fn proposes_a_release_only_where_auto_does_not_do() {
    let pods = [pod("billing-a", &json!({})), pod("billing-b", &json!({}))];
    let without_duration = json!({"spec": {"leaseDurationSeconds": null}});
    for (manager, library, release) in [
        ("billing", None, None),
        ("Kubernetes Java Client", Some(Library::OfficialJava), None),
        ("kubert", Some(Library::Kubert), None),
        ("node-fetch", Some(Library::NodeLeaderElection), Some(Release::Delete)),
    ] {
        let lease = lease("billing-a", manager, &without_duration);
        let holder = holder_of(&lease, &pods, &[]).unwrap();
        let proposal = propose(&lease, holder, Some(owner("billing")), &pods, &[]).unwrap();
        assert_eq!(proposal.library, library, "{manager}");
        let object = manifest::object(&proposal);
        assert_eq!(object["spec"]["staleHolder"].get("release"), release.map(|it| json!(it)).as_ref(), "{manager}");
        let group: LeaderGroup = serde_json::from_value(object).unwrap();
        assert_eq!(group.spec.stale_holder.release, release.unwrap_or_default(), "{manager}");
        assert!(!proposal.is_for_life, "{manager}");
    }
    let for_life = json!({"spec": {"leaseDurationSeconds": null, "renewTime": null}});
    assert!(found("billing-a", &for_life, &pods, &[]).unwrap().is_for_life);
}

#[tokio::test]
async fn where_groups_are_not_defined_yet_there_are_none() {
    let session = Session::answered_by(|_| (404, "404 page not found".to_owned()));
    assert_eq!(groups(&session, Some("shop")).await.unwrap(), []);
}

#[tokio::test]
async fn groups_that_may_not_be_listed_are_not_taken_for_none() {
    let denied = json!({"kind": "Status", "metadata": {}, "status": "Failure", "code": 403, "reason": "Forbidden",
        "message": "leadergroups.leadergroup.dev is forbidden"});
    let session = Session::answered_by(move |_| (403, denied.to_string()));
    let told = groups(&session, Some("shop")).await.unwrap_err().to_string();
    assert!(told.starts_with("leadergroups.leadergroup.dev is forbidden; README.md lists"), "{told}");
}
