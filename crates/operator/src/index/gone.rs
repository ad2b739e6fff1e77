//! Deleted candidates, as far as they are remembered: a holder may be one of them.

use std::collections::{HashMap, VecDeque};

use super::Key;
use crate::model::{Gone, Pod};
use crate::time::Mono;

/// Remembered for each group besides those that fit the present holder or may live.
const KEPT: usize = 4;
/// Remembered for each group in all.
const MAX: usize = 16;
/// How long one is remembered although the Lease names another: the Lease watch may be behind.
const KEPT_FOR: Mono = Mono::from_mins(1);

#[derive(Debug, Default)]
pub(super) struct GonePods(HashMap<Key, VecDeque<Gone>>);

impl GonePods {
    /// The group's deleted candidates, oldest first.
    pub(super) fn of(&self, group: &Key) -> impl Iterator<Item = &Gone> {
        self.0.get(group).into_iter().flatten()
    }

    /// Adds one, and forgets the oldest that matters least; `fits` says whether a pod may be the present holder.
    pub(super) fn remember(&mut self, group: &Key, gone: Gone, fits: impl Fn(&Pod) -> bool) {
        let all = self.0.entry(group.clone()).or_default();
        all.push_back(gone);
        while all.len() > KEPT
            && let Some(at) = all.iter().position(|g| !fits(&g.pod) && !g.may_live())
        {
            all.remove(at);
        }
        while all.len() > MAX {
            let harmless = all.iter().position(|g| !fits(&g.pod) && !g.may_live());
            let another = || all.iter().position(|g| !fits(&g.pod));
            all.remove(harmless.or_else(another).unwrap_or(0));
        }
    }

    /// Forgets those that the Lease's new holder does not fit, once no event of theirs can be late. One whose processes
    /// may live can take the Lease at any time, so it stays.
    pub(super) fn purge(&mut self, group: &Key, now: Mono, fits: impl Fn(&Pod) -> bool) {
        if let Some(all) = self.0.get_mut(group) {
            all.retain(|g| g.at + KEPT_FOR > now || g.may_live() || fits(&g.pod));
        }
    }

    /// The pod exists after all.
    pub(super) fn is_back(&mut self, group: &Key, uid: &str) {
        if let Some(all) = self.0.get_mut(group) {
            all.retain(|g| g.pod.uid != uid);
        }
    }

    pub(super) fn remove_group(&mut self, group: &Key) {
        self.0.remove(group);
    }
}
