//! `crds`: the custom resource definition that this plugin was built with.

use std::process::ExitCode;

use anyhow::Result;

use crate::output;

pub fn run() -> Result<ExitCode> {
    output::print(&leadergroup_api::crd_yaml()?)?;
    Ok(ExitCode::SUCCESS)
}
