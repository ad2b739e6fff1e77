use kube::api::WatchEvent;
use leadergroup_election::{Candidate, Input, Output, Request, What};

use super::*;

fn read(lease: &Value) -> Lease {
    serde_json::from_value(lease.clone()).unwrap()
}

#[test]
fn what_cannot_be_read_keeps_nobody_from_the_lease() {
    let lease = read(&json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": "billing", "resourceVersion": "7",
            "managedFields": [{"manager": "curl", "time": "9999-12-31T23:59:59Z"}],
        },
        "spec": {
            "holderIdentity": "a", "leaseDurationSeconds": 15, "leaseTransitions": 3,
            "acquireTime": "9999-12-31T23:59:59.000000Z", "renewTime": "9999-12-31T23:59:59.999999Z",
            "strategy": "OldestEmulationVersion",
        },
    }));
    let Ok(Observation::Present(seen)) = seen(&lease) else { panic!("the Lease is there") };
    let last_second = 253_402_300_799_000_000;
    assert_eq!((seen.record.acquired, seen.record.renewed), (Some(last_second), Some(last_second + 999_999)));
    assert_eq!((seen.record.holder.as_deref(), seen.record.transitions), (Some("a"), Some(3)));
    let change = Change { holder: "b".to_owned(), duration_seconds: 10, acquires: false, transitions: 4 };
    let written = serde_json::to_value(changed(&lease, &change)).unwrap();
    assert_eq!(written["kind"], "Lease");
    assert_eq!(written["spec"]["acquireTime"], "9999-12-31T23:59:59.000000Z");
    assert_eq!(written["spec"]["strategy"], "OldestEmulationVersion");
    assert_eq!(written["metadata"]["managedFields"], Value::Null);
    assert_eq!(written["spec"]["holderIdentity"], "b");
}

/// A Lease of `holder` with some of its parts replaced, each named by a JSON pointer.
fn lease(holder: &str, parts: &[(&str, Value)]) -> Value {
    let mut lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": "billing", "namespace": "shop", "resourceVersion": "7", "uid": "u", "labels": {"app": "billing"},
            "annotations": {"note": "keep"}, "creationTimestamp": "2026-01-31T12:00:00Z", "managedFields": [],
        },
        "spec": {
            "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 3,
            "acquireTime": "2026-01-31T12:00:00.000000Z", "renewTime": "2026-01-31T12:00:00.000000Z",
        },
    });
    for (pointer, value) in parts {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        lease.pointer_mut(parent).unwrap()[name] = value.clone();
    }
    lease
}

/// Times that no clock can have written, or none at all.
fn absurd_times() -> Vec<Value> {
    let texts = [
        "",
        " ",
        "Z",
        "soon",
        "1",
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59.999999Z",
        "10000-01-01T13:59:59.999999Z",
        "292277026596-12-04T15:30:07.000000Z",
        "-292277022399-01-01T00:00:00.000000Z",
        "-0001-12-31T10:00:00.000000Z",
        "0000-01-01T00:00:00.000000Z",
        "0001-01-01T00:00:00.000000Z",
        "2026-02-30T25:61:61.000000Z",
        "+292277026596",
        "2026-01-31T12:00:00.0000000000000000000000000000001Z",
        "2026-01-31T12:00:00+99:99",
        "２０２６-01-31T12:00:00Z",
        "2026-01-31T12:00:00Z\u{0}",
    ];
    let texts = texts.into_iter().map(|text| json!(text));
    let long = std::iter::once(json!("9".repeat(100_000)));
    texts.chain(long).chain(wrong_types()).collect()
}

fn wrong_types() -> Vec<Value> {
    vec![json!(null), json!(true), json!(-1), json!(1.5), json!(u64::MAX), json!([]), json!([{"a": 1}]), json!({})]
}

fn absurd_numbers() -> Vec<Value> {
    let numbers = [i64::MIN, i64::from(i32::MIN) - 1, i64::from(i32::MIN), -1, 0, i64::from(i32::MAX) + 1, i64::MAX];
    let numbers = numbers.into_iter().map(|number| json!(number));
    let others = [json!(u64::MAX), json!(1e300), json!(-0.0), json!(15.5), json!("15"), json!("")];
    numbers.chain(others).chain(wrong_types().into_iter().filter(|value| !value.is_number())).collect()
}

