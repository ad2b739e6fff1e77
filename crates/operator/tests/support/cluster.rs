//! The engine joined to the fake API server, under a clock that a test moves. Nothing takes time unless the test says so.

use std::collections::{HashSet, VecDeque};

use kube::runtime::watcher::Event;
use leadergroup_api::LeaderGroupStatus;
use leadergroup_operator::decide::{Action, Notice};
use leadergroup_operator::engine::{Engine, Failure, Job, Outcome, Term, Work};
use leadergroup_operator::metrics::Metrics;
use leadergroup_operator::routing::Step;
use serde_json::{Value, json};

use super::api::{Api, Kind, Told, change};
use super::{decode, ended, micro_time, ms, now_at, pod, running};

/// Rounds of work after which the engine is said to find no rest.
const ROUNDS: usize = 200;

/// What becomes of the operator's next clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Answered,
    /// It is carried out, and the answer is lost.
    LandsUnanswered,
    /// It never arrives, and neither does an answer.
    Lost,
    /// It is refused.
    Denied,
    /// None is ever carried out, each answered at once by an error of the API server's own.
    Broken,
}

pub struct Cluster {
    pub api: Api,
    /// The operator that leads.
    pub engine: Engine,
    /// The operator that stands by, and sees all that the other sees.
    pub standby: Engine,
    pub term: Term,
    clears_in_system_namespaces: bool,
    /// Whether what the leading operator wants done is kept in `late` instead: it is stopped, or cut off.
    pub is_stopped: bool,
    /// What an operator wanted done before another took over.
    pub late: Vec<Work>,
    /// In milliseconds, on every sane clock.
    pub now: u64,
    pub fate: Fate,
    /// What becomes of each write by which traffic goes; one by one, the rest is answered.
    pub route_fates: VecDeque<Fate>,
    pub notices: Vec<Notice>,
    /// The names of all jobs done so far.
    pub jobs: Vec<String>,
    /// Of the operator that leads.
    pub metrics: Metrics,
    held: HashSet<Kind>,
    told: VecDeque<(Kind, Told)>,
    /// What happens on the API server just before the next clear arrives.
    pub before_clear: Option<fn(&mut Api)>,
    /// What happens just after it was carried out, before the operator hears of it.
    pub after_clear: Option<fn(&mut Api)>,
}

impl Cluster {
    /// A cluster with nodes `n1` and `n2` and the group `web` with this spec, and an operator that has seen it.
    pub fn new(spec: &Value) -> Self {
        Self::in_namespace(None, false, spec)
    }

    /// The same in a namespace, with an operator that clears in those that are Kubernetes' own or does not.
    pub fn in_namespace(namespace: Option<&'static str>, clears_in_system_namespaces: bool, spec: &Value) -> Self {
        let mut api = Api::default();
        api.namespace = namespace;
        api.put(Kind::Node, super::node("n1", true, false));
        api.put(Kind::Node, super::node("n2", true, false));
        api.put(Kind::Group, super::group(spec));
        Self::led_by(api, clears_in_system_namespaces)
    }

    /// An operator that starts on what there is.
    pub fn around(api: Api) -> Self {
        Self::led_by(api, false)
    }

    fn led_by(api: Api, clears_in_system_namespaces: bool) -> Self {
        let mut cluster = Self {
            api,
            engine: Engine::default(),
            standby: Engine::new(clears_in_system_namespaces),
            clears_in_system_namespaces,
            term: 0,
            is_stopped: false,
            late: Vec::new(),
            now: 0,
            fate: Fate::Answered,
            route_fates: VecDeque::new(),
            notices: Vec::new(),
            jobs: Vec::new(),
            metrics: Metrics::default(),
            held: HashSet::new(),
            told: VecDeque::new(),
            before_clear: None,
            after_clear: None,
        };
        for kind in Kind::ALL {
            for event in cluster.list(kind) {
                cluster.standby.change(change(kind, &event), now_at(ms(0)));
            }
        }
        cluster.restart();
        cluster
    }

