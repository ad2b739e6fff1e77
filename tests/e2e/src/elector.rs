//! Pods that run the elector command.

use leadergroup_api::GROUP_LABEL;
use serde_json::{Value, json};

/// A Deployment of pods whose container `app` is the elector command, with the least rights that a candidate needs.
#[derive(Clone, Debug)]
pub struct ElectorPods {
    name: String,
    mode: &'static str,
    replicas: u32,
    timing: (u32, u32, u32),
    args: Vec<String>,
    program: Vec<String>,
    verbs: Vec<&'static str>,
    grace: u32,
}

impl ElectorPods {
    /// One pod that runs a program while it leads, such as `/workload` and its flags. The timing is 6 s, 4 s, 1 s; the
    /// Lease and the group have the same name.
    pub fn run(name: &str, program: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            mode: "run",
            replicas: 1,
            timing: (6, 4, 1),
            args: Vec::new(),
            program: program.iter().map(|word| (*word).to_owned()).collect(),
            verbs: vec!["get", "watch", "update", "create"],
            grace: 20,
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

    /// Another argument of the elector.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Without the right to do that with the Lease: `get`, `watch`, `update` or `create`.
    #[must_use]
    pub fn without_right(mut self, verb: &'static str) -> Self {
        self.verbs.retain(|granted| *granted != verb);
        self
    }

    /// Seconds a pod is granted to end.
    #[must_use]
    pub fn grace(mut self, seconds: u32) -> Self {
        self.grace = seconds;
        self
    }

    /// All that there has to be, in order.
    pub(crate) fn objects(&self, image: &str) -> Vec<Value> {
        let name = &self.name;
        let group = json!(["coordination.k8s.io"]);
        // The right to create can't be limited to a name.
        let (anywhere, named): (Vec<&str>, Vec<&str>) = self.verbs.iter().partition(|verb| **verb == "create");
        let mut rules =
            vec![json!({"apiGroups": group, "resources": ["leases"], "resourceNames": [name], "verbs": named})];
        if !anywhere.is_empty() {
            rules.push(json!({"apiGroups": group, "resources": ["leases"], "verbs": anywhere}));
        }
        let authorization = "rbac.authorization.k8s.io";
        let version = format!("{authorization}/v1");
        vec![
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}),
            json!({"apiVersion": version, "kind": "Role", "metadata": {"name": name}, "rules": rules}),
            json!({
                "apiVersion": version, "kind": "RoleBinding", "metadata": {"name": name},
                "roleRef": {"apiGroup": authorization, "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name}],
            }),
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
                "spec": {
                    "replicas": self.replicas,
                    "selector": {"matchLabels": {"app": name}},
                    "template": {
                        "metadata": {"labels": {"app": name, GROUP_LABEL: name}},
                        "spec": {
                            "serviceAccountName": name,
                            "terminationGracePeriodSeconds": self.grace,
                            "containers": [self.container(image)],
                        },
                    },
                },
            }),
        ]
    }

    fn container(&self, image: &str) -> Value {
        let (duration, deadline, retry) = self.timing;
        let mut args = vec![
            self.mode.to_owned(),
            format!("--lease={}", self.name),
            format!("--lease-duration={duration}s"),
            format!("--renew-deadline={deadline}s"),
            format!("--retry-period={retry}s"),
        ];
        args.extend_from_slice(&self.args);
        if !self.program.is_empty() {
            args.push("--".to_owned());
            args.extend_from_slice(&self.program);
        }
        let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
        json!({
            "name": "app",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "args": args,
            "env": [
                field("POD_NAME", "metadata.name"),
                field("POD_NAMESPACE", "metadata.namespace"),
                field("POD_UID", "metadata.uid"),
            ],
        })
    }
}
