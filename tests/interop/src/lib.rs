//! Other people's election libraries, unmodified, as candidates on the real node.
//!
//! A [`Client`] is a folder in `tests/candidates` and a line in [`CLIENTS`]. Its program is [built](build) by its language's
//! own package manager, from a lock file. A [`Scene`] runs it as pods of one group, or of none, and ends its leaders in every
//! way there is. What became of that is a [`Row`] of the [matrix](matrix) in the README, which is written by a run and never
//! by hand. No takeover may be [slower](compare) with a LeaderGroup than without. The [control plane](control_plane)'s own electors are observed only.

pub mod build;
pub mod clients;
pub mod compare;
pub mod control_plane;
pub mod matrix;
pub mod play;
pub mod pods;
pub mod scene;

pub use clients::{CLIENTS, Client};
pub use matrix::Row;
pub use scene::Scene;
