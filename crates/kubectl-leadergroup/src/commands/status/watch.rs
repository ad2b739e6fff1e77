//! `status --watch`: a group as it changes, by watches.
//!
//! On a terminal the screen is drawn anew with each change, and each second for the ages on it; elsewhere what is printed is
//! another block for each change that is more than a renewal.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::process::ExitCode;
use std::time::Duration;

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};
use anyhow::{Result, bail};
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::execute;
use crossterm::terminal::{
    Clear, ClearType, DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen,
};
use futures::stream::{BoxStream, select_all};
use futures::{Stream, StreamExt as _};
use jiff::{Timestamp, Zoned};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Error, Event, watcher};
use kube::{Api, ResourceExt as _};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::report::Report;
use super::{View, render};
use crate::group::{self, Part, Reading};
use crate::model::LeaderGroup;
use crate::output::{DIM, Format, Screen, WARN, clean, paint, print, tell};
use crate::session::{Session, watch_object, watching};
use crate::signals::told_to_end;

/// What belongs together comes within this: a Lease that changed, and what the operator has to say about it.
const TOGETHER: Duration = Duration::from_millis(300);

/// A watch that fails is tried again within this, so what failed longer ago has come to work.
const LONGEST_PAUSE: Duration = Duration::from_secs(45);

/// Something that a watch brings.
#[allow(clippy::large_enum_variant)] // There is one at a time.
enum Change {
    Group(Result<Option<LeaderGroup>, Error>),
    Lease(Result<Option<Lease>, Error>),
    Pods(Result<Event<Pod>, Error>),
}

