//! Orders of events, answers that get lost, and what others do to the objects.

use leadergroup_operator::engine::{Job, Outcome};
use serde_json::{Value, json};

use super::support::api::Kind;
use super::support::cluster::{Cluster, Fate};
use super::support::{ended, group, ms, now_at, running};
use super::{leading, routed_since, sends_to, spec, web};

const NOBODY: Vec<String> = Vec::new();

fn only(address: &str) -> Vec<String> {
    vec![address.to_owned()]
}

fn edit(cluster: &mut Cluster, kind: Kind, change: impl FnOnce(&mut Value)) {
    let mut object = cluster.api.get(kind, "web-leader").cloned().expect("the object");
    change(&mut object);
    cluster.api.put(kind, object);
    cluster.settle();
}

fn set_spec(cluster: &mut Cluster, spec: &Value) {
    let mut group = cluster.api.get(Kind::Group, "web").cloned().unwrap();
    group["metadata"]["generation"] = json!(group["metadata"]["generation"].as_i64().unwrap() + 1);
    group["spec"] = spec.clone();
    cluster.put_group(group);
}

#[test]
fn the_service_and_its_slice_belong_to_the_group_and_say_what_it_asks_for() {
    let cluster = leading(&spec());
    let service = cluster.api.get(Kind::Service, "web-leader").unwrap();
    let slice = cluster.api.get(Kind::Slice, "web-leader").unwrap();
    for object in [service, slice] {
        let owner = &object["metadata"]["ownerReferences"][0];
        assert_eq!((&owner["uid"], &owner["controller"]), (&json!("group-web"), &json!(true)));
        assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/managed-by"], json!("leadergroup-operator"));
    }
    assert!(service["spec"].get("selector").is_none(), "{service:#}");
    assert_eq!(service["spec"]["ports"], json!([{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]));
    assert_eq!(slice["ports"], json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));
    assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], json!("web-leader"));
    assert_eq!(slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"], json!("leadergroup.dev"));
    assert_eq!(slice["addressType"], json!("IPv4"));
    let endpoint = &slice["endpoints"][0];
    assert_eq!((&endpoint["nodeName"], &endpoint["zone"]), (&json!("n1"), &json!("zone-of-n1")));
    assert_eq!(endpoint["conditions"], json!({"ready": true, "serving": true, "terminating": false}));
    assert_eq!((&endpoint["targetRef"]["name"], &endpoint["targetRef"]["uid"]), (&json!("web-0"), &json!("u0")));
    let message = cluster.status().conditions.into_iter().find(|c| c.type_ == "Routed").unwrap().message;
    assert_eq!(message, "Service web-leader sends to pod web-0 and to no other");
}

#[test]
fn a_group_that_asks_for_nothing_gets_nothing() {
    let mut cluster = leading(&json!({}));
    cluster.put_pod(web(0, "u0", "Failed", ended(7_500)));
    cluster.renew("web-1");
    assert!(routed_since(&cluster, 0).is_empty());
    assert_eq!(cluster.condition("Routed"), "");
}

#[test]
fn traffic_ends_before_the_clear_and_is_switched_in_one_write() {
    let mut cluster = leading(&spec());
    let jobs = cluster.jobs.len();
    cluster.put_pod(web(0, "u0", "Failed", ended(7_500)));
    assert_eq!(sends_to(&cluster), NOBODY);
    let order = |job: &str| cluster.jobs[jobs..].iter().position(|j| j.starts_with(job)).expect(job);
    assert!(order("Route Slice") < order("Clear"), "{:?}", &cluster.jobs[jobs..]);
    let jobs = cluster.jobs.len();
    cluster.renew("web-1");
    assert_eq!(sends_to(&cluster), only("10.0.0.1"));
    assert_eq!(routed_since(&cluster, jobs), ["Slice"]);
    let jobs = cluster.jobs.len();
    cluster.renew("web-0");
    assert_eq!(
        (routed_since(&cluster, jobs), sends_to(&cluster)),
        (vec!["Slice".to_owned()], NOBODY),
        "its pod has ended"
    );
    cluster.put_pod(web(2, "u2", "Running", running(8_000)));
    cluster.renew("web-2");
    cluster.renew("web-1");
    assert_eq!(routed_since(&cluster, jobs).len(), 3, "emptied for web-0; from one to another without a gap");
}

