//! Stands by and leads, in turn with others that run this too, until Ctrl-C.
//!
//! ```sh
//! cargo run -p leadergroup-elector --example lead -- default billing me
//! ```

use std::time::Duration;

use anyhow::Context;
use leadergroup_elector::{Elector, Options};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what| arguments.next().with_context(|| format!("name {what}: NAMESPACE LEASE IDENTITY"));
    let options = Options::new(next("a namespace")?, next("a Lease")?, next("an identity")?);
    let elector = Elector::start(kube::Config::infer().await?, options)?;

    let (mut status, leadership) = (elector.status(), elector.leadership());
    tokio::spawn(async move {
        while status.changed().await.is_ok() {
            println!("{:?}", *status.borrow_and_update());
        }
    });
    elector
        .run_while_leading(|term| {
            let leadership = leadership.clone();
            async move {
                println!("leading, token {}", term.token.0);
                let work = async {
                    while leadership.leads() {
                        println!("working");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                };
                // The work ends before the Lease is released, which is when `run_while_leading` returns.
                tokio::select! {
                    () = work => {}
                    _ = tokio::signal::ctrl_c() => println!("told to end"),
                }
            }
        })
        .await;
    Ok(())
}
