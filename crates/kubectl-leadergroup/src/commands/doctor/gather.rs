//! Reads what is judged.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, CustomResourceExt as _, ResourceExt as _};

use super::installation::fields;
use super::operators;
use super::snapshot::{Installation, May, Place};
use crate::model::LeaderGroup;
use crate::objects::{Plan, account, holder};
use crate::owner::Owner;
use crate::rights::{AT_A_TIME, Account, Checked, Right, checked, may};
use crate::session::Session;

/// The policy of `config/admission`, and its binding.
const POLICY: &str = "leadergroup-lease-rights";
/// The fields that this plugin knows of.
pub fn known_fields() -> Result<Vec<String>> {
    Ok(fields_of(&leadergroup_api::LeaderGroup::crd())?.unwrap_or_default())
}

fn fields_of(definition: &CustomResourceDefinition) -> Result<Option<Vec<String>>> {
    let version = definition.spec.versions.iter().find(|version| version.name == "v1alpha1" && version.served);
    let schema = version.and_then(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
    schema.map(|schema| Ok(fields(&serde_json::to_value(schema)?))).transpose()
}

/// The definition, the operators, and the admission policy. The operators are looked for in that namespace, or in all.
pub async fn installation(session: &Session, operator_namespace: Option<&str>) -> Result<Installation> {
    let definitions: Api<CustomResourceDefinition> = Api::all(session.client.clone());
    let definition = checked(
        definitions.get_opt(leadergroup_api::LeaderGroup::crd_name()).await,
        "get custom resource definitions",
    )?;
    let definition = definition.and_then(|found| match found {
        Some(found) => fields_of(&found).map_err(|error| error.to_string()),
        None => Ok(None),
    });

    let operators = operators::gather(session, operator_namespace).await?;
    Ok(Installation { definition, operators, admission: admission(session).await? })
}

async fn admission(session: &Session) -> Result<Checked<Vec<&'static str>>> {
    // API servers before 1.30 have no such kind, and answer as if there were no object.
    let policy = Api::<ValidatingAdmissionPolicy>::all(session.client.clone()).get_opt(POLICY).await;
    let binding = Api::<ValidatingAdmissionPolicyBinding>::all(session.client.clone()).get_opt(POLICY).await;
    let policy = checked(policy.map(|found| found.is_some()), "get admission policies")?;
    let binding = checked(binding.map(|found| found.is_some()), "get admission policies")?;
    Ok(policy.and_then(|policy| {
        let parts = [(policy, "ValidatingAdmissionPolicy"), (binding?, "ValidatingAdmissionPolicyBinding")];
        Ok(parts.into_iter().filter(|(is_there, _)| !is_there).map(|(_, part)| part).collect())
    }))
}

/// The namespaces to look at.
pub async fn namespaces(session: &Session, all: bool) -> Result<Vec<String>> {
    if !all {
        return Ok(vec![session.namespace.clone()]);
    }
    let (groups, unreadable) = session.list::<LeaderGroup>(None).await?;
    let unreadable = unreadable.into_iter().filter_map(|(metadata, _)| metadata.namespace);
    let namespaces: BTreeSet<_> = groups.iter().filter_map(kube::ResourceExt::namespace).chain(unreadable).collect();
    Ok(namespaces.into_iter().collect())
}

/// All of a namespace that matters to its groups.
pub async fn place(session: &Session, namespace: &str) -> Result<Place> {
    let (groups, unreadable) = session.list::<LeaderGroup>(Some(namespace)).await?;
    let (leases, _) = session.list::<Lease>(Some(namespace)).await?;
    let (pods, _) = session.list::<Pod>(Some(namespace)).await?;
    let mut owners = BTreeMap::new();
    for group in &groups {
        let lease = leases.iter().find(|lease| lease.name_any() == group.lease_name());
        let Some((plan, who)) = Plan::of(group).ok().zip(lease.and_then(holder)) else { continue };
        for pod in plan.fitting(who, pods.iter().filter(|pod| !plan.has_candidate(pod))) {
            // Only for the advice: without the right to read it there is a less helpful one.
            if let Ok(Some(owner)) = Owner::of(&session.client, pod).await {
                owners.insert(pod.name_any(), owner);
            }
        }
    }
    let unreadable = unreadable.into_iter().map(|(metadata, why)| (metadata.name.unwrap_or_default(), why)).collect();
    Ok(Place { groups, unreadable, leases, pods, owners })
}

/// What the accounts of the group's candidates may do.
pub async fn rights(
    session: &Session,
    namespace: &str,
    place: &Place,
    group: &LeaderGroup,
) -> Result<Checked<Vec<May>>> {
    let Ok(plan) = Plan::of(group) else { return Ok(Ok(Vec::new())) };
    let candidates = place.pods.iter().filter(|pod| plan.has_candidate(pod));
    let accounts: BTreeSet<_> = candidates.filter_map(account).collect();
    let mut all = Vec::new();
    for name in accounts {
        let account = Account { namespace: namespace.to_owned(), name: name.to_owned() };
        match of_account(session, account, group.lease_name()).await? {
            Ok(may) => all.push(may),
            Err(why) => return Ok(Err(why)),
        }
    }
    Ok(Ok(all))
}

async fn of_account(session: &Session, account: Account, lease: &str) -> Result<Checked<May>> {
    let here = &account.namespace;
    let named = |verb| Right::on_leases(verb, here, lease);
    let everything = Right {
        verb: "*".into(),
        group: "*".into(),
        resource: "*".into(),
        namespace: here.clone(),
        ..Right::default()
    };
    let questions = [
        named("get"),
        named("update"),
        named("patch"),
        named("watch"),
        Right::on_leases("create", here, ""),
        Right::on_leases("update", "", ""),
        everything,
    ];
    let asked = stream::iter(&questions).map(|right| may(session, &account, right));
    let answers: Vec<Checked<bool>> = asked.buffered(AT_A_TIME).try_collect().await?;
    let answers: Checked<Vec<bool>> = answers.into_iter().collect();
    Ok(answers.map(|may| match may.as_slice() {
        [get, update, patch, watch, create, update_anywhere, everything] => May {
            get: *get,
            update: *update || *patch,
            watch: *watch,
            create: *create,
            update_anywhere: *update_anywhere,
            everything: *everything,
            account: account.clone(),
        },
        _ => unreachable!("as many answers as questions"),
    }))
}
