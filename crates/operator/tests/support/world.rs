//! A simulated cluster that knows the truth: processes that run and die, kubelets that report late or not at all,
//! clocks that are wrong, candidates that follow client-go's protocol. The engine sees only what the API server tells.

use std::collections::{BTreeMap, VecDeque};

use leadergroup_operator::decide::Ground;
use serde_json::{Value, json};

use super::api::{Api, Kind};
use super::{micro_time, time};

pub const LEASE_MS: u64 = 15_000;
const RENEW_MS: u64 = 2_000;
const RENEW_DEADLINE_MS: u64 = 10_000;
/// Nobody acts faster than this.
pub const TICK_MS: u64 = 25;

/// Pseudo-random delays, the same for the same seed.
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number from `low` to below `high`.
    pub fn roll(&mut self, low: u64, high: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        low + self.0 % (high - low)
    }
}

#[derive(Debug)]
pub struct Machine {
    pub clock_ahead: i64,
    pub alive: bool,
    pub kubelet: bool,
    pub report_delay: u64,
    reports: VecDeque<(u64, String, Value)>,
}

#[derive(Debug, Default)]
struct Process {
    alive: bool,
    /// It acts as the leader, whether it still may or not.
    leads: bool,
    started: i64,
    ended: Option<i64>,
    restart_at: Option<u64>,
}

/// A candidate pod, whose processes may outlive its object.
#[derive(Debug)]
pub struct Candidate {
    pub name: String,
    pub uid: String,
    pub node: Option<usize>,
    object: bool,
    bind_at: u64,
    start_at: u64,
    /// Its kubelet ends it then.
    stop_at: Option<u64>,
    graceful: bool,
    finished: bool,
    run: u32,
    frozen_until: u64,
    try_at: u64,
    renewed_at: u64,
    seen: Option<(Value, u64)>,
    writing: Option<(u64, Option<u64>, Value)>,
    processes: Vec<Process>,
}

pub struct World {
    pub api: Api,
    pub now: u64,
    pub machines: Vec<Machine>,
    pub candidates: Vec<Candidate>,
    pub dice: Dice,
    /// Holders are named by pod, UID and run; else by the pod's name, which the next pod has too.
    pub with_uid: bool,
    containers: usize,
    create_at: BTreeMap<String, u64>,
    last_write: u64,
    /// Live leaders that were cleared before their Lease ran out.
    pub violations: Vec<String>,
    pub early_clears: usize,
}

impl World {
    pub fn new(seed: u64, containers: usize, with_uid: bool, group: Value) -> Self {
        let mut api = Api::default();
        let machines: Vec<_> = (0..3)
            .map(|_| Machine {
                clock_ahead: 0,
                alive: true,
                kubelet: true,
                report_delay: 300,
                reports: VecDeque::new(),
            })
            .collect();
        for at in 0..machines.len() {
            api.put(Kind::Node, super::node(&format!("n{at}"), true, false));
        }
        api.put(Kind::Group, group);
        let create_at = (0..3).map(|n| (format!("web-{n}"), n * 500)).collect();
        Self {
            api,
            machines,
            with_uid,
            containers,
            create_at,
            now: 0,
            candidates: Vec::new(),
            dice: Dice(seed | 1),
            last_write: 0,
            violations: Vec::new(),
            early_clears: 0,
        }
    }

    fn clock(&self, node: usize) -> i64 {
        i64::try_from(self.now).unwrap() + self.machines[node].clock_ahead
    }

    /// The pod whose object has that name.
    pub fn current(&self, slot: usize) -> Option<usize> {
        let name = format!("web-{}", slot % 3);
        self.candidates.iter().position(|c| c.object && c.name == name)
    }

    pub fn tick(&mut self) {
        self.now += TICK_MS;
        self.replace();
        for at in 0..self.candidates.len() {
            self.bind_and_start(at);
            self.stop(at);
            self.restart(at);
            self.elect(at);
        }
        self.report();
        self.check();
    }

