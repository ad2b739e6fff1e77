//! How often the leader changes while the API server answers slowly now and then, and nobody fails.
//!
//! `SPIKE_MINUTES` says for how long, 10 by default.

use std::env;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use leadergroup_faults::check::{Record, check};
use leadergroup_faults::history::History;
use leadergroup_faults::observe::Observer;
use leadergroup_faults::process::{Launch, Running};
use leadergroup_faults::proxy::{Direction, Toxic, Toxiproxy};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::elector::candidates::{Field, Library};
use crate::figures::table;

const GROUPS: usize = 2;
const CANDIDATES: usize = 3;
/// The same spikes in each run.
const SEED: u64 = 1;
const LOOK: Duration = Duration::from_millis(200);

struct Rival {
    library: Library,
    proxy: String,
    launch: Launch,
    running: Running,
    restarts: usize,
}

/// Measures and prints.
pub fn run(field: &Field) -> Result<()> {
    let minutes = env::var("SPIKE_MINUTES").ok().map(|text| text.parse()).transpose();
    let minutes: f64 = minutes.context("SPIKE_MINUTES must be a number")?.unwrap_or(10.0);
    let lasts = Duration::from_secs_f64(minutes * 60.0);
    eprintln!("answers of the API server take 1 to 3 s longer now and then, for {minutes} minutes");
    let toxiproxy = Toxiproxy::start()?;
    let observer = {
        let _in = field.place.runtime().enter();
        Observer::start(field.place.client(), field.place.name())
    };
    let mut rivals = Vec::new();
    for library in Library::ALL {
        for group in 0..GROUPS {
            for nth in 0..CANDIDATES {
                rivals.push(rival(field, &toxiproxy, library, group, nth)?);
            }
        }
    }
    thread::sleep(Duration::from_secs(5));
    let before: Vec<_> = leases().map(|(_, _, lease)| observer.of(&lease).len()).collect();
    let spikes = spike(&toxiproxy, &mut rivals, lasts)?;

    println!("\n## {spikes} spikes of 1 to 3 s in {minutes} minutes, timing 15 s / 10 s / 2 s\n");
    let mut figures = table(&["library", "groups", "leader changes", "processes that ended", "overlaps", "goal"]);
    for library in Library::ALL {
        let mut changes = 0;
        for ((_, _, lease), seen) in leases().zip(&before).filter(|((of, ..), _)| *of == library) {
            changes += changes_of(&observer.of(&lease)[seen.saturating_sub(1)..]);
        }
        let ended: usize = rivals.iter().filter(|rival| rival.library == library).map(|rival| rival.restarts).sum();
        let (overlaps, goal) = if library == Library::Ours {
            let overlaps = (0..GROUPS).map(|group| overlaps(&folder(field, group), &observer, group));
            (overlaps.sum::<Result<usize>>()?.to_string(), "overlaps 0")
        } else {
            ("not recorded".to_owned(), "")
        };
        let name = library.name().to_owned();
        figures.add_row([name, GROUPS.to_string(), changes.to_string(), ended.to_string(), overlaps, goal.to_owned()]);
    }
    println!("{figures}");
    Ok(())
}

fn lease_name(library: Library, group: usize) -> String {
    format!("{}-spikes-{group}", library.name())
}

fn leases() -> impl Iterator<Item = (Library, usize, String)> {
    let all = Library::ALL.into_iter().flat_map(|library| (0..GROUPS).map(move |group| (library, group)));
    all.map(|(library, group)| (library, group, lease_name(library, group)))
}

fn folder(field: &Field, group: usize) -> std::path::PathBuf {
    field.folder().join(lease_name(Library::Ours, group))
}

fn rival(field: &Field, toxiproxy: &Toxiproxy, library: Library, group: usize, nth: usize) -> Result<Rival> {
    let lease = lease_name(library, group);
    let proxy = format!("{lease}-{nth}");
    let address = toxiproxy.add(&proxy, &field.place.server()?)?;
    let mut launch = field.launch(library, &lease, Some(&address))?;
    if library == Library::Ours {
        fs::create_dir_all(folder(field, group))?;
        let history = folder(field, group).join(History::file_name(&launch.identity, 0));
        launch.env.push(("HISTORY", history.into()));
    }
    let running = launch.start()?;
    Ok(Rival { library, proxy, launch, running, restarts: 0 })
}

/// Spikes of a few seconds with as much between them; all candidates suffer each.
fn spike(toxiproxy: &Toxiproxy, rivals: &mut [Rival], lasts: Duration) -> Result<usize> {
    let mut dice = SmallRng::seed_from_u64(SEED);
    let start = Instant::now();
    let mut spikes = 0;
    while start.elapsed() < lasts {
        let latency = Duration::from_millis(dice.random_range(1_000..3_000));
        for rival in &*rivals {
            toxiproxy.spoil(&rival.proxy, "spike", &Toxic::latency(Direction::Down, latency, Duration::ZERO))?;
        }
        spikes += 1;
        tend(rivals, Duration::from_millis(dice.random_range(3_000..8_000)))?;
        for rival in &*rivals {
            toxiproxy.heal(&rival.proxy, "spike")?;
        }
        tend(rivals, Duration::from_millis(dice.random_range(3_000..8_000)))?;
    }
    Ok(spikes)
}

/// Starts those again that ended, as a kubelet would, for a while.
fn tend(rivals: &mut [Rival], time: Duration) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < time {
        for rival in &mut *rivals {
            if rival.running.ended()?.is_some() {
                rival.restarts += 1;
                rival.running = rival.launch.start()?;
            }
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

/// How often the holder changed; nobody is none.
fn changes_of(records: &[Record]) -> usize {
    let holders: Vec<_> = records.iter().filter_map(|record| record.holder.as_ref()).collect();
    holders.iter().zip(holders.iter().skip(1)).filter(|(a, b)| a != b).count()
}

fn overlaps(folder: &std::path::Path, observer: &Observer, group: usize) -> Result<usize> {
    let records = observer.of(&lease_name(Library::Ours, group));
    Ok(check(&History::read_all(folder)?, &records).violations.len())
}
