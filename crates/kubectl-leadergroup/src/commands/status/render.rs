//! A report as people read it.

use std::fmt::Write as _;

use anstyle::Style;
use jiff::{ToSpan as _, Zoned};
use leadergroup_api::{Account, Policy, Release, Verdict, is_well};

use super::candidate::{Candidate, Role};
use super::report::{Clearing, Condition, LeaseRecord, Report};
use crate::commands::history;
use crate::model::Told;
use crate::output::{BAD, BOLD, Cell, DIM, GOOD, WARN, ago, clean, indent, paint, table};

/// How many terms are shown unless more is asked for.
const RECENT: usize = 5;
/// How many Events are shown.
const LATEST_EVENTS: usize = 20;

/// The report as text.
pub fn text(report: &Report, more: bool, now: &Zoned) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{:<13} {value}", format!("{name}:"));
    };
    line("Group", paint(BOLD, format!("{}/{}", report.namespace, report.name)));
    line("Leader", leader(report, now));
    if let Some(ready) = report.conditions.iter().find(|it| it.type_ == "Ready") {
        // The evidence is told below.
        let is_evidence = report.holder.as_ref().is_some_and(|holder| holder.evidence == ready.message);
        let message = if is_evidence { String::new() } else { format!(": {}", clean(&ready.message)) };
        line("Ready", paint(style(ready), format!("{} ({}){message}", ready.status, ready.reason)));
    }
    if let Some(holder) = &report.holder {
        let identity = if holder.identity.is_empty() { String::new() } else { clean(&holder.identity) + " is " };
        let verdict = paint(of_verdict(&holder.verdict), clean(holder.verdict.as_str()));
        line("Holder", format!("{identity}{verdict}: {}", clean(&holder.evidence)));
    }
    if let Some(known) = &report.account {
        line("Account", account(known));
    }
    line("Lease", lease(&report.lease, now));
    line("Clearing", clearing(&report.clearing));
    if let Some(traffic) = &report.traffic {
        let value = match (&traffic.routed, &traffic.reason, &traffic.message) {
            (Some(routed), Some(reason), Some(message)) => {
                let style = if routed == "True" { GOOD } else { WARN };
                paint(style, format!("{routed} ({reason}): {}", clean(message)))
            }
            _ => paint(WARN, "not routed yet"),
        };
        line("Traffic", format!("Service {} ({}): {value}", traffic.service, traffic.ports.join(", ")));
    }
    let own = report.lease.transitions.map(|own| format!("; the Lease's own counter is at {own}"));
    line("Transitions", format!("{}{}", report.transitions, own.unwrap_or_default()));
    for note in &report.notes {
        line("Note", paint(WARN, clean(note)));
    }
    text + &candidates(report, more, now) + &recent(report, more, now) + &conditions(report, now) + &events(report, now)
}

fn leader(report: &Report, now: &Zoned) -> String {
    let Some(leader) = &report.leader else { return paint(BAD, "nobody") };
    let style = if report.ready == Some(true) { GOOD } else { WARN };
    let name = leader.pod.as_ref().map_or_else(|| format!("{} (no known pod)", leader.identity), Clone::clone);
    let since = leader.acquire_time.map(|since| format!(", for {}", ago(since, now)));
    let node = leader.node.as_ref().map(|node| format!(", on node {node}"));
    let zone = leader.zone.as_ref().map(|zone| format!(" in zone {zone}"));
    let told = [since, node, zone].into_iter().flatten().collect::<String>();
    paint(style, clean(&name)) + &clean(&told)
}

fn account(account: &Account) -> String {
    let Some(reason) = account.reason.filter(|_| !account.complete) else {
        return paint(GOOD, "complete") + ": a holder proven dead is cleared at once";
    };
    let gap = paint(WARN, format!("incomplete ({reason:?})"));
    format!("{gap}: {}; a dead holder is cleared once its Lease has expired", reason.cause())
}