#[test]
fn the_clear_does_not_wait_for_the_slice_nor_the_slice_for_the_clear() {
    let mut cluster = leading(&spec());
    cluster.route_fates = [Fate::Lost].into();
    cluster.put_pod(web(0, "u0", "Failed", ended(7_500)));
    assert_eq!(cluster.api.cleared.len(), 1, "the slice's answer is lost");

    let mut cluster = leading(&spec());
    cluster.fate = Fate::Denied;
    cluster.put_pod(web(0, "u0", "Failed", ended(7_500)));
    assert_eq!((cluster.api.cleared.len(), sends_to(&cluster)), (0, NOBODY));
}

#[test]
fn renewals_cost_no_request() {
    let mut cluster = leading(&spec());
    let jobs = cluster.jobs.len();
    cluster.renew_times("web-0", 100);
    assert_eq!(cluster.jobs[jobs..], [] as [String; 0]);
}

#[test]
fn an_operator_that_starts_on_what_is_as_it_should_be_writes_nothing() {
    let mut cluster = leading(&spec());
    let jobs = cluster.jobs.len();
    cluster.restart();
    assert_eq!(routed_since(&cluster, jobs), [] as [String; 0]);
    assert_eq!(sends_to(&cluster), only("10.0.0.0"));
}

#[test]
fn nothing_is_decided_before_the_objects_are_listed() {
    let mut cluster = leading(&spec());
    let mut engine = leadergroup_operator::engine::Engine::default();
    engine.lead(9, now_at(ms(0)));
    for kind in [Kind::Group, Kind::Node, Kind::Lease, Kind::Pod, Kind::Service] {
        for event in cluster.list(kind) {
            engine.change(super::support::api::change(kind, &event), now_at(ms(0)));
        }
    }
    assert!(!engine.is_synced() && engine.take_work().is_empty());
    cluster.settle();
}

#[test]
fn a_lost_answer_is_asked_for_again_whether_the_write_landed_or_not() {
    for fate in [Fate::Lost, Fate::LandsUnanswered] {
        let mut cluster = leading(&spec());
        cluster.hold(Kind::Slice);
        cluster.route_fates = [fate].into();
        cluster.renew("web-1");
        cluster.pass(300);
        assert_eq!(sends_to(&cluster), only("10.0.0.1"), "{fate:?}");
        cluster.release(Kind::Slice);
        let jobs = cluster.jobs.len();
        cluster.renew_times("web-1", 60);
        assert_eq!(routed_since(&cluster, jobs), [] as [String; 0], "{fate:?}");
        assert_eq!(cluster.condition("Routed"), "True LeaderOnly", "{fate:?}");
    }
}

#[test]
fn a_conflict_is_read_and_written_again_at_once() {
    let mut cluster = leading(&spec());
    cluster.hold(Kind::Slice);
    edit(&mut cluster, Kind::Slice, |slice| slice["metadata"]["annotations"] = json!({"by": "another"}));
    cluster.renew("web-1");
    assert_eq!(sends_to(&cluster), only("10.0.0.1"), "no time has passed");
}

#[test]
fn what_others_do_to_the_objects_is_put_right() {
    let mut cluster = leading(&spec());
    edit(&mut cluster, Kind::Slice, |slice| slice["endpoints"][0]["addresses"] = json!(["10.6.6.6"]));
    assert_eq!(sends_to(&cluster), only("10.0.0.0"));
    edit(&mut cluster, Kind::Slice, |slice| {
        let more = slice["endpoints"][0].clone();
        slice["endpoints"].as_array_mut().unwrap().push(more);
    });
    cluster.pass(300);
    assert_eq!(sends_to(&cluster), only("10.0.0.0"));
    cluster.pass(500);
    edit(&mut cluster, Kind::Service, |service| service["spec"]["ports"][0]["targetPort"] = json!("other"));
    cluster.pass(500);
    assert_eq!(cluster.api.get(Kind::Service, "web-leader").unwrap()["spec"]["ports"][0]["targetPort"], json!(8080));
    for kind in [Kind::Service, Kind::Slice] {
        cluster.delete(kind, "web-leader");
        cluster.pass(5_000);
        assert!(cluster.api.get(kind, "web-leader").is_some(), "{kind:?}");
    }
    assert_eq!(sends_to(&cluster), only("10.0.0.0"));
}

