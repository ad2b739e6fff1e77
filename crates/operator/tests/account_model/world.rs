//! The truth: pods whose processes go by one name, those processes, and what their kubelet knows.

use serde_json::{Value, json};

use crate::support::{counted, ended, generate_name, pod, running};

/// By which name the pods' processes go, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Naming {
    /// By the pod's, such as a `StatefulSet` gives again.
    Pod,
    /// By the node's, since the pods use its network. Each has a generated name of its own.
    Node,
}

/// The node of all pods.
const NODE: &str = "n1";

/// The process of one run of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// The pod that it belongs to, though the pod's object may be gone.
    pub pod: usize,
    pub is_alive: bool,
    /// It wrote the Lease, and has not released it since.
    pub leads: bool,
    /// When it last wrote the Lease.
    pub wrote_at: Option<u64>,
}

/// The end of a run, as the kubelet has it from the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct End {
    at: u64,
    /// The runtime made it up: nobody saw the process end.
    is_invented: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Run {
    #[default]
    Waiting,
    Running {
        since: u64,
        process: usize,
    },
    Ended(End),
}

/// What the kubelet knows of a pod's only container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Knowledge {
    pub run: Run,
    last: Option<End>,
    restarts: u32,
    pub is_terminal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pod {
    /// Its object exists.
    pub exists: bool,
    pub known: Knowledge,
    /// The kubelet has reported all that it knows.
    pub is_reported: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    None,
    /// A process of these pods.
    Ours,
    /// A process that goes by another name.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    naming: Naming,
    pub pods: Vec<Pod>,
    pub processes: Vec<Process>,
}

impl World {
    /// One pod whose first run has been reported.
    pub fn new(naming: Naming, leads_since: Option<u64>) -> Self {
        let mut world = Self { naming, pods: Vec::new(), processes: Vec::new() };
        world.create(0);
        world.pods[0].is_reported = true;
        world.processes[0].leads = leads_since.is_some();
        world.processes[0].wrote_at = leads_since;
        world
    }

    /// The next pod takes the name. Its first run has begun before its kubelet reports so.
    pub fn create(&mut self, now: u64) {
        self.pods.push(Pod { exists: true, known: Knowledge::default(), is_reported: false });
        self.start(self.pods.len() - 1, now);
    }

    pub fn start(&mut self, pod: usize, now: u64) {
        let process = self.processes.len();
        self.processes.push(Process { pod, is_alive: true, leads: false, wrote_at: None });
        let pod = &mut self.pods[pod];
        if let Run::Ended(end) = pod.known.run {
            pod.known.last = Some(end);
            pod.known.restarts += 1;
        }
        pod.known.run = Run::Running { since: now, process };
        pod.is_reported = false;
    }

    /// The process ends, whether its kubelet still looks after it or not.
    pub fn end(&mut self, process: usize, now: u64) {
        let pod = self.processes[process].pod;
        self.processes[process].is_alive = false;
        self.processes[process].leads = false;
        if self.is_known(process) {
            self.note_end(pod, End { at: now, is_invented: false });
        }
    }

    /// The runtime reports an end of the run, whose process lives on.
    pub fn invent_end(&mut self, pod: usize, now: u64) {
        self.note_end(pod, End { at: now, is_invented: true });
    }

    fn note_end(&mut self, pod: usize, end: End) {
        self.pods[pod].known.run = Run::Ended(end);
        self.pods[pod].is_reported = false;
    }

    /// The kubelet ends the pod.
    pub fn finish(&mut self, pod: usize, now: u64) {
        if let Run::Running { process, .. } = self.pods[pod].known.run {
            self.end(process, now);
        }
        self.pods[pod].known.is_terminal = true;
        self.pods[pod].is_reported = false;
    }

    /// Whether the kubelet takes the process for its container's present run.
    fn is_known(&self, process: usize) -> bool {
        let run = self.pods[self.processes[process].pod].known.run;
        matches!(run, Run::Running { process: known, .. } if known == process)
    }

    /// The pod whose object exists.
    pub fn present(&self) -> Option<usize> {
        self.pods.iter().position(|pod| pod.exists)
    }

    /// A process that a clear takes the Lease from although it lives.
    pub fn live_leader(&self) -> Option<usize> {
        self.processes.iter().position(|process| process.is_alive && process.leads)
    }

    /// The identity of every process.
    pub fn identity(&self) -> &'static str {
        match self.naming {
            Naming::Pod => "web-0",
            Naming::Node => NODE,
        }
    }

    /// The name of that pod's object.
    pub fn pod_name(&self, at: usize) -> String {
        match self.naming {
            Naming::Pod => self.identity().to_owned(),
            Naming::Node => format!("web-bcdf{}", at + 2),
        }
    }

    /// The pod's object, with all that its kubelet knows.
    pub fn object(&self, at: usize) -> Value {
        self.object_with(at, &self.pods[at].known)
    }

    /// The pod's object as its scheduler leaves it.
    pub fn object_before_report(&self, at: usize) -> Value {
        self.object_with(at, &Knowledge::default())
    }

    fn object_with(&self, at: usize, known: &Knowledge) -> Value {
        let phase = match known.run {
            _ if known.is_terminal => "Failed",
            Run::Waiting => "Pending",
            _ => "Running",
        };
        let mut status = match known.run {
            Run::Waiting => json!(null),
            Run::Running { since, .. } => running(millis(since)),
            Run::Ended(end) => json!({"state": state_of(end)}),
        };
        if let Some(last) = known.last {
            status["lastState"] = state_of(last);
        }
        if !status.is_null() {
            status = counted(status, known.restarts);
        }
        let mut pod = pod(&self.pod_name(at), &format!("u{at}"), NODE, phase, &[("app", status)]);
        if self.naming == Naming::Node {
            pod["spec"]["hostNetwork"] = json!(true);
            generate_name(&mut pod["metadata"], &self.pod_name(at), "apps/v1", "DaemonSet");
        }
        pod
    }
}

fn state_of(end: End) -> Value {
    let mut state = ended(millis(end.at))["state"].clone();
    if end.is_invented {
        state["terminated"]["exitCode"] = json!(255);
        state["terminated"]["reason"] = json!("Unknown");
    }
    state
}

fn millis(at: u64) -> i64 {
    i64::try_from(at).expect("a short history")
}
