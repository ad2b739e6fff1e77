//! Chromium, driven by its driver.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::prelude::*;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout};

use crate::place::PATIENCE;

const CHROMIUM: &str = "/usr/bin/chromium";
const DRIVER: &str = "/usr/bin/chromedriver";
/// Between two looks at the page, which does not tell of its changes.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A browser with one window, closed when this is dropped.
pub struct Browser {
    driver: WebDriver,
    _child: Child,
    _output: Lines<BufReader<ChildStdout>>,
    _profile: TempDir,
}

/// Installs it where that is possible, and says what to install otherwise.
async fn installed() -> Result<()> {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let install = || async {
        if !(Path::new(CHROMIUM).exists() && Path::new(DRIVER).exists()) {
            let install = || leadergroup_cluster::install_packages(&["chromium", "chromium-driver"]);
            tokio::task::spawn_blocking(install).await??;
        }
        ensure!(
            Path::new(DRIVER).exists(),
            "{DRIVER} is needed to test the dashboard: install chromium and its driver"
        );
        Ok(())
    };
    INSTALLED.get_or_try_init(install).await.map(|&()| ())
}

impl Browser {
    /// Opens a page in a window of that width.
    pub async fn open(url: &str, width: u32) -> Result<Self> {
        installed().await?;
        let mut child = Command::new(DRIVER)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("can't start {DRIVER}"))?;
        let mut output = BufReader::new(child.stdout.take().context("the driver has no output")?).lines();
        let port = timeout(PATIENCE, port(&mut output)).await.context("the driver does not start")??;
        let profile = TempDir::new()?;
        let mut capabilities = DesiredCapabilities::chrome();
        capabilities.set_binary(CHROMIUM)?;
        let window = format!("--window-size={width},900");
        let profile_flag = format!("--user-data-dir={}", profile.path().display());
        for flag in [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &window,
            &profile_flag,
        ] {
            capabilities.add_arg(flag)?;
        }
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities).await?;
        let browser = Self { driver, _child: child, _output: output, _profile: profile };
        // Headless windows have a smallest width; the page's own is what counts.
        let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        browser.devtools("Emulation.setDeviceMetricsOverride", metrics).await?;
        browser.driver.goto(url).await?;
        Ok(browser)
    }

    pub async fn goto(&self, url: &str) -> Result<()> {
        Ok(self.driver.goto(url).await?)
    }

    /// A command of the browser's own protocol.
    pub async fn devtools(&self, method: &str, parameters: Value) -> Result<Value> {
        Ok(self.driver.cdp().send_raw(method, parameters).await?)
    }

    /// What an expression says in the page.
    pub async fn ask(&self, expression: &str) -> Result<Value> {
        let answer = self.driver.execute(format!("return ({expression})"), Vec::new()).await?;
        Ok(answer.json().clone())
    }

    /// The text that is to be seen of the first element that a selector matches, on one line; empty if none does.
    pub async fn text(&self, selector: &str) -> Result<String> {
        Ok(self.ask(&text_of(selector)).await?.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until that text is to be seen.
    pub async fn until_text(&self, selector: &str, text: &str) -> Result<()> {
        let wanted = format!("{selector} says {text:?}");
        self.until(&wanted, &format!("({}).includes({})", text_of(selector), json!(text))).await
    }

    /// Waits until an expression is true in the page; what is wanted is a sentence for when it does not come true.
    pub async fn until(&self, wanted: &str, expression: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if self.ask(expression).await? == Value::Bool(true) {
                return Ok(());
            }
            sleep(LOOK_AGAIN).await;
        }
        let page = self.text("body").await?;
        anyhow::bail!("not within {} s: {wanted}. The page says:\n{page}", PATIENCE.as_secs())
    }

    /// Presses keys, wherever the focus is.
    pub async fn press(&self, keys: impl Into<TypingData>) -> Result<()> {
        Ok(self.driver.action_chain().send_keys(keys.into()).perform().await?)
    }

    /// What has the focus: its label or text, or its name where it has none.
    pub async fn focus(&self) -> Result<String> {
        let name = "it === document.body ? '' : it.getAttribute('aria-label') || it.innerText || it.id || it.tagName";
        let focus = self.ask(&format!("((it) => {name})(document.activeElement)")).await?;
        Ok(focus.as_str().unwrap_or_default().trim().to_owned())
    }

    /// What the browser complains of: errors of scripts, and what the page's policy forbids.
    pub async fn complaints(&self) -> Result<Vec<String>> {
        let log = self.driver.browser_log().await?;
        Ok(log.into_iter().filter(|entry| entry.level == "SEVERE").map(|entry| entry.message).collect())
    }

    /// Closes it. A browser that is not closed goes with its driver.
    pub async fn close(self) -> Result<()> {
        Ok(self.driver.quit().await?)
    }
}

fn text_of(selector: &str) -> String {
    let seen = "it?.checkVisibility() ? it.innerText.replace(/\\s+/g, ' ') : ''";
    format!("((it) => {seen})(document.querySelector({}))", json!(selector))
}

async fn port(output: &mut Lines<BufReader<ChildStdout>>) -> Result<u16> {
    while let Some(line) = output.next_line().await? {
        if let Some((_, port)) = line.trim_end_matches('.').rsplit_once("started successfully on port ") {
            return Ok(port.parse()?);
        }
    }
    anyhow::bail!("the driver ended before it said on which port it listens")
}
