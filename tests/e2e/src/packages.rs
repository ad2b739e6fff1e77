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
    render_as("leadergroup", namespace, choices)
}

/// What the chart renders for a release of that name.
pub fn render_as(release: &str, namespace: &str, choices: &[&str]) -> Result<Vec<Value>> {
    let mut command = helm()?;
    command.args(["template", release]).arg(chart()?).args(["--namespace", namespace]);
    documents(&run(command.args(choices.iter().flat_map(|choice| ["--set", choice])))?)
}

/// A sample of `config/samples` with its placeholders replaced, as its user does it: each image by this one, and the program.
pub fn sample(published: &str, image: &str, program: &str) -> Result<String> {
    let mut parts = published.split("YOUR/");
    let mut ours = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_, rest) = part.split_once(":TAG").context("a placeholder for an image is YOUR/NAME:TAG")?;
        ours.push_str(image);
        ours.push_str(rest);
    }
    Ok(ours.replace("/YOUR-PROGRAM", program))
}

/// The objects in a file of several.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let documents = serde_yaml_ng::Deserializer::from_str(text).map(Value::deserialize);
    let objects: Result<Vec<_>, _> = documents.filter(|object| !matches!(object, Ok(Value::Null))).collect();
    objects.context("no YAML")
}
