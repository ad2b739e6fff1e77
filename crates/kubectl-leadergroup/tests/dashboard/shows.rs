//! What the pages show, and that it changes as the cluster does.

use anyhow::Result;
use serde_json::json;

use crate::browser::Browser;
use crate::place::{Place, led_by, ready, with_history};

#[tokio::test(flavor = "multi_thread")]
async fn a_change_in_the_cluster_shows_without_loading_the_page_again() -> Result<()> {
    let Some(place) = Place::open("live").await? else { return Ok(()) };
    place.group("billing", led_by("billing-a", 4)).await?;
    let leaderless = ready("False", "NoCandidates", "no candidate exists");
    place.group("invoices", json!({"conditions": [leaderless]})).await?;
    let dashboard = place.dashboard().await?;
    let browser = Browser::open(&dashboard.url, 1280).await?;

    let billing = format!("[id=\"group/{}/billing\"]", place.namespace);
    browser.until_text(&billing, "billing-a").await?;
    let row = browser.text(&billing).await?;
    for part in ["billing", &place.namespace, "node-1", "Ready", "2/3", "4", "2 min. ago", "Alive"] {
        assert!(row.contains(part), "{part} is not in {row:?}");
    }
    let since = browser.ask(&format!("document.querySelector('{billing} time').title")).await?;
    assert!(since.as_str().is_some_and(|since| since.starts_with("20") && since.ends_with("UTC")), "{since}");
    browser.until_text("#summary", "1 ready").await?;
    browser.until_text("#summary", "1 not ready").await?;

    // What is set on the page is lost where it is loaded again.
    browser.ask("window.loadedOnce = true").await?;
    let below = format!("document.getElementById('group/{}/invoices').getBoundingClientRect().top", place.namespace);
    let before = browser.ask(&below).await?;
    place.report("billing", led_by("billing-b", 5)).await?;
    browser.until_text(&billing, "billing-b").await?;
    browser.until_text(&billing, "5").await?;
    browser.until_text("#say", "billing: Ready, led by billing-b").await?;
    assert_eq!(browser.ask(&below).await?, before, "the rows below moved");

    place.group("another", led_by("another-a", 0)).await?;
    browser
        .until("the new group is the first", "document.querySelector('#groups tr').innerText.includes('another')")
        .await?;
    place.groups().delete("invoices", &kube::api::DeleteParams::default()).await?;
    browser.until("the deleted group is gone", "document.querySelectorAll('#groups tr').length === 2").await?;
    assert_eq!(browser.ask("window.loadedOnce").await?, json!(true));
    assert_eq!(browser.complaints().await?, [""; 0]);
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_shows_its_candidates_and_who_led_when() -> Result<()> {
    let Some(place) = Place::open("group").await? else { return Ok(()) };
    place.group("billing", with_history()).await?;
    place.candidate("billing", "billing-b").await?;
    let dashboard = place.dashboard().await?;
    let url = format!("{}/groups/{}/billing", dashboard.url, place.namespace);
    let browser = Browser::open(&url, 1280).await?;

    browser.until_text("#facts", "billing-b leads, since 2 min. ago").await?;
    browser.until_text("#facts", "pod billing-b runs on a ready node").await?;
    browser.until_text("#conditions", "A candidate leads").await?;
    browser.until_text("#history", "the leader before was proven dead and cleared").await?;
    browser.until_text("#candidates", "billing-b").await?;
    place.candidate("billing", "billing-c").await?;
    browser.until_text("#candidates", "billing-c").await?;

    // a led for 460 s, nobody for 20, and b leads for 120 so far.
    let kinds = "[...document.querySelectorAll('.segment')].map((it) => it.id.split('-')[0])";
    assert_eq!(browser.ask(kinds).await?, json!(["term", "gap", "term"]));
    let widths = "[...document.querySelectorAll('.segment rect')].map((it) => parseFloat(it.getAttribute('width')))";
    let widths: Vec<f64> = serde_json::from_value(browser.ask(widths).await?)?;
    assert!((widths[0] / widths[1] - 23.0).abs() < 0.1, "{widths:?}");
    browser.until_text(".legend", "Nobody 20 s").await?;

    // As time goes on the last segment grows, although nothing changes in the cluster.
    let share = "parseFloat([...document.querySelectorAll('.segment rect')].at(-1).getAttribute('width'))";
    let before = browser.ask(share).await?;
    browser.until("the present term grows", &format!("{share} > {before}")).await?;

    let mut next = with_history();
    next["history"][0]["leader"] = json!("billing-c");
    place.report("billing", next).await?;
    browser.until_text(".legend", "billing-c").await?;
    assert_eq!(browser.complaints().await?, [""; 0]);

    place.groups().delete("billing", &kube::api::DeleteParams::default()).await?;
    browser.until_text("main", "There is no group of this name").await?;
    browser.close().await
}
