//! The samples of `elector run` and of the library, applied with the test's programs in them: who leads is shown, and hands over at its end.

use anyhow::{Context, Result};
use leadergroup_api::TransitionReason;
use leadergroup_e2e::{GroupView, Session};

async fn a_leader_that_is_told_to_end_releases(group: &str, sample: &str) -> Result<()> {
    let promise = format!("the sample {group} hands over at its leader's end");
    let Some(session) = Session::with_kubelet(&promise).await? else { return Ok(()) };
    let place = session.namespace("samples").await?;
    let timeline = place.timeline().await?;
    place.apply_elector_sample(sample, "/workload").await?;
    place.kubectl(&["rollout", "status", &format!("deployment/{group}"), "--timeout=60s"]).await?;
    let leader = place.until_led(group).await?.leading_pod().context("nobody leads")?;

    place.delete_pod(&leader).await?;
    let next = place.until_led_by_another(group, &leader).await?;
    assert_eq!(next.reason(), Some(TransitionReason::Released), "{:?}", next.newest());
    timeline.assert_never_cleared(group);
    Ok(())
}

#[tokio::test]
async fn a_program_that_the_elector_runs() -> Result<()> {
    let sample = include_str!("../../../../config/samples/elector-run.yaml");
    a_leader_that_is_told_to_end_releases("reports", sample).await
}

#[tokio::test]
async fn a_program_with_the_library_in_it() -> Result<()> {
    let sample = include_str!("../../../../config/samples/elector-library.yaml");
    a_leader_that_is_told_to_end_releases("orders", sample).await
}
