//! Machines, the nodes they register as, and what their kubelets report of pods.

use std::collections::VecDeque;

use serde_json::Value;

use super::World;
use super::kubelet::{Claim, Container, End, State};
use super::setup::VirtualMark;
use crate::lies::Lie;
use crate::support::api::Kind;

/// How far ahead of the present an end has to be dated for the operator to know that the clock was wrong, in milliseconds: two
/// seconds, with up to one that is cut off from its date, and the time until it is seen.
const AHEAD_MS: i64 = 3_300;

#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "they are facts about a machine, not states of a machine")]
pub struct Machine {
    /// Of the node it registers as, or did.
    pub name: String,
    /// The node's UID.
    pub uid: String,
    pub registered: bool,
    /// When the node was created.
    pub created: u64,
    pub boot: u32,
    pub clock_ahead: i64,
    pub alive: bool,
    pub kubelet: bool,
    pub ready: bool,
    pub ready_since: i64,
    pub out_of_service: bool,
    pub virtual_mark: Option<VirtualMark>,
    pub report_delay: u64,
    /// The kubelet's reports do not arrive until then, and the newest of each pod is the only one that does.
    silent_until: u64,
    /// They are not held up for longer: an end that the wrong clock dates ahead would be past by then, and nobody could know
    /// that the clock was wrong.
    speaks_by: Option<u64>,
    reports: VecDeque<Report>,
}

#[derive(Debug)]
struct Report {
    due: u64,
    pod: usize,
    /// None if the pod's status is the one at that time.
    status: Option<Value>,
}

impl World {
    /// Another machine takes the name of that node, and registers.
    pub(super) fn add_machine(&mut self, node: usize) {
        let before = self.machines.get(self.nodes[node]).map_or((0, 300), |m| (m.clock_ahead, m.report_delay));
        let at = self.machines.len();
        self.machines.push(Machine {
            name: format!("n{node}"),
            uid: format!("machine-{at}"),
            registered: true,
            created: self.now,
            boot: 1,
            clock_ahead: before.0,
            alive: true,
            kubelet: true,
            ready: true,
            ready_since: i64::try_from(self.now).unwrap() + before.0,
            out_of_service: false,
            virtual_mark: self.setup.virtual_node.filter(|_| node == 0),
            report_delay: before.1,
            silent_until: 0,
            speaks_by: None,
            reports: VecDeque::new(),
        });
        self.nodes[node] = at;
        self.api.put(Kind::Node, self.node_object(at));
    }

    /// The node of that number, unless it is not registered.
    fn registered(&self, node: usize) -> Option<usize> {
        Some(self.nodes[node % self.nodes.len()]).filter(|machine| self.machines[*machine].registered)
    }

    fn put_node(&mut self, machine: usize) {
        if self.machines[machine].registered {
            self.api.put(Kind::Node, self.node_object(machine));
        }
    }

    pub fn set_clock(&mut self, node: usize, ahead: i64) {
        let Some(machine) = self.registered(node) else { return };
        if ahead < std::mem::replace(&mut self.machines[machine].clock_ahead, ahead) {
            self.note(Lie::ClockSetBack);
        }
    }

    pub fn set_report_delay(&mut self, node: usize, milliseconds: u64) {
        if let Some(machine) = self.registered(node) {
            self.machines[machine].report_delay = milliseconds;
        }
    }

    /// The node's condition `Ready` changes, by its kubelet's word or the node controller's.
    pub fn set_ready(&mut self, node: usize, ready: bool) {
        let Some(machine) = self.registered(node) else { return };
        if self.machines[machine].ready != ready {
            let by_node = self.clock(machine);
            let since = if ready { by_node } else { i64::try_from(self.now).unwrap() };
            (self.machines[machine].ready, self.machines[machine].ready_since) = (ready, since);
            self.put_node(machine);
        }
    }

    /// The machine is gone, and all that ran on it.
    pub fn kill_machine(&mut self, node: usize) {
        let Some(machine) = self.registered(node) else { return };
        self.end_all_on(machine);
        let this = &mut self.machines[machine];
        (this.alive, this.kubelet) = (false, false);
        this.reports.clear();
    }

    /// An administrator says so of a machine that is gone.
    pub fn put_out_of_service(&mut self, node: usize) {
        let gone = self.registered(node).filter(|machine| !self.machines[*machine].alive);
        if let Some(machine) = gone {
            self.machines[machine].out_of_service = true;
            self.put_node(machine);
        }
    }

    /// The machine restarts. Its runtime reports the ends of what ran before as it reports those that it invents.
    pub fn reboot(&mut self, node: usize) {
        let Some(machine) = self.registered(node).filter(|machine| self.machines[*machine].alive) else { return };
        self.end_all_on(machine);
        self.machines[machine].boot += 1;
        let clock = self.clock(machine);
        for container in self.containers_on(machine) {
            if let State::Ended(end) = &mut container.state
                && end.at == Some(clock)
            {
                *end = End { exit_code: 255, reason: "Unknown", at: Some(clock) };
            }
        }
        self.put_node(machine);
        self.set_kubelet(node, true);
    }

