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
