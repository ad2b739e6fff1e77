//! SIGTERM, and clients that ask for it.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::{Context, Result};
use leadergroup_cluster::Signal;

use crate::client::{self, Events};
use crate::place::Place;

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_leader_releases_at_once_and_ends_its_streams() -> Result<()> {
    let Some(place) = Place::open("terminated").await? else { return Ok(()) };
    let mut first = place.candidate("billing-1").long_lease().start().await?;
    first.until_it_leads().await?;
    let second = place.candidate("billing-2").long_lease().start().await?;
    second.until_it_follows(&first).await?;
    let mut events = Events::follow(first.address).await?;
    events.until("it leads", |event| event.data["leading"] == true).await?;

    first.signal(Signal::TERM)?;
    second.until_it_leads().await?;
    assert_eq!(first.ended().await?, Some(0), "{}", first.log());
    let mut last = events.next().await?.context("the loss is not told")?;
    assert_eq!(last.data["leading"], false, "{last:?}");
    while let Some(event) = events.next().await? {
        assert_eq!(event.data["leading"], false, "{event:?}");
        last = event;
    }
    assert_eq!(last.data["campaigning"], false, "{last:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_resigned_has_released_when_it_answers_and_never_leads_again() -> Result<()> {
    let Some(place) = Place::open("resigned").await? else { return Ok(()) };
    let mut first = place.candidate("billing-1").long_lease().start().await?;
    first.until_it_leads().await?;
    let answer = first.post("/v1/resign").await?;
    assert_eq!(answer.code, 200, "{answer:?}");
    assert_eq!(place.holder().await?, None);
    let view = first.view().await?;
    assert!(view["leading"] == false && view["campaigning"] == false, "{view}");
    assert_eq!((first.get("/healthz").await?.code, first.get("/readyz").await?.code), (200, 503));
    assert_eq!(first.get("/").await?.body, "{\"name\":\"\"}\n");
    assert_eq!(first.post("/v1/resign").await?.code, 200, "asked again, it has done it already");
    assert_eq!(first.post("/v1/step-down").await?.code, 200);

    let second = place.candidate("billing-2").long_lease().start().await?;
    second.until_it_leads().await?;
    assert_eq!(second.post("/v1/resign").await?.code, 200);
    assert_eq!(place.holder().await?, None, "nobody is left who campaigns");
    first.signal(Signal::TERM)?;
    assert_eq!(first.ended().await?, Some(0), "{}", first.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_steps_down_campaigns_on_after_the_others() -> Result<()> {
    let Some(place) = Place::open("stepped").await? else { return Ok(()) };
    let first = place.candidate("billing-1").long_lease().start().await?;
    first.until_it_leads().await?;
    let second = place.candidate("billing-2").long_lease().start().await?;
    second.until_it_follows(&first).await?;
    assert_eq!(second.post("/v1/step-down").await?.code, 200, "a standby has nothing to give up");
    assert!(first.leads().await);

    assert_eq!(first.post("/v1/step-down").await?.code, 200);
    second.until_it_leads().await?;
    first.until_it_follows(&second).await?;
    assert_eq!(second.post("/v1/step-down").await?.code, 200);
    first.until_it_leads().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_leader_leads_on_until_its_program_resigns() -> Result<()> {
    let Some(place) = Place::open("drain").await? else { return Ok(()) };
    let mut first = place.candidate("billing-1").long_lease().arg("--drain=1h").start().await?;
    first.until_it_leads().await?;
    first.signal(Signal::TERM)?;
    first.until("it says that it drains", async || first.log().contains("leading on for up to")).await?;
    assert!(first.leads().await, "{}", first.log());
    assert_eq!(place.holder().await?, Some(first.identity.clone()));
    assert_eq!(first.post("/v1/resign").await?.code, 200);
    assert_eq!(first.ended().await?, Some(0), "{}", first.log());
    assert_eq!(place.holder().await?, None);

    let mut second = place.candidate("billing-2").long_lease().arg("--drain=1h").start().await?;
    second.until_it_leads().await?;
    let mut standby = place.candidate("billing-3").long_lease().arg("--drain=1h").start().await?;
    standby.until_it_follows(&second).await?;
    standby.signal(Signal::TERM)?;
    assert_eq!(standby.ended().await?, Some(0), "a standby has nothing to drain");
    second.signal(Signal::TERM)?;
    second.until("it says that it drains", async || second.log().contains("leading on for up to")).await?;
    second.signal(Signal::TERM)?;
    assert_eq!(second.ended().await?, Some(0), "a second SIGTERM ends the drain");
    assert_eq!(place.holder().await?, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_taken_at_their_own_address_only() -> Result<()> {
    let Some(place) = Place::open("loopback").await? else { return Ok(()) };
    let leader = place.candidate("billing-1").everywhere().start().await?;
    leader.until_it_leads().await?;
    assert!(leader.log().contains("WARN serving beyond this pod"), "{}", leader.log());
    for path in ["/v1/resign", "/v1/step-down"] {
        let answer = client::post(leader.address, path).await?;
        assert_eq!(answer.code, 403, "{path}");
        assert!(answer.body.contains(&leader.orders.to_string()), "{answer:?}");
        assert_eq!(client::get(leader.orders, path).await?.code, 405, "{path}");
    }
    if let Some(ip) = own_address() {
        let address = SocketAddr::new(ip, leader.address.port());
        assert_eq!(client::post(address, "/v1/resign").await?.code, 403);
        assert_eq!(client::get(address, "/leader").await?.code, 200);
        assert!(client::post(SocketAddr::new(ip, leader.orders.port()), "/v1/resign").await.is_err());
    }
    assert!(leader.leads().await, "{}", leader.log());
    assert_eq!(leader.post("/v1/resign").await?.code, 200);
    Ok(())
}

/// An address of this machine other than loopback, if it has one. Nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Any address beyond this machine, or else the one of the test cluster's node.
    ["192.0.2.1:9", "10.87.0.2:9"].iter().find_map(|target| {
        socket.connect(target).ok()?;
        socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback())
    })
}
