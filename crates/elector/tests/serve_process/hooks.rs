//! Programs run when leadership begins and ends.

use anyhow::{Context, Result};
use leadergroup_cluster::Signal;

use crate::place::Place;
use crate::proxy::Proxy;

const NOTE: &str = r#"echo "$1 $ELECTOR_TOKEN $ELECTOR_LEASE $ELECTOR_IDENTITY $ELECTOR_HOLDER" >>$HERE/notes"#;
/// Waits for a file without a limit of its own.
const WAIT: &str = "until [ -e $HERE/go ]; do sleep 0.05; done";

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_is_released_only_after_the_loss_hook_has_ended() -> Result<()> {
    let Some(place) = Place::open("hooks").await? else { return Ok(()) };
    let gain = place.script("gain", NOTE)?;
    let loss = place.script("loss", &format!("{NOTE}\n{WAIT}\necho ended >>$HERE/notes"))?;
    let leader = place.candidate("billing-1").long_lease();
    let leader = leader.arg(format!("--on-gain={gain} gained")).arg(format!("--on-loss={loss} 'lost it'"));
    let leader = leader.arg("--hook-timeout=1h").start().await?;
    leader.until("the gain hook has run", async || place.lines("notes").len() == 1).await?;
    let token = leader.view().await?["term"]["token"].as_u64().context("no token")?;
    let told = format!("{token} billing {} {}", leader.identity, leader.identity);
    assert_eq!(place.lines("notes"), [format!("gained {told}")]);

    let resigning = tokio::spawn(crate::client::post(leader.orders, "/v1/resign"));
    leader.until("the loss hook runs", async || place.lines("notes").len() == 2).await?;
    assert_eq!(place.lines("notes")[1], format!("lost it {told}"));
    assert!(!leader.leads().await, "it told its clients before");
    assert_eq!(leader.view().await?["term"], serde_json::Value::Null);
    assert_eq!(leader.get("/").await?.body, "{\"name\":\"\"}\n");
    assert_eq!(place.holder().await?, Some(leader.identity.clone()), "not released yet");
    assert!(!resigning.is_finished(), "nor is the client told so");
    std::fs::write(place.file("go"), "")?;
    assert_eq!(resigning.await??.code, 200);
    assert_eq!(place.lines("notes").last().map(String::as_str), Some("ended"));
    assert_eq!(place.holder().await?, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_gain_hook_fails_leaves_it_to_another() -> Result<()> {
    let Some(place) = Place::open("gain-fails").await? else { return Ok(()) };
    let gain = place.script("gain", &format!("{NOTE}\nexit 3"))?;
    let loss = place.script("loss", NOTE)?;
    let healthy = place.candidate("billing-2").long_lease().start().await?;
    healthy.until_it_leads().await?;
    let broken = place.candidate("billing-1").long_lease();
    let broken = broken.arg(format!("--on-gain={gain} gain")).arg(format!("--on-loss={loss} loss")).start().await?;
    broken.until_it_follows(&healthy).await?;
    assert_eq!(healthy.post("/v1/step-down").await?.code, 200);
    healthy.until("it leads again", async || healthy.leads().await && place.lines("notes").len() >= 2).await?;
    let hooks: Vec<_> = place.lines("notes").iter().filter_map(|l| Some(l.split_once(' ')?.0.to_owned())).collect();
    assert_eq!(hooks, ["gain", "loss"]);
    assert!(broken.log().contains("the gain hook failed"), "{}", broken.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_hangs_is_killed_with_all_that_it_started() -> Result<()> {
    let Some(place) = Place::open("hangs").await? else { return Ok(()) };
    let gain = place.script("gain", "sleep 3600 & echo $! >>$HERE/sleeper\nwait")?;
    let candidate = place.candidate("billing-1").long_lease().arg(format!("--on-gain={gain}"));
    let candidate = candidate.arg("--hook-timeout=500ms").start().await?;
    candidate.until("the hook is killed", async || candidate.log().contains("did not end within 0.5 s")).await?;
    let sleeper = place.lines("sleeper").first().cloned().context("the hook did not run")?;
    let ended = async || {
        let status = std::fs::read_to_string(format!("/proc/{sleeper}/stat"));
        status.map_or(true, |status| status.contains(") Z "))
    };
    candidate.until("what it started is killed", ended).await?;
    candidate.until("it steps down", async || candidate.log().contains("Resigned")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_not_released_if_the_loss_hook_fails() -> Result<()> {
    let Some(place) = Place::open("loss-fails").await? else { return Ok(()) };
    let leader = place.candidate("billing-1").long_lease().arg("--on-loss=/nowhere/to-be-found");
    let mut leader = leader.start().await?;
    leader.until_it_leads().await?;
    leader.until("the gain is noted", async || leader.log().contains("leading")).await?;
    leader.signal(Signal::TERM)?;
    assert_eq!(leader.ended().await?, Some(1), "{}", leader.log());
    assert!(leader.log().contains("\"/nowhere/to-be-found\" can't be run"), "{}", leader.log());
    assert_eq!(place.holder().await?, Some(leader.identity.clone()), "work that was not ended is protected");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gain_hook_whose_term_is_lost_is_killed_before_the_loss_hook_runs() -> Result<()> {
    let Some(place) = Place::open("cut-short").await? else { return Ok(()) };
    let proxy = Proxy::start(place.kubeconfig.clone()).await?;
    let gain = place.script("gain", &format!("echo gain >>$HERE/notes\n{WAIT}\necho late >>$HERE/notes"))?;
    let loss = place.script("loss", "touch $HERE/go\nsleep 0.3\necho loss >>$HERE/notes")?;
    let leader = place.candidate("billing-1").kubeconfig(proxy.kubeconfig.clone()).arg("--hook-timeout=1h");
    let leader = leader.arg(format!("--on-gain={gain}")).arg(format!("--on-loss={loss}")).start().await?;
    leader.until("the gain hook runs", async || !place.lines("notes").is_empty()).await?;
    proxy.cut();
    leader.until("the loss hook has run", async || place.lines("notes").len() > 1).await?;
    assert_eq!(place.lines("notes"), ["gain", "loss"]);
    Ok(())
}
