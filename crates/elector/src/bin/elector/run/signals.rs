//! The signals that the wrapper passes on.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use signal_hook::consts::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Those that are meant for the program, and that of a child that ended.
const CAUGHT: [i32; 9] = [SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT, SIGCHLD];

/// The signals that this process gets. As process 1 it would not get them without asking.
pub struct Signals(Vec<(i32, Signal)>);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caught {
    /// A child has ended.
    ChildEnded,
    /// For the program.
    Meant(i32),
}

impl Signals {
    /// From now on.
    pub fn new() -> io::Result<Self> {
        let caught = CAUGHT.map(|number| Ok((number, signal(SignalKind::from_raw(number))?)));
        Ok(Self(caught.into_iter().collect::<io::Result<_>>()?))
    }

    /// The next one.
    pub async fn next(&mut self) -> Caught {
        let number = poll_fn(|context| {
            let arrived =
                self.0.iter_mut().find_map(|(number, signal)| signal.poll_recv(context).is_ready().then_some(*number));
            arrived.map_or(Poll::Pending, Poll::Ready)
        });
        match number.await {
            SIGCHLD => Caught::ChildEnded,
            number => Caught::Meant(number),
        }
    }
}

/// Whether a signal asks to end. SIGHUP does not: to most that run in containers it means to read the configuration again.
pub fn asks_to_end(signal: i32) -> bool {
    matches!(signal, SIGTERM | SIGINT | SIGQUIT)
}
