//! The evidence table on a real node, with candidates that are real processes: what proves a holder dead, what does
//! not, and what `spec.staleHolder` makes of it.

mod beside;
mod doubt;
mod policy;
mod proof;
pub mod restarts;

/// A Lease that would block its group far longer than [`AT_ONCE`](crate::AT_ONCE): duration, renew deadline, retry period.
const LONG: (i32, i32, i32) = (40, 20, 1);
