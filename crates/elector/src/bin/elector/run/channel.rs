//! What the wrapper and its watchdog tell each other.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use leadergroup_elector::Term;
use rustix::cmsg_space;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Time as [`leadergroup_elector::clock::boottime`] tells it.
pub type Time = Duration;

/// Minimum time that SIGKILL may take, however short the reserve is.
const MIN_KILL_LIMIT: Duration = Duration::from_millis(100);
/// Maximum time that SIGKILL may take once the Lease may be another candidate's.
const MAX_KILL_LIMIT: Duration = Duration::from_secs(1);
/// Maximum time that SIGKILL may take while the Lease is renewed.
const MAX_KILL_LIMIT_WHILE_HELD: Duration = Duration::from_secs(10);

/// For how long a program may run, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    /// From then on it is asked to end.
    pub stop_at: Time,
    /// From then on it is killed, however long it has been asked to end.
    pub kill_at: Time,
}

impl Permit {
    /// What a term permits: a quarter of the time between its end and the Lease's is kept in reserve, for clocks that run
    /// faster elsewhere and for a busy machine.
    pub fn of(term: &Term) -> Self {
        let between = term.expires_at.saturating_sub(term.valid_until);
        Self { stop_at: term.valid_until, kill_at: term.valid_until + usable(between) }
    }

    /// How long SIGKILL may take: half of the reserve, so that the container can still end before the Lease expires.
    pub fn kill_limit(&self) -> Duration {
        let reserve = self.kill_at.saturating_sub(self.stop_at) / 3;
        (reserve / 2).clamp(MIN_KILL_LIMIT, MAX_KILL_LIMIT)
    }

    /// When to give up the killing that began at `since`. While the Lease is still this candidate's, waiting costs only
    /// time: the memory of a large process takes seconds to be freed.
    pub fn give_up_at(&self, since: Time) -> Time {
        let limit = self.kill_limit();
        (since + limit).max((self.kill_at + limit).min(since + MAX_KILL_LIMIT_WHILE_HELD))
    }
}

/// What of the time between the renew deadline and the lease duration a program can have to end.
pub fn usable(between: Duration) -> Duration {
    between / 4 * 3
}

/// From the wrapper to the watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The program may run, for so long. The first one starts it.
    Permit(Permit),
    /// Send it this signal.
    Signal(i32),
    /// Ask it to end, and kill it after the grace.
    Stop,
    /// Kill it.
    Kill,
}

/// From the watchdog to the wrapper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// It goes by this permit.
    Holds(Permit),
    /// The program has ended with this code, and all its descendants are gone. It had to, if the watchdog ended it.
    Gone { code: u8, had_to: bool },
    /// SIGKILL has not ended all processes in time. The watchdog goes on trying.
    Stuck,
}

/// A message: what it is, and up to two numbers.
type Message = [u64; 3];

const SIZE: usize = size_of::<Message>();

/// Something that is sent as a message.
pub trait Sent: Sized {
    fn encode(self) -> Message;
    fn decode(message: Message) -> Option<Self>;
}

fn nanoseconds(time: Time) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn permit(stop_at: u64, kill_at: u64) -> Permit {
    Permit { stop_at: Time::from_nanos(stop_at), kill_at: Time::from_nanos(kill_at) }
}

impl Sent for Order {
    fn encode(self) -> Message {
        match self {
            Self::Permit(permit) => [1, nanoseconds(permit.stop_at), nanoseconds(permit.kill_at)],
            Self::Signal(signal) => [2, u64::from(signal.unsigned_abs()), 0],
            Self::Stop => [3, 0, 0],
            Self::Kill => [4, 0, 0],
        }
    }

    fn decode(message: Message) -> Option<Self> {
        match message {
            [1, stop_at, kill_at] => Some(Self::Permit(permit(stop_at, kill_at))),
            [2, signal, _] => Some(Self::Signal(i32::try_from(signal).ok()?)),
            [3, ..] => Some(Self::Stop),
            [4, ..] => Some(Self::Kill),
            _ => None,
        }
    }
}

impl Sent for Report {
    fn encode(self) -> Message {
        match self {
            Self::Holds(permit) => [1, nanoseconds(permit.stop_at), nanoseconds(permit.kill_at)],
            Self::Gone { code, had_to } => [2, u64::from(code), u64::from(had_to)],
            Self::Stuck => [3, 0, 0],
        }
    }

