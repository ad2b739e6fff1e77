//! Ends a cluster and removes all that it left on the machine, whatever state it is in.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use procfs::process::Process;
use rustix::mount::{UnmountFlags, unmount};

use crate::host::{self, NFT_FAMILIES, NFT_TABLE, Owner};
use crate::layout::{Layout, RUN_DIR};
use crate::node::{BRIDGE, CNI_NETWORK, cgroup_folders};
use crate::process::{ProcessId, kill_all, marked};
use crate::state::State;

/// Where the kubelet links the containers' logs; the place cannot be configured.
const CONTAINER_LOGS: &str = "/var/log/containers";
/// Where the kubelet and the runtime's shims make sockets; neither place can be configured.
const SOCKETS: [&str; 2] = ["/var/lib/kubelet/device-plugins", "/run/containerd/s"];
/// Where CNI keeps what it did for each container; the runtime cannot configure it.
const CNI_RESULTS: &str = "/var/lib/cni/results";

/// Ends the cluster of `layout`. The logs stay.
pub(crate) fn run(layout: &Layout) -> Result<()> {
    kill_components(layout)?;
    if rustix::process::geteuid().is_root() {
        let _lock = Owner::lock()?;
        if let Some(owner) = Owner::load()?
            && owner.cluster == layout.root()
        {
            remove_node(&owner)?;
        }
        unmount_below(layout.root())?;
    }
    for folder in ["data", "config", "pki"] {
        remove_folder(&layout.root().join(folder))?;
    }
    for file in [layout.kubeconfig(), layout.state_file()] {
        remove_file(&file)?;
    }
    Ok(())
}

/// Removes what a dead cluster left of its real node. The caller holds the owner's lock.
pub(crate) fn remove_leftovers(owner: &Owner) -> Result<()> {
    kill_all(&marked(&owner.cluster)?)?;
    remove_node(owner)?;
    unmount_below(&owner.cluster)
}

/// Kills the recorded processes, and those that were started but not recorded.
fn kill_components(layout: &Layout) -> Result<()> {
    // A state that cannot be read must not keep a cluster alive: the marks find the processes too.
    if let Ok(Some(state)) = State::load(layout) {
        let recorded: Vec<ProcessId> = state.components.values().filter_map(|running| running.process).collect();
        kill_all(&recorded)?;
    }
    // A shim that is just being started appears after the first look.
    for _ in 0..10 {
        let processes = marked(layout.root())?;
        if processes.is_empty() {
            return Ok(());
        }
        kill_all(&processes)?;
    }
    bail!("processes of the cluster keep appearing: look for {} in their environment", layout.root().display())
}

fn remove_node(owner: &Owner) -> Result<()> {
    kill_containers()?;
    unmount_below(Path::new(RUN_DIR))?;
    if Path::new("/sys/class/net").join(BRIDGE).exists() {
        host::run("ip", &["link", "delete", BRIDGE])?;
    }
    for family in NFT_FAMILIES {
        if host::run("nft", &["list", "table", family, NFT_TABLE]).is_ok() {
            host::run("nft", &["delete", "table", family, NFT_TABLE])?;
        }
    }
    remove_links(Path::new(CONTAINER_LOGS), &owner.cluster);
    host::set_forwarding(owner.forwarding_before)?;
    remove_cni_results();
    for folder in SOCKETS {
        remove_dead_sockets(Path::new(folder));
    }
    remove_cgroups()?;
    // The claim goes last: a command that is killed before leaves the rest to the next one.
    remove_folder(Path::new(RUN_DIR))
}

/// Kills what runs in the node's cgroups.
fn kill_containers() -> Result<()> {
    for _ in 0..10 {
        let processes: Vec<ProcessId> = cgroup_folders().iter().flat_map(|folder| processes_below(folder)).collect();
        if processes.is_empty() {
            return Ok(());
        }
        kill_all(&processes)?;
    }
    bail!("containers of the cluster keep starting processes: end them with ps and kill, then try again")
}

/// The processes in a cgroup and in those below it.
pub(crate) fn processes_below(folder: &Path) -> Vec<ProcessId> {
    cgroup_tree(folder)
        .into_iter()
        .filter_map(|folder| fs::read_to_string(folder.join("cgroup.procs")).ok())
        .flat_map(|text| parse_pids(&text))
        .filter_map(ProcessId::of)
        .collect()
}

fn parse_pids(text: &str) -> Vec<i32> {
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

/// A cgroup and those below it, the deepest first.
fn cgroup_tree(folder: &Path) -> Vec<PathBuf> {
    let mut tree = Vec::new();
    if let Ok(entries) = fs::read_dir(folder) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                tree.extend(cgroup_tree(&entry.path()));
            }
        }
        tree.push(folder.to_path_buf());
    }
    tree
}

fn remove_cgroups() -> Result<()> {
    let mut last = None;
    for _ in 0..50 {
        last = cgroup_folders()
            .iter()
            .flat_map(|folder| cgroup_tree(folder))
            .filter_map(|folder| Some((fs::remove_dir(&folder).err()?, folder)))
            .find(|(error, _)| error.kind() != ErrorKind::NotFound);
        if last.is_none() {
            return Ok(());
        }
        // The kernel takes a moment to forget the last process.
        thread::sleep(Duration::from_millis(50));
    }
    match last {
        Some((error, folder)) => Err(error).with_context(|| format!("cannot remove the cgroup {}", folder.display())),
        None => Ok(()),
    }
}

