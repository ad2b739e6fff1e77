//! Groups as tests look at them, all in the moment [`now`].

use anstream::adapter::strip_str;
use jiff::{Timestamp, ToSpan as _, Zoned};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::model::LeaderGroup;

/// The moment that the groups are looked at.
pub fn now() -> Zoned {
    "2026-11-25T14:00:00[UTC]".parse().unwrap()
}

/// So many seconds before [`now`].
pub fn ago(seconds: i64) -> Timestamp {
    now().timestamp() - seconds.seconds()
}

/// The text without its styles.
pub fn plain(text: &str) -> String {
    strip_str(text).to_string()
}

fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn group(name: &str, spec: &Value, status: &Value) -> LeaderGroup {
    object(json!({
        "apiVersion": "leadergroup.dev/v1alpha1", "kind": "LeaderGroup",
        "metadata": {
            "name": name, "namespace": "shop", "uid": "0b5f", "generation": 1, "creationTimestamp": ago(14_400),
        },
        "spec": spec, "status": status,
    }))
}

fn condition(type_: &str, status: &str, reason: &str, message: &str, since: i64) -> Value {
    json!({
        "type": type_, "status": status, "reason": reason, "message": message, "observedGeneration": 1,
        "lastTransitionTime": ago(since),
    })
}

/// The operator has not looked at it yet.
pub fn new() -> LeaderGroup {
    group("new", &json!({}), &Value::Null)
}

/// It has no candidates, and nobody ever led.
pub fn never_led() -> LeaderGroup {
    let nobody = "no candidate exists, so nobody can lead";
    group(
        "reports",
        &json!({}),
        &json!({
            "observedGeneration": 1, "leaseName": "reports",
            "holder": {"identity": "", "verdict": "Free", "evidence": "the Lease does not exist"},
            "conditions": [
                condition("Ready", "False", "NoCandidates", nobody, 14_399),
                condition("Stalled", "False", "Observing", "the group is observed", 14_399),
                condition(
                    "CandidatesFound", "False", "NoPodMatches",
                    "no pod in namespace shop matches \"leadergroup.dev/group=reports\": label the candidates so", 14_399,
                ),
                condition("HolderSuspect", "False", "Resolved", "the holder is nobody, or a candidate", 14_399),
                condition("LeaseSuspect", "False", "Absent", "the Lease does not exist yet", 14_399),
                condition("CandidatesAuthorized", "Unknown", "NotAudited", "there is no candidate to check", 14_399),
            ],
        }),
    )
}

/// It has a leader, and a past.
pub fn led() -> LeaderGroup {
    let [ztgk2, kxct4, s9h84] = ["ztgk2_5f2c", "kxct4_19aa", "s9h84_c0de"].map(|it| format!("billing-b58c8d75b-{it}"));
    group(
        "billing",
        &json!({"candidates": {"containers": ["app"]}}),
        &json!({
            "observedGeneration": 1, "leaseName": "billing", "transitions": 6, "leaseTransitions": 5,
            "leader": {
                "identity": ztgk2, "podName": "billing-b58c8d75b-ztgk2", "podUID": "uid-ztgk2", "nodeName": "node-1",
                "zone": "eu-1a", "acquireTime": ago(312),
            },
            "holder": {
                "identity": ztgk2, "podUID": "uid-ztgk2", "verdict": "Alive",
                "evidence": "container app of pod billing-b58c8d75b-ztgk2 runs",
            },
            "account": {"complete": true},
            "candidates": {"total": 4, "ready": 2},
            "history": [
                {"leader": ztgk2, "podUID": "uid-ztgk2", "from": kxct4, "reason": "Cleared", "time": ago(312),
                 "leaderlessSeconds": 0.614},
                {"leader": kxct4, "podUID": "uid-kxct4", "from": s9h84, "reason": "Expired", "time": ago(1500),
                 "leaderlessSeconds": 16.0, "unobserved": 2},
                {"leader": s9h84, "podUID": "uid-s9h84", "from": kxct4, "reason": "Taken", "time": ago(5400)},
                {"leader": kxct4, "podUID": "uid-kxct4", "from": s9h84, "reason": "Released", "time": ago(9000),
                 "leaderlessSeconds": 31.0},
                {"leader": s9h84, "podUID": "uid-s9h84", "reason": "First", "time": ago(12_600)},
            ],
            "conditions": [
                condition("Ready", "True", "Leading", "pod billing-b58c8d75b-ztgk2 leads", 312),
                condition("Stalled", "False", "Observing", "the group is observed", 12_600),
                condition("CandidatesFound", "True", "PodsMatch", "the selector matches candidates", 12_600),
                condition("HolderSuspect", "False", "Resolved", "the holder is nobody, or a candidate", 12_600),
                condition("LeaseSuspect", "False", "Sound", "the Lease's record can be used", 12_600),
                condition(
                    "CandidatesAuthorized", "False", "MissingRights",
                    "ServiceAccount old may not update Lease billing; allow it: kubectl create role leadergroup-billing -n shop",
                    900,
                ),
            ],
        }),
    )
}

