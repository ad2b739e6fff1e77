//! What is printed: tables as kubectl prints them, colours where a terminal shows them, JSON and YAML.
//!
//! Text is written with styles in it; [`print`] takes them out unless standard output is a terminal that has colours, or as
//! `--color` and `NO_COLOR` say. Whatever comes from the cluster goes through [`clean`], which tables do by themselves: an
//! identity is a text of anybody's choice, and could be one that writes over the screen.

use std::env;
use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _, stdout};

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use jiff::{Timestamp, Zoned};
use serde::Serialize;

/// All is well.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Something stands in the way.
pub const BAD: Style = AnsiColor::Red.on_default();
/// Something may stand in the way.
pub const WARN: Style = AnsiColor::Yellow.on_default();
/// What is less important.
pub const DIM: Style = Style::new().dimmed();
/// Headings.
pub const BOLD: Style = Style::new().bold();

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
    pub fn render(self, value: &(impl Serialize + ?Sized)) -> Result<String> {
        Ok(match self {
            Self::Json => serde_json::to_string_pretty(value)? + "\n",
            Self::Yaml => serde_yaml_ng::to_string(value)?,
        })
    }
}

/// What the output goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    pub is_terminal: bool,
    pub width: usize,
    pub height: usize,
    /// Whether it shows more than ASCII.
    pub unicode: bool,
}

impl Screen {
    /// What standard output is now: a terminal may have changed its size.
    pub fn of_stdout() -> Self {
        let is_terminal = stdout().is_terminal();
        let size = || crossterm::terminal::size().ok().filter(|_| is_terminal);
        let (width, height) = size().map_or((80, 24), |(width, height)| (width.into(), height.into()));
        // As a C library looks for them: the first that is set counts.
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(env::var_os).find(|value| !value.is_empty());
        let locale = locale.unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        Self { is_terminal, width, height, unicode: locale.contains("utf-8") || locale.contains("utf8") }
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

/// Tells people something beside what is printed: a line on standard error, whatever of the cluster's is in it.
pub fn tell(text: impl Display) {
    anstream::eprintln!("{}", clean(&text.to_string()));
}

/// Tells why a command has failed.
pub fn tell_error(error: &anyhow::Error) {
    anstream::eprintln!("{}: {}", paint(BAD, "error"), clean(&sentence(error)));
}

/// An error with what caused it. Some errors tell their cause themselves; it is not told again.
pub fn sentence(error: &anyhow::Error) -> String {
    error
        .chain()
        .skip(1)
        .map(ToString::to_string)
        .fold(error.to_string(), |told, cause| if told.ends_with(&cause) { told } else { format!("{told}: {cause}") })
}

/// The text in a style.
pub fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// The text on one line, without characters that would do something to a terminal, or have it show another text.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
            c if c.is_control() || is_format(c) => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Whether it has no look of its own: it turns the direction of what follows, joins or parts it, or is not seen at all.
fn is_format(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
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

    /// What may be missing; then `-`.
    pub fn maybe(text: Option<impl AsRef<str>>) -> Self {
        text.map_or_else(|| Self::from("-"), |text| Self::from(text.as_ref()))
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
        let cell = |cell: Cell| {
            if cell.style.is_plain() || cell.text.is_empty() { cell.text } else { paint(cell.style, cell.text) }
        };
        table.add_row(row.into_iter().map(cell));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// The text with so many spaces before each line.
pub fn indent(by: usize, text: &str) -> String {
    let before = " ".repeat(by);
    text.lines().flat_map(|line| [&before, line, "\n"]).collect()
}

/// How long ago that was, as kubectl writes it. Clocks differ, so what lies ahead is now.
pub fn ago(time: Timestamp, now: &Zoned) -> String {
    span(now.timestamp().duration_since(time).as_secs_f64().round())
}

/// A time span as kubectl writes it: the coarser the longer, but with tenths below ten seconds.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Whole and never negative.
pub fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    if seconds < 10.0 && seconds.fract() >= 0.05 {
        return format!("{seconds:.1}s");
    }
    let s = seconds.round() as u64;
    let (minutes, hours, days) = (s / 60, s / 3600, s / 86_400);
    let two = |large: u64, unit: char, small: u64, small_unit: char| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit}{small}{small_unit}"),
    };
    match s {
        0..120 => format!("{s}s"),
        120..600 => two(minutes, 'm', s % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format!("{days}d"),
        _ => two(days / 365, 'y', days % 365, 'd'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_kubectl_writes_them() {
        let cases = [
            (0.0, "0s"),
            (-3.0, "0s"),
            (0.614, "0.6s"),
            (9.0, "9s"),
            (119.0, "119s"),
            (120.0, "2m"),
            (190.0, "3m10s"),
            (3600.0, "60m"),
            (14_400.0, "4h"),
            (14_460.0, "4h1m"),
            (90_000.0, "25h"),
            (180_000.0, "2d2h"),
            (864_000.0, "10d"),
            (70_000_000.0, "2y80d"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(span(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn what_caused_an_error_is_told_once() {
        let cause = std::io::Error::other("no such file");
        let error = anyhow::Error::new(cause).context("can't read config: no such file").context("no kubeconfig");
        assert_eq!(sentence(&error), "no kubeconfig: can't read config: no such file");
        let error = anyhow::anyhow!("no such file").context("can't read config");
        assert_eq!(sentence(&error), "can't read config: no such file");
    }

    #[test]
    fn columns_align_whatever_is_in_them() {
        let rows = [
            vec!["a".into(), Cell::styled(GOOD, "True"), "x".into()],
            vec!["グループ".into(), Cell::styled(BAD, "False"), "y".into()],
            vec!["long-name".into(), Cell::maybe(None::<&str>), Cell::from("")],
        ];
        let text = table(&["NAME", "READY", "WHY"], rows);
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(plain, "NAME        READY   WHY\na           True    x\nグループ    False   y\nlong-name   -\n");
        assert!(text.contains(&paint(GOOD, "True")), "{text:?}");
    }

    #[test]
    fn nothing_from_the_cluster_reaches_the_terminal_as_a_command() {
        let text = table(&["NAME"], [vec!["\u{1b}[2Jgone\r\nnext\u{7}\u{9b}1A".into()]]);
        assert_eq!(text, "NAME\n\u{fffd}[2Jgone\u{fffd} next\u{fffd}\u{fffd}1A\n");
    }

    #[test]
    fn no_text_is_shown_as_another() {
        for hidden in ['\u{202e}', '\u{2066}', '\u{200b}', '\u{200d}', '\u{feff}', '\u{ad}', '\u{e0041}'] {
            assert_eq!(clean(&format!("a{hidden}b")), "a\u{fffd}b", "{:x}", u32::from(hidden));
        }
        assert_eq!(clean("a\u{2028}b グループ é ё"), "a b グループ é ё");
    }
}