/// Parts of a Lease with each absurd value that they can have.
fn absurd_parts() -> Vec<(String, Value)> {
    let mut parts = Vec::new();
    let mut each = |pointers: &[&str], values: Vec<Value>| {
        for value in values {
            parts.extend(pointers.iter().map(|pointer| ((*pointer).to_owned(), value.clone())));
        }
    };
    let times = ["/spec/acquireTime", "/spec/renewTime", "/metadata/creationTimestamp", "/metadata/deletionTimestamp"];
    each(&times, absurd_times());
    each(&["/spec/leaseDurationSeconds", "/spec/leaseTransitions", "/metadata/generation"], absurd_numbers());
    let managed = absurd_times().into_iter().map(|time| json!([{"manager": "curl", "time": time, "fieldsV1": {}}]));
    each(&["/metadata/managedFields"], managed.chain(wrong_types()).collect());
    let others = ["/spec/strategy", "/spec/preferredHolder", "/metadata/annotations", "/metadata/labels", "/status"];
    each(&others, wrong_types());
    for name in TIMING.into_iter().chain([PREFERRED_HOLDER]) {
        // A slash within a name of a JSON pointer.
        let annotations = wrong_types().into_iter().map(|value| json!({name: value}));
        each(&["/metadata/annotations"], annotations.collect());
    }
    parts
}

/// What the API server takes: it reads times as strictly as this type, in the years 0 to 9999.
fn assert_is_accepted(written: &Value, told: &str) {
    let spec = written["spec"].as_object().unwrap();
    for name in ["acquireTime", "renewTime"] {
        assert!(spec[name].as_str().and_then(microseconds).is_some(), "{told}: {written}");
    }
    assert!(spec["leaseDurationSeconds"].as_i64().is_some_and(|seconds| seconds > 0), "{told}: {written}");
    let transitions = spec["leaseTransitions"].as_i64().and_then(|transitions| u32::try_from(transitions).ok());
    assert!(transitions.is_some_and(|transitions| i32::try_from(transitions).is_ok()), "{told}: {written}");
    for name in ["creationTimestamp", "deletionTimestamp", "managedFields"] {
        assert_eq!(written["metadata"].get(name), None, "{told}");
    }
}

/// The write that a candidate asks for once the Lease is found as it is, at the latest after `patience`.
fn write_of(identity: &str, found: &Lease, patience: Duration) -> Option<Change> {
    let mut candidate = Candidate::new(identity, Timing::DEFAULT, Duration::ZERO);
    let seen = seen(found).ok()?;
    let mut outputs = candidate.step(Input::Watched(seen), Duration::ZERO);
    outputs.extend(candidate.step(Input::Woken, patience));
    outputs.into_iter().find_map(|output| match output {
        Output::Send(Request { what: What::Replace(Version(7), change), .. }) => Some(change),
        _ => None,
    })
}

#[test]
fn absurd_lease_is_taken_over_and_renewed() {
    for (pointer, value) in absurd_parts() {
        let told: String = format!("{pointer} {value}").chars().take(120).collect();
        for (holder, patience) in [("another", Timing::DEFAULT.lease_duration()), ("me", Duration::ZERO)] {
            let sent = lease(holder, &[(&pointer, value.clone())]);
            // As a read and as a watch bring it.
            let found = read(&sent);
            let event = serde_json::from_value(json!({"type": "MODIFIED", "object": sent.clone()})).unwrap();
            let WatchEvent::Modified(watched) = event else { panic!("{told}: {event:?}") };
            let watched: Lease = watched;
            assert!(seen(&found).ok() == seen(&watched).ok(), "{told}");

            let change = write_of("me", &found, patience);
            let change = change.unwrap_or_else(|| panic!("{told}, held by {holder}: no write"));
            let written = serde_json::to_value(changed(&found, &change)).unwrap();
            assert_is_accepted(&written, &told);
            // What others wrote stays, whether it can be read here or not.
            for kept in ["/spec/strategy", "/spec/preferredHolder", "/metadata/annotations", "/metadata/labels"] {
                assert_eq!(written.pointer(kept), sent.pointer(kept), "{told}");
            }
        }
    }
}

