//! The processes of a test, told by a word that all their command lines have.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a condition may take, on a machine that has much else to do.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// A process that runs, or is stopped.
#[derive(Clone, Debug)]
pub struct Process {
    pub id: i32,
    pub line: String,
}

impl Process {
    pub fn signal(&self, signal: Signal) {
        // It may have ended.
        let _ = kill_process(Pid::from_raw(self.id).unwrap(), signal);
    }

    pub fn is_elector(&self) -> bool {
        let first = self.line.split(' ').next().unwrap_or_default();
        first.ends_with("elector")
    }
}

/// The states of a process's children.
pub fn states_of_children(parent: i32) -> Vec<String> {
    let children = all().filter_map(|id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let (state, of) = (fields.next()?.to_owned(), fields.next()?.parse::<i32>().ok()?);
        (of == parent).then_some(state)
    });
    children.collect()
}

fn all() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// The processes whose command lines have this word. Zombies have no command line.
pub fn with_word(word: &str) -> Vec<Process> {
    let found = all().filter_map(|id| {
        let line = fs::read(format!("/proc/{id}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(word).then_some(Process { id, line })
    });
    found.collect()
}

/// Those of them that are neither wrapper nor watchdog.
pub fn wrapped(word: &str) -> Vec<Process> {
    with_word(word).into_iter().filter(|process| !process.is_elector()).collect()
}

/// Waits for something to be there, and returns it.
pub fn until<T>(wanted: &str, told: impl Fn() -> String, mut find: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {} s: {wanted}\n{}", PATIENCE.as_secs(), told());
        thread::sleep(Duration::from_millis(5));
    }
}
