//! How large a world is, and what may go wrong in it.

use std::time::Duration;

use leadergroup_election::Timing;

/// As often as it likes: not counted.
pub const ENDLESS: u32 = u32::MAX;

#[derive(Clone, Debug)]
pub struct Bounds {
    pub candidates: usize,
    /// Candidates as client-go makes them.
    pub foreign: usize,
    /// One step of time.
    pub tick: Duration,
    pub ticks: u32,
    /// Time is counted from the beginning, and with it how long the Lease has stood still.
    pub remembers: bool,
    pub timing: Timing,
    /// What else an annotation may ask for.
    pub timings: Vec<Timing>,
    /// How far a watch may lag behind, in versions; further, and it begins anew.
    pub lag: usize,
    /// A clock may fall a tick behind in each so many.
    pub slips_each: Option<u32>,
    /// What may be done how often.
    pub most: Budget,
    pub operator: Operator,
    pub lie: Lie,
}

/// How often something was done, or may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Requests and answers that are lost.
    pub losses: u32,
    /// Answers that come twice.
    pub duplicates: u32,
    /// Requests that the API server answers with an error, done or not.
    pub failures: u32,
    /// Watches that break.
    pub breaks: u32,
    pub pauses: u32,
    pub kills: u32,
    pub restarts: u32,
    pub resignations: u32,
    pub step_downs: u32,
    /// Changes of the Lease that do not move it: nothing, another timing, another that is to lead next.
    pub touches: u32,
    /// Changes that nobody should make: deletions, absurd records.
    pub vandalisms: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Absent,
    Clears,
    Deletes,
}

/// One thing that is not as a candidate relies on, or not as it should be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    None,
    /// The API server does not look at the version a write names, as with a patch that names none.
    NoPrecondition,
    /// A clock stops while its process is stopped.
    ClockStops,
    /// A term counts from the answer to a renewal rather than from before it was sent.
    CountsFromAnswer,
    /// A standby counts with a shorter duration than the record's.
    Impatient,
    /// An answer is taken for one to the newest request.
    MixedUp,
    /// The operator clears a holder that lives.
    ClearsTheLiving,
    /// The operator clears whatever version there is.
    ClearsAnyVersion,
    /// The transitions in the record are taken for a token.
    TokenIsTransitions,
    /// A candidate that lost a race does not campaign again.
    GivesUp,
    /// A standby asks for the Lease each time it wakes, though nothing has happened.
    Polls,
}

/// Nothing goes wrong but delay: messages and watches take as long as they like, and any process may stand still.
pub fn calm(candidates: usize, timing: Timing, tick: Duration) -> Bounds {
    Bounds {
        candidates,
        foreign: 0,
        tick,
        ticks: ENDLESS,
        remembers: false,
        timing,
        timings: Vec::new(),
        lag: 1,
        slips_each: None,
        most: Budget::default(),
        operator: Operator::Absent,
        lie: Lie::None,
    }
}
