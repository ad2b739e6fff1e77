//! The Leases of the index: as watches and reads bring them.

use super::{Cause, Index, Key, is_older};
use crate::model::{Came, Lease};
use crate::time::{Mono, Now};
use crate::wire::LeaseWire;

impl Index {
    /// Takes in what a read of the group's Lease returned; `requested_at` is when it was asked for.
    pub fn observe_lease(&mut self, group: &Key, read: Option<LeaseWire>, requested_at: Mono, now: Now) {
        let Some(key) = self.lease_key(group) else { return };
        match read {
            Some(wire) => {
                self.apply_lease(wire, Came::Read, now);
                if let Some(lease) = self.leases.get_mut(&key)
                    && lease.moved_at <= requested_at
                {
                    lease.read_at = Some(requested_at);
                }
            }
            None => self.delete_lease(&key, false, now),
        }
    }

    /// When the group's Lease runs out if it does not move.
    pub fn runs_out_at(&self, key: &Key) -> Option<Mono> {
        let plan = self.groups.get(key)?.plan.as_ref().ok()?;
        Some(self.leases.get(&Key::new(&key.namespace, &plan.lease_name))?.runs_out_at(plan.duration))
    }

    /// The group's Lease.
    pub fn lease(&self, group: &Key) -> Option<&Lease> {
        self.leases.get(&self.lease_key(group)?)
    }

    pub(super) fn lease_key(&self, group: &Key) -> Option<Key> {
        let plan = self.groups.get(group)?.plan.as_ref().ok()?;
        Some(Key::new(&group.namespace, &plan.lease_name))
    }

    pub(super) fn apply_lease(&mut self, wire: LeaseWire, came: Came, now: Now) {
        let key = Key::of(&wire.metadata);
        let uid = wire.metadata.uid.clone().unwrap_or_default();
        let mut cause = Cause::Change;
        let mut holder_changed = true;
        match self.leases.get_mut(&key) {
            Some(lease) if lease.uid == uid => {
                if is_older(wire.metadata.resource_version.as_deref(), &lease.version) {
                    return;
                }
                let mut renewed = lease.record.clone();
                renewed.renew_time.clone_from(&wire.spec.renew_time);
                if renewed == wire.spec && lease.record.renewed().is_some() == wire.spec.renewed().is_some() {
                    cause = Cause::Renewal;
                }
                let holder_before = lease.record.holder_identity.clone();
                let told =
                    |lease: &Lease| (lease.asks, lease.clock_off_by, lease.renewals.late(now.mono).map(|l| l.gap));
                let before = told(lease);
                let moved = lease.observe(wire, came, now);
                if told(lease) != before {
                    cause = Cause::Change;
                } else if !moved {
                    return;
                }
                holder_changed = lease.record.holder_identity != holder_before;
                if holder_changed {
                    self.purge_gone(&key, now.mono);
                }
            }
            None if self.deleted_leases.get(&key) == Some(&uid) => return,
            _ => {
                self.deleted_leases.remove(&key);
                self.leases.insert(key.clone(), Lease::found(wire, now));
            }
        }
        if let Some(lease) = self.leases.get(&key).filter(|_| holder_changed || came.after_gap()) {
            for (_, group) in self.by_lease.get(&key).into_iter().flatten() {
                self.tenures.note(group, lease, came.after_gap(), now);
            }
        }
        self.touch_lease_groups(&key, cause);
    }

    /// Excuses a late renewal by a container's restart, which may be reported after it. Both are by one node's clock.
    pub(super) fn note_restart(&mut self, group: &Key) {
        let Some(Ok(plan)) = self.groups.get(group).map(|g| &g.plan) else { return };
        let Some(lease) = self.leases.get_mut(&Key::new(&group.namespace, &plan.lease_name)) else { return };
        let (Some(holder), Some(pods)) = (lease.record.holder(), self.pods.get(&group.namespace)) else { return };
        lease.renewals.excuse(|after| {
            let holders =
                self.members.of(group).filter_map(|name| pods.get(name)).filter(|p| plan.identity.fits(holder, *p));
            holders.flat_map(|pod| plan.watched_of(pod)).any(|c| c.started_at.is_some_and(|at| at > after))
        });
    }

    fn touch_lease_groups(&mut self, lease: &Key, cause: Cause) {
        let groups = self.by_lease.get(lease).into_iter().flatten();
        self.touched.extend(groups.map(|(_, key)| (key.clone(), cause)));
    }

    /// `seen` says that its last known version was its last.
    pub(super) fn delete_lease(&mut self, key: &Key, seen: bool, now: Now) {
        if let Some(lease) = self.leases.remove(key) {
            if self.by_lease.contains_key(key) {
                self.deleted_leases.insert(key.clone(), lease.uid);
            }
            for (_, group) in self.by_lease.get(key).into_iter().flatten() {
                self.tenures.note_deleted(group, seen, now.mono);
            }
            self.touch_lease_groups(key, Cause::Change);
        }
    }

    /// Forgets deleted candidates that the Lease's new holder does not fit, once no event of theirs can be late. One whose
    /// processes may live can take the Lease at any time, so it stays.
    fn purge_gone(&mut self, lease_key: &Key, now: Mono) {
        let Some(holder) = self.leases.get(lease_key).and_then(|l| l.record.holder()) else { return };
        for (_, key) in self.by_lease.get(lease_key).into_iter().flatten() {
            let Some(Ok(plan)) = self.groups.get(key).map(|g| &g.plan) else { continue };
            self.gone.purge(key, now, |pod| plan.identity.fits(holder, pod));
        }
    }
}
