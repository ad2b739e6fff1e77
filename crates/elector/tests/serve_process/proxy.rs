//! A way to the API server that can be cut.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use kube::config::Kubeconfig;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub struct Proxy {
    pub kubeconfig: Kubeconfig,
    open: watch::Sender<bool>,
}

impl Proxy {
    /// To the API server of that kubeconfig.
    pub async fn start(mut kubeconfig: Kubeconfig) -> Result<Self> {
        let cluster = kubeconfig.clusters.first_mut().and_then(|named| named.cluster.as_mut()).context("no cluster")?;
        let server = cluster.server.clone().context("no server")?;
        let target = server.trim_start_matches("https://").trim_end_matches('/').to_owned();
        let host = target.rsplit_once(':').context("no port")?.0.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address: SocketAddr = listener.local_addr()?;
        cluster.server = Some(format!("https://{address}"));
        cluster.tls_server_name = Some(host);
        let (open, is_open) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (target, mut is_open) = (target.clone(), is_open.clone());
                tokio::spawn(async move {
                    if !*is_open.borrow() {
                        return;
                    }
                    let Ok(mut server) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = is_open.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Ok(Self { kubeconfig, open })
    }

    /// Breaks what goes through it, and lets nothing more through.
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    pub fn mend(&self) {
        self.open.send_replace(true);
    }
}
