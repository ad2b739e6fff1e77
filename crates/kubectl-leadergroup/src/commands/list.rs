//! `list`: the groups of a namespace or of all.

mod watch;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use jiff::{Timestamp, Zoned};
use kube::ResourceExt as _;
use kube::api::ListParams;
use kube::core::ObjectMeta;
use leadergroup_api::{Policy, Verdict};
use serde::Serialize;

use crate::group::condition;
use crate::model::{LeaderGroup, Told};
use crate::output::{self, Cell, GOOD, WARN, ago, print, table, tell};
use crate::session::Session;

#[derive(Args, Debug)]
pub struct Arguments {
    /// All namespaces
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// Only groups with these labels, as with kubectl
    #[arg(long, short = 'l', value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    selector: String,
    /// What to print instead of the table
    #[arg(long, short, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    /// Go on with a line for each change, until ctrl-c
    #[arg(long, short)]
    watch: bool,
}

impl Arguments {
    /// All groups, whatever their labels.
    pub fn new(all_namespaces: bool, output: Option<Format>, watch: bool) -> Self {
        Self { all_namespaces, selector: String::new(), output, watch }
    }

    fn place(&self, session: &Session) -> String {
        if self.all_namespaces { "any namespace".to_owned() } else { format!("namespace {}", session.namespace) }
    }
}

impl From<output::Format> for Format {
    fn from(format: output::Format) -> Self {
        match format {
            output::Format::Json => Self::Json,
            output::Format::Yaml => Self::Yaml,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The table with node, Lease, verdict and policy
    Wide,
    /// A list of objects for programs
    Json,
    /// The same as YAML
    Yaml,
    /// Names as kubectl takes them
    Name,
}

/// A group in a line.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    namespace: String,
    name: String,
    /// The identity of who leads.
    leader: Option<String>,
    pod: Option<String>,
    node: Option<String>,
    /// By the leader's own clock.
    since: Option<Timestamp>,
    /// Absent while the operator has not said so.
    ready: Option<bool>,
    reason: Option<String>,
    verdict: Option<Told<Verdict>>,
    lease: String,
    candidates: i32,
    ready_candidates: i32,
    transitions: i64,
    policy: Policy,
    created: Option<Timestamp>,
}

pub async fn run(session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let all = arguments.all_namespaces;
    if arguments.watch {
        return match arguments.output {
            None | Some(Format::Wide) => watch::run(session, arguments).await,
            Some(_) => bail!("--watch shows a table: leave -o out, or have it wide"),
        };
    }
    let namespace = (!all).then_some(session.namespace.as_str());
    let listed = session.try_list(namespace, &ListParams::default().labels(&arguments.selector)).await;
    let (groups, unreadable) = listed.map_err(|error| session.explain(error))?;
    for (metadata, why) in unreadable {
        tell(not_shown(&metadata, &why));
    }
    let summaries: Vec<_> = groups.iter().map(Summary::of).collect();
    let text = match arguments.output {
        Some(Format::Json) => output::Format::Json.render(&summaries)?,
        Some(Format::Yaml) => output::Format::Yaml.render(&summaries)?,
        Some(Format::Name) => {
            summaries.iter().flat_map(|it| ["leadergroup.leadergroup.dev/", &it.name, "\n"]).collect()
        }
        None | Some(Format::Wide) if summaries.is_empty() => {
            tell(none(session, arguments));
            String::new()
        }
        wide => text(&summaries, all, wide.is_some(), &Zoned::now()),
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn not_shown(metadata: &ObjectMeta, why: &str) -> String {
    let name = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{} is not shown, for it can't be read: {why}", name(&metadata.namespace), name(&metadata.name))
}

fn none(session: &Session, arguments: &Arguments) -> String {
    let which = if arguments.selector.is_empty() { "" } else { " with these labels" };
    format!("there is no LeaderGroup{which} in {}", arguments.place(session))
}

impl Summary {
    fn of(group: &LeaderGroup) -> Self {
        let status = group.status.clone().unwrap_or_default();
        let leader = status.leader.as_ref();
        let ready = condition(group, "Ready");
        Self {
            namespace: group.namespace().unwrap_or_default(),
            name: group.name_any(),
            leader: leader.map(|it| it.identity.clone()),
            pod: leader.and_then(|it| it.pod_name.clone()),
            node: leader.and_then(|it| it.node_name.clone()),
            since: leader.and_then(|it| it.acquire_time.as_ref()).map(|time| time.0),
            ready: ready.map(|it| it.status == "True"),
            reason: ready.map(|it| it.reason.clone()),
            verdict: status.holder.map(|holder| holder.verdict),
            lease: group.lease_name().to_owned(),
            candidates: status.candidates.total,
            ready_candidates: status.candidates.ready,
            transitions: status.transitions,
            policy: group.spec.stale_holder.policy,
            created: group.creation_timestamp().map(|time| time.0),
        }
    }
}

fn text(summaries: &[Summary], namespaces: bool, wide: bool, now: &Zoned) -> String {
    let mut header = if namespaces { vec!["NAMESPACE"] } else { vec![] };
    header.extend(["NAME", "LEADER", "READY", "REASON", "CANDIDATES", "TRANSITIONS", "SINCE", "AGE"]);
    if wide {
        header.extend(["NODE", "LEASE", "VERDICT", "POLICY"]);
    }
    let rows = summaries.iter().map(|it| {
        let mut row: Vec<Cell> = if namespaces { vec![it.namespace.as_str().into()] } else { vec![] };
        let ready = it.ready.map(|ready| if ready { Cell::styled(GOOD, "True") } else { Cell::styled(WARN, "False") });
        row.extend([
            it.name.as_str().into(),
            // A holder that is no known pod is better than none.
            Cell::maybe(it.pod.as_ref().or(it.leader.as_ref())),
            ready.unwrap_or_else(|| Cell::styled(WARN, "Unknown")),
            Cell::maybe(it.reason.as_ref()),
            format!("{}/{}", it.ready_candidates, it.candidates).into(),
            it.transitions.to_string().into(),
            Cell::maybe(it.since.map(|since| ago(since, now))),
            Cell::maybe(it.created.map(|created| ago(created, now))),
        ]);
        if wide {
            row.extend([
                Cell::maybe(it.node.as_ref()),
                it.lease.as_str().into(),
                Cell::maybe(it.verdict.as_ref().map(Told::<Verdict>::as_str)),
                format!("{:?}", it.policy).into(),
            ]);
        }
        row
    });
    table(&header, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata::{self, now, plain};

    fn summaries() -> Vec<Summary> {
        let groups = [
            testdata::led(),
            testdata::leaderless(),
            testdata::never_led(),
            testdata::new(),
            testdata::foreign(),
            testdata::long(),
        ];
        groups.iter().map(Summary::of).collect()
    }

    #[test]
    fn groups_in_a_table() {
        insta::assert_snapshot!(plain(&text(&summaries(), false, false, &now())));
    }

    #[test]
    fn groups_of_all_namespaces_in_a_wide_table() {
        insta::assert_snapshot!(plain(&text(&summaries(), true, true, &now())));
    }

    #[test]
    fn groups_for_programs() {
        insta::assert_snapshot!(output::Format::Yaml.render(&summaries()[..2]).unwrap());
    }
}
