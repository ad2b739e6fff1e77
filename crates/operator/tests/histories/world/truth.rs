//! What a clear is judged by: which processes really led.

use leadergroup_operator::decide::Ground;

use super::process::Process;
use super::{LEASE_MS, World};
use crate::support::api::{Cleared, Kind};

impl World {
    /// Looks at the clears that landed: was any live leader cleared before its Lease ran out?
    pub fn check(&mut self) {
        for cleared in std::mem::take(&mut self.api.cleared) {
            if cleared.clear.ground == Ground::Expired && self.now >= self.last_write + LEASE_MS && !self.is_for_life()
            {
                continue;
            }
            self.early_clears += 1;
            let Some(at) = (0..self.processes.len()).find(|at| self.is_wronged_by(&self.processes[*at], *at, &cleared))
            else {
                continue;
            };
            let (clear, process) = (cleared.clear, &self.processes[at]);
            let pod = &self.pods[process.pod];
            self.violations.push(format!(
                "{} ms: {clear:?} while process {at} of pod {} ({}) lives: {process:?}; {:?}",
                self.now, pod.name, pod.uid, self.occurrences
            ));
        }
    }

    fn is_for_life(&self) -> bool {
        self.setup.elector == super::setup::Elector::ForLife
    }

    /// Whether the process lives and leads by a Lease that has not run out by its own view, even one of which the storage has
    /// lost all; or lives and wrote the Lease, though it is said to be proven dead.
    fn is_wronged_by(&self, process: &Process, at: usize, cleared: &Cleared) -> bool {
        let is_writer = |elector| self.writer == Some(elector) && cleared.clear.ground == Ground::Proof;
        let leads = process.belief.as_ref().is_some_and(|belief| {
            let in_time = belief.runs_out_at.is_none_or(|at| self.now < at);
            let is_holder = *belief.identity == *cleared.clear.holder;
            let is_lost = self.lost.is_some_and(|lost| lost.leader == Some(belief.elector));
            in_time && (is_holder || is_lost) || is_holder && is_writer(belief.elector)
        });
        process.alive && (leads || is_writer(at))
    }

    /// Whether a process leads under the identity of this pod's elector that the kubelet does not take for that.
    pub(super) fn leads_elsewhere(&self, pod: usize) -> bool {
        let (pod, now) = (&self.pods[pod], self.now);
        let leads = |process: &Process| process.belief.as_ref().is_some_and(|b| *b.identity == *pod.identity);
        let is_known = |at: usize| pod.containers.iter().any(|container| container.process == Some(at));
        self.processes.iter().enumerate().any(|(at, process)| {
            let in_time = process.belief.as_ref().and_then(|b| b.runs_out_at).is_none_or(|at| now < at);
            process.alive && leads(process) && in_time && !is_known(at)
        })
    }

    /// The UIDs of the pods that exist and go by the Lease's holder.
    pub fn holders(&self) -> Vec<&str> {
        let holder = self.api.get(Kind::Lease, "web").and_then(|l| l["spec"]["holderIdentity"].as_str());
        let holds = self.pods.iter().filter(|pod| pod.object && holder == Some(&*pod.identity));
        holds.map(|pod| pod.uid.as_str()).collect()
    }
}
