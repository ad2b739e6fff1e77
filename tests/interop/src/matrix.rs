//! The table in the README, which a run writes, and with which later runs are compared.

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;

use crate::compare::{Pair, Slower};
use crate::scene::{Ended, Outcome};

/// Between these lines of the README.
const BEGIN: &str = "<!-- interop: written by `make interop` -->";
const END: &str = "<!-- interop: end -->";

/// The leader's pod is deleted.
pub const DELETED: &str = "pod deleted";
/// The leader's process is killed, and its container started again.
pub const RESTARTED: &str = "container restarted";
/// The leader's pod is deleted without waiting for its process.
pub const FORCED: &str = "forced deletion";
/// The leader's process is killed, and not started again.
pub const ENDED: &str = "container ended";

/// What all columns but the first three tell.
pub const CELLS: [&str; 11] = [
    DELETED,
    RESTARTED,
    FORCED,
    ENDED,
    "`Empty`",
    "`Null`",
    "`Delete`",
    "mixed with client-go",
    "limit",
    "its own counter",
    "reported",
];

/// Takeovers of one kind, with a LeaderGroup and without.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// What is played.
    pub name: &'static str,
    /// How long it took.
    pub pair: Pair,
    /// The library itself saw to it in most tries, not a clear.
    is_its_own: bool,
}

impl Cell {
    /// The cell of these ends, each with a LeaderGroup and without.
    pub fn of(name: &'static str, ends: impl Iterator<Item = (Ended, Ended)>) -> Self {
        let (mut pair, mut own) = (Pair::default(), 0);
        for (with, without) in ends {
            pair.with.push(with.outcome);
            pair.without.push(without.outcome);
            own += usize::from(with.is_its_own());
        }
        let is_its_own = 2 * own > pair.with.len();
        Self { name, pair, is_its_own }
    }

    /// What is in the table.
    pub fn told(&self) -> String {
        let own = match self.is_its_own {
            false => "",
            true if self.name == RESTARTED => ", kept",
            true => ", released",
        };
        format!("{}{own} / {}", range(&self.pair.with), range(&self.pair.without))
    }
}

/// The shortest and the longest of them.
fn range(outcomes: &[Outcome]) -> String {
    let mut led: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.seconds()).collect();
    led.sort_by(f64::total_cmp);
    let never = outcomes.len() - led.len();
    let (Some(first), Some(last)) = (led.first(), led.last()) else { return Outcome::Never.told() };
    let late = outcomes.iter().filter(|outcome| outcome.is_late()).count();
    let at_expiry = if 2 * late > outcomes.len() { " at expiry" } else { "" };
    let never = if never > 0 { format!(" ({never} of {} never)", outcomes.len()) } else { String::new() };
    format!("{first:.1}–{last:.1} s{at_expiry}{never}")
}

/// What became of one client.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its folder.
    pub client: String,
    /// The library.
    pub library: String,
    /// Its version.
    pub version: String,
    /// What was special about its environment.
    pub setting: Option<String>,
    /// How its holders call themselves.
    pub identity: String,
    /// What its groups need in their spec.
    pub spec: String,
    /// What is in the other columns.
    pub cells: Vec<String>,
    /// The cells whose takeovers were slower with a LeaderGroup.
    pub slower: Vec<(&'static str, Slower)>,
}

/// The table, with the day it was made and the commit.
pub fn render(rows: &[Row], date: &str, commit: &str) -> String {
    let mut table = Table::new();
    let head = ["library", "identity", "needs in the spec"].into_iter().chain(CELLS);
    table.load_style(ASCII_MARKDOWN).set_header(head);
    for row in rows {
        let setting = row.setting.as_ref().map(|setting| format!(", `{setting}`")).unwrap_or_default();
        let library = format!("{} {}{setting}", row.library, row.version);
        let first = [library, format!("`{}`", row.identity), row.spec.clone()];
        table.add_row(first.into_iter().chain(row.cells.iter().cloned()));
    }
    format!("{BEGIN}\n{table}\n\nOne run of `make interop` at commit {commit}, {date}.\n{END}")
}

/// The README with this table in the place of the one it has.
pub fn replaced(readme: &str, table: &str) -> Option<String> {
    let (before, rest) = readme.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{table}{after}"))
}

/// The table that a README has.
pub fn found(readme: &str) -> Option<String> {
    let (_, rest) = readme.split_once(BEGIN)?;
    let (table, _) = rest.split_once(END)?;
    Some(format!("{BEGIN}{table}{END}"))
}

/// A table's rows without what differs from run to run: seconds, the day, and the padding.
pub fn without_timing(table: &str) -> Vec<String> {
    let is_row = |line: &&str| line.starts_with('|') && !line.starts_with("|-");
    let cell = |cell: &str| {
        let is_timing = |word: &str| word.split('–').all(|number| number.parse::<f64>().is_ok());
        let words = cell.split_whitespace().map(|word| if is_timing(word) { "…" } else { word });
        words.collect::<Vec<_>>().join(" ")
    };
    table.lines().filter(is_row).map(|line| line.split('|').map(cell).collect::<Vec<_>>().join("|")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Row {
        let mut all = vec!["-".to_owned(); CELLS.len()];
        for (cell, text) in all.iter_mut().zip(cells) {
            (*text).clone_into(cell);
        }
        let text = |text: &str| text.to_owned();
        Row {
            client: text("a"),
            library: text("lib"),
            version: text("1.2.3"),
            setting: None,
            identity: text("{pod}"),
            spec: text("nothing"),
            cells: all,
            slower: Vec::new(),
        }
    }

    #[test]
    fn tables_that_differ_in_timing_are_the_same() {
        let one = render(&[row(&["2.1–3.0 s / 15.0–17.5 s at expiry"])], "2026-01-01", "abc");
        let other = render(&[row(&["1.9–2.25 s / 14.0–16.5 s at expiry"])], "2026-01-02", "def");
        assert_eq!(without_timing(&one), without_timing(&other));
        assert_eq!(without_timing(&one).len(), 2);
    }

    #[test]
    fn an_outcome_or_a_version_makes_a_difference() {
        let one = without_timing(&render(&[row(&["2.1–3.0 s / 15.0–17.5 s at expiry"])], "2026-01-01", "abc"));
        assert_ne!(one, without_timing(&render(&[row(&["never (in 45 s)"])], "2026-01-01", "abc")));
        let newer = Row { version: "1.2.4".to_owned(), ..row(&["2.1 s"]) };
        assert_ne!(one, without_timing(&render(&[newer], "2026-01-01", "abc")));
    }

    #[test]
    fn a_table_is_replaced_and_nothing_else() {
        let readme = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let table = render(&[row(&[])], "2026-01-01", "abc");
        let new = replaced(&readme, &table).unwrap();
        assert_eq!(new, format!("a\n{table}\nb\n"));
        assert_eq!(found(&new).unwrap(), table);
        assert_eq!(replaced("nothing", &table), None);
    }
}
