//! How long it takes from the end of a leader to the next one.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kube::api::{Patch, PatchParams};
use leadergroup_e2e::cluster::Signal;
use serde_json::json;

use crate::elector::candidates::{Field, Library, Rivals};
use crate::figures::{Samples, samples_table};

/// Of ours, one after the other.
const OURS: usize = 60;
/// Groups of each library at the same time, and takeovers of each.
const GROUPS: usize = 8;
const ROUNDS: usize = 2;
/// A standby has settled by then.
const SETTLED: Duration = Duration::from_millis(700);
/// The longest time between two tries of any library: its leaders end at moments that are spread over it.
const LONGEST_PERIOD: Duration = Duration::from_secs(5);
/// From a crash to the clear.
const PROVEN: Duration = Duration::from_millis(300);

/// How a leader ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is told to end, and releases: from when it is told.
    Release,
    /// It is killed: from its end.
    Crash,
    /// It has been killed, and its Lease is cleared: from before the clear.
    Clear,
}

impl End {
    const ALL: [Self; 3] = [Self::Release, Self::Crash, Self::Clear];

    fn name(self) -> &'static str {
        match self {
            Self::Release => "told to end, releases",
            Self::Crash => "killed",
            Self::Clear => "cleared, as the operator does",
        }
    }
}

/// Measures and prints.
pub fn run(field: &Field) -> Result<()> {
    println!("\n## From a leader's end to the next one that knows it leads, timing 15 s / 10 s / 2 s\n");
    println!("Ours after a release and a clear: one after the other, in milliseconds.\n");
    let mut ours = samples_table("ours, leader's end");
    for end in [End::Release, End::Clear] {
        eprintln!("{OURS} takeovers, leader {}", end.name());
        let lease = format!("ours-{end:?}").to_lowercase();
        let samples = takeovers(field, Library::Ours, &lease, end, &[Duration::ZERO; OURS])?;
        ours.add_row(samples.row(end.name(), 1000.0, "p99 <= 50"));
    }
    println!("{ours}\n\nAll, {GROUPS} groups of each library at the same time, in seconds.\n");
    let mut all = samples_table("leader's end");
    for end in End::ALL {
        eprintln!("takeovers of all libraries, leader {}", end.name());
        for (library, samples) in side_by_side(field, end)? {
            all.add_row(samples.row(&format!("{}, {}", end.name(), library.name()), 1.0, ""));
        }
    }
    println!("{all}");
    Ok(())
}

fn side_by_side(field: &Field, end: End) -> Result<Vec<(Library, Samples)>> {
    let mut all = Vec::new();
    thread::scope(|scope| {
        let mut groups = Vec::new();
        for n in 0..GROUPS {
            for library in Library::ALL {
                let lease = format!("{}-{end:?}-{n}", library.name()).to_lowercase();
                let waits: Vec<Duration> = (0..ROUNDS).map(|round| phase(round * GROUPS + n)).collect();
                groups.push((library, scope.spawn(move || takeovers(field, library, &lease, end, &waits))));
            }
        }
        for library in Library::ALL {
            all.push((library, Samples::default()));
        }
        for (library, group) in groups {
            let samples = group.join().ok().with_context(|| format!("a group of {} panicked", library.name()))?;
            let samples = samples.with_context(|| format!("a group of {}", library.name()))?;
            if let Some((_, of)) = all.iter_mut().find(|(of, _)| *of == library) {
                of.extend(&samples);
            }
        }
        Ok(all)
    })
}

/// One of all the moments that leaders end at.
fn phase(nth: usize) -> Duration {
    let of = u32::try_from(GROUPS * ROUNDS).unwrap_or(u32::MAX);
    LONGEST_PERIOD * u32::try_from(nth).unwrap_or(0) / of
}

/// Takeovers in one group of two; the leaders end so long after the standbys have settled.
fn takeovers(field: &Field, library: Library, lease: &str, end: End, waits: &[Duration]) -> Result<Samples> {
    let rivals = Rivals::new();
    let mut leader = rivals.start(field.launch(library, lease, None)?)?;
    rivals.led_by(Some(&leader.launch.identity))?;
    let mut samples = Samples::default();
    for wait in waits {
        let standby = rivals.start(field.launch(library, lease, None)?)?;
        thread::sleep(SETTLED + *wait);
        let from = match end {
            End::Release => {
                let from = Instant::now();
                leader.running.signal(Signal::TERM)?;
                from
            }
            End::Crash => {
                leader.running.kill()?;
                Instant::now()
            }
            End::Clear => {
                leader.running.kill()?;
                thread::sleep(PROVEN);
                let cleared = Patch::Merge(json!({"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}}));
                let from = Instant::now();
                let leases = field.place.leases();
                field.place.runtime().block_on(leases.patch(lease, &PatchParams::default(), &cleared))?;
                from
            }
        };
        let led = rivals.led_by(Some(&standby.launch.identity))?;
        samples.add(led.at.saturating_duration_since(from));
        leader = standby;
    }
    Ok(samples)
}
