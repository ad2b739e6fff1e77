//! Builds the programs with their languages' own package managers, from lock files.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use leadergroup_cluster::{install_packages, workspace_root};
use leadergroup_e2e::build_static;
use serde_json::Value;

use crate::Client;

/// What builds and runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// A Go module.
    Go,
    /// A Cargo package with a lock file of its own.
    Cargo,
    /// A Maven project that puts its classes and what they need into `target/classes` and `target/lib`.
    Maven,
    /// An npm package with `main.mjs`.
    Npm,
    /// `main.py`, with `requirements.txt`.
    Pip,
    /// The elector's example in this workspace.
    Workspace,
}

/// A program that is built, as a pod runs it.
#[derive(Clone, Debug)]
pub struct Built {
    /// The library's version.
    pub version: String,
    /// The folder on the node that the pod finds at [`HOME`].
    pub folder: PathBuf,
    /// What it runs.
    pub command: Vec<String>,
    /// Folders of the node's that it needs at the same place.
    pub needs: Vec<PathBuf>,
    /// More environment.
    pub env: BTreeMap<&'static str, String>,
    /// The processor time that its containers request, so that the others do not starve them.
    pub cpu: Option<&'static str>,
}

/// Where a pod finds its program.
pub const HOME: &str = "/client";

/// Builds a client in `target/interop`, unless it is there already.
pub fn build(client: &Client) -> Result<Built> {
    // Two clients may share a folder, and each build takes all cores.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let checkout = workspace_root()?;
    let source = checkout.join("tests/candidates").join(client.folder);
    let folder = checkout.join("target/interop").join(client.folder);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let at_home = |name: &str| format!("{HOME}/{name}");
    let mut built = Built {
        version: String::new(),
        folder: folder.clone(),
        command: vec![at_home("program")],
        needs: Vec::new(),
        env: client.env.into_iter().map(|(name, value)| (name, value.to_owned())).collect(),
        cpu: client.starts_slowly().then_some("150m"),
    };
    match client.runtime {
        Runtime::Go => {
            let program = folder.join("program");
            let args = ["build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags=-s -w", "-o"];
            run(Command::new("go").current_dir(&source).env("CGO_ENABLED", "0").args(args).arg(program).arg("."))?;
            let wanted = format!("{} ", client.library);
            built.version = String::from(after(&source.join("go.mod"), &wanted)?.trim_start_matches('v'));
        }
        Runtime::Cargo => {
            let made = build_static(&source, &["--locked"], Some(&checkout.join("target/candidates")))?;
            place(&made, &folder)?;
            let wanted = format!("name = \"{}\"\nversion = \"", client.library);
            built.version = String::from(after(&source.join("Cargo.lock"), &wanted)?.trim_end_matches('"'));
        }
        Runtime::Workspace => {
            let made = build_static(&checkout, &["--release", "--workspace", "--bin", "lead"], None)?;
            place(&made, &folder)?;
            env!("CARGO_PKG_VERSION").clone_into(&mut built.version);
            built.command.extend(["$(NAMESPACE)", "$(LEASE_NAME)", "$(IDENTITY)"].map(ToOwned::to_owned));
        }
        Runtime::Maven => {
            need("javac", "default-jdk-headless")?;
            need("mvn", "maven")?;
            once(&source, &folder, || {
                run(Command::new("mvn").current_dir(&folder).args(["--quiet", "--batch-mode", "compile"]))
            })?;
            let java = real(&find("java").context("there is no java beside mvn")?)?;
            built.command = vec![
                java.display().to_string(),
                // Two cores run several of them.
                "-XX:TieredStopAtLevel=1".to_owned(),
                "-XX:+UseSerialGC".to_owned(),
                "-cp".to_owned(),
                format!("{}:{}", at_home("target/classes"), at_home("target/lib/*")),
                "Main".to_owned(),
            ];
            built.needs = system_folders();
            built.needs.extend(java_settings());
            let (_, artifact) = client.library.split_once(':').context("a Maven library is GROUP:ARTIFACT")?;
            let wanted = format!("<artifactId>{artifact}</artifactId>\n      <version>");
            let version = after(&source.join("pom.xml"), &wanted)?;
            built.version = String::from(version.split('<').next().unwrap_or_default());
        }
        Runtime::Npm => {
            need("npm", "npm")?;
            once(&source, &folder, || {
                run(Command::new("npm").current_dir(&folder).args(["ci", "--silent", "--no-audit", "--no-fund"]))
            })?;
            let node = real(&find("node").context("there is no node beside npm")?)?;
            built.command = vec![node.display().to_string(), at_home("main.mjs")];
            built.needs = system_folders();
            built.needs.extend(home_of(&node));
            let lock: Value = serde_json::from_str(&read(&source.join("package-lock.json"))?)?;
            let entry = format!("node_modules/{}", client.library);
            built.version = String::from(lock["packages"][&entry]["version"].as_str().unwrap_or_default());
        }
        Runtime::Pip => {
            let python = python()?;
            once(&source, &folder, || {
                let install =
                    ["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--disable-pip-version-check"];
                let mut pip = Command::new(&python);
                pip.args(install).args(["--root-user-action=ignore", "--target"]).arg(folder.join("packages"));
                run(pip.arg("--requirement").arg(source.join("requirements.txt")))
            })?;
            built.command = vec![python.display().to_string(), "-u".to_owned(), at_home("main.py")];
            built.env.insert("PYTHONPATH", at_home("packages"));
            built.needs = system_folders();
            built.needs.extend(home_of(&python));
            let wanted = format!("{}==", client.library);
            let version = after(&source.join("requirements.txt"), &wanted)?;
            built.version = String::from(version.split([' ', ';', '\\']).next().unwrap_or_default());
        }
    }
    ensure!(!built.version.is_empty(), "the lock file of {} does not name {}", client.folder, client.library);
    Ok(built)
}

