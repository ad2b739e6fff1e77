//! Judgement: pure functions from what is known to what it proves.
//!
//! [`identity`] says which pods a holder's identity fits; [`evidence`] is the evidence table.

pub mod evidence;
pub mod identity;

pub use evidence::{Clearable, Judgement, Known, Subject, judge};
pub use identity::{Identity, TemplateError};
