//! The evidence table: what is known about a holder, and what that proves.
//!
//! The cases are in `testdata/evidence`, one file per row. Each line of a case is something the operator is shown, in
//! that order; every object goes through the decoder and the index that production uses. See [`Case::line`] for the
//! words. `REWRITE=1` writes the present answers into the files.

#![allow(missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kube::runtime::watcher::Event;
use leadergroup_api::{Holder, LeaderGroupStatus, Verdict};
use leadergroup_operator::decide::{Memory, account, judge_group};
use leadergroup_operator::index::{Cause, Change, Index, Key};
use leadergroup_operator::judge::Clearable;
use leadergroup_operator::wire::NodeWire;
use serde_json::{Value, json};
use support::{NAMESPACE, decode, decode_group, micro_time, ms, now_at, time};

#[test]
fn every_row_of_the_evidence_table_decides_as_written() {
    datadriven::walk(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/evidence"), |file| {
        file.run(|case| decide(case));
    });
}

fn decide(case: &datadriven::TestCase) -> String {
    match case.directive.as_str() {
        "judge" => Case::with_nodes().run(&case.input),
        "judge-without-nodes" => Case::without_nodes().run(&case.input),
        other => panic!("unknown directive {other}"),
    }
}

#[test]
fn an_operator_that_may_not_read_nodes_never_clears_sooner() {
    let mut later = 0;
    datadriven::walk(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/evidence"), |file| {
        file.run(|case| {
            let [known, hidden] = [Case::with_nodes(), Case::without_nodes()].map(|c| soonest(&c.run(&case.input)));
            assert!(hidden <= known, "{}", case.input);
            later += usize::from(hidden < known);
            decide(case)
        });
    });
    assert!(later > 0, "no case tells the two apart");
}

/// How soon a judgement lets the holder be cleared: the larger, the sooner. Where the user accepts the risk, "when it ran
/// out" may be sooner, but not for a holder that fits several pods.
fn soonest(judged: &str) -> usize {
    let when = ["never cleared", "Ambiguous, cleared when it ran out", "cleared when it ran out", "cleared at once"];
    when.iter().position(|when| judged.contains(when)).unwrap_or_else(|| panic!("{judged}"))
}

#[allow(clippy::struct_excessive_bools, reason = "they are facts about a case, not states of a machine")]
struct Case {
    index: Index,
    /// The operator's clock, in milliseconds.
    now: u64,
    version: u64,
    lease: Option<Value>,
    pods: BTreeMap<String, Value>,
    nodes: BTreeMap<String, Value>,
    group: Option<Value>,
    group_uid: u32,
    memory: Memory,
    stored: LeaderGroupStatus,
    contradicted: bool,
    nodes_hidden: bool,
    /// The case says what time it is. Else an end is seen when it happens.
    tells_time: bool,
    /// The operator does not lead, so it decides nothing.
    stands_by: bool,
}

impl Case {
    fn with_nodes() -> Self {
        let mut case = Self::new(false);
        case.list_nodes();
        case.node("n1", &[]);
        case.node("n2", &[]);
        case
    }

    /// The operator may not read nodes.
    fn without_nodes() -> Self {
        let mut case = Self::new(true);
        case.apply(Change::NodesHidden);
        case
    }

    fn new(nodes_hidden: bool) -> Self {
        let mut case = Self {
            nodes_hidden,
            index: Index::default(),
            now: 0,
            version: 0,
            lease: None,
            pods: BTreeMap::new(),
            nodes: BTreeMap::new(),
            group: None,
            group_uid: 1,
            memory: Memory::default(),
            stored: LeaderGroupStatus::default(),
            contradicted: false,
            tells_time: false,
            stands_by: false,
        };
        case.list();
        case.group(&[]);
        case.follow_account();
        case
    }

    fn run(mut self, input: &str) -> String {
        for line in input.lines() {
            let mut words = line.split_whitespace();
            let first = words.next().unwrap_or_default();
            self.line(first, &words.collect::<Vec<_>>());
            let is_decided = self.index.take_touched().iter().any(|(_, cause)| *cause == Cause::Change);
            if !self.stands_by && (is_decided || first == "takeover") {
                self.follow_account();
                self.read_nodes();
            }
        }
        self.verdict()
    }