#[test]
fn a_service_that_was_given_a_selector_is_made_anew_so_that_the_slices_made_for_it_go() {
    let mut cluster = leading(&spec());
    let before = cluster.api.get(Kind::Service, "web-leader").unwrap()["metadata"]["uid"].clone();
    edit(&mut cluster, Kind::Service, |service| service["spec"]["selector"] = json!({"app": "web"}));
    let service = cluster.api.get(Kind::Service, "web-leader").unwrap();
    assert!(service["spec"].get("selector").is_none());
    assert_ne!(service["metadata"]["uid"], before);
}

#[test]
fn somebody_who_undoes_it_again_and_again_is_not_fought_at_full_speed() {
    let mut cluster = leading(&spec());
    let jobs = cluster.jobs.len();
    for _ in 0..600 {
        let mut slice = cluster.api.get(Kind::Slice, "web-leader").cloned().unwrap();
        slice["endpoints"] = json!([]);
        cluster.api.put(Kind::Slice, slice);
        cluster.renew("web-0");
        cluster.pass(100);
    }
    let writes = routed_since(&cluster, jobs).len();
    assert!((3..15).contains(&writes), "{writes} in a minute");
}

#[test]
fn a_label_taken_off_by_hand_is_put_back() {
    let mut cluster = leading(&spec());
    let mut service = cluster.api.get(Kind::Service, "web-leader").cloned().unwrap();
    service["metadata"]["labels"] = json!({});
    cluster.hold(Kind::Service);
    cluster.api.put(Kind::Service, service.clone());
    // The watch goes by the label, so it tells of a deletion.
    cluster.engine.change(
        leadergroup_operator::index::Change::Service(kube::runtime::watcher::Event::Delete(super::support::decode(
            &service,
        ))),
        now_at(ms(cluster.now)),
    );
    cluster.settle();
    let labels = &cluster.api.get(Kind::Service, "web-leader").unwrap()["metadata"]["labels"];
    assert_eq!(labels["app.kubernetes.io/managed-by"], json!("leadergroup-operator"));
    assert_eq!(cluster.condition("Routed"), "True LeaderOnly");
}

/// A cluster in which somebody has such an object of the wanted name, which no watch of the operator's shows.
fn with_anothers(kind: Kind) -> (Cluster, Value) {
    let mut cluster = Cluster::new(&json!({}));
    cluster.put_pod(web(0, "u0", "Running", running(0)));
    cluster.renew_times("web-0", 4);
    cluster.hold(kind);
    cluster.api.put(kind, json!({"metadata": {"name": "web-leader", "namespace": "shop"}, "spec": {"mine": true}}));
    set_spec(&mut cluster, &spec());
    let as_it_was = cluster.api.get(kind, "web-leader").cloned().unwrap();
    (cluster, as_it_was)
}

#[test]
fn what_belongs_to_another_is_never_touched_and_the_name_is_asked_for_ever_more_rarely() {
    for kind in [Kind::Service, Kind::Slice] {
        let (mut cluster, as_it_was) = with_anothers(kind);
        assert_eq!(cluster.condition("Routed"), "False ServiceTaken", "{kind:?}");
        let told: Vec<_> = cluster.notices.iter().filter(|n| n.reason == "ServiceTaken").collect();
        assert_eq!(told.len(), 1);
        assert!(told[0].warning && told[0].note.contains("web-leader exists") && told[0].note.contains("delete it"));
        let jobs = cluster.jobs.len();
        cluster.renew_times("web-0", 300);
        assert_eq!(cluster.api.get(kind, "web-leader"), Some(&as_it_was), "{kind:?}");
        let tries = routed_since(&cluster, jobs).len();
        assert!((8..25).contains(&tries), "{tries} in ten minutes");
        assert_eq!(cluster.notices.iter().filter(|n| n.reason == "ServiceTaken").count(), 1);

        cluster.delete(kind, "web-leader");
        cluster.renew_times("web-0", 31);
        assert_eq!(cluster.condition("Routed"), "True LeaderOnly", "{kind:?}");
        assert_eq!(sends_to(&cluster), only("10.0.0.0"), "{kind:?}");
    }
}

#[test]
fn the_slice_never_sends_the_traffic_of_a_service_that_has_become_anothers() {
    let mut cluster = leading(&spec());
    cluster.hold(Kind::Service);
    let ours = cluster.api.get(Kind::Service, "web-leader").cloned().unwrap();
    cluster.api.delete(Kind::Service, "web-leader");
    cluster.api.put(Kind::Service, json!({"metadata": {"name": "web-leader", "namespace": "shop"}}));
    cluster.engine.change(
        leadergroup_operator::index::Change::Service(kube::runtime::watcher::Event::Delete(super::support::decode(
            &ours,
        ))),
        now_at(ms(cluster.now)),
    );
    cluster.settle();
    cluster.pass(1_000);
    assert_eq!(sends_to(&cluster), ["no slice"]);
    assert_eq!(cluster.condition("Routed"), "False ServiceTaken");
}

