//! Checks what candidates of one Lease believed: never two at the same moment, never against the Lease's record, and
//! later terms with larger tokens.
//!
//! It knows nothing of how they came to believe it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::history::{History, What};

/// What a candidate's process said of one term: that it leads, at the first and at the last moment and so in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// The candidate's identity.
    pub candidate: String,
    /// Which of its processes.
    pub run: u32,
    /// The term's token.
    pub token: u64,
    /// The first moment at which it said so.
    pub from: Duration,
    /// The last one.
    pub to: Duration,
}

/// A version of the Lease, as somebody saw it who has no part in the election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was seen. It was written before that.
    pub seen: Duration,
    /// The Lease's resourceVersion.
    pub version: u64,
    /// Whom it names.
    pub holder: Option<String>,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Two believed that they lead, at the same moment.
    Overlap(Term, Term),
    /// A later term has a token that is not larger.
    TokenOrder(Term, Term),
    /// A candidate believed that it leads after the Lease was seen with another holder, or with none.
    Denied(Term, Record),
}

/// What there is to say about the histories of one Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// By the moment at which they began.
    pub terms: Vec<Term>,
    /// All of them.
    pub violations: Vec<Violation>,
    /// From the end of a term to the next term's begin.
    pub leaderless: Vec<(Duration, Duration)>,
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { candidate, run, token, from, to } = self;
        let (from, to) = (from.as_secs_f64(), to.as_secs_f64());
        write!(f, "{candidate} (run {run}, token {token}) from {from:.6} to {to:.6}")
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlap(a, b) => write!(f, "two lead at once: {a}; {b}"),
            Self::TokenOrder(a, b) => write!(f, "the later term's token is not larger: {a}; {b}"),
            Self::Denied(term, record) => {
                let holder = record.holder.as_deref().unwrap_or("nobody");
                let seen = record.seen.as_secs_f64();
                write!(f, "{term}; but at {seen:.6} version {} named {holder}", record.version)
            }
        }
    }
}

/// Checks the histories of one Lease's candidates, and its record as far as it is known.
pub fn check(histories: &[History], records: &[Record]) -> Findings {
    let mut terms: Vec<Term> = histories.iter().flat_map(terms_of).collect();
    terms.sort_by_key(|term| (term.from, term.token));
    let mut found = Findings::default();
    for (n, term) in terms.iter().enumerate() {
        let earlier = || terms[..n].iter();
        let overlaps = earlier().filter(|other| other.to >= term.from && !is_same_process(other, term));
        found.violations.extend(overlaps.map(|other| Violation::Overlap(other.clone(), term.clone())));
        if let Some(other) = earlier().find(|other| other.token >= term.token) {
            found.violations.push(Violation::TokenOrder(other.clone(), term.clone()));
        }
        let denied = records.iter().find(|record| {
            record.version > term.token && record.seen < term.to && record.holder.as_ref() != Some(&term.candidate)
        });
        found.violations.extend(denied.map(|record| Violation::Denied(term.clone(), record.clone())));
        let led_until = earlier().map(|other| other.to).max();
        found.leaderless.extend(led_until.filter(|end| *end < term.from).map(|end| (end, term.from)));
    }
    found.terms = terms;
    found
}

fn is_same_process(a: &Term, b: &Term) -> bool {
    (&a.candidate, a.run) == (&b.candidate, b.run)
}

/// A term goes on from the first to the last moment at which its leader said that it leads, also while it was paused.
fn terms_of(history: &History) -> Vec<Term> {
    let mut terms: BTreeMap<u64, Term> = BTreeMap::new();
    for entry in history.entries.iter().filter(|entry| entry.what == What::Leads) {
        let term = terms.entry(entry.token).or_insert_with(|| Term {
            candidate: history.candidate.clone(),
            run: history.run,
            token: entry.token,
            from: entry.at,
            to: entry.at,
        });
        term.to = term.to.max(entry.at);
    }
    terms.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Entry;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn history(candidate: &str, leads: &[(u64, u64)]) -> History {
        let entry = |(millis, token): &(u64, u64)| Entry { at: at(*millis), what: What::Leads, token: *token };
        History { candidate: candidate.to_owned(), run: 0, entries: leads.iter().map(entry).collect() }
    }

    fn record(millis: u64, version: u64, holder: &str) -> Record {
        let holder = (!holder.is_empty()).then(|| holder.to_owned());
        Record { seen: at(millis), version, holder }
    }

    #[test]
    fn one_after_the_other_is_as_it_should_be() {
        let a = history("a", &[(10, 5), (20, 5), (50, 9)]);
        let b = history("b", &[(21, 7), (40, 7)]);
        let records = [record(11, 5, "a"), record(22, 7, "b"), record(30, 8, "b"), record(51, 9, "a")];
        let found = check(&[a, b], &records);
        assert_eq!(found.violations, []);
        assert_eq!(found.terms.iter().map(|term| term.token).collect::<Vec<_>>(), [5, 7, 9]);
        assert_eq!(found.leaderless, [(at(20), at(21)), (at(40), at(50))]);
    }

    #[test]
    fn a_leader_that_was_paused_and_still_believes_overlaps_with_the_one_that_took_over() {
        let paused = history("a", &[(10, 5), (20, 5), (35, 5)]);
        let next = history("b", &[(30, 7), (34, 7)]);
        let found = check(&[paused, next], &[]);
        assert!(
            matches!(&found.violations[..], [Violation::Overlap(a, b)] if a.candidate == "a" && b.candidate == "b")
        );
    }

    #[test]
    fn the_same_moment_is_an_overlap() {
        let found = check(&[history("a", &[(10, 5)]), history("b", &[(10, 7)])], &[]);
        assert!(matches!(found.violations[..], [Violation::Overlap(..)]));
    }

    #[test]
    fn a_process_overlaps_with_an_earlier_one_of_the_same_candidate() {
        let again = History { run: 1, ..history("a", &[(15, 7)]) };
        let found = check(&[history("a", &[(10, 5), (20, 5)]), again], &[]);
        assert!(matches!(found.violations[..], [Violation::Overlap(..)]));
    }

    #[test]
    fn a_token_that_goes_back_is_found() {
        let found = check(&[history("a", &[(10, 7)]), history("b", &[(20, 5)])], &[]);
        assert!(matches!(found.violations[..], [Violation::TokenOrder(..)]));
        let found = check(&[history("a", &[(10, 7)]), history("b", &[(20, 7)])], &[]);
        assert!(matches!(found.violations[..], [Violation::TokenOrder(..)]));
    }

    #[test]
    fn a_belief_against_the_record_is_found() {
        let a = [history("a", &[(10, 5), (20, 5)])];
        assert!(matches!(check(&a, &[record(19, 6, "other")]).violations[..], [Violation::Denied(..)]));
        assert!(matches!(check(&a, &[record(19, 6, "")]).violations[..], [Violation::Denied(..)]));
        // What came before the term, is the term, or came after the last word of it.
        let fine = [record(9, 4, "other"), record(19, 6, "a"), record(20, 7, "other")];
        assert_eq!(check(&a, &fine).violations, []);
    }
}
