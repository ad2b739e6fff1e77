//! Candidates: pods that run the program in `tests/candidates/client-go`.

use std::time::Duration;

use leadergroup_api::GROUP_LABEL;
use serde_json::{Value, json};

/// The exit code of a candidate that crashes as its flags say.
const EXIT_CRASHED: i32 = 3;

/// Candidates in the making: pods that race for a Lease with client-go.
#[derive(Clone, Debug)]
pub struct Candidates {
    pub(crate) name: String,
    pub(crate) lease: String,
    verbs: Vec<&'static str>,
    labels: Vec<(String, String)>,
    replicas: u32,
    timing: (u32, u32, u32),
    args: Vec<String>,
    grace: u32,
    memory_limit: Option<String>,
    beside: Vec<Beside>,
    restarts_all: bool,
    restart_policy: Option<&'static str>,
    pod_name: Option<String>,
    hostname: Option<String>,
    host_network: bool,
}

/// A container beside `app`.
#[derive(Clone, Copy, Debug)]
enum Beside {
    /// It lives on.
    Sidecar,
    /// It completes at once.
    Helper,
}

/// What the pods are made by.
#[derive(Clone, Debug)]
pub struct Workload {
    pub(crate) candidates: Candidates,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Deployment,
    StatefulSet,
    Job,
    Pod,
}

impl Candidates {
    /// One candidate with the timing 6 s, 4 s, 1 s, for the Lease and the group of the same name. It ends at once when
    /// told to, and leaves its Lease to expire.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            lease: name.to_owned(),
            verbs: vec!["get", "update", "create"],
            labels: vec![(GROUP_LABEL.to_owned(), name.to_owned())],
            replicas: 1,
            timing: (6, 4, 1),
            args: Vec::new(),
            grace: 5,
            memory_limit: None,
            beside: Vec::new(),
            restarts_all: false,
            restart_policy: None,
            pod_name: None,
            hostname: None,
            host_network: false,
        }
    }

    /// How many.
    #[must_use]
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    /// Lease duration, renew deadline and retry period, in seconds.
    #[must_use]
    pub fn timing(mut self, duration: u32, renew_deadline: u32, retry_period: u32) -> Self {
        self.timing = (duration, renew_deadline, retry_period);
        self
    }

    /// A Lease of another name.
    #[must_use]
    pub fn lease(mut self, name: &str) -> Self {
        name.clone_into(&mut self.lease);
        self
    }

    /// Candidates of another group, by the default label.
    #[must_use]
    pub fn of_group(self, group: &str) -> Self {
        let mut candidates = self.without_labels();
        candidates.labels.push((GROUP_LABEL.to_owned(), group.to_owned()));
        candidates
    }

    /// Another label on the pods.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Candidates of no group.
    #[must_use]
    pub fn without_labels(mut self) -> Self {
        self.labels.clear();
        self
    }

    /// The leader gives its Lease up when told to end.
    #[must_use]
    pub fn releasing(self) -> Self {
        self.arg("--release")
    }

    /// The leader crashes after leading for so long.
    #[must_use]
    pub fn crashing_after(self, time: Duration) -> Self {
        self.arg(&format!("--exit-after={}ms", time.as_millis()))
    }

    /// The leader takes more memory than it may after leading for so long.
    #[must_use]
    pub fn running_out_of_memory_after(mut self, time: Duration) -> Self {
        self.memory_limit = Some("64Mi".to_owned());
        self.arg("--alloc-mb-on-lead=256").arg(&format!("--alloc-after={}ms", time.as_millis()))
    }

    /// A pod of another name.
    #[must_use]
    pub fn pod_name(mut self, name: &str) -> Self {
        self.pod_name = Some(name.to_owned());
        self
    }

    /// The pods have this as `spec.hostname`.
    #[must_use]
    pub fn hostname(mut self, hostname: &str) -> Self {
        self.hostname = Some(hostname.to_owned());
        self
    }

    /// The pods are on their node's network.
    #[must_use]
    pub fn on_host_network(mut self) -> Self {
        self.host_network = true;
        self
    }

    /// Every candidate calls itself so, instead of by its pod's name; `$(POD_NAME)` stands for that, `{hostname}` for what
    /// the program sees as its host's name, and `{run}` for something random in each run.
    #[must_use]
    pub fn identity(self, identity: &str) -> Self {
        self.arg(&format!("--identity={identity}"))
    }

    /// Another argument.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Seconds a pod is granted to end.
    #[must_use]
    pub fn grace(mut self, seconds: u32) -> Self {
        self.grace = seconds;
        self
    }

    /// A second container `side` beside `app`: a live process that has no part in this election.
    #[must_use]
    pub fn with_sidecar(mut self) -> Self {
        self.beside.push(Beside::Sidecar);
        self
    }

    /// A container `helper` beside `app` that completes at once and is not run again.
    #[must_use]
    pub fn with_helper(mut self) -> Self {
        self.beside.push(Beside::Helper);
        self
    }

    /// A crash of `app` restarts all containers of its pod.
    #[must_use]
    pub fn restarting_all(mut self) -> Self {
        self.restarts_all = true;
        self
    }

    /// Containers are run again after a failure only.
    #[must_use]
    pub fn restarted_on_failure(mut self) -> Self {
        self.restart_policy = Some("OnFailure");
        self
    }

    /// Containers that end stay down.
    #[must_use]
    pub fn never_restarted(mut self) -> Self {
        self.restart_policy = Some("Never");
        self
    }

    /// The candidates have no right to create Leases.
    #[must_use]
    pub fn without_create(mut self) -> Self {
        self.verbs.retain(|verb| *verb != "create");
        self
    }

    /// The candidates have no right to update their Lease, so they can't lead.
    #[must_use]
    pub fn without_update(mut self) -> Self {
        self.verbs.retain(|verb| *verb != "update");
        self
    }

    /// The pods of a Deployment.
    pub fn deployment(&self) -> Workload {
        self.workload(Kind::Deployment)
    }

    /// The pods of a `StatefulSet`, all at once.
    pub fn stateful_set(&self) -> Workload {
        self.workload(Kind::StatefulSet)
    }

    /// The pods of a Job.
    pub fn job(&self) -> Workload {
        self.workload(Kind::Job)
    }

    /// One pod that nothing replaces, of the candidates' name.
    pub fn pod(&self) -> Workload {
        self.workload(Kind::Pod)
    }

    fn workload(&self, kind: Kind) -> Workload {
        Workload { candidates: self.clone(), kind }
    }
}

