//! Nobody but the person at this machine gets at what the dashboard shows, and nothing it shows does anything.

use anyhow::Result;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::browser::Browser;
use crate::place::{Dashboard, Place, led_by};

#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_is_shown_as_text() -> Result<()> {
    let Some(place) = Place::open("hostile").await? else { return Ok(()) };
    let evil = r#"</title>"><img src=x onerror="window.owned = true"><script>window.owned = true</script>"#;
    let mut status = led_by(evil, 1);
    status["leader"]["nodeName"] = json!(evil);
    status["holder"]["identity"] = json!(evil);
    status["holder"]["evidence"] = json!(evil);
    status["conditions"][0]["message"] = json!(evil);
    status["history"] = json!([{"leader": evil, "from": evil, "reason": "Taken", "time": "2026-11-25T12:00:00Z"}]);
    place.group("billing", status.clone()).await?;
    let dashboard = place.dashboard().await?;
    let browser = Browser::open(&dashboard.url, 1280).await?;
    for (url, shown) in [(String::new(), "#groups"), (format!("/groups/{}/billing", place.namespace), "#facts")] {
        browser.goto(&format!("{}{url}", dashboard.url)).await?;
        browser.until_text(shown, "window.owned = true").await?;
        // What comes by a change takes another way than what comes with the page.
        status["transitions"] = json!(status["transitions"].as_i64().unwrap_or_default() + 41);
        place.report("billing", status.clone()).await?;
        browser.until_text(shown, &status["transitions"].to_string()).await?;
        assert_eq!(browser.ask("window.owned ?? null").await?, json!(null));
        assert_eq!(browser.ask("document.querySelectorAll('main img, main script').length").await?, json!(0));
    }
    assert_eq!(browser.complaints().await?, [""; 0]);
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn other_sites_and_other_verbs_get_nothing() -> Result<()> {
    let Some(place) = Place::open("guard").await? else { return Ok(()) };
    place.group("billing", led_by("billing-a", 0)).await?;
    let dashboard = place.dashboard().await?;
    let own = dashboard.address().to_owned();

    let page = ask(&dashboard, "GET", "/", &format!("Host: {own}")).await?;
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("Groups"), "{page}");
    for header in ["content-security-policy: default-src 'self'", "x-frame-options: DENY", "cache-control: no-store"] {
        assert!(page.contains(header), "{header} is not in {page}");
    }
    let stolen = ask(&dashboard, "GET", "/", "Host: rebound.example").await?;
    assert!(stolen.starts_with("HTTP/1.1 403") && !stolen.contains("billing"), "{stolen}");
    let foreign = format!("Host: {own}\r\nOrigin: http://elsewhere.example");
    let foreign = ask(&dashboard, "GET", "/events", &foreign).await?;
    assert!(foreign.starts_with("HTTP/1.1 403"), "{foreign}");
    for verb in ["POST", "PUT", "DELETE", "PATCH"] {
        let answer = ask(&dashboard, verb, "/", &format!("Host: {own}")).await?;
        assert!(answer.starts_with("HTTP/1.1 405"), "{verb}: {answer}");
    }
    Ok(())
}

async fn ask(dashboard: &Dashboard, verb: &str, path: &str, headers: &str) -> Result<String> {
    let mut stream = TcpStream::connect(dashboard.address()).await?;
    stream.write_all(format!("{verb} {path} HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
