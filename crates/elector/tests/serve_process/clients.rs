//! Many clients, slow clients, clients that send nonsense.

use anyhow::Result;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{Events, get, send};
use crate::place::Place;

const MANY: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_cost_little_and_slow_ones_hold_up_nobody() -> Result<()> {
    let Some(place) = Place::open("many").await? else { return Ok(()) };
    let leader = place.candidate("billing-1").start().await?;
    leader.until_it_leads().await?;
    let before = leader.resident()?;
    // They never read.
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut client = TcpStream::connect(leader.address).await?;
        client.write_all(b"GET /v1/leadership/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        slow.push(client);
    }
    let mut clients = Vec::new();
    for _ in 0..MANY {
        clients.push(Events::follow(leader.address).await?);
    }
    assert_eq!(leader.post("/v1/step-down").await?.code, 200);
    for client in &mut clients {
        client.until("the loss is told", |event| event.data["leading"] == false).await?;
    }
    let cost = leader.resident()?.saturating_sub(before);
    eprintln!("{MANY} clients: {} KiB more", cost / 1024);
    assert!(cost < 16 << 20, "{cost} bytes for {MANY} clients");
    drop(clients);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn more_clients_than_there_is_room_for_are_turned_away_and_probes_are_not() -> Result<()> {
    let Some(place) = Place::open("full").await? else { return Ok(()) };
    let leader = place.candidate("billing-1").start().await?;
    leader.until_it_leads().await?;
    let mut clients = Vec::new();
    for _ in 0..512 {
        clients.push(Events::follow(leader.address).await?);
    }
    let answer = get(leader.address, "/v1/leadership/events").await?;
    assert_eq!(answer.code, 503, "{answer:?}");
    assert_eq!(leader.get("/healthz").await?.code, 200);
    clients.truncate(500);
    let again = async || Events::follow(leader.address).await.is_ok();
    leader.until("there is room again", again).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused_and_what_is_half_sent_holds_up_nobody() -> Result<()> {
    let Some(place) = Place::open("nonsense").await? else { return Ok(()) };
    let mut leader = place.candidate("billing-1").long_lease().start().await?;
    leader.until_it_leads().await?;
    let mut unfinished = TcpStream::connect(leader.address).await?;
    unfinished.write_all(b"GET /leader HTTP/1.1\r\nHos").await?;
    let closing = "Host: localhost\r\nConnection: close\r\n\r\n";
    let long = format!("GET /leader HTTP/1.1\r\nLong: {}\r\n{closing}", "x".repeat(1 << 20));
    for (request, code) in [
        ("\u{0}\u{1}\u{2} nonsense\r\n\r\n".to_owned(), Some(400)),
        (format!("GET /leader HTTP/9.9\r\n{closing}"), Some(400)),
        (format!("GET /../../etc/passwd HTTP/1.1\r\n{closing}"), Some(404)),
        (format!("POST /leader HTTP/1.1\r\n{closing}"), Some(405)),
        (format!("GET /v1/resign HTTP/1.1\r\n{closing}"), Some(405)),
        (format!("HEAD /leader HTTP/1.1\r\n{closing}"), Some(200)),
        (format!("POST /v1/resignation HTTP/1.1\r\nContent-Length: 99999999999\r\n{closing}"), Some(404)),
        (long, None),
    ] {
        let answer = send(leader.address, &request).await;
        let start: String = request.chars().take(40).collect();
        match code {
            Some(code) => assert_eq!(answer?.code, code, "{start:?}"),
            // Refused before all of it was read, the connection may break before the answer can be read.
            None => assert!(answer.map_or(true, |answer| answer.code == 431), "{start:?}"),
        }
        assert!(leader.leads().await, "{start:?}\n{}", leader.log());
    }
    leader.signal(leadergroup_cluster::Signal::TERM)?;
    assert_eq!(leader.ended().await?, Some(0), "an unfinished request does not keep it");
    assert_eq!(place.holder().await?, None);
    Ok(())
}
