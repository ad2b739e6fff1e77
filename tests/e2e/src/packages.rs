//! What a user installs the operator from: the kustomizations below `config`, and the chart.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use leadergroup_cluster::{program, workspace_root};
use serde::Deserialize;
use serde_json::Value;

use crate::command::run;
use crate::install::Installed;

/// What `kubectl kustomize` makes of a folder of the checkout.
pub fn kustomize(folder: &str) -> Result<Vec<Value>> {
    documents(&run(Command::new(program("kubectl")?).arg("kustomize").arg(workspace_root()?.join(folder)))?)
}

/// What `kubectl leadergroup install` prints, by the plugin's own program.
pub fn install_of_plugin(image: &str) -> Result<Vec<Value>> {
    documents(&run(Command::new(Installed::plugin()?).args(["install", "--image", image]))?)
}

/// Helm, with none of its user's configuration.
pub fn helm() -> Result<Command> {
    let mut helm = Command::new(program("helm")?);
    let own = env::temp_dir().join("leadergroup-helm");
    for folder in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        helm.env(folder, &own);
    }
    Ok(helm)
}

/// The chart's folder.
pub fn chart() -> Result<PathBuf> {
    Ok(workspace_root()?.join("config/chart/leadergroup"))
}

/// What the chart renders for a release `leadergroup`, without a cluster; `--set` takes each of the choices.
pub fn render(namespace: &str, choices: &[&str]) -> Result<Vec<Value>> {
    let mut command = helm()?;
    command.args(["template", "leadergroup"]).arg(chart()?).args(["--namespace", namespace]);
    documents(&run(command.args(choices.iter().flat_map(|choice| ["--set", choice])))?)
}

/// The objects in a file of several.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let documents = serde_yaml_ng::Deserializer::from_str(text).map(Value::deserialize);
    let objects: Result<Vec<_>, _> = documents.filter(|object| !matches!(object, Ok(Value::Null))).collect();
    objects.context("no YAML")
}