/// Copies the sources and builds them there, unless that was done with the same ones before.
fn once(source: &Path, folder: &Path, build: impl FnOnce() -> Result<()>) -> Result<()> {
    let files = files(source)?;
    let mut hasher = DefaultHasher::new();
    files.hash(&mut hasher);
    let (stamp, digest) = (folder.join(".built"), hasher.finish().to_string());
    if fs::read_to_string(&stamp).is_ok_and(|built| built == digest) {
        return Ok(());
    }
    fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    for (name, content) in files {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().unwrap_or(folder))?;
        fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))?;
    }
    build()?;
    fs::write(&stamp, digest).with_context(|| format!("cannot write {}", stamp.display()))
}

/// The files of a folder of sources, without what was built in it.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(folder.join(&at)).with_context(|| format!("cannot read {}", folder.display()))? {
            let entry = entry?;
            let name = at.join(entry.file_name());
            if !entry.file_type()?.is_dir() {
                files.insert(name, fs::read(entry.path())?);
            } else if !["target", "node_modules", ".venv"].iter().any(|made| entry.file_name() == *made) {
                folders.push(name);
            }
        }
    }
    Ok(files)
}

/// What stands behind a text in a file, to the end of the line.
fn after(file: &Path, text: &str) -> Result<String> {
    let content = read(file)?;
    let (_, rest) =
        content.split_once(text).with_context(|| format!("{} does not contain {text:?}", file.display()))?;
    Ok(rest.lines().next().unwrap_or_default().trim().to_owned())
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} failed: see the messages above");
    Ok(())
}

/// Puts a program where the pod finds it. A pod may still run the one before.
fn place(program: &Path, folder: &Path) -> Result<()> {
    let new = folder.join(".new");
    fs::copy(program, &new).with_context(|| format!("cannot copy {}", program.display()))?;
    fs::rename(&new, folder.join("program")).context("cannot place the program")
}

/// Installs a Debian package if a program is not there.
fn need(program: &str, package: &str) -> Result<()> {
    if find(program).is_none() {
        install_packages(&[package]).with_context(|| format!("{program} is needed to build a candidate"))?;
    }
    Ok(())
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

fn real(path: &Path) -> Result<PathBuf> {
    fs::canonicalize(path).with_context(|| format!("cannot resolve {}", path.display()))
}

/// A Python that has pip: its real path, which does not depend on a version manager's environment.
fn python() -> Result<PathBuf> {
    let ask = || {
        let script = "import pip, sys, os; print(os.path.realpath(sys.executable))";
        let output = Command::new("python3").args(["-c", script]).output().ok()?;
        output.status.success().then(|| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
    };
    if let Some(python) = ask() {
        return Ok(python);
    }
    install_packages(&["python3-pip"]).context("Python's pip is needed to build a candidate")?;
    ask().context("pip was installed for another Python than python3 on the search path")
}

/// What programs of the node's own need.
fn system_folders() -> Vec<PathBuf> {
    ["/usr", "/lib", "/lib64", "/bin"].map(PathBuf::from).into_iter().filter(|folder| folder.exists()).collect()
}

/// Where a program outside of the system's folders has its libraries: the folder around its `bin`.
fn home_of(program: &Path) -> Option<PathBuf> {
    let home = program.parent()?.parent()?;
    (!home.starts_with("/usr") && home != Path::new("/")).then(|| home.to_owned())
}

/// Debian keeps the settings of each Java outside of its folder.
fn java_settings() -> Vec<PathBuf> {
    let entries = fs::read_dir("/etc").into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.to_string_lossy().starts_with("/etc/java-")).collect()
}

/// The image that all run in: there is nothing in it that they use.
pub fn image(session: &leadergroup_e2e::Session) -> Result<&'static str> {
    if session.cluster().is_existing() {
        bail!("other people's electors run with this machine's own runtimes, so on its own node only");
    }
    session.cluster().load_candidate()
}
