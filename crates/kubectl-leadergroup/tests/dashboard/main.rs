//! `kubectl leadergroup dashboard` in a real browser, with groups in a real API server. Needs Debian's chromium, which
//! is installed where that is possible.
#![allow(missing_docs)]

mod browser;
mod place;

mod keyboard;
mod looks;
mod safety;
mod shows;
mod trouble;
