//! `pause` and `resume`: whether dead holders of a group's Lease are cleared.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use kube::api::{Patch, PatchParams};
use leadergroup_api::{LeaderGroup, Policy};
use serde_json::json;

use crate::group::{self, condition, groups};
use crate::named::Named;
use crate::output::print;
use crate::session::Session;

const WHAT: &str = "\
Writes spec.staleHolder.policy and nothing else: pause makes it Observe, resume makes it Clear. Where a GitOps controller
keeps the group as it is in a repository, change it there: it would undo this.";

#[derive(Args, Debug)]
#[command(after_help = WHAT)]
pub struct Arguments {
    #[command(flatten)]
    group: Named,
}

pub async fn run(session: &Session, arguments: &Arguments, policy: Policy) -> Result<ExitCode> {
    let name = &arguments.group.name;
    let before = group::get(session, name).await?;
    let changed = before.spec.stale_holder.policy != policy;
    if changed {
        let patch = Patch::Merge(json!({"spec": {"staleHolder": {"policy": policy}}}));
        let parameters =
            PatchParams { field_manager: Some("kubectl-leadergroup".to_owned()), ..PatchParams::default() };
        let written = groups(session).patch(name, &parameters, &patch).await;
        written.map_err(|error| session.explain(error)).with_context(|| format!("{name} is as it was"))?;
    }
    print(&told(&before, name, policy, changed))?;
    Ok(ExitCode::SUCCESS)
}

fn told(group: &LeaderGroup, name: &str, policy: Policy, changed: bool) -> String {
    let was = if changed { "now" } else { "already" };
    let means = match policy {
        Policy::Observe => {
            "dead holders are reported and not cleared, so their Lease has to run out; `kubectl leadergroup resume` ends that"
        }
        Policy::Clear => "holders proven dead are cleared",
    };
    // There the policy alone clears nothing.
    let but = condition(group, "Stalled").filter(|it| it.reason == "SystemNamespace" && policy == Policy::Clear);
    let but = but.map(|it| format!("but {}\n", it.message)).unwrap_or_default();
    format!("{name}: policy is {was} {policy:?}: {means}\n{but}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata;

    #[test]
    fn it_is_said_what_was_done() {
        let group = testdata::led();
        assert_eq!(
            told(&group, "billing", Policy::Observe, true),
            "billing: policy is now Observe: dead holders are reported and not cleared, so their Lease has to run out; \
             `kubectl leadergroup resume` ends that\n"
        );
        assert_eq!(
            told(&group, "billing", Policy::Clear, false),
            "billing: policy is already Clear: holders proven dead are cleared\n"
        );
    }

    #[test]
    fn where_clearing_takes_more_than_the_policy_that_is_said() {
        let mut group = testdata::led();
        let status = group.status.as_mut().unwrap();
        let stalled = status.conditions.iter_mut().find(|it| it.type_ == "Stalled").unwrap();
        stalled.reason = "SystemNamespace".to_owned();
        stalled.message = "start the operator with --clear-in-system-namespaces".to_owned();
        let resumed = told(&group, "billing", Policy::Clear, true);
        assert!(resumed.ends_with("\nbut start the operator with --clear-in-system-namespaces\n"), "{resumed}");
        assert!(!told(&group, "billing", Policy::Observe, true).contains("but start"));
    }
}