    /// `group …` the group's spec; `at 12.5` sets the operator's clock;
    /// `node n1 [not-ready] [out-of-service] [deleted]`;
    /// `lease [holder=…] [renewed=…] …` the Lease is seen; `renews 6 8 10 [clock=+1.5]` its holder renews at those
    /// times, by a clock that is so far ahead; `read` the Lease is read from the API server;
    /// `pod NAME uid=… on=… phase=… CONTAINER=…` the pod is seen; `deleted NAME` so is its deletion, `lost NAME` a list
    /// lacks it; `relist` the watch of pods was interrupted; `unseen pod …` and `unseen deleted …` happen while nobody
    /// watches, before a list; `contradicted` the status remembers a contradiction;
    /// `restart` another operator starts, with the status that this one left or without one; `standby` one
    /// starts and does not lead yet; `takeover` one leads that stood by and has seen the same; `recreate-group` the group is another one of its name, `replace-group` so it is in one event;
    /// `begin-list` a list of pods begins; `restore VERSION [UID]` etcd is restored, and the Lease is listed at that version.
    fn line(&mut self, first: &str, words: &[&str]) {
        match first {
            "group" => self.group(words),
            "at" => (self.now, self.tells_time) = (millis(words[0]).try_into().unwrap(), true),
            "node" => self.node(words[0], &words[1..]),
            "lease" => self.see_lease(words),
            "renews" => self.renews(words),
            "read" => {
                let read = self.lease.as_ref().map(decode);
                self.index.observe_lease(&Key::new(NAMESPACE, "web"), read, ms(self.now), now_at(ms(self.now)));
            }
            "pod" => self.see_pod(words[0], &words[1..]),
            "deleted" => {
                let pod = self.pods.remove(words[0]).expect("a pod that was seen");
                self.apply(Change::Pod(Event::Delete(decode(&pod))));
            }
            "lost" => {
                self.pods.remove(words[0]).expect("a pod that was seen");
                self.list();
            }
            "unseen" => match words[0] {
                "pod" => {
                    self.pass_ends(&words[2..]);
                    let pod = self.pod(words[1], &words[2..]);
                    self.pods.insert(words[1].to_owned(), pod);
                }
                "deleted" => {
                    self.pods.remove(words[1]).expect("a pod that was seen");
                }
                other => panic!("unknown line unseen {other:?}"),
            },
            "relist" => self.list(),
            "restart" => {
                if words == ["without-status"] {
                    self.stored = LeaderGroupStatus::default();
                }
                self.restart();
            }
            "standby" => {
                self.restart();
                self.stands_by = true;
            }
            "takeover" => (self.memory, self.stands_by) = (Memory::default(), false),
            "begin-list" => self.apply(Change::Pod(Event::Init)),
            "recreate-group" | "replace-group" => {
                let mut group = self.group.clone().expect("a group");
                group["status"] = serde_json::to_value(&self.stored).expect("a status");
                self.apply(Change::Group(Event::Apply(decode_group(&group))));
                if first == "recreate-group" {
                    self.apply(Change::Group(Event::Delete(decode_group(&group))));
                }
                (self.memory, self.stored) = (Memory::default(), LeaderGroupStatus::default());
                self.group_uid += 1;
                self.group(&[]);
            }
            "restore" => {
                let mut lease = self.lease.clone().expect("a Lease");
                lease["metadata"]["resourceVersion"] = json!(words[0]);
                if let Some(uid) = words.get(1) {
                    lease["metadata"]["uid"] = json!(uid);
                }
                self.apply(Change::Lease(Event::Init));
                self.apply(Change::Lease(Event::InitApply(decode(&lease))));
                self.apply(Change::Lease(Event::InitDone));
            }
            "contradicted" => self.contradicted = true,
            other => panic!("unknown line {other:?}"),
        }
    }

    /// Brings the account up to date, as each decision does.
    fn follow_account(&mut self) {
        let Some(snapshot) = self.index.snapshot(&Key::new(NAMESPACE, "web")) else { return };
        let before = self.memory.before_account(&self.stored, &snapshot);
        let state = account::follow(&snapshot, before);
        self.stored.account = Some(state.account.clone());
        self.stored.lease_name = Some(snapshot.plan.lease_name.clone());
        let holder = snapshot.lease.and_then(|l| l.record.holder()).unwrap_or_default();
        self.stored.holder = Some(Holder {
            identity: holder.to_owned(),
            pod_uid: None,
            verdict: Verdict::Free,
            rule: None,
            evidence: String::new(),
        });
        self.memory.account = Some(state);
    }

    fn apply(&mut self, change: Change) {
        self.index.apply(change, now_at(ms(self.now)));
    }

    /// The pods are listed, as they are now.
    fn list(&mut self) {
        self.apply(Change::Pod(Event::Init));
        for pod in self.pods.clone().values() {
            self.apply(Change::Pod(Event::InitApply(decode(pod))));
        }
        self.apply(Change::Pod(Event::InitDone));
    }

