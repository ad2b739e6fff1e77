//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::{dashboard, list};

/// Show LeaderGroups and steer them.
#[derive(Debug, Parser)]
#[command(name = "kubectl-leadergroup", bin_name = "kubectl leadergroup", version)]
pub struct Arguments {
    #[command(flatten)]
    pub connection: Connection,
    #[command(subcommand)]
    pub command: Command,
}

/// Which cluster and namespace, as with kubectl.
#[derive(Args, Clone, Debug)]
pub struct Connection {
    /// The kubeconfig file [default: $KUBECONFIG, ~/.kube/config]
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context in it
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The namespace [default: the context's]
    #[arg(long, short, global = true, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List groups, who leads them and since when
    #[command(visible_alias = "ls")]
    List(list::Arguments),
    /// Serve a page on this machine with the groups, their changes as they happen, and who led when
    Dashboard(dashboard::Arguments),
}