#[test]
fn lease_without_readable_parts_is_free() {
    for value in wrong_types() {
        for part in ["/spec", "/spec/holderIdentity"] {
            let found = read(&lease("another", &[(part, value.clone())]));
            let change = write_of("me", &found, Duration::ZERO).unwrap_or_else(|| panic!("{part} {value}: no write"));
            assert_is_accepted(&serde_json::to_value(changed(&found, &change)).unwrap(), part);
        }
    }
}

#[test]
fn every_renewal_counts_however_absurd_its_time() {
    let seen_at = |time: &str| seen(&read(&lease("another", &[("/spec/renewTime", json!(time))]))).unwrap();
    for (before, after) in [
        ("10000-01-01T13:59:59.999999Z", "10000-01-01T14:00:01.999999Z"),
        ("292277026596-12-04T15:30:07.000000Z", "292277026596-12-04T15:30:09.000000Z"),
        ("-0001-12-31T10:00:00.000000Z", "-0001-12-31T10:00:02.000000Z"),
        ("9999-12-31T23:59:57.999999Z", "9999-12-31T23:59:59.999999Z"),
        ("9999-12-31T23:59:59.999999Z", "10000-01-01T00:00:01.999999Z"),
    ] {
        let mut candidate = Candidate::new("me", Timing::DEFAULT, Duration::ZERO);
        let mut step = |input, seconds| candidate.step(input, Duration::from_secs(seconds));
        assert_eq!(step(Input::Watched(seen_at(before)), 0), [], "{before}");
        let Observation::Present(later) = seen_at(after) else { panic!("the Lease is there") };
        let later = Observation::Present(Seen { version: Version(8), ..later });
        assert_eq!(step(Input::Watched(later), 14), [], "{after}");
        assert_eq!(step(Input::Woken, 28), [], "the holder renewed 14 s ago: {before} {after}");
        assert!(!step(Input::Woken, 29).is_empty(), "{before} {after}");
    }
}

#[test]
fn transitions_never_overflow() {
    let found = read(&lease("another", &[("/spec/leaseTransitions", json!(i32::MAX))]));
    let change = write_of("me", &found, Timing::DEFAULT.lease_duration()).unwrap();
    assert_eq!(change.transitions, i32::MAX);
}

#[test]
fn longest_duration_is_respected() {
    let found = read(&lease("another", &[("/spec/leaseDurationSeconds", json!(i32::MAX))]));
    let lasts = Duration::from_secs(i32::MAX.unsigned_abs().into());
    assert_eq!(write_of("me", &found, lasts.saturating_sub(Duration::from_nanos(1))), None, "its holder relies on it");
    assert!(write_of("me", &found, lasts).is_some());
}

#[test]
fn timing_is_taken_only_from_what_a_group_can_ask() {
    let asked = |texts: [&str; 3]| {
        let annotations: Map<_, _> = TIMING.map(str::to_owned).into_iter().zip(texts.map(Value::from)).collect();
        timing(&read(&lease("another", &[("/metadata/annotations", Value::Object(annotations))])))
    };
    assert_eq!(asked(["15", "10", "2"]), Some(Timing::DEFAULT));
    assert!(asked(["86400", "86399", "1"]).is_some());
    for texts in [
        ["86401", "10", "2"],
        ["2147483647", "2147483646", "1"],
        ["2147483648", "10", "2"],
        ["9223372036854775807", "9223372036854775806", "9223372036854775805"],
        ["18446744073709551615", "18446744073709551614", "18446744073709551613"],
        ["18446744073709551616", "10", "2"],
        ["-15", "-10", "-2"],
        ["0", "0", "0"],
        ["", "", ""],
        ["15", "10", ""],
        ["15.0", "10", "2"],
        ["15s", "10s", "2s"],
        ["1e1", "5", "1"],
        ["10", "15", "2"],
        ["15", "10", "10"],
    ] {
        assert_eq!(asked(texts), None, "{texts:?}");
    }
}

#[test]
fn a_lease_that_is_made_has_its_kind_and_its_times() {
    let change = Change { holder: "b".to_owned(), duration_seconds: 10, acquires: true, transitions: 0 };
    let written = serde_json::to_value(new("billing", &change)).unwrap();
    assert_eq!(
        (written["apiVersion"].as_str(), written["kind"].as_str()),
        (Some("coordination.k8s.io/v1"), Some("Lease"))
    );
    assert!(written["spec"]["acquireTime"].as_str().is_some_and(|time| time.parse::<Timestamp>().is_ok()), "{written}");
}
