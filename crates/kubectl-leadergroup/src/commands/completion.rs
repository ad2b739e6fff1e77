//! `completion`: commands, options and names of groups at the press of a key.
//!
//! A shell is given a script that has this program say what could stand at the cursor. kubectl does the same for plugins, by a
//! program `kubectl_complete-PLUGIN` on the PATH: that is a script too, which runs a hidden command of this one.

use std::env::current_dir;
use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::CompletionCandidate;
use clap_complete::engine::complete as candidates;
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use crate::arguments;
use crate::output::print;

const HOW: &str = "\
  source <(kubectl leadergroup completion bash)      # in ~/.bashrc, for `kubectl-leadergroup`
  kubectl leadergroup completion zsh                 # the same for zsh
  kubectl leadergroup completion fish                # and for fish

For `kubectl leadergroup` itself, where kubectl's own completion is set up:

  kubectl leadergroup completion kubectl > /usr/local/bin/kubectl_complete-leadergroup
  chmod +x /usr/local/bin/kubectl_complete-leadergroup      # and the same as kubectl_complete-lg";

/// What kubectl runs; it gives the words after the plugin's name, the last one being the one to complete.
const FOR_KUBECTL: &str = "#!/bin/sh\nexec kubectl leadergroup __complete -- kubectl-leadergroup \"$@\"\n";
/// kubectl's word for: these are all, and no file is meant.
const NO_FILES: &str = ":4";
/// The variable by which a shell's script asks this program.
const VARIABLE: &str = "COMPLETE";
const PROGRAM: &str = "kubectl-leadergroup";

#[derive(Args, Debug)]
#[command(after_help = HOW)]
pub struct Arguments {
    /// What is to complete
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Kubectl,
}

/// A command line in the making, this program's name first.
#[derive(Args, Debug)]
pub struct Partial {
    #[arg(last = true)]
    words: Vec<OsString>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut script = Vec::new();
    let shell: &dyn EnvCompleter = match arguments.shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
        Shell::Kubectl => {
            print(FOR_KUBECTL)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    shell.write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script)?;
    print(&String::from_utf8(script)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Answers kubectl.
pub fn complete(partial: &Partial) -> Result<ExitCode> {
    let candidates = completions(&partial.words)?;
    // Options are meant by who begins one, as with kubectl's own commands.
    let option = partial.words.last().is_some_and(|word| word.to_string_lossy().starts_with('-'));
    let is_meant =
        |it: &&CompletionCandidate| !it.is_hide_set() && (option || !it.get_value().to_string_lossy().starts_with('-'));
    let lines = candidates.iter().filter(is_meant).map(|candidate| {
        let value = candidate.get_value().to_string_lossy();
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        // Behind a tab stands what it means.
        help.lines().next().map_or_else(|| format!("{value}\n"), |help| format!("{value}\t{help}\n"))
    });
    let text: Vec<_> = lines.collect();
    print(&format!("{}{NO_FILES}\n", text.concat()))?;
    Ok(ExitCode::SUCCESS)
}

fn completions(words: &[OsString]) -> Result<Vec<CompletionCandidate>> {
    let mut command = arguments::Arguments::command();
    let at = words.len().saturating_sub(1);
    candidates(&mut command, words.to_vec(), at, current_dir().ok().as_deref()).context("this can't be completed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(words: &[&str]) -> Vec<String> {
        let words: Vec<_> = [PROGRAM].iter().chain(words).map(OsString::from).collect();
        completions(&words).unwrap().iter().map(|it| it.get_value().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn commands_and_options_are_completed() {
        assert_eq!(completed(&["tim"]), ["timeline"]);
        assert!(completed(&["status", "--w"]).contains(&"--watch".to_owned()));
        assert_eq!(completed(&["who", "billing", "-o", ""]), ["pod", "identity", "node"]);
    }
}
