//! A proposal as a manifest, ready to be applied.

use std::fmt::Write as _;

use anyhow::Result;
use leadergroup_api::library::{Library, Notice};
use leadergroup_api::{LeaseSpec, Release, ReleaseForm};
use serde_json::{Value, json};

use super::find::Proposal;
use crate::commands::doctor::timing_of;
use crate::model::LeaderGroup;
use crate::output::clean;

/// The group, which only observes.
pub fn object(proposal: &Proposal) -> Value {
    let mut lease = json!({});
    if proposal.name != proposal.lease {
        lease["name"] = json!(proposal.lease);
    }
    if let Some(duration) = proposal.duration.filter(|duration| *duration != LeaseSpec::default().duration_seconds)
        && let Value::Object(timing) = timing_of(duration)
    {
        lease.as_object_mut().into_iter().for_each(|lease| lease.extend(timing.clone()));
    }
    let mut spec = json!({
        "candidates": {"selector": proposal.selector},
        "staleHolder": {"policy": "Observe"},
    });
    if lease != json!({}) {
        spec["lease"] = lease;
    }
    if proposal.library.is_some_and(needs_deletion) {
        spec["staleHolder"]["release"] = json!(Release::Delete);
    }
    if let Some(identity) = &proposal.identity {
        spec["identity"] = json!(identity);
    }
    json!({
        "apiVersion": <LeaderGroup as kube::Resource>::api_version(&()),
        "kind": <LeaderGroup as kube::Resource>::kind(&()),
        "metadata": {"name": proposal.name, "namespace": proposal.namespace},
        "spec": spec,
    })
}

/// All of them as YAML, each with what speaks for it.
pub fn yaml(proposals: &[Proposal]) -> Result<String> {
    let mut text = String::new();
    for proposal in proposals {
        text += "---\n";
        for line in comments(proposal) {
            writeln!(text, "# {}", clean(&line))?;
        }
        text += &serde_yaml_ng::to_string(&object(proposal))?;
    }
    Ok(text)
}

/// Returns whether the library's standbys notice no other clear, so that `Auto` does not do.
fn needs_deletion(library: Library) -> bool {
    library.release() == ReleaseForm::Delete
}

/// Returns what to know of `staleHolder.release` for that library.
fn about_release(library: Library) -> String {
    if needs_deletion(library) {
        return format!(
            "The election library is {library}, whose standbys notice only that the Lease is deleted: hence release Delete, \
             for which you need the right to delete the Lease."
        );
    }
    let form = Release::Auto.form(Some(library));
    if library.notices(ReleaseForm::Delete) == Notice::Never {
        return format!(
            "The election library is {library}. Leave staleHolder.release at Auto ({form:?}): after Delete, none of its \
             standbys leads again by itself."
        );
    }
    format!("The election library is {library}, which staleHolder.release Auto clears as {form:?}.")
}

fn comments(proposal: &Proposal) -> Vec<String> {
    let Proposal { confidence, evidence, leader, candidates, .. } = proposal;
    let owner =
        proposal.owner.as_ref().map_or_else(|| "its labels".to_owned(), |owner| format!("the selector of {owner}"));
    let mut lines = vec![
        format!("{}: {evidence}.", if confidence.as_str() == "certain" { "Certain" } else { "Likely" }),
        format!("Pod {leader} leads. Candidates, by {owner}: {candidates}."),
    ];
    if let Some(client) = &proposal.client {
        lines.push(format!("The Lease is renewed by {client:?}, as it calls itself."));
    }
    lines.extend(proposal.library.map(about_release));
    if proposal.is_for_life {
        lines.push(
            "The Lease has neither a duration nor renewals: it is held until its holder is proven dead.".to_owned(),
        );
    }
    if proposal.containers.len() > 1 {
        lines.push(format!(
            "Of the containers {}, list in candidates.containers the elector and whatever believes it.",
            proposal.containers.join(", ")
        ));
    }
    if proposal.duration.is_some_and(|duration| duration != LeaseSpec::default().duration_seconds) {
        lines.push(
            "The Lease tells its duration; renew deadline and retry period are guessed in client-go's proportions."
                .to_owned(),
        );
    }
    lines.push("Once its status has told the right leader for a while, staleHolder.policy can go: dead holders are then cleared.".to_owned());
    lines
}
