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
    /// The command that mends it, or what to do where none can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
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
        let mend = self.mend.as_deref().unwrap_or_default();
        mend.lines().fold(told, |told, line| told + "      " + &paint(DIM, "mend:") + " " + &clean(line) + "\n")
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

    fn add(&mut self, level: Level, check: &'static str, message: impl Into<String>, mend: Option<String>) {
        self.findings.push(Finding { level, about: self.about.clone(), check, message: message.into(), mend });
    }

    pub fn ok(&mut self, check: &'static str, message: impl Into<String>) {
        self.add(Level::Ok, check, message, None);
    }

    pub fn skip(&mut self, check: &'static str, why: &str) {
        self.add(Level::Skip, check, format!("not checked: {why}"), None);
    }

    pub fn warn(&mut self, check: &'static str, message: impl Into<String>, mend: impl Into<String>) {
        self.add(Level::Warn, check, message, Some(mend.into()));
    }

    pub fn fail(&mut self, check: &'static str, message: impl Into<String>, mend: impl Into<String>) {
        self.add(Level::Fail, check, message, Some(mend.into()));
    }

    /// What the operator says itself: its sentence tells what to do.
    pub fn said(&mut self, level: Level, check: &'static str, message: impl Into<String>) {
        self.add(level, check, message, None);
    }

    /// Whether that check has found something amiss.
    pub fn objects_to(&self, check: &str) -> bool {
        self.findings.iter().any(|finding| finding.check == check && finding.level > Level::Skip)
    }
}
