//! A small API server: objects with versions, optimistic concurrency, and what each write tells the watches.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::runtime::watcher::Event;
use leadergroup_api::ReleaseForm;
use leadergroup_elector::lease::TIMING;
use leadergroup_operator::audit::{Answers, BrokenOff, Right, Subject, questions};
use leadergroup_operator::decide::{Action, Clear};
use leadergroup_operator::engine::{Failure, Found, Job, Outcome, Work};
use leadergroup_operator::index::Change;
use leadergroup_operator::model::AskedTiming;
use leadergroup_operator::time::Mono;
use leadergroup_operator::wire::{LeaseWire, NodeWire};
use serde_json::{Value, json};

use super::{decode, decode_group, wall};

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Group,
    Lease,
    Pod,
    Node,
    Service,
    Slice,
}

impl Kind {
    pub const ALL: [Self; 6] = [Self::Group, Self::Node, Self::Lease, Self::Pod, Self::Service, Self::Slice];
}

/// One thing that a watch tells.
#[derive(Clone, Debug)]
pub enum Told {
    Applied(Value),
    Deleted(Value),
}

impl From<Told> for Event<Value> {
    fn from(told: Told) -> Self {
        match told {
            Told::Applied(object) => Self::Apply(object),
            Told::Deleted(object) => Self::Delete(object),
        }
    }
}

/// The change that the engine is fed with.
pub fn change(kind: Kind, event: &Event<Value>) -> Change {
    fn map<T>(event: &Event<Value>, decode: impl Fn(&Value) -> T) -> Event<T> {
        match event {
            Event::Apply(o) => Event::Apply(decode(o)),
            Event::Delete(o) => Event::Delete(decode(o)),
            Event::Init => Event::Init,
            Event::InitApply(o) => Event::InitApply(decode(o)),
            Event::InitDone => Event::InitDone,
        }
    }
    match kind {
        Kind::Group => Change::Group(map(event, decode_group)),
        Kind::Lease => Change::Lease(map(event, decode)),
        Kind::Pod => Change::Pod(map(event, decode)),
        Kind::Node => Change::Node(map(event, decode)),
        Kind::Service => Change::Service(map(event, decode)),
        Kind::Slice => Change::Slice(map(event, decode)),
    }
}

/// A clear that was carried out.
#[derive(Clone, Debug)]
pub struct Cleared {
    /// The version that was cleared, as the server had it.
    pub version: u64,
    pub clear: Clear,
}

/// What the API server stores, as a backup has it.
#[derive(Clone, Debug)]
pub struct Stored {
    version: u64,
    objects: BTreeMap<Kind, BTreeMap<String, Value>>,
}

#[derive(Clone, Debug, Default)]
pub struct Api {
    version: u64,
    /// From one version to the next; one if this is zero.
    pub stride: u64,
    restores: u64,
    uids: u64,
    objects: BTreeMap<Kind, BTreeMap<String, Value>>,
    log: Vec<(Kind, Told)>,
    pub cleared: Vec<Cleared>,
    pub status_writes: usize,
    /// What accounts may not do; anything else they may.
    pub denied: Vec<(String, Right)>,
    /// The operator may not ask what accounts may do.
    pub refuses_reviews: bool,
    /// The operator may not read pods and nodes.
    pub refuses_readings: bool,
    /// How many questions about accounts were answered.
    pub reviews: usize,
    /// Where all objects are, if not in the namespace that they say.
    pub namespace: Option<&'static str>,
    /// Takes any version for the present one, as no real API server would.
    pub careless: bool,
}

impl Api {
    pub fn get(&self, kind: Kind, name: &str) -> Option<&Value> {
        self.objects.get(&kind)?.get(name)
    }

