//! Kubeconfig files, and the API through kubectl.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::certs::Identity;
use crate::process::search_path;

/// A kubeconfig with everything it needs inside, so that it can be copied elsewhere.
pub(crate) fn render(server: &str, authority: &str, user: &str, identity: &Identity) -> Result<String> {
    let name = "leadergroup";
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {
            "server": server,
            "certificate-authority-data": base64(authority.as_bytes()),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate-data": base64(identity.certificate.as_bytes()),
            "client-key-data": base64(identity.key.as_bytes()),
        }}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    });
    serde_yaml_ng::to_string(&config).context("cannot write a kubeconfig as YAML")
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// kubectl with the administrator's kubeconfig.
#[derive(Debug, Clone)]
pub(crate) struct Kubectl {
    pub(crate) program: PathBuf,
    pub(crate) kubeconfig: PathBuf,
}

impl Kubectl {
    /// Runs kubectl with `input` and returns what it wrote.
    pub(crate) fn run(&self, args: &[&str], input: &str) -> Result<String> {
        let what = || format!("kubectl {}", args.join(" "));
        let output = self.output(args, input).with_context(what)?;
        ensure!(output.status.success(), "{} failed: {}", what(), String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Whether the API server says that it is ready.
    pub(crate) fn api_is_ready(&self) -> bool {
        self.output(&["get", "--raw=/readyz", "--request-timeout=2s"], "").is_ok_and(|output| output.status.success())
    }

    fn output(&self, args: &[&str], input: &str) -> Result<Output> {
        let cache = self.kubeconfig.parent().unwrap_or(Path::new("/"));
        let mut child = Command::new(&self.program)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            // What kubectl caches of this API must not outlive it.
            .arg("--cache-dir")
            .arg(cache.join("data/kubectl"))
            .args(args)
            .env_clear()
            .env("PATH", search_path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // kubectl may end without reading everything; its own message says why.
            let _ = stdin.write_all(input.as_bytes());
        }
        child.wait_with_output().context("cannot read kubectl's output")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_holds_the_identity() {
        let identity = Identity { certificate: "certificate".into(), key: "key".into() };
        let text = render("https://127.0.0.1:6443", "authority", "admin", &identity).unwrap();
        let read: serde_json::Value = serde_yaml_ng::from_str(&text).unwrap();
        assert_eq!(read["clusters"][0]["cluster"]["server"], "https://127.0.0.1:6443");
        assert_eq!(read["users"][0]["user"]["client-key-data"], "a2V5");
        assert_eq!(read["contexts"][0]["name"], read["current-context"]);
    }
}