/// How bad a verdict is for who leads.
fn of_verdict(verdict: &Told<Verdict>) -> Style {
    match verdict {
        Told::Known(Verdict::Alive | Verdict::Managed) => GOOD,
        Told::Known(Verdict::Terminated | Verdict::Contradiction | Verdict::Foreign) => BAD,
        _ => WARN,
    }
}

fn lease(lease: &LeaseRecord, now: &Zoned) -> String {
    let declared = lease.declared;
    let (duration, deadline, retry) =
        (declared.duration_seconds, declared.renew_deadline_seconds, declared.retry_period_seconds);
    let declared = format!("declared {duration}s, renew deadline {deadline}s, retry period {retry}s");
    let state = match (lease.exists, lease.renew_time) {
        (None, _) => "not readable".to_owned(),
        (Some(false), _) => paint(WARN, "does not exist"),
        (Some(true), None) => "never renewed".to_owned(),
        (Some(true), Some(renewed)) => {
            let runs_out = renewed.checked_add(lease.duration_seconds.unwrap_or(duration).seconds()).ok();
            let ahead = renewed.duration_since(now.timestamp()).as_secs();
            let when = if ahead > 2 {
                paint(WARN, format!("renewed {ahead}s ahead of this machine's clock"))
            } else {
                format!("renewed {} ago", ago(renewed, now))
            };
            match runs_out.filter(|it| *it < now.timestamp()) {
                Some(it) if lease.holder.is_some() => {
                    format!("{when}, {}", paint(BAD, format!("ran out {} ago", ago(it, now))))
                }
                _ => when,
            }
        }
    };
    // What remains of a holder that was cleared or gave up is nobody's timing.
    let recorded = match lease.duration_seconds.filter(|_| lease.holder.is_some()) {
        Some(recorded) if recorded != duration => paint(WARN, format!("duration {recorded}s recorded")) + ", ",
        Some(recorded) => format!("duration {recorded}s recorded, "),
        None if lease.holder.is_some() => paint(WARN, "no duration recorded") + ", ",
        None => String::new(),
    };
    format!("{}, {state}; {recorded}{declared}", lease.name)
}

fn clearing(clearing: &Clearing) -> String {
    if clearing.policy == Policy::Observe {
        return paint(WARN, "paused (policy Observe): dead holders are reported, and their Lease has to run out");
    }
    let delay = match clearing.delay_seconds {
        0 => "at once".to_owned(),
        seconds => format!("{seconds}s after that"),
    };
    let unconfirmed = clearing.unconfirmed_after_seconds.map(|after| {
        let risk = format!("; {after}s after it was last heard of without proof, at the risk of two leaders");
        paint(WARN, risk)
    });
    format!("a holder proven dead, {delay} ({}){}", release(clearing), unconfirmed.unwrap_or_default())
}

fn release(clearing: &Clearing) -> String {
    let Clearing { release, release_form, library, .. } = clearing;
    match (release, release_form, library) {
        (Release::Auto, Some(form), Some(library)) => format!("release Auto: {form:?}, for {library}"),
        (Release::Auto, Some(form), None) => format!("release Auto: {form:?}"),
        _ => format!("release {release:?}"),
    }
}

fn section(title: &str, content: &str) -> String {
    format!("\n{}\n{}", paint(BOLD, title), indent(2, content))
}

