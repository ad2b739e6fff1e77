//! leadergroup-e2e
