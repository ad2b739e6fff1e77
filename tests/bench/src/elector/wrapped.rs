//! How long it takes from the crash of a program in `elector run` to the start of another one that stood by.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use leadergroup_e2e::cluster::{Signal, workspace_root};
use leadergroup_faults::process::Launch;
use rustix::process::{Pid, kill_process};

use crate::elector::candidates::{Field, Library, Rivals, build};
use crate::figures::{Samples, samples_table};

const CRASHES: usize = 60;
const SETTLED: Duration = Duration::from_millis(700);
const LOOK: Duration = Duration::from_millis(5);
/// What the wrapped program does once it has told that it leads.
const WORKS: &str = "sleep";

/// Measures and prints.
pub fn run(field: &Field) -> Result<()> {
    eprintln!("{CRASHES} crashes of a program in elector run");
    let elector = build(&workspace_root()?, &["--package", "leadergroup-elector", "--bin", "elector"], None)?;
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
    let mut table = samples_table("wrapped program");
    table.add_row(samples.row("killed, the other one runs", 1000.0, "p99 <= 100"));
    println!("{table}");
    Ok(())
}

/// The program somewhere below a process, once it works.
fn program_of(elector: u32) -> Result<Pid> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        let mut below = vec![elector];
        while let Some(pid) = below.pop() {
            if fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == WORKS) {
                return i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process without a number");
            }
            for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
                below.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            }
        }
        thread::sleep(LOOK);
    }
    anyhow::bail!("elector run runs nothing although it leads")
}
