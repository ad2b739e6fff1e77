//! `elector serve` as processes that campaign against a real API server, and clients of what they serve.
#![allow(missing_docs)]

mod client;
mod place;
mod proxy;

mod clients;
mod hooks;
mod leading;
mod leaving;
mod trouble;
