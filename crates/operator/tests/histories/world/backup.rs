//! The API server's storage, restored from a backup.
//!
//! No version is used twice: optimistic concurrency can't bear that, nor can anything that is built on it.

use std::collections::BTreeSet;

use super::World;
use crate::lies::Lie;
use crate::support::api::{Kind, Stored};

/// From one version to the next, so that there are others in between after a restore.
pub const STRIDE: u64 = 16;
/// Milliseconds between two backups.
const INTERVAL_MS: u64 = 3_000;
const MAX_BACKUPS: usize = 5;

#[derive(Debug)]
pub struct Backup {
    stored: Stored,
    writer: Option<usize>,
    last_write: u64,
    /// The pods that existed.
    pods: BTreeSet<usize>,
}

/// What a restore has lost, until somebody writes the Lease.
#[derive(Clone, Copy, Debug)]
pub struct Lost {
    /// The process that led before.
    pub leader: Option<usize>,
    /// The version that the storage was restored to.
    version: u64,
}

impl World {
    pub(super) fn back_up(&mut self) {
        if !self.setup.is_backed_up || !self.now.is_multiple_of(INTERVAL_MS) {
            return;
        }
        if self.backups.len() == MAX_BACKUPS {
            self.backups.pop_front();
        }
        let pods = (0..self.pods.len()).filter(|at| self.pods[*at].object).collect();
        let stored = self.api.stored();
        self.backups.push_back(Backup { stored, writer: self.writer, last_write: self.last_write, pods });
    }

    /// Whether an operator has noted that the Lease lacks renewals, if it does.
    pub fn is_restore_noted(&self) -> bool {
        let Some(lost) = self.lost else { return true };
        let group = self.api.get(Kind::Group, "web");
        let is_noted = group.is_some_and(|group| group["status"]["account"]["reason"] == "LeaseRestored");
        is_noted && self.api.version_of(Kind::Group, "web") > Some(lost.version)
    }

    /// Restores one of the last backups, if there are as many. Kubelets find the pods that are bound to them again, and end those that are not
    /// any more. Nodes are as their kubelets say.
    pub fn restore(&mut self, age: usize) {
        let Some(at) = self.backups.len().checked_sub(1 + age) else { return };
        self.backups.truncate(at + 1);
        let backup = self.backups.pop_back().unwrap();
        self.api.restore(backup.stored);
        for machine in self.nodes {
            let object = self.node_object(machine);
            if self.machines[machine].registered {
                self.api.put(Kind::Node, object);
            } else {
                self.api.delete(Kind::Node, &self.machines[machine].name);
            }
        }
        // The leader goes on until its Lease expires by its own view.
        let leader = self.lost.map_or(self.writer, |lost| lost.leader);
        self.lost = Some(Lost { leader, version: self.api.version() });
        (self.writer, self.last_write) = (backup.writer, backup.last_write);
        for pod in 0..self.pods.len() {
            let exists = backup.pods.contains(&pod);
            if self.pods[pod].object && !exists {
                self.pods[pod].stop_at.get_or_insert(self.now);
            }
            self.pods[pod].object = exists;
            if exists {
                let object = self.api.get(Kind::Pod, &self.pods[pod].name);
                self.pods[pod].graceful &= object.is_some_and(|pod| !pod["metadata"]["deletionTimestamp"].is_null());
                self.changed(pod);
            }
        }
        self.note(Lie::Restore);
    }
}
