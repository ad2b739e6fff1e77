//! Lets groups of candidates live through a schedule of faults.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::api::ListParams;
use leadergroup_cluster::{Cluster, Signal};
use leadergroup_elector::clock::boottime;
use tempfile::TempDir;

use crate::check::{Findings, Record, check};
use crate::history::{History, What};
use crate::observe::Observer;
use crate::place::Place;
use crate::process::{Launch, Running};
use crate::proxy::Toxiproxy;
use crate::schedule::{CANDIDATES, Fault, GROUPS, Kind, LASTS, MIXED, Target, schedule};

/// Lease duration, renew deadline and retry period, in milliseconds.
const TIMING: [u64; 3] = [2_000, 1_300, 400];
/// Within that somebody leads, once nothing fails any more. The Lease's duration is a small part of it: the machine may
/// be busy with the API server's start.
const LED_WITHIN: Duration = Duration::from_secs(25);
/// How long a candidate may take to resign.
const GRACE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);

/// A cluster, a place in it, and what stands between it and the candidates.
pub struct Stage {
    cluster: Cluster,
    place: Place,
    toxiproxy: Toxiproxy,
    candidate: PathBuf,
    client_go: PathBuf,
    folder: TempDir,
}

/// What became of one group.
#[derive(Clone, Debug)]
pub struct GroupOutcome {
    /// Where its histories are.
    pub folder: PathBuf,
    /// What the checker says.
    pub findings: Findings,
    /// What was seen of its Lease.
    pub records: Vec<Record>,
    /// How long it was without a leader after the last fault had ended; none if it stayed so.
    pub led_after: Option<Duration>,
    /// Its candidates of our elector that ended though nobody told them to.
    pub died: Vec<String>,
}

/// What became of a schedule.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The schedule's.
    pub seed: u64,
    /// The faults that happened, by name.
    pub faults: BTreeMap<String, usize>,
    /// When the first one could happen.
    pub began: Duration,
    /// When the last one had ended.
    pub ended: Duration,
    /// The groups.
    pub groups: Vec<GroupOutcome>,
}

impl Outcome {
    /// How many things there were that must not be.
    pub fn violations(&self) -> usize {
        let of = |group: &GroupOutcome| {
            group.findings.violations.len() + group.died.len() + usize::from(group.led_after.is_none())
        };
        self.groups.iter().map(of).sum()
    }
}

/// One candidate, whatever process it is at the moment.
struct Slot {
    name: String,
    is_ours: bool,
    launch: Launch,
    folder: PathBuf,
    runs: u32,
    running: Option<Running>,
    /// Told to end, or killed, so it is not missed.
    is_down: bool,
    died: Vec<String>,
}

impl Slot {
    fn start(&mut self, keeps_identity: bool) -> Result<()> {
        if !keeps_identity {
            self.launch.identity = format!("{}-{}", self.name, self.runs);
        }
        if self.is_ours {
            let history = self.folder.join(History::file_name(&self.launch.identity, self.runs));
            self.launch.env.retain(|(name, _)| *name != "HISTORY");
            self.launch.env.push(("HISTORY", history.into()));
        }
        self.running = Some(self.launch.start()?);
        self.runs += 1;
        self.is_down = false;
        Ok(())
    }

    /// A process that ended is started again, as a kubelet would. Those with client-go end when they lose the Lease.
    fn tend(&mut self) -> Result<()> {
        let Some(running) = &mut self.running else { return Ok(()) };
        if self.is_down || running.ended()?.is_none() {
            return Ok(());
        }
        if self.is_ours {
            self.died.push(self.launch.identity.clone());
        }
        self.start(true)
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.running.as_mut().map_or(Ok(()), |running| running.signal(signal))
    }
}

