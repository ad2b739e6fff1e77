//! A candidate that uses our elector, and writes down what it is told. It runs until SIGTERM, and then resigns.
//!
//! `KUBECONFIG`, `NAMESPACE`, `LEASE_NAME` and `IDENTITY` say for what it campaigns, as whom. `TIMING` is lease duration,
//! renew deadline and retry period in milliseconds, with slashes between them. `HISTORY` is the file it appends to.
//!
//! `KEEPS_ANSWERS=N` makes it a broken one: it asks only each Nth time, and believes the answer until then.

use std::env;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::Config;
use leadergroup_elector::clock::boottime;
use leadergroup_elector::{Elector, Leadership, Options, Timing};
use leadergroup_faults::history::{Entry, What, Writer};
use tokio::signal::unix::{SignalKind, signal};

/// How often it asks whether it leads.
const EVERY: Duration = Duration::from_millis(3);

fn given(name: &str) -> Result<String> {
    env::var(name).with_context(|| format!("{name} must be set"))
}

fn timing(text: &str) -> Result<Timing> {
    let millis = text.split('/').map(|part| part.parse().map(Duration::from_millis)).collect::<Result<Vec<_>, _>>()?;
    let [duration, deadline, period] = millis[..] else { bail!("TIMING must be three numbers: {text}") };
    Ok(Timing::new(duration, deadline, period)?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let identity = given("IDENTITY")?;
    let mut options = Options::new(given("NAMESPACE")?, given("LEASE_NAME")?, identity.clone());
    if let Ok(text) = env::var("TIMING") {
        options = options.timing(timing(&text)?);
    }
    let history = env::var("HISTORY").ok().map(|path| Writer::open(Path::new(&path)).map(Arc::new)).transpose()?;
    let note = |what, token| history.as_ref().map_or(Ok(()), |history| history.note(what, token));

    let mut told_to_end = signal(SignalKind::terminate())?;
    note(What::Started, 0)?;
    let elector = Elector::start(Config::infer().await?, options)?;
    if let Some(history) = history.clone() {
        let leadership = elector.leadership();
        let keeps = env::var("KEEPS_ANSWERS").ok().map(|times| times.parse()).transpose()?.unwrap_or(1);
        // A thread of its own, which runs whatever the elector does.
        thread::spawn(move || ask(&leadership, &history, keeps));
    }
    let mut status = elector.status();
    let mut leads = None;
    loop {
        tokio::select! {
            changed = status.changed() => changed.context("the elector has ended")?,
            _ = told_to_end.recv() => break,
        }
        let now = status.borrow_and_update().term.map(|token| token.0);
        if now != leads {
            if let Some(token) = now {
                println!("{identity} started leading");
                note(What::Gained, token)?;
            } else {
                println!("{identity} stopped leading");
                note(What::Lost, leads.unwrap_or(0))?;
            }
        }
        leads = now;
    }
    elector.resign().await;
    note(What::Left, 0)
}

/// Asks again and again, and writes each yes down.
fn ask(leadership: &Leadership, history: &Writer, keeps: u32) -> Result<()> {
    loop {
        let before = leadership.term();
        for _ in 0..keeps {
            let at = boottime();
            // A yes before and after a moment, about one term, is a yes at that moment.
            let after = if keeps > 1 { before } else { leadership.term() };
            if let (Some(before), Some(after)) = (before, after)
                && before.token == after.token
            {
                history.write(Entry { at, what: What::Leads, token: before.token.0 })?;
            }
            thread::sleep(EVERY);
        }
    }
}
