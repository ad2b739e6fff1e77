//! Election libraries that can be recognised in a Lease, and the facts about each.
//!
//! A dead holder can be cleared in three forms ([`ReleaseForm`]), and libraries differ in which of them their standbys
//! understand. This module is the only place that knows. The Lease does not name its library, so [`recognise`] goes by
//! what libraries leave behind: the field manager of the last renewal, a label, the form of the record. A field manager
//! is what a client passes as `fieldManager`, or else the part of its User-Agent before the first `/`. client-go and
//! controller-runtime send the program's name, kube-coordinate what the program tells it, and the C# client nothing. Those
//! can't be recognised; all of them understand [`ReleaseForm::Empty`].
//!
//! Whoever may write the Lease may write all of this. A wrong guess must therefore be harmless: no guess makes the
//! operator delete a Lease ([`Release::form`](crate::Release::form)).

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::MANAGER;
use crate::spec::ReleaseForm;

/// The field manager of `leadergroup-elector`.
pub const ELECTOR_MANAGER: &str = "leadergroup-elector";

/// A label, with its value, that Camel sets on each Lease that it creates.
const CAMEL_LABEL: (&str, &str) = ("provider", "camel");

/// The length of a time as the API server writes it: RFC 3339, UTC, whole seconds, years 0000 to 9999.
const TIME_BYTES: usize = "2026-11-25T10:00:00Z".len();

/// An election library that can be recognised in a Lease.
///
/// "Measured" means on a real API server or kubelet, with Leases of 15 s; "read" means in the source of that version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Library {
    /// `io.kubernetes:client-java-extended`, measured at 25.0.0. Field manager `Kubernetes Java Client`.
    ///
    /// Standbys count their own lease duration from the moment at which they first see a record, and only a null holder
    /// (or null times) is taken before that. So `Empty` makes them wait 15 s more: 18.8 s after the clear, 2.8 s with
    /// `Null`, 4.7 s with `Delete`. A leader that restarts under its identity goes on 1.8 s later.
    OfficialJava,
    /// `org.apache.camel:camel-kubernetes` with Lease locks, measured at 4.18 (`Delete` only read). It uses fabric8's client,
    /// and labels the Leases that it creates `provider: camel`.
    ///
    /// A standby that finds a null holder, or no Lease, leads at once. After any other holder, `""` included, it takes
    /// the Lease and sleeps one lease duration before it leads. A leader that restarts under its identity sleeps as long.
    Camel,
    /// `io.fabric8:kubernetes-client`, measured and read at 8.0.0, which the Java Operator SDK elects with (5.2.3).
    /// Field manager `fabric8-kubernetes-client`, unless the program sets a User-Agent of its own.
    ///
    /// Polls: 0.8 s to 3.7 s after a clear in any form.
    Fabric8,
    /// The Python clients, measured at `kubernetes` 37.0.2 and `kubernetes_asyncio` 36.1.0. Field manager
    /// `OpenAPI-Generator`, which clients generated for some other languages share.
    ///
    /// Polls: 0.2 s to 2 s after a clear in any form.
    Python,
    /// `kubert`, measured and read at 0.25.0. Field manager `kubert`, unless the program sets another.
    ///
    /// Standbys sleep until the expiry that they last read. They never create a Lease, and without one their task ends with
    /// an error: after `Delete` none of them leads again before somebody re-creates the Lease and restarts that task.
    Kubert,
    /// `kube-lease-manager`, measured and read at 0.13.1. Field manager `kube-lease-manager-<identity>`.
    ///
    /// Standbys sleep until the expiry that they last read. The Lease is created only at start, so after `Delete` none of
    /// them leads again before it is restarted.
    KubeLeaseManager,
    /// `kube-leader-election`, measured and read at 0.44.0. Its field manager is the holder's identity, by `Update`.
    ///
    /// Goes by duration and `renewTime`, which is old in a cleared Lease: 0.5 s with `Empty`, 3.7 s with `Delete`. A null
    /// holder is an error at each try, also after a restart.
    KubeLeaderElection,
    /// `@codedependant/kubernetes-leader-election`, measured and read at 1.0.1. Field manager `node-fetch`; the identity
    /// is `elector-<host name>-<pid>` by default, and a Lease that it created has no duration.
    ///
    /// Standbys try for one lease duration after their start, and then only when the Lease is deleted (2.1 s). A pod that
    /// starts later takes a free Lease at once.
    NodeLeaderElection,
    /// `nais/elector`, read at commit 415bd00. Field manager `elector`; the record has neither a duration nor renewals.
    ///
    /// The Lease is held for life: it belongs to the leader's pod, and the garbage collector deletes it with the pod.
    /// Standbys only ever create one, and crash at a null holder.
    NaisElector,
    /// This project's elector. Field manager [`ELECTOR_MANAGER`].
    ///
    /// Watches: some milliseconds after a clear in any form.
    LeaderGroupElector,
}

