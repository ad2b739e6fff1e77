//! `dashboard`: a page on this machine with the groups, their changes as they happen, and who led when. It only reads.
//!
//! `follow.rs` keeps the newest of each object; `overview.rs` and `group.rs` make parts of a page of them, by pure
//! functions; `parts.rs` compares those with what a browser was sent; `board.rs` streams the difference, which
//! `assets/script.js` puts in its place; `server.rs` says who is answered.

mod board;
mod follow;
mod frame;
mod group;
mod overview;
mod parts;
mod server;
mod strip;
mod words;

use std::net::Ipv4Addr;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use tokio::net::TcpListener;

use crate::output::clean;
use crate::session::Session;

#[derive(Args, Debug)]
pub struct Arguments {
    /// All namespaces
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// The port on 127.0.0.1; 0 for any that is free
    #[arg(long, value_name = "PORT", default_value_t = 3777)]
    port: u16,
}

pub async fn run(session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port)).await.with_context(|| {
        format!("port {} can't be listened on: choose another with --port, or --port 0", arguments.port)
    })?;
    let scope =
        if arguments.all_namespaces { frame::Scope::All } else { frame::Scope::Namespace(session.namespace.clone()) };
    let place = frame::Place { context: session.context.clone(), scope };
    let address = listener.local_addr()?;
    println!("http://{address} shows the groups of {} until you press Ctrl-C", clean(&place.context));
    server::serve(listener, board::Board::start(session.client.clone(), place)).await?;
    Ok(ExitCode::SUCCESS)
}
