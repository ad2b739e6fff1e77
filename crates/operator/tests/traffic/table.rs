//! For every verdict, who gets traffic.

use leadergroup_api::Verdict;
use serde_json::json;

use super::support::api::Kind;
use super::support::cluster::Cluster;
use super::support::{ended, pod, restarted, running};
use super::{leading, sends_to, spec, web};

/// What happens to `web-0`, which leads, in words and in the cluster; the verdict; the address that then gets traffic.
type Case = (&'static str, fn(&mut Cluster), Verdict, Option<&'static str>);

const CASES: &[Case] = &[
    ("it leads and renews", |_| {}, Verdict::Alive, Some("10.0.0.0")),
    (
        "its readiness probe fails: that says nothing of who leads",
        |c| {
            let mut pod = web(0, "u0", "Running", running(0));
            pod["status"]["conditions"][0]["status"] = json!("False");
            c.put_pod(pod);
        },
        Verdict::Alive,
        Some("10.0.0.0"),
    ),
    ("it releases the Lease", |c| free(c), Verdict::Free, None),
    ("the Lease is deleted", |c| c.delete(Kind::Lease, "web"), Verdict::Free, None),
    ("a standby took the Lease", |c| c.renew("web-1"), Verdict::Alive, Some("10.0.0.1")),
    (
        "its pod ended, and policy Observe leaves the Lease alone",
        |c| c.put_pod(web(0, "u0", "Failed", ended(7_500))),
        Verdict::Terminated,
        None,
    ),
    (
        "its container is up again, and no run has renewed since the last",
        |c| c.put_pod(web(0, "u0", "Running", restarted(7_600, 7_500))),
        Verdict::Terminated,
        None,
    ),
    (
        "its container is down, which may be told late: a later run may have renewed",
        |c| {
            c.put_pod(web(0, "u0", "Running", ended(5_500)));
        },
        Verdict::Unproven,
        Some("10.0.0.0"),
    ),
    (
        "its pod was force-deleted: its address may be another pod's by now",
        |c| c.delete(Kind::Pod, "web-0"),
        Verdict::Vanished,
        None,
    ),
    (
        "its node is not ready, and its Lease is current: it may lead and serve",
        |c| c.put_node("n1", false, false),
        Verdict::Unreachable,
        Some("10.0.0.0"),
    ),
    (
        "its node is not ready, and its Lease ran out",
        |c| {
            c.put_node("n1", false, false);
            c.pass(14_000);
        },
        Verdict::Unreachable,
        None,
    ),
    ("it runs, and stopped renewing", |c| c.pass(14_000), Verdict::LeaseExpired, None),
    (
        "it stopped renewing, and came back",
        |c| {
            c.pass(14_000);
            c.renew("web-0");
        },
        Verdict::Alive,
        Some("10.0.0.0"),
    ),
    (
        "another pod of its name may be the holder as well",
        |c| {
            c.delete(Kind::Pod, "web-0");
            c.put_pod(web(0, "u9", "Running", running(8_000)));
        },
        Verdict::Ambiguous,
        None,
    ),
    (
        "the holder's identity is a pod's that is no candidate",
        |c| {
            let mut stranger = pod("stranger", "u5", "n1", "Running", &[("app", running(0))]);
            stranger["metadata"]["labels"] = json!({});
            c.put_pod(stranger);
            c.renew("stranger");
        },
        Verdict::Foreign,
        None,
    ),
    ("the holder's identity fits no pod", |c| c.renew("web-7"), Verdict::Unresolved, None),
    (
        "the Lease was renewed after its holder was proven dead",
        |c| {
            c.put_pod(web(0, "u0", "Failed", ended(7_500)));
            c.pass(2_000);
            c.renew("web-0");
        },
        Verdict::Contradiction,
        None,
    ),
    ("coordinated leader election chose it", |c| manage(c), Verdict::Managed, Some("10.0.0.0")),
    (
        "coordinated leader election chose it, and its container is down",
        |c| {
            manage(c);
            c.put_pod(web(0, "u0", "Running", ended(7_500)));
        },
        Verdict::Managed,
        None,
    ),
    (
        "coordinated leader election chose it, and its Lease ran out",
        |c| {
            manage(c);
            c.pass(16_000);
        },
        Verdict::Managed,
        None,
    ),
    (
        "coordinated leader election chose it, its Lease ran out, and it came back",
        |c| {
            manage(c);
            c.pass(16_000);
            c.renew("web-0");
        },
        Verdict::Managed,
        Some("10.0.0.0"),
    ),
    (
        "a new pod of its name runs where the old one ended, and has yet to renew",
        |c| {
            c.put_pod(web(0, "u0", "Failed", ended(7_500)));
            c.delete(Kind::Pod, "web-0");
            c.put_pod(web(0, "u9", "Running", running(8_000)));
        },
        Verdict::Alive,
        None,
    ),
    (
        "a new pod of its name runs where the old one ended, and has renewed",
        |c| {
            c.put_pod(web(0, "u0", "Failed", ended(7_500)));
            c.delete(Kind::Pod, "web-0");
            c.put_pod(web(0, "u9", "Running", running(8_000)));
            c.pass(1_000);
            c.renew("web-0");
        },
        Verdict::Alive,
        Some("10.0.0.0"),
    ),
    (
        "it leads before its pod has an address",
        |c| {
            c.put_pod(pod("web-2", "u2", "n1", "Pending", &[("app", json!({"state": {"waiting": {}}}))]));
            c.renew("web-2");
        },
        Verdict::Alive,
        None,
    ),
];

