//! Campaigns: runs hooks in order, steps down, leaves.

use std::time::Duration;

use anyhow::{Result, bail};
use futures::future::{BoxFuture, OptionFuture};
use leadergroup_elector::{Elector, Status, Token};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::hooks::{Failure, Hooks, Occasion};

/// What a client asks for; it is answered once that is done.
#[derive(Debug)]
pub struct Order {
    pub leave: Leave,
    pub done: oneshot::Sender<()>,
}

/// How to give up leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leave {
    /// Campaign on, after the others.
    StepDown,
    /// For good.
    Resign,
}

/// SIGTERM and SIGINT, and how long to lead on after the first of them.
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
    drain: Duration,
}

impl Stop {
    pub fn new(drain: Duration) -> Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, drain })
    }

    async fn told(&mut self) {
        tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
    }
}

/// What to do next, when no hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Run(Occasion, Token),
    Leave(Leave),
    Wait,
}

/// What has been begun, and what is to become of it.
#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    /// The term whose gain hook was begun, so that a loss hook must follow.
    begun: Option<Token>,
    leave: Option<Leave>,
}

impl Plan {
    /// The term that hooks go by: none once it is to be given up, although the Lease is still held.
    fn wanted(self, term: Option<Token>) -> Option<Token> {
        term.filter(|_| self.leave.is_none())
    }

    fn next(self, term: Option<Token>) -> Next {
        match (self.begun, self.wanted(term)) {
            (Some(begun), wanted) if wanted != Some(begun) => Next::Run(Occasion::Loss, begun),
            (None, Some(term)) => Next::Run(Occasion::Gain, term),
            _ => self.leave.map_or(Next::Wait, Next::Leave),
        }
    }
}

type Hook = BoxFuture<'static, Result<(), Failure>>;

/// Runs the campaign.
pub struct Keeper {
    /// None once this candidate has left.
    elector: Option<Elector>,
    status: watch::Receiver<Status>,
    hooks: Hooks,
    lease_duration: Duration,
    orders: mpsc::Receiver<Order>,
    giving_up: watch::Sender<bool>,
    waiting: Vec<oneshot::Sender<()>>,
    plan: Plan,
    running: Option<Occasion>,
    hook: OptionFuture<Hook>,
}

impl Keeper {
    /// `giving_up` is true while this candidate gives up leadership: its clients are told that it does not lead.
    pub fn new(
        elector: Elector,
        lease_duration: Duration,
        hooks: Hooks,
        orders: mpsc::Receiver<Order>,
        giving_up: watch::Sender<bool>,
    ) -> Self {
        Self {
            status: elector.status(),
            elector: Some(elector),
            hooks,
            lease_duration,
            orders,
            giving_up,
            waiting: Vec::new(),
            plan: Plan::default(),
            running: None,
            hook: None.into(),
        }
    }

    /// Runs until told to stop, and has released the Lease then; or until something broke.
    pub async fn keep(&mut self, mut stop: Stop) -> Result<()> {
        let mut leads_until: Option<Instant> = None;
        let mut stopping = false;
        loop {
            let broken = self.elector.is_some() && self.status.has_changed().is_err();
            let term = self.status.borrow_and_update().term.filter(|_| !broken);
            if stopping && term.is_none() && self.elector.is_some() {
                self.give_up(Leave::Resign);
            }
            // A gain hook has nothing to do any more, once its term is over.
            if self.running == Some(Occasion::Gain) && self.plan.wanted(term) != self.plan.begun {
                (self.running, self.hook) = (None, None.into());
            }
            if self.running.is_none() {
                match self.plan.next(term) {
                    Next::Run(occasion, token) => {
                        self.run(occasion, token);
                        continue;
                    }
                    _ if broken => bail!("the campaign broke off: see the messages before this one"),
                    Next::Leave(leave) => {
                        self.leave(leave).await;
                        continue;
                    }
                    Next::Wait if stopping && self.elector.is_none() => return Ok(()),
                    Next::Wait => {}
                }
            }
            tokio::select! {
                biased;
                Some(result) = &mut self.hook => self.ended(result)?,
                Some(order) = self.orders.recv() => {
                    self.waiting.push(order.done);
                    self.give_up(order.leave);
                }
                () = stop.told() => {
                    if !stopping && term.is_some() && !stop.drain.is_zero() {
                        let seconds = stop.drain.as_secs_f64();
                        tracing::info!("told to end: leading on for up to {seconds} s, unless asked to resign");
                    }
                    // None if that is beyond all time: then only an order or another signal ends the drain.
                    let drain = if stopping { Duration::ZERO } else { stop.drain };
                    leads_until = Instant::now().checked_add(drain);
                    stopping = true;
                }
                () = sleep_until(leads_until.unwrap_or_else(Instant::now)), if leads_until.is_some() => {
                    leads_until = None;
                    self.give_up(Leave::Resign);
                }
                _ = self.status.changed(), if self.elector.is_some() && !broken => {}
            }
        }
    }

    fn give_up(&mut self, leave: Leave) {
        self.plan.leave = self.plan.leave.max(Some(leave));
        self.giving_up.send_replace(true);
    }

    fn run(&mut self, occasion: Occasion, token: Token) {
        if occasion == Occasion::Gain {
            self.plan.begun = Some(token);
        }
        let holder = self.status.borrow().holder.clone();
        self.running = Some(occasion);
        self.hook = Some(Box::pin(self.hooks.clone().run(occasion, token, holder)) as Hook).into();
    }

    /// A hook has ended.
    fn ended(&mut self, result: Result<(), Failure>) -> Result<()> {
        let occasion = self.running.take();
        self.hook = None.into();
        if occasion == Some(Occasion::Loss) {
            self.plan.begun = None;
        }
        match (occasion, result) {
            (Some(Occasion::Gain), Err(failure)) => {
                tracing::error!("the gain hook failed: {failure}; stepping down");
                self.give_up(Leave::StepDown);
            }
            (_, Err(failure)) => {
                if self.status.borrow().term.is_some() && self.plan.leave.is_some() {
                    bail!(
                        "the loss hook failed: {failure}; what it was to end may go on, so the Lease is left to run out"
                    );
                }
                tracing::error!(
                    "the loss hook failed: {failure}; what it was to end may go on, although others may lead"
                );
            }
            (_, Ok(())) => {}
        }
        Ok(())
    }

    /// Everything that needs leadership has ended.
    async fn leave(&mut self, leave: Leave) {
        match (leave, &self.elector) {
            (Leave::StepDown, Some(elector)) => {
                let term = self.status.borrow().term;
                elector.step_down();
                if term.is_some() {
                    let identity = &self.hooks.identity;
                    let released = |status: &Status| {
                        status.term != term && (status.term.is_some() || status.holder.as_ref() != Some(identity))
                    };
                    if timeout(self.lease_duration, self.status.wait_for(released)).await.is_err() {
                        tracing::warn!("the Lease could not be released; it runs out by itself");
                        self.waiting.clear();
                    }
                }
            }
            (Leave::Resign, Some(_)) => {
                if let Some(elector) = self.elector.take() {
                    elector.resign().await;
                }
            }
            (_, None) => {}
        }
        self.plan.leave = None;
        self.giving_up.send_replace(false);
        for waiting in self.waiting.drain(..) {
            // It need not have waited.
            let _ = waiting.send(());
        }
    }
}
