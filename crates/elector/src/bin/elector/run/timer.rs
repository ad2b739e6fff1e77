//! The timer of the watchdog.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::channel::Time;

/// A timer that goes on while the machine sleeps, unlike that of `poll`.
pub struct Timer {
    file: OwnedFd,
    at: Option<Time>,
}

impl Timer {
    /// One that is not set.
    pub fn new() -> io::Result<Self> {
        let file = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        Ok(Self { file, at: None })
    }

    /// Makes it readable from that moment on.
    pub fn set(&mut self, at: Option<Time>) -> io::Result<()> {
        if self.at == at {
            return Ok(());
        }
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Zero would turn it off.
        let at_some_time = |at: Time| at.max(Time::from_nanos(1));
        let value = at.map(at_some_time).map_or(Ok(none), Timespec::try_from).map_err(io::Error::other)?;
        let setting = Itimerspec { it_interval: none, it_value: value };
        timerfd_settime(&self.file, TimerfdTimerFlags::ABSTIME, &setting)?;
        self.at = at;
        Ok(())
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
