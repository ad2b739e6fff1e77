//! A candidate's handle.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures::future::{Either, select};
use kube::{Api, Client, Config};
use leadergroup_election::{Candidate, Term, Timing};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::clock::boottime;
use crate::driver::{Command, Driver, Status};

/// Which Lease to campaign for, and as whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub lease: String,
    /// This candidate's identity: no two that live at the same time may have the same. A pod's name and UID, as
    /// `{pod}_{uid}`, is such a one, and tells whoever watches which pod leads.
    pub identity: String,
    /// The timing, unless the Lease asks for another.
    pub timing: Timing,
}

impl Options {
    /// A candidate with the timing that most run.
    pub fn new(namespace: impl Into<String>, lease: impl Into<String>, identity: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), lease: lease.into(), identity: identity.into(), timing: Timing::DEFAULT }
    }

    /// The same with another timing.
    #[must_use]
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }
}

/// Why a candidate can't begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An empty identity would hold nothing.
    #[error("the identity is empty: give this candidate one of its own, such as the pod's name and UID")]
    NoIdentity,
    /// The configuration can't be used.
    #[error("the API server's address or credentials can't be used: {0}")]
    Client(#[from] kube::Error),
}

/// Answers, from any thread and without waiting, whether this candidate leads.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Option<Term>>);

impl Leadership {
    /// The present term, if this candidate leads at this moment.
    ///
    /// The answer is true when it is given. A process that is stopped before it acts on it acts too late, so pass the
    /// term's token to whatever must not be done twice.
    pub fn term(&self) -> Option<Term> {
        let term = *self.0.borrow();
        // The clock after the lock: waiting for it must not make an old answer new.
        term.filter(|term| boottime() < term.valid_until)
    }

    /// Whether this candidate leads at this moment; see [`Leadership::term`].
    pub fn leads(&self) -> bool {
        self.term().is_some()
    }

    /// Waits until a term has begun, was extended by a renewal, or has ended, since this was last asked or cloned. False
    /// once this candidate campaigns no more.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

/// Tells whether a campaign goes on, whatever comes of it: that the API server can't be reached does not stop it.
#[derive(Clone, Debug)]
pub struct Pulse(watch::Receiver<Instant>);

impl Pulse {
    /// How long its next step is overdue. A few seconds on a busy machine; much more only if it hangs.
    ///
    /// By a clock that stands still while the machine sleeps, as the timers do.
    pub fn overdue(&self) -> Duration {
        self.0.borrow().elapsed()
    }

    /// Whether it has ended: the candidate has left, or the task that campaigns broke.
    pub fn has_ended(&self) -> bool {
        self.0.has_changed().is_err()
    }
}

/// A candidate that campaigns in the background. Dropping it resigns, without waiting until that is done.
#[derive(Debug)]
pub struct Elector {
    leadership: Leadership,
    status: watch::Receiver<Status>,
    pulse: Pulse,
    commands: mpsc::UnboundedSender<Command>,
    driver: JoinHandle<()>,
}

impl Elector {
    /// Begins to campaign, with a client of its own: requests under deadlines of the protocol, none sent again behind its
    /// back. Must be called within a tokio runtime.
    pub fn start(mut config: Config, options: Options) -> Result<Self, StartError> {
        if options.identity.is_empty() {
            return Err(StartError::NoIdentity);
        }
        config.default_retry = false;
        let api = Api::namespaced(Client::try_from(config)?, &options.namespace);
        let candidate = Candidate::new(options.identity, options.timing, boottime());
        let (term, on_term) = watch::channel(None);
        let (status, on_status) = watch::channel(Status::default());
        let (due, on_due) = watch::channel(Instant::now());
        let (commands, on_command) = mpsc::unbounded_channel();
        let driver = Driver { api, name: options.lease, candidate, term, status, due, commands: on_command };
        let driver = tokio::spawn(driver.run());
        Ok(Self { leadership: Leadership(on_term), status: on_status, pulse: Pulse(on_due), commands, driver })
    }

    /// For checks of leadership elsewhere.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// News of this candidate, as they come.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// For whoever watches over the campaign itself.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Waits until this candidate leads, and returns the term; none once it has left.
    pub async fn leading(&mut self) -> Option<Term> {
        loop {
            let status = self.status.wait_for(|status| status.term.is_some() || status.left).await.ok()?;
            if status.left {
                return None;
            }
            drop(status);
            if let Some(term) = self.leadership.term() {
                return Some(term);
            }
            self.status.changed().await.ok()?;
        }
    }

    /// Waits until this term has ended, or another candidate is asked to lead.
    async fn ended(&mut self, term: Term) {
        let over = |status: &Status| status.term != Some(term.token) || status.should_step_down;
        // If nothing is there to tell, nobody renews.
        let _ = self.status.wait_for(over).await;
    }

    /// Runs `work` whenever this candidate leads, until it ends by itself; then resigns and returns what it returned.
    /// None if the candidate left before.
    ///
    /// The work of a term that is lost is dropped where it waits: at its next `await`. What it spawned lives on, so
    /// have it ask [`Leadership`], or hold a guard that stops it when dropped.
    pub async fn run_while_leading<F, W, T>(mut self, mut work: F) -> Option<T>
    where
        F: FnMut(Term) -> W,
        W: Future<Output = T>,
    {
        while let Some(term) = self.leading().await {
            let done = {
                let work = pin!(work(term));
                let ended = pin!(self.ended(term));
                match select(ended, work).await {
                    Either::Right((done, _)) => Some(done),
                    Either::Left(_) => None,
                }
            };
            if done.is_some() {
                self.resign().await;
                return done;
            }
            // Harmless if the term was lost.
            self.step_down();
            let _ = self.status.wait_for(|status| status.term != Some(term.token)).await;
        }
        None
    }

    /// Ends this term, once the work that needs it has ended, and campaigns on after the others.
    pub fn step_down(&self) {
        let _ = self.commands.send(Command::StepDown);
    }

    /// Releases the Lease, once the work that needs it has ended, and waits until that is done or the Lease has run out.
    pub async fn resign(self) {
        let _ = self.commands.send(Command::Resign);
        // It ends once the candidate has left; if it panicked, nobody renews.
        let _ = self.driver.await;
    }
}
