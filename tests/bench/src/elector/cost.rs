//! What an election costs while nothing happens: requests by the API server's audit log, memory by the kernel.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::elector::candidates::{Candidate, Field, Library, Rivals};
use crate::figures::table;
use crate::size::resident;

/// By then all have done what they do once.
const SETTLED: Duration = Duration::from_secs(20);
const WINDOW: Duration = Duration::from_mins(1);

/// Measures and prints.
pub fn run(field: &Field) -> Result<()> {
    eprintln!("requests and memory of a leader and a standby of each library, for {} s", WINDOW.as_secs());
    let mut all: Vec<(Library, &str, Candidate)> = Vec::new();
    for library in Library::ALL {
        let rivals = Rivals::new();
        let lease = format!("{}-cost", library.name());
        let leader = rivals.start(field.launch(library, &lease, None)?)?;
        rivals.led_by(Some(&leader.launch.identity))?;
        let standby = rivals.start(field.launch(library, &lease, None)?)?;
        all.extend([(library, "leader", leader), (library, "standby", standby)]);
    }
    thread::sleep(SETTLED);
    let log = field.cluster.layout()?.audit_log();
    let from = fs::metadata(&log).context("the API server writes no audit log")?.len();
    thread::sleep(WINDOW);
    let requests = requests_since(&log, from)?;

    println!("\n## While nothing happens, for {} s, timing 15 s / 10 s / 2 s\n", WINDOW.as_secs());
    let mut figures = table(&["candidate", "requests", "per second", "goal", "resident, MiB"]);
    for (library, role, candidate) in &all {
        let count = requests.get(&field.user(&candidate.launch)).copied().unwrap_or_default();
        let goal = if (*library, *role) == (Library::Ours, "standby") { "0" } else { "" };
        figures.add_row([
            format!("{}, {role}", library.name()),
            count.to_string(),
            format!("{:.2}", f64::from(count) / WINDOW.as_secs_f64()),
            goal.to_owned(),
            format!("{:.1}", resident(candidate.running.pid())?),
        ]);
    }
    println!("{figures}");
    Ok(())
}

/// The requests after a position in the audit log, watches that were opened among them, by user.
fn requests_since(log: &std::path::Path, from: u64) -> Result<BTreeMap<String, u32>> {
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(from))?;
    let mut requests = BTreeMap::new();
    for line in BufReader::new(file).lines() {
        let Ok(entry) = serde_json::from_str::<Value>(&line?) else { continue };
        // A watch is written when it is opened, too; whatever else, once.
        let stage = if entry["verb"] == "watch" { "ResponseStarted" } else { "ResponseComplete" };
        if entry["stage"] == stage {
            *requests.entry(entry["user"]["username"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    Ok(requests)
}
