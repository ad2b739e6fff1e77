//! What a cluster remembers of itself between commands.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::Component;
use crate::layout::Layout;
use crate::process::{Launch, ProcessId};

/// The state file's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Whether the cluster has a real node.
    pub(crate) real_node: bool,
    /// Whether the start was completed once; a start that was interrupted is not continued.
    pub(crate) complete: bool,
    /// The API server's address, `https://IP:PORT`.
    pub(crate) server: String,
    /// In the order they are started; the simulator of nodes only when it is needed.
    pub(crate) components: BTreeMap<Component, Running>,
}

/// One component: how it is started, and the process it was started as last, if ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) launch: Launch,
    pub(crate) process: Option<ProcessId>,
}

impl Running {
    pub(crate) fn is_alive(&self) -> bool {
        self.process.is_some_and(ProcessId::is_alive)
    }

    /// Whether it was started and has ended since.
    pub(crate) fn has_ended(&self) -> bool {
        self.process.is_some_and(|process| !process.is_alive())
    }
}

impl State {
    pub(crate) fn new(server: String, real_node: bool) -> Self {
        Self { real_node, complete: false, server, components: BTreeMap::new() }
    }

    /// Reads the state of the cluster kept in `layout`; none when there is no cluster.
    pub(crate) fn load(layout: &Layout) -> Result<Option<Self>> {
        let file = layout.state_file();
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", file.display()));
            }
        };
        let state = serde_json::from_str(&text).with_context(|| {
            format!("{} is not a state file of this version: end the cluster with `cluster down`", file.display())
        })?;
        Ok(Some(state))
    }

    /// Replaces the state file; a reader sees the old content or the new one.
    pub(crate) fn save(&self, layout: &Layout) -> Result<()> {
        let file = layout.state_file();
        let text = serde_json::to_string_pretty(self).context("cannot write the state as JSON")?;
        let next = file.with_extension("json.next");
        fs::write(&next, text)
            .and_then(|()| fs::rename(&next, &file))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// Starts a component the way it was started before, and records it.
    pub(crate) fn start(&mut self, layout: &Layout, component: Component) -> Result<()> {
        let running =
            self.components.get_mut(&component).with_context(|| format!("this cluster has no {component}"))?;
        if !running.is_alive() {
            running.process = Some(running.launch.spawn(&layout.log(component))?);
            self.save(layout)?;
        }
        Ok(())
    }

    /// Adds a component and starts it.
    pub(crate) fn launch(&mut self, layout: &Layout, component: Component, launch: Launch) -> Result<()> {
        self.components.insert(component, Running { launch, process: None });
        self.start(layout, component)
    }

    /// The components that were started and have ended since.
    pub(crate) fn ended(&self) -> Vec<Component> {
        self.components.iter().filter(|(_, running)| running.has_ended()).map(|(component, _)| *component).collect()
    }

    /// Whether any component runs.
    pub(crate) fn is_alive(&self) -> bool {
        self.components.values().any(Running::is_alive)
    }
}

/// The right to change the cluster kept in one folder. The kernel takes it back from a command that is killed.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "the file is the lock as long as it is open")] File);

impl Lock {
    /// Waits until no other command changes the cluster.
    pub(crate) fn wait(layout: &Layout) -> Result<Self> {
        fs::create_dir_all(layout.root()).with_context(|| format!("cannot create {}", layout.root().display()))?;
        lock_file(&layout.lock_file(), "another command changes this cluster")
    }
}

/// Opens and locks a file, saying why once if that takes waiting.
pub(crate) fn lock_file(path: &std::path::Path, holder: &str) -> Result<Lock> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => {
            crate::progress(&format!("waiting: {holder} ({})", path.display()));
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(Lock(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_survives_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path()).unwrap();
        layout.create().unwrap();
        assert_eq!(State::load(&layout).unwrap(), None);
        let mut state = State::new("https://127.0.0.1:1".into(), false);
        let launch = Launch::new("sleep".into(), vec!["60".into()]);
        state.launch(&layout, Component::Etcd, launch).unwrap();
        let loaded = State::load(&layout).unwrap().unwrap();
        assert_eq!(loaded, state);
        assert!(loaded.ended().is_empty() && loaded.is_alive());
        let process = loaded.components[&Component::Etcd].process.unwrap();
        crate::process::kill_all(&[process]).unwrap();
        assert!(loaded.ended() == [Component::Etcd] && !loaded.is_alive());
    }

    #[test]
    fn a_foreign_state_file_is_an_error_that_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path()).unwrap();
        fs::write(layout.state_file(), "{}").unwrap();
        let error = State::load(&layout).unwrap_err();
        assert!(error.to_string().contains("cluster down"), "{error}");
    }
}
