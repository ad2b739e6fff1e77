//! Hostile objects: each as an API server may deliver it, most of them as no one should write them.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::step::{Step, What};

/// The namespace's pods.
pub const PODS: [&str; 4] =
    ["web-0", "web-1", "web", "a-pod-whose-name-is-cut-by-its-kubelet-since-it-has-more-than-63-bytes"];
const UUID: &str = "3f2b8c1e-7d4a-4c0b-9a55-0e6d1f2a3b4c";

/// A play: the group, mostly a sound start, and what happens then.
///
/// The parts are boxed, for a tree of values would not fit on the stack of a test.
pub fn a_play() -> impl Strategy<Value = Vec<Step>> {
    let start = prop_oneof![1 => Just(Vec::new()), 3 => a_sound_start()];
    (a_group(), start, prop::collection::vec(a_step(), 1..20)).prop_map(|(group, start, steps)| {
        let mut all = vec![Step::Group(group)];
        all.extend(start);
        all.extend(steps);
        all
    })
}

/// `web-0` runs, and has renewed a few times.
fn a_sound_start() -> impl Strategy<Value = Vec<Step>> {
    (select(vec!["web-0", "web-0_1"]), 1_u64..6).prop_map(|(holder, times)| {
        let status = json!({"name": "app", "state": {"running": {"startedAt": "@second+0"}}, "lastState": {}});
        vec![
            Step::Pod(crate::support::pod("web-0", "web-0-u1", "n1", "Running", &[("app", status)])),
            Step::Lease(crate::support::lease(&json!({
                "holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": "@micro+0", "acquireTime": "@micro+0",
            }))),
            Step::Renew(times),
        ]
    })
}

fn a_step() -> impl Strategy<Value = Step> {
    let kind = select(vec![What::Group, What::Lease, What::Pod, What::Node]);
    let name = prop_oneof![3 => select(PODS.to_vec()), 1 => Just("web"), 1 => select(vec!["n1", "n2"])];
    prop_oneof![
        1 => a_group().prop_map(Step::Group),
        6 => a_lease().prop_map(Step::Lease),
        8 => a_pod().prop_map(Step::Pod),
        2 => a_node().prop_map(Step::Node),
        3 => (kind.clone(), name).prop_map(|(kind, name)| Step::Delete(kind, name.to_owned())),
        2 => kind.prop_map(Step::Relist),
        4 => prop_oneof![0_u64..3_000, 3_000_u64..80_000].prop_map(Step::Pass),
        4 => (1_u64..6).prop_map(Step::Renew),
    ]
}

/// Text that nobody should write into anything.
fn odd_text() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        Just(String::new()),
        select(vec!["{pod}", "{any}", "}{", "{{}}", "\u{0}", "\n", "\"", "\\", " ", "%s", "../web", "<nil>", "'; --"])
            .prop_map(ToOwned::to_owned),
        "\\PC{1,12}".prop_map(|text| text),
        select(vec!["løder-0", "リーダー", "🦀_web-0", "e\u{301}", "\u{202e}0-bew"]).prop_map(ToOwned::to_owned),
        (select(vec!["x", "\u{0}", "\u{7}", "<", "é", "🦀", "web-0_"]), 300_usize..3_000)
            .prop_map(|(t, n)| t.repeat(n)),
    ]
}

/// Every form in which libraries are known to name themselves, and others.
pub fn an_identity() -> impl Strategy<Value = String> + Clone {
    let of_a_pod = (select(PODS.to_vec()), 0_usize..9).prop_map(|(pod, form)| match form {
        0 => format!("{pod}_{UUID}"),
        1 => format!("{pod}-q3v9x0zk"),
        2 => format!("{pod}-external-attacher-leader-example-com"),
        3 => format!("billing-leader-{pod}"),
        4 => pod.replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
        5 => pod[..pod.len().min(63)].to_owned(),
        6 => format!("{pod}_{pod}-u1"),
        _ => pod.to_owned(),
    });
    prop_oneof![
        8 => of_a_pod,
        1 => Just(format!("n1_{UUID}")),
        1 => Just(UUID.to_owned()),
        3 => odd_text(),
        1 => (select(PODS.to_vec()), odd_text()).prop_map(|(pod, odd)| format!("{pod}_{odd}")),
    ]
}

