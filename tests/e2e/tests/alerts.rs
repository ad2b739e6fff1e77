//! config/monitoring: alerts fire when they should, by Prometheus' own tool; alerts and dashboard ask for metrics that
//! exist, and for all of them; README's table of alerts is made from the rules.
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use leadergroup_e2e::cluster::{program, workspace_root};
use leadergroup_operator::metrics::described::ALL;
use prometheus_client::metrics::MetricType;
use serde_yaml_ng::Value;

fn read(path: &str) -> Result<String> {
    let path = workspace_root()?.join(path);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The rules as Prometheus reads them: what the Prometheus Operator takes out of its resource.
fn rules() -> Result<Value> {
    let resource: Value = serde_yaml_ng::from_str(&read("config/monitoring/rules.yaml")?)?;
    Ok(resource["spec"].clone())
}

fn alerts() -> Result<Vec<Value>> {
    let rules = rules()?;
    let groups = rules["groups"].as_sequence().context("no groups of rules")?;
    Ok(groups.iter().flat_map(|group| group["rules"].as_sequence().cloned().unwrap_or_default()).collect())
}

fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    path.iter().fold(value, |value, key| &value[*key]).as_str().unwrap_or_default()
}

fn run(program: &Path, folder: &Path, args: &[&str]) -> Result<()> {
    let output = Command::new(program).current_dir(folder).args(args).output()?;
    let told = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{args:?}:\n{}", String::from_utf8_lossy(&told));
    Ok(())
}

#[test]
fn each_alert_fires_when_it_should_and_not_in_the_case_next_to_it() -> Result<()> {
    let (folder, promtool) = (tempfile::tempdir()?, program("promtool")?);
    let mut rules = rules()?;
    fs::write(folder.path().join("whole.yaml"), serde_yaml_ng::to_string(&rules)?)?;
    run(&promtool, folder.path(), &["check", "rules", "--lint=all", "--lint-fatal", "whole.yaml"])?;

    let test = read("tests/e2e/tests/testdata/alerts.yaml")?;
    for alert in alerts()? {
        let name = text(&alert, &["alert"]);
        let played: Value = serde_yaml_ng::from_str(&test)?;
        let fires = played["tests"]
            .as_sequence()
            .into_iter()
            .flatten()
            .filter_map(|test| test["alert_rule_test"].as_sequence());
        let fires = fires.flatten().any(|case| text(case, &["alertname"]) == name && !case["exp_alerts"].is_null());
        ensure!(fires, "no test has {name} fire");
    }
    // Annotations are words: what they say is not repeated in the test.
    for group in rules["groups"].as_sequence_mut().into_iter().flatten() {
        for rule in group["rules"].as_sequence_mut().into_iter().flatten() {
            rule.as_mapping_mut().context("a rule")?.remove("annotations");
        }
    }
    fs::write(folder.path().join("rules.yaml"), serde_yaml_ng::to_string(&rules)?)?;
    fs::write(folder.path().join("alerts.yaml"), test)?;
    run(&promtool, folder.path(), &["test", "rules", "alerts.yaml"])
}

/// What the dashboard asks, by panel and place in it.
fn questions() -> Result<Vec<(String, String)>> {
    let dashboard: serde_json::Value = serde_json::from_str(&read("config/monitoring/dashboard.json")?)?;
    let mut questions = Vec::new();
    for panel in dashboard["panels"].as_array().context("no panels")? {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().context("a panel without a question")?;
            questions.push((format!("panel{}:{}", panel["id"], questions.len()), expression.to_owned()));
        }
    }
    ensure!(questions.len() > 5, "{} questions", questions.len());
    Ok(questions)
}

#[test]
fn prometheus_understands_what_the_dashboard_asks() -> Result<()> {
    let (folder, promtool) = (tempfile::tempdir()?, program("promtool")?);
    let rules: Vec<_> = questions()?
        .into_iter()
        .map(|(record, expression)| {
            // What Grafana puts in.
            let expr = expression.replace("$__rate_interval", "5m").replace("$__range", "1h");
            serde_json::json!({"record": record, "expr": expr})
        })
        .collect();
    let rules = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    fs::write(folder.path().join("dashboard.yaml"), rules.to_string())?;
    run(&promtool, folder.path(), &["check", "rules", "--lint=none", "dashboard.yaml"])
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("leadergroup_")).map(ToOwned::to_owned).collect()
}

#[test]
fn alerts_and_dashboard_ask_for_every_metric_and_for_nothing_else() -> Result<()> {
    let mut asked: BTreeSet<String> = alerts()?.iter().flat_map(|alert| names(text(alert, &["expr"]))).collect();
    for (panel, expression) in questions()? {
        ensure!(!names(&expression).is_empty(), "{panel}: {expression}");
        asked.extend(names(&expression));
    }
    let mut exist = BTreeSet::new();
    for metric in ALL {
        let name = metric.exposed();
        let parts = ["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}"));
        let of_it: BTreeSet<_> = match metric.kind {
            MetricType::Histogram => parts.into(),
            _ => [name.clone()].into(),
        };
        ensure!(!asked.is_disjoint(&of_it), "nothing asks for {name}");
        exist.extend(of_it);
    }
    let unknown: Vec<_> = asked.difference(&exist).collect();
    ensure!(unknown.is_empty(), "there are no metrics {unknown:?}");
    Ok(())
}

#[test]
fn the_readme_has_the_table_of_alerts() -> Result<()> {
    let mut table = "| alert | severity | for | what to do |\n|---|---|---|---|\n".to_owned();
    for alert in alerts()? {
        let [name, severity] = [&["alert"][..], &["labels", "severity"]].map(|path| text(&alert, path));
        let [lasts, runbook] = [&["for"][..], &["annotations", "runbook"]].map(|path| text(&alert, path));
        ensure!(!runbook.is_empty() && !text(&alert, &["annotations", "summary"]).is_empty(), "{name} says nothing");
        let lasts = if lasts.is_empty() { "-" } else { lasts };
        let anchor = name.to_lowercase();
        writeln!(table, "| <a id=\"{anchor}\"></a>`{name}` | {severity} | {lasts} | {runbook} |")?;
    }
    let (begin, end) = ("<!-- alerts: written by `make generate` -->\n", "<!-- alerts: end -->\n");
    let readme = read("README.md")?;
    let (before, rest) = readme.split_once(begin).context("no place for the table")?;
    let (found, after) = rest.split_once(end).context("no end of the table")?;
    if std::env::var_os("WRITE_README").is_some() {
        fs::write(workspace_root()?.join("README.md"), format!("{before}{begin}{table}{end}{after}"))?;
        return Ok(());
    }
    ensure!(found == table, "the table is not what the rules say: run `make generate`");
    Ok(())
}