impl Workload {
    /// The object, with the API version and kind in it.
    pub(crate) fn object(&self, image: &str) -> Value {
        let wanted = &self.candidates;
        let selector = json!({"matchLabels": {"app": wanted.name}});
        match self.kind {
            Kind::Pod => {
                let mut pod = self.template(image);
                pod["apiVersion"] = json!("v1");
                pod["kind"] = json!("Pod");
                pod["metadata"]["name"] = json!(wanted.pod_name.as_ref().unwrap_or(&wanted.name));
                pod
            }
            Kind::Deployment => json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": wanted.name},
                "spec": {"replicas": wanted.replicas, "selector": selector, "template": self.template(image)},
            }),
            Kind::StatefulSet => json!({
                "apiVersion": "apps/v1", "kind": "StatefulSet",
                "metadata": {"name": wanted.name},
                "spec": {
                    "replicas": wanted.replicas, "selector": selector, "template": self.template(image),
                    "serviceName": wanted.name, "podManagementPolicy": "Parallel",
                },
            }),
            Kind::Job => json!({
                "apiVersion": "batch/v1", "kind": "Job",
                "metadata": {"name": wanted.name},
                "spec": {
                    "parallelism": wanted.replicas, "completions": wanted.replicas, "backoffLimit": 0,
                    "template": self.template(image),
                },
            }),
        }
    }

    fn template(&self, image: &str) -> Value {
        let wanted = &self.candidates;
        let restart = match (wanted.restart_policy, self.kind) {
            (Some(policy), _) => policy,
            (None, Kind::Job) => "Never",
            (None, _) => "Always",
        };
        let mut labels = json!({"app": wanted.name});
        for (name, value) in &wanted.labels {
            labels[name] = json!(value);
        }
        let mut containers = vec![self.container("app", image, &wanted.lease, &wanted.args)];
        if let Some(limit) = &wanted.memory_limit {
            containers[0]["resources"] = json!({"limits": {"memory": limit}});
        }
        if wanted.restarts_all {
            containers[0]["restartPolicy"] = json!("Always");
            let crashed = json!({"operator": "In", "values": [EXIT_CRASHED]});
            containers[0]["restartPolicyRules"] = json!([{"action": "RestartAllContainers", "exitCodes": crashed}]);
        }
        for beside in &wanted.beside {
            containers.push(match beside {
                Beside::Sidecar => self.container("side", image, &format!("{}-side", wanted.lease), &[]),
                Beside::Helper => {
                    let mut helper = self.container("helper", image, &wanted.lease, &[]);
                    // The program prints its usage, and completes.
                    helper["args"] = json!(["-h"]);
                    if restart == "Always" {
                        helper["restartPolicy"] = json!("OnFailure");
                    }
                    helper
                }
            });
        }
        json!({
            "metadata": {"labels": labels},
            "spec": {
                "serviceAccountName": wanted.name,
                "hostname": wanted.hostname,
                "hostNetwork": wanted.host_network,
                "terminationGracePeriodSeconds": wanted.grace,
                "restartPolicy": restart,
                "containers": containers,
            },
        })
    }

    fn container(&self, name: &str, image: &str, lease: &str, args: &[String]) -> Value {
        let (duration, deadline, retry) = self.candidates.timing;
        let mut all = vec![
            format!("--lease={lease}"),
            format!("--lease-duration={duration}s"),
            format!("--renew-deadline={deadline}s"),
            format!("--retry-period={retry}s"),
        ];
        all.extend_from_slice(args);
        let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
        json!({
            "name": name,
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "args": all,
            "env": [
                field("POD_NAME", "metadata.name"), field("POD_NAMESPACE", "metadata.namespace"),
                field("POD_UID", "metadata.uid"), field("NODE_NAME", "spec.nodeName"),
            ],
        })
    }

    /// What the pods need to be allowed: a `ServiceAccount`, a Role and a `RoleBinding`.
    pub(crate) fn rights(&self) -> Vec<Value> {
        let Candidates { name, lease, verbs, .. } = &self.candidates;
        // A Role can't limit the right to create to a name.
        let (create, on_the_named): (Vec<&str>, Vec<&str>) = verbs.iter().copied().partition(|verb| *verb == "create");
        let named = json!([lease, format!("{lease}-side")]);
        let group = json!(["coordination.k8s.io"]);
        let mut rules =
            vec![json!({"apiGroups": group, "resources": ["leases"], "resourceNames": named, "verbs": on_the_named})];
        if !create.is_empty() {
            rules.push(json!({"apiGroups": group, "resources": ["leases"], "verbs": create}));
        }
        let authorization = "rbac.authorization.k8s.io";
        vec![
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}),
            json!({
                "apiVersion": format!("{authorization}/v1"), "kind": "Role", "metadata": {"name": name}, "rules": rules,
            }),
            json!({
                "apiVersion": format!("{authorization}/v1"), "kind": "RoleBinding", "metadata": {"name": name},
                "roleRef": {"apiGroup": authorization, "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name}],
            }),
        ]
    }
}
