//! What proves a holder dead on a real node, and what does not.
#![allow(missing_docs)]

use anyhow::Result;
use leadergroup_api::TransitionReason;
use leadergroup_e2e::{Candidates, Group, GroupView, Session};

#[tokio::test]
async fn a_leader_deleted_gracefully_is_cleared_at_once() -> Result<()> {
    let promise = "a leader that ended by its kubelet's word is cleared at once";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("graceful").await?;
    place.create(&Group::named("billing").build()).await?;
    place.run(&Candidates::named("billing").replicas(2).deployment()).await?;
    let leader = place.until_settled("billing").await?.metadata.name.unwrap_or_default();
    place.delete_pod(&leader).await?;
    let group = place.until_led_by_another("billing", &leader).await?;
    assert_eq!(group.reason(), Some(TransitionReason::Cleared), "{:?}", group.newest());
    Ok(())
}
