//! The protocol by which candidates elect a leader through a Kubernetes Lease, as client-go speaks it, without I/O.
//!
//! A [`Candidate`] is a pure state machine: [`Candidate::step`] takes what happened and the time, and returns what to do.
//! It knows no Kubernetes types, no runtime and no time of day. Whoever drives it watches the Lease, sends its requests,
//! calls it again at [`Candidate::next_wake`], and measures time by a clock that goes on while the machine sleeps.
//!
//! What it promises, and what the model in `tests/` checks: of the candidates that follow it, with identities of their
//! own and clocks that run at rates less than renew deadline to lease duration apart, at most one leads at any time. That
//! holds as long as nobody else changes the Lease of a holder that lives.
//!
//! Not in its power: a process that is stopped between asking [`Candidate::term`] and acting on the answer, a clock that
//! stands still with a paused virtual machine or a restored checkpoint, a write to another system that is on its way.
//! Against those, pass the term's token along and let that system refuse older ones.
//!
//! Start reading at [`candidate`]; [`message`] is what it is told and wants done, [`record`] the Lease as it is seen,
//! [`timing`] how long things may take.

pub mod candidate;
pub mod message;
pub mod record;
pub mod timing;

pub use candidate::Candidate;
pub use candidate::likeness::Renaming;
pub use message::{Answer, Input, Loss, Output, Request, Term, What};
pub use record::{Change, Observation, Record, Seen, Version};
pub use timing::{Timing, TimingError};

/// Time since some fixed moment, on a clock that never goes back and does not stop while the machine sleeps.
pub type Time = std::time::Duration;