#[test]
fn two_groups_of_one_service_the_first_has_it_and_the_second_gets_it_when_it_goes() {
    let mut cluster = leading(&spec());
    let mut other = group(&spec());
    other["metadata"]["name"] = json!("other");
    other["metadata"]["uid"] = json!("group-other");
    other["spec"]["routing"]["service"]["name"] = json!("web-leader");
    cluster.put_group(other);
    let routed = |cluster: &Cluster| super::support::cluster::condition_of(&cluster.status_of("other"), "Routed");
    assert_eq!(routed(&cluster), "False ServiceTaken");
    assert_eq!(cluster.condition("Routed"), "True LeaderOnly");
    cluster.delete(Kind::Group, "web");
    // As the garbage collector does.
    cluster.delete(Kind::Service, "web-leader");
    cluster.delete(Kind::Slice, "web-leader");
    assert_eq!(routed(&cluster), "False NoLeader", "at once: it has no candidates");
}

#[test]
fn routing_taken_out_of_the_spec_takes_its_objects_along() {
    for restarts in [false, true] {
        let mut cluster = leading(&spec());
        if restarts {
            cluster.is_stopped = true;
        }
        set_spec(&mut cluster, &json!({}));
        if restarts {
            cluster.is_stopped = false;
            cluster.late.clear();
            cluster.restart();
        }
        assert!(cluster.api.get(Kind::Service, "web-leader").is_none());
        assert!(cluster.api.get(Kind::Slice, "web-leader").is_none());
        assert_eq!(cluster.condition("Routed"), "");
    }
}

#[test]
fn another_name_of_the_service_leaves_nothing_under_the_old_one() {
    let mut cluster = leading(&spec());
    let mut renamed = spec();
    renamed["routing"]["service"]["name"] = json!("billing-rw");
    set_spec(&mut cluster, &renamed);
    for kind in [Kind::Service, Kind::Slice] {
        assert!(cluster.api.get(kind, "web-leader").is_none());
        assert!(cluster.api.get(kind, "billing-rw").is_some());
    }
    assert_eq!(cluster.condition("Routed"), "True LeaderOnly");
}

#[test]
fn nothing_is_made_again_for_a_group_that_is_being_deleted() {
    let mut cluster = leading(&spec());
    let mut group = cluster.api.get(Kind::Group, "web").cloned().unwrap();
    group["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:09Z");
    cluster.put_group(group);
    let jobs = cluster.jobs.len();
    cluster.delete(Kind::Service, "web-leader");
    cluster.delete(Kind::Slice, "web-leader");
    cluster.renew("web-1");
    assert_eq!(routed_since(&cluster, jobs), [] as [String; 0]);
}

#[test]
fn a_group_whose_spec_can_not_be_used_sends_to_nobody_until_it_can() {
    let bad = json!({"candidates": {"selector": {"matchExpressions": [{"key": "app", "operator": "Maybe"}]}}});
    for broken in [bad, json!("no spec at all")] {
        let mut cluster = leading(&spec());
        set_spec(&mut cluster, &broken);
        assert_eq!(sends_to(&cluster), NOBODY, "{broken}");
        set_spec(&mut cluster, &spec());
        assert_eq!(sends_to(&cluster), only("10.0.0.0"), "{broken}");
    }
}

#[test]
fn require_ready_sends_only_while_the_leader_is_ready() {
    let mut spec = spec();
    spec["routing"]["requireReady"] = json!(true);
    let mut cluster = leading(&spec);
    assert_eq!(sends_to(&cluster), only("10.0.0.0"));
    let mut pod = web(0, "u0", "Running", running(0));
    pod["status"]["conditions"][0]["status"] = json!("False");
    cluster.put_pod(pod);
    assert_eq!(sends_to(&cluster), NOBODY);
    assert_eq!(cluster.condition("Routed"), "False LeaderNotReady");
    cluster.put_pod(web(0, "u0", "Running", running(0)));
    assert_eq!(sends_to(&cluster), only("10.0.0.0"));
}

