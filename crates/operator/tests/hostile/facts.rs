//! What the evidence table asks of a death, looked up in the objects as they were delivered.

use jiff::Timestamp;
use leadergroup_api::{RuleName, Verdict};
use leadergroup_operator::judge::Judgement;
use serde_json::Value;

use super::play::Play;
use crate::support::api::Kind;
use crate::support::wall;

/// The verdict; of a death, by which row it is proven.
pub fn row(judgement: &Judgement) -> String {
    let row = match judgement.rule.name() {
        RuleName::KubeletReportedEnd => " 6",
        RuleName::NoRunSinceRenewal | RuleName::AllContainersRestarted => " 7",
        RuleName::NodeOutOfService => " 9",
        _ => "",
    };
    format!("{}{row}", judgement.verdict())
}

/// What speaks against the judgement.
pub fn contradict(play: &Play, judgement: &Judgement) -> Option<String> {
    if judgement.verdict() != Verdict::Terminated {
        return None;
    }
    let row = row(judgement);
    let why = (|| {
        let subject = judgement.subject.as_ref().ok_or("it names no pod")?;
        let mut why = Err("the pod was never seen");
        for pod in states(play, &subject.name, &subject.uid) {
            why = match row.as_str() {
                "Terminated 6" => ended(play, pod),
                "Terminated 7" => no_run_since_renewal(play, pod),
                "Terminated 9" => given_up(play, pod),
                _ => Err("no row allows it"),
            };
            if why.is_ok() {
                break;
            }
        }
        why
    })();
    why.err().map(|why| format!("{row}, but {why}: {}", judgement.evidence()))
}

/// A pod's UID; a static pod's is the hash of its manifest.
pub fn uid(pod: &Value) -> &str {
    let annotations = &pod["metadata"]["annotations"];
    let hash = annotations["kubernetes.io/config.hash"].as_str().filter(|h| !h.is_empty() && h.len() <= 64);
    hash.filter(|_| annotations["kubernetes.io/config.mirror"].is_string())
        .or_else(|| pod["metadata"]["uid"].as_str())
        .unwrap_or_default()
}

pub fn is_candidate(pod: &Value) -> bool {
    pod["metadata"]["labels"]["leadergroup.dev/group"] == "web"
}

pub fn is_lost(node: &Value) -> bool {
    let ready = items(&node["status"]["conditions"]).any(|c| c["type"] == "Ready" && c["status"] == "True");
    let taints = &node["spec"]["taints"];
    !ready && items(taints).any(|t| t["key"] == "node.kubernetes.io/out-of-service")
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The present state of that pod; its last ones if it is gone, of which a static pod's mirror can have several.
fn states<'a>(play: &'a Play, name: &str, of_uid: &str) -> Vec<&'a Value> {
    let is_it = |pod: &&Value| pod["metadata"]["name"] == name && uid(pod) == of_uid;
    match play.objects.get(&(Kind::Pod, name.to_owned())).filter(is_it) {
        Some(pod) => vec![pod],
        None => play.gone.iter().filter(is_it).collect(),
    }
}

/// The statuses of each container that has to be down.
fn watched<'a>(play: &'a Play, pod: &'a Value) -> Vec<(&'a str, Vec<&'a Value>)> {
    let of = |containers: &str, statuses: &str| {
        let statuses = &pod["status"][statuses];
        let named = |name: &str| items(statuses).filter(|s| s["name"] == name).collect();
        items(&pod["spec"][containers]).map(|c| (c, named(c["name"].as_str().unwrap_or_default()))).collect::<Vec<_>>()
    };
    let mut sidecars = of("initContainers", "initContainerStatuses");
    sidecars.retain(|(c, _)| c["restartPolicy"] == "Always");
    let all = of("containers", "containerStatuses").into_iter().chain(sidecars);
    let all = all.chain(of("ephemeralContainers", "ephemeralContainerStatuses"));
    let listed = &play.spec()["candidates"]["containers"];
    let shared = pod["spec"]["shareProcessNamespace"] == true || pod["spec"]["hostPID"] == true;
    let is_watched = |c: &Value| shared || items(listed).next().is_none() || items(listed).any(|l| *l == c["name"]);
    all.filter(|(c, _)| is_watched(c)).map(|(c, s)| (c["name"].as_str().unwrap_or_default(), s)).collect()
}

fn runs(status: &Value) -> bool {
    status["state"]["running"].is_object()
}

/// The containers of the pod that its kubelet never runs again after an end with this exit code, by their names.
fn never_again<'a>(pod: &'a Value, exit_code: &Value) -> Vec<&'a str> {
    let spec = &pod["spec"];
    let has_rules = |list: &str| items(&spec[list]).any(|c| items(&c["restartPolicyRules"]).next().is_some());
    let is_final = |c: &&Value| {
        let policy = c["restartPolicy"].as_str().or_else(|| spec["restartPolicy"].as_str());
        policy == Some("Never") || policy == Some("OnFailure") && *exit_code == 0
    };
    let regular = items(&spec["containers"]).filter(is_final).filter(|_| !has_rules("containers"));
    let all = regular.filter(|_| !has_rules("initContainers")).chain(items(&spec["ephemeralContainers"]));
    all.filter_map(|c| c["name"].as_str()).collect()
}