    /// A StatefulSet's part: a new pod under each free name.
    fn replace(&mut self) {
        for slot in 0..3 {
            let name = format!("web-{slot}");
            if self.current(slot).is_some() {
                continue;
            }
            let due = self.now + self.dice.roll(100, 1_500);
            if self.now < *self.create_at.entry(name.clone()).or_insert(due) {
                continue;
            }
            self.create_at.remove(&name);
            let uid = format!("{name}-{}", self.candidates.len());
            self.candidates.push(Candidate {
                name,
                uid,
                node: None,
                object: true,
                finished: false,
                graceful: false,
                run: 0,
                frozen_until: 0,
                bind_at: self.now + self.dice.roll(50, 800),
                start_at: u64::MAX,
                stop_at: None,
                try_at: 0,
                renewed_at: 0,
                seen: None,
                writing: None,
                processes: Vec::new(),
            });
            self.put(self.candidates.len() - 1, "Pending");
        }
    }

    fn bind_and_start(&mut self, at: usize) {
        if self.candidates[at].node.is_none() {
            let node = usize::try_from(self.dice.roll(0, 3)).unwrap();
            if self.candidates[at].object && self.now >= self.candidates[at].bind_at && self.machines[node].alive {
                self.candidates[at].node = Some(node);
                self.candidates[at].start_at = self.now + self.dice.roll(100, 1_000);
                self.put(at, "Pending");
            }
            return;
        }
        let node = self.candidates[at].node.unwrap();
        let (machine, clock) = (&self.machines[node], self.clock(node));
        let pod = &mut self.candidates[at];
        if pod.processes.is_empty()
            && self.now >= pod.start_at
            && pod.object
            && pod.stop_at.is_none()
            && machine.kubelet
        {
            pod.processes =
                (0..self.containers).map(|_| Process { alive: true, started: clock, ..Process::default() }).collect();
            self.begin_run(at);
            self.changed(at);
        }
    }

    /// The elector's process is a new one: it knows nothing.
    fn begin_run(&mut self, at: usize) {
        let first_try = self.now + self.dice.roll(50, 400);
        let pod = &mut self.candidates[at];
        (pod.run, pod.seen, pod.writing, pod.frozen_until) = (pod.run + 1, None, None, 0);
        pod.try_at = first_try;
    }

    fn stop(&mut self, at: usize) {
        let Some(node) = self.candidates[at].node else {
            if self.candidates[at].stop_at.is_some_and(|due| self.now >= due) && self.candidates[at].object {
                self.remove(at);
            }
            return;
        };
        let pod = &self.candidates[at];
        if self.machines[node].kubelet && !pod.finished && pod.stop_at.is_some_and(|due| self.now >= due) {
            (0..self.containers).for_each(|c| self.end(at, c));
            self.candidates[at].finished = true;
            self.changed(at);
        }
    }

    fn restart(&mut self, at: usize) {
        let Some(node) = self.candidates[at].node.filter(|n| self.machines[*n].kubelet) else { return };
        let clock = self.clock(node);
        for container in 0..self.candidates[at].processes.len() {
            let pod = &mut self.candidates[at];
            let process = &mut pod.processes[container];
            if !pod.finished && pod.stop_at.is_none() && process.restart_at.is_some_and(|due| self.now >= due) {
                (process.alive, process.started, process.restart_at) = (true, clock, None);
                if container == 0 {
                    self.begin_run(at);
                }
                self.changed(at);
            }
        }
    }

    /// A process dies, or is killed.
    pub fn end(&mut self, at: usize, container: usize) {
        let Some(node) = self.candidates[at].node else { return };
        let clock = self.clock(node);
        let restart_at = self.now + self.dice.roll(100, 1_500);
        let Some(process) = self.candidates[at].processes.get_mut(container).filter(|p| p.alive) else { return };
        (process.alive, process.leads, process.ended, process.restart_at) =
            (false, false, Some(clock), Some(restart_at));
        self.changed(at);
    }

    /// Its processes end, and none comes after.
    pub fn finish(&mut self, at: usize) {
        if self.candidates[at].node.is_some_and(|n| self.machines[n].kubelet)
            && !self.candidates[at].processes.is_empty()
        {
            self.candidates[at].stop_at = Some(self.now);
        }
    }

    /// A deletion. A forced one takes the object away at once; the kubelet, if it lives, ends the processes later.
    pub fn remove_pod(&mut self, at: usize, forced: bool) {
        let grace = self.now + self.dice.roll(200, 3_000);
        let pod = &mut self.candidates[at];
        pod.stop_at = pod.stop_at.or(Some(grace));
        pod.graceful = true;
        if forced {
            self.remove(at);
        } else if pod.finished {
            self.changed(at);
        }
    }

