//! A simulated cluster that knows the truth: processes that run and die, kubelets that report late, not at all or what is
//! not so, clocks that are wrong, candidates that follow client-go's protocol. The engine sees only what the API server has.

mod backup;
mod group;
mod kubelet;
mod machine;
mod object;
mod pod;
mod process;
pub mod setup;
mod tenant;
mod truth;

use std::collections::VecDeque;

use backup::{Backup, Lost};
pub use group::Flaw;
pub use kubelet::{Claim, Invention};
use machine::Machine;
pub use pod::Outlook;
use pod::Pod;
use process::Process;
use setup::{Host, Owner, Setup};
pub use tenant::Tenant;

use crate::lies::{Lie, Occurrences};
use crate::support::api::{Api, Kind};

pub const LEASE_MS: u64 = 15_000;
const RETRY_MS: u64 = 2_000;
/// Nobody acts faster than this.
pub const TICK_MS: u64 = 25;
/// How many pods the group's owner keeps.
pub const SLOTS: usize = 3;
/// The slot of whichever pod holds the Lease.
pub const LEADER: usize = SLOTS;
/// The slot that was aimed at last.
pub const TARGET: usize = SLOTS + 1;
pub const NODES: usize = 3;

/// Pseudo-random delays, the same for the same seed.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// A number from `low` to below `high`.
    pub fn roll(&mut self, low: u64, high: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        low + self.0 % (high - low)
    }
}

pub struct World {
    pub api: Api,
    pub now: u64,
    pub dice: Dice,
    setup: Setup,
    /// Every machine there ever was.
    machines: Vec<Machine>,
    /// Which machine each node is, or was last.
    nodes: [usize; NODES],
    /// Every pod there ever was.
    pods: Vec<Pod>,
    /// Every process there ever was.
    processes: Vec<Process>,
    create_at: [Option<u64>; SLOTS],
    target: usize,
    backups: VecDeque<Backup>,
    groups_created: usize,
    /// An operator does not know the account of the group that was deleted.
    is_account_lost: bool,
    tenants_created: usize,
    /// The process that last wrote itself into the Lease.
    writer: Option<usize>,
    last_write: u64,
    lost: Option<Lost>,
    /// Live leaders that were cleared before their Lease ran out.
    pub violations: Vec<String>,
    pub early_clears: usize,
    /// How often the kubelet reported an end while another process led under the same identity.
    pub traps: usize,
    pub occurrences: Occurrences,
}

impl World {
    pub fn new(setup: Setup) -> Self {
        let mut api = Api::default();
        api.stride = backup::STRIDE;
        api.put(Kind::Group, setup.group());
        let mut world = Self {
            api,
            now: 0,
            dice: Dice(setup.seed | 1),
            setup,
            machines: Vec::new(),
            nodes: std::array::from_fn(|node| node),
            pods: Vec::new(),
            processes: Vec::new(),
            create_at: std::array::from_fn(|slot| Some(slot as u64 * 500)),
            target: 0,
            backups: VecDeque::new(),
            groups_created: 1,
            is_account_lost: false,
            tenants_created: 0,
            writer: None,
            last_write: 0,
            lost: None,
            violations: Vec::new(),
            early_clears: 0,
            traps: 0,
            occurrences: Occurrences::default(),
        };
        for node in 0..NODES {
            world.add_machine(node);
        }
        world
    }

    pub fn tick(&mut self) {
        self.now += TICK_MS;
        self.replace();
        for pod in 0..self.pods.len() {
            self.bind_and_start(pod);
            self.stop(pod);
            self.restart(pod);
        }
        for process in 0..self.processes.len() {
            self.live(process);
        }
        self.report();
        self.back_up();
    }

    fn note(&mut self, lie: Lie) {
        self.occurrences.note(lie);
    }

    /// A machine's clock.
    fn clock(&self, machine: usize) -> i64 {
        i64::try_from(self.now).unwrap() + self.machines[machine].clock_ahead
    }

    /// The owner's part: a new pod in each free slot, and no pod that has ended.
    fn replace(&mut self) {
        for slot in 0..SLOTS {
            if let Some(at) = self.pods.iter().position(|pod| pod.object && pod.slot == Some(slot)) {
                let pod = &self.pods[at];
                if pod.finished && !pod.graceful && self.dice.roll(0, 100) == 0 {
                    self.delete(at);
                }
                continue;
            }
            let due = self.now + self.dice.roll(100, 1_500);
            if self.now < *self.create_at[slot].get_or_insert(due) {
                continue;
            }
            self.create_at[slot] = None;
            let (name, is_generated) = match self.setup.owner {
                Owner::StatefulSet => (format!("web-{slot}"), false),
                Owner::ReplicaSet => (format!("web-{}", self.generated()), true),
                Owner::CloneSet => (format!("web-{}", ["bcdfg", "hjklm", "npqrs"][slot]), true),
            };
            self.create(Pod {
                slot: Some(slot),
                name,
                is_generated,
                hostname: (self.setup.host == Host::Shared).then(|| "web".to_owned()),
                host_network: self.setup.host == Host::Node,
                elects: true,
                is_candidate: true,
                ..Pod::default()
            });
        }
    }

    /// Five letters, as the API server completes a name.
    fn generated(&mut self) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let letter = |_| char::from(LETTERS[usize::try_from(self.dice.roll(0, LETTERS.len() as u64)).unwrap()]);
        (0..5).map(letter).collect()
    }

    /// What happens to the target happens to this slot from now on.
    pub fn aim(&mut self, slot: usize) {
        self.target = self.current(slot).and_then(|at| self.pods[at].slot).unwrap_or(self.target);
    }

    /// The pod in that slot.
    pub fn current(&self, slot: usize) -> Option<usize> {
        let slot = match slot {
            LEADER => return self.leader(),
            TARGET => self.target,
            slot => slot,
        };
        self.pods.iter().position(|pod| pod.object && pod.slot == Some(slot))
    }

    /// The pod that exists and goes by the Lease's holder.
    fn leader(&self) -> Option<usize> {
        let holder = self.api.get(Kind::Lease, "web")?["spec"]["holderIdentity"].as_str()?;
        self.pods.iter().position(|pod| pod.object && pod.identity == holder)
    }
}
