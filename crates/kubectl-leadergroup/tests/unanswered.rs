//! What becomes of commands that an API server never answers: it accepts connections, and says nothing.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::timeout;

/// How long a command may take that is to give up after a second.
const PATIENCE: Duration = Duration::from_secs(8);

#[tokio::test]
async fn no_command_waits_longer_than_it_was_told_to() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let held = tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((connection, _)) = server.accept().await {
            connections.push(connection);
        }
    });
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    let content = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": format!("http://{address}")}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "users": [{"name": "me", "user": {}}],
    });
    std::fs::write(kubeconfig.path(), content.to_string()).unwrap();
    for (args, code, told) in [
        (&["wait", "billing", "--timeout", "1s"][..], 3, "the cluster has not answered in time"),
        (&["wait", "billing", "--for=stable", "--timeout", "1s"], 3, "the cluster has not answered in time"),
        (&["wait", "billing", "--timeout", "0s", "--request-timeout", "1s"], 1, "it did not answer within 1s"),
        (&["step-down", "billing", "--timeout", "1s", "--yes"], 1, "has not answered within 1s, and nothing was done"),
        (&["promote", "billing", "a", "--timeout", "1s"], 1, "has not answered within 1s, and nothing was done"),
        (&["list", "--request-timeout", "1"], 1, "it did not answer within 1s"),
        (&["status", "billing", "--request-timeout", "1s"], 1, "it did not answer within 1s"),
        (&["doctor", "--request-timeout", "1s"], 1, "it did not answer within 1s"),
    ] {
        let start = Instant::now();
        let command = Command::new(env!("CARGO_BIN_EXE_kubectl-leadergroup"))
            .arg("--kubeconfig")
            .arg(kubeconfig.path())
            .args(args)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(PATIENCE, command).await.unwrap_or_else(|_| panic!("{args:?} hangs")).unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && stderr.contains(told), "{args:?}: {:?} {stderr}", output.status);
        assert!(start.elapsed() >= Duration::from_secs(1), "{args:?} did not wait");
    }
    held.abort();
}