    pub fn list(&self, kind: Kind) -> Vec<Value> {
        self.objects.get(&kind).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// What a watch delivers as it lists.
    pub fn list_events(&self, kind: Kind) -> Vec<Event<Value>> {
        let objects = self.list(kind).into_iter().map(Event::InitApply);
        [Event::Init].into_iter().chain(objects).chain([Event::InitDone]).collect()
    }

    /// The last version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What the watches have yet to be told.
    pub fn take_log(&mut self) -> Vec<(Kind, Told)> {
        std::mem::take(&mut self.log)
    }

    /// Creates or replaces an object; returns its new version.
    pub fn put(&mut self, kind: Kind, mut object: Value) -> u64 {
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        if object["metadata"]["uid"].is_null() {
            self.uids += 1;
            let known = self.get(kind, &name).map(|o| o["metadata"]["uid"].clone());
            object["metadata"]["uid"] = known.unwrap_or_else(|| json!(format!("uid-{}", self.uids)));
        }
        if let Some(namespace) = self.namespace.filter(|_| kind != Kind::Node) {
            object["metadata"]["namespace"] = json!(namespace);
        }
        self.version += self.stride.max(1);
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.log.push((kind, Told::Applied(object.clone())));
        self.objects.entry(kind).or_default().insert(name, object);
        self.version
    }

    pub fn delete(&mut self, kind: Kind, name: &str) {
        if let Some(mut object) = self.objects.get_mut(&kind).and_then(|all| all.remove(name)) {
            self.version += self.stride.max(1);
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.log.push((kind, Told::Deleted(object)));
        }
    }

    pub fn stored(&self) -> Stored {
        Stored { version: self.version, objects: self.objects.clone() }
    }

    /// Goes back to a backup. Watches are told nothing; with a stride, no version is used twice.
    pub fn restore(&mut self, backup: Stored) {
        self.restores += 1;
        let stride = self.stride.max(1);
        self.version = backup.version - backup.version % stride + self.restores % stride;
        self.objects = backup.objects;
        self.log.clear();
    }

    /// Replaces a Lease's spec if it is at that version, or creates it if there is none and none was expected.
    pub fn write_lease(&mut self, name: &str, expected: Option<u64>, spec: &Value) -> Result<u64, Failure> {
        if self.version_of(Kind::Lease, name) != expected {
            return Err(Failure::Conflict);
        }
        let mut lease = self.get(Kind::Lease, name).cloned().unwrap_or_else(|| super::lease(&json!({})));
        if expected.is_none() {
            lease["metadata"]["name"] = json!(name);
            lease["metadata"]["uid"] = json!(null);
        }
        lease["spec"] = spec.clone();
        Ok(self.put(Kind::Lease, lease))
    }

    pub fn version_of(&self, kind: Kind, name: &str) -> Option<u64> {
        self.get(kind, name)?["metadata"]["resourceVersion"].as_str()?.parse().ok()
    }

    fn nodes(&self, names: &[String]) -> Vec<(String, Option<NodeWire>)> {
        names.iter().map(|name| (name.clone(), self.get(Kind::Node, name).map(decode))).collect()
    }

    /// Does what the operator asks for.
    pub fn perform(&mut self, work: &Work, requested_at: Mono) -> Option<Outcome> {
        Some(match &work.job {
            Job::Act(Action::ReadLease { lease }) => {
                Outcome::Lease { requested_at, result: Ok(self.get(Kind::Lease, &lease.name).map(decode)) }
            }
            Job::Act(Action::CreateLease { lease, duration }) => {
                let spec = json!({
                    "leaseDurationSeconds": duration, "leaseTransitions": 0,
                    "acquireTime": wall(0).to_string(), "renewTime": wall(0).to_string(),
                });
                // Either way it exists then.
                let _ = self.write_lease(&lease.name, None, &spec);
                Outcome::Lease { requested_at, result: Ok(self.get(Kind::Lease, &lease.name).map(decode)) }
            }
            Job::Act(Action::AskTiming { lease, uid, version, timing }) => {
                Outcome::Lease { requested_at, result: self.ask_timing(&lease.name, uid, version, *timing).map(Some) }
            }
            Job::Act(Action::ReadPods { name, .. }) if self.refuses_readings => {
                let result = Err(Failure::Denied("forbidden".to_owned()));
                Outcome::Pods { requested_at, name: name.clone(), result }
            }
            Job::Act(Action::ReadPods { name, nodes, .. }) => {
                let pods = match name {
                    Some(name) => self.get(Kind::Pod, name).into_iter().map(decode).collect(),
                    None => self.list(Kind::Pod).iter().map(decode).collect(),
                };
                Outcome::Pods { requested_at, name: name.clone(), result: Ok(Found { pods, nodes: self.nodes(nodes) }) }
            }
            Job::Act(Action::ReadNodes { nodes }) => Outcome::Nodes { requested_at, result: Ok(self.nodes(nodes)) },
            Job::Act(Action::Clear(clear)) => {
                Outcome::Cleared { clear: clear.clone(), requested_at, result: self.clear(clear) }
            }
            Job::ReadGroup => {
                let group = self.get(Kind::Group, &work.group.name);
                Outcome::Group { result: Ok(group.map(|group| Box::new(decode_group(group)))) }
            }
            Job::WriteStatus { version, status } => {
                let status = serde_json::to_value(status).expect("a status");
                let result = self.write_status(work, version, &status, false);
                Outcome::Status {
                    result: result.map(|group| {
                        let version = group["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
                        Some((version, decode(&group["status"])))
                    }),
                }
            }
            Job::WriteInvalid { version, message } => {
                let status = json!({"conditions": [{
                    "type": "Stalled", "status": "True", "reason": "Undecodable", "message": message,
                    "lastTransitionTime": wall(0).to_string(),
                }]});
                Outcome::Status { result: self.write_status(work, version, &status, true).map(|_| None) }
            }
            Job::Audit(subject) => self.review(subject),
            Job::Route(step) => self.route(work, step),
            Job::Tell(_) => return None,
        })
    }

    fn review(&mut self, subject: &Arc<Subject>) -> Outcome {
        let mut answers = Answers::default();
        let broke_off = self.refuses_reviews.then_some(BrokenOff::Refused);
        while let Some(question) = questions::next(subject, &answers).filter(|_| !self.refuses_reviews) {
            let asked = (subject.accounts[question.account].to_string(), question.right);
            answers.note(question, !self.denied.contains(&asked));
            self.reviews += 1;
        }
        Outcome::Audited { subject: subject.clone(), answers, broke_off }
    }

    fn ask_timing(&mut self, name: &str, uid: &str, version: &str, timing: AskedTiming) -> Result<LeaseWire, Failure> {
        let mut lease = self.get(Kind::Lease, name).cloned().ok_or(Failure::Conflict)?;
        if lease["metadata"]["resourceVersion"] != json!(version) || lease["metadata"]["uid"] != json!(uid) {
            return Err(Failure::Conflict);
        }
        for (annotation, seconds) in TIMING.into_iter().zip(timing) {
            lease["metadata"]["annotations"][annotation] = json!(seconds.to_string());
        }
        self.put(Kind::Lease, lease);
        Ok(self.get(Kind::Lease, name).map(decode).expect("the Lease"))
    }

    fn clear(&mut self, clear: &Clear) -> Result<Option<LeaseWire>, Failure> {
        let name = &clear.lease.name;
        let mut lease = self.get(Kind::Lease, name).cloned().ok_or(Failure::Conflict)?;
        let current = |field: &str| lease["metadata"][field].as_str().unwrap_or_default();
        if !self.careless && (current("resourceVersion") != clear.version || current("uid") != clear.uid) {
            return Err(Failure::Conflict);
        }
        let version = self.version_of(Kind::Lease, name).unwrap_or_default();
        self.cleared.push(Cleared { version, clear: clear.clone() });
        match clear.form {
            ReleaseForm::Delete => {
                self.delete(Kind::Lease, name);
                return Ok(None);
            }
            ReleaseForm::Empty => lease["spec"]["holderIdentity"] = json!(""),
            ReleaseForm::Null => {
                lease["spec"].as_object_mut().expect("a spec").remove("holderIdentity");
            }
        }
        lease["spec"]["leaseDurationSeconds"] = json!(1);
        self.put(Kind::Lease, lease);
        Ok(self.get(Kind::Lease, name).map(decode))
    }

    fn write_status(&mut self, work: &Work, version: &str, status: &Value, merge: bool) -> Result<&Value, Failure> {
        self.status_writes += 1;
        let stored = self.get(Kind::Group, &work.group.name).ok_or(Failure::Conflict)?;
        if stored["metadata"]["resourceVersion"] != json!(version) || stored["metadata"]["uid"] != json!(work.uid) {
            return Err(Failure::Conflict);
        }
        let mut group = stored.clone();
        if merge {
            for (name, value) in status.as_object().into_iter().flatten() {
                group["status"][name] = value.clone();
            }
        } else {
            group["status"] = status.clone();
        }
        // A write that changes nothing is none.
        if group["status"] != stored["status"] {
            self.put(Kind::Group, group);
        }
        Ok(self.get(Kind::Group, &work.group.name).expect("the group"))
    }
}
