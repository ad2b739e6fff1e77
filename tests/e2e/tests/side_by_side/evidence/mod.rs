//! The evidence table on a real node, with candidates that are real processes: what proves a holder dead, what does
//! not, and what `spec.staleHolder` makes of it.

mod doubt;
mod policy;
mod proof;
mod restarts;

use std::time::Duration;

/// A kubelet's report, a clear and an acquisition take less than this together; Leases that nothing clears last longer.
const AT_ONCE: Duration = Duration::from_secs(10);
/// A Lease that would block its group far longer than [`AT_ONCE`]: duration, renew deadline, retry period.
const LONG: (i32, i32, i32) = (40, 20, 1);
/// What may lie between an event and its arrival here.
const ARRIVAL: Duration = Duration::from_millis(500);