/// When the standbys of a library act on a cleared Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// At their next try: by a watch at once, or by a poll within about two retry periods.
    NextTry,
    /// After a whole lease duration of their own that begins with the clear.
    AfterOwnDuration,
    /// At the expiry that they last read: no later than without a clear, and by chance earlier.
    LastReadExpiry,
    /// Not before their program is restarted, and some libraries' not even then.
    Never,
}

/// An entry of a Lease's `metadata.managedFields`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer<'a> {
    /// The entry's `manager`.
    pub manager: &'a str,
    /// Whether the entry's `operation` is `Apply`, not `Update`.
    pub applies: bool,
    /// The entry's `time`, as it is written.
    pub time: Option<&'a str>,
    /// Whether the entry owns a field of the Lease's spec (`f:spec`). One that does not has only labelled or annotated
    /// the Lease, and says nothing about how leaders are elected.
    pub writes_spec: bool,
}

/// The rest of a Lease by which a library is recognised, as its holder wrote it: some of it is gone after a clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// The Lease's labels.
    pub labels: Option<&'a BTreeMap<String, String>>,
    /// `spec.holderIdentity`.
    pub holder: Option<&'a str>,
    /// Whether `spec.leaseDurationSeconds` is set.
    pub has_duration: bool,
    /// Whether `spec.renewTime` is set.
    pub has_renew_time: bool,
}

/// Returns the library that wrote the Lease's spec last, the operator's own writes aside, if it is one of those known.
///
/// Of entries of the same second the later in the list counts. A time that the API server would not have written counts
/// as the oldest.
pub fn recognise<'a>(writers: impl IntoIterator<Item = Writer<'a>>, record: Record<'_>) -> Option<Library> {
    let others = writers.into_iter().filter(|writer| writer.writes_spec && writer.manager != MANAGER);
    let last = others.max_by_key(|writer| writer.time.filter(|time| time.len() == TIME_BYTES));
    let library = last.and_then(|last| Library::of(last, record));
    // Camel's own writes are fabric8's, or those of a program that calls itself otherwise. The label alone does not
    // decide: it stays when another library takes over the Lease.
    let is_camels = record.labels.and_then(|labels| labels.get(CAMEL_LABEL.0)).is_some_and(|it| it == CAMEL_LABEL.1);
    match library {
        None | Some(Library::Fabric8) if is_camels => Some(Library::Camel),
        library => library,
    }
}

