//! The compact records that the index keeps and the judgement reads.

mod container;
mod lease;
mod node;
mod pod;

pub use container::{Container, Restarts, Run, State};
pub use lease::{AskedTiming, Before, Lease, Source};
pub use node::Node;
pub use pod::{EndSeen, Gone, Phase, PhaseSeen, Pod};

/// How far a holder's clock may be from the operator's when a renewal arrives, in milliseconds.
const SANE_CLOCK_MS: i64 = 2_000;
