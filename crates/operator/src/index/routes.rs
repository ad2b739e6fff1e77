//! The Services and `EndpointSlices` that carry this operator's label, and whose they are.

use std::collections::{BTreeSet, HashMap};

use kube::Resource;
use kube::runtime::watcher::Event;
use leadergroup_api::ROLE_LABEL;

use super::{Index, Key, Listing, Within, is_older, replaces};
use crate::time::{Mono, Now};
use crate::traffic::wire::{ServiceWire, SliceWire};
use crate::traffic::{Existing, Found, Owned, Plan, RouteKind, ServiceFacts, SliceFacts};

/// Objects of one kind.
#[derive(Clone, Debug)]
struct Store<F> {
    objects: HashMap<Key, Found<F>>,
    /// When an answer to this operator last brought each.
    answered: HashMap<Key, Mono>,
    listing: Listing,
}

impl<F> Default for Store<F> {
    fn default() -> Self {
        Self { objects: HashMap::new(), answered: HashMap::new(), listing: Listing::default() }
    }
}

/// An object that changed: its key, and the groups that it said it belonged to before, and says now.
type Moved = (Key, [Option<(String, String)>; 2]);

impl<F: PartialEq> Store<F> {
    fn take_in<W>(&mut self, within: Within<'_>, event: Event<W>, now: Now) -> Vec<Moved>
    where
        W: Resource<DynamicType = ()> + Into<Found<F>>,
    {
        match event {
            Event::Init => {
                self.listing.begin(within, now.mono);
                Vec::new()
            }
            Event::InitApply(wire) => {
                self.listing.saw(within, Key::of(wire.meta()));
                let began = self.listing.began(within);
                self.put(wire, began, None).into_iter().collect()
            }
            Event::Apply(wire) => self.put(wire, None, None).into_iter().collect(),
            Event::Delete(wire) => self.remove(&Key::of(wire.meta())).into_iter().collect(),
            Event::InitDone => {
                let lost = self.listing.end(within, self.objects.keys());
                lost.iter().filter_map(|key| self.remove(key)).collect()
            }
        }
    }

    /// `list_began` says when the list was asked for that the object came by, `answered_at` when it was answered.
    fn put<W: Resource<DynamicType = ()> + Into<Found<F>>>(
        &mut self,
        wire: W,
        list_began: Option<Mono>,
        answered_at: Option<Mono>,
    ) -> Option<Moved> {
        let key = Key::of(wire.meta());
        let found: Found<F> = wire.into();
        let known = self.objects.get(&key);
        if known.is_some_and(|known| known.uid == found.uid && is_older(Some(&found.version), &known.version))
            && !replaces(list_began, self.answered.get(&key).copied())
        {
            return None;
        }
        if let Some(at) = answered_at {
            self.answered.insert(key.clone(), at);
        }
        let (after, before) = (found.owner.clone(), known.and_then(|known| known.owner.clone()));
        self.objects.insert(key.clone(), found);
        Some((key, [before, after]))
    }

    fn remove(&mut self, key: &Key) -> Option<Moved> {
        self.answered.remove(key);
        let before = self.objects.remove(key)?.owner;
        Some((key.clone(), [before, None]))
    }
}

/// The objects that route.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes {
    services: Store<ServiceFacts>,
    slices: Store<SliceFacts>,
    /// What each group owns, by the group's UID.
    owned: HashMap<String, BTreeSet<(RouteKind, Key)>>,
}

