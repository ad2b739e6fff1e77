//! What is found, case by case: a well group with one thing changed, and the finding that has to name it.
#![allow(clippy::needless_pass_by_value, reason = "cases are read more easily without references")]

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use leadergroup_api::Release;
use leadergroup_elector::lease::{MANAGER, TIMING};
use serde_json::{Value, json};

use super::finding::{Finding, Level};
use super::snapshot::{May, Patient, Place};
use super::{group as groups, timing_of};
use crate::owner::Owner;
use crate::rights::{Account, Checked};
use crate::samples::{group, lease, pod};

/// A world in which all is well; `change` is what is not.
struct World {
    place: Place,
    rights: Checked<Vec<May>>,
}

impl World {
    fn new() -> Self {
        let account = Account { namespace: "shop".into(), name: "app".into() };
        let may = May {
            account,
            get: true,
            update: true,
            watch: true,
            create: false,
            update_anywhere: false,
            everything: false,
        };
        Self {
            place: Place {
                groups: vec![group(&json!({}))],
                leases: vec![lease("billing-a", "client-go", &json!({}))],
                pods: vec![pod("billing-a", &json!({})), pod("billing-b", &json!({}))],
                ..Place::default()
            },
            rights: Ok(vec![may]),
        }
    }

    /// With the group so.
    fn group(mut self, over: Value) -> Self {
        self.place.groups[0] = group(&over);
        self
    }

    fn also(mut self, over: Value) -> Self {
        self.place.groups.push(group(&over));
        self
    }

    fn lease(mut self, holder: &str, manager: &str, over: Value) -> Self {
        self.place.leases = vec![lease(holder, manager, &over)];
        self
    }

    fn pods(mut self, pods: Vec<Pod>) -> Self {
        self.place.pods = pods;
        self
    }

    fn made_by(mut self, pod: &str, owner: &str, app: &str) -> Self {
        let selector: LabelSelector = serde_json::from_value(json!({"matchLabels": {"app": app}})).unwrap();
        self.place.owners.insert(pod.to_owned(), Owner { name: owner.to_owned(), selector });
        self
    }

    fn may(mut self, change: impl Fn(&mut May)) -> Self {
        self.rights.iter_mut().flatten().for_each(change);
        self
    }

    fn findings(&self) -> Vec<Finding> {
        let patient = Patient {
            namespace: self.namespace(),
            place: &self.place,
            group: &self.place.groups[0],
            rights: &self.rights,
        };
        groups::examine(&patient)
    }

    fn namespace(&self) -> &str {
        self.place.groups[0].metadata.namespace.as_deref().unwrap()
    }
}

/// The one finding, as `level check: message | mend`.
#[track_caller]
fn only(world: &World) -> String {
    let findings = world.findings();
    let [finding] = findings.as_slice() else { panic!("not one finding: {findings:#?}") };
    let level = serde_json::to_value(finding.level).unwrap();
    let mend = [&finding.mend.command, &finding.mend.advice].into_iter().flatten();
    let mend: String = mend.fold(String::new(), |told, part| told + " | " + part);
    format!("{} {}: {}{mend}", level.as_str().unwrap(), finding.check, finding.message)
}

/// The one finding begins so and ends so.
#[track_caller]
fn told(world: &World, begins: &str, ends: &str) {
    let found = only(world);
    assert!(found.starts_with(begins) && found.ends_with(ends), "{found}\nbegins {begins}\nends {ends}");
}

const PATCH: &str = "kubectl -n shop patch leadergroup billing --type=merge -p ";

#[test]
fn a_group_that_is_well_has_one_line() {
    assert_eq!(only(&World::new()), "ok group: billing-a leads; candidates: 2");
}

