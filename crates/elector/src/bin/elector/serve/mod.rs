//! `elector serve`: campaigns beside a program, and tells it over HTTP whether it leads.
//!
//! [`keeper`] campaigns: it decides when to run a hook, when to step down and when to leave. [`http`] and [`events`]
//! tell what it knows, put into words by [`view`]. [`orders`] takes orders from programs in the same pod.

mod events;
mod hooks;
mod http;
mod keeper;
mod orders;
mod view;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::join;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::campaign::{CampaignArguments, duration};
use hooks::{Command, Hooks};
use http::Desk;
use keeper::{Keeper, Stop};
use view::About;

/// How long answers under way may take once everything else has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What the command takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = include_str!("help.txt"))]
pub struct Arguments {
    #[command(flatten)]
    campaign: CampaignArguments,

    /// Where to serve. Beyond loopback, others can read who leads
    #[arg(long, env = "ELECTOR_ADDRESS", value_name = "IP:PORT", default_value = "127.0.0.1:4040")]
    address: SocketAddr,

    /// Where to take the orders /v1/step-down and /v1/resign: a loopback address, which only programs in this pod reach
    #[arg(
        long,
        env = "ELECTOR_ORDERS_ADDRESS",
        value_name = "IP:PORT",
        default_value = "127.0.0.1:4041",
        value_parser = orders::loopback
    )]
    orders_address: SocketAddr,

    /// What to run when this candidate begins to lead: a program and its arguments, quoted as for a shell, but run
    /// without one
    #[arg(long, env = "ELECTOR_ON_GAIN", value_name = "COMMAND")]
    on_gain: Option<Command>,

    /// What to run when it leads no more, before the Lease is released where it is released
    #[arg(long, env = "ELECTOR_ON_LOSS", value_name = "COMMAND")]
    on_loss: Option<Command>,

    /// How long a hook may take. Then it is killed, with all that it started, and counts as failed
    #[arg(long, env = "ELECTOR_HOOK_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = duration)]
    hook_timeout: Duration,

    /// How long to lead on after SIGTERM, unless /v1/resign comes first or a second SIGTERM
    #[arg(long, env = "ELECTOR_DRAIN", value_name = "TIME", default_value = "0s", value_parser = duration)]
    drain: Duration,
}

/// Runs until told to end.
pub fn serve(arguments: Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(campaign(arguments));
    // Whatever still runs ends here, without a release.
    drop(runtime);
    result.map(|()| ExitCode::SUCCESS)
}

async fn campaign(arguments: Arguments) -> Result<()> {
    // First, so that SIGTERM is never missed.
    let stop = Stop::new(arguments.drain)?;
    let (address, orders_address) = (arguments.address, arguments.orders_address);
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("can't serve on {address}: set --address"))?;
    let orders_listener = TcpListener::bind(orders_address)
        .await
        .with_context(|| format!("can't take orders on {orders_address}: set --orders-address"))?;
    let options = arguments.campaign.options()?;
    let about = About::of(&options);
    let lease_duration = options.timing.lease_duration();
    let hooks = Hooks {
        on_gain: arguments.on_gain,
        on_loss: arguments.on_loss,
        limit: arguments.hook_timeout,
        lease: options.lease.clone(),
        identity: options.identity.clone(),
    };
    let elector = CampaignArguments::start(options).await?;

    let (orders, on_order) = mpsc::channel(16);
    let (giving_up, on_giving_up) = watch::channel(false);
    let end = CancellationToken::new();
    let (address, orders_address) = (listener.local_addr()?, orders_listener.local_addr()?);
    let desk = Arc::new(Desk::new(about, &elector, on_giving_up, orders_address, end.clone()));
    if address.ip().is_loopback() {
        tracing::info!(%address, %orders_address, "serving");
    } else {
        tracing::warn!(%address, %orders_address, "serving beyond this pod: whoever reaches this address can read who leads");
    }
    let server = tokio::spawn(http::serve(listener, desk.clone()));
    let orders_server = tokio::spawn(orders::serve(orders_listener, desk, orders));
    // Not dropped before the end of the runtime: then it would release, also where it must not.
    let mut keeper = Keeper::new(elector, lease_duration, hooks, on_order, giving_up);
    let result = keeper.keep(stop).await;
    end.cancel();
    // Whoever does not take its answer is not waited for.
    let _ = timeout(LAST_ANSWERS, join(server, orders_server)).await;
    result
}
