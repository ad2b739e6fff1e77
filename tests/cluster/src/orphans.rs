//! Containers' processes of which the runtime has lost sight.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use procfs::process::Process;

use crate::layout::{Layout, RUN_DIR};
use crate::node::cgroup_folders;
use crate::process::{ProcessId, kill_all, marked};
use crate::state::State;
use crate::teardown::{processes_below, remove_folder, unmount_below};
use crate::{Component, up};

/// How the kernel shows the name of the runtime's shims, cut after 15 bytes.
pub(crate) const SHIM: &str = "containerd-shim";
/// How long the runtime may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(15);

/// Processes that live on although their runtime does not know them any more. Dropping this kills them.
#[derive(Debug)]
pub struct Orphans(Vec<ProcessId>);

impl Drop for Orphans {
    fn drop(&mut self) {
        if let Err(error) = kill_all(&self.0) {
            eprintln!("containers that the runtime does not know live on: {error:#}");
        }
    }
}

/// Restarts the runtime with an empty state folder. The caller holds the cluster's lock.
///
/// The mounts go first, so that only the runtime's own files are removed. Containers have mounts of their own.
pub(crate) fn make(layout: &Layout, state: &mut State) -> Result<Orphans> {
    let shims = marked(layout.root())?.into_iter().filter(|process| is_shim(process.pid));
    // A shim first: it would report the end of its containers.
    let orphans = Orphans(shims.chain(cgroup_folders().iter().flat_map(|folder| processes_below(folder))).collect());
    let running = state.components.get(&Component::Containerd).and_then(|running| running.process);
    running.context("this cluster has no containerd")?.terminate(GRACE)?;
    let folder = Path::new(RUN_DIR).join("containerd");
    unmount_below(&folder)?;
    remove_folder(&folder)?;
    fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    state.start(layout, Component::Containerd)?;
    up::wait_for_runtime(layout, state)?;
    Ok(orphans)
}

pub(crate) fn is_shim(pid: i32) -> bool {
    Process::new(pid).and_then(|process| process.stat()).is_ok_and(|stat| stat.comm == SHIM)
}