    /// The operator that stood by leads, and the other stands by.
    pub fn take_over(&mut self) {
        std::mem::swap(&mut self.engine, &mut self.standby);
        self.standby.stand_by();
        self.is_stopped = false;
        self.lead();
        self.settle();
    }

    fn lead(&mut self) {
        self.term += 1;
        self.metrics = Metrics::default();
        self.metrics.leads(true);
        self.engine.lead(self.term, now_at(ms(self.now)));
    }

    /// What was kept of an operator's work arrives at the API server now, and its answers at that operator, which stands
    /// by. Says for each whether it was done.
    pub fn deliver_late(&mut self) -> Vec<(String, bool)> {
        let late = std::mem::take(&mut self.late);
        let delivered = late.into_iter().map(|work| {
            let outcome = self.api.perform(&work, ms(self.now));
            let done = match &outcome {
                Some(Outcome::Cleared { result, .. }) => result.is_ok(),
                Some(Outcome::Status { result }) => result.is_ok(),
                Some(Outcome::Routed { result, .. }) => matches!(result, Ok((true, _))),
                _ => true,
            };
            if let Some(outcome) = outcome {
                self.standby.outcome(&work, outcome, now_at(ms(self.now)));
            }
            (name(&work), done)
        });
        let delivered = delivered.collect();
        self.settle();
        delivered
    }

    /// Another operator takes over: it knows nothing but what the API server has.
    pub fn restart(&mut self) {
        self.engine = Engine::new(self.clears_in_system_namespaces);
        self.lead();
        for kind in Kind::ALL {
            self.relist(kind);
        }
        self.settle();
    }

    /// The leading operator's watch was interrupted, and lists everything again.
    pub fn relist(&mut self, kind: Kind) {
        self.told.extend(self.api.take_log());
        let (missed, told): (VecDeque<_>, _) =
            std::mem::take(&mut self.told).into_iter().partition(|(k, _)| *k == kind);
        self.told = told;
        for (kind, told) in Vec::from(missed) {
            self.standby.change(change(kind, &told.into()), now_at(ms(self.now)));
        }
        for event in self.list(kind) {
            self.engine.change(change(kind, &event), now_at(ms(self.now)));
        }
    }

    pub fn list(&self, kind: Kind) -> Vec<Event<Value>> {
        self.api.list_events(kind)
    }

    /// The watch falls silent, though it looks open.
    pub fn hold(&mut self, kind: Kind) {
        self.settle();
        self.held.insert(kind);
    }

    /// The watch catches up.
    pub fn release(&mut self, kind: Kind) {
        self.held.remove(&kind);
        self.settle();
    }

    fn feed(&mut self, kind: Kind, event: &Event<Value>) {
        self.engine.change(change(kind, event), now_at(ms(self.now)));
        self.standby.change(change(kind, event), now_at(ms(self.now)));
    }

    /// Lets everything happen that takes no time.
    pub fn settle(&mut self) {
        for _ in 0..ROUNDS {
            self.told.extend(self.api.take_log());
            let next = self.told.iter().position(|(kind, _)| !self.held.contains(kind));
            if let Some((kind, told)) = next.and_then(|at| self.told.remove(at)) {
                self.feed(kind, &told.into());
            }
            assert!(self.standby.take_work().is_empty() && self.standby.next_wake().is_none(), "it only stands by");
            self.metrics.see(self.engine.take_seen());
            let mut work = self.engine.take_work();
            if self.is_stopped {
                self.late.append(&mut work);
            }
            if next.is_none() && work.is_empty() {
                return;
            }
            for work in work {
                let (name, outcome) = self.perform(&work);
                self.jobs.push(name);
                if let Some(outcome) = outcome {
                    self.metrics.note(&outcome);
                    self.engine.outcome(&work, outcome, now_at(ms(self.now)));
                }
            }
        }
        panic!("no rest after {ROUNDS} rounds: {:?}", &self.jobs[self.jobs.len() - 20..]);
    }

