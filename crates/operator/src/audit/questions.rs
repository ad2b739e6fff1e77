//! What is asked: the least that lets any elector lead, and two things worth a note.

use super::Subject;

/// Something an account may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Get the Lease. Every elector needs it.
    Get,
    /// Update the Lease.
    Update,
    /// Patch the Lease: some electors renew so. One of the two is needed.
    Patch,
    /// Watch the Lease. Electors that poll do without.
    Watch,
    /// Create a Lease, which can't be limited to a name. Needed while there is none.
    Create,
    /// Update any Lease of any namespace. No candidate needs it.
    UpdateAnywhere,
}

impl Right {
    /// The verb.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Update | Self::UpdateAnywhere => "update",
            Self::Patch => "patch",
            Self::Watch => "watch",
            Self::Create => "create",
        }
    }
}

/// One question to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Which account of the subject.
    pub account: usize,
    /// What it may do.
    pub right: Right,
}

/// What was answered, question by question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers(Vec<(Question, bool)>);

impl Answers {
    /// Takes in an answer.
    pub fn note(&mut self, question: Question, allowed: bool) {
        self.0.push((question, allowed));
    }

    /// The answer to a question; none if it was not asked.
    pub fn to(&self, account: usize, right: Right) -> Option<bool> {
        self.0.iter().find(|(question, _)| *question == Question { account, right }).map(|(_, allowed)| *allowed)
    }

    /// Whether that is allowed, as far as was asked.
    pub fn allow(&self, account: usize, right: Right) -> bool {
        self.to(account, right) == Some(true)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// How many of them were yes.
    pub fn allowed(&self) -> usize {
        self.0.iter().filter(|(_, allowed)| *allowed).count()
    }
}

/// The next question about this subject; none once all that matters is known.
///
/// At most four for each account; and while there is no Lease whether one of them may create it, at most one more each.
pub fn next(subject: &Subject, answers: &Answers) -> Option<Question> {
    let accounts = 0..subject.accounts.len();
    for account in accounts.clone() {
        let matters = |right| match right {
            Right::Patch => !answers.allow(account, Right::Update),
            Right::Watch => answers.allow(account, Right::Get),
            Right::UpdateAnywhere => answers.allow(account, Right::Update),
            Right::Get | Right::Update => true,
            Right::Create => false,
        };
        let order = [Right::Get, Right::Update, Right::Patch, Right::Watch, Right::UpdateAnywhere];
        if let Some(right) = order.into_iter().find(|right| matters(*right) && answers.to(account, *right).is_none()) {
            return Some(Question { account, right });
        }
    }
    // Who creates the Lease does so for all.
    let right = Right::Create;
    if !subject.must_create || accounts.clone().any(|account| answers.allow(account, right)) {
        return None;
    }
    accounts
        .into_iter()
        .find(|account| answers.to(*account, right).is_none())
        .map(|account| Question { account, right })
}
