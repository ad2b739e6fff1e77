//! What it costs the operator that leaders renew: requests by the API server's audit log, decisions by the operator's own
//! log, memory and processor time by the node's kernel.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::stream::{FuturesUnordered, StreamExt};
use leadergroup_e2e::{Namespace, OPERATOR_NAMESPACE, Session};
use serde_json::{Value, json};
use tokio::time::{Instant, interval_at};

use crate::figures::table;
use crate::size::{OperatorProcess, fill, group_name};

const LEASES: usize = 200;
const EVERY: Duration = Duration::from_secs(2);
const WINDOW: Duration = Duration::from_mins(1);
/// What the operator writes for each decision, at debug level.
const DECIDED: &str = "decided";

/// Measures and prints.
pub async fn run(session: &Session, process: &OperatorProcess) -> Result<()> {
    let space = session.namespace("renewals").await?;
    eprintln!("{LEASES} Leases renewed every {} s for {} s", EVERY.as_secs(), WINDOW.as_secs());
    fill(session, &space, LEASES, 1).await?;
    let log = session.cluster().layout()?.audit_log();
    let renewing = renew_all(&space);
    let measuring = async {
        // The first round of renewals is over, and all the operator had to say of the groups' making is said.
        tokio::time::sleep(EVERY * 3).await;
        let from = std::fs::metadata(&log).context("the API server writes no audit log")?.len();
        let decided = decisions(session).await?;
        anyhow::ensure!(decided >= LEASES, "the operator does not log its decisions, so they can't be counted");
        let taken = process.watch(WINDOW).await?;
        let requests = requests_since(&log, from)?;
        anyhow::Ok((taken, requests, decisions(session).await? - decided))
    };
    let (taken, requests, decided) = tokio::select! {
        result = renewing => { result?; anyhow::bail!("the renewals ended") }
        measured = measuring => measured?,
    };

    println!("\n## {LEASES} Leases renewed every {} s, for {} s\n", EVERY.as_secs(), WINDOW.as_secs());
    let mut figures = table(&["what", "count", "goal"]);
    let renewals = WINDOW.as_secs() / EVERY.as_secs() * LEASES as u64;
    figures.add_row(["renewals".to_owned(), format!("about {renewals}"), String::new()]);
    let others: usize = requests.iter().filter(|(verb, _)| *verb != "watch").map(|(_, n)| n).sum();
    figures.add_row([
        "operator's requests besides watches and its own Lease".to_owned(),
        others.to_string(),
        "0".to_owned(),
    ]);
    figures.add_row(["operator's decisions".to_owned(), decided.to_string(), "0".to_owned()]);
    figures.add_row(["resident, MiB".to_owned(), format!("{:.1}", taken.resident), String::new()]);
    figures.add_row(["cores".to_owned(), format!("{:.4}", taken.cores), String::new()]);
    println!("{figures}");
    Ok(())
}

/// Renews every Lease as its holder would, evenly spread, until dropped.
async fn renew_all(space: &Namespace) -> Result<()> {
    let leases = space.leases();
    let mut renewing = FuturesUnordered::new();
    for (n, nth) in (0..LEASES).zip(0_u32..) {
        let leases = leases.clone();
        let start = Instant::now() + EVERY * nth / u32::try_from(LEASES)?;
        renewing.push(async move {
            let mut ticks = interval_at(start, EVERY);
            loop {
                ticks.tick().await;
                let now = k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
                let patch = kube::api::Patch::Merge(json!({"spec": {"renewTime": now}}));
                let renewed = leases.patch(&group_name(n), &kube::api::PatchParams::default(), &patch).await;
                if let Err(error) = renewed {
                    break anyhow::Error::from(error);
                }
            }
        });
    }
    match renewing.next().await {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// The requests of the operator's ServiceAccount after a position in the audit log, by verb, without those for its own Lease.
fn requests_since(log: &std::path::Path, from: u64) -> Result<BTreeMap<String, usize>> {
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(from))?;
    let mut requests = BTreeMap::new();
    for line in BufReader::new(file).lines() {
        let Ok(entry) = serde_json::from_str::<Value>(&line?) else { continue };
        let user = entry["user"]["username"].as_str().unwrap_or_default();
        let text = |pointer: &str| entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        // The operator that leads renews a Lease of its own, however many there are to watch.
        let own_lease = text("/objectRef/resource") == "leases" && text("/objectRef/namespace") == OPERATOR_NAMESPACE;
        if !own_lease
            && user.starts_with(&format!("system:serviceaccount:{OPERATOR_NAMESPACE}:"))
            && entry["stage"] == "ResponseComplete"
        {
            *requests.entry(entry["verb"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    Ok(requests)
}

/// How many decisions the operator has logged.
async fn decisions(session: &Session) -> Result<usize> {
    let log = session.operator().log(1_000_000).await?;
    Ok(log.lines().filter(|line| line.contains(DECIDED)).count())
}
