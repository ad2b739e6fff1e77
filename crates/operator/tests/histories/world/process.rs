//! Processes: electors by client-go's rules, and the programs beside them.

use std::rc::Rc;

use serde_json::{Value, json};

use super::kubelet::{End, Role};
use super::setup::Elector;
use super::{LEASE_MS, RETRY_MS, World};
use crate::lies::Lie;
use crate::support::api::Kind;
use crate::support::micro_time;

/// A process, by the truth.
#[derive(Debug)]
pub struct Process {
    pub pod: usize,
    pub container: usize,
    /// Where it runs.
    pub machine: usize,
    pub alive: bool,
    /// It ends by itself then.
    pub dies_at: Option<u64>,
    pub frozen_until: u64,
    /// It runs an elector.
    pub elects: bool,
    pub identity: Rc<str>,
    /// It acts as the leader, whether it still may or not.
    pub belief: Option<Belief>,
    pub try_at: u64,
    /// How often it has renewed in this term.
    renewals: u32,
    seen: Option<(Value, u64)>,
    writing: Option<Write>,
}

/// Why a process acts as the leader.
#[derive(Clone, Debug)]
pub struct Belief {
    /// The elector that acquired the Lease.
    pub elector: usize,
    pub identity: Rc<str>,
    pub renewed_at: u64,
    /// When the Lease runs out by the elector's own view; never for a Lease for life.
    pub runs_out_at: Option<u64>,
}

/// A write of the Lease under way.
#[derive(Debug)]
struct Write {
    arrives: u64,
    version: Option<u64>,
    spec: Value,
}

impl Process {
    pub fn new(pod: usize, container: usize, machine: usize, identity: String) -> Self {
        Self {
            pod,
            container,
            machine,
            alive: true,
            dies_at: None,
            frozen_until: 0,
            elects: false,
            identity: identity.into(),
            belief: None,
            try_at: 0,
            renewals: 0,
            seen: None,
            writing: None,
        }
    }
}

impl World {
    /// One moment of a process.
    pub(super) fn live(&mut self, at: usize) {
        self.land(at);
        let process = &self.processes[at];
        if !process.alive {
            return;
        }
        if process.dies_at.is_some_and(|due| self.now >= due) {
            return self.end(at);
        }
        if process.elects && self.now >= process.frozen_until {
            self.elect(at);
        }
    }

    /// A process dies. Its kubelet notices, if that knows of it.
    pub fn end(&mut self, at: usize) {
        if !self.processes[at].alive {
            return;
        }
        self.kill(at);
        let (pod, container, machine) =
            (self.processes[at].pod, self.processes[at].container, self.processes[at].machine);
        let this = &self.pods[pod].containers[container];
        if this.process != Some(at) {
            return;
        }
        let by_itself = this.role.ends_by_itself();
        let (exit_code, reason) = if by_itself { (0, "Completed") } else { (1, "Error") };
        if by_itself {
            self.note(Lie::Helper);
        }
        let clock = self.clock(machine);
        self.note_dated(machine);
        self.note_end(pod, container, End { exit_code, reason, at: Some(clock) });
    }

    /// A process dies, whoever notices.
    pub(super) fn kill(&mut self, at: usize) {
        (self.processes[at].alive, self.processes[at].belief) = (false, None);
    }

    /// One look of an elector at the Lease.
    fn elect(&mut self, at: usize) {
        let process = &self.processes[at];
        let deadline = self.setup.elector.deadline();
        let is_late = |belief: &Belief| deadline.is_some_and(|span| self.now > belief.renewed_at + span);
        if process.belief.as_ref().is_some_and(is_late) {
            if !self.setup.stays {
                return self.end(at);
            }
            self.processes[at].belief = None;
        }
        self.is_believed(at);
        if self.now >= self.processes[at].try_at && self.processes[at].writing.is_none() {
            self.try_to_lead(at);
        }
    }

