//! What keeps a candidate from its Lease, and what to do about it.

use std::fmt;

use crate::lease::NoVersion;

/// What keeps a candidate from its Lease. It goes on campaigning.
#[derive(Debug)]
pub enum Problem {
    /// The ServiceAccount may not do what a candidate has to.
    Forbidden {
        /// What it may not do.
        verb: &'static str,
        /// What the API server said.
        message: String,
    },
    /// The API server refused, or could not be reached.
    Failed {
        /// What was asked of it.
        verb: &'static str,
        /// Why it was not done.
        error: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    NoAnswer {
        /// What was asked of it.
        verb: &'static str,
    },
    /// Its versions are not numbers.
    Version(NoVersion),
}

/// A right that a candidate lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingRight {
    /// `get`, `watch`, `create` or `update`.
    pub verb: &'static str,
    /// The ServiceAccount that lacks it, namespace and name, if it is one.
    pub service_account: Option<(String, String)>,
}

impl Problem {
    /// The right that is lacking, if that is the problem.
    pub(crate) fn missing_right(&self) -> Option<MissingRight> {
        let Self::Forbidden { verb, message } = self else { return None };
        // The API server names the user: `... is forbidden: User "system:serviceaccount:shop:billing" cannot ...`.
        let user = message.split_once("User \"").and_then(|(_, rest)| rest.split_once('"')).map(|(user, _)| user);
        let account = user.and_then(|user| user.strip_prefix("system:serviceaccount:")?.split_once(':'));
        let service_account = account.map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
        Some(MissingRight { verb, service_account })
    }

    pub(crate) fn of(verb: &'static str, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 403 => Self::Forbidden { verb, message: status.message.clone() },
            error => Self::Failed { verb, error: Box::new(error) },
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden { verb, message } => write!(f, "may not {verb} the Lease: {message}"),
            Self::Failed { verb, error } => write!(f, "could not {verb} the Lease: {error}"),
            Self::NoAnswer { verb } => write!(f, "could not {verb} the Lease: no answer from the API server in time"),
            Self::Version(error) => error.fmt(f),
        }
    }
}

/// The Role and RoleBinding that let a ServiceAccount be a candidate for one Lease, to be applied with kubectl. It may
/// also create Leases, which can't be limited to a name.
pub fn least_rights(namespace: &str, lease: &str, service_account: &str) -> String {
    let name = format!("{lease}-candidates");
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: {name}, namespace: {namespace}}}
rules:
- {{apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [{lease}], verbs: [get, watch, update]}}
- {{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: {name}, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {name}}}
subjects:
- {{kind: ServiceAccount, name: {service_account}, namespace: {namespace}}}
"
    )
}
