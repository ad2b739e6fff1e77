//! Random schedules of faults on the real API server: never do two believe that they lead, and when the faults have ended
//! somebody leads.
//!
//! `FAULT_SCHEDULES` says how many, 10 by default. A failure prints the seed, and `FAULT_SEED` plays that schedule again,
//! as far as the machine's own timing allows.

#![allow(missing_docs)]

use std::env;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use leadergroup_faults::Stage;
use leadergroup_faults::report::{Summary, explain};

fn number(name: &str) -> Result<Option<u64>> {
    let Ok(text) = env::var(name) else { return Ok(None) };
    text.parse().map(Some).with_context(|| format!("{name} must be a number: {text}"))
}

#[test]
fn two_never_lead_at_once_and_somebody_leads_in_the_end() -> Result<()> {
    // Straight to the terminal: what a test that passes prints is not shown.
    let mut terminal = std::io::stderr();
    let schedules = number("FAULT_SCHEDULES")?.unwrap_or(10);
    let first = match number("FAULT_SEED")? {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    let stage = Stage::open(env!("CARGO_BIN_EXE_candidate").as_ref())?;
    let mut summary = Summary::default();
    let mut broken = Vec::new();
    for seed in first..first + schedules {
        let outcome = stage.play(seed).with_context(|| format!("seed {seed}"))?;
        let terms: usize = outcome.groups.iter().map(|group| group.findings.terms.len()).sum();
        let faults: usize = outcome.faults.values().sum();
        let slowest = outcome.groups.iter().map(|group| group.led_after).max().flatten().unwrap_or_default();
        writeln!(
            terminal,
            "seed {seed}: {faults} faults, {terms} terms, {} violations, led {slowest:.1?} after the faults",
            outcome.violations()
        )?;
        if outcome.violations() > 0 {
            write!(terminal, "{}", explain(&outcome)?)?;
            broken.push(seed);
        }
        summary.add(&outcome);
    }
    writeln!(terminal, "\n{}\n", summary.tables())?;
    ensure!(
        broken.is_empty(),
        "violations with the seeds {broken:?}: play one again with FAULT_SEED=N FAULT_SCHEDULES=1"
    );
    Ok(())
}