    fn list_nodes(&mut self) {
        self.apply(Change::Node(Event::Init));
        for node in self.nodes.clone().values() {
            self.apply(Change::Node(Event::InitApply(decode(node))));
        }
        self.apply(Change::Node(Event::InitDone));
    }

    /// The operator reads the nodes of pods that have ended, to know whose word that is.
    fn read_nodes(&mut self) {
        for (name, node) in &self.nodes {
            self.index.note_node(name, Some(&decode::<NodeWire>(node).into()), ms(self.now));
        }
        if self.index.take_touched().iter().any(|(_, cause)| *cause == Cause::Change) {
            self.follow_account();
        }
    }

    /// Another operator lists what there is, and knows nothing but the stored status.
    fn restart(&mut self) {
        (self.index, self.memory) = (Index::default(), Memory::default());
        if self.nodes_hidden {
            self.apply(Change::NodesHidden);
        } else {
            self.list_nodes();
        }
        self.list();
        if let Some(lease) = self.lease.clone() {
            self.apply(Change::Lease(Event::Init));
            self.apply(Change::Lease(Event::InitApply(decode(&lease))));
            self.apply(Change::Lease(Event::InitDone));
        }
        if let Some(mut group) = self.group.clone() {
            group["status"] = serde_json::to_value(&self.stored).expect("a status");
            self.apply(Change::Group(Event::Apply(decode_group(&group))));
        }
    }

    fn group(&mut self, words: &[&str]) {
        let mut spec = json!({"candidates": {}, "lease": {}});
        for (name, value) in words.iter().map(|w| w.split_once('=').expect("name=value")) {
            match name {
                "containers" => spec["candidates"]["containers"] = value.split(',').collect(),
                "identity" => spec["identity"] = json!(value),
                "duration" => spec["lease"]["durationSeconds"] = value.parse().unwrap(),
                "name" => spec["lease"]["name"] = json!(value),
                other => panic!("unknown word {other:?}"),
            }
        }
        self.version += 1;
        let mut group = support::group(&spec);
        group["metadata"]["generation"] = json!(self.version);
        group["metadata"]["resourceVersion"] = json!(self.version.to_string());
        group["metadata"]["uid"] = json!(format!("group-{}", self.group_uid));
        group["status"] = serde_json::to_value(&self.stored).expect("a status");
        self.apply(Change::Group(Event::Apply(decode_group(&group))));
        self.group = Some(group);
    }

    fn node(&mut self, name: &str, words: &[&str]) {
        if self.nodes_hidden {
            return;
        }
        let mut node = support::node(name, !words.contains(&"not-ready"), words.contains(&"out-of-service"));
        for (word, value) in words.iter().filter_map(|word| word.split_once('=')) {
            match word {
                "registered" => node["metadata"]["creationTimestamp"] = json!(time(millis(value))),
                "ready-since" => node["status"]["conditions"][0]["lastTransitionTime"] = json!(time(millis(value))),
                "type" => node["metadata"]["labels"]["type"] = json!(value),
                "taint" => node["spec"]["taints"] = json!([{"key": value}]),
                "kubelet" => node["status"]["nodeInfo"] = json!({"kubeletVersion": value}),
                other => panic!("unknown word {other:?}"),
            }
        }
        self.version += 1;
        node["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if words.contains(&"deleted") {
            self.nodes.remove(name);
            return self.apply(Change::Node(Event::Delete(decode(&node))));
        }
        self.nodes.insert(name.to_owned(), node.clone());
        self.apply(Change::Node(Event::Apply(decode(&node))));
    }

    fn see_lease(&mut self, words: &[&str]) {
        let mut spec = json!({"leaseDurationSeconds": 15, "leaseTransitions": 3});
        let mut lease_name = "web".to_owned();
        for (name, value) in words.iter().map(|w| w.split_once('=').expect("name=value")) {
            let value: Value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
            match name {
                "holder" => spec["holderIdentity"] = value,
                "renewed" => spec["renewTime"] = time_of(&value, micro_time),
                "acquired" => spec["acquireTime"] = time_of(&value, micro_time),
                "duration" => spec["leaseDurationSeconds"] = value,
                "name" => value.as_str().expect("a name").clone_into(&mut lease_name),
                other => spec[other] = value,
            }
        }
        let mut lease = support::lease(&spec);
        if lease_name != "web" {
            lease["metadata"]["uid"] = json!(format!("{lease_name}-uid"));
        }
        lease["metadata"]["name"] = json!(lease_name);
        self.show_lease(lease);
    }

