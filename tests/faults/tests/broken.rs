//! The check can fail: a candidate that keeps the answer to whether it leads is caught.

#![allow(missing_docs)]

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use leadergroup_cluster::{Cluster, Signal};
use leadergroup_faults::check::{Findings, Violation, check};
use leadergroup_faults::history::{History, What};
use leadergroup_faults::place::Place;
use leadergroup_faults::process::{Launch, Running};

const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);

fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !is_so()? {
        ensure!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(LOOK);
    }
    Ok(())
}

/// The leader is stopped until another one leads, and continued.
fn paused_leader(place: &Place, lease: &str, keeps_answers: u32) -> Result<Findings> {
    let folder = tempfile::tempdir()?;
    let kubeconfig = folder.path().join("kubeconfig");
    place.write_kubeconfig(&kubeconfig, None, None)?;
    let start = |identity: &str| -> Result<Running> {
        let history = folder.path().join(History::file_name(identity, 0));
        Launch {
            program: env!("CARGO_BIN_EXE_candidate").into(),
            args: Vec::new(),
            kubeconfig: kubeconfig.clone(),
            namespace: place.name().to_owned(),
            lease: lease.to_owned(),
            identity: identity.to_owned(),
            env: vec![
                ("TIMING", "2000/1000/250".into()),
                ("HISTORY", history.into()),
                ("KEEPS_ANSWERS", keeps_answers.to_string().into()),
            ],
            log: None,
        }
        .start()
    };
    let wrote = |identity: &str, what| -> Result<bool> {
        let history = History::read(&folder.path().join(History::file_name(identity, 0)));
        Ok(history.is_ok_and(|history| history.entries.iter().any(|entry| entry.what == what)))
    };
    let mut first = start("first")?;
    until("first leads", || wrote("first", What::Leads))?;
    let mut second = start("second")?;
    first.signal(Signal::STOP)?;
    until("second leads", || wrote("second", What::Leads))?;
    first.signal(Signal::CONT)?;
    until("first knows that it lost", || wrote("first", What::Lost))?;
    // One that keeps its answers believes for longer.
    until("first has asked again", || wrote("first", What::Lost))?;
    thread::sleep(LOOK * 5);
    ensure!(second.end(PATIENCE)? && first.end(PATIENCE)?, "the candidates do not resign");
    Ok(check(&History::read_all(folder.path())?, &[]))
}

#[test]
fn a_candidate_that_keeps_its_answer_is_caught() -> Result<()> {
    let place = Place::open(&Cluster::from_env()?.kubeconfig(), "broken")?;
    // It is stopped at a random moment, perhaps just before it asks anew.
    let caught = (0..5).any(|n| {
        paused_leader(&place, &format!("keeps-{n}"), 200)
            .is_ok_and(|found| found.violations.iter().any(|v| matches!(v, Violation::Overlap(..))))
    });
    assert!(caught, "five times the leader of before believed that it leads, and it was not noticed");
    Ok(())
}

#[test]
fn a_candidate_that_asks_each_time_does_not_overlap() -> Result<()> {
    let place = Place::open(&Cluster::from_env()?.kubeconfig(), "asks")?;
    let found = paused_leader(&place, "asks", 1)?;
    assert_eq!(found.violations, []);
    // The first, the second, and nobody else: it resigned last.
    assert!(found.terms.len() >= 2, "{:?}", found.terms);
    Ok(())
}