impl Stage {
    /// A place in the cluster that the environment asks for, for candidates of this program of ours.
    pub fn open(candidate: &Path) -> Result<Self> {
        let cluster = Cluster::from_env()?;
        Ok(Self {
            place: Place::open(&cluster.kubeconfig(), "faults")?,
            cluster,
            toxiproxy: Toxiproxy::start()?,
            candidate: candidate.to_path_buf(),
            client_go: leadergroup_cluster::program("candidate-client-go")?,
            folder: tempfile::Builder::new().prefix("leadergroup-faults-").tempdir()?,
        })
    }

    /// Plays the schedule of a seed. The histories stay until this stage is dropped.
    pub fn play(&self, seed: u64) -> Result<Outcome> {
        let faults = schedule(seed);
        let observer = {
            let _in = self.place.runtime().enter();
            Observer::start(self.place.client(), self.place.name())
        };
        let mut slots = Vec::new();
        for group in 0..GROUPS {
            for nth in 0..CANDIDATES {
                slots.push(self.slot(seed, group, nth)?);
            }
        }
        for slot in &mut slots {
            slot.start(true)?;
        }
        for group in 0..GROUPS {
            let led = self.until_led(seed, group, &observer, Duration::ZERO)?;
            ensure!(led.is_some(), "nobody leads group {group} of seed {seed}, before any fault");
        }
        let began = boottime();
        let happened = self.befall(&faults, &mut slots, &observer)?;
        let ended = boottime();
        let mut groups = Vec::new();
        for group in 0..GROUPS {
            let led_at = self.until_led(seed, group, &observer, ended)?;
            let died = slots.iter_mut().skip(group * CANDIDATES).take(CANDIDATES).flat_map(|slot| slot.died.drain(..));
            groups.push(GroupOutcome {
                folder: self.group_folder(seed, group),
                findings: Findings::default(),
                records: Vec::new(),
                led_after: led_at.map(|at| at.saturating_sub(ended)),
                died: died.collect(),
            });
        }
        self.clear_up(slots)?;
        for (n, group) in groups.iter_mut().enumerate() {
            group.records = observer.of(&lease_name(seed, n));
            group.findings = check(&History::read_all(&group.folder)?, &group.records);
        }
        Ok(Outcome { seed, faults: happened, began, ended, groups })
    }

    fn group_folder(&self, seed: u64, group: usize) -> PathBuf {
        self.folder.path().join(format!("{seed}/group-{group}"))
    }

    fn slot(&self, seed: u64, group: usize, nth: usize) -> Result<Slot> {
        let folder = self.group_folder(seed, group);
        fs::create_dir_all(&folder)?;
        let name = format!("g{group}c{nth}");
        let address = self.toxiproxy.add(&name, &self.place.server()?)?;
        let kubeconfig = folder.join(format!("{name}.kubeconfig"));
        self.place.write_kubeconfig(&kubeconfig, Some(&address), None)?;
        let is_ours = group < GROUPS - MIXED || nth < CANDIDATES - 1;
        let [duration, deadline, period] = TIMING;
        let (program, args, env) = if is_ours {
            let timing = format!("{duration}/{deadline}/{period}");
            (&self.candidate, Vec::new(), vec![("TIMING", timing.into())])
        } else {
            // Without its release: that frees the Lease whoever holds it by then, also one of ours that lives.
            let args = [
                format!("-lease-duration={duration}ms"),
                format!("-renew-deadline={deadline}ms"),
                format!("-retry-period={period}ms"),
            ];
            (&self.client_go, args.map(Into::into).into(), Vec::new())
        };
        let launch = Launch {
            program: program.clone(),
            args,
            kubeconfig,
            namespace: self.place.name().to_owned(),
            lease: lease_name(seed, group),
            identity: name.clone(),
            env,
            log: Some(folder.join(format!("{name}.log"))),
        };
        Ok(Slot { name, is_ours, launch, folder, runs: 0, running: None, is_down: false, died: Vec::new() })
    }

