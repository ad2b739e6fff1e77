//! Plays steps against index, judgement and decision, and looks at every judgement and every decision.

use std::collections::{BTreeMap, BTreeSet};

use kube::runtime::watcher::Event;
use leadergroup_api::{LeaderGroupStatus, ReleaseForm};
use leadergroup_elector::lease::TIMING;
use leadergroup_operator::decide::memory::ReadPods;
use leadergroup_operator::decide::{Action, Clear, Memory, decide, judge_group};
use leadergroup_operator::index::{Index, Key};
use leadergroup_operator::model::Node;
use leadergroup_operator::wire::{LeaseRecord, LeaseWire, NodeWire};
use serde_json::{Value, json};

use super::step::{Step, at};
use super::{facts, limits};
use crate::support::api::{Kind, change};
use crate::support::{NAMESPACE, decode, ms, now_at};

/// Rounds of decisions after which there is said to be no rest.
const ROUNDS: usize = 30;

pub struct Play {
    index: Index,
    memory: Memory,
    /// Milliseconds since the operator started, and since the epoch.
    pub now: u64,
    version: u64,
    /// How often an object of that name was deleted: the next one has another UID.
    deletions: BTreeMap<(Kind, String), u32>,
    pub objects: BTreeMap<(Kind, String), Value>,
    /// The last states of deleted pods.
    pub gone: Vec<Value>,
    /// When the Lease moved, and to which record, since its holder took it.
    pub moves: Vec<(u64, LeaseRecord)>,
    /// Since when a node is both not ready and out of service.
    pub lost: BTreeMap<String, u64>,
    /// What the properties do not allow.
    pub violations: Vec<String>,
    /// Which verdicts were given; of `Terminated`, by which row.
    pub verdicts: BTreeSet<String>,
    /// The last of them; none where the group can't be judged.
    pub last: Option<String>,
    pub clears: usize,
}

impl Play {
    pub fn new() -> Self {
        let mut play = Self {
            index: Index::default(),
            memory: Memory::default(),
            now: 0,
            version: 0,
            deletions: BTreeMap::new(),
            objects: BTreeMap::new(),
            gone: Vec::new(),
            moves: Vec::new(),
            lost: BTreeMap::new(),
            violations: Vec::new(),
            verdicts: BTreeSet::new(),
            last: None,
            clears: 0,
        };
        play.put(Kind::Node, &crate::support::node("n1", true, false));
        play.put(Kind::Node, &crate::support::node("n2", true, false));
        play
    }

    pub fn step(&mut self, step: &Step) {
        match step {
            Step::Group(object) => self.put(Kind::Group, &at(object, self.now)),
            Step::Lease(object) => self.put(Kind::Lease, &at(object, self.now)),
            Step::Pod(object) => self.put(Kind::Pod, &at(object, self.now)),
            Step::Node(object) => self.put(Kind::Node, &at(object, self.now)),
            Step::Delete(what, name) => self.delete((*what).into(), name),
            Step::Relist(what) => self.relist((*what).into()),
            Step::Pass(milliseconds) => self.now += milliseconds,
            Step::Renew(times) => {
                for _ in 0..*times {
                    let Some(mut lease) = self.lease().cloned().filter(|l| l["spec"].is_object()) else { return };
                    self.now += 2_000;
                    lease["spec"]["renewTime"] = json!("@micro-20");
                    self.put(Kind::Lease, &at(&lease, self.now));
                    self.decide();
                }
            }
        }
        self.decide();
    }

    pub fn lease(&self) -> Option<&Value> {
        self.objects.get(&(Kind::Lease, "web".to_owned()))
    }

    /// The group; null if there is none.
    pub fn group(&self) -> &Value {
        self.objects.get(&(Kind::Group, "web".to_owned())).unwrap_or(&Value::Null)
    }

    pub fn spec(&self) -> &Value {
        &self.group()["spec"]
    }

