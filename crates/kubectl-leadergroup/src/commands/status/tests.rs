//! What is shown of groups in all their states.

use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::events::v1::Event;
use leadergroup_api::{Library, Release, ReleaseForm};
use serde_json::json;

use super::render;
use super::report::Report;
use crate::group::{self, More, Reading};
use crate::model::LeaderGroup;
use crate::output::{BAD, Format, WARN, paint};
use crate::samples;
use crate::session::Session;
use crate::testdata::{self, ago, lease, now, plain};

fn reading(group: LeaderGroup) -> Reading {
    Reading { group, lease: Ok(None), pods: Ok(Vec::new()), more: None }
}

fn led() -> Reading {
    let lease = lease("billing", "billing-b58c8d75b-ztgk2_5f2c", 1);
    Reading { lease: Ok(Some(lease)), pods: Ok(testdata::pods()), ..reading(testdata::led()) }
}

fn more() -> More {
    let event = |reason: &str, type_: &str, note: &str, seconds: i64| -> Event {
        serde_json::from_value(json!({
            "metadata": {"name": reason}, "reason": reason, "type": type_, "note": note, "eventTime": ago(seconds),
        }))
        .unwrap()
    };
    More {
        zones: Ok(BTreeMap::from([("node-1".to_owned(), "eu-1a".to_owned())])),
        events: Ok(vec![
            event("HolderTerminated", "Normal", "pod billing-b58c8d75b-kxct4 ended", 313),
            event("MissingRights", "Warning", "ServiceAccount old may not update Lease billing", 300),
        ]),
    }
}

fn report(reading: &Reading) -> Report {
    Report::of(reading, now().timestamp())
}

fn shown(reading: &Reading) -> String {
    plain(&render::text(&report(reading), reading.more.is_some(), &now()))
}

#[test]
fn a_group_that_is_led() {
    insta::assert_snapshot!(shown(&led()));
}

#[test]
fn more_of_a_group_that_is_led() {
    insta::assert_snapshot!(shown(&Reading { more: Some(more()), ..led() }));
}

#[test]
fn a_group_that_is_led_for_programs() {
    insta::assert_snapshot!(Format::Json.render(&report(&Reading { more: Some(more()), ..led() })).unwrap());
}

#[test]
fn a_group_without_a_status() {
    insta::assert_snapshot!(shown(&reading(testdata::new())));
}

#[test]
fn a_group_without_candidates() {
    insta::assert_snapshot!(shown(&reading(testdata::never_led())));
}

#[test]
fn a_group_whose_leader_is_dead_and_that_only_observes() {
    let lease = lease("invoices", "invoices-0", 17);
    insta::assert_snapshot!(shown(&Reading { lease: Ok(Some(lease)), ..reading(testdata::leaderless()) }));
}

#[test]
fn a_group_whose_lease_somebody_else_holds() {
    let lease = lease("taken", "somebody-else", 0);
    insta::assert_snapshot!(shown(&Reading { lease: Ok(Some(lease)), ..reading(testdata::foreign()) }));
}

#[test]
fn a_group_of_long_and_wide_names() {
    insta::assert_snapshot!(shown(&reading(testdata::long())));
}

#[test]
fn what_may_not_be_read_is_left_out_and_named() {
    let denied = |what: &str| format!("{what} is forbidden: User \"jane\" cannot list resource");
    let more = More { zones: Err(denied("nodes")), events: Err(denied("events.events.k8s.io")) };
    let (lease, pods) = (Err(denied("leases.coordination.k8s.io \"billing\"")), Err(denied("pods")));
    insta::assert_snapshot!(shown(&Reading { lease, pods, more: Some(more), ..reading(testdata::led()) }));
}

#[test]
fn a_status_that_is_behind_is_not_passed_off_as_the_present() {
    let mut behind = led();
    behind.group.metadata.generation = Some(2);
    behind.lease = Ok(Some(lease("billing", "another", 1)));
    let notes = report(&behind).notes;
    assert_eq!(
        notes,
        [
            "the status answers generation 1 of the spec, which is at 2: if that stays, the operator does not run",
            "the Lease is held by another, the status says by billing-b58c8d75b-ztgk2_5f2c: if that stays, the operator \
             does not run",
        ]
    );
    assert_eq!(report(&led()).notes, [""; 0]);
}

#[test]
fn a_lease_that_ran_out_and_a_clock_that_is_ahead_stand_out() {
    let text = |renewed| {
        let lease = Ok(Some(lease("billing", "billing-b58c8d75b-ztgk2_5f2c", renewed)));
        render::text(&report(&Reading { lease, ..led() }), false, &now())
    };
    assert!(text(20).contains(&paint(BAD, "ran out 5s ago")), "{}", text(20));
    assert!(!text(14).contains("ran out"), "{}", text(14));
    assert!(text(-7).contains(&paint(WARN, "renewed 7s ahead of this machine's clock")), "{}", text(-7));
    assert!(text(-1).contains("renewed 0s ago"), "{}", text(-1));
}

#[test]
fn a_renewal_is_no_change() {
    let renewed = |ago| {
        let lease = Ok(Some(lease("billing", "billing-b58c8d75b-ztgk2_5f2c", ago)));
        report(&Reading { lease, ..led() })
    };
    assert_ne!(renewed(1), renewed(3));
    assert_eq!(renewed(1).lasting(), renewed(3).lasting());
}

#[tokio::test]
async fn a_selector_that_cannot_be_used_hides_only_the_candidates() {
    let session = Session::answered_by(|path| {
        let answer = if path.contains("/pods") {
            let status = json!({"kind": "Status", "metadata": {}, "status": "Failure", "code": 400, "reason": "BadRequest",
                "message": "found 'b;c', expected: ','"});
            return (400, status.to_string());
        } else if path.contains("/leases/") {
            json!(lease("billing", "billing-b58c8d75b-ztgk2_5f2c", 1))
        } else {
            json!(testdata::led())
        };
        (200, answer.to_string())
    });
    let reading = group::read(&session, "billing", false).await.unwrap();
    let text = shown(&reading);
    assert!(text.contains("Leader:       billing-b58c8d75b-ztgk2"), "{text}");
    let told = "candidates are not shown: spec.candidates.selector can't be used: found 'b;c', expected: ','";
    assert!(text.contains(told), "{text}");
}

#[test]
fn tells_what_release_auto_comes_to() {
    let of = |spec: serde_json::Value, lease: Result<Option<Lease>, String>| {
        let mut reading = Reading { lease, ..led() };
        reading.group.spec = serde_json::from_value(spec).unwrap();
        let clearing = report(&reading).clearing;
        (clearing.release, clearing.release_form, clearing.library)
    };
    let java = || samples::lease("billing-a", "Kubernetes Java Client", &json!({}));
    let unreadable = || Err("you may not".to_owned());
    let empty = || json!({"staleHolder": {"release": "Empty"}});
    let auto = Release::Auto;
    assert_eq!(of(json!({}), Ok(Some(java()))), (auto, Some(ReleaseForm::Null), Some(Library::OfficialJava)));
    assert_eq!(of(json!({}), Ok(None)), (auto, Some(ReleaseForm::Empty), None));
    assert_eq!(of(json!({}), unreadable()), (auto, None, None));
    let asked = (Release::Empty, Some(ReleaseForm::Empty));
    assert_eq!(of(empty(), Ok(Some(java()))), (asked.0, asked.1, Some(Library::OfficialJava)));
    assert_eq!(of(empty(), unreadable()), (asked.0, asked.1, None));
}