fn candidates(report: &Report, more: bool, now: &Zoned) -> String {
    let Some(pods) = &report.candidates.pods else { return String::new() };
    if pods.is_empty() {
        let selector = if report.candidates.selector.is_empty() { "anything" } else { &report.candidates.selector };
        let none = paint(BAD, format!("no pod matches {}", clean(selector)));
        return section("Candidates: none", &none);
    }
    let title = format!("Candidates: {}, of which {} ready", report.candidates.total, report.candidates.ready);
    let mut header = vec!["POD", "ROLE", "READY", "STATUS", "RESTARTS", "AGE"];
    if more {
        header.extend(["NODE", "ZONE", "SERVICEACCOUNT", "UID"]);
    }
    let hindered = pods.iter().any(|it| !it.obstacles.is_empty());
    if hindered {
        header.push("WHAT IS IN THE WAY");
    }
    let rows = pods.iter().map(|it| {
        let mut row = vec![
            if it.role == Role::Leader { Cell::styled(BOLD, &it.pod) } else { it.pod.as_str().into() },
            it.role.as_str().into(),
            Cell::styled(of_candidate(it), if it.ready { "yes" } else { "no" }),
            it.status.as_str().into(),
            it.restarts.to_string().into(),
            Cell::maybe(it.created.map(|created| ago(created, now))),
        ];
        if more {
            row.extend([Cell::maybe(it.node.as_ref()), Cell::maybe(it.zone.as_ref())]);
            row.extend([it.service_account.as_str().into(), it.uid.as_str().into()]);
        }
        if hindered {
            row.push(Cell::styled(if it.role == Role::Ended { DIM } else { WARN }, it.obstacles.join("; ")));
        }
        row
    });
    let mut text = section(&title, &table(&header, rows));
    if more {
        let header = ["POD", "CONTAINER", "STATE", "SINCE", "RESTARTS", "LAST EXIT CODE", "WATCHED"];
        let rows = pods.iter().flat_map(|pod| pod.containers.iter().map(move |it| (pod, it))).map(|(pod, it)| {
            let reason = it.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            vec![
                pod.pod.as_str().into(),
                it.name.as_str().into(),
                Cell::maybe(it.state.as_ref().map(|state| format!("{state}{reason}"))),
                Cell::maybe(it.since.map(|since| ago(since, now))),
                it.restarts.to_string().into(),
                Cell::maybe(it.exit_code.map(|code| code.to_string())),
                if it.watched { "yes" } else { "no" }.into(),
            ]
        });
        text += &section("Containers", &table(&header, rows));
    }
    text
}

fn of_candidate(candidate: &Candidate) -> Style {
    match (candidate.ready, candidate.role) {
        (true, _) => GOOD,
        (false, Role::Ended) => DIM,
        (false, _) => WARN,
    }
}

fn recent(report: &Report, more: bool, now: &Zoned) -> String {
    let terms = &report.history;
    let shown = if more { terms.len() } else { terms.len().min(RECENT) };
    if shown == 0 {
        return section("History: nobody has led yet", "");
    }
    let title = if shown < terms.len() {
        format!("History: the last {shown} of {} terms", terms.len())
    } else {
        "History".to_owned()
    };
    section(&title, &history::text(&terms[..shown], now))
}

/// Whether a condition says that all is well.
fn style(condition: &Condition) -> Style {
    match is_well(&condition.type_, &condition.status) {
        Some(true) => GOOD,
        Some(false) => BAD,
        None => WARN,
    }
}

fn conditions(report: &Report, now: &Zoned) -> String {
    if report.conditions.is_empty() {
        return String::new();
    }
    let rows = report.conditions.iter().map(|it| {
        vec![
            it.type_.as_str().into(),
            Cell::styled(style(it), &it.status),
            it.reason.as_str().into(),
            ago(it.since, now).into(),
            it.message.as_str().into(),
        ]
    });
    section("Conditions", &table(&["TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"], rows))
}

fn events(report: &Report, now: &Zoned) -> String {
    let Some(events) = &report.events else { return String::new() };
    if events.is_empty() {
        return section("Events: none that are kept", "");
    }
    let rows = events[events.len().saturating_sub(LATEST_EVENTS)..].iter().map(|it| {
        vec![
            Cell::maybe(it.time.map(|time| ago(time, now))),
            Cell::styled(if it.type_ == "Warning" { WARN } else { Style::new() }, &it.type_),
            it.reason.as_str().into(),
            it.message.as_str().into(),
        ]
    });
    section("Events", &table(&["AGO", "TYPE", "REASON", "MESSAGE"], rows))
}
