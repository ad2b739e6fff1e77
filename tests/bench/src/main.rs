//! Prints the figures, side by side in one run: those of the operator, and those of our elector.
//!
//! Arguments choose parts: `operator`, `elector`, or one of theirs such as `operator-clear`. Without, all.
//!
//! Nothing here passes or fails: machines differ and are noisy. The goals stand beside the figures.

mod clearing;
mod elector;
mod figures;
mod operator;
mod renewals;
mod size;
mod takeover;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let halves = [
        ("operator", operator::Part::ALL.map(operator::Part::name).to_vec()),
        ("elector", elector::Part::ALL.map(elector::Part::name).to_vec()),
    ];
    let known = |name: &str| halves.iter().any(|(half, parts)| *half == name || parts.contains(&name));
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        let names: Vec<_> = halves.iter().map(|(half, parts)| format!("{half} ({})", parts.join(", "))).collect();
        bail!("there is no part {unknown}: choose {}", names.join(", or "));
    }
    let is_wanted =
        |half: &str, part: &str| wanted.is_empty() || wanted.iter().any(|name| name == half || name == part);
    let parts: Vec<_> = operator::Part::ALL.into_iter().filter(|part| is_wanted("operator", part.name())).collect();
    if !parts.is_empty() {
        tokio::runtime::Runtime::new()?.block_on(operator::run(&parts))?;
    }
    let parts: Vec<_> = elector::Part::ALL.into_iter().filter(|part| is_wanted("elector", part.name())).collect();
    if parts.is_empty() { Ok(()) } else { elector::run(&parts) }
}
