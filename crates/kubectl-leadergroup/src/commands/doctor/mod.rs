//! `doctor`: everything that could stop a group from working, each with the command that mends it.
//!
//! [`gather`] reads what there is, [`operators`] what of it is an operator; the findings are pure functions of it: [`installation`] about the operator, [`group`]
//! about a group, with a module for each part of it.

mod candidates;
mod case;
mod conditions;
mod finding;
mod gather;
mod group;
mod installation;
#[cfg(test)]
mod installation_tests;
mod lease;
mod operators;
mod rights;
mod snapshot;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use clap_complete::ArgValueCandidates;
use kube::ResourceExt as _;

use crate::named::group_names;
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
    #[arg(add = ArgValueCandidates::new(group_names))]
    name: Option<String>,
    /// The groups of all namespaces
    #[arg(long, short = 'A', conflicts_with = "name")]
    all_namespaces: bool,
    /// Where the operator is [default: wherever pods carry its label]
    #[arg(long, value_name = "NAMESPACE")]
    operator_namespace: Option<String>,
    /// For programs
    #[arg(long, short, value_name = "FORMAT")]
    output: Option<Format>,
}

pub async fn run(session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let installation = gather::installation(session, arguments.operator_namespace.as_deref()).await?;
    // Without the definition there is nothing to list.
    let is_defined = !matches!(installation.definition, Ok(None));
    let namespaces = if is_defined { gather::namespaces(session, arguments.all_namespaces).await? } else { Vec::new() };
    let now = session.time().await?;
    let mut findings = installation::examine(&installation, &gather::known_fields()?, &namespaces, now);
    if is_defined {
        for namespace in namespaces {
            findings.extend(findings_of(session, &namespace, arguments.name.as_deref()).await?);
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

/// The findings about a namespace's groups, or about the one of that name.
async fn findings_of(session: &Session, namespace: &str, only: Option<&str>) -> Result<Vec<Finding>> {
    let place = gather::place(session, namespace).await?;
    let mut findings = group::unreadable(namespace, &place);
    findings.retain(|finding| only.is_none_or(|name| finding.about == format!("{namespace}/{name}")));
    let wanted: Vec<_> = place.groups.iter().filter(|group| only.is_none_or(|name| group.name_any() == name)).collect();
    if let Some(name) = only
        && wanted.is_empty()
        && findings.is_empty()
    {
        bail!("there is no LeaderGroup {name} in namespace {namespace}: `kubectl get leadergroups -A` lists them");
    }
    for group in wanted {
        let rights = gather::rights(session, namespace, &place, group).await?;
        findings.extend(group::examine(&Patient { namespace, place: &place, group, rights: &rights }));
    }
    Ok(findings)
}
