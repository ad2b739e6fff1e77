//! How much of each thing happens at most.

#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Pods of the name, one after the other.
    pub pods: usize,
    /// Runs of all their containers together.
    pub runs: usize,
    /// Seconds.
    pub ticks: u32,
    /// Ends that the runtime invents.
    pub invented: u32,
    /// Releases by processes of these pods.
    pub releases: u32,
    /// Terms of another candidate.
    pub others: u32,
    /// Interruptions of the leading operator or of its watch of pods.
    pub gaps: u32,
    /// Restarts and takeovers.
    pub leaders: u32,
}

/// How much of each has happened, and who leads after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spent {
    pub ticks: u32,
    pub invented: u32,
    pub releases: u32,
    pub others: u32,
    pub gaps: u32,
    pub leaders: u32,
    pub leading: Leading,
}

/// How the operator that leads came to lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Leading {
    #[default]
    First,
    /// It started with what the API server has.
    Restarted,
    /// It was the standby.
    Standby,
}