#[test]
fn candidates_that_are_not_found() {
    let unlabelled = |name: &str| pod(name, &json!({"metadata": {"labels": {"leadergroup.dev/group": "other"}}}));
    let mistyped = |name: &str| pod(name, &json!({"metadata": {"labels": {"leadergroup.dev/group": "biling"}}}));
    told(
        &World::new().pods(vec![mistyped("billing-a")]),
        "fail candidates: no pod in namespace shop matches \"leadergroup.dev/group=billing\", but some have leadergroup.dev/group=biling | ",
        "kubectl -n shop label pods -l leadergroup.dev/group=biling leadergroup.dev/group=billing --overwrite | correct it in the pods' template too",
    );
    let app = json!({"spec": {"candidates": {"selector": {"matchLabels": {"app": "biling"}}}}});
    told(
        &World::new().group(app),
        "fail candidates: no pod in namespace shop matches \"app=biling\", but some have app=billing | ",
        &format!(r#"{PATCH}'{{"spec":{{"candidates":{{"selector":{{"matchLabels":{{"app":"billing"}}}}}}}}}}'"#),
    );
    told(
        &World::new().pods(vec![unlabelled("billing-a")]).made_by("billing-a", "deployment/billing", "billing"),
        "fail candidates: no pod in namespace shop matches \"leadergroup.dev/group=billing\"; pod billing-a holds the Lease | ",
        &format!(r#"{PATCH}'{{"spec":{{"candidates":{{"selector":{{"matchLabels":{{"app":"billing"}}}}}}}}}}'"#),
    );
    // The other labels that are wanted stay, and expressions go.
    let app = json!({"spec": {"candidates": {"selector": {
        "matchLabels": {"app": "biling", "leadergroup.dev/group": "billing"},
        "matchExpressions": [{"key": "app", "operator": "Exists"}],
    }}}});
    told(
        &World::new().group(app),
        "fail candidates: no pod in namespace shop matches ",
        &format!(
            r#"{PATCH}'{{"spec":{{"candidates":{{"selector":{{"matchExpressions":null,"matchLabels":{{"app":"billing","leadergroup.dev/group":"billing"}}}}}}}}}}'"#
        ),
    );
    // Labels that the new selector does not want are named, or they would stay wanted.
    let wrong = json!({"spec": {"candidates": {"selector": {"matchLabels": {"team": "payments"}}}}});
    told(
        &World::new().group(wrong).made_by("billing-a", "deployment/billing", "billing"),
        "fail candidates: no pod in namespace shop matches \"team=payments\"; pod billing-a holds the Lease | ",
        &format!(
            r#"{PATCH}'{{"spec":{{"candidates":{{"selector":{{"matchLabels":{{"app":"billing","team":null}}}}}}}}}}'"#
        ),
    );
    // What a selector asks for is anybody's text, and none of it becomes a command.
    let evil = json!({"spec": {"candidates": {"selector": {"matchLabels": {"leadergroup.dev/group": "bilin;"}}}}});
    told(
        &World::new().group(evil).pods(vec![mistyped("billing-a")]),
        "fail candidates: no pod in namespace shop matches \"leadergroup.dev/group=bilin;\", but some have leadergroup.dev/group=biling | ",
        &format!(
            r#"{PATCH}'{{"spec":{{"candidates":{{"selector":{{"matchLabels":{{"leadergroup.dev/group":"biling"}}}}}}}}}}'"#
        ),
    );
    // A value near to it by which another group goes is no mistake.
    let neighbour = json!({"metadata": {"name": "biling"}});
    told(
        &World::new().pods(vec![mistyped("x")]).also(neighbour),
        "fail candidates: no pod in namespace shop matches \"leadergroup.dev/group=billing\" | kubectl -n shop get pods",
        "name their labels in spec.candidates.selector",
    );
    let not_ready = |name: &str| pod(name, &json!({"status": {"conditions": []}}));
    told(
        &World::new().pods(vec![not_ready("billing-a")]),
        "warn candidates: none of the 1 candidates is Ready | ",
        "kubectl -n shop describe pod billing-a",
    );
    told(
        &World::new().group(json!({"spec": {"candidates": {"containers": ["elector"]}}})),
        "fail candidates: no candidate has the container \"elector\", so no death can be proven | ",
        r#"'{"spec":{"candidates":{"containers":["app"]}}}'"#,
    );
    told(
        &World::new().group(json!({"spec": {"candidates": {"selector": {}}}})),
        "warn candidates: the selector leaves no pod out: all 2 of the namespace count",
        "",
    );
}

#[test]
fn groups_that_are_in_each_others_way() {
    let app = json!({"metadata": {"name": "other"}, "spec": {"candidates": {"selector": {"matchLabels": {"app": "billing"}}}}});
    told(
        &World::new().also(app),
        "warn overlap: pod billing-a and 1 more is a candidate of group other too",
        "both of",
    );
    let older = json!({
        "metadata": {"name": "older", "creationTimestamp": "2026-11-25T08:00:00Z"}, "spec": {"lease": {"name": "billing"}},
    });
    told(
        &World::new().also(older),
        "fail shared-lease: Lease billing belongs to the older group older | ",
        "kubectl -n shop delete leadergroup billing",
    );
    let younger = json!({
        "metadata": {"name": "younger", "creationTimestamp": "2026-11-25T09:30:00Z"}, "spec": {"lease": {"name": "billing"}},
    });
    told(&World::new().also(younger), "ok group", "");
}

#[test]
fn holders_that_are_no_candidate() {
    let stranger =
        pod("stranger", &json!({"metadata": {"labels": {"leadergroup.dev/group": "x-y-z", "app": "stranger"}}}));
    let mut world =
        World::new().lease("stranger_1", "client-go", json!({})).made_by("stranger", "deployment/stranger", "stranger");
    world.place.pods.push(stranger);
    told(
        &world,
        "fail holder: the Lease is held by pod stranger, which the selector does not match | ",
        "if deployment/stranger is not meant, give the group a Lease of its own",
    );
    told(
        &World::new().lease("elector-billing-a-77", "node", json!({})),
        "fail holder: holder \"elector-billing-a-77\" fits no candidate by spec.identity, but would by \"elector-{pod}-{any}\" | ",
        &format!(r#"{PATCH}'{{"spec":{{"identity":"elector-{{pod}}-{{any}}"}}}}'"#),
    );
    // Nothing that a holder made up for whoever runs the commands told here.
    told(
        &World::new().lease("billing-a';reboot;'", "x", json!({})),
        "fail holder: holder \"billing-a';reboot;'\" is not of the form that spec.identity gives, and is never cleared | ",
        "its own",
    );
    told(
        &World::new().lease("gone-x", "client-go", json!({})),
        "warn holder: holder \"gone-x\" fits no pod that exists",
        "",
    );
    told(
        &World::new().lease("vault:7", "vault", json!({})),
        "fail holder: holder \"vault:7\" is not of the form",
        "its own",
    );
    let on_node = |name: &str| pod(name, &json!({"spec": {"hostNetwork": true}}));
    told(
        &World::new().pods(vec![on_node("billing-a"), on_node("billing-b")]).lease("n1_7", "client-go", json!({})),
        "warn holder: holder \"n1_7\" may be any of billing-a, billing-b, so no death is proven",
        "",
    );
}

#[test]
fn leases_that_nobody_takes() {
    let mut world = World::new();
    world.place.leases.clear();
    world = world.may(|may| may.create = true);
    told(&world, "fail lease: Lease billing does not exist, though candidates run (2)", "for which Lease");
    told(
        &World::new().lease("", "client-go", json!({"spec": {"leaseTransitions": 0}})),
        "fail lease: Lease billing was never taken, though candidates run (2) | kubectl -n shop logs billing-a",
        "",
    );
    told(&World::new().lease("", "client-go", json!({})), "fail lease: nobody holds Lease billing", "");
    let coordinated = json!({"spec": {"strategy": "OldestEmulationVersion"}});
    told(&World::new().lease("any:thing", "x", coordinated), "ok group", "");
}

#[test]
fn timing_that_is_not_the_declared_one() {
    let lasting = |seconds: i32| json!({"spec": {"leaseDurationSeconds": seconds}});
    told(
        &World::new().lease("billing-a", "client-go", lasting(60)),
        "warn timing: the holder's Lease lasts 60 s, the group declares 15 s; what counts is what the holder writes | ",
        r#"'{"spec":{"lease":{"durationSeconds":60,"renewDeadlineSeconds":40,"retryPeriodSeconds":8}}}'"#,
    );
    // Our elector is about to take it up.
    let asked = json!({"spec": {"leaseDurationSeconds": 60}, "metadata": {"annotations": {TIMING[0]: "15"}}});
    told(&World::new().lease("billing-a", MANAGER, asked.clone()), "ok group", "");
    told(&World::new().lease("billing-a", "client-go", asked), "warn timing", "");
    // Whatever the duration, the proposal is one that the API server takes.
    for duration in [2, 3, 4, 7, 15, 137, 86_400] {
        let timing = timing_of(duration);
        let of = |name: &str| timing[name].as_i64().unwrap();
        let (deadline, retry) = (of("renewDeadlineSeconds"), of("retryPeriodSeconds"));
        assert!(i64::from(duration) > deadline && deadline * 5 > retry * 6 && retry >= 1 || duration < 3, "{timing}");
    }
}

#[test]
fn identities_that_do_not_suit() {
    let of_set = |name: &str| {
        pod(
            name,
            &json!({"metadata": {"ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "billing", "uid": "s", "controller": true},
            ]}}),
        )
    };
    let set = || World::new().pods(vec![of_set("billing-a"), of_set("billing-b")]);
    told(&set(), "warn identity: the candidates are a StatefulSet's", "metadata.uid");
    told(&set().lease("billing-a_uid-of-billing-a", MANAGER, json!({})), "ok group", "");
}

/// The level of the finding about the form of release, and the value that its command sets.
fn about_release(world: &World) -> Option<(Level, Release)> {
    let findings = world.findings();
    let finding = findings.iter().find(|finding| finding.check == "release")?;
    let command = finding.mend.command.as_deref().unwrap();
    let sets = |release: &Release| {
        let patch = json!({"spec": {"staleHolder": {"release": release}}}).to_string();
        command == format!("{PATCH}'{patch}'")
    };
    Some((finding.level, [Release::Auto, Release::Delete].into_iter().find(sets).unwrap()))
}

#[test]
fn reports_forms_that_the_library_does_not_understand() {
    use Level::{Fail, Warn};
    use Release::{Auto, Delete, Empty, Null};
    let renewed = json!({});
    let without_duration = json!({"spec": {"leaseDurationSeconds": null}});
    let for_life = json!({"spec": {"leaseDurationSeconds": null, "renewTime": null}});
    let camel = json!({"metadata": {"labels": {"provider": "camel"}}});
    for (manager, over, forms) in [
        ("client-go", &renewed, [(Auto, None), (Empty, None), (Null, None), (Delete, None)]),
        ("client-go", &without_duration, [(Auto, None), (Empty, None), (Null, None), (Delete, None)]),
        ("client-go", &for_life, [(Auto, None), (Empty, None), (Null, None), (Delete, None)]),
        ("Kubernetes Java Client", &renewed, [(Auto, None), (Empty, Some((Warn, Auto))), (Null, None), (Delete, None)]),
        ("orders", &camel, [(Auto, None), (Empty, Some((Warn, Auto))), (Null, None), (Delete, None)]),
        ("kubert", &renewed, [(Auto, None), (Empty, None), (Null, None), (Delete, Some((Fail, Auto)))]),
        ("kube-lease-manager-x", &renewed, [(Auto, None), (Empty, None), (Null, None), (Delete, Some((Fail, Auto)))]),
        ("billing-a", &renewed, [(Auto, None), (Empty, None), (Null, Some((Fail, Auto))), (Delete, None)]),
        (
            "node-fetch",
            &without_duration,
            [(Auto, Some((Warn, Delete))), (Empty, Some((Warn, Delete))), (Null, Some((Warn, Delete))), (Delete, None)],
        ),
        (
            "elector",
            &for_life,
            [(Auto, Some((Warn, Delete))), (Empty, Some((Warn, Delete))), (Null, Some((Warn, Delete))), (Delete, None)],
        ),
    ] {
        for (release, expected) in forms {
            let group = json!({"spec": {"staleHolder": {"release": release}}});
            let world = World::new().group(group).lease("billing-a", manager, over.clone());
            assert_eq!(about_release(&world), expected, "{manager}, {over}, {release:?}");
        }
    }
    let observed = json!({"spec": {"staleHolder": {"release": "Delete", "policy": "Observe"}}});
    let world = World::new().group(observed).lease("billing-a", "kubert", json!({}));
    assert_eq!(about_release(&world), Some((Warn, Auto)));
}

#[test]
fn asks_no_timing_of_a_lease_that_is_held_for_life() {
    let condition = |type_: &str, reason: &str| {
        json!({"status": {"conditions": [{
            "type": type_, "status": "True", "reason": reason, "message": "m",
            "lastTransitionTime": "2026-11-25T10:00:00Z",
        }]}})
    };
    let for_life = json!({"spec": {"leaseDurationSeconds": null, "renewTime": null}});
    let held = |holder: &str| World::new().lease(holder, "billing", for_life.clone());
    let checks =
        |world: &World| -> Vec<_> { world.findings().iter().map(|finding| (finding.check, finding.level)).collect() };
    let well = [("lease", Level::Ok), ("group", Level::Ok)];
    assert_eq!(checks(&held("billing-a")), well);
    for (type_, reason) in
        [("LeaseSuspect", "NoDuration"), ("LeaseSuspect", "NoRenewTime"), ("TimingSuspect", "LateRenewals")]
    {
        assert_eq!(checks(&held("billing-a").group(condition(type_, reason))), well, "{type_} {reason}");
        // Any other Lease is to have both.
        let world = World::new().group(condition(type_, reason));
        assert_eq!(checks(&world), [(type_, Level::Warn)], "{type_} {reason}");
    }
    let suspect = held("billing-a").group(condition("LeaseSuspect", "BadTransitions"));
    assert_eq!(checks(&suspect), [("lease", Level::Ok), ("LeaseSuspect", Level::Warn)]);
    assert_eq!(checks(&held("gone-x")), [("lease", Level::Ok), ("holder", Level::Warn)]);
}

#[test]
fn rights_that_are_missing_or_too_many() {
    const GRANT: &str = "kubectl leadergroup -n shop rbac billing | kubectl apply -f -";
    told(
        &World::new().may(|may| may.update = false),
        "fail rights: ServiceAccount app may not update Lease billing | ",
        GRANT,
    );
    let blind = || World::new().may(|may| may.watch = false);
    told(
        &blind().lease("billing-a_77", MANAGER, json!({})),
        "warn rights: ServiceAccount app may not watch Lease billing",
        GRANT,
    );
    // Who leads without it does not need it.
    told(&blind(), "ok group", "");
    told(
        &World::new().may(|may| may.update_anywhere = true),
        "warn excess-rights: ServiceAccount app may update the Leases of all namespaces",
        "grep -w shop/app | take it away in what binds it",
    );
    told(
        &World::new().may(|may| may.everything = true),
        "warn excess-rights: ServiceAccount app may do everything",
        "",
    );
    let mut world = World::new();
    world.place.leases.clear();
    let findings = world.findings();
    assert!(
        findings.iter().any(|f| f.message == "no candidate may create Lease billing, which does not exist"),
        "{findings:?}"
    );
    world.rights = Err("you may not".into());
    world.place.leases = World::new().place.leases;
    let findings = world.findings();
    assert_eq!(findings[0].message, "not checked: you may not");
    assert!(findings.iter().all(|finding| finding.level <= Level::Skip), "{findings:?}");
}

#[test]
fn what_the_operator_says_is_passed_on_once() {
    let condition = |type_: &str, status: &str, reason: &str| {
        json!({"status": {"conditions": [{
            "type": type_, "status": status, "reason": reason, "message": "so it is",
            "lastTransitionTime": "2026-11-25T10:00:00Z",
        }]}})
    };
    for (type_, status, reason, expected) in [
        ("Stalled", "True", "WriteFailed", "fail Stalled: WriteFailed: so it is"),
        ("LeaseSuspect", "True", "ClockOff", "warn LeaseSuspect: ClockOff: so it is"),
        ("Routed", "False", "ServiceTaken", "fail Routed: ServiceTaken: so it is"),
        ("Routed", "False", "LeaderNotReady", "warn Routed: LeaderNotReady: so it is"),
        ("Ready", "False", "LeaseExpired", "fail Ready: LeaseExpired: so it is"),
        ("Ready", "True", "Leading", "ok group: billing-a leads; candidates: 2"),
        ("CandidatesAuthorized", "Unknown", "NotAudited", "ok group: billing-a leads; candidates: 2"),
    ] {
        assert_eq!(only(&World::new().group(condition(type_, status, reason))), expected);
    }
    // What a check has said of the same is not said again, and what was just asked is known better.
    told(&World::new().group(condition("CandidatesAuthorized", "False", "MissingRights")), "ok group", "");
    let mut unasked = World::new().group(condition("CandidatesAuthorized", "False", "MissingRights"));
    unasked.rights = Err("you may not".into());
    let told_by_operator = unasked.findings().into_iter().find(|finding| finding.level == Level::Fail);
    assert_eq!(told_by_operator.map(|finding| finding.check), Some("CandidatesAuthorized"));
    let foreign =
        World::new().group(condition("HolderSuspect", "True", "Foreign")).lease("vault:7", "vault", json!({}));
    told(&foreign, "fail holder", "");
    // What was said of another spec is not so any more.
    let mut old = condition("Stalled", "True", "WriteFailed");
    old["metadata"] = json!({"generation": 2});
    told(
        &World::new().group(old),
        "fail observed: the operator has not taken in the spec as it is: its status is of generation 1",
        "",
    );
}

#[test]
fn namespaces_of_kubernetes_own() {
    let in_namespace = |name: &str| World::new().group(json!({"metadata": {"namespace": name}}));
    told(&in_namespace("kube-node-lease"), "fail namespace: ", "kubectl -n kube-node-lease delete leadergroup billing");
    told(
        &in_namespace("kube-system"),
        "warn namespace: namespace kube-system is Kubernetes' own",
        "--clear-in-system-namespaces",
    );
}

#[test]
fn specs_that_cannot_be_used() {
    told(
        &World::new().group(json!({"spec": {"identity": "leader"}})),
        "fail spec: spec.identity \"leader\" must contain",
        "edit leadergroup billing",
    );
    let mut place = Place::default();
    place.unreadable.push(("odd".into(), "invalid type".into()));
    let findings = groups::unreadable("shop", &place);
    assert_eq!((findings[0].about.as_str(), findings[0].level), ("shop/odd", Level::Fail));
}
