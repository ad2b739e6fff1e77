//! The elector command: runs a program only while it leads, or tells who leads.

mod campaign;
mod run;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Leader election through a Kubernetes Lease, for any program.
#[derive(Parser)]
#[command(name = "elector", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a program only while this candidate leads
    Run(run::Arguments),
    /// Keep a program to its term (started by `run`)
    #[command(hide = true)]
    Watchdog(run::watchdog::Arguments),
    /// Become the program (started by the watchdog)
    #[command(hide = true)]
    Become(run::stage::Arguments),
    /// Tell programs beside this one, over HTTP, whether this candidate leads
    Serve(serve::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube_client=off,kube_runtime=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    let result = match arguments.command {
        Command::Run(arguments) => return run::run(&arguments),
        Command::Watchdog(arguments) => run::watchdog::watch(arguments),
        Command::Become(arguments) => run::stage::become_program(&arguments),
        Command::Serve(arguments) => serve::serve(arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("elector: {error:#}");
        ExitCode::FAILURE
    })
}
