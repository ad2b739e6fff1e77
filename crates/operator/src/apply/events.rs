//! Events on the group. A lost Event never holds anything up.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::Resource as _;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use leadergroup_api::{LeaderGroup, MANAGER};

use crate::decide::Notice;
use crate::engine::Work;
use crate::text::cut;

/// What the API server takes as an Event's note, in bytes.
const NOTE_MAX: usize = 1_000;

#[derive(Clone)]
pub(super) struct Publisher {
    recorder: Recorder,
}

impl Publisher {
    pub(super) fn new(client: kube::Client) -> Self {
        let reporter = Reporter { controller: MANAGER.to_owned(), instance: std::env::var("POD_NAME").ok() };
        Self { recorder: Recorder::new(client, reporter) }
    }

    pub(super) async fn publish(&self, work: &Work, notice: &Notice) -> kube::Result<()> {
        let group = ObjectReference {
            api_version: Some(LeaderGroup::api_version(&()).into_owned()),
            kind: Some(LeaderGroup::kind(&()).into_owned()),
            name: Some(work.group.name.clone()),
            namespace: Some(work.group.namespace.clone()),
            uid: Some(work.uid.clone()),
            ..ObjectReference::default()
        };
        let secondary = notice.pod.as_ref().map(|(name, uid)| ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(name.clone()),
            namespace: Some(work.group.namespace.clone()),
            uid: Some(uid.clone()),
            ..ObjectReference::default()
        });
        let event = Event {
            type_: if notice.warning { EventType::Warning } else { EventType::Normal },
            reason: notice.reason.clone(),
            note: Some(cut(notice.note.clone(), NOTE_MAX)),
            action: notice.action.clone(),
            secondary,
        };
        self.recorder.publish(&event, &group).await
    }
}