    fn end_all_on(&mut self, machine: usize) {
        for at in 0..self.processes.len() {
            if self.processes[at].machine == machine {
                self.end(at);
            }
        }
    }

    fn containers_on(&mut self, machine: usize) -> impl Iterator<Item = &mut Container> {
        self.pods.iter_mut().filter(move |pod| pod.machine == Some(machine)).flat_map(|pod| &mut pod.containers)
    }

    pub fn set_kubelet(&mut self, node: usize, up: bool) {
        let Some(at) = self.registered(node) else { return };
        let machine = &mut self.machines[at];
        machine.kubelet = up && machine.alive;
        machine.reports.clear();
        if machine.kubelet {
            for pod in 0..self.pods.len() {
                if self.pods[pod].machine == Some(at) {
                    self.changed(pod);
                }
            }
        }
    }

    /// The node's object goes, though its machine lives on, or is gone already.
    pub fn unregister(&mut self, node: usize) {
        let Some(at) = self.registered(node) else { return };
        let machine = &mut self.machines[at];
        (machine.registered, machine.kubelet) = (false, false);
        machine.reports.clear();
        self.api.delete(Kind::Node, &self.machines[at].name);
    }

    /// Another machine registers under the name of one that is not registered any more, and claims something about the
    /// pods that are bound to that name.
    pub fn register(&mut self, node: usize, claim: Claim) {
        let node = node % self.nodes.len();
        let old = self.nodes[node];
        if self.machines[old].registered {
            return;
        }
        self.add_machine(node);
        let lives = self.processes.iter().any(|process| process.alive && process.machine == old);
        if lives {
            self.note(Lie::NodeReplaced);
        }
        for pod in 0..self.pods.len() {
            if self.pods[pod].object && self.pods[pod].machine == Some(old) {
                self.adopt(pod, self.nodes[node], claim);
            }
        }
    }

    /// The kubelet's reports are held up for so long.
    pub fn hush(&mut self, node: usize, milliseconds: u64) {
        if let Some(machine) = self.registered(node) {
            self.machines[machine].silent_until = self.now + milliseconds;
            self.limit_silence(machine);
        }
    }

    /// A run has ended by the machine's clock.
    pub(super) fn note_dated(&mut self, machine: usize) {
        let still_ahead = u64::try_from(self.clock(machine) - AHEAD_MS).unwrap_or(0);
        if still_ahead > self.now {
            self.machines[machine].speaks_by = Some(still_ahead);
            self.limit_silence(machine);
        }
    }

    fn limit_silence(&mut self, machine: usize) {
        let machine = &mut self.machines[machine];
        if let Some(by) = machine.speaks_by.filter(|by| *by > self.now) {
            machine.silent_until = machine.silent_until.min(by);
            machine.reports.iter_mut().for_each(|report| report.due = report.due.min(by));
        }
    }

    /// The number of the node that a pod is bound to.
    pub fn node_of(&self, pod: usize) -> Option<usize> {
        let machine = self.pods[pod].machine?;
        self.nodes.iter().position(|node| *node == machine)
    }

    /// The pod's kubelet has something to report.
    pub(super) fn changed(&mut self, pod: usize) {
        let Some(at) = self.pods[pod].machine.filter(|at| self.machines[*at].kubelet) else { return };
        let machine = &self.machines[at];
        let is_silent = self.now < machine.silent_until;
        if is_silent {
            let waits = |report: &Report| report.pod == pod && report.status.is_none();
            if machine.reports.iter().any(waits) {
                return self.note(Lie::UnseenEnd);
            }
        }
        let status = (!is_silent).then(|| self.status(pod));
        let machine = &mut self.machines[at];
        let due = (self.now + machine.report_delay).max(machine.silent_until);
        let due = due.max(machine.reports.back().map_or(0, |report| report.due));
        machine.reports.push_back(Report { due, pod, status });
        self.limit_silence(at);
    }

    pub(super) fn report(&mut self) {
        for machine in 0..self.machines.len() {
            while self.machines[machine].reports.front().is_some_and(|report| report.due <= self.now) {
                let Report { pod, status, .. } = self.machines[machine].reports.pop_front().unwrap();
                let status = status.unwrap_or_else(|| self.status(pod));
                let is_over = matches!(status["phase"].as_str(), Some("Failed" | "Succeeded"));
                self.put_pod(pod, |_, object| object["status"] = status);
                if is_over && self.pods[pod].graceful && self.pods[pod].object {
                    self.remove(pod);
                }
            }
        }
    }
}
