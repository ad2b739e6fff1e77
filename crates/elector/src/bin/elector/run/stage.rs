//! From the watchdog to the program: the process that becomes it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use rustix::fs::{Access, access};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal, setsid};
use rustix::thread::set_no_new_privs;

/// What shells return for a program that can't be run.
const NOT_EXECUTABLE: u8 = 126;
/// What shells return for a program that is not there.
const NOT_FOUND: u8 = 127;
/// What shells return for a program that was ended by SIGKILL.
pub const KILLED: u8 = 128 + 9;

/// What the watchdog starts it with.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The watchdog's process number
    #[arg(long)]
    watchdog: i32,

    /// Let the program gain privileges
    #[arg(long)]
    allow_new_privileges: bool,

    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// The command line that becomes the program.
pub fn command(watchdog: Pid, allow_new_privileges: bool, program: &[OsString]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("elector").arg("become").arg("--watchdog").arg(watchdog.as_raw_nonzero().to_string());
    command.args(allow_new_privileges.then_some("--allow-new-privileges")).arg("--").args(program);
    command
}

/// Becomes the program: in a session of its own, so that a signal to its group does not reach the watchdog, and killed by
/// the kernel when the watchdog ends.
pub fn become_program(arguments: &Arguments) -> Result<ExitCode> {
    setsid().context("the program can't have a session of its own")?;
    set_parent_process_death_signal(Some(Signal::KILL)).context("the program can't be tied to its watchdog")?;
    // It may have ended before that.
    if getppid() != Pid::from_raw(arguments.watchdog) {
        return Ok(ExitCode::from(KILLED));
    }
    // A set-user-ID program clears the parent-death signal, and may become a user whose processes the watchdog can't kill.
    if !arguments.allow_new_privileges {
        set_no_new_privs(true).context("the program can't be kept from gaining privileges")?;
    }
    let [program, args @ ..] = &*arguments.command else { return Ok(ExitCode::FAILURE) };
    let error = Command::new(program).args(args).exec();
    let refusal = Refusal { program: program.clone(), code: code(&error), error };
    eprintln!("elector: {refusal}");
    Ok(refusal.code.into())
}

/// A program that can't be run.
#[derive(Debug, thiserror::Error)]
#[error("{} can't be run: {error}", .program.display())]
pub struct Refusal {
    program: OsString,
    /// What a shell would return.
    pub code: u8,
    error: io::Error,
}

fn code(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }
}

/// Fails if it is plain that the program can't be run, so that nobody has to lead to find out.
pub fn check(program: &OsStr) -> Result<(), Refusal> {
    let usable = |path: &Path| match path.metadata() {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => access(path, Access::EXEC_OK).map_err(io::Error::from),
        Err(error) => Err(error),
    };
    let found = if program.as_encoded_bytes().contains(&b'/') {
        usable(Path::new(program))
    } else {
        // As execvp looks for it: the first that can be run, or else why one can't.
        let path = env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/bin:/usr/bin".into());
        let mut refused = io::Error::new(io::ErrorKind::NotFound, "it is in no folder of PATH");
        for folder in env::split_paths(&path) {
            match usable(&folder.join(program)) {
                Ok(()) => return Ok(()),
                Err(error) if code(&error) == NOT_EXECUTABLE => refused = error,
                Err(_) => {}
            }
        }
        Err(refused)
    };
    found.map_err(|error| Refusal { program: program.to_owned(), code: code(&error), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_as_a_shell_finds_it() {
        check(OsStr::new("sh")).unwrap();
        check(OsStr::new("/bin/sh")).unwrap();
        let code = |program: &str| check(OsStr::new(program)).unwrap_err().code;
        assert_eq!(code("no-such-program"), 127);
        assert_eq!(code("/no/such/program"), 127);
        assert_eq!(code("/proc/version"), 126);
        assert_eq!(code("/etc"), 126);
    }
}