    /// When somebody led a group, first of all at or after a moment; none if nobody did for long.
    fn until_led(&self, seed: u64, group: usize, observer: &Observer, from: Duration) -> Result<Option<Duration>> {
        let start = Instant::now();
        loop {
            let histories = History::read_all(&self.group_folder(seed, group))?;
            let said = histories.iter().flat_map(|history| &history.entries);
            let said = said.filter(|entry| entry.what == What::Leads && entry.at >= from).map(|entry| entry.at).min();
            // Of others than ours, the Lease tells.
            let others = format!("g{group}c{}", CANDIDATES - 1);
            let others = observer.of(&lease_name(seed, group)).into_iter().find(|record| {
                let holds = record.holder.as_ref().is_some_and(|holder| holder.starts_with(&others));
                group >= GROUPS - MIXED && record.seen >= from && holds
            });
            let at = said.into_iter().chain(others.map(|record| record.seen)).min();
            if at.is_some() || start.elapsed() > LED_WITHIN {
                return Ok(at);
            }
            thread::sleep(LOOK);
        }
    }

    /// Lets the faults happen, and returns those that did. When it returns, all have ended.
    fn befall(&self, faults: &[Fault], slots: &mut [Slot], observer: &Observer) -> Result<BTreeMap<String, usize>> {
        let start = Instant::now();
        let failed = AtomicBool::new(false);
        thread::scope(|scope| {
            let control_plane = scope.spawn(|| {
                let happened = self.befall_control_plane(faults, start);
                failed.fetch_or(happened.is_err(), Ordering::Relaxed);
                happened
            });
            let mut happened = self.befall_candidates(faults, slots, observer, start, &failed)?;
            let theirs =
                control_plane.join().map_err(|_| anyhow::anyhow!("a fault of the control plane panicked"))??;
            for name in theirs {
                *happened.entry(name).or_default() += 1;
            }
            Ok(happened)
        })
    }

    fn befall_candidates(
        &self,
        faults: &[Fault],
        slots: &mut [Slot],
        observer: &Observer,
        start: Instant,
        failed: &AtomicBool,
    ) -> Result<BTreeMap<String, usize>> {
        let of_candidates = faults.iter().enumerate().filter(|(_, fault)| fault.target != Target::ControlPlane);
        let mut events: Vec<_> =
            of_candidates.flat_map(|(n, fault)| [(fault.at, true, n), (fault.until, false, n)]).collect();
        // What ends at a moment, ends before another begins.
        events.sort();
        let mut befallen = BTreeMap::new();
        let mut happened = BTreeMap::new();
        for (at, begins, n) in events {
            while start.elapsed() < at && !failed.load(Ordering::Relaxed) {
                for slot in &mut *slots {
                    slot.tend()?;
                }
                thread::sleep(LOOK.min(at.saturating_sub(start.elapsed())));
            }
            let (kind, target) = (&faults[n].kind, faults[n].target);
            let slot = *befallen.entry(n).or_insert_with(|| whom(target, slots, observer));
            let slot = &mut slots[slot];
            if begins {
                *happened.entry(kind.name()).or_default() += 1;
                self.begin(slot, kind, n)
            } else {
                self.end(slot, kind, n)
            }
            .with_context(|| format!("{} of {}", kind.name(), slot.name))?;
        }
        Ok(happened)
    }

    fn begin(&self, slot: &mut Slot, kind: &Kind, n: usize) -> Result<()> {
        match kind {
            Kind::Network(_, toxics) => {
                let mut parts = toxics.iter().enumerate();
                parts.try_for_each(|(part, toxic)| self.toxiproxy.spoil(&slot.name, &toxic_name(n, part), toxic))
            }
            Kind::Refused => self.toxiproxy.enable(&slot.name, false),
            Kind::Pause => slot.signal(Signal::STOP),
            Kind::Kill => {
                slot.is_down = true;
                slot.signal(Signal::KILL)
            }
            Kind::Resign => {
                slot.is_down = true;
                slot.signal(Signal::TERM)
            }
            Kind::Restart(_) | Kind::Crash(_) | Kind::Freeze(_) => Ok(()),
        }
    }

