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
//! Where the work can't be dropped at an `await`, ask before each step that must not be done twice; the answer costs a
//! lock and a look at the clock, from any thread:
//!
//! ```no_run
//! # use leadergroup_elector::{Elector, Options};
//! # async fn example(config: kube::Config) -> anyhow::Result<()> {
//! let mut elector = Elector::start(config, Options::new("shop", "billing", "billing-0_5f2c"))?;
//! let leadership = elector.leadership();
//! while let Some(term) = elector.leading().await {
//!     while leadership.leads() {
//!         // One step of the work; it passes term.token along to what it writes to.
//!         # let _ = term;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What it asks of the API server
//!
//! The rights to get, watch and update one Lease, and to create Leases unless it exists: [`least_rights`] prints them. A
//! leader sends one update each retry period. Each request has a deadline of half the renew deadline, and none is sent
//! again by the client itself. A candidate that lacks a right, or gets no answer, goes on campaigning and says so in its
//! [`Status`].
//!
//! # What it promises
//!
//! Of the candidates that follow it at most one leads at any time, if their clocks run at rates less than renew deadline
//! to lease duration apart, and nobody else changes the Lease of a holder that lives. Time is that since the machine
//! started, and goes on while it sleeps; a candidate that was stopped for longer than its term says so at the first
//! question. It is no fence against a process that is stopped between asking and acting, a virtual machine that is
//! paused or set back, or a write that is on its way: against those, pass on the term's token, which grows from term to
//! term (until the API server's storage is restored from a backup), and refuse older ones where it matters.
//!
//! # The way through it
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
pub use elector::{Elector, Leadership, Options, Pulse, StartError};
pub use leadergroup_election::{Loss, Term, Timing, TimingError};
pub use problem::{MissingRight, Problem, least_rights};