    fn feed(&mut self, kind: Kind, event: &Event<Value>) {
        self.index.apply(change(kind, event), now_at(ms(self.now)));
    }

    fn put(&mut self, kind: Kind, object: &Value) {
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        let id = (kind, name.clone());
        let mut object = object.clone();
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if kind != Kind::Pod {
            let deletions = self.deletions.get(&id).copied().unwrap_or_default();
            object["metadata"]["uid"] = json!(format!("{kind:?}-{name}-{deletions}"));
        }
        match kind {
            Kind::Group => object["metadata"]["generation"] = json!(self.version),
            Kind::Pod => {
                self.tell_apart(&id, &mut object);
                // Another pod under the name: the old one was deleted.
                if let Some(old) = self.objects.get(&id).filter(|old| facts::uid(old) != facts::uid(&object)) {
                    self.gone.push(old.clone());
                }
            }
            Kind::Lease => self.note_move(&object),
            Kind::Node => {
                let since = self.lost.remove(&name).unwrap_or(self.now);
                if facts::is_lost(&object) {
                    self.lost.insert(name, since);
                }
            }
            Kind::Service | Kind::Slice => {}
        }
        self.objects.insert(id, object.clone());
        self.feed(kind, &Event::Apply(object));
    }

    /// No UID is given twice: a pod that comes after its deletion is another one.
    fn tell_apart(&self, id: &(Kind, String), object: &mut Value) {
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
        let present = self.objects.get(id).and_then(|old| old["metadata"]["uid"].as_str());
        let other = match present.filter(|present| present.starts_with(uid)) {
            Some(present) => present.to_owned(),
            None if self.gone.iter().any(|gone| gone["metadata"]["uid"] == uid) => format!("{uid}-{}", self.gone.len()),
            None => return,
        };
        object["metadata"]["uid"] = json!(other);
    }

    fn note_move(&mut self, lease: &Value) {
        let record = decode::<LeaseWire>(lease).spec;
        if self.moves.last().is_some_and(|(_, last)| last.holder() != record.holder()) {
            self.moves.clear();
        }
        if self.moves.last().is_none_or(|(_, last)| *last != record) {
            self.moves.push((self.now, record));
        }
    }

    fn delete(&mut self, kind: Kind, name: &str) {
        let id = (kind, name.to_owned());
        let Some(mut object) = self.objects.remove(&id) else { return };
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        *self.deletions.entry(id).or_default() += 1;
        match kind {
            Kind::Pod => self.gone.push(object.clone()),
            Kind::Lease => self.moves.clear(),
            Kind::Node => drop(self.lost.remove(name)),
            Kind::Group => self.memory = Memory::default(),
            Kind::Service | Kind::Slice => {}
        }
        self.feed(kind, &Event::Delete(object));
    }

    fn relist(&mut self, kind: Kind) {
        let all: Vec<_> = self.objects.iter().filter(|((k, _), _)| *k == kind).map(|(_, o)| o.clone()).collect();
        self.feed(kind, &Event::Init);
        for object in all.iter().take(all.len() / 2) {
            self.feed(kind, &Event::InitApply(object.clone()));
        }
        self.feed(kind, &Event::Init);
        for object in all {
            self.feed(kind, &Event::InitApply(object));
        }
        self.feed(kind, &Event::InitDone);
    }

    /// Judges and decides until nothing is to be done, and does what was decided.
    fn decide(&mut self) {
        let key = Key::new(NAMESPACE, "web");
        for _ in 0..ROUNDS {
            let now = now_at(ms(self.now));
            let Some(snapshot) = self.index.snapshot(&key) else {
                self.last = None;
                return;
            };
            let (decision, memory) = decide(&snapshot, std::mem::take(&mut self.memory), now);
            let judgement = judge_group(&snapshot, &memory, now);
            self.memory = memory;
            let row = facts::row(&judgement);
            self.verdicts.insert(row.clone());
            self.last = Some(row);
            let mut wrong = Vec::from_iter(facts::contradict(self, &judgement));
            wrong.extend(limits::exceeded(self.spec(), &decision));
            self.violations.extend(wrong.into_iter().map(|why| format!("{} ms: {why}", self.now)));
            self.store(&key, &decision.status);
            match decision.action {
                None => return,
                Some(action) => self.perform(&key, action),
            }
        }
        self.violations.push(format!("{} ms: no rest after {ROUNDS} decisions", self.now));
    }

