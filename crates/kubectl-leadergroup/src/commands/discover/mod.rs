//! `discover`: groups for the Leases that there are, to begin with.
//!
//! [`find`] says which pod holds a Lease and what a group for it looks like, [`manifest`] writes that down.

mod find;
mod manifest;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::json;

use crate::model::LeaderGroup;
use crate::objects::{full_name, holder};
use crate::output::{self, BAD, Cell, DIM, Format, GOOD, WARN};
use crate::owner::Owner;
use crate::session::{Listed, Session, is_missing};
use find::{Confidence, HEARTBEATS, Proposal};

#[derive(Args, Debug)]
#[command(after_help = "The groups that it proposes only observe: nothing is written to their Leases.\n\
    Example: kubectl leadergroup discover -o yaml | kubectl apply -f -")]
pub struct Arguments {
    /// The Leases of all namespaces
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// Print the groups' manifests
    #[arg(long, short, value_name = "FORMAT")]
    output: Option<Format>,
}

/// What became of a Lease.
struct Found {
    lease: Lease,
    result: Result<Proposal, String>,
}

pub async fn run(session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let namespace = (!arguments.all_namespaces).then_some(session.namespace.as_str());
    let (leases, unreadable) = session.list::<Lease>(namespace).await?;
    let (pods, _) = session.list::<Pod>(namespace).await?;
    let groups = groups(session, namespace).await?;
    let mut found = Vec::new();
    for lease in leases.into_iter().filter(|lease| lease.namespace().as_deref() != Some(HEARTBEATS)) {
        let result = match find::holder_of(&lease, &pods, &groups) {
            Ok(holder) => {
                let owner = Owner::of(&session.client, holder.pod).await?;
                find::propose(&lease, holder, owner, &pods, &groups)
            }
            Err(why) => Err(why),
        };
        found.push(Found { lease, result });
    }
    for (metadata, why) in unreadable {
        output::tell(format!("Lease {} can't be read: {why}", metadata.name.unwrap_or_default()));
    }
    let proposals: Vec<Proposal> = found.iter().filter_map(|it| it.result.as_ref().ok().cloned()).collect();
    match arguments.output {
        Some(Format::Yaml) => output::print(&manifest::yaml(&proposals)?)?,
        Some(Format::Json) => {
            let items: Vec<_> = proposals.iter().map(manifest::object).collect();
            output::print(&Format::Json.render(&json!({"apiVersion": "v1", "kind": "List", "items": items}))?)?;
        }
        None => show(session, arguments, &found, proposals.len())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The groups that exist; none where the custom resource is not defined yet.
async fn groups(session: &Session, namespace: Option<&str>) -> Result<Vec<LeaderGroup>> {
    let listed: kube::Result<Listed<LeaderGroup>> = session.try_list(namespace, &ListParams::default()).await;
    match listed {
        Ok((groups, _)) => Ok(groups),
        Err(error) if is_missing(&error) => Ok(Vec::new()),
        Err(error) => Err(session.explain(error)),
    }
}

fn show(session: &Session, arguments: &Arguments, found: &[Found], proposals: usize) -> Result<()> {
    let place =
        if arguments.all_namespaces { "any namespace".to_owned() } else { format!("namespace {}", session.namespace) };
    if found.is_empty() {
        output::tell(format!("There is no Lease in {place}, heartbeats of nodes aside."));
        return Ok(());
    }
    let rows = found.iter().map(|it| match &it.result {
        Ok(proposal) => {
            let style = if proposal.confidence == Confidence::Certain { GOOD } else { WARN };
            let owner = proposal.owner.as_deref().unwrap_or("pods");
            vec![
                full_name(&it.lease).into(),
                Cell::styled(style, proposal.confidence.as_str()),
                proposal.leader.clone().into(),
                format!("{owner} ({})", proposal.candidates).into(),
                proposal.identity.as_deref().unwrap_or("default").into(),
                proposal.evidence.clone().into(),
            ]
        }
        Err(why) => {
            let style = if holder(&it.lease).is_some() { BAD } else { DIM };
            vec![
                full_name(&it.lease).into(),
                Cell::styled(style, "no"),
                "-".into(),
                "-".into(),
                "-".into(),
                why.clone().into(),
            ]
        }
    });
    output::print(&output::table(&["LEASE", "GROUP", "LEADER", "CANDIDATES", "IDENTITY", "WHY"], rows))?;
    if proposals > 0 {
        let all = if arguments.all_namespaces { " -A" } else { "" };
        let namespace = if arguments.all_namespaces { String::new() } else { format!(" -n {}", session.namespace) };
        let groups = if proposals == 1 { "1 group" } else { &format!("{proposals} groups") };
        output::tell("");
        output::tell(format!(
            "To make {groups}, which only observe: kubectl leadergroup{namespace} discover{all} -o yaml | kubectl apply -f -"
        ));
    }
    Ok(())
}
