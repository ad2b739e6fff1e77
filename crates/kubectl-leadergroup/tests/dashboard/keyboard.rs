//! The pages by keyboard alone.

use anyhow::Result;
use serde_json::json;
use thirtyfour::prelude::*;

use crate::browser::Browser;
use crate::place::{Place, led_by, with_history};

#[tokio::test(flavor = "multi_thread")]
async fn from_all_groups_to_one_along_its_timeline_and_back() -> Result<()> {
    let Some(place) = Place::open("keys").await? else { return Ok(()) };
    place.group("billing", with_history()).await?;
    place.group("invoices", led_by("invoices-a", 0)).await?;
    let dashboard = place.dashboard().await?;
    let browser = Browser::open(&dashboard.url, 1280).await?;
    browser.until_text("#groups", "invoices-a").await?;

    browser.press(Key::Tab).await?;
    assert_eq!(browser.focus().await?, "Skip to the content");
    browser.press(Key::Enter).await?;
    browser.press("/").await?;
    assert_eq!(browser.focus().await?, "filter");
    browser.press("bill").await?;
    browser.until_text("#matches", "1 of 2").await?;
    assert!(!browser.text("#groups").await?.contains("invoices"));

    browser.press(Key::Tab).await?;
    assert_eq!(browser.focus().await?, "billing");
    let outline = "getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(browser.ask(outline).await?, json!("solid"), "the focus is not to be seen");
    // A change of the row that has the focus leaves it there.
    place.report("billing", json!({"transitions": 77})).await?;
    browser.until_text("#groups", "77").await?;
    assert_eq!(browser.focus().await?, "billing");
    browser.press(Key::Enter).await?;
    browser.until_text("h1", "billing").await?;
    browser.until_text("#facts", "billing-b leads").await?;

    let tab_to = async |wanted: &str| -> Result<()> {
        for _ in 0..20 {
            if browser.focus().await?.contains(wanted) {
                return Ok(());
            }
            browser.press(Key::Tab).await?;
        }
        anyhow::bail!("no number of tabs leads to {wanted:?}")
    };
    tab_to("billing-a led from").await?;
    browser.until_text("#caption", "billing-a led from").await?;
    browser.press(Key::Right).await?;
    browser.until_text("#caption", "Nobody led from").await?;
    browser.press(Key::Right).await?;
    browser.until_text("#caption", "billing-b led since").await?;
    browser.press(Key::Home).await?;
    browser.until_text("#caption", "billing-a led from").await?;
    tab_to("The same as a table").await?;
    browser.press(Key::Enter).await?;
    browser.until_text("#timeline-table tbody tr:nth-child(2)", "nobody").await?;

    browser.goto(&format!("{}/groups/{}/billing", dashboard.url, place.namespace)).await?;
    tab_to("All groups").await?;
    browser.press(Key::Enter).await?;
    browser.until_text("#groups", "invoices-a").await?;
    assert_eq!(browser.complaints().await?, [""; 0]);
    browser.close().await
}
