//! What a candidate writes down while it runs, one line for each thing, so that nothing is lost when it is killed.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use leadergroup_elector::clock::boottime;

/// What happened to a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It began to campaign.
    Started,
    /// It asked, and was told that it leads.
    Leads,
    /// It got the news that it leads.
    Gained,
    /// It got the news that it leads no more.
    Lost,
    /// It has left, and ends.
    Left,
}

const WORDS: [(What, &str); 5] = [
    (What::Started, "started"),
    (What::Leads, "leads"),
    (What::Gained, "gained"),
    (What::Lost, "lost"),
    (What::Left, "left"),
];

impl What {
    fn word(self) -> &'static str {
        WORDS.iter().find(|(what, _)| *what == self).map_or("", |(_, word)| word)
    }
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, by the clock that all processes of a machine share and that goes on while it sleeps.
    pub at: Duration,
    /// What happened.
    pub what: What,
    /// The token of the term that it is about; 0 if it is about none.
    pub token: u64,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.at.as_nanos(), self.what.word(), self.token)
    }
}

impl FromStr for Entry {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let mut parts = line.split(' ');
        let (Some(at), Some(word), Some(token), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            bail!("not of the form `NANOSECONDS WORD TOKEN`: {line:?}");
        };
        let Some((what, _)) = WORDS.iter().find(|(_, known)| *known == word) else {
            bail!("the word {word:?} is unknown: {line:?}");
        };
        Ok(Self { at: Duration::from_nanos(at.parse()?), what: *what, token: token.parse()? })
    }
}

/// Writes a history.
#[derive(Debug)]
pub struct Writer(File);

impl Writer {
    /// Goes on with a file, or makes it.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self(file.with_context(|| format!("cannot write {}", path.display()))?))
    }

    /// Writes that this happens now.
    pub fn note(&self, what: What, token: u64) -> Result<()> {
        self.write(Entry { at: boottime(), what, token })
    }

    /// Writes an entry, in one piece.
    pub fn write(&self, entry: Entry) -> Result<()> {
        (&self.0).write_all(format!("{entry}\n").as_bytes()).context("cannot write the history")
    }
}

/// All that one process wrote. A candidate that was restarted has another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The candidate's identity.
    pub candidate: String,
    /// Which of its processes, from 0.
    pub run: u32,
    /// In the order in which they were written.
    pub entries: Vec<Entry>,
}

const EXTENSION: &str = "history";

impl History {
    /// The name of the file of a candidate's process.
    pub fn file_name(candidate: &str, run: u32) -> String {
        format!("{candidate}.{run}.{EXTENSION}")
    }

    /// Reads a file. A line that its process was killed in is left out.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let parts: Vec<&str> = name.rsplitn(3, '.').collect();
        let [EXTENSION, run, candidate] = parts[..] else {
            bail!("{} is not named CANDIDATE.RUN.{EXTENSION}", path.display());
        };
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let entries = whole.lines().map(str::parse).collect::<Result<Vec<Entry>>>();
        let entries = entries.with_context(|| path.display().to_string())?;
        Ok(Self { candidate: candidate.to_owned(), run: run.parse()?, entries })
    }

    /// Reads all of a folder.
    pub fn read_all(folder: &Path) -> Result<Vec<Self>> {
        let mut histories = Vec::new();
        for file in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                histories.push(Self::read(&path)?);
            }
        }
        histories.sort_by(|a, b| (&a.candidate, a.run).cmp(&(&b.candidate, b.run)));
        Ok(histories)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_but_for_a_line_that_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(History::file_name("billing-0.a", 3));
        let writer = Writer::open(&path).unwrap();
        writer.note(What::Started, 0).unwrap();
        writer.note(What::Leads, 42).unwrap();
        (&writer.0).write_all(b"123 lea").unwrap();
        let [history] = &History::read_all(folder.path()).unwrap()[..] else { panic!("one file, one history") };
        assert_eq!((&*history.candidate, history.run), ("billing-0.a", 3));
        let what: Vec<_> = history.entries.iter().map(|entry| (entry.what, entry.token)).collect();
        assert_eq!(what, [(What::Started, 0), (What::Leads, 42)]);
    }

    #[test]
    fn a_file_that_is_no_history_is_not_taken_for_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.0.history"), "1 sleeps 0\n").unwrap();
        assert!(History::read_all(folder.path()).is_err());
    }
}
