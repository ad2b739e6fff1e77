//! `elector run`.

use std::process::ExitCode;

use anyhow::Result;

use crate::campaign::CampaignArguments;

/// What the command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    campaign: CampaignArguments,
}

/// Runs until told to end.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let _ = arguments.campaign.options()?;
    Ok(ExitCode::SUCCESS)
}
