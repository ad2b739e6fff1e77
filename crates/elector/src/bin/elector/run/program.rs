//! One run of the program, within one term, as the wrapper sees it.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::process::Stdio;
use std::time::Duration;

use leadergroup_elector::clock::boottime;
use leadergroup_elector::{Leadership, Loss, Status, Term, Token};
use rustix::process::{Pid, Signal};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::channel::{Order, Permit, Received, Report, Time, pair, receive, send};
use super::killing::{Killing, RETRY_INTERVAL};
use super::processes::{has_hidden_child, reap_adopted, signal_one};
use super::signals::{Caught, Signals, asks_to_end};
use super::{stage, watchdog};

/// The runtime's timers stand still while the machine sleeps, so this wakes up more often than it has to.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// What to run.
#[derive(Clone, Debug)]
pub struct Program {
    pub command: Vec<OsString>,
    /// What it finds in its environment, besides the token of the term.
    pub variables: Vec<(&'static str, String)>,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
    /// Set-user-ID bits and file capabilities have their effect.
    pub allow_new_privileges: bool,
}

/// How a run ended. All its processes are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The program's exit code.
    pub code: u8,
    /// It ended because it had to: it did not end by itself, or by a signal that was passed on.
    pub had_to: bool,
    /// A signal that asks to end was passed on.
    pub asked_to_end: bool,
}

/// A program that runs, or is about to.
pub struct Run {
    token: Token,
    channel: UnixStream,
    watchdog: Pid,
    sent: Permit,
    /// What the watchdog said it goes by.
    held: Option<Permit>,
    had_to: bool,
    asked_to_end: bool,
}

impl Run {
    /// Starts a watchdog, which starts the program.
    pub fn start(program: &Program, term: &Term) -> io::Result<Self> {
        let (own, watchdogs) = pair()?;
        let mut command = watchdog::command(program.grace, program.allow_new_privileges, &program.command);
        command.envs(program.variables.iter().cloned()).env("ELECTOR_TOKEN", term.token.0.to_string());
        let child = command.stdin(Stdio::from(watchdogs)).spawn()?;
        let watchdog = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let sent = Permit::of(term);
        send(&own, Order::Permit(sent), Some(io::stdin().as_fd()))?;
        Ok(Self {
            token: term.token,
            channel: UnixStream::from_std(own)?,
            watchdog: watchdog.ok_or_else(|| io::Error::other("a process without a number"))?,
            sent,
            held: None,
            had_to: false,
            asked_to_end: false,
        })
    }

    /// Waits until the program and all its descendants are gone, keeping it to the term. Fails if they can't be killed in
    /// time: then the Lease must not be released, and this process has to end.
    pub async fn gone(
        mut self,
        leadership: &mut Leadership,
        status: &mut watch::Receiver<Status>,
        signals: &mut Signals,
    ) -> io::Result<Ended> {
        loop {
            if self.must_kill(leadership, &status.borrow_and_update()) {
                self.kill_here(leadership).await?;
                return Ok(self.ended(stage::KILLED, true));
            }
            let due = self.due().saturating_sub(boottime()).min(LONGEST_SLEEP);
            tokio::select! {
                biased;
                readable = self.channel.readable() => {
                    readable?;
                    if let Some(ended) = self.reports(leadership).await? {
                        return Ok(ended);
                    }
                }
                true = leadership.changed() => {}
                Ok(()) = status.changed() => {}
                signal = signals.next() => match signal {
                    Caught::ChildEnded => reap_adopted()?,
                    Caught::Meant(signal) => {
                        self.asked_to_end |= asks_to_end(signal);
                        self.order(Order::Signal(signal));
                    }
                },
                () = tokio::time::sleep(due) => {}
            }
        }
    }

    fn ended(&self, code: u8, had_to: bool) -> Ended {
        Ended { code, had_to: had_to || self.had_to, asked_to_end: self.asked_to_end }
    }

    /// Passes on what became of the term. Says whether the wrapper has to kill everything itself.
    fn must_kill(&mut self, leadership: &Leadership, status: &Status) -> bool {
        let now = boottime();
        match self.term(leadership) {
            Some(term) => {
                let permit = Permit::of(&term);
                if permit != self.sent && !self.had_to {
                    self.sent = permit;
                    self.order(Order::Permit(permit));
                }
                if status.should_step_down && !self.had_to {
                    tracing::info!("another candidate shall lead: the program is asked to end");
                    self.stop();
                }
            }
            None => match &status.loss {
                // Somebody else may lead by now.
                Some(Loss::Taken(_) | Loss::Freed | Loss::IdentityShared) => {
                    tracing::error!("the Lease was lost to somebody else: the program is killed");
                    return true;
                }
                _ if !self.had_to => self.stop(),
                _ => {}
            },
        }
        let too_long = now >= self.held.unwrap_or(self.sent).kill_at;
        if too_long && !self.had_to {
            tracing::error!("the watchdog does not answer: it is killed, and the program with it");
        }
        too_long
    }

    /// The term of this run, while it lasts.
    fn term(&self, leadership: &Leadership) -> Option<Term> {
        leadership.term().filter(|term| term.token == self.token)
    }

    fn stop(&mut self) {
        self.had_to = true;
        self.order(Order::Stop);
    }

    fn due(&self) -> Time {
        let held = self.held.unwrap_or(self.sent);
        if boottime() < held.stop_at { held.stop_at } else { held.kill_at }
    }

    /// What can't be sent is not answered either.
    fn order(&self, order: Order) {
        let _ = send(&self.channel, order, None);
    }

    /// Takes in what the watchdog has to say. Returns how the program ended once it has.
    async fn reports(&mut self, leadership: &Leadership) -> io::Result<Option<Ended>> {
        loop {
            let received = self.channel.try_io(Interest::READABLE, || match receive(&self.channel)? {
                // Else the runtime would take it for readable.
                Received::Nothing => Err(io::ErrorKind::WouldBlock.into()),
                received => Ok(received),
            });
            match received {
                Ok(Received::Nothing) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Ok(Received::Message(Report::Holds(permit), _)) => self.held = Some(permit),
                Ok(Received::Message(Report::Gone { code, had_to }, _)) => return Ok(Some(self.ended(code, had_to))),
                Ok(Received::Message(Report::Stuck, _)) => {
                    return Err(io::Error::other("the watchdog could not kill all its processes in time"));
                }
                Ok(Received::Closed) | Err(_) => {
                    tracing::error!("the watchdog has ended too soon: the program is killed");
                    self.kill_here(leadership).await?;
                    return Ok(Some(self.ended(stage::KILLED, true)));
                }
            }
        }
    }

    /// Kills the watchdog and all else below this process, or fails after a time limit.
    async fn kill_here(&self, leadership: &Leadership) -> io::Result<()> {
        // It has a session of its own only when it has begun.
        signal_one(self.watchdog, Signal::KILL);
        let mut killing = Killing::begin();
        loop {
            let left = killing.attempt()?;
            reap_adopted()?;
            if left.count == 0 && !has_hidden_child()? {
                return Ok(());
            }
            let give_up_at = match self.term(leadership) {
                Some(_) => self.sent.give_up_at(killing.since),
                None => killing.since + self.sent.kill_limit(),
            };
            if boottime() >= give_up_at {
                return Err(io::Error::other(format!("SIGKILL has not ended all processes in time: {left}")));
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }
}
