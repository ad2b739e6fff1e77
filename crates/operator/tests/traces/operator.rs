//! The operator as a process.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

use crate::api::Api;

pub struct Operator {
    child: Child,
    /// Its kubeconfig, and its log.
    folder: TempDir,
}

/// An operator that has ended.
pub struct Ended {
    /// How long it took to.
    pub after: Duration,
    pub log: String,
}

impl Operator {
    /// Starts one that leads, with nothing but this in its environment.
    pub fn start(api: &Api, environment: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let content = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": format!("http://{}", api.address)}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "test"}}],
            "users": [{"name": "test", "user": {}}],
        });
        fs::write(&kubeconfig, content.to_string()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_leadergroup-operator"))
            .args(["--leader-elect=false", "--health-address=127.0.0.1:0"])
            .env_clear()
            .env("KUBECONFIG", kubeconfig)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stderr(File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    /// Tells it to end, and waits for that.
    pub async fn end(self) -> Ended {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.ended().await
    }

    /// Waits until it has ended.
    pub async fn ended(mut self) -> Ended {
        let asked = Instant::now();
        let (this, after) = tokio::task::spawn_blocking(move || {
            self.child.wait().unwrap();
            (self, asked.elapsed())
        })
        .await
        .unwrap();
        Ended { after, log: fs::read_to_string(this.folder.path().join("log")).unwrap() }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
