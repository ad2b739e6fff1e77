//! Which operators there are, what they watch, and what they may do there.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use crate::commands::install;
use crate::objects::account;
use crate::rights::{AT_A_TIME, Account, Checked, Right, checked, may};
use crate::session::Session;

/// Which pods say that they are an operator's.
pub const LABEL: &str = "app.kubernetes.io/name=leadergroup-operator";
/// The Lease that an operator's replicas campaign for, unless they are told another.
const LEASE: &str = "leadergroup-operator";
/// What an operator for all namespaces has to be allowed.
const ROLE: &str = include_str!("../../../../../config/rbac/role.yaml");
/// How an operator is told which namespaces to watch: by an option, or a variable of its environment.
const WATCHED: (&str, &str) = ("--namespace", "WATCH_NAMESPACES");
/// How it is told the name of its Lease.
const LEASE_NAME: (&str, &str) = ("--lease-name", "LEASE_NAME");

/// Pods that say they are an operator: of one namespace and `ServiceAccount`.
#[derive(Clone, Debug)]
pub struct Operator {
    pub namespace: String,
    /// Not known where there is no pod.
    pub account: Option<String>,
    pub reach: Reach,
    pub pods: Vec<Pod>,
    /// The Lease that its replicas campaign for.
    pub lease: Checked<Option<Lease>>,
    /// What it may not do, of what it has to where it watches.
    pub lacks: Checked<Vec<Right>>,
}

/// What an operator watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    All,
    Only(BTreeSet<String>),
}

impl Reach {
    pub fn covers(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(namespaces) => namespaces.contains(namespace),
        }
    }

    /// As the pod's options and environment tell the operator.
    pub fn of(pod: &Pod) -> Self {
        let told = told(pod, WATCHED);
        let namespaces = told.iter().flat_map(|told| told.split(',')).filter(|name| !name.is_empty());
        let namespaces: BTreeSet<_> = namespaces.map(ToOwned::to_owned).collect();
        if namespaces.is_empty() { Self::All } else { Self::Only(namespaces) }
    }
}

/// The name of the Lease that the operator in this pod campaigns for.
pub fn lease_name(pod: &Pod) -> String {
    told(pod, LEASE_NAME).filter(|name| !name.is_empty()).unwrap_or_else(|| LEASE.to_owned())
}

/// What the operator in a pod is told by an option, or by a variable.
fn told(pod: &Pod, (option, variable): (&str, &str)) -> Option<String> {
    let mut containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let own = pod.namespace().unwrap_or_default();
    containers.find_map(|container| by_option(container, option).or_else(|| by_env(container, variable, &own)))
}

fn by_option(container: &Container, option: &str) -> Option<String> {
    let mut words = container.command.iter().chain(&container.args).flatten();
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        if let Some(told) = word.strip_prefix(option).and_then(|rest| rest.strip_prefix('=')) {
            found.push(told.to_owned());
        } else if word == option {
            found.extend(words.next().cloned());
        }
    }
    (!found.is_empty()).then(|| found.join(","))
}

fn by_env(container: &Container, variable: &str, own: &str) -> Option<String> {
    let variable = container.env.iter().flatten().find(|known| known.name == variable)?;
    let field = || variable.value_from.as_ref()?.field_ref.as_ref().map(|field| field.field_path.as_str());
    match (&variable.value, field()) {
        (Some(value), _) => Some(value.clone()),
        (None, Some("metadata.namespace")) => Some(own.to_owned()),
        _ => None,
    }
}

impl Operator {
    /// Whether it is one, which its label alone doesn't say: anybody can have a pod with that. An operator may write the
    /// status of groups.
    pub fn is_credible(&self) -> bool {
        let Ok(lacks) = &self.lacks else { return true };
        let lacks = |verb: &str, namespace: &str| {
            lacks.iter().any(|right| {
                right.subresource == "status"
                    && right.resource == "leadergroups"
                    && right.verb == verb
                    && right.namespace == namespace
            })
        };
        let may_write = |namespace: &str| !(lacks("patch", namespace) && lacks("update", namespace));
        match &self.reach {
            Reach::All => may_write(""),
            Reach::Only(namespaces) => namespaces.iter().any(|namespace| may_write(namespace)),
        }
    }
}

