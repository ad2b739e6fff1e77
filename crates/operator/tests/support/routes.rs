//! What the small API server does with Services, `EndpointSlices` and labels.

use leadergroup_operator::engine::{Failure, Outcome, Stored, Work};
use leadergroup_operator::index::Key;
use leadergroup_operator::routing::body::body;
use leadergroup_operator::routing::{Step, Write};
use leadergroup_operator::traffic::RouteKind;
use serde_json::{Value, json};

use super::api::{Api, Kind};
use super::{NAMESPACE, decode};

impl Api {
    /// Does one step, as the applier does it against the real API server.
    pub fn route(&mut self, work: &Work, step: &Step) -> Outcome {
        let (kind, name) = match &step.write {
            Write::Service { name, .. } | Write::Delete { kind: RouteKind::Service, name } => (Kind::Service, name),
            Write::Slice { name, .. } | Write::Empty { name } | Write::Delete { name, .. } => (Kind::Slice, name),
            Write::Label { pod, .. } => (Kind::Pod, pod),
        };
        let done = self.put_route(kind, name, step, work);
        let key = Key::new(NAMESPACE, name);
        let result = match kind {
            Kind::Pod if !done => Err(Failure::Conflict),
            Kind::Pod => Ok((true, Stored::Pod)),
            Kind::Service => Ok((done, Stored::Service(key, self.get(kind, name).map(decode)))),
            _ => Ok((done, Stored::Slice(key, self.get(kind, name).map(decode)))),
        };
        Outcome::Routed { step: step.clone(), result }
    }

    fn put_route(&mut self, kind: Kind, name: &str, step: &Step, work: &Work) -> bool {
        let known = self.get(kind, name).cloned();
        let is_as_decided = match (&step.on, &known) {
            (None, None) => true,
            (Some(on), Some(known)) => {
                let version = on.version.as_ref();
                known["metadata"]["uid"] == json!(on.uid)
                    && version.is_none_or(|version| known["metadata"]["resourceVersion"] == json!(version))
            }
            _ => false,
        };
        if !is_as_decided {
            return false;
        }
        match body(&step.write, &work.group, &work.uid) {
            None => self.delete(kind, name),
            Some(patch) => {
                let mut object = known.unwrap_or_else(|| json!({"metadata": {"namespace": NAMESPACE}}));
                merge(&mut object, &patch);
                self.put(kind, object);
            }
        }
        true
    }
}

/// A JSON merge patch.
pub fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        object.clone_from(patch);
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            object.as_object_mut().expect("an object").remove(name);
        } else {
            merge(&mut object[name], value);
        }
    }
}
