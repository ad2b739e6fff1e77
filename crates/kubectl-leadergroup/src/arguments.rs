//! The command line.

use clap::{Parser, Subcommand};

use crate::commands::{
    completion, dashboard, discover, doctor, handover, history, install, list, pause, rbac, status, timeline, wait, who,
};
use crate::connection::Connection;

/// Show LeaderGroups and steer them.
#[derive(Debug, Parser)]
#[command(name = "kubectl-leadergroup", bin_name = "kubectl leadergroup", version)]
pub struct Arguments {
    #[command(flatten)]
    pub connection: Connection,
    #[command(flatten)]
    pub color: colorchoice_clap::Color,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List groups, who leads them and since when
    #[command(visible_alias = "ls")]
    List(list::Arguments),
    /// Show a group: leader, evidence, candidates, Lease, traffic, history, conditions; without a name, list all
    #[command(visible_alias = "get")]
    Status(status::Arguments),
    /// Show who led, why that changed, and how long nobody led
    History(history::Arguments),
    /// Draw who led when
    Timeline(timeline::Arguments),
    /// Print the leader's pod, for scripts
    Who(who::Arguments),
    /// Wait until a group has a leader, a certain leader, or one that stays
    Wait(wait::Arguments),
    /// Find what could stop groups from working, and how to mend it
    Doctor(doctor::Arguments),
    /// Propose groups for the Leases and pods that there are
    Discover(discover::Arguments),
    /// Print the least rights that a group's candidates need
    Rbac(rbac::Arguments),
    /// Have the leader hand over to another candidate
    StepDown(handover::StepDown),
    /// Have a certain candidate lead
    Promote(handover::Promote),
    /// Have dead holders of a group's Lease reported rather than cleared
    Pause(pause::Arguments),
    /// Have dead holders of a group's Lease cleared again
    Resume(pause::Arguments),
    /// Serve a page on this machine with the groups, their changes as they happen, and who led when
    Dashboard(dashboard::Arguments),
    /// Print what installs the operator, for `kubectl apply --server-side -f -`
    Install(install::Arguments),
    /// Print the custom resource definition
    Crds,
    /// Print what makes a shell, or kubectl, complete these commands
    Completion(completion::Arguments),
    #[command(name = "__complete", hide = true)]
    Complete(completion::Partial),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn readme_says_what_rights_each_command_needs() {
        let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
        let (_, table) = readme.split_once("| command | rights |").expect("a table of rights");
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let told: BTreeSet<_> = rows
            .flat_map(|row| row.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2))
            .filter_map(|command| command.split(' ').next())
            .collect();
        let command = Arguments::command();
        let there: BTreeSet<_> =
            command.get_subcommands().filter(|it| !it.is_hide_set()).map(clap::Command::get_name).collect();
        assert_eq!(told, there);
    }
}