impl Library {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::OfficialJava,
        Self::Camel,
        Self::Fabric8,
        Self::Python,
        Self::Kubert,
        Self::KubeLeaseManager,
        Self::KubeLeaderElection,
        Self::NodeLeaderElection,
        Self::NaisElector,
        Self::LeaderGroupElector,
    ];

    fn of(writer: Writer<'_>, record: Record<'_>) -> Option<Self> {
        match writer.manager {
            "Kubernetes Java Client" => Some(Self::OfficialJava),
            "fabric8-kubernetes-client" => Some(Self::Fabric8),
            "OpenAPI-Generator" => Some(Self::Python),
            "kubert" => Some(Self::Kubert),
            ELECTOR_MANAGER => Some(Self::LeaderGroupElector),
            "elector" if !record.has_duration && !record.has_renew_time => Some(Self::NaisElector),
            "node-fetch" if !record.has_duration || record.holder.is_some_and(is_host_and_pid) => {
                Some(Self::NodeLeaderElection)
            }
            manager if manager.starts_with("kube-lease-manager-") => Some(Self::KubeLeaseManager),
            manager if !manager.is_empty() && !writer.applies && record.holder == Some(manager) => {
                Some(Self::KubeLeaderElection)
            }
            _ => None,
        }
    }

    /// Returns the form of a cleared Lease that the library's standbys understand best.
    pub const fn release(self) -> ReleaseForm {
        match self {
            Self::OfficialJava | Self::Camel => ReleaseForm::Null,
            Self::NodeLeaderElection | Self::NaisElector => ReleaseForm::Delete,
            Self::Fabric8
            | Self::Python
            | Self::Kubert
            | Self::KubeLeaseManager
            | Self::KubeLeaderElection
            | Self::LeaderGroupElector => ReleaseForm::Empty,
        }
    }

    /// Returns when the library's standbys act on a Lease that was cleared in this form.
    pub const fn notices(self, form: ReleaseForm) -> Notice {
        use ReleaseForm::{Delete, Empty, Null};
        match (self, form) {
            (Self::OfficialJava | Self::Camel, Empty) => Notice::AfterOwnDuration,
            (Self::Kubert | Self::KubeLeaseManager, Empty | Null) => Notice::LastReadExpiry,
            (Self::Kubert | Self::KubeLeaseManager, Delete)
            | (Self::KubeLeaderElection, Null)
            | (Self::NodeLeaderElection | Self::NaisElector, Empty | Null) => Notice::Never,
            (Self::OfficialJava | Self::Camel, Null | Delete)
            | (Self::Fabric8 | Self::Python | Self::LeaderGroupElector, _)
            | (Self::KubeLeaderElection, Empty | Delete)
            | (Self::NodeLeaderElection | Self::NaisElector, Delete) => Notice::NextTry,
        }
    }

    /// Returns whether a leader that restarts under its own identity goes on sooner than a standby would take over.
    ///
    /// Only measured for the official Java client: the restarted leader renews at its first try, after 1.8 s, unless its
    /// Lease was cleared meanwhile; a standby polls for 2.8 s after a clear. Other libraries' restarted leaders take a
    /// cleared Lease at once as well, so a clear costs them nothing.
    pub const fn resumes_after_restart(self) -> bool {
        matches!(self, Self::OfficialJava)
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OfficialJava => "the official Java client",
            Self::Camel => "Camel",
            Self::Fabric8 => "fabric8's kubernetes-client",
            Self::Python => "the Python client",
            Self::Kubert => "kubert",
            Self::KubeLeaseManager => "kube-lease-manager",
            Self::KubeLeaderElection => "kube-leader-election",
            Self::NodeLeaderElection => "@codedependant/kubernetes-leader-election",
            Self::NaisElector => "nais/elector",
            Self::LeaderGroupElector => "leadergroup-elector",
        })
    }
}

