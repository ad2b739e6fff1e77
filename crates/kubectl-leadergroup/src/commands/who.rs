//! `who`: the leader, for scripts.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::group::{self, is_ready, why_not_ready};
use crate::model::LeaderGroup;
use crate::named::Named;
use crate::output::{clean, print, tell};
use crate::session::Session;

const EXIT_CODES: &str = "\
Exit codes: 0 the leader was printed; 1 it could not be asked; 3 nobody leads, or what was asked for is not known of who
does, and a line on standard error says why. Of a leader that may be gone a line there says that too.

  kubectl exec \"$(kubectl leadergroup who billing -o pod)\" -- df -h";

/// Nobody leads.
const NOBODY: u8 = 3;

#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(flatten)]
    group: Named,
    /// What to print of it
    #[arg(long, short, value_enum, default_value_t = What::Pod, value_name = "WHAT")]
    output: What,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// The name of its pod
    Pod,
    /// What the Lease calls it
    Identity,
    /// The node that its pod is on
    Node,
}

pub async fn run(session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let group = group::get(session, &arguments.group.name).await?;
    match leader(&group, arguments.output) {
        Ok(leader) => {
            print(&format!("{leader}\n"))?;
            if !is_ready(&group) {
                tell(format!("it may not lead any more: {}", why_not_ready(&group)));
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(why) => {
            tell(clean(&why));
            Ok(ExitCode::from(NOBODY))
        }
    }
}

fn leader(group: &LeaderGroup, what: What) -> Result<String, String> {
    let leader = group.status.as_ref().and_then(|status| status.leader.as_ref());
    let Some(leader) = leader else { return Err(format!("nobody leads: {}", why_not_ready(group))) };
    let unknown = |what: &str| format!("the {what} of {} is not known: {}", leader.identity, why_not_ready(group));
    match what {
        What::Identity => Ok(clean(&leader.identity)),
        What::Pod => leader.pod_name.clone().ok_or_else(|| unknown("pod")),
        What::Node => leader.node_name.clone().ok_or_else(|| unknown("node")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata;

    #[test]
    fn a_leader_is_its_pod_its_identity_or_its_node() {
        let led = testdata::led();
        assert_eq!(leader(&led, What::Pod), Ok("billing-b58c8d75b-ztgk2".to_owned()));
        assert_eq!(leader(&led, What::Identity), Ok("billing-b58c8d75b-ztgk2_5f2c".to_owned()));
        assert_eq!(leader(&led, What::Node), Ok("node-1".to_owned()));
    }

    #[test]
    fn where_there_is_none_it_is_said_why() {
        let new = leader(&testdata::new(), What::Pod);
        assert_eq!(new, Err("nobody leads: the operator has not looked at the group yet; does it run?".to_owned()));
        let never_led = leader(&testdata::never_led(), What::Identity);
        assert_eq!(never_led, Err("nobody leads: NoCandidates: no candidate exists, so nobody can lead".to_owned()));
        let foreign = testdata::foreign();
        assert_eq!(leader(&foreign, What::Identity), Ok("somebody-else".to_owned()));
        let why = leader(&foreign, What::Pod).unwrap_err();
        assert!(why.starts_with("the pod of somebody-else is not known: Foreign: "), "{why}");
    }
}
