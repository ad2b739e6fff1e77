//! Programs to run when leadership begins and ends.

use std::fmt;
use std::process::ExitStatus;
use std::str::FromStr;
use std::time::Duration;

use leadergroup_elector::Token;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process;
use tokio::time::{Instant, timeout};

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    program: String,
    arguments: Vec<String>,
}

impl FromStr for Command {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words = shlex::split(text).ok_or("a quote is not closed, or a backslash ends it")?;
        let mut words = words.into_iter();
        let program = words.next().ok_or("it names no program")?;
        Ok(Self { program, arguments: words.collect() })
    }
}

/// What a hook is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    Gain,
    Loss,
}

impl fmt::Display for Occasion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gain => "gain hook",
            Self::Loss => "loss hook",
        })
    }
}

/// Why a hook did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{program:?} can't be run: {error}")]
    NotRun { program: String, error: std::io::Error },
    #[error("{program:?} ended with {status}")]
    Failed { program: String, status: ExitStatus },
    #[error("{program:?} did not end within {} s, and was killed: see --hook-timeout", limit.as_secs_f64())]
    TooLong { program: String, limit: Duration },
}

/// The hooks, and what they are told.
#[derive(Clone, Debug)]
pub struct Hooks {
    pub on_gain: Option<Command>,
    pub on_loss: Option<Command>,
    /// How long each may take.
    pub limit: Duration,
    pub lease: String,
    pub identity: String,
}

/// Kills a hook and what it started, unless it has ended.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Nothing is left of it, if this fails.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Hooks {
    /// Runs the hook for this occasion, if there is one, to its end. Dropping the future kills it.
    pub async fn run(self, occasion: Occasion, token: Token, holder: Option<String>) -> Result<(), Failure> {
        let command = match occasion {
            Occasion::Gain => self.on_gain,
            Occasion::Loss => self.on_loss,
        };
        let Some(Command { program, arguments }) = command else { return Ok(()) };
        let begun = Instant::now();
        let child = process::Command::new(&program)
            .args(arguments)
            .env("ELECTOR_TOKEN", token.0.to_string())
            .env("ELECTOR_LEASE", self.lease)
            .env("ELECTOR_IDENTITY", self.identity)
            .env("ELECTOR_HOLDER", holder.unwrap_or_default())
            .stdin(std::process::Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => return Err(Failure::NotRun { program, error }),
        };
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let mut group = Group(pid);
        match timeout(self.limit, child.wait()).await {
            Ok(Ok(status)) => {
                group.0 = None;
                if !status.success() {
                    return Err(Failure::Failed { program, status });
                }
                let seconds = begun.elapsed().as_secs_f64();
                tracing::info!(token = token.0, "the {occasion} ended after {seconds:.3} s");
                Ok(())
            }
            Ok(Err(error)) => Err(Failure::NotRun { program, error }),
            Err(_) => Err(Failure::TooLong { program, limit: self.limit }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let command: Command = text.parse().unwrap();
        [vec![command.program], command.arguments].concat()
    }

    #[test]
    fn a_command_is_split_as_a_shell_would() {
        assert_eq!(
            words("/bin/promote --to 'the leader' a\\ b \"\""),
            ["/bin/promote", "--to", "the leader", "a b", ""]
        );
        assert_eq!(words("echo $HOME;*"), ["echo", "$HOME;*"], "nothing is expanded");
    }

    #[test]
    fn a_command_that_is_none_is_refused() {
        for text in ["", "  ", "echo 'open", "echo \\"] {
            assert!(text.parse::<Command>().is_err(), "{text:?}");
        }
    }
}
