//! What is printed: tables as kubectl prints them, colours where a terminal shows them, JSON and YAML.
//!
//! Text is written with styles in it; [`print`] takes them out unless standard output is a terminal that has colours, or as
//! `--color` and `NO_COLOR` say. Whatever comes from the cluster goes through [`clean`], which tables do by themselves: an
//! identity is a text of anybody's choice, and could be one that writes over the screen.

use std::fmt::Display;
use std::io::Write as _;

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// All is well.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Something stands in the way.
pub const BAD: Style = AnsiColor::Red.on_default();
/// Something may stand in the way.
pub const WARN: Style = AnsiColor::Yellow.on_default();
/// What is less important.
pub const DIM: Style = Style::new().dimmed();

/// For programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Json,
    Yaml,
}

impl Format {
    /// The value as text, with a line's end behind it.
    ///
    /// # Errors
    ///
    /// When the value can't be written so, which no value of this program is.
    pub fn render(self, value: &impl Serialize) -> Result<String> {
        Ok(match self {
            Self::Json => serde_json::to_string_pretty(value)? + "\n",
            Self::Yaml => serde_yaml_ng::to_string(value)?,
        })
    }
}

/// Writes to standard output.
///
/// # Errors
///
/// When nobody reads it any more, for instance.
pub fn print(text: &str) -> Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Tells people something beside what is printed: a line on standard error.
pub fn tell(text: impl Display) {
    anstream::eprintln!("{text}");
}

/// The text in a style.
pub fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// The text on one line, without characters that would do something to a terminal.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// The content of a table's cell.
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A cell in a style.
    pub fn styled(style: Style, text: impl AsRef<str>) -> Self {
        Self { text: clean(text.as_ref()), style }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::styled(Style::new(), text)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

/// A table as kubectl prints them: no lines, three spaces between columns, nothing cut.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<Cell>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    for row in rows {
        let cell = |cell: Cell| if cell.style.is_plain() { cell.text } else { paint(cell.style, cell.text) };
        table.add_row(row.into_iter().map(cell));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}
