//! The steps of a history.

use leadergroup_operator::decide::Action;
use leadergroup_operator::engine::{Engine, Job};

use super::{Answer, DEADLINE_MS, Sim, no_answer};
use crate::lies::Lie;
use crate::support::api::Kind;
use crate::world::{Claim, Flaw, Invention, NODES, Outlook, Tenant, World};

/// Which operators something happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Leading,
    Standby,
    Both,
}

/// Something that happens. A slot is one of the owner's pods, [`crate::world::LEADER`] or [`crate::world::TARGET`].
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The target is this slot from now on.
    Aim(usize),
    /// One container of a pod crashes, or all of them.
    Crash(usize, Option<usize>),
    /// So many of the next runs of a pod's elector end soon.
    Doom(usize, u32),
    RestartAll(usize),
    Finish(usize),
    Delete(usize),
    Force(usize, Outlook),
    Collect(usize),
    Freeze(usize, u64),
    /// All others freeze for so long, and the leader ends if it is one of them.
    Favour(usize, u64),
    /// The processes that no kubelet knows of die after all.
    Bury,
    Label(usize, bool),
    InventEnd(usize, Option<usize>, Invention),
    InventEndOfTenant(Invention),
    /// Somebody writes that the pod has failed, if its node is not ready.
    Fail(usize),
    /// The reports of the pod's kubelet are held up.
    Hush(usize, u64),

    Kubelet(usize, bool),
    Ready(usize, bool),
    /// The node that a pod is bound to is ready, or is not.
    ReadyOf(usize, bool),
    Die(usize),
    OutOfService(usize),
    Reboot(usize),
    /// The node that a pod is bound to goes.
    Unregister(usize),
    /// All nodes that went come back, as other machines.
    Register(Claim),
    Clock(usize, i64),
    /// The clock of the node that a pod is bound to.
    ClockOf(usize, i64),
    ReportDelay(usize, u64),

    Lag(Kind, u64),
    Relist(Kind),
    /// A watch is interrupted for so long.
    Gap(Which, Kind, u64),
    LoseAnswers(u32),
    LoseRequests(u32),
    /// An operator is another process, which knows nothing, and begins after so long. What the old one was about to write
    /// into the status may be lost.
    Restart(Which, u64, bool),
    /// The other operator leads from now on. What the first one has sent arrives so much later.
    Failover(u64),

    DeleteGroup,
    CreateGroup,
    Flaw(Option<Flaw>),
    Burst(usize),
    Tenant(usize, Tenant),
    TakeName,
    FinishTenant,
    ForceTenant(Outlook),
    /// The API server's storage goes back to a backup.
    Restore(usize),
}

impl Sim {
    pub fn step(&mut self, step: Step) {
        match step {
            Step::Aim(slot) => self.world.aim(slot),
            Step::Crash(slot, container) => self.on_pod(slot, |world, at| world.crash(at, container)),
            Step::Doom(slot, runs) => self.on_pod(slot, |world, at| world.doom(at, runs)),
            Step::RestartAll(slot) => self.on_pod(slot, World::restart_all),
            Step::Finish(slot) => self.on_pod(slot, World::finish),
            Step::Delete(slot) => self.on_pod(slot, World::delete),
            Step::Force(slot, outlook) => self.on_pod(slot, |world, at| world.force(at, outlook)),
            Step::Collect(slot) => self.on_pod(slot, World::collect),
            Step::Freeze(slot, span) => self.on_pod(slot, |world, at| world.freeze(at, span)),
            Step::Favour(slot, span) => self.on_pod(slot, |world, at| world.favour(at, span)),
            Step::Bury => self.world.bury(),
            Step::Label(slot, on) => self.on_pod(slot, |world, at| world.label(at, on)),
            Step::InventEnd(slot, container, how) => {
                self.on_pod(slot, |world, at| world.invent_end(at, container, how));
            }
            Step::InventEndOfTenant(how) => self.on_tenant(|world, at| world.invent_end(at, None, how)),
            Step::Fail(slot) => self.on_pod(slot, World::fail),
            Step::Hush(slot, span) => self.on_node_of(slot, |world, node| world.hush(node, span)),
            Step::Kubelet(node, up) => self.world.set_kubelet(node, up),
            Step::Ready(node, ready) => self.world.set_ready(node, ready),
            Step::ReadyOf(slot, ready) => self.on_node_of(slot, |world, node| world.set_ready(node, ready)),
            Step::Die(node) => self.world.kill_machine(node),
            Step::OutOfService(node) => self.world.put_out_of_service(node),
            Step::Reboot(node) => self.world.reboot(node),
            Step::Unregister(slot) => self.on_node_of(slot, World::unregister),
            Step::Register(claim) => (0..NODES).for_each(|node| self.world.register(node, claim)),
            Step::Clock(node, ahead) => self.world.set_clock(node, ahead),
            Step::ClockOf(slot, ahead) => self.on_node_of(slot, |world, node| world.set_clock(node, ahead)),
            Step::ReportDelay(node, delay) => self.world.set_report_delay(node, delay),
            Step::DeleteGroup => {
                let is_known = self.are_synced();
                self.world.delete_group(is_known);
            }
            Step::CreateGroup => self.world.create_group(),
            Step::Flaw(flaw) => self.world.set_flaw(flaw),
            Step::Burst(pods) => self.world.burst(pods),
            Step::Tenant(slot, tenant) => self.on_pod(slot, |world, at| world.create_tenant(at, tenant)),
            Step::TakeName => self.world.take_name(),
            Step::FinishTenant => self.on_tenant(World::finish),
            Step::ForceTenant(outlook) => self.on_tenant(|world, at| world.force(at, outlook)),
            Step::Lag(kind, lag) => self.operators[self.leading].set_lag(kind, lag),
            Step::Relist(kind) => self.relist(self.leading, kind),
            Step::Gap(which, kind, span) => self.interrupt(which, kind, span),
            Step::LoseAnswers(count) => self.lose_answers = count,
            Step::LoseRequests(count) => self.lose_requests = count,
            Step::Restart(which, span, loses) => self.restart(which, span, loses),
            Step::Failover(late) => {
                self.requests.iter_mut().for_each(|request| request.arrives += late);
                self.operators[self.leading].engine.stand_by();
                self.leading = 1 - self.leading;
                self.lead();
            }
            Step::Restore(age) => self.restore(age),
        }
    }

