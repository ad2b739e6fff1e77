//! `kubectl leadergroup`, also `kubectl lg`: what people use to see LeaderGroups and to steer them.
//!
//! `arguments.rs` is the command line, `connection.rs` the cluster it names, `session.rs` the connection to that, `model.rs` is a group and `group.rs` reads one with its Lease and pods,
//! `timeline.rs` and `terms.rs` say who led when, and `output.rs` how all that is printed. Each command is a module of `commands`: it reads
//! objects, has a pure function make of them what is shown, and prints that.

mod arguments;
mod commands;
mod connection;
mod group;
mod model;
mod named;
mod objects;
mod output;
mod owner;
mod rights;
#[cfg(test)]
mod samples;
mod session;
mod signals;
mod span;
mod terms;
#[cfg(test)]
mod testdata;
mod timeline;

use std::io::{Error, ErrorKind};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};

use crate::arguments::Arguments;
use crate::output::tell_error;

fn main() -> ExitCode {
    // A shell that asks what could stand at the cursor has its answer here, and nothing else happens.
    clap_complete::CompleteEnv::with_factory(Arguments::command).complete();
    let arguments = Arguments::parse();
    arguments.color.write_global();
    match run(arguments) {
        Ok(code) => code,
        // Whoever read the output has seen enough.
        Err(error) if error.downcast_ref().is_some_and(|it: &Error| it.kind() == ErrorKind::BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            tell_error(&error);
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    commands::run(arguments).await
}
