//! What kubelets know of containers, and what of it is not so.

use serde_json::{Value, json};

use super::World;
use super::process::Process;
use super::setup::RestartPolicy;
use crate::lies::Lie;
use crate::support::{EPOCH, time};

/// What a container's processes do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    #[default]
    Elector,
    /// Believes the elector beside it.
    Program,
    /// Ends by itself, and never runs again.
    Helper,
    /// The same, in an ephemeral container.
    Ephemeral,
}

impl Role {
    pub fn ends_by_itself(self) -> bool {
        matches!(self, Self::Helper | Self::Ephemeral)
    }
}

/// How a run ended, by its container runtime.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub exit_code: i32,
    pub reason: &'static str,
    /// By the node's clock.
    pub at: Option<i64>,
}

/// What a container does, by its kubelet.
#[derive(Clone, Copy, Debug, Default)]
pub enum State {
    #[default]
    Created,
    Running(i64),
    Ended(End),
    BackOff,
}

/// A container, as its kubelet knows it.
#[derive(Clone, Debug, Default)]
pub struct Container {
    pub name: &'static str,
    pub role: Role,
    /// The process of the run that the kubelet believes to run.
    pub process: Option<usize>,
    pub state: State,
    pub last: Option<End>,
    /// How many runs there were before the present one, or the last.
    pub restarts: u32,
    pub restart_at: Option<u64>,
    /// So many of the next runs end soon after they begin.
    pub doomed: u32,
}

impl Container {
    pub fn new(name: &'static str, role: Role) -> Self {
        Self { name, role, ..Self::default() }
    }

    /// What its kubelet reports. `runtime` begins the identifiers of its containers.
    pub fn status(&self, runtime: &str) -> Value {
        let ended = |end: End| {
            let at = end.at.map(time);
            json!({"terminated": {"exitCode": end.exit_code, "reason": end.reason, "startedAt": null, "finishedAt": at}})
        };
        let state = match self.state {
            State::Created => json!({"waiting": {"reason": "ContainerCreating"}}),
            State::Running(since) => json!({"running": {"startedAt": time(since)}}),
            State::Ended(end) => ended(end),
            State::BackOff => json!({"waiting": {"reason": "CrashLoopBackOff"}}),
        };
        let last = self.last.map_or(json!({}), ended);
        json!({
            "name": self.name, "restartCount": self.restarts, "state": state, "lastState": last,
            "containerID": format!("{runtime}://{}-{}", self.name, self.restarts),
        })
    }

    /// The present run ended, or is said to have.
    fn ends(&mut self, end: End, restart_at: Option<u64>) {
        (self.process, self.state, self.restart_at) = (None, State::Ended(end), restart_at);
    }

    /// The state of a run that ended moves on to make room for what comes next.
    fn moves_on(&mut self) {
        if let State::Ended(end) = self.state {
            self.last = Some(end);
        }
    }
}

/// How the end of a process that lives on is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invention {
    /// By a containerd that lost its state.
    Unknown,
    /// By a containerd that lost the connection to a shim.
    LostShim,
    /// By a kubelet that can't find the container.
    StatusUnknown,
    /// By a runtime that knows no time.
    WithoutTime,
    /// The same, as Kubernetes writes a time that it does not know.
    In1970,
    /// By a virtual kubelet whose provider does not find the pod.
    NotFound,
    /// By a virtual kubelet, as any kubelet would.
    Plausible,
}

impl Invention {
    /// Those of runtimes.
    pub const OF_RUNTIMES: [Self; 5] =
        [Self::Unknown, Self::LostShim, Self::StatusUnknown, Self::WithoutTime, Self::In1970];
    /// Those of virtual kubelets.
    pub const OF_PROVIDERS: [Self; 2] = [Self::NotFound, Self::Plausible];

    /// What a kubelet says of a container that it can't find.
    pub fn lost() -> End {
        End { at: None, ..Self::StatusUnknown.end(0) }
    }

    fn end(self, clock: i64) -> End {
        let (exit_code, reason, at) = match self {
            Self::Unknown => (255, "Unknown", Some(clock)),
            Self::LostShim => (255, "Error", Some(clock)),
            Self::StatusUnknown => (137, "ContainerStatusUnknown", Some(clock)),
            Self::WithoutTime => (1, "Error", None),
            Self::In1970 => (1, "Error", Some(-EPOCH * 1_000)),
            Self::NotFound => (-137, "NotFound", Some(clock)),
            Self::Plausible => (0, "Completed", Some(clock)),
        };
        End { exit_code, reason, at }
    }
}

/// What a kubelet reports about the pods of the machine that had its node's name before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    Nothing,
    /// They can't run here.
    Rejected,
    /// Their containers can't be found; they run again, or have failed.
    Unknown {
        again: bool,
    },
    /// Their containers ended just now; they run again, or have failed.
    Ended {
        again: bool,
    },
}

impl Claim {
    pub const ALL: [Self; 6] = [
        Self::Nothing,
        Self::Rejected,
        Self::Unknown { again: true },
        Self::Unknown { again: false },
        Self::Ended { again: true },
        Self::Ended { again: false },
    ];
}

