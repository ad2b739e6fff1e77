//! The LeaderGroup operator.
//!
//! Data flows one way: watch event → [`index`] → snapshot → [`judge`] → [`decide`] → [`apply`] → API server → watch event.
//! Judgement and decision are pure functions of a snapshot and a moment; only the two ends touch the network.
//!
//! Start at [`judge::evidence`], the evidence table; then [`decide`], what follows from a verdict; then [`engine`], which
//! keeps index, memories and timers together and is what tests drive; [`controller`] feeds it from the real watches.
//! [`audit`] asks whether the candidates may lead at all; [`routing`] says who gets a group's traffic, and by which writes.
//!
//! Of several operators one leads, by [`candidacy`]; the others watch, and write nothing.

pub mod apply;
pub mod audit;
pub mod candidacy;
pub mod controller;
pub mod decide;
pub mod endpoints;
pub mod engine;
pub mod figures;
pub mod index;
pub mod judge;
pub mod metrics;
pub mod model;
pub mod pace;
pub mod renewals;
mod retry;
pub mod routing;
pub mod telemetry;
pub mod text;
pub mod time;
#[cfg(feature = "otel")]
pub mod traces;
pub mod traffic;
pub mod wire;
pub mod work;
