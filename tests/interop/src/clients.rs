//! Which libraries there are.

use std::time::Duration;

use leadergroup_api::Release;

use crate::build::Runtime;

/// A program in `tests/candidates` that elects a leader with somebody's library.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Its folder.
    pub folder: &'static str,
    /// The library, as its package manager names it.
    pub library: &'static str,
    /// What builds and runs it.
    pub runtime: Runtime,
    /// `spec.identity` of its groups; none where the default resolves what it writes.
    pub identity: Option<&'static str>,
    /// `spec.staleHolder.release` of its groups: `Auto`, unless its standbys understand only `Delete`.
    pub release: Release,
    /// A variable of its environment that makes a difference.
    pub env: Option<(&'static str, &'static str)>,
    /// After how long a standby does what it will do ever after.
    pub settles: Duration,
}

const fn client(folder: &'static str, library: &'static str, runtime: Runtime) -> Client {
    Client { folder, library, runtime, identity: None, release: Release::Auto, env: None, settles: Duration::ZERO }
}

/// All of them.
pub const CLIENTS: &[Client] = &[
    client("client-go", "k8s.io/client-go", Runtime::Go),
    client("controller-runtime", "sigs.k8s.io/controller-runtime", Runtime::Go),
    client("fabric8", "io.fabric8:kubernetes-client", Runtime::Maven),
    client("official-java", "io.kubernetes:client-java-extended", Runtime::Maven),
    client("python", "kubernetes", Runtime::Pip),
    // A library's times must not depend on the zone it runs in.
    Client { env: Some(("TZ", "EST5")), ..client("python", "kubernetes", Runtime::Pip) },
    // This one's do.
    Client { env: Some(("TZ", "EST5")), ..client("python-asyncio", "kubernetes-asyncio", Runtime::Pip) },
    Client {
        identity: Some("elector-{pod}-{any}"),
        release: Release::Delete,
        // Its standbys try three times, the last time after 15 seconds, and then wait for a deletion.
        settles: Duration::from_secs(18),
        ..client("node", "@codedependant/kubernetes-leader-election", Runtime::Npm)
    },
    client("kube-leader-election", "kube-leader-election", Runtime::Cargo),
    client("elector", "leadergroup-elector", Runtime::Workspace),
];

impl Client {
    /// Whether its programs take seconds of processor time to start: the node's two cores start few of them at once.
    pub fn starts_slowly(self) -> bool {
        self.runtime == Runtime::Maven
    }

    /// The client of that folder.
    pub fn named(folder: &str) -> Option<Self> {
        CLIENTS.iter().copied().find(|client| client.folder == folder)
    }
}