    fn show_lease(&mut self, mut lease: Value) {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.apply(Change::Lease(Event::Apply(decode(&lease))));
        self.lease = Some(lease);
    }

    fn renews(&mut self, words: &[&str]) {
        let mut ahead = 0;
        for word in words {
            if let Some(skew) = word.strip_prefix("clock=") {
                ahead = millis(skew);
            }
        }
        for at in words.iter().filter(|w| !w.starts_with("clock=")).map(|w| millis(w)) {
            (self.now, self.tells_time) = (at.try_into().unwrap(), true);
            let mut lease = self.lease.clone().expect("a Lease");
            lease["spec"]["renewTime"] = json!(micro_time(at + ahead));
            self.show_lease(lease);
        }
    }

    /// An end is not seen before it happens, unless the case says what time it is.
    fn pass_ends(&mut self, words: &[&str]) {
        let ends =
            words.iter().filter_map(|word| word.split_once("ended(")?.1.split([',', ')']).next()?.parse::<u64>().ok());
        if let Some(end) = ends.max().filter(|_| !self.tells_time) {
            self.now = self.now.max(end * 1_000);
        }
    }

    fn see_pod(&mut self, name: &str, words: &[&str]) {
        self.pass_ends(words);
        let pod = self.pod(name, words);
        self.apply(Change::Pod(Event::Apply(decode(&pod))));
        self.pods.insert(name.to_owned(), pod);
    }

