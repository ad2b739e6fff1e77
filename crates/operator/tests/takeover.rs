//! One operator takes over from another: nothing that the Leases showed meanwhile is lost, and what comes too late from
//! the first does no harm.

#![allow(missing_docs)]

mod support;

use leadergroup_api::TransitionReason;
use leadergroup_operator::engine::Outcome;
use serde_json::{Value, json};
use support::api::Kind;
use support::cluster::Cluster;
use support::{ended, micro_time, ms, now_at, pod, restarted, running};

/// The group's pods `web-0`, which leads since a while, and `web-1`; the last renewal was at 6 s, and it is 8 s now.
fn leading(spec: &Value) -> Cluster {
    let mut cluster = Cluster::new(spec);
    cluster.put_pod(of_pod(0, running(0)));
    cluster.put_pod(of_pod(1, running(0)));
    cluster.renew_times("web-0", 4);
    assert_eq!(cluster.verdict(), "Alive");
    cluster
}

fn of_pod(n: usize, status: Value) -> Value {
    pod(&format!("web-{n}"), &format!("u{n}"), "n1", "Running", &[("app", status)])
}

fn ended_pod(n: usize, at: i64) -> Value {
    pod(&format!("web-{n}"), &format!("u{n}"), "n1", "Failed", &[("app", ended(at))])
}

fn free(cluster: &mut Cluster, renewed: Option<u64>) {
    let mut spec = cluster.lease();
    spec["holderIdentity"] = json!("");
    spec["leaseDurationSeconds"] = json!(1);
    if let Some(at) = renewed {
        spec["renewTime"] = json!(micro_time(i64::try_from(at).unwrap()));
    }
    cluster.set_lease(&spec);
}

/// Leaders and reasons, newest first, and the count.
fn history(cluster: &Cluster) -> (Vec<(String, TransitionReason)>, i64) {
    let status = cluster.status();
    (status.history.into_iter().map(|t| (t.leader, t.reason)).collect(), status.transitions)
}

#[test]
fn what_happened_while_nobody_led_is_told_as_if_somebody_had() {
    use TransitionReason::{Cleared, Expired, LeaseDeleted, Released, Taken};
    type Case = (fn(&mut Cluster), &'static [(&'static str, TransitionReason)]);
    let cases: [Case; 8] = [
        (|_| {}, &[]),
        (|c| c.renew("web-1"), &[("web-1", Taken)]),
        (
            |c| {
                free(c, Some(8_000));
                c.renew("web-1");
            },
            &[("web-1", Released)],
        ),
        (
            |c| {
                free(c, None);
                c.renew("web-1");
            },
            &[("web-1", Cleared)],
        ),
        (
            |c| {
                c.pass(16_000);
                c.renew("web-1");
            },
            &[("web-1", Expired)],
        ),
        (
            |c| {
                c.delete(Kind::Lease, "web");
                c.renew("web-1");
            },
            &[("web-1", LeaseDeleted)],
        ),
        (
            |c| {
                c.renew("web-1");
                c.renew("web-0");
            },
            &[("web-0", Taken), ("web-1", Taken)],
        ),
        (
            |c| {
                free(c, Some(8_000));
                c.renew("web-1");
                free(c, Some(8_000));
            },
            &[("web-1", Released)],
        ),
    ];
    for (n, (happens, expected)) in cases.into_iter().enumerate() {
        let mut cluster = leading(&json!({}));
        cluster.is_stopped = true;
        happens(&mut cluster);
        assert_eq!(history(&cluster).1, 0, "nobody leads");
        cluster.take_over();
        let (found, count) = history(&cluster);
        let newest: Vec<_> = found.iter().map(|(leader, reason)| (leader.as_str(), *reason)).collect();
        assert_eq!(newest[..newest.len() - 1], *expected, "case {n}");
        assert_eq!(usize::try_from(count), Ok(expected.len()), "case {n}");
        // And the term after those.
        cluster.renew_times("web-2", 2);
        assert_eq!(usize::try_from(cluster.status().transitions), Ok(expected.len() + 1), "case {n}");
    }
}

#[test]
fn a_lease_freed_while_nobody_led_has_its_reason_when_the_next_leads() {
    for (renewed, reason) in [(Some(8_000), TransitionReason::Released), (None, TransitionReason::Cleared)] {
        let mut cluster = leading(&json!({}));
        cluster.is_stopped = true;
        free(&mut cluster, renewed);
        cluster.pass(1_000);
        cluster.take_over();
        assert_eq!(cluster.verdict(), "Free");
        cluster.pass(1_000);
        cluster.renew("web-1");
        let newest = cluster.status().history.remove(0);
        assert_eq!((newest.reason, newest.leaderless_seconds), (reason, Some(2.0)));
    }
}

#[test]
fn where_risks_are_accepted_a_clear_by_another_is_not_said_to_be_proven() {
    let mut cluster = leading(&json!({"staleHolder": {"unconfirmed": {"policy": "AcceptRisk", "afterSeconds": 3}}}));
    cluster.is_stopped = true;
    free(&mut cluster, None);
    cluster.renew("web-1");
    cluster.take_over();
    assert_eq!(history(&cluster).0[0], ("web-1".to_owned(), TransitionReason::ClearedUnconfirmed));
}

