//! What the page says when something is missing or does not answer.

use anyhow::Result;
use leadergroup_cluster::{Component, Signal};

use crate::browser::Browser;
use crate::place::{Place, led_by};

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_api_server_is_told_and_the_page_goes_on_when_it_is_back() -> Result<()> {
    let Some(place) = Place::open_alone("outage").await? else { return Ok(()) };
    place.group("billing", led_by("billing-a", 0)).await?;
    let dashboard = place.dashboard().await?;
    let browser = Browser::open(&dashboard.url, 1280).await?;
    browser.until_text("#groups", "billing-a").await?;
    browser.until_text("#pulse", "Live").await?;

    let cluster = place.cluster.clone();
    tokio::task::spawn_blocking(move || cluster.stop(Component::KubeApiserver)).await??;
    let told = async {
        browser.until_text("#lost", "Connection to the cluster lost").await?;
        browser.until_text("#pulse", "Not live").await?;
        // What was known stays.
        browser.until_text("#groups", "billing-a").await
    };
    let told = told.await;
    let cluster = place.cluster.clone();
    tokio::task::spawn_blocking(move || cluster.start(Component::KubeApiserver)).await??;
    told?;

    browser.until("the banner goes", "document.getElementById('lost') === null").await?;
    place.report("billing", led_by("billing-b", 1)).await?;
    browser.until_text("#groups", "billing-b").await?;
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_hangs_is_told_too() -> Result<()> {
    let Some(place) = Place::open_alone("hang").await? else { return Ok(()) };
    place.group("billing", led_by("billing-a", 0)).await?;
    let dashboard = place.dashboard().await?;
    let browser = Browser::open(&dashboard.url, 1280).await?;
    browser.until_text("#groups", "billing-a").await?;
    // Its connections stay, and nothing comes on them.
    place.cluster.signal(Component::KubeApiserver, Signal::STOP)?;
    let told = browser.until_text("#lost", "Connection to the cluster lost").await;
    place.cluster.signal(Component::KubeApiserver, Signal::CONT)?;
    told?;
    browser.until("the banner goes", "document.getElementById('lost') === null").await?;
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dashboard_that_ended_is_told_and_the_page_goes_on_with_the_next() -> Result<()> {
    let Some(place) = Place::open("ended").await? else { return Ok(()) };
    place.group("billing", led_by("billing-a", 0)).await?;
    place.group("gone", led_by("gone-a", 0)).await?;
    let dashboard = place.dashboard().await?;
    let port = dashboard.port()?;
    let browser = Browser::open(&dashboard.url, 1280).await?;
    browser.until_text("#groups", "gone-a").await?;

    dashboard.end().await?;
    browser.until_text("#unreachable", "The dashboard doesn't answer").await?;
    place.groups().delete("gone", &kube::api::DeleteParams::default()).await?;
    place.report("billing", led_by("billing-b", 1)).await?;
    let _dashboard = place.dashboard_as("viewer", port).await?;
    browser.until_text("#groups", "billing-b").await?;
    browser.until("the banner goes", "document.getElementById('unreachable').hidden").await?;
    browser.until("the deleted group goes", "document.querySelectorAll('#groups tr').length === 1").await?;
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_nothing_to_see_it_says_what_to_do() -> Result<()> {
    let Some(place) = Place::open("empty").await? else { return Ok(()) };
    let dashboard = place.dashboard().await?;
    let browser = Browser::open(&dashboard.url, 1280).await?;
    browser.until_text("#nothing", "There are no groups in namespace").await?;
    browser.until_text("#nothing", "kind: LeaderGroup").await?;
    place.group("billing", led_by("billing-a", 0)).await?;
    browser.until_text("#groups", "billing-a").await?;
    browser.until("the advice goes", "document.getElementById('nothing') === null").await?;

    let refused = place.dashboard_as("nobody", 0).await?;
    browser.goto(&refused.url).await?;
    browser.until_text("#nothing", "You may not see these groups").await?;
    browser.until_text("#nothing", "cannot list resource").await?;
    browser.until_text("#nothing", "create role leadergroup-view").await?;
    assert_eq!(browser.complaints().await?, [""; 0]);
    browser.close().await
}