impl World {
    /// The next run of a container begins.
    pub(super) fn run(&mut self, pod: usize, container: usize) {
        let Some(machine) = self.pods[pod].machine else { return };
        let clock = self.clock(machine);
        let identity = self.name_process(pod, container);
        let lasts = self.dice.roll(300, 4_000);
        let soon = self.dice.roll(100, 900);
        let try_at = self.now + self.dice.roll(50, 400);
        let elects = self.pods[pod].elects;
        let this = &mut self.pods[pod].containers[container];
        let is_doomed = this.doomed > 0;
        this.doomed = this.doomed.saturating_sub(1);
        let dies_at = match this.role {
            role if role.ends_by_itself() => Some(self.now + lasts),
            _ => is_doomed.then_some(self.now + soon),
        };
        (this.process, this.state, this.restart_at) = (Some(self.processes.len()), State::Running(clock), None);
        let elects = this.role == Role::Elector && elects;
        let mut process = Process::new(pod, container, machine, identity);
        (process.dies_at, process.try_at, process.elects) = (dies_at, try_at, elects);
        self.processes.push(process);
        self.changed(pod);
    }

    /// The container's present run ended, or is said to have.
    pub(super) fn note_end(&mut self, pod: usize, container: usize, end: End) {
        let restart_at = self.now + self.dice.roll(100, 1_500);
        let restarts = match self.setup.restarts {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => end.exit_code != 0,
            RestartPolicy::Never => false,
        };
        if self.leads_elsewhere(pod) {
            self.traps += 1;
        }
        let this = &mut self.pods[pod].containers[container];
        this.ends(end, (restarts && !this.role.ends_by_itself()).then_some(restart_at));
        self.changed(pod);
    }

    /// Runs begin again that ended a while ago.
    pub(super) fn restart(&mut self, pod: usize) {
        let Some(machine) = self.pods[pod].machine else { return };
        if !self.machines[machine].kubelet || self.pods[pod].finished || self.pods[pod].stop_at.is_some() {
            return;
        }
        for container in 0..self.pods[pod].containers.len() {
            let this = &mut self.pods[pod].containers[container];
            let Some(due) = this.restart_at else { continue };
            if self.now >= due {
                this.moves_on();
                this.restarts += 1;
                self.run(pod, container);
            } else if self.now + 100 >= due && matches!(this.state, State::Ended(_)) {
                this.moves_on();
                this.state = State::BackOff;
                self.changed(pod);
            }
        }
        let over = |c: &Container| matches!(c.state, State::Ended(_)) && c.restart_at.is_none();
        if self.pods[pod].started && self.pods[pod].containers.iter().all(over) {
            self.pods[pod].finished = true;
            self.changed(pod);
        }
    }

    /// The kubelet says of a pod's containers, or of one, that the present run ended, while it lives on.
    pub fn invent_end(&mut self, pod: usize, container: Option<usize>, invention: Invention) {
        let Some(machine) = self.pods[pod].machine.filter(|m| self.machines[*m].kubelet) else { return };
        let is_provider = self.machines[machine].virtual_mark.is_some();
        if self.pods[pod].finished || is_provider != Invention::OF_PROVIDERS.contains(&invention) {
            return;
        }
        let end = invention.end(self.clock(machine));
        for at in 0..self.pods[pod].containers.len() {
            let is_meant = container.is_none_or(|only| only == at) || is_provider;
            if is_meant && self.pods[pod].containers[at].process.is_some() {
                self.note(if is_provider { Lie::VirtualNode } else { Lie::InventedEnd });
                self.note_end(pod, at, end);
            }
        }
        if is_provider {
            self.pods[pod].finished = true;
            self.pods[pod].containers.iter_mut().for_each(|c| c.restart_at = None);
            self.changed(pod);
        }
    }

    /// The kubelet ends all containers, and starts all of them again.
    pub fn restart_all(&mut self, pod: usize) {
        if !self.pods[pod].machine.is_some_and(|m| self.machines[m].kubelet) || self.pods[pod].finished {
            return;
        }
        let restart_at = self.now + self.dice.roll(100, 800);
        for at in 0..self.pods[pod].containers.len() {
            let Some(process) = self.pods[pod].containers[at].process else { continue };
            self.kill(process);
            let end = End { exit_code: 137, reason: "RestartingAllContainers", at: None };
            let this = &mut self.pods[pod].containers[at];
            this.ends(end, (this.role != Role::Ephemeral).then_some(restart_at));
        }
        self.changed(pod);
    }

    /// What the kubelet of a new machine makes of a pod that runs, or ran, on the machine that had its name.
    pub(super) fn adopt(&mut self, pod: usize, machine: usize, claim: Claim) {
        let clock = self.clock(machine);
        let restart_at = self.now + self.dice.roll(300, 3_000);
        let this = &mut self.pods[pod];
        this.machine = Some(machine);
        let running: Vec<_> = this.containers.iter_mut().filter_map(|c| c.process.take().map(|_| c)).collect();
        if this.finished || running.is_empty() {
            return;
        }
        let (end, again) = match claim {
            Claim::Nothing => return,
            Claim::Rejected => {
                (this.rejected, this.finished) = (true, true);
                return self.changed(pod);
            }
            Claim::Unknown { again } => (Invention::lost(), again),
            Claim::Ended { again } => (End { exit_code: 137, reason: "Error", at: Some(clock) }, again),
        };
        for container in running {
            container.ends(end, (again && !container.role.ends_by_itself()).then_some(restart_at));
        }
        this.finished |= !again;
        self.changed(pod);
    }
}
