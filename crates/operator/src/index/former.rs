//! Accounts of groups that were deleted. A group that is made again for the same Lease builds on the one that was kept.

use std::collections::{HashMap, HashSet};

use leadergroup_api::{Account, LeaderGroupStatus};

use super::Key;

/// How many are kept. Beyond it each new account of their namespaces begins as one that has missed something.
const KEPT: usize = 1_024;

/// The account of a deleted group, and the holder it was about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Former {
    /// The account.
    pub account: Account,
    /// The holder, if there was one.
    pub holder: Option<String>,
}

/// Those accounts, by Lease.
#[derive(Clone, Debug, Default)]
pub(super) struct FormerAccounts {
    by_lease: HashMap<Key, Former>,
    /// The namespaces of those that were dropped.
    forgotten: HashSet<String>,
}

impl FormerAccounts {
    /// Keeps the account of a group that is deleted.
    pub(super) fn keep(&mut self, lease: Key, status: &LeaderGroupStatus) {
        let Some(account) = status.account.clone() else { return };
        if self.by_lease.len() >= KEPT {
            self.forgotten.extend(self.by_lease.drain().map(|(lease, _)| lease.namespace));
        }
        let holder = status.holder.as_ref().map(|holder| holder.identity.clone());
        self.by_lease.insert(lease, Former { account, holder });
    }

    /// The account that a new group on this Lease builds on, if any.
    pub(super) fn of(&self, lease: &Key) -> Option<Former> {
        self.by_lease.get(lease).cloned().or_else(|| self.forgotten.contains(&lease.namespace).then(Former::default))
    }
}
