//! `elector run`: the wrapper.
//!
//! While this candidate leads, the wrapper has a [`watchdog`] run the program. Each renewal is a permit to the watchdog to
//! let it go on for so long; a watchdog without a fresh permit ends the program before the Lease can have run out, even
//! if the wrapper is dead or stopped. The wrapper in turn kills everything if the watchdog is dead, or does not confirm
//! its permits. The first to come is enough, and each is the subreaper of all that the program starts.

mod channel;
mod killing;
mod processes;
mod program;
mod signals;
pub mod stage;
mod timer;
pub mod watchdog;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::builder::FalseyValueParser;
use leadergroup_elector::{Elector, Options};
use rustix::process::{getpid, set_child_subreaper};
use tokio::runtime::Builder;

use crate::campaign::{CampaignArguments, duration};
use channel::usable;
use program::{Program, Run};
use signals::{Caught, Signals, asks_to_end};

/// What `docker run`, `env` and `timeout` return when they fail themselves.
const FAILED: u8 = 125;

/// What the command takes.
#[derive(Clone, Debug, clap::Args)]
#[command(
    override_usage = "elector run [OPTIONS] [--] <CMD>...",
    after_long_help = include_str!("help.txt")
)]
pub struct Arguments {
    #[command(flatten)]
    campaign: CampaignArguments,

    /// From SIGTERM to SIGKILL [default, and at most: three quarters of lease duration less renew deadline]
    ///
    /// So long CMD has to end when leadership is lost, and whatever it leaves running when it ends by itself.
    #[arg(long, env = "ELECTOR_GRACE", value_name = "TIME", value_parser = duration)]
    grace: Option<Duration>,

    /// Let CMD gain privileges through set-user-ID programs and file capabilities
    ///
    /// By default CMD runs with `no_new_privs`, as with allowPrivilegeEscalation: false in a pod: sudo and su fail. With this
    /// option, a descendant that became another user can't be killed at the end of the term. Until the container has ended,
    /// two may lead.
    #[arg(long, env = "ELECTOR_ALLOW_NEW_PRIVILEGES", value_parser = FalseyValueParser::new())]
    allow_new_privileges: bool,

    /// The program to run while leading, and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs until the program has ended by itself, or until told to end.
pub fn run(arguments: &Arguments) -> ExitCode {
    if let Some(refusal) = arguments.command.first().and_then(|program| stage::check(program).err()) {
        eprintln!("elector: {refusal}");
        return refusal.code.into();
    }
    arguments.run().unwrap_or_else(|error| {
        eprintln!("elector: {error:#}");
        FAILED.into()
    })
}

impl Arguments {
    fn run(&self) -> Result<ExitCode> {
        let options = self.campaign.options()?;
        let program = Program {
            command: self.command.clone(),
            variables: vec![
                ("ELECTOR_LEASE", options.lease.clone()),
                ("ELECTOR_NAMESPACE", options.namespace.clone()),
                ("ELECTOR_IDENTITY", options.identity.clone()),
            ],
            grace: self.grace(&options)?,
            allow_new_privileges: self.allow_new_privileges,
        };
        set_child_subreaper(Some(getpid())).context("this process can't become a subreaper")?;
        // One thread: a program that is started must not be tied to one that may end before the others.
        let runtime = Builder::new_current_thread().enable_all().build().context("no runtime")?;
        let result = runtime.block_on(async {
            let signals = Signals::new().context("signals can't be caught")?;
            campaign(CampaignArguments::start(options).await?, signals, &program).await
        });
        // Processes that could not be killed end with this one, which must not wait for a name lookup that hangs.
        runtime.shutdown_background();
        result
    }

    fn grace(&self, options: &Options) -> Result<Duration> {
        let timing = options.timing;
        let most = usable(timing.lease_duration().saturating_sub(timing.renew_deadline()));
        let grace = self.grace.unwrap_or(most);
        ensure!(
            grace <= most,
            "--grace {grace:?} is too long: with a lease duration of {:?} and a renew deadline of {:?}, a program that \
             loses its leadership has {most:?} to end; for more, make the lease duration longer",
            timing.lease_duration(),
            timing.renew_deadline(),
        );
        Ok(grace)
    }
}

/// Leads and stands by, until the program has ended by itself or this process is told to end.
async fn campaign(mut elector: Elector, mut signals: Signals, program: &Program) -> Result<ExitCode> {
    let (mut leadership, mut status) = (elector.leadership(), elector.status());
    loop {
        let term = tokio::select! {
            term = elector.leading() => term,
            signal = signals.next() => {
                match signal {
                    Caught::ChildEnded => processes::reap_adopted()?,
                    Caught::Meant(signal) if asks_to_end(signal) => {
                        elector.resign().await;
                        tracing::info!("told to end while standing by: the program did not run");
                        return Ok(u8::try_from(128 + signal)?.into());
                    }
                    Caught::Meant(_) => {}
                }
                continue;
            }
        };
        let Some(term) = term else { bail!("the campaign has broken off") };
        let run = match Run::start(program, &term) {
            Ok(run) => run,
            Err(error) => {
                elector.resign().await;
                return Err(error).context("the watchdog can't be started");
            }
        };
        // Without a release if that fails: what still runs ends with the container, whose first process this is.
        let ended = run.gone(&mut leadership, &mut status, &mut signals).await;
        let ended = ended.context("the program can't be kept to its term")?;
        if !ended.had_to || ended.asked_to_end {
            elector.resign().await;
            tracing::info!(code = ended.code, "the program has ended");
            return Ok(ended.code.into());
        }
        tracing::info!("the program is gone; campaigning again");
        if leadership.term().is_some_and(|now| now.token == term.token) {
            elector.step_down();
            status.wait_for(|status| status.term != Some(term.token)).await?;
        }
    }
}
