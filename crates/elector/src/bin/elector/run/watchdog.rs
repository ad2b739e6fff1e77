//! The watchdog: starts the program, and kills it with all its descendants when the wrapper does not say in time that it
//! may go on. It is a process of its own, so that it outlives the wrapper's death and stop.
//!
//! It has one thread and no runtime. It is the subreaper of what it starts, so that nothing below escapes it by being
//! orphaned, and the program's parent-death signal is SIGKILL, so that the program does not outlive it either.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result};
use leadergroup_elector::clock::boottime;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, getpid, getppid, set_child_subreaper, setsid};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

use super::channel::{Order, Permit, Received, Report, Time, receive, send};
use super::killing::{Killing, RETRY_INTERVAL};
use super::processes::{Children, reap, send_signal, signal_all, signal_one};
use super::stage;
use super::timer::Timer;

/// Interval between two attempts to kill what SIGKILL has not ended in time.
const STUCK_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// What the wrapper starts the watchdog with.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Milliseconds from SIGTERM to SIGKILL
    #[arg(long)]
    grace: u64,

    /// Let the program gain privileges
    #[arg(long)]
    allow_new_privileges: bool,

    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// The command line of a watchdog.
pub fn command(grace: Duration, allow_new_privileges: bool, program: &[OsString]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("elector").arg("watchdog").arg("--grace").arg(grace.as_millis().to_string());
    command.args(allow_new_privileges.then_some("--allow-new-privileges")).arg("--").args(program);
    command
}

/// Runs the program, under the orders that come over standard input, until all is gone.
pub fn watch(arguments: Arguments) -> Result<ExitCode> {
    // It would be called by the link that it was started by. That is all for the eye.
    let _ = fs::write("/proc/self/comm", "elector-watch");
    // Killing the wrapper's group or closing its terminal does not reach a session of its own.
    setsid().context("the watchdog can't leave the session")?;
    set_child_subreaper(Some(getpid())).context("the watchdog can't become a subreaper")?;
    // Only the wrapper ends it. These are passed on by the wrapper; handlers, unlike ignored signals, are not inherited.
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    let (child_ended, ends) = UnixStream::pair().context("the watchdog can't be told of its children")?;
    child_ended.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGCHLD, ends)?;
    let channel = io::stdin().as_fd().try_clone_to_owned().context("the watchdog has no channel")?;
    let mut watchdog = Watchdog {
        channel: Some(channel),
        child_ended,
        timer: Timer::new().context("the watchdog has no timer")?,
        grace: Duration::from_millis(arguments.grace),
        allow_new_privileges: arguments.allow_new_privileges,
        command: arguments.command,
        state: State::Waiting,
        permit: None,
        killing: None,
        is_stuck: false,
        intervened: false,
    };
    while !watchdog.turn().context("the watchdog")? {}
    Ok(ExitCode::SUCCESS)
}

struct Watchdog {
    /// None once the wrapper is gone.
    channel: Option<OwnedFd>,
    child_ended: UnixStream,
    timer: Timer,
    grace: Duration,
    allow_new_privileges: bool,
    command: Vec<OsString>,
    state: State,
    permit: Option<Permit>,
    /// The attempts to kill what is left.
    killing: Option<Killing>,
    /// They have not succeeded in time.
    is_stuck: bool,
    /// The program did not end by itself.
    intervened: bool,
}

#[derive(Clone, Copy)]
enum State {
    /// For the first permit.
    Waiting,
    Running(Pid),
    /// Asked to end. The code is there once the program, other than its descendants, has ended.
    Stopping {
        program: Option<Pid>,
        code: Option<u8>,
        kill_at: Time,
    },
    /// Being killed, again and again until nothing is left.
    Killing {
        program: Option<Pid>,
        code: Option<u8>,
    },
}

impl Watchdog {
    /// Waits until something happens and deals with it. Says whether all is over.
    fn turn(&mut self) -> io::Result<bool> {
        self.sleep()?;
        // The channel last: what it orders is meant for what is left.
        if self.reap()? {
            return Ok(true);
        }
        self.obey()?;
        self.keep_time()?;
        // Nothing has been started, or it was all gone before a signal handler could tell.
        if self.reap()? {
            return Ok(true);
        }
        self.note_stuck();
        Ok(false)
    }

