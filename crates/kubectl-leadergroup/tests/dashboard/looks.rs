//! Light and dark, wide and narrow.

use anyhow::Result;
use serde_json::json;

use crate::browser::Browser;
use crate::place::{Place, with_history};

#[tokio::test(flavor = "multi_thread")]
async fn the_page_follows_the_readers_choice_of_light_or_dark() -> Result<()> {
    let Some(place) = Place::open("dark").await? else { return Ok(()) };
    place.group("billing", with_history()).await?;
    let dashboard = place.dashboard().await?;
    let browser = Browser::open(&format!("{}/groups/{}/billing", dashboard.url, place.namespace), 1280).await?;
    browser.until_text("#facts", "billing-b leads").await?;
    for (scheme, is_dark) in [("light", false), ("dark", true)] {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        browser.devtools("Emulation.setEmulatedMedia", features).await?;
        let backs = async |selector: &str| luminance(&browser, selector, "backgroundColor").await;
        assert_eq!((backs("body").await? < 0.1, backs(".card").await? < 0.1), (is_dark, is_dark), "{scheme}");
        for (text, back) in [("h1", "body"), (".quiet", ".card"), (".badge", ".badge"), ("#back", "body")] {
            let ratio = contrast(luminance(&browser, text, "color").await?, backs(back).await?);
            assert!(ratio >= 4.5, "{scheme}: {text} has a contrast of {ratio:.1}");
        }
        for holder in ["0", "1"] {
            let chip = format!(".chip.holder-{holder}");
            let ratio = contrast(luminance(&browser, &chip, "color").await?, backs(&chip).await?);
            assert!(ratio >= 4.5, "{scheme}: the number of a holder has a contrast of {ratio:.1}");
            let ratio = contrast(backs(&chip).await?, backs(".card").await?);
            assert!(ratio >= 3.0, "{scheme}: a holder's colour has a contrast of {ratio:.1}");
        }
    }
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_cut_off_on_a_narrow_screen() -> Result<()> {
    let Some(place) = Place::open("narrow").await? else { return Ok(()) };
    let mut status = with_history();
    let long = format!("billing-{}", "a".repeat(220));
    status["leader"]["podName"] = json!(long);
    status["history"][0]["leader"] = json!(long);
    status["holder"]["evidence"] = json!(format!("pod {long} runs"));
    place.group("billing", status).await?;
    let dashboard = place.dashboard().await?;
    let browser = Browser::open(&dashboard.url, 400).await?;
    for (url, shown) in [(String::new(), "#groups"), (format!("/groups/{}/billing", place.namespace), "#facts")] {
        browser.goto(&format!("{}{url}", dashboard.url)).await?;
        browser.until_text(shown, "billing-aaa").await?;
        let too_wide = "[...document.querySelectorAll('html, section, td')]
            .filter((it) => it.scrollWidth > it.clientWidth + 1 && getComputedStyle(it).textOverflow !== 'ellipsis')
            .map((it) => it.id || it.outerHTML)";
        assert_eq!(browser.ask(too_wide).await?, json!([]), "of {url}");
    }
    browser.close().await
}

/// How bright a colour is, as WCAG 2 counts.
async fn luminance(browser: &Browser, selector: &str, property: &str) -> Result<f64> {
    let style = format!("getComputedStyle(document.querySelector('{selector}')).{property}");
    let colour = browser.ask(&format!("{style}.match(/[0-9.]+/g).slice(0, 3).map(Number)")).await?;
    let channel = |value: f64| {
        let value = value / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    let channels: Vec<f64> = serde_json::from_value(colour)?;
    Ok([0.2126, 0.7152, 0.0722].iter().zip(channels).map(|(weight, value)| weight * channel(value)).sum())
}

fn contrast(one: f64, other: f64) -> f64 {
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}