/// A template, of which some are refused.
pub fn a_template() -> impl Strategy<Value = String> {
    let known = [
        "{pod}",
        "{pod}_{any}",
        "{pod}_{uid}",
        "billing-leader-{pod}",
        "{node}_{any}",
        "{uid}",
        "{any}{pod}{any}",
        "{pod}{any}",
        "{pod}-{any}",
        "é{pod}",
        "{node}",
        "{",
        "}",
        "{pod",
        "pod}",
        "{Pod}",
        "{ pod }",
        "{{pod}}",
        "{}",
        "",
        "plain",
        "{any}",
    ];
    let piece = prop_oneof![
        3 => select(vec!["{pod}", "{uid}", "{node}", "{any}", "-", "_", "é", "ab", "."]).prop_map(ToOwned::to_owned),
        1 => odd_text(),
    ];
    prop_oneof![
        2 => select(known.to_vec()).prop_map(ToOwned::to_owned),
        1 => prop::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat()),
    ]
}

/// There, null, or absent.
fn maybe<T: Into<Value>>(value: impl Strategy<Value = T> + Clone) -> impl Strategy<Value = Option<Value>> + Clone {
    prop_oneof![6 => value.prop_map(|v| Some(v.into())), 1 => Just(Some(Value::Null)), 1 => Just(None)]
}

/// What it should be, mostly.
fn mostly<T: Clone + std::fmt::Debug + 'static>(sound: T, odd: Vec<T>) -> impl Strategy<Value = T> + Clone {
    prop_oneof![9 => Just(sound), 1 => select(odd)]
}

