//! A world to try candidates in: an API server, a network that delays and loses, clocks that drift, processes that stop,
//! an operator that clears the dead, people who change the Lease, and candidates with an elector of another kind.

#![allow(dead_code, missing_docs)]

pub mod bounds;
pub mod canonical;
pub mod changes;
pub mod foreign;
pub mod server;
pub mod settle;
pub mod world;
