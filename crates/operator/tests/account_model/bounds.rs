//! How much of each thing happens at most.

#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Pods of the name, one after the other.
    pub pods: usize,
    /// Runs of all their containers together.
    pub runs: usize,
    pub events: Events,
}

/// How many times each of these happens, or has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Events {
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
