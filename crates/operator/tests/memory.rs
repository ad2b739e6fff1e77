//! What the operator keeps in memory, as a count of bytes by its allocator.

#![allow(missing_docs)]

mod support;

use kube::runtime::watcher::Event;
use leadergroup_operator::audit::Answers;
use leadergroup_operator::engine::{Engine, Job, Outcome, Work};
use serde_json::{Value, json};
use support::api::{Kind, change};
use support::{micro_time, ms, now_at};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const GROUPS: usize = 200;
const CANDIDATES: usize = 3;
const NODES: usize = 10;
/// Pods in the groups' namespace that no group selects.
const UNRELATED: usize = 500;

fn tell(engine: &mut Engine, kind: Kind, event: &Event<Value>) {
    engine.change(change(kind, event), now_at(ms(0)));
}

fn group_name(at: usize) -> String {
    format!("group-{at}")
}

fn group(at: usize) -> Value {
    let mut group = support::group(&json!({}));
    group["metadata"]["name"] = json!(group_name(at));
    group["metadata"]["uid"] = json!(uid("group", at));
    group["metadata"]["resourceVersion"] = json!((at + 1).to_string());
    group
}

/// The group's Lease, held by its first pod.
fn lease(at: usize) -> Value {
    let mut lease = support::lease(&json!({
        "holderIdentity": pod_name(at, 0), "leaseDurationSeconds": 15, "acquireTime": micro_time(0), "renewTime": micro_time(0),
        "leaseTransitions": 1,
    }));
    lease["metadata"]["name"] = json!(group_name(at));
    lease["metadata"]["uid"] = json!(uid("lease", at));
    lease
}

/// As the API server makes them.
fn uid(kind: &str, at: usize) -> String {
    format!("{:0>8}-0000-4000-8000-{at:0>12}", &kind[..4])
}

fn pod_name(group: usize, at: usize) -> String {
    format!("group-{group}-5d9fcb7c86-bcdf{}", at + 2)
}

fn candidate(group: usize, at: usize) -> Value {
    let mut pod = pod(&pod_name(group, at), group * CANDIDATES + at);
    pod["metadata"]["labels"]["leadergroup.dev/group"] = json!(group_name(group));
    pod
}

/// A Deployment's pod.
fn pod(name: &str, at: usize) -> Value {
    let status = json!({
        "state": {"running": {"startedAt": support::time(0)}}, "lastState": {}, "restartCount": 0,
        "containerID": format!("containerd://{:0>64}", at),
    });
    let mut pod = support::pod(
        name,
        &uid("pods", at),
        &format!("node-{}.example.org", at % NODES),
        "Running",
        &[("app", status)],
    );
    pod["metadata"]["labels"] = json!({
        "app.kubernetes.io/name": "app", "app.kubernetes.io/instance": "app-instance", "pod-template-hash": "5d9fcb7c86",
    });
    support::generate_name(&mut pod["metadata"], name, "apps/v1", "ReplicaSet");
    pod["spec"]["serviceAccountName"] = json!("default");
    pod["status"]["podIP"] = json!(format!("10.{}.{}.{}", at / 65_536 % 256, at / 256 % 256, at % 256));
    pod
}

/// Returns the engine of a leading operator that has listed `groups` groups with their pods, and `beside` other pods.
fn engine(groups: usize, beside: usize) -> Engine {
    let mut engine = Engine::default();
    engine.lead(1, now_at(ms(0)));
    for kind in Kind::ALL {
        tell(&mut engine, kind, &Event::Init);
        let mut show = |object| tell(&mut engine, kind, &Event::InitApply(object));
        match kind {
            Kind::Node => (0..NODES).for_each(|at| show(support::node(&format!("node-{at}.example.org"), true, false))),
            Kind::Group => (0..groups).for_each(|at| show(group(at))),
            Kind::Lease => (0..groups).for_each(|at| show(lease(at))),
            Kind::Pod => {
                (0..groups).flat_map(|g| (0..CANDIDATES).map(move |at| candidate(g, at))).for_each(&mut show);
                (0..beside).for_each(|at| show(pod(&format!("beside-{at}-bcdfg"), 100_000 + at)));
            }
            Kind::Service | Kind::Slice => {}
        }
        tell(&mut engine, kind, &Event::InitDone);
    }
    while settle(&mut engine) {}
    engine
}

/// Does all work that has come up; whether there was any.
fn settle(engine: &mut Engine) -> bool {
    let work = engine.take_work();
    let is_idle = work.is_empty();
    for work in work {
        if let Some(outcome) = outcome(&work) {
            engine.outcome(&work, outcome, now_at(ms(0)));
        }
    }
    drop(engine.take_seen());
    !is_idle
}

fn outcome(work: &Work) -> Option<Outcome> {
    match &work.job {
        Job::WriteStatus { version, status } => {
            let version = (version.parse::<u64>().unwrap() + 100_000).to_string();
            Some(Outcome::Status { result: Ok(Some((version, (**status).clone()))) })
        }
        Job::Audit(subject) => {
            let (subject, answers) = (subject.clone(), Answers::default());
            Some(Outcome::Audited { subject, answers, broke_off: None })
        }
        _ => None,
    }
}

/// The bytes that are kept of what this makes.
fn kept<T>(make: impl FnOnce() -> T) -> usize {
    let before = dhat::HeapStats::get().curr_bytes;
    let value = make();
    let kept = dhat::HeapStats::get().curr_bytes - before;
    drop(value);
    kept
}

/// `PROFILE` writes where the bytes were allocated, for DHAT's viewer.
#[test]
fn memory_follows_the_groups() {
    if let Some(file) = std::env::var_os("PROFILE") {
        let _profiler = dhat::Profiler::builder().file_name(file).build();
        std::mem::forget(engine(GROUPS, 0));
        return;
    }
    let _profiler = dhat::Profiler::builder().testing().build();
    let group = kept(|| engine(GROUPS, 0)) / GROUPS;
    let beside = (kept(|| engine(1, UNRELATED)) - kept(|| engine(1, 0))) / UNRELATED;
    println!("{group} bytes a group with {CANDIDATES} pods, {beside} a pod beside them");
    assert!(group <= 15 * 1_024, "{group} bytes a group");
    assert!(beside <= 1_024, "{beside} bytes a pod that no group selects");
}
