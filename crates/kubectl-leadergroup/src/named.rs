//! Which group a command is about, its name completed at the press of a key.

use std::env::args_os;
use std::ffi::OsString;
use std::thread;
use std::time::Duration;

use clap::{Arg, Args, Command, FromArgMatches as _};
use clap_complete::{ArgValueCandidates, CompletionCandidate};
use kube::ResourceExt as _;
use kube::api::ListParams;

use crate::group::groups;
use crate::session::{Connection, Session};

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
fn group_names() -> Vec<CompletionCandidate> {
    // However this was asked for, what is to be completed stands behind that, with this program's name first.
    let connection = connection(args_os().skip_while(|word| word != "--").skip(2));
    // This is called with and without a runtime around it.
    let names = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let names = async {
            let session = Session::open(&connection).await.ok()?;
            let list = groups(&session).list(&ListParams::default()).await.ok()?;
            Some(list.iter().map(|group| CompletionCandidate::new(group.name_any())).collect())
        };
        runtime.block_on(async { tokio::time::timeout(PATIENCE, names).await.ok()? })
    });
    names.join().ok().flatten().unwrap_or_default()
}

/// What the words say so far of the cluster and the namespace.
fn connection(words: impl Iterator<Item = OsString>) -> Connection {
    let command = Connection::augment_args(Command::new("words").no_binary_name(true).ignore_errors(true))
        .arg(Arg::new("rest").num_args(0..));
    let matches = command.try_get_matches_from(words).ok();
    let found = matches.and_then(|matches| Connection::from_arg_matches(&matches).ok());
    found.unwrap_or(Connection { kubeconfig: None, context: None, namespace: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_is_found_where_it_stands() {
        let words = ["status", "-n", "shop", "--context=prod", "bil"].map(OsString::from);
        let found = connection(words.into_iter());
        assert_eq!((found.namespace.as_deref(), found.context.as_deref()), (Some("shop"), Some("prod")));
    }
}