    fn pod(&mut self, name: &str, words: &[&str]) -> Value {
        let (mut uid, mut node, mut phase) = (name.to_owned() + "-uid", "n1", "Running");
        let (mut containers, mut sidecars, mut debuggers) = (Vec::new(), Vec::new(), Vec::new());
        let mut metadata = json!({});
        let mut spec = json!({});
        let mut conditions = Vec::new();
        let mut rules = false;
        for word in words {
            match (*word, word.split_once('=')) {
                ("unbound", _) => node = "",
                ("host-network", _) => spec["hostNetwork"] = json!(true),
                ("shared-pid", _) => spec["shareProcessNamespace"] = json!(true),
                ("host-pid", _) => spec["hostPID"] = json!(true),
                ("outsider", _) => metadata["labels"] = json!({"app": "other"}),
                ("generated", _) => support::generate_name(&mut metadata, name, "apps/v1", "ReplicaSet"),
                (_, Some(("generated-by", by))) => {
                    let (version, kind) = by.rsplit_once('/').expect("a version and a kind");
                    support::generate_name(&mut metadata, name, version, kind);
                }
                ("runtime-class", _) => spec["runtimeClassName"] = json!("sandboxed"),
                ("rules", _) => rules = true,
                (_, Some(("policy", value))) => spec["restartPolicy"] = json!(value),
                (_, Some(("bound", value))) => conditions.push(json!({
                    "type": "PodScheduled", "status": "True", "lastTransitionTime": time(millis(value)),
                })),
                ("by-pod-gc", _) => conditions.push(disruption("DeletionByPodGC")),
                ("evicted", _) => conditions.push(disruption("EvictionByEvictionAPI")),
                (_, Some(("uid", value))) => value.clone_into(&mut uid),
                (_, Some(("on", value))) => node = value,
                (_, Some(("phase", value))) => phase = value,
                (_, Some(("hostname", value))) => spec["hostname"] = json!(value),
                (_, Some(("static", hash))) => {
                    metadata["annotations"] =
                        json!({"kubernetes.io/config.hash": hash, "kubernetes.io/config.mirror": hash});
                }
                (_, Some(("machine", uid))) => {
                    metadata["ownerReferences"] =
                        json!([{"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid, "controller": true}]);
                }
                (_, Some((name, state))) => match name.split_once(':') {
                    Some(("sidecar", name)) => sidecars.push((name, "Always", status(name, state))),
                    Some(("init", name)) => sidecars.push((name, "", status(name, state))),
                    Some(("debug", name)) => debuggers.push((name, status(name, state))),
                    _ => containers.push((name, status(name, state))),
                },
                other => panic!("unknown word {other:?}"),
            }
        }
        let mut pod = support::pod(name, &uid, node, phase, &containers);
        merge(&mut pod["metadata"], &metadata);
        merge(&mut pod["spec"], &spec);
        pod["spec"]["initContainers"] =
            sidecars.iter().map(|(n, policy, _)| json!({"name": n, "restartPolicy": policy})).collect();
        pod["spec"]["ephemeralContainers"] = debuggers.iter().map(|(n, _)| json!({"name": n})).collect();
        pod["status"]["initContainerStatuses"] =
            sidecars.into_iter().map(|(_, _, status)| status).filter(|s| !s.is_null()).collect();
        pod["status"]["ephemeralContainerStatuses"] =
            debuggers.into_iter().map(|(_, status)| status).filter(|s| !s.is_null()).collect();
        if rules {
            pod["spec"]["containers"][0]["restartPolicyRules"] = json!([{"action": "RestartAllContainers"}]);
        }
        pod["status"]["conditions"].as_array_mut().unwrap().append(&mut conditions);
        self.version += 1;
        pod["metadata"]["resourceVersion"] = json!(self.version.to_string());
        pod
    }

    fn verdict(self) -> String {
        let group = Key::new(NAMESPACE, "web");
        let snapshot = self.index.snapshot(&group).expect("a valid group");
        let holder = snapshot.lease.and_then(|l| l.record.holder()).map(ToOwned::to_owned);
        let memory = Memory { contradicted: holder.filter(|_| self.contradicted), ..self.memory };
        let judgement = judge_group(&snapshot, &memory, now_at(ms(self.now)));
        let clear = match judgement.clear {
            Clearable::Never => "never cleared",
            Clearable::AtOnce => "cleared at once",
            Clearable::WhenExpired => "cleared when it ran out",
        };
        let mut text = format!("{}, {clear}", judgement.verdict());
        if let Some(subject) = judgement.subject {
            write!(text, "; pod {} uid {}", subject.name, subject.uid).unwrap();
        }
        if judgement.restarting {
            text.push_str(", which restarts");
        }
        if let Some(gap) = judgement.gap {
            write!(text, ", but the account lacks: {gap:?}").unwrap();
        }
        if judgement.outlived {
            text.push_str(", which did not write it: so once it ran out");
        }
        text + "\n"
    }
}

/// A container's status from `running`, `running(since=11,last=10)`, `ended(10,OOMKilled)`, `waiting(last=10)`,
/// `missing`. Times are by the node's clock.
fn status(name: &str, text: &str) -> Value {
    let (state, arguments) = text.strip_suffix(')').and_then(|t| t.split_once('(')).unwrap_or((text, ""));
    let arguments: Vec<_> = arguments.split(',').filter(|a| !a.is_empty()).collect();
    let get = |name: &str| arguments.iter().find_map(|a| a.strip_prefix(name)?.strip_prefix('='));
    let run = |at: &str, reason: &str| {
        let at = if at == "never" { json!(null) } else { time_of(&serde_json::from_str(at).unwrap(), time) };
        let code = get("code").map_or(1, |code| code.parse::<i64>().unwrap());
        json!({"terminated": {"exitCode": code, "reason": reason, "finishedAt": at}})
    };
    let plain = |at: usize| arguments.get(at).copied().filter(|a| !a.contains('='));
    let current = match state {
        "running" => {
            assert!(arguments.iter().all(|a| a.contains('=')), "{text:?}: running takes since= and last=");
            let since = get("since").map_or(0, millis);
            json!({"running": {"startedAt": time(since)}})
        }
        "ended" => run(plain(0).expect("when it ended"), plain(1).unwrap_or("Error")),
        "waiting" => json!({"waiting": {"reason": plain(0).unwrap_or("CrashLoopBackOff")}}),
        "missing" => return Value::Null,
        other => panic!("unknown state {other:?}"),
    };
    let last = get("last").map_or(json!({}), |at| run(at, get("why").unwrap_or("Error")));
    // A kubelet counts the runs before the present one.
    let restarts =
        get("restarts").map_or(i64::from(state == "running" && get("last").is_some()), |n| n.parse().unwrap());
    let id = match get("id") {
        Some("none") => String::new(),
        _ => format!("{}://{name}", get("runtime").unwrap_or("containerd")),
    };
    json!({"name": name, "state": current, "lastState": last, "restartCount": restarts, "containerID": id})
}

fn disruption(reason: &str) -> Value {
    json!({"type": "DisruptionTarget", "status": "True", "reason": reason})
}

fn merge(into: &mut Value, from: &Value) {
    for (name, value) in from.as_object().into_iter().flatten() {
        into[name] = value.clone();
    }
}

fn millis(seconds: &str) -> i64 {
    #[allow(clippy::cast_possible_truncation, reason = "test times are small")]
    let millis = (seconds.parse::<f64>().expect("seconds") * 1_000.0).round() as i64;
    millis
}

/// Numbers are seconds of the case; anything else stands as it is.
fn time_of(value: &Value, written: impl Fn(i64) -> String) -> Value {
    match value.as_f64() {
        Some(_) => json!(written(millis(&value.to_string()))),
        None => value.clone(),
    }
}
