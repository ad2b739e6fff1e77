//! Plays the whole matrix and writes it into the README; with `--check`, compares it with the one there instead. Fails if a
//! takeover is slower with a LeaderGroup than without.
//!
//! Other arguments are the folders of the clients to play; their rows are printed, and nothing is written.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use futures::{StreamExt, stream};
use k8s_openapi::jiff::Zoned;
use kube::ResourceExt as _;
use leadergroup_cluster::workspace_root;
use leadergroup_e2e::Session;
use leadergroup_interop::{CLIENTS, Client, Row, build, control_plane, matrix, play};

/// Rows that are played at once: they wait more than they work, but two cores start only so many pods without delay.
const ROWS_AT_ONCE: usize = 5;

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let check = args.iter().any(|arg| arg == "--check");
    let named: Vec<&String> = args.iter().filter(|arg| *arg != "--check").collect();
    let named = named.into_iter().map(|name| {
        Client::named(name).with_context(|| format!("there is no client {name}: choose from tests/candidates"))
    });
    let named: Vec<Client> = named.collect::<Result<_>>()?;
    let clients = if named.is_empty() { CLIENTS.to_vec() } else { named.clone() };
    let commit = commit()?;
    let session = Session::start().await?;
    let operator = session.operator().leading_pod().await?;
    let mut built = Vec::new();
    for client in &clients {
        eprintln!("building {}", client.folder);
        built.push((*client, build::build(client)?));
    }
    let other = Client::named("client-go").context("client-go is missing")?;
    let other = (other, build::build(&other)?);
    let played: Vec<Result<Row>> = stream::iter(built)
        .map(|(client, built)| {
            let (session, other) = (session.clone(), other.clone());
            async move {
                let row = Box::pin(play::row(&session, client, built, other)).await;
                let row = row.with_context(|| format!("{} could not be played to the end", client.folder));
                match &row {
                    Ok(row) => eprintln!("played {}: {}", client.folder, row.cells.join(" | ")),
                    Err(error) => eprintln!("{error:#}"),
                }
                row
            }
        })
        .buffered(ROWS_AT_ONCE)
        .collect()
        .await;
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for row in played {
        match row {
            Ok(row) => rows.push(row),
            Err(error) => failures.push(error),
        }
    }
    if named.is_empty() {
        rows.extend(try_join_all(control_plane::PROGRAMS.map(|program| control_plane::row(&session, program))).await?);
    }
    let last = session.operator().leading_pod().await?;
    ensure!(last.uid() == operator.uid(), "another operator leads than at the beginning: play the rows again");
    let table = matrix::render(&rows, &Zoned::now().date().to_string(), &commit);
    println!("{table}");
    // The others' rows took half an hour and are worth a look.
    if let Some(error) = failures.into_iter().next() {
        return Err(error);
    }
    let slower: Vec<_> =
        rows.iter().filter(|row| !row.slower.is_empty()).map(|row| (&row.client, &row.slower)).collect();
    ensure!(slower.is_empty(), "takeovers are slower with a LeaderGroup than without: {slower:#?}");
    if !named.is_empty() {
        return Ok(());
    }
    let file = workspace_root()?.join("README.md");
    let readme = fs::read_to_string(&file)?;
    if check {
        let kept = matrix::found(&readme).context("the README has no matrix")?;
        let (kept, played) = (matrix::without_timing(&kept), matrix::without_timing(&table));
        let differs: Vec<_> = played.iter().filter(|row| !kept.contains(row)).collect();
        ensure!(kept == played, "the README's matrix says otherwise; this run: {differs:#?}");
        return Ok(());
    }
    let new = matrix::replaced(&readme, &table).context("the README has no place for the matrix")?;
    fs::write(&file, new)?;
    Ok(())
}

/// The commit whose operator is played.
fn commit() -> Result<String> {
    let told = Command::new("git").current_dir(workspace_root()?).args(["rev-parse", "--short=10", "HEAD"]).output()?;
    ensure!(told.status.success(), "git does not name the commit: {}", String::from_utf8_lossy(&told.stderr));
    Ok(String::from_utf8_lossy(&told.stdout).trim().to_owned())
}
