//! Joins a candidate to the API server: a watch and answers in, requests and news out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::{BoxFuture, OptionFuture};
use kube::Api;
use leadergroup_election::{Candidate, Input, Loss, Observation, Output, Term, Version};
use tokio::sync::{mpsc, watch};

use crate::clock::{boottime, until};
use crate::lease::{self, Lease};
use crate::problem::{MissingRight, Problem};
use crate::requests::{Reply, send};
use crate::watch::{Brought, watch};

/// A timer may be that late after the machine was suspended: tokio's timers stand still with it.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// What a candidate knows, for whoever waits for a change of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The present term, if this candidate leads. Ask [`crate::Leadership`] whether it still does.
    pub term: Option<Token>,
    /// Why the last term ended.
    pub loss: Option<Loss>,
    /// Who holds the Lease, as far as is known.
    pub holder: Option<String>,
    /// Another candidate is asked to lead instead of this one.
    pub should_step_down: bool,
    /// What keeps this candidate from its Lease, if something does.
    pub problem: Option<Arc<str>>,
    /// The right it lacks, if that is what keeps it.
    pub missing_right: Option<MissingRight>,
    /// It has released the Lease, and campaigns no more.
    pub left: bool,
}

/// Tells a term from all others of the same Lease: larger in each later one.
pub type Token = Version;

/// What the handle asks of the driver.
pub(crate) enum Command {
    Resign,
    StepDown,
}

pub(crate) struct Driver {
    pub api: Api<Lease>,
    pub name: String,
    pub candidate: Candidate,
    /// The present term, shared with whoever checks it.
    pub term: watch::Sender<Option<Term>>,
    pub status: watch::Sender<Status>,
    /// When the next turn is due.
    pub due: watch::Sender<Instant>,
    pub commands: mpsc::UnboundedReceiver<Command>,
}

impl Driver {
    /// Runs until the candidate has left, or the handle is gone: then it resigns first.
    pub async fn run(mut self) {
        let mut brought = watch(self.api.clone(), &self.name);
        // Whether the watch has brought anything since it was opened.
        let mut delivers = false;
        let mut lease: Option<Lease> = None;
        let mut is_held = true;
        let mut under_way: OptionFuture<BoxFuture<'static, Reply>> = None.into();
        while !self.status.borrow().left {
            let wake = self.candidate.next_wake().map_or(LONGEST_SLEEP, until).min(LONGEST_SLEEP);
            self.due.send_replace(Instant::now() + wake);
            let mut arrived = None;
            let input = tokio::select! {
                biased;
                command = self.commands.recv(), if is_held => match command {
                    Some(Command::StepDown) => Input::StepDown,
                    Some(Command::Resign) => Input::Resign,
                    None => {
                        is_held = false;
                        Input::Resign
                    }
                },
                Some(reply) = &mut under_way => {
                    under_way = None.into();
                    self.note_problem(reply.problem.as_ref());
                    if delivers && self.tells_more(&reply) {
                        // What had to be asked for should have been brought: the connection may be dead without a word.
                        brought = watch(self.api.clone(), &self.name);
                        delivers = false;
                    }
                    arrived = reply.lease;
                    Input::Answered { request: reply.id, answer: reply.answer }
                }
                next = brought.next() => match next {
                    Some(Brought::Lease(found)) => match lease::seen(&found) {
                        Ok(observation) => {
                            delivers = true;
                            arrived = Some(*found);
                            Input::Watched(observation)
                        }
                        Err(error) => {
                            self.note_problem(Some(&Problem::Version(error)));
                            Input::WatchLost
                        }
                    },
                    Some(Brought::Deleted(last)) => {
                        Input::Watched(Observation::Absent(lease::version(&last.metadata).ok()))
                    }
                    Some(Brought::Lost(problem)) => {
                        self.note_problem(Some(&problem));
                        Input::WatchLost
                    }
                    None => Input::WatchLost,
                },
                () = tokio::time::sleep(wake) => Input::Woken,
            };
            let outputs = self.candidate.step(input, boottime());
            // Only the version that the candidate goes by can be replaced.
            let current = |lease: &Lease| lease::version(&lease.metadata).ok() == self.candidate.version();
            if let Some(arrived) = arrived.filter(current) {
                lease = Some(arrived);
            }
            for output in outputs {
                if let Output::Send(request) = output {
                    under_way = Some(send(&self.api, &self.name, lease.as_ref(), request)).into();
                } else {
                    self.tell(&output);
                }
            }
            self.tell_holder();
        }
    }

    /// Whether this is the answer to a read, and later than what the candidate knows.
    fn tells_more(&self, reply: &Reply) -> bool {
        let read =
            reply.lease.as_ref().filter(|_| reply.is_read).and_then(|lease| lease::version(&lease.metadata).ok());
        read.is_some() && read > self.candidate.version()
    }

    fn tell(&self, output: &Output) {
        match output {
            Output::Gained(term) => {
                self.set_term(Some(*term));
                tracing::info!(lease = self.name, token = term.token.0, "leading");
                self.status.send_modify(|status| (status.term, status.loss) = (Some(term.token), None));
            }
            Output::Extended(term) => self.set_term(Some(*term)),
            Output::Lost(loss) => {
                self.set_term(None);
                tracing::info!(lease = self.name, ?loss, "leading no more");
                self.status.send_modify(|status| (status.term, status.loss) = (None, Some(loss.clone())));
            }
            Output::Left => self.status.send_modify(|status| status.left = true),
            Output::Send(_) => {}
        }
    }

    fn set_term(&self, term: Option<Term>) {
        self.term.send_replace(term);
    }

    fn tell_holder(&self) {
        let (holder, should_step_down) = (self.candidate.holder(), self.candidate.should_step_down());
        self.status.send_if_modified(|status| {
            let news = status.holder.as_deref() != holder || status.should_step_down != should_step_down;
            if news {
                (status.holder, status.should_step_down) = (holder.map(ToOwned::to_owned), should_step_down);
            }
            news
        });
    }

    /// Notes what a request ran into, or that one ran into nothing.
    fn note_problem(&self, problem: Option<&Problem>) {
        let told: Option<Arc<str>> = problem.map(|problem| problem.to_string().into());
        let missing_right = problem.and_then(Problem::missing_right);
        self.status.send_if_modified(|status| {
            let news = status.problem != told;
            if news {
                if let Some(told) = &told {
                    tracing::warn!(lease = self.name, "{told}");
                } else {
                    tracing::info!(lease = self.name, "the API server answers as it should again");
                }
                (status.problem, status.missing_right) = (told, missing_right);
            }
            news
        });
    }
}
