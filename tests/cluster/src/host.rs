//! What the machine must offer for a real node, and the claim to its fixed addresses.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::layout::{Layout, RUN_DIR};
use crate::node::{ADDRESSES, BRIDGE};
use crate::process::search_path;
use crate::progress;
use crate::state::{Lock, State, lock_file};

/// The tables kube-proxy makes; there can be one kube-proxy on a machine.
pub(crate) const NFT_FAMILIES: [&str; 2] = ["ip", "ip6"];
pub(crate) const NFT_TABLE: &str = "kube-proxy";

/// Where distributions put the CNI plugins.
const CNI_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin"];

/// Programs a real node calls, and the Debian packages they are in.
const NEEDED: [(&str, &str); 4] = [("runc", "runc"), ("ip", "iproute2"), ("nft", "nftables"), ("mount", "mount")];
const CNI_PACKAGE: &str = "containernetworking-plugins";

/// A machine that can run a real node.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) runc: PathBuf,
    pub(crate) cni: PathBuf,
}

impl Host {
    /// Looks at the machine, installs what is missing where that is possible, and says in one sentence why there can be
    /// no real node otherwise.
    pub(crate) fn prepare() -> Result<Self> {
        ensure!(
            cfg!(target_os = "linux"),
            "a real node needs Linux: use --node none, or CLUSTER=existing with a cluster of your own"
        );
        let mut missing = missing();
        let names = missing.join(" and ");
        ensure!(
            rustix::process::geteuid().is_root(),
            "a real node needs root{}: run as root, or use --node none",
            if missing.is_empty() { String::new() } else { format!(", and {names} installed") }
        );
        if !missing.is_empty() {
            install(&missing).context("there can be no real node otherwise, only --node none")?;
            missing = self::missing();
            ensure!(missing.is_empty(), "{} was installed and still is not found", missing.join(" and "));
        }
        Ok(Self {
            runc: find("runc").context("runc is not on the search path")?,
            cni: cni().context("the CNI plugins bridge and host-local are not installed")?,
        })
    }
}

fn missing() -> Vec<&'static str> {
    let mut missing: Vec<_> =
        NEEDED.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package).collect();
    if cni().is_none() {
        missing.push(CNI_PACKAGE);
    }
    missing
}

pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let names = packages.join(" and ");
    let can = find("apt-get").is_some() && rustix::process::geteuid().is_root();
    ensure!(can, "{names} is needed, and can't be installed from here: install it yourself");
    progress(&format!("installing {names} with apt-get"));
    let apt = |args: &[&str]| -> Result<()> {
        let output = Command::new("apt-get")
            .args(["-o", "DPkg::Lock::Timeout=120", "-q"])
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .output()
            .context("cannot run apt-get")?;
        ensure!(
            output.status.success(),
            "apt-get {} failed ({}): install {names} yourself",
            args[0],
            String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")
        );
        Ok(())
    };
    apt(&["update"])?;
    let mut args = vec!["install", "-y", "--no-install-recommends"];
    args.extend(packages);
    apt(&args)
}

fn find(program: &str) -> Option<PathBuf> {
    search_path().split(':').map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
}

fn cni() -> Option<PathBuf> {
    CNI_FOLDERS
        .iter()
        .map(PathBuf::from)
        .find(|folder| ["bridge", "host-local"].iter().all(|plugin| folder.join(plugin).is_file()))
}

/// Runs a program of the machine's and returns what it wrote.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .env("PATH", search_path())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {} failed: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether the machine forwards IPv4 packets.
pub(crate) fn forwarding() -> Result<bool> {
    let text = fs::read_to_string(FORWARDING).with_context(|| format!("cannot read {FORWARDING}"))?;
    Ok(text.trim() == "1")
}

/// Makes the machine forward IPv4 packets or not.
pub(crate) fn set_forwarding(on: bool) -> Result<()> {
    fs::write(FORWARDING, if on { "1" } else { "0" }).with_context(|| format!("cannot write {FORWARDING}"))
}

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Which cluster of the machine has the real node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    /// The cluster's folder.
    pub(crate) cluster: PathBuf,
    /// Whether the machine forwarded IPv4 packets before.
    pub(crate) forwarding_before: bool,
}

fn owner_file() -> PathBuf {
    Path::new(RUN_DIR).join("owner.json")
}

impl Owner {
    /// Held while the claim is looked at and changed.
    pub(crate) fn lock() -> Result<Lock> {
        let path = Path::new(RUN_DIR).with_extension("lock");
        lock_file(&path, "another command changes this machine's real node")
    }

    pub(crate) fn load() -> Result<Option<Self>> {
        let file = owner_file();
        match fs::read(&file) {
            // A claim that was not written to its end is no claim.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// Claims the machine's real node for a cluster; what is left of a dead owner must be gone already.
    pub(crate) fn claim(layout: &Layout) -> Result<()> {
        for family in NFT_FAMILIES {
            ensure!(
                run("nft", &["list", "table", family, NFT_TABLE]).is_err(),
                "this machine has an nftables table {NFT_TABLE} already, so it may be a Kubernetes node: \
                 delete the table (nft delete table {family} {NFT_TABLE}) if it is not, or use --node none"
            );
        }
        ensure!(
            !Path::new("/sys/class/net").join(BRIDGE).exists(),
            "this machine has a network device {BRIDGE} already: \
             delete it (ip link delete {BRIDGE}) if nothing uses it, or use --node none"
        );
        ensure!(
            run("ip", &["-4", "route", "show", "root", ADDRESSES])?.trim().is_empty(),
            "this machine has a route to addresses in {ADDRESSES}, which pods would get: use --node none"
        );
        let owner = Self { cluster: layout.root().to_path_buf(), forwarding_before: forwarding()? };
        let text = serde_json::to_string(&owner).context("cannot write the claim as JSON")?;
        fs::create_dir_all(RUN_DIR)
            .and_then(|()| fs::write(owner_file(), text))
            .with_context(|| format!("cannot write {}", owner_file().display()))
    }

    /// Fails when the owner is another cluster that still runs.
    pub(crate) fn check_free_for(&self, layout: &Layout) -> Result<()> {
        if self.cluster == layout.root() {
            return Ok(());
        }
        let alive = State::load(&Layout::new(&self.cluster)?).ok().flatten().is_some_and(|state| state.is_alive());
        if alive {
            let checkout = self.cluster.ancestors().nth(2).unwrap_or(&self.cluster);
            bail!(
                "another checkout's cluster has this machine's real node, that of {}: run `make cluster-down` there, \
                 or use --node none, which uses ports of its own",
                checkout.display()
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Component;
    use crate::process::{Launch, kill_all};

    #[test]
    fn a_dead_owner_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let theirs = Layout::new(folder.path().join("theirs/target/cluster")).unwrap();
        let ours = Layout::new(folder.path().join("ours/target/cluster")).unwrap();
        let owner = Owner { cluster: theirs.root().into(), forwarding_before: false };
        owner.check_free_for(&ours).unwrap();
        theirs.create().unwrap();
        let mut state = State::new("https://127.0.0.1:1".into(), true);
        let launch = Launch::new("sleep".into(), vec!["60".into()]);
        state.launch(&theirs, Component::Etcd, launch).unwrap();
        owner.check_free_for(&theirs).unwrap();
        let error = owner.check_free_for(&ours).unwrap_err().to_string();
        let checkout = folder.path().join("theirs");
        assert!(error.contains(&format!("that of {}:", checkout.display())), "{error}");
        kill_all(&[state.components[&Component::Etcd].process.unwrap()]).unwrap();
        owner.check_free_for(&ours).unwrap();
    }
}
