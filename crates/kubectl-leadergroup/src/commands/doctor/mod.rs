//! `doctor`: everything that could stop a group from working, each with the command that mends it.
//!
//! [`gather`] reads what there is; the findings are pure functions of it: [`installation`] about the operator, [`group`]
//! about a group, with a module for each part of it.

mod candidates;
mod conditions;
mod finding;
mod gather;
mod group;
mod installation;
mod lease;
mod rights;
mod snapshot;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;

use crate::output::{self, Format};
use crate::session::Session;

pub use finding::{Finding, Level};
pub use lease::timing_of;
pub use snapshot::Patient;

#[derive(Args, Debug)]
#[command(
    after_help = "Exit code: 0 if nothing fails (warnings are none), 1 if something does, or could not be looked at."
)]
pub struct Arguments {
    /// The group [default: all groups of the namespace]
    name: Option<String>,
    /// The groups of all namespaces
    #[arg(long, short = 'A', conflicts_with = "name")]
    all_namespaces: bool,
    /// For programs
    #[arg(long, short, value_name = "FORMAT")]
    output: Option<Format>,
}

pub async fn run(session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let installation = gather::installation(session).await?;
    let mut findings = installation::examine(&installation, &gather::known_fields()?, Timestamp::now());
    // Without the definition there is nothing to list.
    if !matches!(installation.definition, Ok(None)) {
        for namespace in gather::namespaces(session, arguments.all_namespaces).await? {
            findings.extend(gather::findings(session, &namespace, arguments.name.as_deref()).await?);
        }
        if !findings.iter().any(|finding| finding.about != "installation") {
            let place = if arguments.all_namespaces {
                "the cluster".to_owned()
            } else {
                format!("namespace {}", session.namespace)
            };
            output::tell(format!(
                "There is no LeaderGroup in {place}: `kubectl leadergroup discover -A` proposes some."
            ));
        }
    }
    match arguments.output {
        Some(format) => output::print(&format.render(&findings)?)?,
        None => output::print(&findings.iter().map(Finding::lines).collect::<String>())?,
    }
    let fails = findings.iter().any(|finding| finding.level == Level::Fail);
    Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
