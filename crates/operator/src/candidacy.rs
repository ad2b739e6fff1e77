//! This operator among others: which of them leads is decided by a Lease of their own.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use kube::Config;
use leadergroup_elector::{Elector, Loss, MissingRight, Options, StartError, Status};
use tokio::sync::watch;

use crate::engine::Term;

/// How long a release may take. Past that the others wait for the Lease to run out.
const RELEASE: Duration = Duration::from_secs(5);

/// How this operator comes to lead.
#[derive(Clone, Debug)]
pub enum Candidacy {
    /// It is the only one, so it leads at once and for good.
    Alone,
    /// It campaigns for a Lease.
    ForLease {
        /// How to reach the API server.
        config: Box<Config>,
        /// Which Lease, and as whom.
        options: Options,
    },
}

/// Whether this operator leads in that term at this moment. Asked before each write.
pub type Leads = Arc<dyn Fn(Term) -> bool + Send + Sync>;

/// What a campaign brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// This operator leads, in this term.
    Leads(Term),
    /// It leads no more, for this reason.
    StandsBy(Option<Loss>),
    /// Nothing campaigns for it any more: it can never lead.
    Ended,
}

/// A campaign under way.
pub struct Campaign {
    elector: Option<Elector>,
    status: Option<watch::Receiver<Status>>,
    lease: String,
    told: Option<Term>,
    lacks: Option<MissingRight>,
}

impl Candidacy {
    /// Begins to campaign. Must be called within a tokio runtime.
    pub fn begin(self) -> Result<Campaign, StartError> {
        let (elector, lease) = match self {
            Self::Alone => (None, String::new()),
            Self::ForLease { config, options } => {
                let lease = format!("{}/{}", options.namespace, options.lease);
                (Some(Elector::start(*config, options)?), lease)
            }
        };
        let status = elector.as_ref().map(Elector::status);
        Ok(Campaign { elector, status, lease, told: None, lacks: None })
    }
}

impl Campaign {
    /// For checks of leadership elsewhere.
    pub fn leads(&self) -> Leads {
        match &self.elector {
            None => Arc::new(|_| true),
            Some(elector) => {
                let leadership = elector.leadership();
                Arc::new(move |asked| leadership.term().is_some_and(|term| term.token.0 == asked))
            }
        }
    }

    /// Waits for the next news. Nothing is lost when it is dropped before they come.
    pub async fn news(&mut self) -> News {
        loop {
            let (term, loss) = match &mut self.status {
                None => (Some(0), None),
                Some(status) => {
                    let now = status.borrow_and_update().clone();
                    self.tell_lack(now.missing_right);
                    (now.term.map(|token| token.0), now.loss)
                }
            };
            if term != self.told {
                self.told = term;
                return term.map_or(News::StandsBy(loss), News::Leads);
            }
            match &mut self.status {
                None => pending().await,
                Some(status) => {
                    if status.changed().await.is_err() {
                        // Its last word is not its news any more.
                        (self.status, self.told) = (None, Some(0));
                        return News::Ended;
                    }
                }
            }
        }
    }

    fn tell_lack(&mut self, lacks: Option<MissingRight>) {
        if let Some(right) = lacks.as_ref().filter(|_| self.lacks != lacks) {
            let who =
                right.service_account.as_ref().map_or("this user".to_owned(), |(ns, name)| format!("{ns}/{name}"));
            tracing::error!(
                lease = self.lease,
                "this operator can't lead: allow {who} to {} this Lease, as config/rbac does",
                right.verb
            );
        }
        self.lacks = lacks;
    }

    /// Gives the Lease up, for another to lead at once. To be called once nothing is under way that needs it.
    pub async fn resign(self) {
        let Some(elector) = self.elector else { return };
        if tokio::time::timeout(RELEASE, elector.resign()).await.is_err() {
            tracing::warn!(lease = self.lease, "could not release the Lease in time; others lead once it ran out");
        }
    }
}
