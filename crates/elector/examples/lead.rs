//! Stands by and leads, in turn with others that run this too, until Ctrl-C or SIGTERM.
//!
//! ```sh
//! cargo run -p leadergroup-elector --example lead -- default billing me
//! ```

use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use leadergroup_elector::{Elector, Options};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what| arguments.next().with_context(|| format!("name {what}: NAMESPACE LEASE IDENTITY"));
    let options = Options::new(next("a namespace")?, next("a Lease")?, next("an identity")?);

    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut told_to_end = pin!(async {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    });
    let mut elector = Elector::start(kube::Config::infer().await?, options)?;
    let leadership = elector.leadership();
    'campaign: loop {
        println!("standing by");
        let term = tokio::select! {
            term = elector.leading() => term.context("the campaign has broken off")?,
            () = &mut told_to_end => break,
        };
        println!("leading, token {}", term.token.0);
        while leadership.leads() {
            // A step of the work, which passes the token along to whatever it writes to.
            println!("working");
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                () = &mut told_to_end => break 'campaign,
            }
        }
    }
    // The work has ended, so another may begin.
    elector.resign().await;
    println!("released");
    Ok(())
}
