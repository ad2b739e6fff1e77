//! Lists that are under way. A watch that was interrupted lists everything again, and what is missing was deleted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Key;

/// The namespace that a watch sees; none sees all of them.
pub(super) type Within<'a> = Option<&'a Arc<str>>;

/// Objects seen in the lists that are under way, by what their watches see.
#[derive(Debug, Default)]
pub(super) struct Listing(HashMap<Option<Arc<str>>, HashSet<Key>>);

impl Listing {
    pub(super) fn begin(&mut self, within: Within<'_>) {
        self.0.insert(within.cloned(), HashSet::new());
    }

    pub(super) fn saw(&mut self, within: Within<'_>, key: Key) {
        if let Some(seen) = self.0.get_mut(&within.cloned()) {
            seen.insert(key);
        }
    }

    /// Ends a list; what its watch would see and is not in it exists no more.
    pub(super) fn end<'a>(&mut self, within: Within<'_>, known: impl Iterator<Item = &'a Key>) -> Vec<Key> {
        let seen = self.0.remove(&within.cloned()).unwrap_or_default();
        let is_seen_by_it = |key: &Key| within.is_none_or(|namespace| **namespace == *key.namespace);
        known.filter(|key| is_seen_by_it(key) && !seen.contains(key)).cloned().collect()
    }
}
