//! Which pods a holder's identity fits, by the group's template. The cases are in `testdata/identity.txt`.

#![allow(missing_docs)]

mod support;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use leadergroup_operator::judge::Identity;
use leadergroup_operator::model::Pod;
use leadergroup_operator::wire::PodWire;
use serde_json::{Value, json};

/// The first line is the template, or `default`. A line `pod NAME [uid=…] [on=…] [hostname=…] [host-network]` sets the
/// pod, `holder TEXT` asks whether that identity fits it, or could fit another; `proposal TEXT` asks which template that
/// identity would fit one of the pods by.
#[test]
fn templates_fit_as_written() {
    datadriven::walk(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/identity.txt"), |file| {
        file.run(|case| {
            let mut lines = case.input.lines();
            let template = lines.next().unwrap_or_default();
            let identity = match Identity::new(Some(template).filter(|t| *t != "default")) {
                Ok(identity) => identity,
                Err(error) => return format!("{error}\n"),
            };
            let mut pods: Vec<Pod> = Vec::new();
            let mut answers = String::new();
            for line in lines {
                let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
                match word {
                    "pod" => pods.push(candidate(rest)),
                    "proposal" => {
                        let template = Identity::proposal(rest, &pods);
                        writeln!(answers, "{}", template.as_deref().unwrap_or("nothing")).unwrap();
                    }
                    "holder" => {
                        let fits = pods.last().is_some_and(|pod| identity.fits(rest, pod));
                        let answer = match (fits, identity.fits_some_pod(rest)) {
                            (true, _) => "fits",
                            (false, true) => "fits another",
                            (false, false) => "fits none",
                        };
                        writeln!(answers, "{answer}").unwrap();
                    }
                    other => panic!("unknown line {other:?}"),
                }
            }
            answers
        });
    });
}

fn candidate(words: &str) -> Pod {
    let mut words = words.split(' ');
    let mut pod = support::pod(words.next().unwrap_or_default(), "u1", "n1", "Running", &[]);
    for word in words {
        match word.split_once('=') {
            Some(("uid", value)) => pod["metadata"]["uid"] = json!(value),
            Some(("on", value)) => pod["spec"]["nodeName"] = json!(value),
            Some(("hostname", value)) => pod["spec"]["hostname"] = json!(value),
            _ => pod["spec"]["hostNetwork"] = json!(true),
        }
    }
    decoded(&pod)
}

fn decoded(pod: &Value) -> Pod {
    support::decode::<PodWire>(pod).into()
}

#[test]
fn no_template_makes_a_long_identity_slow() {
    let pod = candidate("a");
    for template in ["{any}".repeat(60) + "{pod}" + &"{any}".repeat(60), "{pod}{any}a".repeat(30), "{node}".repeat(40)]
    {
        let identity = Identity::new(Some(&template)).unwrap();
        let holder = "a".repeat(20_000) + "!";
        let start = Instant::now();
        identity.fits(&holder, &pod);
        identity.fits_some_pod(&holder);
        assert!(start.elapsed() < Duration::from_secs(5), "{template} took {:?}", start.elapsed());
    }
}