    fn perform(&mut self, work: &Work) -> (String, Option<Outcome>) {
        let requested_at = ms(self.now);
        if let Job::Route(step) = &work.job {
            return (name(work), Some(self.perform_route(work, step)));
        }
        let Job::Act(Action::Clear(clear)) = &work.job else {
            if let Job::Tell(notice) = &work.job {
                self.notices.push(notice.clone());
            }
            return (name(work), self.api.perform(work, requested_at));
        };
        if let Some(happens) = self.before_clear.take() {
            happens(&mut self.api);
        }
        let fate = std::mem::replace(&mut self.fate, Fate::Answered);
        let failed = |failure| Some(Outcome::Cleared { clear: clear.clone(), requested_at, result: Err(failure) });
        let lost = || failed(Failure::Unknown("no answer".to_owned()));
        let outcome = match fate {
            Fate::Answered => self.api.perform(work, requested_at),
            Fate::LandsUnanswered => {
                self.api.perform(work, requested_at);
                lost()
            }
            Fate::Lost => lost(),
            Fate::Broken => {
                self.fate = Fate::Broken;
                lost()
            }
            Fate::Denied => {
                self.fate = Fate::Denied;
                failed(Failure::Denied("forbidden".to_owned()))
            }
        };
        if let Some(happens) = self.after_clear.take() {
            happens(&mut self.api);
        }
        ("Clear".to_owned(), outcome)
    }

    fn perform_route(&mut self, work: &Work, step: &Step) -> Outcome {
        let fate = self.route_fates.pop_front().unwrap_or(Fate::Answered);
        let failed = |failure| Outcome::Routed { step: step.clone(), result: Err(failure) };
        match fate {
            Fate::Answered => self.api.route(work, step),
            Fate::LandsUnanswered => {
                self.api.route(work, step);
                failed(Failure::Unknown("no answer".to_owned()))
            }
            Fate::Lost | Fate::Broken => failed(Failure::Unknown("no answer".to_owned())),
            Fate::Denied => failed(Failure::Denied("forbidden".to_owned())),
        }
    }