/// An object of those fields that are there.
fn object(fields: Vec<(&str, Option<Value>)>) -> Value {
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn a_time(sane: &'static str) -> impl Strategy<Value = String> + Clone {
    let odd = [
        "0000-01-01T00:00:00.000000Z",
        "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59.999999Z",
        "10000-01-01T00:00:00.000000Z",
        "-0001-12-31T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-01-01T00:00:60Z",
        "2026-01-01T01:00:00",
        "2026-01-01",
        "yesterday",
        "",
        "1767225600",
        "2026-01-01T02:00:00+02:00",
        "2026-01-01T00:00:00.1234567891Z",
    ];
    prop_oneof![
        8 => (-4_000_i64..1_500).prop_map(move |ms| format!("@{sane}{ms:+}")),
        // Local time, stamped as if it were UTC.
        1 => select(vec![7_200_000_i64, -18_000_000]).prop_map(move |ms| format!("@{sane}{ms:+}")),
        2 => select(odd.to_vec()).prop_map(ToOwned::to_owned),
    ]
}

/// Annotations, among them what this project or a kubelet would write.
fn annotations() -> impl Strategy<Value = Option<Value>> {
    let name = select(vec![
        "leadergroup.dev/lease-duration-seconds",
        "leadergroup.dev/renew-deadline-seconds",
        "leadergroup.dev/retry-period-seconds",
        "leadergroup.dev/preferred-holder",
        "kubernetes.io/config.hash",
        "kubernetes.io/config.mirror",
        "example.com/odd",
    ]);
    let text = prop_oneof![
        select(vec!["15", "0", "-1", "1e3", "18446744073709551615", "18446744073709551616", "NaN"])
            .prop_map(ToOwned::to_owned),
        odd_text()
    ];
    let map = prop::collection::btree_map(name.prop_map(ToOwned::to_owned), text, 0..5).prop_map(|m| json!(m));
    prop_oneof![6 => Just(None), 1 => Just(Some(Value::Null)), 2 => map.prop_map(Some)]
}

/// The times of managed fields are their writers'.
fn managed_fields() -> impl Strategy<Value = Option<Value>> {
    let of = |time: &str| json!([{"manager": "odd", "operation": "Update", "apiVersion": "v1", "time": time, "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}}}]);
    let times = ["2026-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "10000-01-01T23:58:59Z", "0000-01-01T00:00:00Z"];
    prop_oneof![3 => Just(None), 1 => select(times.map(of).to_vec()).prop_map(Some)]
}

fn a_group() -> BoxedStrategy<Value> {
    let containers = select(vec![json!(["app"]), json!(["app", "proxy"]), json!(["ghost"]), json!([])]);
    let stale = (
        select(vec!["Clear", "Clear", "Clear", "Observe"]),
        select(vec!["Auto", "Empty", "Null", "Delete"]),
        select(vec!["Clear", "Keep"]),
        select(vec![0, 0, 0, 1, 86_400]),
        select(vec![json!({}), json!({}), json!({"policy": "AcceptRisk", "afterSeconds": 5})]),
    );
    let stale = stale.prop_map(|(policy, release, restart, delay, unconfirmed)| {
        json!({"policy": policy, "release": release, "onRestart": restart, "delaySeconds": delay, "unconfirmed": unconfirmed})
    });
    let identity = prop_oneof![9 => Just(None), 3 => a_template().prop_map(|t| Some(json!(t)))];
    let contradicted = mostly(None, vec![Some("web-0"), Some("web-0_1"), Some(UUID)]);
    let limit = select(vec![1, 2, 20, 100]);
    let spec =
        (prop::option::weighted(0.3, containers), identity, stale, limit, any::<bool>(), prop::bool::weighted(0.03));
    (spec, contradicted, managed_fields()).prop_map(|((containers, identity, stale, limit, create, broken), contradicted, fields)| {
        let candidates = object(vec![("containers", containers)]);
        let mut group = crate::support::group(&object(vec![
            ("candidates", Some(candidates)),
            ("identity", identity),
            ("lease", Some(json!({"create": create}))),
            ("staleHolder", Some(if broken { json!("Clear".repeat(2_000)) } else { stale })),
            ("historyLimit", Some(json!(limit))),
        ]));
        if let Some(identity) = contradicted {
            let evidence = "it was remembered";
            group["status"] = json!({
                "holder": {"identity": identity, "verdict": "Contradiction", "evidence": evidence},
                "transitions": i64::MAX, "leaseTransitions": i64::MIN,
                "conditions": [{"type": "HolderSuspect", "status": "True", "reason": "Contradiction", "message": evidence,
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            });
        }
        group["metadata"] = merged(&group["metadata"], fields.map(|f| ("managedFields", f)));
        group
    }).boxed()
}

fn merged(map: &Value, more: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let mut map = map.clone();
    for (name, value) in more {
        map[name] = value;
    }
    map
}

fn a_lease() -> BoxedStrategy<Value> {
    let number = |odd: Vec<i64>| prop_oneof![2 => Just(15_i64), 1 => select(odd)];
    let durations = vec![0, 1, -1, 86_401, i64::from(i32::MAX), i64::MAX, i64::MIN];
    let counts = vec![0, 1, -1, i64::from(i32::MAX), i64::MAX, i64::MIN];
    let strategy = prop_oneof![9 => Just(None), 1 => select(vec!["OldestEmulationVersion", "", "odd"]).prop_map(|s| Some(json!(s)))];
    let spec = (
        maybe(an_identity()),
        maybe(number(durations)),
        maybe(a_time("micro")),
        maybe(a_time("micro")),
        maybe(number(counts)),
        strategy,
        prop::option::weighted(0.1, odd_text()),
    );
    let spec = spec.prop_map(|(holder, duration, acquired, renewed, transitions, strategy, preferred)| {
        object(vec![
            ("holderIdentity", holder),
            ("leaseDurationSeconds", duration),
            ("acquireTime", acquired),
            ("renewTime", renewed),
            ("leaseTransitions", transitions),
            ("strategy", strategy),
            ("preferredHolder", preferred.map(Value::from)),
        ])
    });
    let spec = prop_oneof![30 => spec, 1 => Just(json!({}))];
    (spec, annotations(), managed_fields())
        .prop_map(|(spec, annotations, fields)| {
            let mut lease = crate::support::lease(&spec);
            let more = annotations.map(|a| ("annotations", a)).into_iter().chain(fields.map(|f| ("managedFields", f)));
            lease["metadata"] = merged(&lease["metadata"], more);
            lease
        })
        .boxed()
}

fn a_pod() -> BoxedStrategy<Value> {
    let name = prop_oneof![4 => Just("web-0"), 2 => select(PODS.to_vec())];
    let labels = mostly(json!({"leadergroup.dev/group": "web"}), vec![json!(null), json!({})]);
    let metadata = (
        name,
        mostly(1, vec![2]),
        labels,
        annotations(),
        managed_fields(),
        prop::option::weighted(0.2, Just(json!("@second+30000"))),
    );
    let metadata = metadata.prop_map(|(name, uid, labels, annotations, fields, deleted)| {
        object(vec![
            ("name", Some(json!(name))),
            ("namespace", Some(json!(crate::support::NAMESPACE))),
            ("uid", Some(json!(format!("{name}-u{uid}")))),
            ("labels", Some(labels)),
            ("annotations", annotations),
            ("managedFields", fields),
            ("deletionTimestamp", deleted),
        ])
    });
    let hostname = mostly(
        json!(null),
        vec![json!("web-1"), json!(""), json!("é".repeat(40)), json!("h".repeat(70)), json!("web")],
    );
    let containers =
        mostly(json!([{"name": "app"}]), vec![json!([{"name": "app"}, {"name": "proxy"}]), json!(null), json!([])]);
    let sidecar = json!([{"name": "side", "restartPolicy": "Always"}]);
    let inits = mostly(json!(null), vec![json!([{"name": "setup"}]), sidecar]);
    let debuggers = mostly(json!(null), vec![json!([{"name": "debug"}])]);
    let flag = || prop::bool::weighted(0.05);
    let flags = (flag(), flag(), flag());
    let node = mostly(Some(json!("n1")), vec![Some(json!("n2")), Some(json!("n3")), Some(json!("")), None]);
    let spec = (node, hostname, containers, inits, debuggers, flags);
    let spec = spec.prop_map(|(node, hostname, containers, inits, debuggers, (network, pid, shared))| {
        object(vec![
            ("nodeName", node),
            ("hostname", Some(hostname)),
            ("containers", Some(containers)),
            ("initContainers", Some(inits)),
            ("ephemeralContainers", Some(debuggers)),
            ("hostNetwork", network.then_some(Value::Bool(true))),
            ("hostPID", pid.then_some(Value::Bool(true))),
            ("shareProcessNamespace", shared.then_some(Value::Bool(true))),
        ])
    });
    (metadata, spec, a_status())
        .prop_map(|(metadata, mut spec, status)| {
            spec["serviceAccountName"] = an_account(status.to_string().len());
            json!({"metadata": metadata, "spec": spec, "status": status})
        })
        .boxed()
}

/// An account, by a number that is as good as drawn: mostly a sound one.
fn an_account(drawn: usize) -> Value {
    match drawn % 12 {
        0 => Value::Null,
        1 => json!(""),
        2 => json!("other"),
        3 => json!("a".repeat(253)),
        4 => json!("🦀".repeat(2_000)),
        5 => json!(format!("a{drawn}")),
        _ => json!("web"),
    }
}

fn a_status() -> BoxedStrategy<Value> {
    let phase = select(vec!["Running", "Running", "Failed", "Failed", "Succeeded", "Unknown", "Odd"]);
    let condition = (
        select(vec!["Ready", "DisruptionTarget", "DisruptionTarget", "Odd"]),
        select(vec!["True", "True", "False", "Unknown", "yes"]),
        select(vec![
            json!("DeletionByPodGC"),
            json!("EvictionByEvictionAPI"),
            json!("TerminationByKubelet"),
            json!(""),
            json!(null),
        ]),
    );
    let condition =
        condition.prop_map(|(kind, status, reason)| json!({"type": kind, "status": status, "reason": reason}));
    let conditions =
        prop_oneof![6 => Just(json!(null)), 1 => prop::collection::vec(condition, 0..3).prop_map(Value::from)];
    let of = |names: &'static [&'static str], most: usize| {
        let some = prop::collection::vec(a_container_status(names), 0..most).prop_map(Value::from);
        prop_oneof![1 => Just(json!(null)), 6 => some]
    };
    // Mostly the one status that there should be.
    let app = a_container_status(&["app"]).prop_map(|status| json!([status]));
    let regular = prop_oneof![4 => app, 1 => of(&["app", "app", "proxy", "ghost", "side"], 4)];
    let fields = (maybe(phase), conditions, regular, of(&["side", "setup", "app"], 3), of(&["debug", "ghost"], 2));
    fields
        .prop_map(|(phase, conditions, regular, inits, debuggers)| {
            object(vec![
                ("phase", phase),
                ("conditions", Some(conditions)),
                ("containerStatuses", Some(regular)),
                ("initContainerStatuses", Some(inits)),
                ("ephemeralContainerStatuses", Some(debuggers)),
            ])
        })
        .boxed()
}

fn a_container_status(names: &'static [&'static str]) -> BoxedStrategy<Value> {
    (select(names.to_vec()), a_state(), a_state())
        .prop_map(|(name, state, last)| json!({"name": name, "state": state, "lastState": last}))
        .boxed()
}

/// None, one, or more of the states of which there should be one.
fn a_state() -> BoxedStrategy<Value> {
    let reason = prop_oneof![
        9 => Just(json!("Error")),
        1 => Just(json!("ContainerStatusUnknown")),
        1 => odd_text().prop_map(Value::from),
        1 => Just(json!(null)),
    ];
    let terminated = (maybe(a_time("second")), reason, select(vec![0, 1, 137, i64::from(i32::MIN)]));
    let terminated = terminated.prop_map(|(at, reason, code)| {
        let run = object(vec![("finishedAt", at), ("reason", Some(reason)), ("exitCode", Some(json!(code)))]);
        json!({"terminated": run})
    });
    let running = maybe(a_time("second")).prop_map(|at| json!({"running": object(vec![("startedAt", at)])}));
    let both = (terminated.clone(), running.clone())
        .prop_map(|(one, other)| merged(&one, [("running", other["running"].clone())]));
    prop_oneof![
        5 => terminated,
        3 => running,
        1 => both,
        1 => Just(json!({"waiting": {"reason": "CrashLoopBackOff"}})),
        1 => Just(json!({})),
    ]
    .boxed()
}

fn a_node() -> BoxedStrategy<Value> {
    let condition = (select(vec!["Ready", "Ready", "Odd"]), select(vec!["True", "False", "Unknown", ""]));
    let condition = condition.prop_map(|(kind, status)| json!({"type": kind, "status": status, "reason": null}));
    let conditions =
        prop_oneof![1 => Just(json!(null)), 6 => prop::collection::vec(condition, 0..3).prop_map(Value::from)];
    let given_up = json!([{"key": "node.kubernetes.io/out-of-service"}]);
    let taints = select(vec![json!(null), json!([]), given_up.clone(), given_up, json!([{"key": "odd"}])]);
    (select(vec!["n1", "n1", "n2", "n3"]), conditions, taints, managed_fields())
        .prop_map(|(name, conditions, taints, fields)| {
            let metadata = merged(&json!({"name": name, "labels": null}), fields.map(|f| ("managedFields", f)));
            json!({"metadata": metadata, "spec": {"taints": taints}, "status": {"conditions": conditions}})
        })
        .boxed()
}
