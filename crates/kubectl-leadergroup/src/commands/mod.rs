//! The commands, a module each.

pub mod dashboard;
pub mod list;

use std::process::ExitCode;

use anyhow::Result;

use crate::arguments::{Arguments, Command};
use crate::session::Session;

/// Runs what the command line says.
pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { connection, command } = arguments;
    match command {
        Command::Dashboard(arguments) => dashboard::run(&Session::open(&connection).await?, &arguments).await,
        Command::List(arguments) => list::run(&Session::open(&connection).await?, &arguments).await,
    }
}
