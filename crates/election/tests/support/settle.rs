//! What becomes of a world in which nothing fails any more.

use leadergroup_election::Timing;

use super::bounds::{Bounds, Budget, Operator};
use super::world::{Action, START, World};

pub const NOBODY_LEADS: &str = "nobody leads although nothing fails any more";
pub const DOES_NOT_STAY: &str = "leadership does not stay where it is although nothing fails any more";
pub const STANDBYS_ASK: &str = "standbys send requests although all is well";

/// More than that happens at no moment, unless it goes round in circles.
const MOST_AT_ONCE: usize = 1_000;

impl World {
    /// Whether somebody is left that can lead.
    pub fn can_be_led(&self) -> bool {
        let ours = self.processes.iter().any(|process| process.alive && !process.resigned);
        ours || self.foreign.iter().any(|foreign| foreign.alive)
    }

    /// Every message arrives, everybody runs, time passes: somebody leads in time, and stays leader, and the others ask
    /// for nothing. The violation, if not.
    pub fn settle(&mut self, bounds: &Bounds) -> Option<&'static str> {
        let longest = bounds.timings.iter().chain([&bounds.timing]).map(Timing::lease_duration).max();
        let ticks = |times: u128| times * longest.unwrap_or_default().as_millis() / bounds.tick.as_millis();
        for process in &mut self.processes {
            process.paused = false;
        }
        let calm = Bounds { ticks: 0, most: Budget::default(), operator: Operator::Absent, ..bounds.clone() };
        let mut patience = ticks(3);
        while self.pass(bounds, &calm) && self.leader(bounds).is_none() {
            patience -= 1;
            if patience == 0 {
                return Some(NOBODY_LEADS);
            }
        }
        // A hint may ask for one more change.
        for _ in 0..ticks(2) {
            self.pass(bounds, &calm);
        }
        let (leader, asked) = (self.leader(bounds), self.tally.standby_requests);
        for _ in 0..ticks(2) {
            self.pass(bounds, &calm);
            if self.violation.is_some() {
                return self.violation;
            }
            if leader.is_none() || self.leader(bounds) != leader {
                return Some(DOES_NOT_STAY);
            }
        }
        (self.tally.standby_requests != asked).then_some(STANDBYS_ASK)
    }

    /// All that can happen at this moment, and a tick.
    fn pass(&mut self, bounds: &Bounds, calm: &Bounds) -> bool {
        let mut actions = Vec::new();
        for _ in 0..MOST_AT_ONCE {
            actions.clear();
            self.actions(calm, &mut actions);
            let Some(action) = actions.first() else {
                self.apply(bounds, Action::Tick(None));
                return true;
            };
            self.apply(bounds, *action);
        }
        self.violation = self.violation.or(Some("it goes round in circles at one moment"));
        false
    }

    /// Who leads; candidates of another kind are numbered after the others.
    pub fn leader(&self, bounds: &Bounds) -> Option<usize> {
        let now = START + bounds.tick * self.now;
        let ours = (0..self.processes.len()).find(|n| self.leads(*n, bounds));
        let foreign =
            || (0..self.foreign.len()).find(|n| self.foreign[*n].alive && now < self.foreign[*n].believes_until);
        ours.or_else(|| foreign().map(|n| n + self.processes.len()))
    }
}
