//! A program for tests to wrap. It runs until it is told to end, behaves as its flags say, and tells on standard output
//! what it does, a line each.

use std::env;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use rustix::process::{getpid, setsid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::Signals;

/// Runs until told to end by SIGTERM.
#[derive(Debug, Parser)]
#[command(name = "workload")]
struct Arguments {
    /// What it calls itself in what it prints
    #[arg(long, value_name = "NAME", default_value = "workload")]
    name: String,

    /// End by itself after so many milliseconds
    #[arg(long, value_name = "MS")]
    exit_after: Option<u64>,

    /// With this code, also when told to end
    #[arg(long, value_name = "CODE", default_value_t = 0)]
    exit_code: u8,

    /// Go on when told to end
    #[arg(long)]
    ignore_term: bool,

    /// Take so many milliseconds to end when told to
    #[arg(long, value_name = "MS", default_value_t = 0)]
    stop_takes: u64,

    /// First start a daemon: a second one of this program, in a session of its own, whose parent has ended
    #[arg(long)]
    with_daemon: bool,

    /// Print the environment's variables that begin so
    #[arg(long, value_name = "PREFIX")]
    print_env: Option<String>,

    /// Start the daemon and end
    #[arg(long, hide = true)]
    detach: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let own_program = env::current_exe().context("it is not known where this program is")?;
    let mut daemon = Command::new(own_program);
    daemon.arg("--name=daemon");
    if arguments.ignore_term {
        daemon.arg("--ignore-term");
    }
    if arguments.detach {
        setsid().context("cannot leave the session")?;
        daemon.spawn().context("cannot start the daemon")?;
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.with_daemon {
        let status = daemon.arg("--detach").status().context("cannot start the daemon")?;
        ensure!(status.success(), "the daemon was not started: {status}");
    }
    run(&arguments)
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let name = &arguments.name;
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH])?;
    println!("{name} started as process {}", getpid().as_raw_nonzero());
    if let Some(prefix) = &arguments.print_env {
        for (variable, value) in env::vars().filter(|(variable, _)| variable.starts_with(prefix)) {
            println!("{name} has {variable}={value}");
        }
    }
    let code = arguments.exit_code;
    if let Some(after) = arguments.exit_after {
        let name = name.clone();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(after));
            println!("{name} ends by itself");
            std::process::exit(code.into());
        });
    }
    for signal in signals.forever() {
        println!("{name} got {}", signal_hook::low_level::signal_name(signal).unwrap_or("a signal"));
        if signal == SIGTERM && !arguments.ignore_term {
            thread::sleep(Duration::from_millis(arguments.stop_takes));
            break;
        }
    }
    println!("{name} ends");
    Ok(code.into())
}