    fn end(&self, slot: &mut Slot, kind: &Kind, n: usize) -> Result<()> {
        match kind {
            Kind::Network(_, toxics) => {
                (0..toxics.len()).try_for_each(|part| self.toxiproxy.heal(&slot.name, &toxic_name(n, part)))
            }
            Kind::Refused => self.toxiproxy.enable(&slot.name, true),
            Kind::Pause => slot.signal(Signal::CONT),
            Kind::Kill | Kind::Resign => {
                // It may not have ended by itself yet.
                drop(slot.running.take());
                // One comes back under its name, as in a StatefulSet; another one under a new name.
                let keeps_identity = !slot.name.ends_with("c1");
                slot.start(keeps_identity)
            }
            Kind::Restart(_) | Kind::Crash(_) | Kind::Freeze(_) => Ok(()),
        }
    }

    /// One after the other: what takes longer than it should puts off the next.
    fn befall_control_plane(&self, faults: &[Fault], start: Instant) -> Result<Vec<String>> {
        let mut happened = Vec::new();
        if self.cluster.is_existing() {
            return Ok(happened);
        }
        for fault in faults.iter().filter(|fault| fault.target == Target::ControlPlane) {
            thread::sleep(fault.at.saturating_sub(start.elapsed()));
            if start.elapsed() > LASTS {
                break;
            }
            let lasts = fault.until.saturating_sub(fault.at);
            match fault.kind {
                Kind::Restart(component) => {
                    self.cluster.stop(component)?;
                    thread::sleep(lasts);
                    self.cluster.start(component)?;
                }
                Kind::Crash(component) => {
                    self.cluster.signal(component, Signal::KILL)?;
                    thread::sleep(lasts);
                    self.cluster.stop(component)?;
                    self.cluster.start(component)?;
                }
                Kind::Freeze(component) => {
                    self.cluster.signal(component, Signal::STOP)?;
                    thread::sleep(lasts);
                    self.cluster.signal(component, Signal::CONT)?;
                }
                _ => continue,
            }
            happened.push(fault.kind.name());
            self.until_served()?;
        }
        Ok(happened)
    }

    /// Waits until the API server answers from its store.
    fn until_served(&self) -> Result<()> {
        let leases = self.place.leases();
        let one = ListParams::default().limit(1);
        let start = Instant::now();
        while self.place.runtime().block_on(leases.list(&one)).is_err() {
            ensure!(start.elapsed() < Duration::from_mins(2), "the API server does not come back");
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Ends all processes, and removes their proxies.
    fn clear_up(&self, mut slots: Vec<Slot>) -> Result<()> {
        for slot in &mut slots {
            slot.signal(Signal::TERM)?;
        }
        for slot in &mut slots {
            if let Some(running) = &mut slot.running {
                running.end(GRACE)?;
            }
            self.toxiproxy.remove(&slot.name)?;
        }
        Ok(())
    }
}

fn toxic_name(fault: usize, part: usize) -> String {
    format!("fault-{fault}-{part}")
}

/// Which candidate a fault befalls.
fn whom(target: Target, slots: &[Slot], observer: &Observer) -> usize {
    let (group, nth) = match target {
        Target::Candidate { group, nth } => (group, nth),
        Target::Leader { group, or_else } => {
            let group_of = slots.iter().skip(group * CANDIDATES).take(CANDIDATES);
            let holder = slots.get(group * CANDIDATES).and_then(|slot| observer.last(&slot.launch.lease)?.holder);
            let leads = |slot: &Slot| holder.as_ref() == Some(&slot.launch.identity);
            (group, group_of.map(leads).position(|leads| leads).unwrap_or(or_else))
        }
        Target::ControlPlane => (0, 0),
    };
    group * CANDIDATES + nth
}

fn lease_name(seed: u64, group: usize) -> String {
    format!("seed-{seed}-group-{group}")
}