#[test]
fn a_takeover_without_news_writes_and_tells_nothing() {
    let mut cluster = leading(&json!({}));
    let (writes, notices) = (cluster.api.status_writes, cluster.notices.len());
    for _ in 0..4 {
        cluster.take_over();
        cluster.renew_times("web-0", 4);
    }
    assert_eq!((cluster.api.status_writes, cluster.notices.len()), (writes, notices));
}

#[test]
fn takeovers_at_any_step_change_no_history() {
    type Step = fn(&mut Cluster);
    let steps: [Step; 10] = [
        |c| c.renew("web-0"),
        |c| c.renew_times("web-0", 3),
        |c| c.renew("web-1"),
        |c| c.delete(Kind::Pod, "web-0"),
        |c| free(c, Some(c.now)),
        |c| c.renew("web-2"),
        |c| c.delete(Kind::Lease, "web"),
        |c| c.renew("web-1"),
        |c| c.pass(20_000),
        |c| c.renew("web-2"),
    ];
    let play = |before: u32, after: u32| {
        let mut cluster = Cluster::new(&json!({"staleHolder": {"policy": "Observe"}}));
        for n in 0..3 {
            cluster.put_pod(of_pod(n, running(0)));
        }
        for (at, step) in steps.iter().enumerate() {
            cluster.is_stopped |= before & 1 << at != 0;
            step(&mut cluster);
            cluster.pass(100);
            if after & 1 << at != 0 {
                cluster.take_over();
                cluster.pass(100);
                cluster.deliver_late();
            }
            cluster.pass(1_000);
        }
        cluster.take_over();
        history(&cluster)
    };
    let undisturbed = play(0, 0);
    assert_eq!(undisturbed.1, 4);
    for at in 0..steps.len() {
        for length in 0..4 {
            for again in [0, 1 << 9, 0b10_1010_1010] {
                let (stop, takeover) = (1 << at, 1 << (at + length) | again);
                assert_eq!(play(stop, takeover), undisturbed, "stopped before step {at}, takeovers {takeover:b}");
            }
        }
    }
}

#[test]
fn an_operator_that_began_to_watch_too_late_says_that_it_did_not_see() {
    let mut cluster = leading(&json!({}));
    cluster.is_stopped = true;
    for holder in ["web-1", "web-0", "web-1"] {
        cluster.renew(holder);
    }
    cluster.is_stopped = false;
    cluster.restart();
    let newest = cluster.status().history.remove(0);
    assert_eq!((newest.reason, newest.unobserved), (TransitionReason::Unobserved, Some(2)));
    assert_eq!(cluster.status().transitions, 3);
}

#[test]
fn an_operator_that_stood_by_knows_which_clocks_are_sane_and_a_new_one_does_not() {
    for (stood_by, verdict) in [(true, "Free"), (false, "Unproven")] {
        let mut cluster = leading(&json!({}));
        cluster.is_stopped = true;
        cluster.put_pod(of_pod(0, ended(7_500)));
        if stood_by {
            cluster.take_over();
        } else {
            cluster.is_stopped = false;
            cluster.restart();
        }
        assert_eq!(cluster.verdict(), verdict);
        assert_eq!(cluster.api.cleared.len(), usize::from(stood_by));
    }
}

#[test]
fn a_holder_that_ended_and_is_gone_while_nobody_led_is_cleared_at_once() {
    let mut cluster = leading(&json!({}));
    cluster.is_stopped = true;
    cluster.put_pod(ended_pod(0, 7_500));
    cluster.delete(Kind::Pod, "web-0");
    cluster.take_over();
    assert_eq!((cluster.verdict().as_str(), cluster.api.cleared.len()), ("Free", 1));
    cluster.renew("web-1");
    assert_eq!(history(&cluster).0[0], ("web-1".to_owned(), TransitionReason::Cleared));
}

#[test]
fn a_process_that_may_outlive_its_pod_is_known_to_the_operator_that_stood_by() {
    let mut cluster = leading(&json!({}));
    cluster.is_stopped = true;
    cluster.delete(Kind::Pod, "web-0");
    cluster.put_pod(pod("web-0", "again", "n1", "Running", &[("app", running(8_000))]));
    cluster.take_over();
    assert_eq!(cluster.verdict(), "Ambiguous");
    cluster.put_pod(pod("web-0", "again", "n1", "Failed", &[("app", ended(8_500))]));
    cluster.pass(12_000);
    assert!(cluster.api.cleared.is_empty());
}

#[test]
fn a_lease_that_stood_still_while_nobody_led_is_read_and_cleared_at_once() {
    let mut cluster = leading(&json!({}));
    cluster.is_stopped = true;
    cluster.delete(Kind::Pod, "web-0");
    cluster.pass(30_000);
    cluster.take_over();
    assert_eq!(cluster.api.cleared.len(), 1);
    cluster.renew("web-1");
    assert_eq!(history(&cluster).0[0], ("web-1".to_owned(), TransitionReason::Expired));
}

