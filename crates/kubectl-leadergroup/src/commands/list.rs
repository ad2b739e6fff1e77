//! `list`: the groups of a namespace or of all.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use kube::Api;
use kube::api::ListParams;
use leadergroup_api::LeaderGroup;

use crate::session::Session;

#[derive(Args, Debug)]
pub struct Arguments {
    /// All namespaces
    #[arg(long, short = 'A')]
    all_namespaces: bool,
}

pub async fn run(session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let groups: Api<LeaderGroup> = if arguments.all_namespaces {
        Api::all(session.client.clone())
    } else {
        Api::namespaced(session.client.clone(), &session.namespace)
    };
    for group in groups.list(&ListParams::default()).await? {
        let leader = group.status.and_then(|status| status.leader);
        println!("{}\t{}", group.metadata.name.unwrap_or_default(), leader.map_or("-".to_owned(), |it| it.identity));
    }
    Ok(ExitCode::SUCCESS)
}
