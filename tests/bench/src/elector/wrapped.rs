//! How long it takes from the crash of a program in `elector run` to the start of another one that stood by, and what
//! memory that takes.
//!
//! `ELECTOR_PROGRAM` names an elector that was built before, to be measured instead.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use leadergroup_e2e::cluster::{Signal, workspace_root};
use leadergroup_faults::process::Launch;
use rustix::process::{Pid, kill_process};

use crate::elector::candidates::{Field, Library, Rivals, build};
use crate::figures::{Samples, samples_table, table};
use crate::size::resident;

const CRASHES: usize = 60;
const SETTLED: Duration = Duration::from_millis(700);
const LOOK: Duration = Duration::from_millis(5);
/// What the wrapped program does once it has told that it leads.
const WORKS: &str = "sleep";

/// Measures and prints.
pub fn run(field: &Field) -> Result<()> {
    eprintln!("{CRASHES} crashes of a program in elector run");
    let given = env::var_os("ELECTOR_PROGRAM").filter(|path| !path.is_empty()).map(PathBuf::from);
    let package = ["--package", "leadergroup-elector", "--bin", "elector"];
    let elector = given.map_or_else(|| build(&workspace_root()?, &package, None), Ok)?;
    let launch = || -> Result<Launch> {
        let mut launch = field.launch(Library::Ours, "wrapped", None)?;
        launch.program.clone_from(&elector);
        let program = format!("echo \"$IDENTITY started leading\"; exec {WORKS} 86400");
        launch.args = ["run", "--", "sh", "-c", &program].map(Into::into).into();
        launch.env = vec![
            ("ELECTOR_LEASE", launch.lease.clone().into()),
            ("ELECTOR_IDENTITY", launch.identity.clone().into()),
            ("POD_NAMESPACE", launch.namespace.clone().into()),
        ];
        Ok(launch)
    };
    let rivals = Rivals::new();
    let mut leader = rivals.start(launch()?)?;
    rivals.led_by(Some(&leader.launch.identity))?;
    let mut samples = Samples::default();
    for _ in 0..CRASHES {
        let standby = rivals.start(launch()?)?;
        thread::sleep(SETTLED);
        let program = program_of(leader.running.pid())?;
        let from = Instant::now();
        kill_process(program, Signal::KILL)?;
        let led = rivals.led_by(Some(&standby.launch.identity))?;
        samples.add(led.at.saturating_duration_since(from));
        leader = standby;
    }
    println!("\n## From the crash of a program in `elector run` to the start of the next one, in milliseconds\n");
    let mut takeover = samples_table("wrapped program");
    takeover.add_row(samples.row("killed, the other one runs", 1000.0, "p99 <= 100"));
    let standby = rivals.start(launch()?)?;
    thread::sleep(SETTLED);
    println!("{takeover}\n\n## Memory of `elector run`, without the program, all its processes, in MiB\n");
    let mut memory = table(&["candidate", "resident", "goal"]);
    for (role, candidate) in [("leader", &leader), ("standby", &standby)] {
        let own = below(candidate.running.pid()).into_iter().filter(|pid| name_of(*pid) == "elector");
        let sum = own.map(resident).sum::<Result<f64>>()?;
        memory.add_row([role, &format!("{sum:.1}"), "<= 8"]);
    }
    println!("{memory}");
    Ok(())
}

fn name_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// A process and all that it started, and so on.
fn below(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(pid) = all.get(next).copied() {
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        next += 1;
    }
    all
}

/// The program somewhere below a process, once it works.
fn program_of(elector: u32) -> Result<Pid> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        if let Some(pid) = below(elector).into_iter().find(|pid| name_of(*pid) == WORKS) {
            return i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process without a number");
        }
        thread::sleep(LOOK);
    }
    anyhow::bail!("elector run runs nothing although it leads")
}
