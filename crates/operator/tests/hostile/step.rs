//! What happens in a play: objects as an API server delivers them, deletions, lists, and time.

use serde::Deserialize;
use serde_json::Value;

use crate::support::api::Kind;
use crate::support::{micro_time, time};

/// One thing that happens.
///
/// In an object, `@micro±N` and `@second±N` stand for the time N milliseconds from the present, as a Lease's times are
/// written and as a kubelet writes times.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// The object is seen in this state.
    Group(Value),
    Lease(Value),
    Pod(Value),
    Node(Value),
    /// It is deleted.
    Delete(What, String),
    /// A watch lists everything again, after a list that broke off.
    Relist(What),
    /// Milliseconds pass.
    Pass(u64),
    /// Whoever holds the Lease renews every two seconds, so many times.
    Renew(u64),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    Group,
    Lease,
    Pod,
    Node,
}

impl From<What> for Kind {
    fn from(what: What) -> Self {
        match what {
            What::Group => Self::Group,
            What::Lease => Self::Lease,
            What::Pod => Self::Pod,
            What::Node => Self::Node,
        }
    }
}

/// The object with its times written out, `now` being milliseconds after the epoch.
pub fn at(object: &Value, now: u64) -> Value {
    let now = i64::try_from(now).unwrap();
    match object {
        Value::String(text) => {
            let offset = |prefix: &str| text.strip_prefix(prefix)?.parse::<i64>().ok();
            match (offset("@micro"), offset("@second")) {
                (Some(offset), _) => Value::String(micro_time(now + offset)),
                (_, Some(offset)) => Value::String(time(now + offset)),
                _ => object.clone(),
            }
        }
        Value::Array(list) => list.iter().map(|v| at(v, now.unsigned_abs())).collect(),
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), at(v, now.unsigned_abs()))).collect(),
        _ => object.clone(),
    }
}
