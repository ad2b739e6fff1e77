//! The command that starts, changes and ends the test cluster.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use leadergroup_cluster::{CANDIDATE_IMAGE, Cluster, Component, Layout, NodeMode, Options, Signal};

/// A Kubernetes cluster for the tests, without Docker
#[derive(Debug, Parser)]
#[command(name = "cluster")]
struct Arguments {
    /// The folder the cluster is kept in [default: target/cluster in the checkout]
    #[arg(long, global = true, value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the cluster, or find the one that runs
    Up {
        /// Whether there is a real node, on which pods are processes (needs Linux and root)
        #[arg(long, value_enum, default_value_t = NodeMode::Auto)]
        node: NodeMode,
        /// The number of simulated nodes [default: 0 with a real node, 2 without]
        #[arg(long, value_name = "N")]
        kwok_nodes: Option<u32>,
    },
    /// End the cluster and remove all it left except its logs
    Down,
    /// Say what runs
    Status,
    /// Build the programs the cluster needs, unless they are built, and print the folder they are in
    Binaries,
    /// Build one program unless it is built, and print where it is
    Program {
        /// kubectl or another of the cluster's programs, helm, promtool ...
        name: String,
    },
    /// Make an image of a static program and put it on the real node (for imagePullPolicy: Never)
    Load {
        /// The image's name with domain and tag, as in leadergroup.test/operator:dev
        #[arg(value_name = "NAME:TAG")]
        name: String,
        /// The program; it is at /FILE-NAME in the image and runs as user 65532
        program: PathBuf,
        /// A word of the entrypoint, may be repeated [default: the program]
        #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
        entrypoint: Vec<String>,
    },
    /// Build the client-go candidate of the tests and load it as leadergroup.test/candidate-client-go:dev
    Candidate,
    /// Make sure that there are N simulated nodes
    Kwok {
        /// The number of nodes
        n: u32,
    },
    /// End one component
    Stop {
        /// The component
        component: Component,
    },
    /// Start a component that ended
    Start {
        /// The component
        component: Component,
    },
    /// Send a component a signal
    Signal {
        /// The component
        component: Component,
        /// The signal's name
        #[arg(value_parser = signal)]
        signal: Signal,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let state_dir = arguments.state_dir;
    let layout = || state_dir.as_ref().map_or_else(Layout::of_checkout, Layout::new);
    let running = || Cluster::at(layout()?)?.context("no cluster runs: start one with `cluster up`");
    match arguments.command {
        Command::Up { node, kwok_nodes } => {
            Cluster::up(&Options { node, kwok_nodes, state_dir: state_dir.clone() })?;
        }
        Command::Down => Cluster::down_at(&layout()?)?,
        Command::Status => print!("{}", running()?.status()?),
        Command::Binaries => println!("{}", leadergroup_cluster::binaries()?.display()),
        Command::Program { name } => println!("{}", leadergroup_cluster::program(&name)?.display()),
        Command::Load { name, program, entrypoint } => running()?.load_image_with(&name, &program, &entrypoint)?,
        Command::Candidate => {
            running()?.load_candidate()?;
            println!("{CANDIDATE_IMAGE}");
        }
        Command::Kwok { n } => running()?.add_kwok_nodes(n)?,
        Command::Stop { component } => running()?.stop(component)?,
        Command::Start { component } => running()?.start(component)?,
        Command::Signal { component, signal } => running()?.signal(component, signal)?,
    }
    Ok(())
}

/// A signal's name, with or without SIG before it.
fn signal(name: &str) -> Result<Signal> {
    let name = name.to_ascii_uppercase();
    Ok(match name.strip_prefix("SIG").unwrap_or(&name) {
        "KILL" => Signal::KILL,
        "TERM" => Signal::TERM,
        "STOP" => Signal::STOP,
        "CONT" => Signal::CONT,
        "INT" => Signal::INT,
        "QUIT" => Signal::QUIT,
        "HUP" => Signal::HUP,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        _ => bail!("it can be KILL, TERM, STOP, CONT, INT, QUIT, HUP, USR1 or USR2"),
    })
}
