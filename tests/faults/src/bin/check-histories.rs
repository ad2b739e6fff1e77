//! Checks the histories in folders, each of the candidates of one Lease, and fails if something must not be.

use std::env;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use leadergroup_faults::check::check;
use leadergroup_faults::history::History;

fn main() -> Result<()> {
    let folders: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    ensure!(!folders.is_empty(), "usage: check-histories FOLDER...");
    let mut violations = 0;
    for folder in folders {
        let found = check(&History::read_all(&folder)?, &[]);
        println!("{}: {} terms, {} violations", folder.display(), found.terms.len(), found.violations.len());
        for term in &found.terms {
            println!("  {term}");
        }
        for violation in &found.violations {
            println!("  VIOLATION: {violation}");
        }
        violations += found.violations.len();
    }
    ensure!(violations == 0, "{violations} violations");
    Ok(())
}
