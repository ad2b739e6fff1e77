//! `pause` and `resume`: whether dead holders of a group's Lease are cleared.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use leadergroup_api::Policy;
use serde_json::{Value, json};

use crate::group::{self, groups};
use crate::model::LeaderGroup;
use crate::named::Named;
use crate::output::{clean, print};
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
    let before = Before::read(session, name).await?;
    let changed = before.policy != json!(policy);
    if changed {
        let patch = Patch::Merge(json!({"spec": {"staleHolder": {"policy": policy}}}));
        let parameters =
            PatchParams { field_manager: Some("kubectl-leadergroup".to_owned()), ..PatchParams::default() };
        // What comes back need not be understood.
        let written = groups(session).patch_metadata(name, &parameters, &patch).await;
        written.map_err(|error| session.explain(error)).with_context(|| format!("{name} is as it was"))?;
    }
    print(&told(&before, name, policy, changed))?;
    Ok(ExitCode::SUCCESS)
}

/// What matters of the group. No more is read of it: whatever else a newer operator or definition has put into it, dead
/// holders can be left alone.
#[derive(Default)]
struct Before {
    policy: Value,
    /// Why the policy alone clears nothing, in the operator's words.
    but: Option<String>,
}

impl Before {
    async fn read(session: &Session, name: &str) -> Result<Self> {
        let kind = ApiResource::erase::<LeaderGroup>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(session.client.clone(), &session.namespace, &kind);
        match api.get(name).await {
            Ok(group) => Ok(Self::of(&group.data)),
            Err(error) => Err(group::absent(session, name, error).await),
        }
    }

    fn of(group: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        let conditions = group["status"]["conditions"].as_array();
        let is_so = |it: &&Value| it["type"] == "Stalled" && it["reason"] == "SystemNamespace";
        Self {
            policy: group["spec"]["staleHolder"]["policy"].clone(),
            but: conditions.and_then(|all| all.iter().find(is_so)).and_then(|it| text(&it["message"])),
        }
    }
}

fn told(before: &Before, name: &str, policy: Policy, changed: bool) -> String {
    let was = if changed { "now" } else { "already" };
    let means = match policy {
        Policy::Observe => {
            "dead holders are reported and not cleared, so their Lease has to run out; `kubectl leadergroup resume` ends that"
        }
        Policy::Clear => "holders proven dead are cleared",
    };
    // There the policy alone clears nothing.
    let but = before.but.as_ref().filter(|_| policy == Policy::Clear);
    let but = but.map(|but| format!("but {}\n", clean(but))).unwrap_or_default();
    format!("{name}: policy is {was} {policy:?}: {means}\n{but}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_what_was_done() {
        let before = Before::default();
        assert_eq!(
            told(&before, "billing", Policy::Observe, true),
            "billing: policy is now Observe: dead holders are reported and not cleared, so their Lease has to run out; \
             `kubectl leadergroup resume` ends that\n"
        );
        assert_eq!(
            told(&before, "billing", Policy::Clear, false),
            "billing: policy is already Clear: holders proven dead are cleared\n"
        );
    }

    #[test]
    fn where_clearing_takes_more_than_the_policy_that_is_said() {
        let before = Before::of(&json!({"status": {"conditions": [
            {"type": "Stalled", "reason": "SystemNamespace", "message": "start the operator with --clear-in-system-namespaces"},
        ]}}));
        let resumed = told(&before, "billing", Policy::Clear, true);
        assert!(resumed.ends_with("\nbut start the operator with --clear-in-system-namespaces\n"), "{resumed}");
        assert!(!told(&before, "billing", Policy::Observe, true).contains("but start"));
    }

    #[tokio::test]
    async fn a_group_that_is_newer_than_this_program_is_paused_all_the_same() {
        let session = Session::answered_by(|_| {
            let group = json!({
                "apiVersion": "leadergroup.dev/v2", "kind": "LeaderGroup", "metadata": {"name": "billing"},
                "spec": {"staleHolder": {"policy": "Fence", "release": {"form": "New"}}}, "status": {"history": "elsewhere"},
            });
            (200, group.to_string())
        });
        let before = Before::read(&session, "billing").await.unwrap();
        assert_eq!(before.policy.as_str(), Some("Fence"));
    }
}
