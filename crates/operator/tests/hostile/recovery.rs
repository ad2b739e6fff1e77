//! Plays steps against the whole engine, beside a sound group, and then sets everything right.

use serde_json::{Value, json};

use super::input::PODS;
use super::limits;
use super::step::{Step, at};
use crate::support::api::Kind;
use crate::support::cluster::Cluster;
use crate::support::{ended, generate_name, group, micro_time, node, pod, running};

/// A pod under a name that no other has: the processes of others may have outlived their pods, seen or unseen.
const SOUND: &str = "sound-bcdfg";

/// What is wrong with the operator during these steps or after them.
pub fn trouble(steps: &[Step]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut cluster = Cluster::new(&json!({}));
    begin_sound_group(&mut cluster);
    for (number, step) in steps.iter().enumerate() {
        play(&mut cluster, step, number);
        let clears = cluster.api.cleared.drain(..).map(|c| c.clear.verdict).filter(|v| limits::forbids_clear(*v));
        wrong.extend(clears.map(|verdict| format!("step {number}: a clear by {verdict}")));
        let notices = cluster.notices.drain(..);
        wrong.extend(notices.filter_map(|n| limits::in_notice(&n)).map(|why| format!("step {number}: {why}")));
        if let Some(group) = cluster.api.get(Kind::Group, "web") {
            let limit = group["spec"]["historyLimit"].as_u64().unwrap_or(100);
            wrong.extend(
                limits::in_status(&group["status"], limit).into_iter().map(|why| format!("step {number}: {why}")),
            );
        }
    }
    wrong.extend(fails(&mut cluster, "good", "good-0", "safe"));
    set_right(&mut cluster);
    wrong.extend(fails(&mut cluster, "web", SOUND, "n1"));
    wrong
}

fn play(cluster: &mut Cluster, step: &Step, number: usize) {
    match step {
        Step::Group(object) => {
            let mut object = at(object, cluster.now);
            object["metadata"]["uid"] = Value::Null;
            object["metadata"]["generation"] = json!(number + 2);
            cluster.put_group(object);
        }
        Step::Lease(object) => {
            let mut object = at(object, cluster.now);
            object["metadata"]["uid"] = Value::Null;
            cluster.api.put(Kind::Lease, object);
        }
        Step::Pod(object) => cluster.put_pod(at(object, cluster.now)),
        Step::Node(object) => {
            cluster.api.put(Kind::Node, at(object, cluster.now));
        }
        Step::Delete(what, name) => cluster.delete((*what).into(), name),
        Step::Relist(what) => cluster.relist((*what).into()),
        Step::Pass(milliseconds) => cluster.pass(*milliseconds),
        Step::Renew(times) => {
            for _ in 0..*times {
                cluster.pass(2_000);
                let mut spec = cluster.lease();
                if spec.is_object() {
                    spec["renewTime"] = json!(micro_time(i64::try_from(cluster.now).unwrap()));
                    cluster.set_lease(&spec);
                }
            }
        }
    }
    cluster.settle();
}

/// The group `good`, of pod `good-0` on node `safe`.
fn begin_sound_group(cluster: &mut Cluster) {
    cluster.api.put(Kind::Node, node("safe", true, false));
    let mut good = group(&json!({}));
    good["metadata"]["name"] = json!("good");
    good["metadata"]["uid"] = json!("group-good");
    cluster.put_group(good);
    put_candidate(cluster, "good", "good-0", "safe", "Running", running(0));
}

fn put_candidate(cluster: &mut Cluster, group: &str, name: &str, node: &str, phase: &str, status: Value) {
    let mut candidate = pod(name, &format!("{name}-sound"), node, phase, &[("app", status)]);
    candidate["metadata"]["labels"] = json!({"leadergroup.dev/group": group});
    if name == SOUND {
        generate_name(&mut candidate["metadata"], name, "apps/v1", "ReplicaSet");
    }
    cluster.put_pod(candidate);
}

/// Has the candidate lead and end: it has to be seen to live, and to be cleared.
fn fails(cluster: &mut Cluster, group: &str, name: &str, node: &str) -> Option<String> {
    for _ in 0..4 {
        let now = micro_time(i64::try_from(cluster.now).unwrap());
        let spec = json!({
            "holderIdentity": name, "leaseDurationSeconds": 15, "acquireTime": now, "renewTime": now, "leaseTransitions": 1,
        });
        let version = cluster.api.version_of(Kind::Lease, group);
        cluster.api.write_lease(group, version, &spec).expect("the version that was read");
        cluster.settle();
        cluster.pass(2_000);
    }
    let verdict =
        |cluster: &Cluster| cluster.status_of(group).holder.map(|h| h.verdict.to_string()).unwrap_or_default();
    if verdict(cluster) != "Alive" {
        return Some(format!("{group} is led by {name}, and it says {:?}", verdict(cluster)));
    }
    let end = i64::try_from(cluster.now).unwrap();
    put_candidate(cluster, group, name, node, "Failed", ended(end));
    let clears = cluster.api.cleared.drain(..).filter(|c| c.clear.lease.name == group && c.clear.holder == name);
    let done = clears.count() == 1 && verdict(cluster) == "Free";
    (!done).then(|| format!("{name} of {group} ended and was not cleared: {:?}", verdict(cluster)))
}

/// Deletes what was hostile, and puts something sound in its place.
fn set_right(cluster: &mut Cluster) {
    cluster.delete(Kind::Group, "web");
    cluster.delete(Kind::Lease, "web");
    for pod in PODS {
        cluster.delete(Kind::Pod, pod);
    }
    cluster.api.put(Kind::Node, node("n1", true, false));
    let mut web = group(&json!({}));
    web["metadata"]["uid"] = Value::Null;
    cluster.put_group(web);
    let since = i64::try_from(cluster.now).unwrap();
    put_candidate(cluster, "web", SOUND, "n1", "Running", running(since));
}
