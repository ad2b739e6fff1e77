//! Pods, from their creation to the end of their objects, which their processes may outlive.

use serde_json::{Value, json};

use super::kubelet::{Container, End, Invention, Role, State};
use super::object::labels;
use super::setup::{Helper, Naming};
use super::{LEADER, World};
use crate::lies::Lie;
use crate::support::api::Kind;

/// A pod, whose processes may outlive its object.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "they are facts about a pod, not states of a machine")]
pub struct Pod {
    /// Which of the owner's pods it is, if any.
    pub slot: Option<usize>,
    pub name: String,
    /// The API server completed its name, or its creator says so.
    pub is_generated: bool,
    pub uid: String,
    pub hostname: Option<String>,
    /// It uses its node's network, and so its host name.
    pub host_network: bool,
    pub annotations: Value,
    pub is_candidate: bool,
    /// Its first container runs an elector.
    pub elects: bool,
    /// The machine whose kubelet speaks for it.
    pub machine: Option<usize>,
    pub object: bool,
    pub created: u64,
    pub bound_at: Option<u64>,
    pub bind_at: u64,
    pub start_at: u64,
    /// Its kubelet ends it then.
    pub stop_at: Option<u64>,
    /// Its kubelet never ends it.
    pub unkillable: bool,
    /// Its object goes once its kubelet has reported its end.
    pub graceful: bool,
    pub started: bool,
    /// It is in a terminal phase, by its kubelet.
    pub finished: bool,
    /// Its kubelet says that it can't run here.
    pub rejected: bool,
    pub containers: Vec<Container>,
    /// What its newest elector calls itself.
    pub identity: String,
}

impl Pod {
    pub fn succeeded(&self) -> bool {
        self.containers.iter().all(|c| matches!(c.state, State::Ended(End { exit_code: 0, .. })))
    }
}

/// What becomes of a pod's processes after a forced deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Their kubelet ends them, if it lives.
    Stopped,
    /// They live for ever.
    Immortal,
}

impl World {
    /// Creates a pod with the containers that a history's pods have.
    pub(super) fn create(&mut self, mut pod: Pod) -> usize {
        pod.uid = format!("{}-{}", pod.name, self.pods.len());
        pod.containers = vec![Container::new("app", Role::Elector)];
        if self.setup.program {
            pod.containers.push(Container::new("proxy", Role::Program));
        }
        if let (Some(helper), Some(_)) = (self.setup.helper, pod.slot) {
            let role = if helper == Helper::Regular { Role::Helper } else { Role::Ephemeral };
            pod.containers.push(Container::new("helper", role));
        }
        let at = self.pods.len();
        let bind_at = self.now + self.dice.roll(50, 800);
        self.pods.push(Pod { object: true, created: self.now, bind_at, start_at: u64::MAX, ..pod });
        self.api.put(Kind::Pod, self.object(at));
        at
    }

    pub(super) fn bind_and_start(&mut self, at: usize) {
        let pod = &self.pods[at];
        if !pod.object || pod.started {
            return;
        }
        let Some(machine) = pod.machine else {
            if self.now >= pod.bind_at {
                self.bind(at);
            }
            return;
        };
        let kubelet = self.machines[machine].kubelet;
        if self.now >= self.pods[at].start_at && self.pods[at].stop_at.is_none() && kubelet && !self.pods[at].finished {
            self.pods[at].started = true;
            for container in 0..self.pods[at].containers.len() {
                self.run(at, container);
            }
        }
    }

    fn bind(&mut self, at: usize) {
        let node = usize::try_from(self.dice.roll(0, self.nodes.len() as u64)).unwrap();
        let machine = self.nodes[node];
        if !self.machines[machine].alive || !self.machines[machine].registered {
            return;
        }
        let start_at = self.now + self.dice.roll(100, 1_000);
        let pod = &mut self.pods[at];
        (pod.machine, pod.bound_at, pod.start_at) = (Some(machine), Some(self.now), start_at);
        self.put_pod(at, |world, pod| {
            pod["spec"]["nodeName"] = json!(world.machines[machine].name);
            pod["status"] = world.status(at);
        });
    }

    /// Changes the pod's object, if there is one of its UID.
    pub(super) fn put_pod(&mut self, at: usize, change: impl FnOnce(&Self, &mut Value)) {
        let pod = &self.pods[at];
        if !pod.object {
            return;
        }
        let Some(mut object) = self.api.get(Kind::Pod, &pod.name).cloned() else { return };
        change(self, &mut object);
        self.api.put(Kind::Pod, object);
    }

    /// Ends a pod's processes when its kubelet is to. A kubelet that knows nothing of a process says so.
    pub(super) fn stop(&mut self, at: usize) {
        let pod = &self.pods[at];
        if pod.finished || pod.unkillable || pod.stop_at.is_none_or(|due| self.now < due) {
            return;
        }
        let Some(machine) = pod.machine else {
            if pod.object {
                self.remove(at);
            }
            return;
        };
        if !self.machines[machine].kubelet {
            return;
        }
        for container in 0..self.pods[at].containers.len() {
            let this = &mut self.pods[at].containers[container];
            match (this.process, this.state) {
                (Some(process), _) => self.end(process),
                (None, State::Running(_)) => this.state = State::Ended(Invention::lost()),
                (None, _) => {}
            }
        }
        self.pods[at].finished = true;
        self.changed(at);
    }

    /// Its kubelet ends its processes, and none comes after.
    pub fn finish(&mut self, at: usize) {
        let pod = &mut self.pods[at];
        if pod.started && pod.machine.is_some_and(|m| self.machines[m].kubelet) {
            pod.stop_at = pod.stop_at.or(Some(self.now));
        }
    }

