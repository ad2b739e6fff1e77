//! `history`: who led, why that changed, and how long nobody led.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use jiff::Zoned;
use leadergroup_api::TransitionReason;

use crate::group;
use crate::model::Told;
use crate::named::Named;
use crate::output::{Cell, Format, GOOD, WARN, ago, print, span, table, tell};
use crate::session::Session;
use crate::terms::{Term, terms};

/// What the words in the column REASON mean.
const REASONS: &str = "\
REASON says how the term before ended:
  First               the first leader this group was seen with
  Released            the old leader gave the Lease up
  Cleared             the operator cleared the old leader, which was proven dead
  ClearedUnconfirmed  the operator cleared it without proof, as spec.staleHolder.unconfirmed asks
  Expired             the old leader's Lease ran out
  Replaced            a new pod took over under the old one's identity
  Taken               the Lease was taken from a holder that neither released it nor let it run out
  LeaseDeleted        the Lease was deleted and made anew
  Unobserved          the operator was not watching, or had only begun to

How far back it goes is what spec.historyLimit says, 20 transitions by default.";

#[derive(Args, Debug)]
#[command(after_long_help = REASONS)]
pub struct Arguments {
    #[command(flatten)]
    group: Named,
    /// Print a list of terms for programs
    #[arg(long, short, value_name = "FORMAT")]
    output: Option<Format>,
}

pub async fn run(session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let group = group::get(session, &arguments.group.name).await?;
    let now = Zoned::now();
    let terms = terms(&group, now.timestamp());
    match arguments.output {
        Some(format) => print(&format.render(&terms)?)?,
        None if terms.is_empty() => tell(format_args!("{} has not been led yet", arguments.group.name)),
        None => print(&text(&terms, &now))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The terms as a table.
pub fn text(terms: &[Term], now: &Zoned) -> String {
    let rows = terms.iter().map(|term| {
        let lasts = term.end.is_none();
        let led_for = span(term.seconds(now.timestamp()).round());
        let reason = match term.unobserved {
            0 => term.reason.as_str().to_owned(),
            unseen => format!("{}, {unseen} more unseen", term.reason.as_str()),
        };
        let is_odd = term.unobserved > 0
            || matches!(term.reason, Told::Known(TransitionReason::Taken | TransitionReason::Unobserved));
        vec![
            term.number.to_string().into(),
            term.begin.to_zoned(now.time_zone().clone()).strftime("%F %T").to_string().into(),
            ago(term.begin, now).into(),
            if lasts { Cell::styled(GOOD, &term.leader) } else { term.leader.as_str().into() },
            if lasts { Cell::styled(GOOD, led_for + ", leads") } else { led_for.into() },
            Cell::maybe(term.from.as_ref()),
            if is_odd { Cell::styled(WARN, reason) } else { reason.into() },
            Cell::maybe(term.leaderless_seconds.map(span)),
        ]
    });
    table(&["#", "BEGAN", "AGO", "LEADER", "LED FOR", "AFTER", "REASON", "LEADERLESS"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata::{self, now, plain};

    #[test]
    fn terms_in_a_table() {
        insta::assert_snapshot!(plain(&text(&terms(&testdata::led(), now().timestamp()), &now())));
    }

    #[test]
    fn names_of_any_length_and_script_keep_the_columns() {
        insta::assert_snapshot!(plain(&text(&terms(&testdata::long(), now().timestamp()), &now())));
    }

    #[test]
    fn terms_for_programs() {
        insta::assert_snapshot!(Format::Yaml.render(&terms(&testdata::leaderless(), now().timestamp())).unwrap());
    }
}
