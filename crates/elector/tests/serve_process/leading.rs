//! Who leads, and how clients learn of it.

use anyhow::{Context, Result, ensure};
use leadergroup_cluster::Signal;
use serde_json::json;

use crate::client::{Events, boottime};
use crate::place::Place;

#[tokio::test(flavor = "multi_thread")]
async fn every_candidate_tells_who_leads() -> Result<()> {
    let Some(place) = Place::open("tells").await? else { return Ok(()) };
    let first = place.candidate("billing-1").start().await?;
    first.until_it_leads().await?;
    let second = place.candidate("billing-2").start().await?;
    second.until_it_follows(&first).await?;

    assert_eq!(first.get("/").await?.body, "{\"name\":\"billing-1\"}\n");
    assert_eq!(second.get("/").await?.body, "{\"name\":\"billing-1\"}\n");
    assert_eq!((first.get("/leader").await?.code, second.get("/leader").await?.code), (200, 503));
    for candidate in [&first, &second] {
        for probe in ["/healthz", "/readyz"] {
            let answer = candidate.get(probe).await?;
            assert_eq!((answer.code, answer.body.as_str()), (200, "ok\n"), "{probe}");
        }
    }

    let before = boottime();
    let view = first.view().await?;
    let after = boottime();
    assert_eq!(view["leading"], true, "{view}");
    assert_eq!(view["lease"], json!({"namespace": place.namespace, "name": "billing"}));
    let term = &view["term"];
    let (left, until) = (term["validForMilliseconds"].as_u64(), term["validUntilBoottimeMilliseconds"].as_u64());
    let (left, until) = (left.context("no time left")?, until.context("no end")?);
    assert!(before + left <= until && until <= after + left + 1, "{before} + {left} <= {until} <= {after} + {left}");
    assert!(left <= 3000, "valid for no longer than the renew deadline: {left}");
    let shown: jiff::Timestamp = term["validUntil"].as_str().context("no time of day")?.parse()?;
    assert!(shown.duration_since(jiff::Timestamp::now()).as_secs() <= 3, "{shown}");

    let view = second.view().await?;
    assert_eq!(
        (&view["leading"], &view["holder"], &view["term"]),
        (&json!(false), &json!(first.identity), &json!(null))
    );
    let head = first.get("/v1/leadership").await?.head;
    assert!(head.contains("content-type: application/json") && head.contains("cache-control: no-store"), "{head}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_followed_once_its_term_has_ended() -> Result<()> {
    let Some(place) = Place::open("killed").await? else { return Ok(()) };
    let first = place.candidate("billing-1").start().await?;
    first.until_it_leads().await?;
    let second = place.candidate("billing-2").start().await?;
    second.until_it_follows(&first).await?;
    let mut events = Events::follow(second.address).await?;
    let event = events.next().await?.context("no event")?;
    assert_eq!((event.name.as_str(), &event.data["holder"]), ("leadership", &json!(first.identity)), "what is so now");

    let term = first.view().await?["term"].clone();
    first.signal(Signal::KILL)?;
    let gained = events.until("it leads", |event| event.data["leading"] == true).await?;
    let until = term["validUntilBoottimeMilliseconds"].as_u64().context("no end")?;
    assert!(boottime() >= until, "the second leads while the first could have believed that it does");
    assert!(second.leads().await, "{}", second.log());
    assert_eq!(gained.name, "leadership");
    let (old, new) = (term["token"].as_u64(), gained.data["term"]["token"].as_u64());
    assert!(old.is_some() && old < new, "tokens grow: {old:?} {new:?}");
    assert_eq!(second.get("/").await?.body, "{\"name\":\"billing-2\"}\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn renewals_are_told_to_clients_of_the_leader() -> Result<()> {
    let Some(place) = Place::open("renewed").await? else { return Ok(()) };
    let leader = place.candidate("billing-1").start().await?;
    leader.until_it_leads().await?;
    let mut events = Events::follow(leader.address).await?;
    let mut until = 0;
    for name in ["leadership", "renewed", "renewed"] {
        let event = events.next().await?.context("the stream ended")?;
        assert_eq!(event.name, name, "{event:?}");
        let told = event.data["term"]["validUntilBoottimeMilliseconds"].as_u64().context("no end")?;
        ensure!(told > until, "{told} after {until}");
        until = told;
    }
    Ok(())
}
