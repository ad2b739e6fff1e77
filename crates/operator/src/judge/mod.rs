//! Judgement: pure functions from what is known to what it proves.
//!
//! [`Identity`] says which pods a holder's identity fits; [`evidence`] is the evidence table.

pub mod evidence;

pub use evidence::{Clearable, Judgement, Known, Subject, judge};
pub use leadergroup_identity::{Identity, TemplateError};