#[test]
fn a_refused_write_is_shown_at_once_and_tried_again_ever_more_rarely() {
    let mut cluster = leading(&spec());
    cluster.route_fates = std::iter::repeat_n(Fate::Denied, 100).collect();
    let jobs = cluster.jobs.len();
    cluster.renew("web-1");
    assert_eq!(cluster.condition("Routed"), "False WriteFailed");
    let told: Vec<_> = cluster.notices.iter().filter(|n| n.reason == "WriteFailed").collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].note.contains("apply config/components/routing"), "{}", told[0].note);
    cluster.renew_times("web-1", 30);
    assert!((3..15).contains(&routed_since(&cluster, jobs).len()));
    cluster.route_fates.clear();
    cluster.renew_times("web-1", 31);
    assert_eq!(cluster.condition("Routed"), "True LeaderOnly");
}

#[test]
fn labels_tell_the_leader_from_its_standbys_and_never_two_leaders() {
    let mut spec = spec();
    spec["routing"]["podLabels"] = json!(true);
    let mut cluster = leading(&spec);
    let roles = |cluster: &Cluster| -> Vec<Value> {
        ["web-0", "web-1"]
            .map(|name| cluster.api.get(Kind::Pod, name).unwrap()["metadata"]["labels"]["leadergroup.dev/role"].clone())
            .into()
    };
    assert_eq!(roles(&cluster), ["leader", "standby"]);
    let jobs = cluster.jobs.len();
    cluster.route_fates = [Fate::Answered, Fate::Answered, Fate::Lost].into();
    cluster.renew("web-1");
    assert_eq!(roles(&cluster), ["standby", "standby"], "the second label got lost");
    cluster.pass(300);
    assert_eq!(roles(&cluster), ["standby", "leader"]);
    assert_eq!(routed_since(&cluster, jobs), ["Slice", "Label", "Label", "Label"]);
    cluster.route_fates = [Fate::Answered, Fate::Answered, Fate::Lost].into();
    cluster.renew("web-0");
    assert_eq!(roles(&cluster), ["standby", "standby"], "whichever comes first by name");
}

#[test]
fn a_label_that_is_refused_says_what_to_apply() {
    let mut spec = spec();
    spec["routing"]["podLabels"] = json!(true);
    let mut cluster = leading(&spec);
    cluster.route_fates = [Fate::Answered, Fate::Denied].into();
    cluster.renew("web-1");
    assert_eq!(cluster.condition("Stalled"), "True PodLabelsFailed");
    assert_eq!(cluster.condition("Routed"), "True LeaderOnly", "traffic goes its way");
    let told = cluster.notices.iter().find(|n| n.reason == "PodLabelsFailed").unwrap();
    assert!(told.note.contains("apply config/components/pod-labels"), "{}", told.note);
    cluster.pass(300);
    assert_eq!(cluster.condition("Stalled"), "False Observing");
}

#[test]
fn a_label_that_is_refused_is_nothing_to_a_group_that_wants_none_any_more() {
    for wanted in [json!({}), self::spec()] {
        let mut spec = self::spec();
        spec["routing"]["podLabels"] = json!(true);
        let mut cluster = leading(&spec);
        cluster.route_fates = [Fate::Answered, Fate::Denied].into();
        cluster.renew("web-1");
        assert_eq!(cluster.condition("Stalled"), "True PodLabelsFailed");
        set_spec(&mut cluster, &wanted);
        assert_eq!(cluster.condition("Stalled"), "False Observing", "{wanted}");
    }
}

#[test]
fn an_operator_that_stands_by_writes_nothing_and_a_late_write_of_its_is_refused() {
    let mut cluster = leading(&spec());
    cluster.is_stopped = true;
    cluster.renew("web-1");
    assert_eq!(sends_to(&cluster), only("10.0.0.0"));
    cluster.take_over();
    assert_eq!(sends_to(&cluster), only("10.0.0.1"));
    cluster.put_pod(web(2, "u2", "Running", running(8_000)));
    cluster.renew("web-2");
    let late = cluster.deliver_late();
    let routed: Vec<_> = late.iter().filter(|(job, _)| job == "Route Slice").collect();
    assert_eq!(routed, [&("Route Slice".to_owned(), false)]);
    assert_eq!(sends_to(&cluster), only("10.0.0.2"));
}