/// Returns whether an identity has the form `elector-<host name>-<pid>`.
fn is_host_and_pid(identity: &str) -> bool {
    let parts = identity.strip_prefix("elector-").and_then(|rest| rest.rsplit_once('-'));
    parts
        .is_some_and(|(host, pid)| !host.is_empty() && !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{OnRestart, Release};

    const BEFORE: &str = "2026-11-25T10:00:00Z";
    const AFTER: &str = "2026-11-25T10:00:01Z";

    fn updated<'a>(manager: &'a str, time: &'a str) -> Writer<'a> {
        Writer { manager, applies: false, time: Some(time), writes_spec: true }
    }

    /// A record of a Lease that is renewed.
    fn held_by(holder: &str) -> Record<'_> {
        Record { labels: None, holder: Some(holder), has_duration: true, has_renew_time: true }
    }

    #[test]
    fn recognises_libraries_by_their_last_write() {
        let held = held_by("billing-a");
        let without_duration = Record { has_duration: false, ..held };
        let for_life = Record { has_renew_time: false, ..without_duration };
        for (manager, record, library) in [
            ("Kubernetes Java Client", held, Some(Library::OfficialJava)),
            ("fabric8-kubernetes-client", held, Some(Library::Fabric8)),
            ("OpenAPI-Generator", held, Some(Library::Python)),
            ("kubert", held, Some(Library::Kubert)),
            ("kube-lease-manager-q7Xk2", held, Some(Library::KubeLeaseManager)),
            ("billing-a", held, Some(Library::KubeLeaderElection)),
            ("billing-b", held, None),
            ("node-fetch", held_by("elector-billing-a-77"), Some(Library::NodeLeaderElection)),
            ("node-fetch", without_duration, Some(Library::NodeLeaderElection)),
            ("node-fetch", held, None),
            ("node-fetch", held_by("elector-billing-a"), None),
            ("node-fetch", held_by("elector-77"), None),
            ("elector", for_life, Some(Library::NaisElector)),
            ("elector", held, None),
            (ELECTOR_MANAGER, held, Some(Library::LeaderGroupElector)),
            ("billing", held, None),
            ("unknown", held, None),
            ("", held_by(""), None),
            ("Kubernetes Java Client X", held, None),
        ] {
            let other = updated("kubert", BEFORE);
            assert_eq!(recognise([other, updated(manager, AFTER)], record), library, "{manager}, {record:?}");
            assert_eq!(recognise([updated(manager, AFTER), other], record), library, "{manager}, {record:?}");
        }
        assert_eq!(recognise([], held), None);
    }

    #[test]
    fn recognises_camel_by_its_label_and_its_client() {
        let camel = BTreeMap::from([("provider".to_owned(), "camel".to_owned())]);
        let other = BTreeMap::from([("provider".to_owned(), "dromedary".to_owned())]);
        for (labels, manager, library) in [
            (&camel, "fabric8-kubernetes-client", Some(Library::Camel)),
            (&camel, "orders", Some(Library::Camel)),
            (&camel, "Kubernetes Java Client", Some(Library::OfficialJava)),
            (&other, "fabric8-kubernetes-client", Some(Library::Fabric8)),
            (&other, "orders", None),
        ] {
            let record = Record { labels: Some(labels), ..held_by("orders-a") };
            assert_eq!(recognise([updated(manager, AFTER)], record), library, "{labels:?}, {manager}");
        }
    }

    #[test]
    fn ignores_the_operator_and_writers_of_metadata() {
        let java = updated("Kubernetes Java Client", BEFORE);
        let cleared = updated(MANAGER, AFTER);
        let hinted = Writer { writes_spec: false, ..updated(ELECTOR_MANAGER, AFTER) };
        let labelled = Writer { writes_spec: false, ..updated("kubectl-label", AFTER) };
        assert_eq!(recognise([java, cleared, hinted, labelled], held_by("a")), Some(Library::OfficialJava));
        assert_eq!(recognise([cleared, labelled], held_by("a")), None);
    }

    #[test]
    fn tells_an_apply_under_the_holders_name_from_an_update() {
        let applied = Writer { applies: true, ..updated("billing-a", AFTER) };
        assert_eq!(recognise([applied], held_by("billing-a")), None);
    }

    #[test]
    fn survives_hostile_input() {
        let long = "x".repeat(1 << 20);
        let kubert = updated("kubert", BEFORE);
        for time in ["", "9", "yesterday", "10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "\u{0}\u{202e}", &long] {
            let odd = updated("Kubernetes Java Client", time);
            assert_eq!(recognise([kubert, odd], held_by(&long)), Some(Library::Kubert), "{time:.30}");
            assert_eq!(recognise([odd, kubert], held_by(&long)), Some(Library::Kubert), "{time:.30}");
            assert_eq!(recognise([odd], held_by("-")), Some(Library::OfficialJava), "{time:.30}");
        }
        let untimed = Writer { time: None, ..updated("Kubernetes Java Client", "") };
        assert_eq!(recognise([untimed, kubert], held_by("a")), Some(Library::Kubert));
        assert_eq!(recognise([updated(&long, AFTER)], held_by("é-")), None);
        for holder in [long.as_str(), "elector-", "elector--", "elector-é-1é", "-"] {
            assert_eq!(recognise([updated("node-fetch", AFTER)], held_by(holder)), None, "{holder:.30}");
        }
    }

    #[test]
    fn standbys_notice_the_forms_as_measured() {
        use Notice::{AfterOwnDuration, LastReadExpiry, Never, NextTry};
        let forms = [ReleaseForm::Empty, ReleaseForm::Null, ReleaseForm::Delete];
        let table = [
            (Library::OfficialJava, [AfterOwnDuration, NextTry, NextTry], ReleaseForm::Null, ReleaseForm::Null),
            (Library::Camel, [AfterOwnDuration, NextTry, NextTry], ReleaseForm::Null, ReleaseForm::Null),
            (Library::Fabric8, [NextTry, NextTry, NextTry], ReleaseForm::Empty, ReleaseForm::Empty),
            (Library::Python, [NextTry, NextTry, NextTry], ReleaseForm::Empty, ReleaseForm::Empty),
            (Library::Kubert, [LastReadExpiry, LastReadExpiry, Never], ReleaseForm::Empty, ReleaseForm::Empty),
            (
                Library::KubeLeaseManager,
                [LastReadExpiry, LastReadExpiry, Never],
                ReleaseForm::Empty,
                ReleaseForm::Empty,
            ),
            (Library::KubeLeaderElection, [NextTry, Never, NextTry], ReleaseForm::Empty, ReleaseForm::Empty),
            (Library::NodeLeaderElection, [Never, Never, NextTry], ReleaseForm::Delete, ReleaseForm::Empty),
            (Library::NaisElector, [Never, Never, NextTry], ReleaseForm::Delete, ReleaseForm::Empty),
            (Library::LeaderGroupElector, [NextTry, NextTry, NextTry], ReleaseForm::Empty, ReleaseForm::Empty),
        ];
        assert_eq!(table.map(|(library, ..)| library), Library::ALL);
        for (library, notices, best, by_auto) in table {
            assert_eq!(forms.map(|form| library.notices(form)), notices, "{library:?}");
            assert_eq!(library.release(), best, "{library:?}");
            assert_eq!(Release::Auto.form(Some(library)), by_auto, "{library:?}");
        }
    }

    #[test]
    fn auto_never_deletes_a_lease() {
        for library in Library::ALL {
            assert_ne!(Release::Auto.form(Some(library)), ReleaseForm::Delete, "{library:?}");
        }
    }

    #[test]
    fn a_form_that_is_asked_for_is_used_whatever_the_library() {
        assert_eq!(Release::Auto.form(None), ReleaseForm::Empty);
        for form in [ReleaseForm::Empty, ReleaseForm::Null, ReleaseForm::Delete] {
            for library in Library::ALL.map(Some).into_iter().chain([None]) {
                assert_eq!(Release::from(form).form(library), form);
            }
        }
    }

    #[test]
    fn auto_keeps_a_lease_only_for_a_lasting_identity() {
        for library in Library::ALL {
            let resumes = library == Library::OfficialJava;
            assert_eq!(OnRestart::Auto.keeps(Some(library), true), resumes, "{library:?}");
            assert!(!OnRestart::Auto.keeps(Some(library), false), "{library:?}");
            assert!(OnRestart::Keep.keeps(Some(library), false) && !OnRestart::Clear.keeps(Some(library), true));
        }
        assert!(!OnRestart::Auto.keeps(None, true));
    }
}
