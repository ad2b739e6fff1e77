//! Which faults, when, and for how long: all of it follows from a seed.

use std::fmt;
use std::time::Duration;

use leadergroup_cluster::Component;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use crate::proxy::{Direction, Toxic};

/// Groups that live through a schedule at the same time.
pub const GROUPS: usize = 5;
/// Of them, those in which the last candidate is another program, with client-go.
pub const MIXED: usize = 2;
/// Candidates of a group.
pub const CANDIDATES: usize = 3;
/// How long faults happen.
pub const LASTS: Duration = Duration::from_secs(12);

/// Whom a fault befalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A candidate, or its connection.
    Candidate {
        /// Its group.
        group: usize,
        /// Which of the group.
        nth: usize,
    },
    /// Whoever leads a group at that moment, or its connection.
    Leader {
        /// The group.
        group: usize,
        /// Which of the group it befalls if nobody leads.
        or_else: usize,
    },
    /// Everybody.
    ControlPlane,
}

/// What happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// The connection to the API server is spoilt.
    Network(&'static str, Vec<Toxic>),
    /// It is cut, and new ones are refused.
    Refused,
    /// The process is stopped, and continued.
    Pause,
    /// The process is killed, and started again.
    Kill,
    /// The process is told to end, and started again.
    Resign,
    /// A component is told to end, and started again.
    Restart(Component),
    /// A component is killed, and started again.
    Crash(Component),
    /// A component is stopped, and continued.
    Freeze(Component),
}

impl Kind {
    /// What to call it in a table.
    pub fn name(&self) -> String {
        match self {
            Self::Network(name, _) => (*name).to_owned(),
            Self::Refused => "connections cut and refused".to_owned(),
            Self::Pause => "candidate paused (SIGSTOP, SIGCONT)".to_owned(),
            Self::Kill => "candidate killed (SIGKILL)".to_owned(),
            Self::Resign => "candidate resigned (SIGTERM)".to_owned(),
            Self::Restart(component) => format!("{component} restarted"),
            Self::Crash(component) => format!("{component} killed"),
            Self::Freeze(component) => format!("{component} paused"),
        }
    }
}

/// One of a schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// When it begins, from the schedule's begin.
    pub at: Duration,
    /// When it ends.
    pub until: Duration,
    /// Whom it befalls.
    pub target: Target,
    /// What happens.
    pub kind: Kind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, until) = (self.at.as_secs_f64(), self.until.as_secs_f64());
        write!(f, "{at:6.3} to {until:6.3} s: {}", self.kind.name())?;
        match self.target {
            Target::Candidate { group, nth } => write!(f, ", candidate {nth} of group {group}"),
            Target::Leader { group, .. } => write!(f, ", the leader of group {group}"),
            Target::ControlPlane => Ok(()),
        }
    }
}

impl Fault {
    /// Whether it befalls a group.
    pub fn is_of(&self, wanted: usize) -> bool {
        match self.target {
            Target::Candidate { group, .. } | Target::Leader { group, .. } => group == wanted,
            Target::ControlPlane => true,
        }
    }
}

/// The faults of a seed, by when they begin. In each group one after the other befalls the leader, and beside that one
/// after the other anybody, so that there mostly is one who could take over.
pub fn schedule(seed: u64) -> Vec<Fault> {
    let mut dice = SmallRng::seed_from_u64(seed);
    let mut faults = Vec::new();
    for group in 0..GROUPS {
        fill(&mut faults, &mut dice, Duration::from_millis(800), |dice| {
            let target = Target::Leader { group, or_else: dice.random_range(0..CANDIDATES) };
            let (kind, lasts) = candidate(dice);
            (target, kind, lasts)
        });
        fill(&mut faults, &mut dice, Duration::from_millis(1_500), |dice| {
            let target = Target::Candidate { group, nth: dice.random_range(0..CANDIDATES) };
            let (kind, lasts) = candidate(dice);
            (target, kind, lasts / 2)
        });
    }
    fill(&mut faults, &mut dice, Duration::from_secs(8), |dice| {
        let (kind, lasts) = control_plane(dice);
        (Target::ControlPlane, kind, lasts)
    });
    faults.sort_by_key(|fault| fault.at);
    faults
}

/// Faults one after the other, with pauses between them that are so long on average.
fn fill(
    faults: &mut Vec<Fault>,
    dice: &mut SmallRng,
    pause: Duration,
    draw: impl Fn(&mut SmallRng) -> (Target, Kind, Duration),
) {
    let mut at = Duration::ZERO;
    loop {
        at += dice.random_range(Duration::ZERO..pause * 2);
        let (target, kind, lasts) = draw(dice);
        if at > LASTS {
            return;
        }
        // The end of the last ones is the end of the schedule.
        let until = (at + lasts).min(LASTS);
        faults.push(Fault { at, until, target, kind });
        at = until;
    }
}