/// Whether an operator does without it, and says so: it then sees less.
pub fn is_optional(right: &Right) -> bool {
    right.resource == "nodes" || right.group.starts_with("authorization.") || right.group.starts_with("rbac.")
}

/// All that say they are one, in a namespace or in all; where no pod does, what runs elsewhere and leads by its Lease.
pub async fn gather(session: &Session, only: Option<&str>) -> Result<Checked<Vec<Operator>>> {
    let (pods, place): (Api<Pod>, _) = match only {
        Some(namespace) => {
            (Api::namespaced(session.client.clone(), namespace), format!("list pods in namespace {namespace}"))
        }
        None => (Api::all(session.client.clone()), "list pods in all namespaces".to_owned()),
    };
    let pods = match checked(pods.list(&ListParams::default().labels(LABEL)).await, &place)? {
        Ok(pods) => pods.items,
        Err(why) => return Ok(Err(format!("{why}; --operator-namespace says where the operator is"))),
    };
    let mut by_place: BTreeMap<(String, Option<String>), Vec<Pod>> = BTreeMap::new();
    for pod in pods {
        let place = (pod.namespace().unwrap_or_default(), account(&pod).map(ToOwned::to_owned));
        by_place.entry(place).or_default().push(pod);
    }
    if by_place.is_empty() {
        by_place.insert((only.unwrap_or(install::NAMESPACE).to_owned(), None), Vec::new());
    }
    let mut operators = Vec::new();
    for ((namespace, account), pods) in by_place {
        let leases: Api<Lease> = Api::namespaced(session.client.clone(), &namespace);
        let name = pods.first().map_or_else(|| LEASE.to_owned(), lease_name);
        let lease = checked(leases.get_opt(&name).await, "get the operator's Lease")?;
        let reach = pods.first().map_or(Reach::All, Reach::of);
        let lacks = match &account {
            Some(name) => {
                let operator = Account { namespace: namespace.clone(), name: name.clone() };
                lacking(session, &operator, &reach).await?
            }
            None => Err("it is not known which ServiceAccount the operator has".to_owned()),
        };
        operators.push(Operator { namespace, account, reach, pods, lease, lacks });
    }
    Ok(Ok(operators))
}

/// What the operator may not do, of what it has to.
async fn lacking(session: &Session, operator: &Account, reach: &Reach) -> Result<Checked<Vec<Right>>> {
    let wanted = wanted(reach)?;
    let answers =
        stream::iter(wanted).map(|right| async move { anyhow::Ok((may(session, operator, &right).await?, right)) });
    let answers: Vec<_> = answers.buffered(AT_A_TIME).try_collect().await?;
    let mut lacks = Vec::new();
    for (answer, right) in answers {
        match answer {
            Ok(true) => {}
            Ok(false) => lacks.push(right),
            Err(why) => return Ok(Err(why)),
        }
    }
    Ok(Ok(lacks))
}

/// What an operator has to be allowed, where it watches; what it can do without, in the whole cluster.
pub fn wanted(reach: &Reach) -> Result<Vec<Right>> {
    let role: ClusterRole = serde_yaml_ng::from_str(ROLE)?;
    let mut wanted = Vec::new();
    for rule in role.rules.into_iter().flatten() {
        let groups = rule.api_groups.unwrap_or_default();
        let resources = rule.resources.unwrap_or_default();
        for (group, resource) in groups.iter().flat_map(|group| resources.iter().map(move |resource| (group, resource)))
        {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let right = Right {
                group: group.clone(),
                resource: resource.to_owned(),
                subresource: subresource.to_owned(),
                ..Right::default()
            };
            let namespaces: Vec<_> = match reach {
                Reach::Only(namespaces) if !is_optional(&right) => namespaces.iter().cloned().collect(),
                _ => vec![String::new()],
            };
            for namespace in namespaces {
                let each = rule.verbs.iter().map(|verb| Right {
                    verb: verb.clone(),
                    namespace: namespace.clone(),
                    ..right.clone()
                });
                wanted.extend(each);
            }
        }
    }
    Ok(wanted)
}
