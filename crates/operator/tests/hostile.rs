//! Hostile input, as an API server would deliver it: the operator decodes it, judges and decides, and does none of what
//! it must not do. What is sound beside it, or comes after it, is served as ever.
//!
//! `testdata/hostile` holds plays by hand, each named after what is odd about it; they are played first. Plays that once
//! failed are kept in `hostile.proptest-regressions`. `PROPTEST_CASES` says how many random ones are played.

#![allow(missing_docs)]

mod support;
mod hostile {
    pub mod facts;
    pub mod input;
    pub mod limits;
    pub mod play;
    pub mod recovery;
    pub mod step;
    pub mod templates;
}

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use hostile::input::{a_play, a_template};
use hostile::play::Play;
use hostile::recovery;
use hostile::step::Step;
use hostile::templates::{a_case, mistaken};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, FileFailurePersistence, RngAlgorithm, TestRng, TestRunner};
use serde::Deserialize;
use serde_json::json;

/// A play by hand.
#[derive(Deserialize)]
struct Entry {
    /// What is odd about it.
    odd: String,
    steps: Vec<Step>,
    /// What is said of the holder at the end; by which row, of a death.
    verdict: String,
}

fn play(steps: &[Step]) -> Play {
    let mut play = Play::new();
    for step in steps {
        play.step(step);
    }
    play
}

fn corpus() -> Vec<(String, Entry)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata/hostile");
    let files: BTreeSet<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    let read = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in {}", path.display()))
    };
    files.iter().map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), read(path))).collect()
}

#[test]
fn odd_input_by_hand_is_judged_as_written() {
    let corpus = corpus();
    assert!(corpus.len() >= 10, "{} entries", corpus.len());
    for (name, entry) in corpus {
        let play = play(&entry.steps);
        assert!(play.violations.is_empty(), "{name}: {}: {}", entry.odd, play.violations.join("\n"));
        assert_eq!(play.last.as_deref().unwrap_or_default(), entry.verdict, "{name}: {}", entry.odd);
        let trouble = recovery::trouble(&entry.steps);
        assert!(trouble.is_empty(), "{name}: {}: {}", entry.odd, trouble.join("\n"));
    }
}

#[test]
fn long_identities_that_differ_at_their_end_are_two_holders() {
    let lease = |end: u8| {
        let holder = format!("web-0_{}{end}", "x".repeat(5_000));
        Step::Lease(support::lease(&json!({"holderIdentity": holder, "leaseDurationSeconds": 15})))
    };
    let steps = [Step::Group(support::group(&json!({}))), lease(1), lease(1), lease(2), lease(2)];
    assert_eq!(play(&steps).group()["status"]["transitions"], json!(1));
}

#[test]
fn evidence_that_would_name_a_thousand_pods_is_cut() {
    let mut steps = vec![Step::Group(support::group(&json!({"historyLimit": 1})))];
    steps.extend((0..1_000).map(|number| {
        let mut pod = support::pod(&format!("web-{number}"), &format!("u{number}"), "n1", "Running", &[]);
        pod["spec"]["hostNetwork"] = json!(true);
        Step::Pod(pod)
    }));
    steps.push(Step::Lease(support::lease(&json!({"holderIdentity": "n1_5f2c", "leaseDurationSeconds": 15}))));
    let play = play(&steps);
    assert_eq!(play.last.as_deref(), Some("Ambiguous"));
    assert!(play.violations.is_empty(), "{}", play.violations.join("\n"));
}

fn config(cases: u32) -> Config {
    Config {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(cases),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(config(250))]

    #[test]
    fn nothing_delivered_makes_it_judge_or_decide_what_it_must_not(steps in a_play()) {
        let play = play(&steps);
        prop_assert!(play.violations.is_empty(), "{}", play.violations.join("\n"));
    }
}

proptest! {
    // Each of these plays the whole engine, and a standby.
    #![proptest_config(config(150))]

    #[test]
    fn sound_input_is_served_beside_hostile_input_and_after_it(steps in a_play()) {
        let trouble = recovery::trouble(&steps);
        prop_assert!(trouble.is_empty(), "{}", trouble.join("\n"));
    }
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn templates_are_matched_by_the_letter(case in a_case()) {
        prop_assert_eq!(case.misread(), None);
    }

    #[test]
    fn templates_are_refused_in_one_sentence_or_taken_as_the_api_server_takes_them(template in a_template()) {
        prop_assert_eq!(mistaken(&template), None);
    }
}

#[test]
fn plays_reach_every_verdict_by_every_row_and_clear_holders() {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let (mut verdicts, mut clears) = (BTreeSet::new(), 0);
    for _ in 0..700 {
        let play = play(&a_play().new_tree(&mut runner).unwrap().current());
        verdicts.extend(play.verdicts);
        clears += play.clears;
    }
    let all = [
        "Alive",
        "Ambiguous",
        "Contradiction",
        "Foreign",
        "Free",
        "LeaseExpired",
        "Managed",
        "Terminated 6",
        "Terminated 7",
        "Terminated 9",
        "Unproven",
        "Unreachable",
        "Unresolved",
        "Vanished",
    ];
    assert_eq!(verdicts.iter().map(String::as_str).collect::<Vec<_>>(), all);
    assert!(clears >= 50, "{clears} clears");
}
