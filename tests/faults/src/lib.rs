//! Candidates of our elector under faults: what they believed, and whether two ever believed that they lead.
//!
//! A candidate is a process of this machine (`src/bin/candidate.rs`) that reaches the API server through a proxy of its
//! own. A thread of it asks every few milliseconds whether it leads, and writes each yes to a file, with the time by the
//! clock that all processes share. [`schedule`] makes a plan of faults of a seed; [`play`] lets several groups of
//! candidates live through it; [`check`], which knows of neither, reads the histories; [`report`] prints the table.
//!
//! In some groups a candidate with client-go campaigns too. One of those may believe for a while after a pause or a slow
//! request, which is not ours to check. Ours are checked against each other, and against what the Lease was seen to say:
//! none may believe that it leads after somebody else was seen to hold it.
//!
//! ```no_run
//! # fn example() -> anyhow::Result<()> {
//! let stage = leadergroup_faults::Stage::open("target/debug/candidate".as_ref())?;
//! let outcome = stage.play(42)?;
//! assert_eq!(outcome.violations(), 0);
//! # Ok(())
//! # }
//! ```

pub mod check;
pub mod history;
pub mod observe;
pub mod place;
pub mod play;
pub mod process;
pub mod proxy;
pub mod report;
pub mod schedule;

pub use play::{Outcome, Stage};
