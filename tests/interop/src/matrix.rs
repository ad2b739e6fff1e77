//! The table in the README, which a run writes, and with which later runs are compared.

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;

/// Between these lines of the README.
const BEGIN: &str = "<!-- interop: written by `make interop` -->";
const END: &str = "<!-- interop: end -->";

/// What all columns but the first three tell.
const CELLS: [&str; 9] = [
    "pod deleted",
    "container crashed",
    "forced deletion",
    "`Empty`",
    "`Null`",
    "`Delete`",
    "mixed with client-go",
    "its own counter",
    "reported",
];

/// What became of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

/// The table, with the day it was made.
pub fn render(rows: &[Row], date: &str) -> String {
    let mut table = Table::new();
    let head = ["library", "identity", "needs in the spec"].into_iter().chain(CELLS);
    table.load_style(ASCII_MARKDOWN).set_header(head);
    for row in rows {
        let setting = row.setting.as_ref().map(|setting| format!(", `{setting}`")).unwrap_or_default();
        let library = format!("{} {}{setting}", row.library, row.version);
        let first = [library, format!("`{}`", row.identity), row.spec.clone()];
        table.add_row(first.into_iter().chain(row.cells.iter().cloned()));
    }
    format!("{BEGIN}\n{table}\n\nOne run of `make interop`, {date}.\n{END}")
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
        let words = cell.split_whitespace().map(|word| if word.parse::<f64>().is_ok() { "…" } else { word });
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
        }
    }

    #[test]
    fn tables_that_differ_in_timing_are_the_same() {
        let one = render(&[row(&["2.1 s"])], "2026-01-01");
        let other = render(&[row(&["12.75 s"])], "2026-01-02");
        assert_eq!(without_timing(&one), without_timing(&other));
        assert_eq!(without_timing(&one).len(), 2);
    }

    #[test]
    fn an_outcome_or_a_version_makes_a_difference() {
        let one = without_timing(&render(&[row(&["2.1 s"])], "2026-01-01"));
        assert_ne!(one, without_timing(&render(&[row(&["never (in 45 s)"])], "2026-01-01")));
        let newer = Row { version: "1.2.4".to_owned(), ..row(&["2.1 s"]) };
        assert_ne!(one, without_timing(&render(&[newer], "2026-01-01")));
    }

    #[test]
    fn a_table_is_replaced_and_nothing_else() {
        let readme = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let table = render(&[row(&[])], "2026-01-01");
        let new = replaced(&readme, &table).unwrap();
        assert_eq!(new, format!("a\n{table}\nb\n"));
        assert_eq!(found(&new).unwrap(), table);
        assert_eq!(replaced("nothing", &table), None);
    }
}