    fn store(&mut self, key: &Key, status: &LeaderGroupStatus) {
        let stored = serde_json::to_value(status).expect("a status");
        let group = self.objects.get_mut(&(Kind::Group, "web".to_owned())).expect("the group");
        if group["status"] == stored {
            return;
        }
        self.version += 1;
        group["metadata"]["resourceVersion"] = json!(self.version.to_string());
        group["status"] = stored.clone();
        self.memory.note_status_sent(status);
        self.memory.note_status_taken();
        let now = now_at(ms(self.now));
        self.index.note_status(key, self.version.to_string(), decode(&stored), now);
    }

    fn perform(&mut self, key: &Key, action: Action) {
        match action {
            Action::CreateLease { duration, .. } => {
                let spec = json!({"leaseDurationSeconds": duration, "leaseTransitions": 0, "renewTime": "@micro+0"});
                self.put(Kind::Lease, &at(&crate::support::lease(&spec), self.now));
            }
            Action::ReadLease { .. } => {
                self.read_lease(key);
                if let Some(lease) = self.index.lease(key) {
                    self.memory.note_lease_read(lease.moved_at);
                }
            }
            Action::AskTiming { timing, .. } => {
                let mut lease = self.lease().expect("a Lease").clone();
                for (annotation, seconds) in TIMING.into_iter().zip(timing) {
                    lease["metadata"]["annotations"][annotation] = json!(seconds.to_string());
                }
                self.put(Kind::Lease, &lease);
            }
            Action::ReadPods { name, nodes, .. } => {
                let pods = self.objects.iter().filter(|((kind, _), _)| *kind == Kind::Pod);
                let wanted = pods.filter(|((_, pod), o)| match &name {
                    Some(name) => pod == name,
                    None => facts::is_candidate(o),
                });
                let pods = wanted.map(|(_, o)| decode::<leadergroup_operator::wire::PodWire>(o).into()).collect();
                let (requested_at, nodes) = (ms(self.now), self.read_nodes(nodes));
                self.memory.read_pods = Some(ReadPods { requested_at, name, pods, nodes, contradicted: false });
            }
            Action::ReadNodes { nodes } => drop(self.read_nodes(nodes)),
            Action::Clear(clear) => self.clear(key, &clear),
        }
    }

    fn read_nodes(&mut self, names: Vec<String>) -> Vec<(String, Option<Node>)> {
        let read = |name: String| {
            let node = self.objects.get(&(Kind::Node, name.clone())).map(decode::<NodeWire>);
            (name, node.map(Into::into))
        };
        let nodes: Vec<_> = names.into_iter().map(read).collect();
        for (name, node) in &nodes {
            self.index.note_node(name, node.as_ref(), ms(self.now));
        }
        nodes
    }

    fn read_lease(&mut self, key: &Key) {
        let read = self.lease().map(decode);
        self.index.observe_lease(key, read, ms(self.now), now_at(ms(self.now)));
    }

    fn clear(&mut self, key: &Key, clear: &Clear) {
        self.clears += 1;
        self.memory.note_cleared(clear, true, now_at(ms(self.now)));
        if clear.form == ReleaseForm::Delete {
            return self.delete(Kind::Lease, "web");
        }
        let mut lease = self.lease().expect("a Lease").clone();
        let holder = if clear.form == ReleaseForm::Empty { json!("") } else { Value::Null };
        lease["spec"]["holderIdentity"] = holder;
        lease["spec"]["leaseDurationSeconds"] = json!(1);
        self.put(Kind::Lease, &lease);
        self.read_lease(key);
    }
}