/// Its leader is proven dead, and it only observes; traffic goes to the leader only.
pub fn leaderless() -> LeaderGroup {
    let evidence = "pod invoices-0 (uid uid-0) ended by its kubelet's word: container app Error at 2026-11-25T13:59:51Z \
                    (exit code 137)";
    group(
        "invoices",
        &json!({
            "staleHolder": {"policy": "Observe"},
            "routing": {"service": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}},
        }),
        &json!({
            "observedGeneration": 1, "leaseName": "invoices", "transitions": 1, "leaseTransitions": 1,
            "holder": {"identity": "invoices-0", "podUID": "uid-0", "verdict": "Terminated", "evidence": evidence},
            "account": {
                "complete": false, "reason": "DeletedWithoutReport",
                "pods": [{"name": "invoices-1", "uid": "uid-1"}],
            },
            "candidates": {"total": 1, "ready": 1},
            "history": [
                {"leader": "invoices-0", "podUID": "uid-0", "from": "invoices-1", "reason": "Expired", "time": ago(600),
                 "leaderlessSeconds": 14.2},
                {"leader": "invoices-1", "podUID": "uid-1", "reason": "First", "time": ago(3600)},
            ],
            "conditions": [
                condition("Ready", "False", "Terminated", evidence, 9),
                condition("Stalled", "False", "Observing", "the group is observed", 3600),
                condition("Routed", "False", "NoLeader", "nobody leads, so nobody gets traffic", 9),
            ],
        }),
    )
}

/// Somebody else holds its Lease.
pub fn foreign() -> LeaderGroup {
    let evidence = "holder \"somebody-else\" is of no form that spec.identity gives";
    group(
        "taken",
        &json!({}),
        &json!({
            "observedGeneration": 1, "leaseName": "taken",
            "leader": {"identity": "somebody-else", "acquireTime": ago(100)},
            "holder": {"identity": "somebody-else", "verdict": "Foreign", "evidence": evidence},
            "candidates": {"total": 1, "ready": 0},
            "history": [{"leader": "somebody-else", "reason": "First", "time": ago(100)}],
            "conditions": [
                condition("Ready", "False", "Foreign", evidence, 100),
                condition(
                    "HolderSuspect", "True", "Foreign",
                    "holder \"somebody-else\" is of no form that spec.identity gives; if it is a candidate, write in \
                     spec.identity how candidates name themselves",
                    100,
                ),
            ],
        }),
    )
}

/// Which of two it is led by is not known, and their names are long, or wide, or meant to harm.
pub fn long() -> LeaderGroup {
    let name = "a-name-that-is-as-long-as-the-name-of-a-group-can-be-and-more-1";
    let (one, other) = (format!("{name}-6d4f8b7c9d-x2x4z"), "候補者の名前はとても長い_\u{1b}[31m");
    group(
        name,
        &json!({"lease": {"name": "short"}}),
        &json!({
            "observedGeneration": 1, "leaseName": "short", "transitions": 1,
            "leader": {"identity": one, "podName": one, "podUID": "uid-x2x4z", "acquireTime": ago(60)},
            "holder": {"identity": one, "verdict": "Ambiguous", "evidence": format!("pods {one} and {one}-2 both fit")},
            "candidates": {"total": 2, "ready": 2},
            "history": [
                {"leader": one, "from": other, "reason": "Unobserved", "time": ago(60)},
                {"leader": other, "reason": "First", "time": ago(180)},
            ],
            "conditions": [condition("Ready", "True", "Ambiguous", "pods both fit", 60)],
        }),
    )
}

/// A Lease, renewed so many seconds ago; held by nobody where the holder is empty.
pub fn lease(name: &str, holder: &str, renewed: i64) -> Lease {
    let record = json!({
        "holderIdentity": holder, "leaseDurationSeconds": 15, "acquireTime": ago(312), "renewTime": ago(renewed),
        "leaseTransitions": 5,
    });
    object(json!({"metadata": {"name": name, "namespace": "shop"}, "spec": record}))
}

/// A pod of the group billing, with what is changed in it.
fn pod(suffix: &str, account: &str, spec: &Value, status: &Value) -> Pod {
    let mut pod = json!({
        "metadata": {
            "name": format!("billing-b58c8d75b-{suffix}"), "namespace": "shop", "uid": format!("uid-{suffix}"),
            "creationTimestamp": ago(13_000),
        },
        "spec": {"serviceAccountName": account, "containers": [{"name": "app"}], "nodeName": "node-1"},
        "status": status,
    });
    for (key, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][key] = value.clone();
    }
    object(pod)
}

fn running(ready: bool) -> Value {
    let ready = if ready { "True" } else { "False" };
    json!({
        "phase": "Running", "conditions": [{"type": "Ready", "status": ready}],
        "containerStatuses": [{
            "name": "app", "ready": true, "restartCount": 0, "image": "", "imageID": "",
            "state": {"running": {"startedAt": ago(12_990)}},
        }],
    })
}

/// The candidates of [`led`], of all kinds.
pub fn pods() -> Vec<Pod> {
    let crashing = json!({
        "phase": "Running", "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [{
            "name": "app", "ready": false, "restartCount": 5, "image": "", "imageID": "",
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": ago(40)}},
        }],
    });
    let unschedulable = json!({
        "phase": "Pending",
        "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes are available"},
        ],
    });
    let evicted = json!({"phase": "Failed", "reason": "Evicted"});
    let mut leaving = pod("qqqqq", "billing", &json!({}), &running(true));
    leaving.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(ago(3)));
    vec![
        pod("s9h84", "old", &json!({}), &running(true)),
        pod("ztgk2", "billing", &json!({}), &running(true)),
        pod("kxct4", "billing", &json!({}), &crashing),
        pod("wwwww", "billing", &json!({"nodeName": null}), &unschedulable),
        pod("vvvvv", "billing", &json!({"containers": [{"name": "program"}]}), &running(false)),
        pod("eeeee", "billing", &json!({}), &evicted),
        leaving,
    ]
}