pub async fn run(session: &Session, name: &str, view: View) -> Result<ExitCode> {
    // Reading first: what is wrong with the command is said at once, and not tried again and again.
    let mut seen = Seen::new(group::read(session, name, view.verbose).await?);
    let mut changes = watches(session, &seen.reading.group);
    let mut output = Output::new(view);
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told_to_end = std::pin::pin!(told_to_end());
    let mut due = None;
    output.show(&seen)?;
    loop {
        tokio::select! {
            () = &mut told_to_end => {
                output.end(&seen)?;
                return Ok(ExitCode::SUCCESS);
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => due = None,
            _ = second.tick(), if output.is_terminal() => {}
            Some(change) = changes.next() => {
                let selected_by = seen.reading.group.candidate_selector();
                let is_group = matches!(change, Change::Group(_));
                if !seen.take(session, change) {
                    drop(output);
                    bail!("LeaderGroup {name} was deleted");
                }
                if is_group && view.verbose {
                    let more = group::read_more(session, &seen.reading.group, &seen.reading.pods).await;
                    seen.reading.more = more.ok().or(seen.reading.more.take());
                }
                if seen.reading.group.candidate_selector() != selected_by {
                    if let Err(why) = group::selector(&seen.reading.group) {
                        seen.reading.pods = Err(format!("{why:#}"));
                    }
                    changes = watches(session, &seen.reading.group);
                }
                due = due.or_else(|| Some(Instant::now() + TOGETHER));
                continue;
            }
        }
        // What is being listed anew is not half shown.
        if seen.is_whole() {
            output.show(&seen)?;
        }
    }
}

fn watches(session: &Session, group: &LeaderGroup) -> impl Stream<Item = Change> + Unpin + use<> {
    let leases: Api<Lease> = Api::namespaced(session.client.clone(), &session.namespace);
    let pods: Api<Pod> = Api::namespaced(session.client.clone(), &session.namespace);
    let groups = watch_object(group::groups(session), &group.name_any());
    let leases = watch_object(leases, group.lease_name());
    let mut all: Vec<BoxStream<Change>> = vec![groups.map(Change::Group).boxed(), leases.map(Change::Lease).boxed()];
    // By a selector that can't be used, there is nothing to watch until the group has another.
    if let Ok(selector) = group::selector(group) {
        let pods = watcher(pods, watching().labels_from(&selector)).default_backoff();
        all.push(pods.map(Change::Pods).boxed());
    }
    select_all(all)
}

/// What is known, and what of it is being listed anew.
struct Seen {
    reading: Reading,
    listed: Option<BTreeMap<String, Pod>>,
    /// Why a watch did not go on, and when.
    trouble: Option<(String, Instant)>,
}

impl Seen {
    fn new(reading: Reading) -> Self {
        Self { reading, listed: None, trouble: None }
    }

    /// Takes a change in; false if the group is no more.
    fn take(&mut self, session: &Session, change: Change) -> bool {
        let failed = match change {
            Change::Group(Ok(None)) => return false,
            Change::Group(Ok(Some(group))) => {
                self.reading.group = group;
                None
            }
            // The watch was away for too long, and what there is comes anew.
            Change::Group(Err(Error::WatchError(status)))
            | Change::Lease(Err(Error::WatchError(status)))
            | Change::Pods(Err(Error::WatchError(status)))
                if status.code == 410 =>
            {
                None
            }
            Change::Group(Err(error)) => Some(error),
            Change::Lease(lease) => keep(&mut self.reading.lease, lease),
            Change::Pods(Ok(event)) => {
                self.take_pods(event);
                None
            }
            Change::Pods(Err(error)) => keep(&mut self.reading.pods, Err(error)),
        };
        self.trouble = failed.map(|error| (cause(session, error), Instant::now()));
        true
    }

    fn take_pods(&mut self, event: Event<Pod>) {
        let uid = |pod: &Pod| pod.uid().unwrap_or_default();
        match event {
            Event::Init => self.listed = Some(BTreeMap::new()),
            Event::InitApply(pod) => drop(self.listed.get_or_insert_default().insert(uid(&pod), pod)),
            Event::InitDone => {
                self.reading.pods = Ok(self.listed.take().into_iter().flatten().map(|(_, pod)| pod).collect());
            }
            Event::Apply(pod) => {
                let pods = self.others(&pod);
                self.reading.pods = Ok(pods.chain([pod]).collect());
            }
            Event::Delete(pod) => self.reading.pods = Ok(self.others(&pod).collect()),
        }
    }

    /// All pods but this one.
    fn others(&self, pod: &Pod) -> impl Iterator<Item = Pod> + use<> {
        let uid = pod.uid();
        let pods = self.reading.pods.clone().unwrap_or_default();
        pods.into_iter().filter(move |other| other.uid() != uid)
    }

    /// Why a watch does not go on. One that goes on after all may have nothing new to bring for long.
    fn trouble(&self) -> Option<&str> {
        self.trouble.as_ref().filter(|(_, since)| since.elapsed() < LONGEST_PAUSE).map(|(why, _)| why.as_str())
    }

    /// Whether no list is on its way.
    fn is_whole(&self) -> bool {
        self.listed.is_none()
    }
}

/// Keeps what a watch brought, or that it may not be watched. Any other failure is given back: what was seen before still
/// tells more than nothing.
fn keep<T>(part: &mut Part<T>, brought: Result<T, Error>) -> Option<Error> {
    match brought {
        Ok(value) => *part = Ok(value),
        Err(
            Error::InitialListFailed(kube::Error::Api(status))
            | Error::WatchStartFailed(kube::Error::Api(status))
            | Error::WatchError(status),
        ) if group::is_answer(&status) => *part = Err(status.message.clone()),
        Err(error) => return Some(error),
    }
    None
}

fn cause(session: &Session, error: Error) -> String {
    clean(&match error {
        Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => {
            format!("{:#}", session.explain(error))
        }
        other => other.to_string(),
    })
}

/// Where it is shown.
struct Output {
    view: View,
    terminal: bool,
    /// What was printed last, where there is no terminal.
    printed: Option<Report>,
    /// What was told last of a watch that does not go on.
    told: Option<String>,
}

impl Output {
    fn new(view: View) -> Self {
        let terminal = stdout().is_terminal() && view.output.is_none();
        if terminal {
            // A terminal that does not know this has no other way to be drawn on either.
            let _ = execute!(stdout(), EnterAlternateScreen, Hide, DisableLineWrap);
        }
        Self { view, terminal, printed: None, told: None }
    }

    fn is_terminal(&self) -> bool {
        self.terminal
    }

    fn show(&mut self, seen: &Seen) -> Result<()> {
        if self.terminal { self.draw(seen) } else { self.add(seen) }
    }

    fn draw(&self, seen: &Seen) -> Result<()> {
        let now = Zoned::now();
        let trouble = seen.trouble().map(|why| paint(WARN, format!("{why}; still trying")));
        let foot = trouble.unwrap_or_else(|| paint(DIM, format!("{}, ctrl-c ends it", now.strftime("%T"))));
        let text = render::text(&Report::of(&seen.reading, now.timestamp()), self.view.verbose, &now);
        let height = Screen::of_stdout().height.saturating_sub(2);
        let hidden = text.lines().count().saturating_sub(height);
        let mut shown: Vec<_> = text.lines().take(height).map(ToOwned::to_owned).collect();
        if hidden > 0 {
            shown.push(paint(DIM, format!("{hidden} more lines: make the window higher, or leave --watch out")));
        } else {
            shown.push(String::new());
        }
        let colours = AutoStream::choice(&stdout()) != ColorChoice::Never;
        let coloured = |line: &str| if colours { line.to_owned() } else { strip_str(line).to_string() };
        // Each line is cleared behind what is written, rather than the screen before: that would flicker.
        let mut frame = format!("{}", MoveTo(0, 0));
        for line in shown {
            let _ = writeln!(frame, "{}{}", coloured(&line), Clear(ClearType::UntilNewLine));
        }
        let _ = write!(frame, "{}{}", coloured(&foot), Clear(ClearType::FromCursorDown));
        stdout().write_all(frame.as_bytes())?;
        Ok(stdout().flush()?)
    }

    /// Prints another block if there is something new.
    fn add(&mut self, seen: &Seen) -> Result<()> {
        let trouble = seen.trouble().map(ToOwned::to_owned);
        if let Some(why) = trouble.as_ref().filter(|_| self.told != trouble) {
            tell(format_args!("{why}; still trying"));
        }
        self.told = trouble;
        let lasting = Report::of(&seen.reading, Timestamp::now()).lasting();
        if self.printed.as_ref() == Some(&lasting) {
            return Ok(());
        }
        let apart = match (&self.printed, self.view.output) {
            (None, _) | (_, Some(Format::Json)) => "",
            (_, Some(Format::Yaml)) => "---\n",
            _ => "\n",
        };
        print(&format!("{apart}{}", self.view.show(&seen.reading)?))?;
        self.printed = Some(lasting);
        Ok(())
    }

    /// Leaves what was last seen on the screen.
    fn end(mut self, seen: &Seen) -> Result<()> {
        if self.leave() {
            print(&self.view.show(&seen.reading)?)?;
        }
        Ok(())
    }

    /// Gives the screen back; false if it was not taken.
    fn leave(&mut self) -> bool {
        let taken = std::mem::take(&mut self.terminal);
        if taken {
            let _ = execute!(stdout(), EnableLineWrap, Show, LeaveAlternateScreen);
        }
        taken
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.leave();
    }
}