/// Unmounts all that is mounted below a folder, and returns only when nothing is: what is removed afterwards must not be
/// somebody's files seen through a mount.
pub(crate) fn unmount_below(folder: &Path) -> Result<()> {
    for _ in 0..10 {
        let points = mounts_below(folder)?;
        if points.is_empty() {
            return Ok(());
        }
        for point in points {
            match unmount(&point, UnmountFlags::DETACH) {
                // It may have gone with the one it was in.
                Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
                Err(error) => {
                    let error = std::io::Error::from(error);
                    return Err(error).with_context(|| format!("cannot unmount {}", point.display()));
                }
            }
        }
    }
    bail!("mounts below {} keep appearing: look at them with `findmnt`", folder.display())
}

/// The mounts below a folder, the last mounted first.
fn mounts_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mounts = Process::myself().and_then(|process| process.mountinfo()).context("cannot list mounts")?;
    let points = mounts.into_iter().map(|mount| unescape(&mount.mount_point));
    let mut points: Vec<PathBuf> = points.filter(|point| point != folder && point.starts_with(folder)).collect();
    points.reverse();
    Ok(points)
}

/// The kernel writes some bytes of a path as a backslash and three octal digits.
fn unescape(path: &Path) -> PathBuf {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let bytes = path.as_os_str().as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(code) = code {
            plain.push(code);
            rest = &after[3..];
        } else {
            plain.push(first);
            rest = after;
        }
    }
    OsString::from_vec(plain).into()
}

/// Removes the links in `folder` that point into `target`, and the folder when nothing else is in it.
fn remove_links(folder: &Path, target: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if fs::read_link(entry.path()).is_ok_and(|points_to| points_to.starts_with(target)) {
            let _ = fs::remove_file(entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

fn remove_cni_results() {
    let folder = Path::new(CNI_RESULTS);
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(CNI_NETWORK) {
            let _ = fs::remove_file(entry.path());
        }
    }
    remove_empty(folder);
}

/// Removes the sockets nobody listens on any more. Others may have theirs in the same folder.
fn remove_dead_sockets(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let answer = UnixStream::connect(entry.path());
        if answer.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
            && entry.file_type().is_ok_and(|kind| kind.is_socket())
        {
            let _ = fs::remove_file(entry.path());
        }
    }
    remove_empty(folder);
}

/// Removes a folder and the one above it, each only when it is empty.
fn remove_empty(folder: &Path) {
    let _ = fs::remove_dir(folder);
    let _ = folder.parent().map(fs::remove_dir);
}

pub(crate) fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn remove_file(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        assert_eq!(unescape(Path::new(r"/a\040b\134c")), Path::new(r"/a b\c"));
        assert_eq!(unescape(Path::new(r"/plain\9")), Path::new(r"/plain\9"));
    }

    #[test]
    fn process_numbers_are_read_line_by_line() {
        assert_eq!(parse_pids("12\n7\n\n"), [12, 7]);
    }

    #[test]
    fn a_tree_is_listed_with_its_leaves_first() {
        let folder = tempfile::tempdir().unwrap();
        let leaf = folder.path().join("a/b");
        fs::create_dir_all(&leaf).unwrap();
        let tree = cgroup_tree(folder.path());
        assert_eq!(tree, [leaf, folder.path().join("a"), folder.path().into()]);
        assert_eq!(cgroup_tree(&folder.path().join("none")), [] as [PathBuf; 0]);
    }

    #[test]
    fn only_links_into_the_cluster_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let links = folder.path().join("containers");
        fs::create_dir(&links).unwrap();
        symlink("/cluster/data/pod-logs/0.log", links.join("ours")).unwrap();
        symlink("/var/log/pods/0.log", links.join("theirs")).unwrap();
        remove_links(&links, Path::new("/cluster"));
        assert!(!links.join("ours").is_symlink());
        assert!(links.join("theirs").is_symlink());
        fs::remove_file(links.join("theirs")).unwrap();
        remove_links(&links, Path::new("/cluster"));
        assert!(!links.exists());
    }

    #[test]
    fn only_sockets_nobody_listens_on_are_removed() {
        use std::os::unix::net::UnixListener;
        let folder = tempfile::tempdir().unwrap();
        let sockets = folder.path().join("run/s");
        fs::create_dir_all(&sockets).unwrap();
        let listener = UnixListener::bind(sockets.join("alive")).unwrap();
        drop(UnixListener::bind(sockets.join("dead")).unwrap());
        remove_dead_sockets(&sockets);
        assert!(sockets.join("alive").exists());
        assert!(!sockets.join("dead").exists());
        drop(listener);
        remove_dead_sockets(&sockets);
        assert!(!folder.path().join("run").exists());
    }

    #[test]
    fn a_cluster_that_never_was_can_be_ended() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path().join("cluster")).unwrap();
        run(&layout).unwrap();
        run(&layout).unwrap();
    }
}
