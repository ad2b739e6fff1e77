//! The processes below this one: found, signalled, reaped.

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, kill_process, wait, waitid, waitpid};

use super::killing::Left;

/// A process, as the kernel tells of it.
#[derive(Clone, Copy, Debug)]
struct Process {
    id: Pid,
    parent: i32,
    session: i32,
    is_zombie: bool,
}

/// Number of fields between `session` and `num_threads` in `/proc/ID/stat`.
const NUM_THREADS_AFTER_SESSION: usize = 13;

/// Reads `/proc/ID/stat`: the name in brackets may contain anything.
fn parse(stat: &str) -> Option<Process> {
    let (id, _) = stat.split_once(' ')?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let _group = fields.next()?;
    let session = fields.next()?.parse().ok()?;
    let threads: u32 = fields.nth(NUM_THREADS_AFTER_SESSION)?.parse().ok()?;
    let id = Pid::from_raw(id.parse().ok()?)?;
    // The first thread of a process is a zombie as soon as it has ended, although other threads may run on.
    let is_zombie = matches!(state, "Z" | "X") && threads <= 1;
    Some(Process { id, parent, session, is_zombie })
}

fn all() -> io::Result<Vec<Process>> {
    let is_process = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    let entries = fs::read_dir("/proc")?.filter_map(Result::ok);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| is_process(name));
    // A process may end before it is read.
    Ok(names.filter_map(|name| parse(&fs::read_to_string(format!("/proc/{name}/stat")).ok()?)).collect())
}

/// The processes below this one but those of its own session.
fn below() -> io::Result<Vec<Process>> {
    let all = all()?;
    let own = getpid();
    let session = all.iter().find(|process| process.id == own).map(|process| process.session);
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![own];
    while let Some(parent) = parents.pop() {
        for child in all.iter().filter(|process| process.parent == parent.as_raw_nonzero().get()) {
            parents.push(child.id);
            found.push(*child);
        }
    }
    found.retain(|process| Some(process.session) != session);
    Ok(found)
}

/// Sends a signal to all processes below this one that are not of its session, and returns them.
pub fn signal_all(signal: Signal) -> io::Result<Left> {
    let mut left = Left::default();
    for process in below()?.into_iter().filter(|process| !process.is_zombie) {
        left.count += 1;
        if let Err(error) = send_signal(process.id, signal) {
            left.refused = Some((process.id, error));
        }
    }
    Ok(left)
}

/// Sends a signal, and logs a failure.
pub fn signal_one(id: Pid, signal: Signal) {
    if let Err(error) = send_signal(id, signal) {
        tracing::error!(process = id.as_raw_nonzero().get(), %error, "can't be sent a signal");
    }
}

/// Sends a signal. To a process that has ended, this succeeds.
pub fn send_signal(id: Pid, signal: Signal) -> Result<(), Errno> {
    match kill_process(id, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether this process has a child that `/proc` does not show: the mount option `hidepid` hides those of other users.
pub fn has_hidden_child() -> io::Result<bool> {
    match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT) {
        Err(Errno::CHILD) => Ok(false),
        Ok(_) | Err(Errno::INTR) => {
            let own = getpid().as_raw_nonzero().get();
            Ok(all()?.iter().all(|process| process.parent != own))
        }
        Err(error) => Err(error.into()),
    }
}

/// What became of the children of this process.
pub enum Children {
    /// Some are left.
    Left,
    /// None, and so no descendants either: a subreaper becomes the parent of each whose own parent ends.
    None,
}

/// Reaps all children that have ended, and tells of each.
pub fn reap(mut ended: impl FnMut(Pid, u8)) -> io::Result<Children> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((id, status))) => ended(id, code(ExitStatus::from_raw(status.as_raw()))),
            Ok(None) => return Ok(Children::Left),
            Err(Errno::CHILD) => return Ok(Children::None),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reaps the children that have ended and are not of this process's session. Those of its session were started by
/// somebody in this program who waits for them.
pub fn reap_adopted() -> io::Result<()> {
    let own = getpid().as_raw_nonzero().get();
    for child in below()?.into_iter().filter(|process| process.is_zombie && process.parent == own) {
        // Nobody else reaps it, and how it ended is known by other ways.
        let _ = waitpid(Some(child.id), WaitOptions::NOHANG);
    }
    Ok(())
}

/// As shells tell it: the exit code, or 128 and the number of the signal.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_is_no_trap() {
        let process = parse("42 (a) R 1 (b) Z 7 42 40 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 99").unwrap();
        assert_eq!((process.id.as_raw_nonzero().get(), process.parent, process.session), (42, 7, 40));
        assert!(process.is_zombie);
        assert!(parse("42 (a").is_none());
    }

    #[test]
    fn process_lives_while_any_thread_does() {
        let stat = |state, threads| format!("42 (a) {state} 7 42 40 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 {threads} 0 99");
        let is_zombie = |state, threads| parse(&stat(state, threads)).unwrap().is_zombie;
        assert!(is_zombie("Z", 1) && is_zombie("X", 0));
        assert!(!is_zombie("Z", 2) && !is_zombie("S", 1));
    }

    #[test]
    fn codes_are_those_of_a_shell() {
        assert_eq!(code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(code(ExitStatus::from_raw(15)), 143);
    }
}
