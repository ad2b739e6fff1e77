//! `status`: all about one group.

mod candidate;
mod render;
mod report;
mod watch;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use clap_complete::ArgValueCandidates;
use jiff::Zoned;

use self::report::Report;
use crate::commands::list;
use crate::group::{self, Reading};
use crate::named::group_names;
use crate::output::{Format, print};
use crate::session::Session;

/// What the printed structure is.
const STRUCTURE: &str = "\
With -o json or -o yaml: namespace, name, created, ready, leader {identity, pod, podUID, node, zone, acquireTime},
holder {identity, verdict, evidence}, account {complete, reason, pods, lost, overflow}, lease {name, exists, holder,
acquireTime, renewTime, durationSeconds, transitions, declared}, clearing {policy, release, releaseForm, library, onRestart,
delaySeconds, unconfirmedAfterSeconds}, traffic {service, ports, requireReady, routed, reason, message}, transitions, candidates {selector, total, ready, pods [{pod, uid,
role, ready, status, obstacles, serviceAccount, node, zone, restarts, created, containers}]}, history [{number, leader,
podUID, from, reason, begin, end, leaderlessSeconds, unobserved}], conditions, events (with -v), notes. What is not known is
null. Fields may be added; none changes its meaning.";

#[derive(Args, Debug)]
#[command(after_long_help = STRUCTURE)]
pub struct Arguments {
    /// The group's name [default: all groups, as `list` shows them]
    #[arg(add = ArgValueCandidates::new(group_names))]
    name: Option<String>,
    /// All namespaces, where no name is given
    #[arg(long, short = 'A', conflicts_with = "name")]
    all_namespaces: bool,
    /// Show UIDs, nodes, zones, accounts, containers, all of the history, and Events
    #[arg(long, short)]
    verbose: bool,
    /// Print a structure for programs, which --help describes
    #[arg(long, short, value_name = "FORMAT")]
    output: Option<Format>,
    /// Go on showing it as it changes, until ctrl-c
    #[arg(long, short)]
    watch: bool,
}

impl Arguments {
    /// The same for `list`.
    fn of_all(&self) -> list::Arguments {
        let format = self.output.map(list::Format::from).or(self.verbose.then_some(list::Format::Wide));
        list::Arguments::new(self.all_namespaces, format, self.watch)
    }
}

pub async fn run(session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let Some(name) = &arguments.name else { return list::run(session, &arguments.of_all()).await };
    let view = View { verbose: arguments.verbose, output: arguments.output };
    if arguments.watch {
        return watch::run(session, name, view).await;
    }
    print(&view.show(&group::read(session, name, view.verbose).await?)?)?;
    Ok(ExitCode::SUCCESS)
}

/// How a group is shown.
#[derive(Clone, Copy)]
struct View {
    verbose: bool,
    output: Option<Format>,
}

impl View {
    fn show(self, reading: &Reading) -> Result<String> {
        let now = Zoned::now();
        let report = Report::of(reading, now.timestamp());
        match self.output {
            Some(format) => format.render(&report),
            None => Ok(render::text(&report, self.verbose, &now)),
        }
    }
}
