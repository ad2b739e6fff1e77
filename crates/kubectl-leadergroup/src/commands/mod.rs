//! The commands, a module each.

pub mod completion;
pub mod crds;
pub mod dashboard;
pub mod discover;
pub mod doctor;
pub mod handover;
pub mod history;
pub mod install;
pub mod list;
pub mod pause;
pub mod rbac;
pub mod status;
pub mod timeline;
pub mod wait;
pub mod who;

use std::process::ExitCode;

use anyhow::Result;
use leadergroup_api::Policy;

use crate::arguments::{Arguments, Command};
use crate::session::Session;

/// Runs what the command line says.
pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { connection, command, .. } = arguments;
    let session = || Session::open(&connection);
    match command {
        Command::Dashboard(arguments) => dashboard::run(&session().await?, &arguments).await,
        Command::List(arguments) => list::run(&session().await?, &arguments).await,
        Command::Doctor(arguments) => doctor::run(&session().await?, &arguments).await,
        Command::Discover(arguments) => discover::run(&session().await?, &arguments).await,
        Command::Rbac(arguments) => rbac::run(&session().await?, &arguments).await,
        Command::StepDown(arguments) => handover::step_down(&session().await?, &arguments).await,
        Command::Promote(arguments) => handover::promote(&session().await?, &arguments).await,
        Command::Crds => crds::run(),
        Command::Install(arguments) => install::run(connection.namespace.as_deref(), &arguments),
        Command::Status(arguments) => status::run(&session().await?, &arguments).await,
        Command::History(arguments) => history::run(&session().await?, &arguments).await,
        Command::Timeline(arguments) => timeline::run(&session().await?, &arguments).await,
        Command::Who(arguments) => who::run(&session().await?, &arguments).await,
        Command::Wait(arguments) => wait::run(&session().await?, &arguments).await,
        Command::Pause(arguments) => pause::run(&session().await?, &arguments, Policy::Observe).await,
        Command::Resume(arguments) => pause::run(&session().await?, &arguments, Policy::Clear).await,
        Command::Completion(arguments) => completion::run(&arguments),
        Command::Complete(arguments) => completion::complete(&arguments),
    }
}
