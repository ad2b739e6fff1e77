//! A world to try candidates in: an API server, a network that delays and loses, clocks that drift, processes that stop,
//! and an operator that clears the dead.

#![allow(dead_code, missing_docs)]

pub mod world;
