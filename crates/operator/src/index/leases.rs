//! The Leases of the index: as watches and reads bring them.

use super::{Cause, Index, Key, is_older, replaces};
use crate::model::{Lease, Source};
use crate::time::{Mono, Now};
use crate::wire::LeaseWire;

impl Index {
    /// Takes in what a read of the group's Lease returned; `requested_at` is when it was asked for.
    pub fn observe_lease(&mut self, group: &Key, read: Option<LeaseWire>, requested_at: Mono, now: Now) {
        let Some(key) = self.lease_key(group) else { return };
        match read {
            Some(wire) => {
                self.apply_lease(wire, Source::Get, Some(requested_at), now);
                if let Some(lease) = self.leases.get_mut(&key) {
                    lease.answered_at = Some(now.mono);
                    if lease.moved_at <= requested_at {
                        lease.read_at = Some(requested_at);
                    }
                }
            }
            None => self.delete_lease(&key, false, now),
        }
    }

    /// When the group's Lease expires if it does not move.
    pub fn expires_at(&self, key: &Key) -> Option<Mono> {
        let plan = self.groups.get(key)?.plan.as_ref().ok()?;
        self.leases.get(&Key::new(&key.namespace, &plan.lease_name))?.expires_at(plan.duration)
    }

    /// The group's Lease.
    pub fn lease(&self, group: &Key) -> Option<&Lease> {
        self.leases.get(&self.lease_key(group)?)
    }

    pub(super) fn lease_key(&self, group: &Key) -> Option<Key> {
        let plan = self.groups.get(group)?.plan.as_ref().ok()?;
        Some(Key::new(&group.namespace, &plan.lease_name))
    }

    /// `requested_at` says when the list, or the read, was asked for that the Lease came by.
    pub(super) fn apply_lease(&mut self, wire: LeaseWire, source: Source, requested_at: Option<Mono>, now: Now) {
        let key = Key::of(&wire.metadata);
        let uid = wire.metadata.uid.clone().unwrap_or_default();
        let version = wire.metadata.resource_version.clone();
        let mut cause = Cause::Change;
        let mut holder_changed = true;
        let known = self.leases.get(&key).zip(requested_at).filter(|_| source == Source::Get);
        let read_goes_back = known.is_some_and(|(known, at)| known.goes_back(version.as_deref(), at));
        match self.leases.get_mut(&key) {
            Some(lease) if lease.uid == uid && is_older(version.as_deref(), &lease.version) => {
                let is_listed = source == Source::List && replaces(requested_at, lease.answered_at);
                if !is_listed && !read_goes_back {
                    return;
                }
                self.leases.insert(key.clone(), Lease::restored(wire, source, now));
                self.lose_sight();
            }
            Some(lease) if lease.uid == uid => {
                let mut renewed = lease.record.clone();
                renewed.renew_time.clone_from(&wire.spec.renew_time);
                if renewed == wire.spec && lease.record.renewed().is_some() == wire.spec.renewed().is_some() {
                    cause = Cause::Renewal;
                }
                let holder_before = lease.record.holder_identity.clone();
                let told =
                    |lease: &Lease| (lease.asks, lease.clock_off_by, lease.renewals.late(now.mono).map(|l| l.gap));
                let before = told(lease);
                let moved = lease.observe(wire, source, now);
                if told(lease) != before {
                    cause = Cause::Change;
                } else if !moved {
                    return;
                }
                holder_changed = lease.record.holder_identity != holder_before;
            }
            // An event of a Lease that was read to be gone is late, unless it is newer than all that was known. A list is the
            // truth.
            None if source != Source::List
                && self.deleted_leases.get(&key).is_some_and(|(deleted, last)| {
                    *deleted == uid && !version.as_deref().is_some_and(|version| is_older(Some(last), version))
                }) =>
            {
                return;
            }
            known => {
                let last = known.map(|known| &known.version);
                let last = last.or(self.deleted_leases.get(&key).map(|(_, last)| last));
                let list_goes_back =
                    source == Source::List && last.is_some_and(|last| is_older(version.as_deref(), last));
                let goes_back = list_goes_back || read_goes_back;
                let found = if goes_back { Lease::restored } else { Lease::found };
                if goes_back {
                    self.lose_sight();
                }
                self.deleted_leases.remove(&key);
                self.leases.insert(key.clone(), found(wire, source, now));
            }
        }
        if holder_changed {
            let groups: Vec<_> =
                self.by_lease.get(&key).into_iter().flatten().map(|(_, group)| group.clone()).collect();
            for group in &groups {
                self.file_holder(group);
            }
            self.purge_gone(&key, now.mono);
        }
        if let Some(lease) = self.leases.get(&key).filter(|_| holder_changed || source.after_gap()) {
            for (_, group) in self.by_lease.get(&key).into_iter().flatten() {
                self.tenures.note(group, &key.name, lease, source.after_gap(), now);
            }
        }
        if cause == Cause::Change {
            let groups: Vec<_> =
                self.by_lease.get(&key).into_iter().flatten().map(|(_, group)| group.clone()).collect();
            for group in &groups {
                self.note_restart(group);
            }
        }
        self.touch_lease_groups(&key, cause);
    }

    /// Distrusts the watches: those of a restored etcd deliver nothing until its versions have caught up.
    fn lose_sight(&mut self) {
        self.pods.lose_sight();
        self.phases.lose_sight();
    }

    /// Excuses a late renewal by a container's restart, which may be reported after it. Both are by one node's clock.
    pub(super) fn note_restart(&mut self, group: &Key) {
        let Some(Ok(plan)) = self.groups.get(group).map(|g| &g.plan) else { return };
        let Some(lease) = self.leases.get_mut(&Key::new(&group.namespace, &plan.lease_name)) else { return };
        let Some(holder) = lease.record.holder() else { return };
        lease.renewals.excuse(|after| {
            let pods = self.members.of(group).filter_map(|name| self.pods.get(&group.namespace, name));
            let holders = pods.filter(|p| plan.identity.fits(holder, *p));
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
                self.deleted_leases.insert(key.clone(), (lease.uid, lease.version));
            }
            for (_, group) in self.by_lease.get(key).into_iter().flatten() {
                self.tenures.note_deleted(group, seen, now.mono);
            }
            self.touch_lease_groups(key, Cause::Change);
        }
    }

    /// Forgets deleted pods that no holder fits any more, once no event of theirs can be late.
    fn purge_gone(&mut self, lease: &Key, now: Mono) {
        if self.by_lease.contains_key(lease) {
            let mut gone = std::mem::take(&mut self.gone);
            gone.purge(&lease.namespace, now, |pod| !self.held_by(&lease.namespace, pod).is_empty());
            self.gone = gone;
        }
    }
}