    /// Lets so many milliseconds pass.
    pub fn pass(&mut self, milliseconds: u64) {
        self.settle();
        let end = self.now + milliseconds;
        while let Some(wake) = self.engine.next_wake().filter(|at| *at <= ms(end)) {
            self.now = self.now.max(u64::try_from(wake.as_millis()).unwrap());
            // Timers have a finer grain than this clock.
            if ms(self.now) < wake {
                self.now += 1;
            }
            self.engine.wake(now_at(ms(self.now)));
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    /// The candidate writes itself into the Lease, by a clock that is so many milliseconds ahead, as client-go does:
    /// `transitions` counts up and `acquireTime` is new only if the holder is another one.
    pub fn renew_by(&mut self, holder: &str, ahead: i64) {
        let at = micro_time(i64::try_from(self.now).unwrap() + ahead);
        let mut spec = self.lease().clone();
        if spec["holderIdentity"] != json!(holder) {
            let first = spec["holderIdentity"].is_null() && spec["leaseTransitions"].is_null();
            let count = spec["leaseTransitions"].as_i64().unwrap_or(0);
            spec["leaseTransitions"] = json!(if first { 0 } else { count.saturating_add(1) });
            spec["acquireTime"] = json!(at);
        }
        spec["holderIdentity"] = json!(holder);
        spec["leaseDurationSeconds"] = json!(15);
        spec["renewTime"] = json!(at);
        self.set_lease(&spec);
    }

    pub fn renew(&mut self, holder: &str) {
        self.renew_by(holder, 0);
    }

    /// Renews every two seconds, so many times, beginning now.
    pub fn renew_times(&mut self, holder: &str, times: usize) {
        for _ in 0..times {
            self.renew(holder);
            self.pass(2_000);
        }
    }

    /// The Lease's spec, whoever writes it; null if there is no Lease.
    pub fn lease(&self) -> Value {
        self.api.get(Kind::Lease, "web").map_or(json!(null), |lease| lease["spec"].clone())
    }

    pub fn set_lease(&mut self, spec: &Value) {
        let version = self.api.version_of(Kind::Lease, "web");
        self.api.write_lease("web", version, spec).expect("the version that was read");
        self.settle();
    }

    /// The Lease's spec is its holder's, written by a client that goes by this field manager.
    pub fn write_lease_as(&mut self, manager: &str) {
        let mut lease = self.api.get(Kind::Lease, "web").cloned().expect("a Lease");
        lease["metadata"]["managedFields"] = json!([{
            "manager": manager, "operation": "Update", "apiVersion": "coordination.k8s.io/v1",
            "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}},
        }]);
        self.api.put(Kind::Lease, lease);
        self.settle();
    }

    pub fn put_pod(&mut self, pod: Value) {
        self.api.put(Kind::Pod, pod);
        self.settle();
    }

    pub fn put_group(&mut self, group: Value) {
        self.api.put(Kind::Group, group);
        self.settle();
    }

    /// A node changes.
    pub fn put_node(&mut self, name: &str, ready: bool, out_of_service: bool) {
        self.api.put(Kind::Node, super::node(name, ready, out_of_service));
        self.settle();
    }

    pub fn delete(&mut self, kind: Kind, name: &str) {
        self.api.delete(kind, name);
        self.settle();
    }

    /// The stored status of the group `web`.
    pub fn status(&self) -> LeaderGroupStatus {
        self.status_of("web")
    }

    pub fn status_of(&self, group: &str) -> LeaderGroupStatus {
        let group = self.api.get(Kind::Group, group).expect("the group");
        if group["status"].is_null() { LeaderGroupStatus::default() } else { decode(&group["status"]) }
    }

    /// The stored verdict, as text.
    pub fn verdict(&self) -> String {
        self.status().holder.map_or_else(String::new, |h| h.verdict.to_string())
    }

    /// The reason of a condition of the group `web`, with its value.
    pub fn condition(&self, type_: &str) -> String {
        condition_of(&self.status(), type_)
    }

    /// The value of a series of the operator that leads, such as `up{a="b"}`; none if it is not shown.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = self.metrics.text();
        let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
        text.lines().find_map(value)
    }

    /// How often the operator did that.
    pub fn count(&self, job: &str) -> usize {
        self.jobs.iter().filter(|j| *j == job).count()
    }
}

fn name(work: &Work) -> String {
    match &work.job {
        Job::Act(action) => format!("{action:?}").split([' ', '(']).next().unwrap_or_default().to_owned(),
        Job::Route(step) => format!("Route {:?}", step.write).split(" {").next().unwrap_or_default().to_owned(),
        Job::ReadGroup => "ReadGroup".to_owned(),
        Job::WriteStatus { .. } => "WriteStatus".to_owned(),
        Job::WriteInvalid { .. } => "WriteInvalid".to_owned(),
        Job::Audit(_) => "Audit".to_owned(),
        Job::Tell(notice) => format!("Tell {}", notice.reason),
    }
}

/// `Value Reason` of a condition.
pub fn condition_of(status: &LeaderGroupStatus, type_: &str) -> String {
    let condition = status.conditions.iter().find(|c| c.type_ == type_);
    condition.map_or_else(String::new, |c| format!("{} {}", c.status, c.reason))
}

/// The group's pod `web-0` leads since a while; its last renewal was at 6 s, and it is 8 s now.
pub fn leading(spec: &Value) -> Cluster {
    let mut cluster = Cluster::new(spec);
    cluster.put_pod(web_0("u0", running(0)));
    cluster.renew_times("web-0", 4);
    assert_eq!(cluster.verdict(), "Alive");
    cluster
}

pub fn web_0(uid: &str, status: Value) -> Value {
    pod("web-0", uid, "n1", "Running", &[("app", status)])
}

/// The same pod, ended by its kubelet's word.
pub fn web_0_ended(at: i64) -> Value {
    pod("web-0", "u0", "n1", "Failed", &[("app", ended(at))])
}

pub fn take_as(api: &mut Api, holder: &str, at: i64) {
    let version = api.version_of(Kind::Lease, "web");
    let spec = json!({
        "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 1,
        "acquireTime": micro_time(at), "renewTime": micro_time(at),
    });
    api.write_lease("web", version, &spec).unwrap();
}