    /// The program beside the elector believes it.
    fn is_believed(&mut self, at: usize) {
        let pod = self.processes[at].pod;
        let containers = &self.pods[pod].containers;
        if containers[0].process.is_some_and(|newest| newest != at) {
            return;
        }
        let Some(program) = containers.iter().find(|c| c.role == Role::Program).and_then(|c| c.process) else { return };
        self.processes[program].belief = self.processes[at].belief.clone();
    }

    fn try_to_lead(&mut self, at: usize) {
        self.processes[at].try_at = self.now + RETRY_MS + self.dice.roll(0, 200);
        let (now, elector) = (self.now, self.setup.elector);
        let clock = self.clock(self.processes[at].machine) + self.setup.sandbox_ahead.unwrap_or_default();
        let version = self.api.version_of(Kind::Lease, "web");
        let spec = self.api.get(Kind::Lease, "web").map_or(json!({}), |l| l["spec"].clone());
        let arrives = now + self.dice.roll(0, 80);
        let process = &mut self.processes[at];
        if process.seen.as_ref().is_none_or(|(seen, _)| *seen != spec) {
            process.seen = Some((spec.clone(), now));
        }
        let holder = spec["holderIdentity"].as_str().unwrap_or_default();
        let is_mine = holder == &*process.identity;
        if !is_mine {
            process.belief = None;
            let lasts = spec["leaseDurationSeconds"].as_u64().unwrap_or(0) * 1_000;
            let is_held = now < process.seen.as_ref().unwrap().1 + lasts || elector == Elector::ForLife;
            if !holder.is_empty() && is_held {
                return;
            }
        } else if elector == Elector::ForLife && process.belief.is_some() {
            return;
        }
        let mut next = spec.clone();
        if !is_mine || elector == Elector::ForLife {
            next["acquireTime"] = json!(micro_time(clock));
            next["leaseTransitions"] = json!(spec["leaseTransitions"].as_i64().map_or(0, |n| n + 1));
        }
        next["holderIdentity"] = json!(&*process.identity);
        if elector == Elector::ForLife {
            let next = next.as_object_mut().unwrap();
            next.remove("leaseDurationSeconds");
            next.remove("renewTime");
        } else {
            next["leaseDurationSeconds"] = json!(LEASE_MS / 1_000);
            next["renewTime"] = json!(micro_time(clock));
        }
        process.writing = Some(Write { arrives, version, spec: next });
    }

    /// A write under way arrives, though its writer may have died since.
    fn land(&mut self, at: usize) {
        let now = self.now;
        let Some(Write { version, spec, .. }) = self.processes[at].writing.take_if(|write| write.arrives <= now) else {
            return;
        };
        if self.api.write_lease("web", version, &spec).is_err() {
            return;
        }
        (self.writer, self.last_write, self.lost) = (Some(at), now, None);
        let elector = self.setup.elector;
        let process = &mut self.processes[at];
        if !process.alive || now < process.frozen_until {
            return;
        }
        let is_new = process.belief.is_none();
        process.renewals = if is_new { 0 } else { process.renewals + 1 };
        process.try_at = process.try_at.max(now + elector.interval(process.renewals));
        process.belief = Some(Belief {
            elector: at,
            identity: process.identity.clone(),
            renewed_at: now,
            runs_out_at: (elector != Elector::ForLife).then_some(now + LEASE_MS),
        });
        process.seen = Some((spec, now));
        if is_new {
            self.note_kind_of_leader();
        }
    }

    fn note_kind_of_leader(&mut self) {
        match self.setup.elector {
            Elector::ClientGo => {}
            Elector::Late | Elector::FirstLate => self.note(Lie::SlowRenewals),
            Elector::ForLife => self.note(Lie::HeldForLife),
        }
        if self.setup.sandbox_ahead.is_some() {
            self.note(Lie::SandboxClock);
        }
    }

    pub(super) fn holder(&self) -> Option<String> {
        Some(self.api.get(Kind::Lease, "web")?["spec"]["holderIdentity"].as_str()?.to_owned())
    }
}
