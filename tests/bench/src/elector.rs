//! The figures of our elector, side by side with others: client-go's, and those of two Rust crates. All are processes of
//! this machine, and campaign under accounts of their own.

mod candidates;
mod cost;
mod spikes;
mod takeover;
mod wrapped;

use anyhow::Result;
use leadergroup_e2e::cluster::Cluster;

use candidates::Field;

/// A part of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// From a leader's end to the next one.
    Takeover,
    /// From the end of a program in `elector run` to the next one.
    Wrapped,
    /// Requests and memory.
    Cost,
    /// Leader changes while the API server is slow.
    Spikes,
}

impl Part {
    /// All.
    pub const ALL: [Self; 4] = [Self::Takeover, Self::Cost, Self::Spikes, Self::Wrapped];

    /// What to call it on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Takeover => "elector-takeover",
            Self::Wrapped => "elector-wrapped",
            Self::Cost => "elector-cost",
            Self::Spikes => "elector-spikes",
        }
    }
}

/// Measures and prints.
pub fn run(parts: &[Part]) -> Result<()> {
    let field = Field::open(Cluster::from_env()?)?;
    for part in parts {
        match part {
            Part::Takeover => takeover::run(&field)?,
            Part::Wrapped => wrapped::run(&field)?,
            Part::Cost => cost::run(&field)?,
            Part::Spikes => spikes::run(&field)?,
        }
    }
    Ok(())
}
