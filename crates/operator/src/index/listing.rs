//! Lists that are under way. A watch that was interrupted lists everything again, and what is missing was deleted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Key;
use crate::time::Mono;

/// The namespace that a watch sees; none sees all of them.
pub(super) type Within<'a> = Option<&'a Arc<str>>;

/// A list that is under way.
#[derive(Clone, Debug, Default)]
struct UnderWay {
    began: Mono,
    seen: HashSet<Key>,
}

/// The lists that are under way, by what their watches see.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing(HashMap<Option<Arc<str>>, UnderWay>);

impl Listing {
    pub(super) fn begin(&mut self, within: Within<'_>, now: Mono) {
        self.0.insert(within.cloned(), UnderWay { began: now, seen: HashSet::new() });
    }

    pub(super) fn saw(&mut self, within: Within<'_>, key: Key) {
        if let Some(list) = self.0.get_mut(&within.cloned()) {
            list.seen.insert(key);
        }
    }

    /// When the list began.
    pub(super) fn began(&self, within: Within<'_>) -> Option<Mono> {
        self.0.get(&within.cloned()).map(|list| list.began)
    }

    /// Ends a list; what its watch would see and is not in it exists no more.
    pub(super) fn end<'a>(&mut self, within: Within<'_>, known: impl Iterator<Item = &'a Key>) -> Vec<Key> {
        let seen = self.0.remove(&within.cloned()).unwrap_or_default().seen;
        let is_seen_by_it = |key: &Key| within.is_none_or(|namespace| **namespace == *key.namespace);
        known.filter(|key| is_seen_by_it(key) && !seen.contains(key)).cloned().collect()
    }
}