#[test]
fn an_address_of_the_other_family_needs_another_slice() {
    let mut cluster = leading(&spec());
    let mut pod = web(1, "u1", "Running", running(0));
    pod["status"]["podIP"] = json!("fd00::1");
    cluster.put_pod(pod);
    cluster.renew("web-1");
    assert_eq!(sends_to(&cluster), only("fd00::1"));
    assert_eq!(cluster.api.get(Kind::Slice, "web-leader").unwrap()["addressType"], json!("IPv6"));
}

#[test]
fn a_status_write_waits_for_the_slice_and_never_the_other_way() {
    let mut cluster = leading(&spec());
    cluster.is_stopped = true;
    cluster.renew("web-1");
    let under_way = |cluster: &Cluster, wanted: fn(&Job) -> bool| cluster.late.iter().any(|work| wanted(&work.job));
    assert!(under_way(&cluster, |job| matches!(job, Job::Route(_))));
    assert!(!under_way(&cluster, |job| matches!(job, Job::WriteStatus { .. })));
    let work = cluster.late.iter().find(|work| matches!(work.job, Job::Route(_))).cloned().unwrap();
    let outcome = cluster.api.perform(&work, ms(cluster.now)).unwrap();
    assert!(matches!(outcome, Outcome::Routed { result: Ok((true, _)), .. }));
    cluster.engine.outcome(&work, outcome, now_at(ms(cluster.now)));
    cluster.settle();
    assert!(under_way(&cluster, |job| matches!(job, Job::WriteStatus { .. })));
}

#[test]
fn objects_of_nonsense_under_the_operators_label_harm_nobody() {
    let long = "x".repeat(100_000);
    let owner = json!([{
        "apiVersion": "leadergroup.dev/v1alpha1", "kind": "LeaderGroup", "name": long, "uid": long, "controller": true,
    }]);
    let labels = json!({"app.kubernetes.io/managed-by": "leadergroup-operator"});
    let metadata = |name: &str, owners: &Value| json!({"name": name, "namespace": "shop", "labels": labels, "ownerReferences": owners});
    let ports: Vec<_> = (1..2_000).map(|port| json!({"port": port, "targetPort": "name"})).collect();
    let endpoints = vec![json!({"addresses": ["no address"], "targetRef": {"kind": "Pod", "name": long}}); 1_000];
    let mut cluster = leading(&spec());
    cluster.api.put(Kind::Service, json!({"metadata": metadata("a", &owner), "spec": {"ports": ports}}));
    cluster.api.put(Kind::Service, json!({"metadata": metadata("b", &json!(null)), "spec": {"ports": null}}));
    let slice =
        json!({"metadata": metadata("a", &owner), "addressType": "FQDN", "endpoints": endpoints, "ports": null});
    cluster.api.put(Kind::Slice, slice.clone());
    cluster.settle();
    // The group's own slice, become such a thing.
    edit(&mut cluster, Kind::Slice, |own| {
        own["endpoints"] = slice["endpoints"].clone();
        own["ports"] = json!(null);
    });
    assert_eq!(sends_to(&cluster), only("10.0.0.0"));
    assert!(cluster.api.get(Kind::Slice, "a").is_some() && cluster.api.get(Kind::Service, "a").is_some());
}

#[test]
fn a_pod_under_the_leaders_name_whose_kubelet_fell_silent_leads_once_the_renewals_must_be_its_own() {
    let mut observed = spec();
    observed["staleHolder"] = json!({"policy": "Observe"});
    let mut cluster = leading(&observed);
    let acquired = cluster.lease()["acquireTime"].clone();
    cluster.put_pod(web(0, "u0", "Failed", ended(7_000)));
    cluster.delete(Kind::Pod, "web-0");
    // Bound to its node, where it began to run; that is the last its kubelet is heard of.
    cluster.put_pod(web(0, "u9", "Pending", Value::Null));
    for _ in 0..7 {
        cluster.renew("web-0");
        cluster.pass(2_000);
        assert_eq!((sends_to(&cluster), cluster.status().transitions), (NOBODY, 0), "{} ms", cluster.now);
    }
    cluster.renew_times("web-0", 2);
    let status = cluster.status();
    assert_eq!(cluster.lease()["acquireTime"], acquired, "it took the Lease for its own");
    assert_eq!((sends_to(&cluster), status.transitions), (only("10.0.0.0"), 1));
    let uids = (status.leader.unwrap().pod_uid, status.holder.unwrap().pod_uid, status.history[0].pod_uid.clone());
    assert_eq!(uids, (Some("u9".to_owned()), Some("u9".to_owned()), Some("u9".to_owned())));
}
