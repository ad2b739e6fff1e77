//! What was found, and how it is told.

use serde::Serialize;

use crate::output::{BAD, DIM, GOOD, WARN, clean, paint};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Not looked at, for the reason told.
    Skip,
    /// It works, but not as well as it could, or not for sure.
    Warn,
    /// It stops a group, or the operator.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub level: Level,
    /// `installation`, or the group's namespace and name.
    pub about: String,
    /// Which check it is.
    pub check: &'static str,
    pub message: String,
    /// What to do about it.
    #[serde(flatten)]
    pub mend: Mend,
}

/// What to do about a finding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Mend {
    /// The command that mends it, or shows more; to be run as it is.
    #[serde(rename = "mend", skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What no command can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Mend {
    /// Something that no command can do.
    pub fn advice(text: impl Into<String>) -> Self {
        Self { command: None, advice: Some(text.into()) }
    }

    /// The command, and something that it can't do.
    #[must_use]
    pub fn and(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

impl<T: Into<String>> From<T> for Mend {
    fn from(command: T) -> Self {
        Self { command: Some(command.into()), advice: None }
    }
}

impl Finding {
    /// The lines that tell it.
    pub fn lines(&self) -> String {
        let (style, word) = match self.level {
            Level::Ok => (GOOD, "ok  "),
            Level::Skip => (DIM, "skip"),
            Level::Warn => (WARN, "warn"),
            Level::Fail => (BAD, "fail"),
        };
        let told = format!("{}  {}: {}: {}\n", paint(style, word), self.about, self.check, clean(&self.message));
        let parts = [("mend:", &self.mend.command), ("do:  ", &self.mend.advice)];
        let parts = parts.into_iter().filter_map(|(word, text)| Some((word, text.as_ref()?)));
        parts.fold(told, |told, (word, text)| told + "      " + &paint(DIM, word) + " " + &clean(text) + "\n")
    }
}

/// Findings about one thing.
pub struct Report {
    about: String,
    pub findings: Vec<Finding>,
}

impl Report {
    pub fn about(about: impl Into<String>) -> Self {
        Self { about: about.into(), findings: Vec::new() }
    }

    fn add(&mut self, level: Level, check: &'static str, message: impl Into<String>, mend: Mend) {
        self.findings.push(Finding { level, about: self.about.clone(), check, message: message.into(), mend });
    }

    pub fn ok(&mut self, check: &'static str, message: impl Into<String>) {
        self.add(Level::Ok, check, message, Mend::default());
    }

    pub fn skip(&mut self, check: &'static str, why: &str) {
        self.add(Level::Skip, check, format!("not checked: {why}"), Mend::default());
    }

    pub fn warn(&mut self, check: &'static str, message: impl Into<String>, mend: impl Into<Mend>) {
        self.add(Level::Warn, check, message, mend.into());
    }

    pub fn fail(&mut self, check: &'static str, message: impl Into<String>, mend: impl Into<Mend>) {
        self.add(Level::Fail, check, message, mend.into());
    }

    /// What the operator says itself: its sentence tells what to do.
    pub fn said(&mut self, level: Level, check: &'static str, message: impl Into<String>) {
        self.add(level, check, message, Mend::default());
    }

    /// Whether that check has found something amiss.
    pub fn objects_to(&self, check: &str) -> bool {
        self.findings.iter().any(|finding| finding.check == check && finding.level > Level::Skip)
    }
}
