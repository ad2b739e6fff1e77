//! Tests that leave the operator and its node alone, so that they can run at the same time: each has a namespace of its own.
#![allow(missing_docs)]

mod api;
mod bad_input;
mod elector_library;
mod elector_run;
mod elector_samples;
mod elector_serve;
mod evidence;
mod guard;
mod identity;
mod monitoring;
mod plugin_act;
mod plugin_see;

use std::time::Duration;

/// A kubelet's report, a clear and an acquisition take less than this together; Leases that nothing clears last longer.
const AT_ONCE: Duration = Duration::from_secs(10);
/// What may lie between an event and its arrival here.
const ARRIVAL: Duration = Duration::from_millis(500);
