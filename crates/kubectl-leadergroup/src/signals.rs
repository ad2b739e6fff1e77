//! Being told to end.

use std::future::pending;

/// Waits for ctrl-c, or for being told to end otherwise, by a process manager or a terminal that goes away.
pub async fn told_to_end() {
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = by_others() => {}
    }
}

#[cfg(unix)]
async fn by_others() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminated), Ok(mut hung_up)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup())) else {
        return pending().await;
    };
    tokio::select! {
        _ = terminated.recv() => {}
        _ = hung_up.recv() => {}
    }
}

#[cfg(not(unix))]
async fn by_others() {
    pending().await
}
