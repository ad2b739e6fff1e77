//! An API server out of reach, rights that lack, arguments that can't be used.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use leadergroup_cluster::Signal;
use rustix::process::{Pid, kill_process};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use crate::client::Events;
use crate::place::{PATIENCE, Place};
use crate::proxy::Proxy;

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_out_of_reach_ends_leadership_but_not_the_candidate() -> Result<()> {
    let Some(place) = Place::open("outage").await? else { return Ok(()) };
    let proxy = Proxy::start(place.kubeconfig.clone()).await?;
    let candidate = place.candidate("billing-1").kubeconfig(proxy.kubeconfig.clone()).start().await?;
    candidate.until_it_leads().await?;
    let mut events = Events::follow(candidate.address).await?;
    proxy.cut();
    let lost = events.until("it leads no more", |event| event.data["leading"] == false).await?;
    assert_eq!(lost.data["holder"], candidate.identity, "as far as is known, it still holds the Lease");
    assert!(!candidate.leads().await);
    assert_eq!(candidate.get("/").await?.body, "{\"name\":\"\"}\n", "clients that compare names must not lead");
    let health = candidate.get("/healthz").await?;
    assert_eq!(health.code, 200, "a restart would help nobody: {health:?}");
    assert!(health.body.starts_with("ok, but this candidate could not"), "{health:?}");
    assert_eq!(candidate.get("/readyz").await?.code, 200);
    assert!(candidate.view().await?["problem"].is_string());
    proxy.mend();
    events.until("it leads again", |event| event.data["leading"] == true).await?;
    let healthy = async || candidate.get("/healthz").await.is_ok_and(|answer| answer.body == "ok\n");
    candidate.until("all is well", healthy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn leads_and_renews_after_absurd_times() -> Result<()> {
    let Some(place) = Place::open("absurd").await? else { return Ok(()) };
    // The API server takes this time in, and sends it with the year 10000, which it does not take back.
    let absurd = "9999-12-31T23:59:59.999999-14:00";
    let held = json!({"holderIdentity": "another", "leaseDurationSeconds": 1, "leaseTransitions": i32::MAX,
        "acquireTime": absurd, "renewTime": absurd});
    place.create_lease(held).await?;
    let candidate = place.candidate("billing-1").start().await?;
    candidate.until_it_leads().await?;
    let mut events = Events::follow(candidate.address).await?;
    for _ in 0..2 {
        events.until("it renews", |event| event.name == "renewed").await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_without_rights_is_alive_but_not_ready() -> Result<()> {
    let Some(place) = Place::open("rights").await? else { return Ok(()) };
    let mut kubeconfig = place.kubeconfig.clone();
    let user = kubeconfig.auth_infos.first_mut().and_then(|named| named.auth_info.as_mut()).context("no user")?;
    user.impersonate = Some(format!("system:serviceaccount:{}:nobody", place.namespace));
    let candidate = place.candidate("billing-1").kubeconfig(kubeconfig).start().await?;
    let told = async || candidate.get("/readyz").await.is_ok_and(|a| a.code == 503 && a.body.contains("may not"));
    candidate.until("it says what it may not do", told).await?;
    assert_eq!(candidate.get("/healthz").await?.code, 200);
    assert!(candidate.log().contains("kind: RoleBinding"), "{}", candidate.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_cant_be_used_are_named() -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = format!("--address={}", taken.local_addr()?);
    let orders_address = format!("--orders-address={}", taken.local_addr()?);
    for (argument, told) in [
        (address.as_str(), "set --address"),
        ("--on-gain=echo 'open", "a quote is not closed"),
        ("--on-loss=", "it names no program"),
        ("--hook-timeout=soon", "write it as in 15s"),
        ("--address=localhost", "--address"),
        (orders_address.as_str(), "set --orders-address"),
        ("--orders-address=0.0.0.0:4041", "on loopback only"),
        ("--orders-address=[::]:4041", "on loopback only"),
        ("--orders-address=10.0.0.1:4041", "on loopback only"),
        ("--orders-address=localhost:4041", "write it as in 127.0.0.1:4041"),
    ] {
        let elector = Command::new(env!("CARGO_BIN_EXE_elector"))
            .args(["serve", "--lease=billing", "--namespace=nowhere", argument])
            // Free ports, unless the argument names one.
            .envs([("ELECTOR_ADDRESS", "127.0.0.1:0"), ("ELECTOR_ORDERS_ADDRESS", "127.0.0.1:0")])
            .env("KUBECONFIG", "/nowhere/kubeconfig")
            .output()?;
        let message = String::from_utf8_lossy(&elector.stderr);
        assert!(!elector.status.success() && message.contains(told), "{argument}: {message}");
    }
    Ok(())
}

#[tokio::test]
async fn longest_drain_is_no_mistake() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let kubeconfig = folder.path().join("kubeconfig");
    // Nobody answers there.
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": {}}],
    });
    std::fs::write(&kubeconfig, config.to_string())?;
    let mut elector = tokio::process::Command::new(env!("CARGO_BIN_EXE_elector"))
        .args(["serve", "--lease=billing", "--namespace=nowhere", "--drain=2562047788015215h"])
        .envs([("ELECTOR_ADDRESS", "127.0.0.1:0"), ("ELECTOR_ORDERS_ADDRESS", "127.0.0.1:0")])
        .env("KUBECONFIG", &kubeconfig)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(elector.stderr.take().context("no standard error")?).lines();
    while !lines.next_line().await?.context("it ended")?.contains("serving") {}
    let id = elector.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).context("it ended")?;
    kill_process(id, Signal::TERM)?;
    let ended = timeout(PATIENCE, elector.wait()).await.context("it does not end")??;
    assert_eq!(ended.code(), Some(0), "a standby has nothing to drain");
    Ok(())
}
