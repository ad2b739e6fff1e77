//! The commands, a module each.

pub mod crds;
pub mod discover;
pub mod doctor;
pub mod handover;
pub mod list;
pub mod rbac;

use std::process::ExitCode;

use anyhow::Result;

use crate::arguments::{Arguments, Command};
use crate::session::Session;

/// Runs what the command line says.
pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { connection, command } = arguments;
    match command {
        Command::List(arguments) => list::run(&Session::open(&connection).await?, &arguments).await,
        Command::Doctor(arguments) => doctor::run(&Session::open(&connection).await?, &arguments).await,
        Command::Discover(arguments) => discover::run(&Session::open(&connection).await?, &arguments).await,
        Command::Rbac(arguments) => rbac::run(&Session::open(&connection).await?, &arguments).await,
        Command::StepDown(arguments) => handover::step_down(&Session::open(&connection).await?, &arguments).await,
        Command::Promote(arguments) => handover::promote(&Session::open(&connection).await?, &arguments).await,
        Command::Crds => crds::run(),
    }
}
