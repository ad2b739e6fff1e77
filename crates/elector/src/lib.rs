//! Leader election through a Kubernetes Lease, for Rust programs.
//!
//! ```no_run
//! use leadergroup_elector::{Elector, Options};
//!
//! # async fn example() -> anyhow::Result<()> {
//! let config = kube::Config::infer().await?;
//! let elector = Elector::start(config, Options::new("shop", "billing", "billing-0_5f2c"))?;
//! elector.run_while_leading(|term| async move { println!("leading, token {}", term.token.0) }).await;
//! # Ok(())
//! # }
//! ```
//!
//! A standby watches the Lease and sends nothing while its holder renews; it has the Lease some milliseconds after a
//! release or a clear. Candidates that use client-go, or anything else that keeps to its protocol, can campaign for the
//! same Lease.
//!
//! [`elector`] is the handle, `driver` joins the state machine of `leadergroup-election` to `watch` and `requests`,
//! [`clock`] is what leadership is measured by, [`problem`] what keeps a candidate from its Lease.

pub mod clock;
pub mod elector;
pub mod lease;
pub mod problem;

mod driver;
mod requests;
mod watch;

pub use driver::{Status, Token};
pub use elector::{Elector, Leadership, Options, StartError};
pub use leadergroup_election::{Loss, Term, Timing, TimingError};
pub use problem::{MissingRight, Problem, least_rights};