    fn on_pod(&mut self, slot: usize, happens: impl FnOnce(&mut World, usize)) {
        if let Some(at) = self.world.current(slot) {
            happens(&mut self.world, at);
        }
    }

    fn on_node_of(&mut self, slot: usize, happens: impl FnOnce(&mut World, usize)) {
        if let Some(node) = self.world.current(slot).and_then(|at| self.world.node_of(at)) {
            happens(&mut self.world, node);
        }
    }

    fn on_tenant(&mut self, happens: impl FnOnce(&mut World, usize)) {
        if let Some(at) = self.world.tenant() {
            happens(&mut self.world, at);
        }
    }

    fn are_synced(&self) -> bool {
        self.operators.iter().all(|operator| operator.engine.is_synced())
    }

    fn meant(&self, which: Which) -> Vec<usize> {
        match which {
            Which::Leading => vec![self.leading],
            Which::Standby => vec![1 - self.leading],
            Which::Both => vec![0, 1],
        }
    }

    fn interrupt(&mut self, which: Which, kind: Kind, span: u64) {
        self.tell();
        for at in self.meant(which) {
            self.operators[at].interrupt(kind, self.world.now + span);
        }
        self.world.occurrences.note(Lie::WatchGap);
    }

    fn restart(&mut self, which: Which, span: u64, loses_status: bool) {
        if !self.world.is_restore_noted() {
            return;
        }
        self.tell();
        for at in self.meant(which) {
            self.operators[at].engine = Engine::default();
            for kind in Kind::ALL {
                let later = self.world.dice.roll(0, 1_500);
                self.operators[at].interrupt(kind, self.world.now + span + later);
            }
            self.world.forget_account();
            if loses_status {
                self.requests.retain(|r| r.by != at || !matches!(r.work.job, Job::WriteStatus { .. }));
            }
        }
        if which != Which::Standby {
            self.lead();
        }
        self.world.occurrences.note(Lie::OperatorRestart);
    }

    /// All connections break. A clear that was under way never arrives. Operators that start can't tell a storage that was
    /// restored from another.
    fn restore(&mut self, age: usize) {
        if !self.are_synced() {
            return;
        }
        self.world.restore(age);
        self.tell();
        for operator in &mut self.operators {
            for kind in Kind::ALL {
                operator.interrupt(kind, self.world.now + self.world.dice.roll(25, 2_000));
            }
        }
        for request in std::mem::take(&mut self.requests) {
            if let Job::Act(Action::Clear(clear)) = &request.work.job {
                let outcome = no_answer(clear, request.sent);
                let due = request.sent + DEADLINE_MS;
                self.answers.push(Answer { due, to: request.by, work: request.work, outcome });
            } else {
                self.requests.push(request);
            }
        }
        self.transitions = (serde_json::Value::Null, 0);
    }
}