fn candidate(dice: &mut SmallRng) -> (Kind, Duration) {
    if dice.random() { network(dice) } else { process(dice) }
}

fn millis(dice: &mut SmallRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(dice.random_range(from..to))
}

fn direction(dice: &mut SmallRng) -> Direction {
    if dice.random() { Direction::Up } else { Direction::Down }
}

fn network(dice: &mut SmallRng) -> (Kind, Duration) {
    let lasts = millis(dice, 300, 5_000);
    let one = |dice: &mut SmallRng, kind, attributes, share| {
        vec![Toxic { kind, attributes, direction: direction(dice), share }]
    };
    let swallowed = |direction| Toxic { kind: "timeout", attributes: json!({"timeout": 0}), direction, share: 1.0 };
    let kind = match dice.random_range(0..14) {
        0 | 1 => {
            let (latency, jitter) = (millis(dice, 20, 1_500), millis(dice, 0, 500));
            Kind::Network("latency and jitter", vec![Toxic::latency(direction(dice), latency, jitter)])
        }
        2 => Kind::Network("requests lost (one-sided partition)", vec![swallowed(Direction::Up)]),
        3 => Kind::Network("answers lost (one-sided partition)", vec![swallowed(Direction::Down)]),
        // Nothing tells the one that was cut off what the others do: the most dangerous.
        9..12 => Kind::Network("partition", vec![swallowed(Direction::Up), swallowed(Direction::Down)]),
        4 => {
            let attributes = json!({"timeout": dice.random_range(1..400)});
            Kind::Network("a third of the connections lose data", one(dice, "timeout", attributes, 0.33))
        }
        5 => {
            let attributes = json!({"timeout": dice.random_range(0..200)});
            Kind::Network("connections reset", one(dice, "reset_peer", attributes, 0.7))
        }
        6 => {
            let delay = dice.random_range(1_000..20_000);
            let attributes = json!({"average_size": 64, "size_variation": 32, "delay": delay});
            Kind::Network("data in slices", one(dice, "slicer", attributes, 1.0))
        }
        7 => {
            let attributes = json!({"rate": dice.random_range(1..8)});
            Kind::Network("little bandwidth", one(dice, "bandwidth", attributes, 1.0))
        }
        _ => Kind::Refused,
    };
    (kind, lasts)
}

fn process(dice: &mut SmallRng) -> (Kind, Duration) {
    match dice.random_range(0..6) {
        // Less than the Lease's duration, about as long, and longer.
        0 => (Kind::Pause, millis(dice, 100, 1_500)),
        1 => (Kind::Pause, millis(dice, 1_500, 3_000)),
        2 => (Kind::Pause, millis(dice, 3_000, 5_000)),
        3 | 4 => (Kind::Kill, millis(dice, 50, 2_000)),
        _ => (Kind::Resign, millis(dice, 500, 2_000)),
    }
}

fn control_plane(dice: &mut SmallRng) -> (Kind, Duration) {
    let component = *[Component::KubeApiserver, Component::Etcd].choose(dice).expect("one of them");
    match dice.random_range(0..4) {
        0 => (Kind::Restart(component), millis(dice, 0, 1_000)),
        1 => (Kind::Crash(component), millis(dice, 0, 1_000)),
        _ => (Kind::Freeze(component), millis(dice, 300, 4_000)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_makes_one_schedule() {
        assert_eq!(schedule(7), schedule(7));
        assert_ne!(schedule(7), schedule(8));
    }

    #[test]
    fn all_end_with_the_schedule_and_those_of_a_leader_do_not_overlap() {
        for seed in 0..50 {
            let faults = schedule(seed);
            assert!(faults.iter().all(|fault| fault.at <= fault.until && fault.until <= LASTS));
            let is_leaders = |fault: &&Fault| matches!(fault.target, Target::Leader { group: 1, .. });
            let one: Vec<_> = faults.iter().filter(is_leaders).collect();
            assert!(one.iter().zip(one.iter().skip(1)).all(|(a, b)| a.until <= b.at), "{one:?}");
        }
    }

    #[test]
    fn ten_schedules_hold_every_kind() {
        let kinds: BTreeSet<_> = (0..10).flat_map(schedule).map(|fault| fault.kind.name()).collect();
        // Ten of processes and connections; of the control plane, most.
        assert!(kinds.len() >= 14, "{kinds:#?}");
    }
}