    fn sleep(&mut self) -> io::Result<()> {
        let due = match self.state {
            State::Waiting | State::Killing { .. } => None,
            State::Running(_) => self.permit.map(|permit| permit.stop_at),
            State::Stopping { kill_at, .. } => Some(self.permit.map_or(kill_at, |permit| permit.kill_at.min(kill_at))),
        };
        self.timer.set(due)?;
        let again = if self.is_stuck { STUCK_RETRY_INTERVAL } else { RETRY_INTERVAL };
        let again = Timespec::try_from(again).map_err(io::Error::other)?;
        let at_most = matches!(self.state, State::Killing { .. }).then_some(&again);
        let mut files = vec![PollFd::new(&self.child_ended, PollFlags::IN), PollFd::new(&self.timer, PollFlags::IN)];
        if let Some(channel) = &self.channel {
            files.push(PollFd::new(channel, PollFlags::IN));
        }
        match poll(&mut files, at_most) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reaps what has ended. Says whether the program and all its descendants are gone.
    fn reap(&mut self) -> io::Result<bool> {
        // Before looking at the children: one that ends after that makes it readable again.
        while matches!((&self.child_ended).read(&mut [0; 64]), Ok(64)) {}
        let mut program_ended = None;
        let program = self.state.program();
        let children = reap(|id, code| {
            if Some(id) == program {
                program_ended = Some(code);
            }
        })?;
        if let Some(ended) = program_ended {
            self.state = match self.state {
                State::Running(_) => {
                    State::Stopping { program: None, code: Some(ended), kill_at: boottime() + self.grace }
                }
                State::Stopping { kill_at, .. } => State::Stopping { program: None, code: Some(ended), kill_at },
                state => state.killing(Some(ended)),
            };
        }
        match (children, self.state) {
            (Children::None, State::Stopping { code, .. } | State::Killing { code, .. }) => {
                self.report(Report::Gone { code: code.unwrap_or(stage::KILLED), had_to: self.intervened });
                Ok(true)
            }
            (Children::Left, State::Stopping { .. }) if program_ended.is_some() => {
                tracing::warn!(
                    "the program has ended, and left processes: they get SIGTERM, and SIGKILL after the grace"
                );
                signal_all(Signal::TERM)?;
                signal_all(Signal::CONT)?;
                Ok(false)
            }
            _ => Ok(self.channel.is_none() && matches!(self.state, State::Waiting)),
        }
    }

    fn obey(&mut self) -> io::Result<()> {
        while let Some(channel) = &self.channel {
            match receive(channel) {
                Ok(Received::Nothing) => return Ok(()),
                Ok(Received::Message(order, file)) => self.order(order, file)?,
                Ok(Received::Closed) | Err(_) => {
                    self.channel = None;
                    if !matches!(self.state, State::Waiting) {
                        tracing::error!("the wrapper is gone: the program is killed");
                    }
                    self.kill()?;
                }
            }
        }
        Ok(())
    }

    fn order(&mut self, order: Order, file: Option<OwnedFd>) -> io::Result<()> {
        match (order, self.state) {
            (Order::Permit(permit), state) => {
                self.permit = Some(permit);
                self.report(Report::Holds(permit));
                if matches!(state, State::Waiting) && boottime() < permit.stop_at {
                    self.start(file)?;
                }
            }
            (Order::Signal(number), State::Running(program) | State::Stopping { program: Some(program), .. }) => {
                if let Some(signal) = Signal::from_named_raw(number) {
                    signal_one(program, signal);
                }
            }
            (Order::Signal(_), _) => {}
            (Order::Stop, _) => self.stop(),
            (Order::Kill, _) => self.kill()?,
        }
        Ok(())
    }

    fn start(&mut self, input: Option<OwnedFd>) -> io::Result<()> {
        let input = input.map_or_else(|| File::open("/dev/null").map(OwnedFd::from), Ok)?;
        let mut command = stage::command(getpid(), self.allow_new_privileges, &self.command);
        let child = command.stdin(Stdio::from(input)).spawn()?;
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        self.state = State::Running(id.ok_or_else(|| io::Error::other("a process without a number"))?);
        Ok(())
    }

    fn stop(&mut self) {
        if let State::Running(program) = self.state {
            self.intervened = true;
            signal_one(program, Signal::TERM);
            // One that is stopped would not notice.
            signal_one(program, Signal::CONT);
            self.state = State::Stopping { program: Some(program), code: None, kill_at: boottime() + self.grace };
        }
    }

    fn kill(&mut self) -> io::Result<()> {
        if matches!(self.state, State::Waiting) {
            return Ok(());
        }
        self.intervened |= matches!(self.state, State::Running(_));
        self.state = self.state.killing(None);
        let attempts = self.killing.get_or_insert_with(Killing::begin);
        // Also when the others can't be found. A refusal is logged by the attempt below.
        if let Some(program) = self.state.program() {
            let _ = send_signal(program, Signal::KILL);
        }
        attempts.attempt().map(drop)
    }

    /// Reports once that the killing takes too long. The wrapper then ends, and the container with it.
    fn note_stuck(&mut self) {
        let (Some(killing), Some(permit)) = (&self.killing, &self.permit) else { return };
        if self.is_stuck || boottime() < permit.give_up_at(killing.since) {
            return;
        }
        self.is_stuck = true;
        self.report(Report::Stuck);
        if let (Some(_), Some(wrapper)) = (&self.channel, getppid()) {
            // A wrapper that is stopped can't end. This reaches process 1 as well.
            signal_one(wrapper, Signal::CONT);
        }
    }

    /// Does what is due by now.
    fn keep_time(&mut self) -> io::Result<()> {
        let now = boottime();
        let (stop_at, kill_at) = self.permit.map_or((Time::MAX, Time::MAX), |permit| (permit.stop_at, permit.kill_at));
        if matches!(self.state, State::Running(_)) && now >= stop_at {
            tracing::warn!("no renewal in time: the program is asked to end");
            self.stop();
        }
        match self.state {
            State::Stopping { kill_at: grace_ends, .. } if now >= grace_ends.min(kill_at) => {
                tracing::warn!("the program has not ended in time: it is killed");
                self.kill()
            }
            State::Killing { .. } => self.kill(),
            _ => Ok(()),
        }
    }

    fn report(&self, report: Report) {
        if let Some(channel) = &self.channel {
            // A wrapper that does not read, or is gone, is dealt with when its permit ends.
            let _ = send(channel, report, None);
        }
    }
}

impl State {
    fn program(self) -> Option<Pid> {
        match self {
            Self::Waiting => None,
            Self::Running(program) => Some(program),
            Self::Stopping { program, .. } | Self::Killing { program, .. } => program,
        }
    }

    /// The program may have ended with a code meanwhile.
    fn killing(self, ended: Option<u8>) -> Self {
        let (program, code) = match self {
            Self::Waiting => (None, None),
            Self::Running(program) => (Some(program), None),
            Self::Stopping { program, code, .. } | Self::Killing { program, code } => (program, code),
        };
        Self::Killing { program: program.filter(|_| ended.is_none()), code: ended.or(code) }
    }
}
