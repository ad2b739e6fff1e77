//! Which group a command is about, its name completed at the press of a key.

use std::env::args_os;
use std::ffi::OsString;
use std::thread;
use std::time::Duration;

use clap::{Arg, Args, Command, FromArgMatches as _};
use clap_complete::{ArgValueCandidates, CompletionCandidate};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;

use crate::connection::Connection;
use crate::group::groups;
use crate::objects::Plan;
use crate::session::Session;

/// Longer than this nobody waits for a name.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which group.
#[derive(Args, Clone, Debug)]
pub struct Named {
    /// The group's name
    #[arg(add = ArgValueCandidates::new(group_names))]
    pub name: String,
}

/// The names of the groups in the namespace that the command line names; none where the cluster does not say them soon.
pub fn group_names() -> Vec<CompletionCandidate> {
    names(async |session: Session, _: Vec<String>| {
        let list = groups(&session).list(&ListParams::default()).await.ok()?;
        Some(list.iter().map(ResourceExt::name_any).collect())
    })
}

/// The names of the candidates of the group that the command line names behind the command.
pub fn candidate_names() -> Vec<CompletionCandidate> {
    names(async |session: Session, words: Vec<String>| {
        let group = groups(&session).get(words.get(1)?).await.ok()?;
        let plan = Plan::of(&group).ok()?;
        let (pods, _) = session.list::<Pod>(Some(&session.namespace)).await.ok()?;
        Some(pods.iter().filter(|pod| plan.has_candidate(pod)).map(ResourceExt::name_any).collect())
    })
}

/// The names that are found by the session, and the words of the command line that are no options.
fn names(
    find: impl AsyncFnOnce(Session, Vec<String>) -> Option<Vec<String>> + Send + 'static,
) -> Vec<CompletionCandidate> {
    // However this was asked for, what is to be completed stands behind that, with this program's name first.
    let (connection, words) = parsed(args_os().skip_while(|word| word != "--").skip(2));
    // This is called with and without a runtime around it.
    let names = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let names = async { find(Session::open(&connection).await.ok()?, words).await };
        runtime.block_on(async { tokio::time::timeout(PATIENCE, names).await.ok()? })
    });
    names.join().ok().flatten().into_iter().flatten().map(CompletionCandidate::new).collect()
}

/// What the words say so far of the cluster and the namespace, and those of them that are no options.
fn parsed(words: impl Iterator<Item = OsString>) -> (Connection, Vec<String>) {
    let command = Connection::augment_args(Command::new("words").no_binary_name(true).ignore_errors(true))
        .arg(Arg::new("rest").num_args(0..));
    let Ok(matches) = command.try_get_matches_from(words) else { return (Connection::default(), Vec::new()) };
    let rest = matches.get_many::<String>("rest").into_iter().flatten().cloned().collect();
    (Connection::from_arg_matches(&matches).unwrap_or_default(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_is_found_where_it_stands() {
        let words = ["promote", "-n", "shop", "--context=prod", "billing", "bil"].map(OsString::from);
        let (found, rest) = parsed(words.into_iter());
        assert_eq!((found.namespace.as_deref(), found.context.as_deref()), (Some("shop"), Some("prod")));
        assert_eq!(rest, ["promote", "billing", "bil"]);
    }
}