    /// A graceful deletion: the object goes once the kubelet has reported the pod's end.
    pub fn delete(&mut self, at: usize) {
        let grace = self.now + self.dice.roll(200, 3_000);
        let pod = &mut self.pods[at];
        (pod.stop_at, pod.graceful) = (pod.stop_at.or(Some(grace)), true);
        let deleted_at = crate::support::time(i64::try_from(self.now).unwrap());
        self.put_pod(at, |_, object| object["metadata"]["deletionTimestamp"] = json!(deleted_at));
        if self.pods[at].finished {
            self.changed(at);
        }
    }

    /// A forced deletion: the object goes at once.
    pub fn force(&mut self, at: usize, outlook: Outlook) {
        let grace = self.now + self.dice.roll(200, 3_000);
        let pod = &mut self.pods[at];
        (pod.stop_at, pod.graceful) = (pod.stop_at.or(Some(grace)), true);
        pod.unkillable |= outlook == Outlook::Immortal;
        if pod.unkillable && !pod.finished && pod.started {
            self.note(Lie::Survivor);
        }
        self.remove(at);
    }

    /// Pod garbage collection: another's word.
    pub fn collect(&mut self, at: usize) {
        self.put_pod(at, |_, object| {
            object["status"]["phase"] = json!("Failed");
            object["status"]["conditions"] =
                json!([{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}]);
        });
        self.remove(at);
    }

    /// Another than its kubelet says that it has failed, while its node is not ready.
    pub fn fail(&mut self, at: usize) {
        if self.pods[at].machine.is_some_and(|machine| !self.machines[machine].ready) {
            self.put_pod(at, |_, object| object["status"]["phase"] = json!("Failed"));
            self.note(Lie::PhaseByOther);
        }
    }

    pub(super) fn remove(&mut self, at: usize) {
        self.pods[at].object = false;
        self.api.delete(Kind::Pod, &self.pods[at].name);
    }

    /// The processes of deleted pods, and those that kubelets know nothing of, die after all.
    pub fn bury(&mut self) {
        for at in 0..self.processes.len() {
            if !self.is_known(at) {
                self.end(at);
            }
        }
    }

    /// The processes of deleted pods die, but for those that go by the Lease's holder.
    pub(super) fn bury_standbys(&mut self) {
        let holder = self.holder();
        for at in 0..self.processes.len() {
            if !self.pods[self.processes[at].pod].object && Some(&*self.processes[at].identity) != holder.as_deref() {
                self.end(at);
            }
        }
    }

    /// Whether a pod's object exists whose kubelet knows of the process.
    fn is_known(&self, at: usize) -> bool {
        let process = &self.processes[at];
        let pod = &self.pods[process.pod];
        pod.object && pod.containers[process.container].process == Some(at)
    }

    pub fn freeze(&mut self, at: usize, milliseconds: u64) {
        let until = self.now + milliseconds;
        self.processes.iter_mut().filter(|p| p.pod == at).for_each(|p| p.frozen_until = until);
    }

    /// All others than those that go by this pod's name freeze, and the leader ends if it is one of them.
    pub fn favour(&mut self, at: usize, milliseconds: u64) {
        let name = |pod: &Pod| self.host(pod);
        let favoured = name(&self.pods[at]);
        let others: Vec<_> = (0..self.pods.len()).filter(|pod| name(&self.pods[*pod]) != favoured).collect();
        if let Some(leader) = self.current(LEADER).filter(|leader| others.contains(leader)) {
            self.crash(leader, None);
        }
        for other in others {
            self.freeze(other, milliseconds);
        }
    }

    /// One container's present run ends, or all containers' do.
    pub fn crash(&mut self, at: usize, container: Option<usize>) {
        let containers = self.pods[at].containers.iter().enumerate();
        let meant = containers.filter(|(n, _)| container.is_none_or(|only| only == *n));
        let running: Vec<_> = meant.filter_map(|(_, c)| c.process).collect();
        for process in running {
            self.end(process);
        }
    }

    /// So many runs of the elector from the next one on end soon after they begin.
    pub fn doom(&mut self, at: usize, runs: u32) {
        self.pods[at].containers[0].doomed = runs;
    }

    /// Puts the pod into the group's selector, or takes it out.
    pub fn label(&mut self, at: usize, is_candidate: bool) {
        if self.pods[at].is_candidate != is_candidate {
            self.pods[at].is_candidate = is_candidate;
            self.note(Lie::LabelsMoved);
            self.put_pod(at, |_, object| object["metadata"]["labels"] = labels(is_candidate));
        }
    }

    /// The host name that the pod's processes see.
    pub(super) fn host(&self, pod: &Pod) -> String {
        let node = pod.machine.filter(|_| pod.host_network).map(|machine| &self.machines[machine].name);
        node.or(pod.hostname.as_ref()).unwrap_or(&pod.name).clone()
    }

    /// What a container's next process calls itself; an elector's name is its pod's from then on.
    pub(super) fn name_process(&mut self, at: usize, container: usize) -> String {
        let number = self.dice.roll(0, u64::MAX);
        if container > 0 {
            return String::new();
        }
        let host = self.host(&self.pods[at]);
        let pod = &mut self.pods[at];
        pod.identity = match self.setup.naming {
            Naming::Host => host,
            Naming::HostAndNumber => format!("{host}_{number:x}"),
            Naming::HostUidAndRun => format!("{host}_{}_{}", pod.uid, pod.containers[0].restarts),
        };
        pod.identity.clone()
    }
}
