//! The ways in which a simulated cluster misleads the operator, and how often each occurred.

use std::collections::BTreeMap;

/// A way in which a cluster misleads the operator about processes that may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// A container runtime reports the end of a process that lives on.
    InventedEnd,
    /// A provider reports the end of a process that lives on, through a virtual kubelet whose node is ready.
    VirtualNode,
    /// A run ends, or is said to end, and no report shows it.
    UnseenEnd,
    /// An operator starts that knows nothing but what the API server has.
    OperatorRestart,
    /// A forced deletion leaves a process behind that lives for ever.
    Survivor,
    /// Another machine registers under the name of a node whose processes live on.
    NodeReplaced,
    /// The group is deleted and created again.
    GroupRecreated,
    /// The group's spec can't be used for a while.
    SpecUnusable,
    /// A pod leaves the group's selector, or enters it.
    LabelsMoved,
    /// A tenant's pod claims another pod's host name or UID.
    Tenant,
    /// More pods are deleted without a report than anybody remembers.
    Burst,
    /// The API server's storage is restored from a backup.
    Restore,
    /// Leaders renew just in time, or for the first time after a whole duration.
    SlowRenewals,
    /// A Lease has neither a duration nor renewals: its holder holds it for life.
    HeldForLife,
    /// A watch misses what happens, and then lists what there is.
    WatchGap,
    /// Processes live in sandboxes with a clock of their own.
    SandboxClock,
    /// A node's clock is ahead while it reports an end, and is set back.
    ClockSetBack,
    /// Somebody else than its kubelet says that a pod has failed, while its node is not ready.
    PhaseByOther,
    /// Containers that run no elector end, and never run again. What is told of them is true.
    Helper,
}

impl Lie {
    pub const ALL: [Self; 19] = [
        Self::InventedEnd,
        Self::VirtualNode,
        Self::UnseenEnd,
        Self::OperatorRestart,
        Self::Survivor,
        Self::NodeReplaced,
        Self::GroupRecreated,
        Self::SpecUnusable,
        Self::LabelsMoved,
        Self::Tenant,
        Self::Burst,
        Self::Restore,
        Self::SlowRenewals,
        Self::HeldForLife,
        Self::WatchGap,
        Self::SandboxClock,
        Self::ClockSetBack,
        Self::PhaseByOther,
        Self::Helper,
    ];
}

/// How often each lie occurred.
#[derive(Clone, Debug, Default)]
pub struct Occurrences(BTreeMap<Lie, usize>);

impl Occurrences {
    pub fn note(&mut self, lie: Lie) {
        *self.0.entry(lie).or_default() += 1;
    }

    pub fn of(&self, lie: Lie) -> usize {
        self.0.get(&lie).copied().unwrap_or_default()
    }
}