    /// Pod garbage collection: another's word.
    pub fn collect(&mut self, at: usize) {
        let name = self.candidates[at].name.clone();
        if let Some(mut object) = self.api.get(Kind::Pod, &name).cloned() {
            object["status"]["phase"] = json!("Failed");
            object["status"]["conditions"] =
                json!([{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}]);
            self.api.put(Kind::Pod, object);
            self.remove(at);
        }
    }

    fn remove(&mut self, at: usize) {
        self.candidates[at].object = false;
        self.api.delete(Kind::Pod, &self.candidates[at].name);
    }

    /// Whether processes live whose pod is gone, other than the holder's.
    pub fn has_unnamed_survivors(&self) -> bool {
        let holder = self.api.get(Kind::Lease, "web").map(|l| l["spec"]["holderIdentity"].clone());
        let survives = |c: &Candidate| !c.object && c.processes.iter().any(|p| p.alive);
        self.candidates.iter().any(|c| survives(c) && holder != Some(json!(c.name)))
    }

    pub fn freeze(&mut self, at: usize, milliseconds: u64) {
        self.candidates[at].frozen_until = self.now + milliseconds;
    }

    /// The machine is gone, and all that ran on it.
    pub fn kill_machine(&mut self, node: usize) {
        for at in 0..self.candidates.len() {
            if self.candidates[at].node == Some(node) {
                (0..self.containers).for_each(|c| self.end(at, c));
            }
        }
        (self.machines[node].alive, self.machines[node].kubelet) = (false, false);
        self.machines[node].reports.clear();
    }

    pub fn set_kubelet(&mut self, node: usize, up: bool) {
        let machine = &mut self.machines[node];
        machine.kubelet = up && machine.alive;
        machine.reports.clear();
        if machine.kubelet {
            for at in 0..self.candidates.len() {
                if self.candidates[at].node == Some(node) {
                    self.changed(at);
                }
            }
        }
    }

    fn put(&mut self, at: usize, phase: &str) {
        let pod = &self.candidates[at];
        let node = pod.node.map(|n| format!("n{n}")).unwrap_or_default();
        let names = ["app", "proxy"];
        let statuses: Vec<_> = (0..self.containers)
            .map(|c| (names[c], pod.processes.get(c).map_or(Value::Null, |p| status(p, pod.finished))))
            .collect();
        let mut object = super::pod(&pod.name, &pod.uid, &node, phase, &statuses);
        if pod.node.is_some() {
            object["status"]["podIP"] = json!(address(at));
        }
        self.api.put(Kind::Pod, object);
    }

    /// Its kubelet has something to report.
    fn changed(&mut self, at: usize) {
        let pod = &self.candidates[at];
        let Some(node) = pod.node.filter(|n| self.machines[*n].kubelet) else { return };
        let names = ["app", "proxy"];
        let statuses: Vec<_> =
            pod.processes.iter().zip(names).map(|(p, name)| (name, status(p, pod.finished))).collect();
        let phase = if pod.finished { "Failed" } else { "Running" };
        let mut object = super::pod(&pod.name, &pod.uid, &format!("n{node}"), phase, &statuses);
        object["status"]["podIP"] = json!(address(at));
        let machine = &mut self.machines[node];
        let due = (self.now + machine.report_delay).max(machine.reports.back().map_or(0, |r| r.0));
        machine.reports.push_back((due, pod.uid.clone(), object));
    }

    fn report(&mut self) {
        for node in 0..self.machines.len() {
            while self.machines[node].reports.front().is_some_and(|(due, ..)| *due <= self.now) {
                let (_, uid, object) = self.machines[node].reports.pop_front().unwrap();
                let at = self.candidates.iter().position(|c| c.uid == uid).unwrap();
                if !self.candidates[at].object {
                    continue;
                }
                let over = object["status"]["phase"] == json!("Failed");
                self.api.put(Kind::Pod, object);
                if over && self.candidates[at].graceful {
                    self.remove(at);
                }
            }
        }
    }

    /// The UIDs of the pods that exist and go by the Lease's holder.
    pub fn holders(&self) -> Vec<&str> {
        let holder = self.api.get(Kind::Lease, "web").map(|l| l["spec"]["holderIdentity"].clone());
        let holds = |at: &usize| self.candidates[*at].object && holder == Some(json!(self.identity(*at)));
        (0..self.candidates.len()).filter(holds).map(|at| self.candidates[at].uid.as_str()).collect()
    }

