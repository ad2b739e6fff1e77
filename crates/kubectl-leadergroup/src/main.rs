//! `kubectl leadergroup`, also `kubectl lg`: what people use to see LeaderGroups and to steer them.
//!
//! `arguments.rs` is the command line, `session.rs` the connection it names. Each command is a module of `commands`: it reads
//! objects, has a pure function make of them what is shown, and prints that.

mod arguments;
mod commands;
mod session;
mod timeline;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    match commands::run(arguments).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
