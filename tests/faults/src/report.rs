//! What there is to show of schedules that were played.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;

use crate::check::{Findings, Violation};
use crate::history::{History, What};
use crate::play::{GroupOutcome, Outcome};
use crate::schedule::{CANDIDATES, GROUPS, MIXED, schedule};

/// Sums up schedules.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    schedules: usize,
    faults: BTreeMap<String, usize>,
    terms: usize,
    overlaps: usize,
    others: usize,
    led_after: Vec<Duration>,
}

impl Summary {
    /// Adds one.
    pub fn add(&mut self, outcome: &Outcome) {
        self.schedules += 1;
        for (name, times) in &outcome.faults {
            *self.faults.entry(name.clone()).or_default() += times;
        }
        for group in &outcome.groups {
            let overlaps = overlaps(&group.findings);
            self.terms += group.findings.terms.len();
            self.overlaps += overlaps;
            self.others += group.findings.violations.len() - overlaps + group.died.len();
            self.led_after.extend(group.led_after);
        }
    }

    /// As tables.
    pub fn tables(&self) -> String {
        let table = |head: [&str; 3]| {
            let mut table = Table::new();
            table.load_style(ASCII_MARKDOWN).set_header(head);
            table
        };
        let mut what = table(["our elector under faults", "count", "goal"]);
        let groups = self.schedules * GROUPS;
        let longest = self.led_after.iter().max().copied().unwrap_or_default();
        what.add_row(["schedules".to_owned(), self.schedules.to_string(), String::new()]);
        what.add_row([
            format!("groups of {CANDIDATES} candidates ({MIXED} of {GROUPS} with one of client-go)"),
            groups.to_string(),
            String::new(),
        ]);
        what.add_row(["faults".to_owned(), self.faults.values().sum::<usize>().to_string(), String::new()]);
        what.add_row(["terms of our candidates".to_owned(), self.terms.to_string(), String::new()]);
        what.add_row(["overlaps: two believe that they lead".to_owned(), self.overlaps.to_string(), "0".to_owned()]);
        what.add_row([
            "beliefs against the Lease's record, tokens out of order, candidates that died".to_owned(),
            self.others.to_string(),
            "0".to_owned(),
        ]);
        what.add_row([
            "groups without a leader after the faults".to_owned(),
            (groups - self.led_after.len()).to_string(),
            "0".to_owned(),
        ]);
        what.add_row([
            "longest time without a leader after the faults, s".to_owned(),
            format!("{:.2}", longest.as_secs_f64()),
            String::new(),
        ]);
        let mut faults = table(["fault", "count", ""]);
        for (name, times) in &self.faults {
            faults.add_row([name.as_str(), &times.to_string(), ""]);
        }
        format!("{what}\n\n{faults}")
    }
}

fn overlaps(findings: &Findings) -> usize {
    findings.violations.iter().filter(|violation| matches!(violation, Violation::Overlap(..))).count()
}

/// What a person needs to find the cause of a schedule's violations.
pub fn explain(outcome: &Outcome) -> Result<String> {
    let mut text = format!("seed {}: {} violations\n", outcome.seed, outcome.violations());
    for (n, group) in outcome.groups.iter().enumerate() {
        let is_fine = group.findings.violations.is_empty() && group.died.is_empty() && group.led_after.is_some();
        if !is_fine {
            explain_group(&mut text, outcome, n, group)?;
        }
    }
    Ok(text)
}

fn explain_group(text: &mut String, outcome: &Outcome, n: usize, group: &GroupOutcome) -> Result<()> {
    writeln!(text, "group {n}, times in seconds since the first fault:")?;
    for violation in &group.findings.violations {
        writeln!(text, "  VIOLATION {violation}")?;
    }
    for died in &group.died {
        writeln!(text, "  VIOLATION {died} ended though nobody told it to")?;
    }
    if group.led_after.is_none() {
        writeln!(text, "  VIOLATION nobody leads after the faults")?;
    }
    let since = |at: Duration| at.as_secs_f64() - outcome.began.as_secs_f64();
    let mut lines = Vec::new();
    for history in History::read_all(&group.folder)? {
        for entry in history.entries.iter().filter(|entry| entry.what != What::Leads) {
            let History { candidate, run, .. } = &history;
            lines.push((entry.at, format!("{candidate} (run {run}) {:?} {}", entry.what, entry.token)));
        }
    }
    for term in &group.findings.terms {
        lines.push((term.from, format!("{} says that it leads, token {}", term.candidate, term.token)));
        lines.push((term.to, format!("{} says so for the last time, token {}", term.candidate, term.token)));
    }
    for record in &group.records {
        let holder = record.holder.as_deref().unwrap_or("nobody");
        lines.push((record.seen, format!("the Lease names {holder}, version {}", record.version)));
    }
    lines.push((outcome.ended, "the last fault has ended".to_owned()));
    lines.sort();
    for (at, line) in lines {
        writeln!(text, "  {:9.4} {line}", since(at))?;
    }
    writeln!(text, "faults of seed {}:", outcome.seed)?;
    for fault in schedule(outcome.seed).iter().filter(|fault| fault.is_of(n)) {
        writeln!(text, "  {fault}")?;
    }
    Ok(())
}