    fn identity(&self, at: usize) -> String {
        let pod = &self.candidates[at];
        if self.with_uid { format!("{}_{}_{}", pod.name, pod.uid, pod.run) } else { pod.name.clone() }
    }

    /// One look of a candidate's elector at the Lease, by client-go's rules.
    fn elect(&mut self, at: usize) {
        self.land(at);
        let pod = &self.candidates[at];
        let Some(node) = pod.node else { return };
        if !pod.processes.first().is_some_and(|p| p.alive) || self.now < pod.frozen_until {
            return;
        }
        if pod.processes[0].leads && self.now > pod.renewed_at + RENEW_DEADLINE_MS {
            return self.end(at, 0);
        }
        // The program beside the elector believes it.
        let leads = pod.processes[0].leads;
        self.candidates[at].processes.iter_mut().skip(1).filter(|p| p.alive).for_each(|p| p.leads = leads);
        if self.now < self.candidates[at].try_at || self.candidates[at].writing.is_some() {
            return;
        }
        self.candidates[at].try_at = self.now + RENEW_MS + self.dice.roll(0, 200);
        let (me, clock, now) = (self.identity(at), self.clock(node), self.now);
        let version = self.api.version_of(Kind::Lease, "web");
        let spec = self.api.get(Kind::Lease, "web").map_or(json!({}), |l| l["spec"].clone());
        let pod = &mut self.candidates[at];
        if pod.seen.as_ref().is_none_or(|(seen, _)| *seen != spec) {
            pod.seen = Some((spec.clone(), now));
        }
        let holder = spec["holderIdentity"].as_str().unwrap_or_default();
        let lasts = spec["leaseDurationSeconds"].as_u64().unwrap_or(0) * 1_000;
        if holder != me {
            pod.processes[0].leads = false;
            if !holder.is_empty() && now < pod.seen.as_ref().unwrap().1 + lasts {
                return;
            }
        }
        let mut next = spec.clone();
        if holder != me {
            next["acquireTime"] = json!(micro_time(clock));
            next["leaseTransitions"] = json!(spec["leaseTransitions"].as_i64().map_or(0, |n| n + 1));
        }
        next["holderIdentity"] = json!(me);
        next["leaseDurationSeconds"] = json!(LEASE_MS / 1_000);
        next["renewTime"] = json!(micro_time(clock));
        let arrives = now + self.dice.roll(0, 80);
        self.candidates[at].writing = Some((arrives, version, next));
    }

    /// A write under way arrives, though its writer may have died since.
    fn land(&mut self, at: usize) {
        let pod = &mut self.candidates[at];
        let Some((_, expected, spec)) = pod.writing.take_if(|(arrives, ..)| *arrives <= self.now) else { return };
        if self.api.write_lease("web", expected, &spec).is_err() {
            return;
        }
        self.last_write = self.now;
        let pod = &mut self.candidates[at];
        if pod.processes[0].alive && self.now >= pod.frozen_until {
            (pod.processes[0].leads, pod.renewed_at) = (true, self.now);
            pod.seen = Some((spec, self.now));
        }
    }

    /// Looks at the clears that landed since: was any live leader cleared before its Lease ran out?
    fn check(&mut self) {
        for cleared in self.api.cleared.drain(..) {
            let clear = cleared.clear;
            if self.now >= self.last_write + LEASE_MS && clear.ground == Ground::Expired {
                continue;
            }
            self.early_clears += 1;
            for (at, pod) in self.candidates.iter().enumerate() {
                let me = if self.with_uid { format!("{}_{}_{}", pod.name, pod.uid, pod.run) } else { pod.name.clone() };
                if me == clear.holder && pod.processes.iter().any(|p| p.alive && p.leads) {
                    self.violations.push(format!("{} ms: {clear:?} while candidate {at} leads: {pod:?}", self.now));
                }
            }
        }
    }
}

/// Each pod has its own.
fn address(at: usize) -> String {
    format!("10.0.{}.{}", at / 250, 1 + at % 250)
}

fn status(process: &Process, finished: bool) -> Value {
    let ended = process.ended.map(|at| json!({"terminated": {"exitCode": 1, "finishedAt": time(at)}}));
    match (process.alive, finished) {
        (true, _) => {
            json!({"state": {"running": {"startedAt": time(process.started)}}, "lastState": ended.unwrap_or(json!({}))})
        }
        _ => json!({"state": ended.unwrap_or(json!({"waiting": {}}))}),
    }
}