/// Row 6: every watched container down, of a pod in a terminal phase by the kubelet's word, or for good.
fn ended(play: &Play, pod: &Value) -> Result<(), &'static str> {
    let by_gc =
        |c: &Value| c["type"] == "DisruptionTarget" && c["status"] == "True" && c["reason"] == "DeletionByPodGC";
    let is_terminal = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if is_terminal && items(&pod["status"]["conditions"]).any(by_gc) {
        return Err("garbage collection wrote its phase");
    }
    let watched = watched(play, pod);
    if watched.is_empty() {
        return Err("it has no watched container");
    }
    for (name, statuses) in watched {
        if statuses.iter().any(|s| runs(s)) {
            return Err("a watched container is reported running");
        }
        let [status] = statuses.as_slice() else { return Err("a watched container has not one status") };
        let run = &status["state"]["terminated"];
        let never_ran = status["state"]["terminated"].is_null()
            && status["lastState"]["terminated"].is_null()
            && status["restartCount"].as_i64().unwrap_or(0) == 0;
        if is_terminal && never_ran {
            continue;
        }
        if !run.is_object() || run["reason"] == "ContainerStatusUnknown" {
            return Err("a watched container was not seen to end");
        }
        if !is_terminal && !never_again(pod, &run["exitCode"]).contains(&name) {
            return Err("its phase is not terminal, and a watched container may run again");
        }
    }
    Ok(())
}

/// Row 7: every watched container's newest finished run ended in a later second than the last renewal, by a sane clock.
fn no_run_since_renewal(play: &Play, pod: &Value) -> Result<(), &'static str> {
    let renewed = play.moves.last().and_then(|(_, record)| record.renewed()).ok_or("the Lease was never renewed")?;
    if !clock_is_sane(play) {
        return Err("the clock is not sane");
    }
    let watched = watched(play, pod);
    if watched.is_empty() {
        return Err("it has no watched container");
    }
    let parse = |time: &Value| time.as_str().and_then(|t| t.parse::<Timestamp>().ok());
    let mut ends = Vec::new();
    for (name, statuses) in &watched {
        let [status] = statuses.as_slice() else { return Err("a watched container has not one status") };
        let run = if !runs(status) && status["state"]["terminated"].is_object() {
            &status["state"]["terminated"]
        } else {
            &status["lastState"]["terminated"]
        };
        let end = parse(&run["finishedAt"]).ok_or("a watched container has no finished run")?;
        if run["reason"] == "ContainerStatusUnknown" || end.as_second() <= renewed.as_second() {
            return Err("a watched container's last run may have renewed");
        }
        let started = parse(&status["state"]["running"]["startedAt"]);
        if runs(status) && started.is_none_or(|started| started < end) {
            return Err("a watched container is reported running since before that");
        }
        ends.push((name, started.filter(|_| runs(status)), end));
    }
    let overlaps = ends.iter().any(|(name, started, _)| {
        started.is_some_and(|started| ends.iter().any(|(other, _, end)| other != name && started <= *end))
    });
    if overlaps { Err("the watched containers were never down together") } else { Ok(()) }
}

/// The last three renewals and four seconds: each later than the one before, and by a clock like the operator's.
fn clock_is_sane(play: &Play) -> bool {
    let is_sane = |(at, renewed): (u64, Option<Timestamp>), before: Option<Timestamp>| {
        let lag = |t: Timestamp| wall(i64::try_from(at).unwrap()).as_millisecond() - t.as_millisecond();
        renewed.is_some_and(|t| lag(t).abs() <= 2_000) && before.is_some() && renewed >= before
    };
    let times: Vec<_> = play.moves.iter().map(|(at, record)| (*at, record.renewed())).collect();
    let sane = times.windows(2).rev().take_while(|pair| is_sane(pair[1], pair[0].1)).count();
    let (Some(last), Some(first)) = (times.last(), times.len().checked_sub(1 + sane)) else { return false };
    sane >= 3 && last.0 >= times[first].0 + 4_000
}

/// Row 9: the node is not ready and out of service, and the Lease has stood still for two retry periods since.
fn given_up(play: &Play, pod: &Value) -> Result<(), &'static str> {
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    let lost = play.lost.get(node).ok_or("its node is not given up")?;
    let moved = play.moves.last().ok_or("there is no Lease")?.0;
    if play.now < moved.max(*lost) + 4_000 {
        return Err("the Lease has not stood still");
    }
    Ok(())
}
