//! What a decision may ask for, whatever it was told.

use leadergroup_api::Verdict;
use leadergroup_operator::decide::{Action, Decision, Notice};
use serde_json::Value;

/// The longest text in a status, in bytes.
const TEXT: usize = 4_096;
/// The longest name of a holder in a status, in bytes.
const IDENTITY: usize = 640;
/// The longest note of an Event before the API server's own limit is applied, in bytes.
const NOTE: usize = 8_192;
/// The longest reason or action of an Event, in bytes.
const WORD: usize = 128;
/// The largest request that etcd takes, in bytes.
const OBJECT: usize = 1_572_864;

/// What is not allowed in the decision.
pub fn exceeded(spec: &Value, decision: &Decision) -> Vec<String> {
    let mut wrong: Vec<String> = decision.action.iter().filter_map(forbidden).collect();
    let status = serde_json::to_value(&decision.status).expect("a status");
    wrong.extend(in_status(&status, spec["historyLimit"].as_u64().unwrap_or(20)));
    wrong.extend(decision.notices.iter().filter_map(in_notice));
    if let (Some(Action::Clear(clear)), Some(holder)) = (&decision.action, &decision.status.holder)
        && clear.verdict != holder.verdict
    {
        wrong.push(format!("a clear by {} while the status says {}", clear.verdict, holder.verdict));
    }
    wrong
}

/// A holder that may live, or that is not the group's to clear, is not cleared.
fn forbidden(action: &Action) -> Option<String> {
    let Action::Clear(clear) = action else { return None };
    forbids_clear(clear.verdict).then(|| format!("a clear by the verdict {}: {}", clear.verdict, clear.evidence))
}

pub fn forbids_clear(verdict: Verdict) -> bool {
    use Verdict::{Alive, Contradiction, Foreign, Free, LeaseExpired, Managed};
    matches!(verdict, Managed | Free | Contradiction | Foreign | Alive | LeaseExpired)
}

/// What of a status the API server would refuse, or would not be able to keep.
pub fn in_status(status: &Value, history_limit: u64) -> Vec<String> {
    let mut wrong = Vec::new();
    let history = status["history"].as_array().map_or(0, Vec::len);
    if u64::try_from(history).unwrap() > history_limit {
        wrong.push(format!("a history of {history} where {history_limit} are asked for"));
    }
    let size = status.to_string().len();
    if size > OBJECT {
        wrong.push(format!("a status of {size} bytes"));
    }
    in_texts(status, "status", &mut wrong);
    wrong
}

fn in_texts(value: &Value, name: &str, wrong: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            let is_identity = ["identity", "leader", "from"].contains(&name);
            if text.len() > if is_identity { IDENTITY } else { TEXT } {
                wrong.push(format!("{name} of the status has {} bytes", text.len()));
            }
            if (name == "time" || name.ends_with("Time")) && !is_time(text) {
                wrong.push(format!("{name} of the status is {text:?}, which the API server refuses"));
            }
        }
        Value::Array(list) => list.iter().for_each(|value| in_texts(value, name, wrong)),
        Value::Object(map) => map.iter().for_each(|(name, value)| in_texts(value, name, wrong)),
        _ => {}
    }
}

/// A time as the API server's own format wants it: years of four digits.
fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00Z" || shape == "0000-00-00T00:00:00.000000Z"
}

/// What of an Event would be refused, or can't be told.
pub fn in_notice(notice: &Notice) -> Option<String> {
    let too_long = notice.note.len() > NOTE || notice.reason.len() > WORD || notice.action.len() > WORD;
    let (words, note) = (notice.reason.len().max(notice.action.len()), notice.note.len());
    too_long.then(|| format!("an Event with a note of {note} bytes and a word of {words}"))
}
