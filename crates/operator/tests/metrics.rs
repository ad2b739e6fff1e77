//! What `/metrics` shows, and that README's table says the same.

#![allow(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use leadergroup_operator::audit::{Answers, BrokenOff, Question, Right, Subject};
use leadergroup_operator::engine::Outcome;
use leadergroup_operator::index::Key;
use leadergroup_operator::metrics::{GroupFigures, Metrics};

fn audited(answers: Answers, broke_off: Option<BrokenOff>) -> Outcome {
    let subject = Subject { lease: "web".into(), accounts: vec![Arc::from("app")], of: 1, must_create: false };
    Outcome::Audited { subject: Arc::new(subject), answers, broke_off }
}

fn figures(authorized: Option<bool>) -> GroupFigures {
    GroupFigures { authorized }
}

/// Metrics of which every one has a series.
fn full() -> Metrics {
    let metrics = Metrics::default();
    let key = |name: &str| Key::new("shop", name);
    metrics.show_groups(vec![
        (key("billing"), figures(Some(true))),
        (key("invoices"), figures(Some(false))),
        (key("unknown"), figures(None)),
    ]);
    let mut answers = Answers::default();
    answers.note(Question { account: 0, right: Right::Get }, true);
    answers.note(Question { account: 0, right: Right::Watch }, true);
    answers.note(Question { account: 0, right: Right::Update }, false);
    metrics.note(&audited(answers, None));
    metrics.note(&audited(Answers::default(), Some(BrokenOff::Refused)));
    metrics.note(&audited(Answers::default(), Some(BrokenOff::Failed("no answer".into()))));
    metrics
}

/// The series: name and labels, with the value.
fn series(text: &str) -> BTreeSet<String> {
    text.lines().filter(|line| !line.starts_with('#')).map(ToOwned::to_owned).collect()
}

#[test]
fn each_metric_shows_what_it_is_for() {
    let expected = [
        r#"leadergroup_audit_reviews_total{result="allowed"} 2"#,
        r#"leadergroup_audit_reviews_total{result="denied"} 1"#,
        r#"leadergroup_audit_reviews_total{result="failed"} 1"#,
        r#"leadergroup_audit_reviews_total{result="refused"} 1"#,
        r#"leadergroup_candidates_authorized{namespace="shop",group="billing"} 1"#,
        r#"leadergroup_candidates_authorized{namespace="shop",group="invoices"} 0"#,
    ];
    let text = full().text();
    assert_eq!(series(&text), expected.map(ToOwned::to_owned).into(), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn a_group_that_is_gone_or_unknown_is_not_shown() {
    let metrics = full();
    metrics.show_groups(vec![(Key::new("shop", "billing"), figures(None))]);
    let shown = |metrics: &Metrics| series(&metrics.text()).iter().filter(|s| s.contains("group=")).count();
    assert_eq!(shown(&metrics), 1);
    metrics.forget_groups();
    assert_eq!(shown(&metrics), 0, "an operator that stands by shows none");
    assert!(metrics.text().contains("leadergroup_audit_reviews_total"), "what it did itself it still shows");
}

/// The table as README has it, made from what is exposed: a line for each metric.
fn table(text: &str) -> Vec<String> {
    let (mut help, mut kind) = (BTreeMap::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some((name, words)) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' ')) {
            help.insert(name, words.trim_end_matches('.'));
        } else if let Some((name, word)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            kind.insert(name, word);
        }
    }
    let mut lines = BTreeSet::new();
    for line in series(text) {
        let (name, rest) = line.split_once('{').unwrap_or((&line, ""));
        let labels = rest.split_once('}').map_or("", |(labels, _)| labels);
        let labels: Vec<_> =
            labels.split(',').filter_map(|label| Some(format!("`{}`", label.split_once('=')?.0))).collect();
        let family = name.trim_end_matches("_total");
        lines.insert(format!("| `{name}` | {} | {} | {} |", kind[family], labels.join(", "), help[family]));
    }
    lines.into_iter().collect()
}

#[test]
fn the_readme_has_a_row_for_each_metric() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let documented = readme.lines().skip_while(|line| !line.starts_with("| metric | type | labels |")).skip(2);
    let documented: Vec<_> = documented.take_while(|line| line.starts_with('|')).map(ToOwned::to_owned).collect();
    let expected = table(&full().text());
    assert_eq!(documented, expected, "README's table should be:\n{}", expected.join("\n"));
}
