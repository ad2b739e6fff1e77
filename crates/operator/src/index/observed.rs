//! Which groups are only observed: nothing is written to their Lease, whatever is judged of its holder.

use leadergroup_api::Policy;

/// Namespaces that begin so are Kubernetes' own.
const SYSTEM_PREFIX: &str = "kube-";
/// Where each node renews a Lease of its own; they are not watched.
pub const HEARTBEATS: &str = "kube-node-lease";

/// Why nothing is written to a group's Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Its namespace holds the heartbeats of nodes, which are not elections.
    Heartbeats,
    /// Its namespace is Kubernetes' own, and nobody who runs this operator has said that it may clear there.
    SystemNamespace,
    /// The user wants it so.
    Policy,
}

impl Observed {
    /// Whether a group of this namespace and policy is only observed, by an operator that may clear in system namespaces
    /// or may not.
    pub fn of(namespace: &str, policy: Policy, clears_in_system_namespaces: bool) -> Option<Self> {
        if namespace == HEARTBEATS {
            Some(Self::Heartbeats)
        } else if namespace.starts_with(SYSTEM_PREFIX) && !clears_in_system_namespaces {
            Some(Self::SystemNamespace)
        } else {
            (policy == Policy::Observe).then_some(Self::Policy)
        }
    }

    /// Whether this is for the namespace's sake, so that not even a Lease that the user asks for is created.
    pub fn by_namespace(self) -> bool {
        self != Self::Policy
    }

    /// Why a holder proven dead is left alone.
    pub fn why(self) -> &'static str {
        match self {
            Self::Heartbeats => "the Leases of namespace kube-node-lease are heartbeats of nodes, which are left alone",
            Self::SystemNamespace => "a namespace of Kubernetes' own is only observed, so the Lease is left alone",
            Self::Policy => "policy Observe leaves the Lease alone",
        }
    }
}
