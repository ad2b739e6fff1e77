//! `list --watch`: the table, and then a line for each group that changes, as with kubectl.

use std::collections::BTreeMap;
use std::pin::pin;
use std::process::ExitCode;

use anyhow::{Result, bail};
use futures::StreamExt as _;
use jiff::Zoned;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Event, watcher};
use kube::{Api, ResourceExt as _};

use super::{Arguments, Format, Summary, none, not_shown, text};
use crate::model::LeaderGroup;
use crate::output::{print, tell};
use crate::session::{Session, refusal, watching};
use crate::signals::told_to_end;

pub async fn run(session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let groups: Api<DeserializeGuard<LeaderGroup>> = if arguments.all_namespaces {
        Api::all(session.client.clone())
    } else {
        Api::namespaced(session.client.clone(), &session.namespace)
    };
    let mut events = pin!(watcher(groups, watching().labels(&arguments.selector)).default_backoff());
    let mut told_to_end = pin!(told_to_end());
    let (mut rows, mut listed) = (Rows::default(), None);
    loop {
        let event = tokio::select! {
            () = &mut told_to_end => return Ok(ExitCode::SUCCESS),
            event = events.next() => event,
        };
        match event {
            Some(Ok(Event::Init)) => listed = Some(BTreeMap::new()),
            Some(Ok(Event::InitApply(group))) => {
                let listed = listed.get_or_insert_default();
                listed.extend(summary(group));
            }
            Some(Ok(Event::InitDone)) => {
                let is_first = rows.shown.is_none();
                print(&rows.relist(listed.take().unwrap_or_default(), arguments))?;
                if is_first && rows.is_empty() {
                    tell(none(session, arguments));
                }
            }
            Some(Ok(Event::Apply(group))) => {
                if let Some((key, row)) = summary(group) {
                    print(&rows.take(&key, row, arguments))?;
                }
            }
            Some(Ok(Event::Delete(group))) => {
                let key = (group.namespace().unwrap_or_default(), group.name_any());
                if rows.remove(&key) {
                    tell(format_args!("{}/{} was deleted", key.0, key.1));
                }
            }
            Some(Err(error)) => {
                let why = error.to_string();
                match refusal(error) {
                    Some(error) => return Err(session.explain(error)),
                    None => tell(format_args!("{why}; still trying")),
                }
            }
            None => bail!("the watch of the groups ended"),
        }
    }
}

/// Namespace and name.
type Key = (String, String);

fn summary(group: DeserializeGuard<LeaderGroup>) -> Option<(Key, Summary)> {
    match group.0 {
        Ok(group) => Some(((group.namespace().unwrap_or_default(), group.name_any()), Summary::of(&group))),
        Err(error) => {
            tell(not_shown(&error.metadata, &error.error));
            None
        }
    }
}

/// What was shown of each group last; nothing before the first list.
#[derive(Default)]
struct Rows {
    shown: Option<BTreeMap<Key, Summary>>,
}

impl Rows {
    fn is_empty(&self) -> bool {
        self.shown.as_ref().is_none_or(BTreeMap::is_empty)
    }

    /// The table at first, and later the lines of groups that have changed since they were shown.
    fn relist(&mut self, groups: BTreeMap<Key, Summary>, arguments: &Arguments) -> String {
        let Some(shown) = &mut self.shown else {
            let all: Vec<_> = groups.values().cloned().collect();
            self.shown = Some(groups);
            return if all.is_empty() { String::new() } else { table(&all, arguments) };
        };
        shown.retain(|key, _| groups.contains_key(key));
        groups.into_iter().map(|(key, summary)| self.take(&key, summary, arguments)).collect()
    }

    /// The line of a group, if it is another than was shown, under the columns of the table.
    fn take(&mut self, key: &Key, summary: Summary, arguments: &Arguments) -> String {
        let shown = self.shown.get_or_insert_default();
        if shown.get(key) == Some(&summary) {
            return String::new();
        }
        let is_first = shown.is_empty();
        shown.insert(key.clone(), summary);
        let all: Vec<_> = shown.values().cloned().collect();
        let table = table(&all, arguments);
        if is_first {
            return table;
        }
        // Behind the heads, in the order of the keys.
        let at = shown.keys().position(|other| other == key).unwrap_or_default() + 1;
        table.lines().nth(at).map(|line| format!("{line}\n")).unwrap_or_default()
    }

    fn remove(&mut self, key: &Key) -> bool {
        self.shown.as_mut().is_some_and(|shown| shown.remove(key).is_some())
    }
}

fn table(groups: &[Summary], arguments: &Arguments) -> String {
    let is_wide = matches!(arguments.output, Some(Format::Wide));
    text(groups, arguments.all_namespaces, is_wide, &Zoned::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata::{self, plain};

    #[test]
    fn each_change_is_a_line_and_nothing_is_said_twice() {
        let arguments = Arguments::new(false, None, true);
        let row = |group: &LeaderGroup| ((String::new(), group.name_any()), Summary::of(group));
        let (led, other) = (testdata::led(), testdata::never_led());
        let mut rows = Rows::default();
        let first = rows.relist([row(&led), row(&other)].into(), &arguments);
        assert_eq!(first.lines().count(), 3, "{first}");
        assert_eq!(rows.relist([row(&led), row(&other)].into(), &arguments), "", "nothing has changed");
        let mut changed = led.clone();
        changed.status.as_mut().unwrap().transitions = 77;
        let (key, summary) = row(&changed);
        let line = plain(&rows.take(&key, summary.clone(), &arguments));
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(line.starts_with("billing ") && line.contains(" 77 "), "{line}");
        assert_eq!(rows.take(&key, summary, &arguments), "");
        assert!(rows.remove(&key) && !rows.remove(&key));
    }
}