impl Routes {
    /// What there is for a group of that UID.
    pub(super) fn observed(&self, group: &Key, uid: &str, plan: Option<&Plan>) -> Existing<'_> {
        let mut stale = self.owned_by(uid);
        let Some(plan) = plan else { return Existing { stale, ..Existing::default() } };
        stale.retain(|owned| owned.name != plan.name);
        let key = Key::new(&group.namespace, &plan.name);
        let is_ours = |owner: &Option<(String, String)>| owner.as_ref().is_some_and(|(_, owner)| owner == uid);
        Existing {
            service: self.services.objects.get(&key).map(|found| (found, is_ours(&found.owner))),
            slice: self.slices.objects.get(&key).map(|found| (found, is_ours(&found.owner))),
            stale,
        }
    }

    fn owned_by(&self, uid: &str) -> Vec<Owned> {
        let owned = |(kind, key): &(RouteKind, Key)| {
            let (uid, version, sends) = match kind {
                RouteKind::Service => self.services.objects.get(key).map(|f| (&f.uid, &f.version, false)),
                RouteKind::Slice => self.slices.objects.get(key).map(|f| (&f.uid, &f.version, !f.facts.is_empty)),
            }?;
            Some(Owned { kind: *kind, name: key.name.clone(), uid: uid.clone(), version: version.clone(), sends })
        };
        self.owned.get(uid).into_iter().flatten().filter_map(owned).collect()
    }

    fn note_owners(&mut self, kind: RouteKind, moved: &[Moved]) {
        for (key, [before, after]) in moved {
            if let Some((_, uid)) = before
                && let Some(owned) = self.owned.get_mut(uid)
            {
                owned.remove(&(kind, key.clone()));
                if owned.is_empty() {
                    self.owned.remove(uid);
                }
            }
            if let Some((_, uid)) = after {
                self.owned.entry(uid.clone()).or_default().insert((kind, key.clone()));
            }
        }
    }
}

impl Index {
    /// Everything that a group of that UID owns.
    pub fn owned_routes(&self, uid: &str) -> Vec<Owned> {
        self.routes.owned_by(uid)
    }

    pub(super) fn apply_service(&mut self, within: Within<'_>, event: Event<ServiceWire>, now: Now) {
        let moved = self.routes.services.take_in(within, event, now);
        self.note_routes(RouteKind::Service, &moved);
    }

    pub(super) fn apply_slice(&mut self, within: Within<'_>, event: Event<SliceWire>, now: Now) {
        let moved = self.routes.slices.take_in(within, event, now);
        self.note_routes(RouteKind::Slice, &moved);
    }

    /// Takes in a Service as an answer brought it, ahead of the watch; none if it does not exist.
    pub fn note_service(&mut self, key: &Key, service: Option<ServiceWire>, now: Now) {
        let services = &mut self.routes.services;
        let moved = match service {
            Some(wire) => services.put(wire, None, Some(now.mono)),
            None => services.remove(key),
        };
        self.note_routes(RouteKind::Service, moved.as_slice());
    }

    /// Takes in an `EndpointSlice` as an answer brought it, ahead of the watch; none if it does not exist.
    pub fn note_slice(&mut self, key: &Key, slice: Option<SliceWire>, now: Now) {
        let slices = &mut self.routes.slices;
        let moved = match slice {
            Some(wire) => slices.put(wire, None, Some(now.mono)),
            None => slices.remove(key),
        };
        self.note_routes(RouteKind::Slice, moved.as_slice());
    }

    /// A pod was labelled with its role, which its watch has yet to tell.
    pub fn note_role(&mut self, pod: &Key, uid: &str, role: &str) {
        self.pods.set_label(pod, uid, ROLE_LABEL, role);
    }

    /// Has the groups decided again that own the objects, or want their names.
    fn note_routes(&mut self, kind: RouteKind, moved: &[Moved]) {
        self.routes.note_owners(kind, moved);
        for (key, owners) in moved {
            let mut is_of_its_group = false;
            for (name, uid) in owners.iter().flatten() {
                let group = Key::new(&key.namespace, name);
                self.touch(&group);
                is_of_its_group |= self.groups.get(&group).is_some_and(|g| g.uid == *uid && g.routes_by(&key.name));
            }
            if !is_of_its_group {
                // Another group may be waiting for the name.
                let from = Key::new(&key.namespace, "");
                let beside = self.groups.range(from..).take_while(|(k, _)| k.namespace == key.namespace);
                let waiting: Vec<_> = beside.filter(|(_, g)| g.routes_by(&key.name)).map(|(k, _)| k.clone()).collect();
                for group in &waiting {
                    self.touch(group);
                }
            }
        }
    }
}