    fn decode(message: Message) -> Option<Self> {
        match message {
            [1, stop_at, kill_at] => Some(Self::Holds(permit(stop_at, kill_at))),
            [2, code, had_to] => Some(Self::Gone { code: u8::try_from(code).ok()?, had_to: had_to != 0 }),
            [3, ..] => Some(Self::Stuck),
            _ => None,
        }
    }
}

/// Two ends of a channel that keeps messages apart, neither inherited by programs that are started.
pub fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok((one.into(), other))
}

/// Sends a message, and with it a file, if there is one. Never waits: a reader that lags so far behind is as good as gone.
pub fn send(channel: impl AsFd, message: impl Sent, file: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let bytes: Vec<u8> = message.encode().iter().flat_map(|number| number.to_ne_bytes()).collect();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut attached = SendAncillaryBuffer::new(&mut space);
    let files: Vec<BorrowedFd<'_>> = file.into_iter().collect();
    if !files.is_empty() {
        attached.push(SendAncillaryMessage::ScmRights(&files));
    }
    sendmsg(channel, &[io::IoSlice::new(&bytes)], &mut attached, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
    Ok(())
}

/// What was received.
pub enum Received<T> {
    /// A message, with the file that came with it.
    Message(T, Option<OwnedFd>),
    /// Nothing at the moment.
    Nothing,
    /// The other end is gone.
    Closed,
}

/// Receives a message if there is one.
pub fn receive<T: Sent>(channel: impl AsFd) -> io::Result<Received<T>> {
    let mut bytes = [0; SIZE];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut attached = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = match recvmsg(channel, &mut [io::IoSliceMut::new(&mut bytes)], &mut attached, flags) {
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(Received::Nothing),
        Err(rustix::io::Errno::CONNRESET) => return Ok(Received::Closed),
        received => received?,
    };
    let file = attached.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    if received.bytes == 0 {
        return Ok(Received::Closed);
    }
    let mut message = Message::default();
    for (number, bytes) in message.iter_mut().zip(bytes.chunks_exact(8)) {
        *number = u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
    }
    let message = T::decode(message).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a message"))?;
    Ok(Received::Message(message, file))
}

#[cfg(test)]
mod tests {
    use leadergroup_election::Version;

    use super::*;

    fn permit(valid_until: u64, expires_at: u64) -> Permit {
        let (valid_until, expires_at) = (Time::from_millis(valid_until), Time::from_millis(expires_at));
        Permit::of(&Term { token: Version(1), valid_until, expires_at })
    }

    #[test]
    fn killing_is_given_up_before_lease_expires() {
        for (valid_until, expires_at) in [(10_000, 15_000), (4_000, 8_000), (30_000, 60_000), (1_000, 2_000)] {
            let permit = permit(valid_until, expires_at);
            for since in [permit.stop_at, permit.kill_at] {
                let give_up_at = permit.give_up_at(since);
                assert!(permit.kill_at < give_up_at || give_up_at == since + MAX_KILL_LIMIT_WHILE_HELD, "{permit:?}");
                assert!(give_up_at < Time::from_millis(expires_at), "{permit:?} {give_up_at:?}");
            }
        }
    }

    #[test]
    fn killing_has_some_time_however_late_or_short() {
        let late = permit(1_000, 2_000).give_up_at(Time::from_mins(1));
        assert_eq!(late, Time::from_millis(60_125));
        assert_eq!(permit(1_999, 2_000).kill_limit(), MIN_KILL_LIMIT);
        assert_eq!(permit(1_000, 100_000).kill_limit(), MAX_KILL_LIMIT);
    }

    #[test]
    fn killing_is_given_up_although_lease_is_renewed() {
        let give_up_at = permit(1_000_000, 2_000_000).give_up_at(Time::from_secs(1));
        assert_eq!(give_up_at, Time::from_secs(11));
    }

    #[test]
    fn messages_survive_the_channel() {
        let permit = permit(1_000, 2_000);
        for order in [Order::Permit(permit), Order::Signal(15), Order::Stop, Order::Kill] {
            assert_eq!(Order::decode(order.encode()), Some(order));
        }
        for report in [Report::Holds(permit), Report::Gone { code: 3, had_to: true }, Report::Stuck] {
            assert_eq!(Report::decode(report.encode()), Some(report));
        }
    }
}