/// The operator has decided to clear `web-0`, and its clear has yet to be sent, or is on its way.
fn about_to_clear(spec: &Value) -> Cluster {
    let mut cluster = leading(spec);
    // By a risk the user accepted: the clear is the first request.
    cluster.delete(Kind::Pod, "web-0");
    cluster.is_stopped = true;
    cluster.pass(2_000);
    let clears = cluster.late.iter().filter(|work| format!("{:?}", work.job).starts_with("Act(Clear")).count();
    assert_eq!(clears, 1, "{:?}", cluster.late);
    cluster
}

const RISKY: &str = r#"{"staleHolder": {"unconfirmed": {"policy": "AcceptRisk", "afterSeconds": 2}}}"#;

#[test]
fn a_late_clear_spares_a_holder_that_renewed_or_came_after() {
    let spec = serde_json::from_str(RISKY).unwrap();
    for happens in [
        |c: &mut Cluster| c.renew("web-0"),
        |c: &mut Cluster| c.renew("web-1"),
        |c: &mut Cluster| {
            c.pass(2_000);
            c.renew("web-1");
        },
    ] {
        let mut cluster = about_to_clear(&spec);
        cluster.take_over();
        happens(&mut cluster);
        let (lease, cleared) = (cluster.lease(), cluster.api.cleared.len());
        let delivered = cluster.deliver_late();
        assert!(delivered.contains(&("Clear".to_owned(), false)), "{delivered:?}");
        assert_eq!((cluster.lease(), cluster.api.cleared.len()), (lease, cleared));
    }
}

#[test]
fn a_late_clear_of_a_lease_that_has_not_moved_is_told_as_what_it_is() {
    let mut cluster = about_to_clear(&serde_json::from_str(RISKY).unwrap());
    cluster.take_over();
    assert!(cluster.deliver_late().contains(&("Clear".to_owned(), true)));
    assert_eq!(cluster.api.cleared.len(), 1);
    cluster.renew("web-1");
    assert_eq!(history(&cluster).0[0], ("web-1".to_owned(), TransitionReason::ClearedUnconfirmed));
    cluster.pass(30_000);
    assert_eq!(cluster.api.cleared.len(), 1);
}

#[test]
fn a_late_status_lowers_no_count_and_stays_nowhere() {
    // The status is written late, before or after the new leader has written its own.
    for with_news in [false, true] {
        let mut cluster = leading(&json!({}));
        cluster.is_stopped = true;
        cluster.renew("web-1");
        // What the first operator saw of that, the second has yet to see.
        cluster.hold(Kind::Lease);
        if with_news {
            cluster.release(Kind::Lease);
        }
        cluster.take_over();
        cluster.deliver_late();
        cluster.release(Kind::Lease);
        cluster.renew("web-0");
        cluster.pass(2_000);
        let (found, count) = history(&cluster);
        assert_eq!(count, 2, "{found:?}");
        assert_eq!(found[0].0, "web-0");
        assert_eq!(found[1], ("web-1".to_owned(), TransitionReason::Taken));
    }
}

#[test]
fn an_operator_that_lost_its_term_does_nothing_and_forgets() {
    let mut cluster = about_to_clear(&serde_json::from_str(RISKY).unwrap());
    let now = now_at(ms(cluster.now));
    let clear = cluster.late.iter().find(|work| format!("{:?}", work.job).starts_with("Act(Clear")).unwrap().clone();
    cluster.engine.stand_by();
    assert!(cluster.engine.take_work().is_empty());
    assert_eq!(cluster.engine.next_wake(), None);
    // It leads again, and acts on the same verdict anew: the answer to the earlier request is not the answer to that.
    cluster.engine.lead(7, now);
    let work = cluster.engine.take_work();
    assert!(work.iter().all(|work| work.term == 7));
    let outcome = cluster.api.perform(&clear, ms(cluster.now)).unwrap();
    assert!(matches!(&outcome, Outcome::Cleared { result: Ok(_), .. }));
    cluster.engine.outcome(&clear, outcome, now);
    assert!(cluster.engine.take_work().is_empty(), "it waits for its own answers");
}

#[test]
fn an_operator_that_leads_before_its_watches_have_listed_waits_for_them() {
    use leadergroup_operator::engine::Engine;
    let mut engine = Engine::default();
    engine.lead(1, now_at(ms(0)));
    let cluster = leading(&json!({}));
    for kind in Kind::ALL {
        for event in cluster.list(kind) {
            assert!(engine.take_work().is_empty());
            engine.change(support::api::change(kind, &event), now_at(ms(cluster.now)));
        }
    }
    assert!(engine.is_synced());
}

#[test]
fn a_container_that_restarted_while_nobody_led_has_its_lease_until_it_runs_out() {
    let mut cluster = leading(&json!({}));
    cluster.is_stopped = true;
    cluster.put_pod(of_pod(0, restarted(7_600, 7_500)));
    cluster.renew("web-0");
    cluster.take_over();
    cluster.pass(5_000);
    assert!(cluster.api.cleared.is_empty());
    assert_eq!((cluster.verdict().as_str(), cluster.status().transitions), ("Alive", 0));
}
