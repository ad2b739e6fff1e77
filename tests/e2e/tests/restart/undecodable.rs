//! Groups that this version of the operator cannot read, as an older or newer definition would let them in.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionStatus, JSONSchemaProps,
};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Api, CustomResourceExt, ResourceExt};
use leadergroup_api::LeaderGroup;
use leadergroup_e2e::cluster::workspace_root;
use leadergroup_e2e::{Group, Session, lease_of};
use serde_json::json;

const NAME: &str = "leadergroups.leadergroup.dev";

/// The definition without its schema, for as long as this lives.
struct Lenient {
    session: Session,
    definitions: Api<CustomResourceDefinition>,
    restored: bool,
}

impl Lenient {
    async fn serve(session: &Session) -> Result<Self> {
        let lenient = Self { session: session.clone(), definitions: Api::all(session.client()), restored: false };
        let mut definition = LeaderGroup::crd();
        for version in &mut definition.spec.versions {
            let schema = version.schema.as_mut().context("the definition has no schema")?;
            schema.open_api_v3_schema = Some(JSONSchemaProps {
                type_: Some("object".to_owned()),
                x_kubernetes_preserve_unknown_fields: Some(true),
                ..JSONSchemaProps::default()
            });
        }
        lenient.replace(definition).await?;
        Ok(lenient)
    }

    async fn replace(&self, mut definition: CustomResourceDefinition) -> Result<()> {
        let present = self.definitions.get(NAME).await?;
        definition.metadata.resource_version = present.resource_version();
        definition.metadata.annotations.clone_from(&present.metadata.annotations);
        definition.status = None::<CustomResourceDefinitionStatus>;
        self.definitions.replace(NAME, &PostParams::default(), &definition).await?;
        Ok(())
    }

    async fn restore(mut self) -> Result<()> {
        self.replace(LeaderGroup::crd()).await?;
        self.restored = true;
        Ok(())
    }
}

impl Drop for Lenient {
    fn drop(&mut self) {
        let definition = workspace_root().map(|root| root.join("crds/leadergroups.yaml").display().to_string());
        if !self.restored
            && let Err(error) = definition.and_then(|file| self.session.kubectl_now(&["replace", "--filename", &file]))
        {
            eprintln!("the lenient definition stays: {error:#}");
        }
    }
}

#[tokio::test]
async fn a_group_that_cannot_be_read_says_so_and_leaves_the_others_alone() -> Result<()> {
    let session = Session::start().await?;
    let lenient = Lenient::serve(&session).await?;
    let result = with_lenient_definition(&session).await;
    lenient.restore().await?;
    result
}

async fn with_lenient_definition(session: &Session) -> Result<()> {
    let place = session.namespace("undecodable").await?;
    let resource = ApiResource::erase::<LeaderGroup>(&());
    let groups: Api<DynamicObject> = Api::namespaced_with(session.client(), place.name(), &resource);
    let object = DynamicObject::new("odd", &resource).data(json!({"spec": {"lease": {"durationSeconds": "soon"}}}));
    // The API server begins to serve the new definition soon after it took it.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while let Err(refused) = groups.create(&PostParams::default(), &object).await {
        ensure!(tokio::time::Instant::now() < deadline, "the lenient definition is not served: {refused}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let stalled = |group: Option<&DynamicObject>| {
        let conditions = group.and_then(|group| group.data.pointer("/status/conditions")?.as_array().cloned());
        conditions
            .unwrap_or_default()
            .iter()
            .any(|c| c["type"] == "Stalled" && c["status"] == "True" && c["reason"] == "Undecodable")
    };
    let waiting = await_condition(groups.clone(), "odd", stalled);
    let Ok(found) = tokio::time::timeout(Duration::from_secs(30), waiting).await else {
        anyhow::bail!("the group does not say that it cannot be read\n{}", place.tell().await)
    };
    let found = found?.context("the group is gone")?;
    let told = found.data["status"]["conditions"].to_string();
    ensure!(
        told.contains("durationSeconds") || told.contains("soon"),
        "the condition does not say what is wrong: {told}"
    );

    place.create(&Group::named("healthy").build()).await?;
    place.create(&lease_of("healthy", "long-gone", 2)).await?;
    place.until_cleared("healthy").await?;
    let version = groups.get("odd").await?.resource_version();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(groups.get("odd").await?.resource_version(), version, "it is written again and again");
    let lines = session.operator().log_about(place.name()).await?;
    ensure!(lines.len() <= 20, "{} lines in the log:\n{}", lines.len(), lines.join("\n"));

    let patch = Patch::Merge(json!({"spec": {"lease": {"durationSeconds": 15}}}));
    groups.patch("odd", &PatchParams::default(), &patch).await?;
    let recovered = |group: Option<&DynamicObject>| !stalled(group);
    tokio::time::timeout(Duration::from_secs(20), await_condition(groups, "odd", recovered))
        .await
        .context("a group that was corrected stays stalled")??;
    Ok(())
}