fn free(cluster: &mut Cluster) {
    let mut spec = cluster.lease();
    spec["holderIdentity"] = json!("");
    cluster.set_lease(&spec);
}

fn manage(cluster: &mut Cluster) {
    let mut spec = cluster.lease();
    spec["strategy"] = json!("OldestEmulationVersion");
    cluster.set_lease(&spec);
}

#[test]
fn only_a_pod_that_is_known_to_lead_gets_traffic() {
    for (told, happens, verdict, address) in CASES {
        let mut spec = spec();
        // The state is to be looked at, not left.
        spec["staleHolder"] = json!({"policy": "Observe"});
        let mut cluster = leading(&spec);
        assert_eq!(sends_to(&cluster), ["10.0.0.0"], "before: {told}");
        happens(&mut cluster);
        assert_eq!(cluster.verdict(), verdict.to_string(), "{told}");
        let expected: Vec<String> = address.iter().map(ToString::to_string).collect();
        assert_eq!(sends_to(&cluster), expected, "{told}");
        let reason = if address.is_some() { "True LeaderOnly" } else { "False NoLeader" };
        assert_eq!(cluster.condition("Routed"), reason, "{told}");
    }
}

#[test]
fn the_table_has_every_verdict() {
    let row = |verdict: Verdict| CASES.iter().any(|(_, _, v, _)| *v == verdict);
    // A new verdict does not compile before it is given its row here.
    let next = |verdict: Verdict| match verdict {
        Verdict::Managed => Some(Verdict::Free),
        Verdict::Free => Some(Verdict::Contradiction),
        Verdict::Contradiction => Some(Verdict::Foreign),
        Verdict::Foreign => Some(Verdict::Ambiguous),
        Verdict::Ambiguous => Some(Verdict::Terminated),
        Verdict::Terminated => Some(Verdict::Alive),
        Verdict::Alive => Some(Verdict::Vanished),
        Verdict::Vanished => Some(Verdict::Unreachable),
        Verdict::Unreachable => Some(Verdict::Unresolved),
        Verdict::Unresolved => Some(Verdict::Unproven),
        Verdict::Unproven => Some(Verdict::LeaseExpired),
        Verdict::LeaseExpired => None,
    };
    let every = std::iter::successors(Some(Verdict::Managed), |verdict| next(*verdict));
    let missing: Vec<_> = every.filter(|verdict| !row(*verdict)).collect();
    assert_eq!(missing, []);
}
