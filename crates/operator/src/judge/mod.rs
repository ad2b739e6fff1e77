//! Judgement: pure functions from what is known to what it proves.
//!
//! [`Identity`] says which pods a holder's identity fits; [`evidence`] is the evidence table, [`rule`] its rows.

pub mod evidence;
pub mod rule;

pub use evidence::{Facts, Judgement, Subject, judge};
pub use leadergroup_identity::{Identity, TemplateError};
pub use rule::{Clearable, Rule};
