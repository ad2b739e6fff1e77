//! What the API server accepts, what it refuses and with which sentence, and what a user sees of a group.

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use leadergroup_api::{LeaderGroup, Verdict};
use leadergroup_e2e::{Candidates, Group, GroupView, Namespace, Session, lease_of};
use serde_json::{Value, json};

/// A spec as a user writes it, and what becomes of it.
const SPECS: [(&str, Answer); 56] = {
    use Answer::{Accepted, Refused};
    const ORDER: &str = "durationSeconds must be greater than renewDeadlineSeconds: a leader has to give up before";
    const TRIES: &str = "renewDeadlineSeconds must be greater than 1.2 x retryPeriodSeconds";
    const AT_LEAST_1: &str = "should be greater than or equal to 1";
    const BRACES: &str = "identity may use only the placeholders {pod}, {node}, {uid} and {any}, and no other braces";
    const ANONYMOUS: &str = "identity must contain {pod}, {node} or {uid}";
    const DNS: &str = "lease.name must be a DNS name";
    const RISK: &str = "unconfirmed.afterSeconds goes with unconfirmed.policy AcceptRisk: set both or neither";
    const ENUM: &str = "Unsupported value";
    [
        ("{}", Accepted),
        ("{lease: {durationSeconds: 15, renewDeadlineSeconds: 10, retryPeriodSeconds: 2}}", Accepted),
        ("{lease: {durationSeconds: 3, renewDeadlineSeconds: 2, retryPeriodSeconds: 1}}", Accepted),
        ("{lease: {durationSeconds: 10, renewDeadlineSeconds: 10}}", Refused(ORDER)),
        ("{lease: {durationSeconds: 5, renewDeadlineSeconds: 10}}", Refused(ORDER)),
        ("{lease: {durationSeconds: 8}}", Refused(ORDER)),
        ("{lease: {renewDeadlineSeconds: 6, retryPeriodSeconds: 5}}", Refused(TRIES)),
        ("{lease: {renewDeadlineSeconds: 7, retryPeriodSeconds: 5}}", Accepted),
        ("{lease: {renewDeadlineSeconds: 1, retryPeriodSeconds: 2}}", Refused(TRIES)),
        ("{lease: {durationSeconds: 0}}", Refused(AT_LEAST_1)),
        ("{lease: {durationSeconds: -15}}", Refused(AT_LEAST_1)),
        ("{lease: {renewDeadlineSeconds: 0}}", Refused(AT_LEAST_1)),
        ("{lease: {retryPeriodSeconds: -1}}", Refused(AT_LEAST_1)),
        ("{lease: {durationSeconds: 86401}}", Refused("should be less than or equal to 86400")),
        ("{lease: {durationSeconds: 15s}}", Refused("must be of type integer")),
        ("{lease: {name: billing.v2}}", Accepted),
        ("{lease: {name: Billing}}", Refused(DNS)),
        ("{lease: {name: billing_2}}", Refused(DNS)),
        ("{lease: {name: ''}}", Refused("should be at least 1 chars long")),
        ("{identity: '{pod}'}", Accepted),
        ("{identity: 'shard-{any}/{pod}_{uid}'}", Accepted),
        ("{identity: '{pod'}", Refused(BRACES)),
        ("{identity: '{pod}}'}", Refused(BRACES)),
        ("{identity: '{Pod}'}", Refused(BRACES)),
        ("{identity: '{name}'}", Refused(BRACES)),
        ("{identity: 'leader'}", Refused(ANONYMOUS)),
        ("{identity: '{any}'}", Refused(ANONYMOUS)),
        ("{staleHolder: {unconfirmed: {policy: AcceptRisk, afterSeconds: 5}}}", Accepted),
        ("{staleHolder: {unconfirmed: {policy: AcceptRisk}}}", Refused(RISK)),
        ("{staleHolder: {unconfirmed: {afterSeconds: 5}}}", Refused(RISK)),
        ("{staleHolder: {unconfirmed: {policy: AcceptRisk, afterSeconds: 0}}}", Refused(AT_LEAST_1)),
        ("{staleHolder: {delaySeconds: -1}}", Refused("should be greater than or equal to 0")),
        ("{staleHolder: {policy: Delete}}", Refused(ENUM)),
        ("{staleHolder: {release: Auto, onRestart: Auto}}", Accepted),
        ("{staleHolder: {release: Empty, onRestart: Clear}}", Accepted),
        ("{staleHolder: {release: 'Null', onRestart: Keep}}", Accepted),
        ("{staleHolder: {release: empty}}", Refused(ENUM)),
        ("{staleHolder: {onRestart: Wait}}", Refused(ENUM)),
        ("{routing: {service: {ports: [{port: 80}]}}}", Accepted),
        (
            "{routing: {service: {name: rw, ports: [{name: a, port: 80, targetPort: 8080, appProtocol: kubernetes.io/h2c}, {name: b, port: 80, protocol: UDP}]}}}",
            Accepted,
        ),
        ("{routing: {service: {ports: [{port: 80}]}, requireReady: true, podLabels: true}}", Accepted),
        ("{routing: {}}", Refused("Required value")),
        ("{routing: {service: {ports: []}}}", Refused("should have at least 1 items")),
        ("{routing: {service: {ports: [{port: 80}, {port: 81, name: b}]}}}", Refused("each needs a name")),
        ("{routing: {service: {ports: [{name: a, port: 80}, {name: a, port: 81}]}}}", Refused("have the same name")),
        (
            "{routing: {service: {ports: [{name: a, port: 80}, {name: b, port: 80}]}}}",
            Refused("have the same port and protocol"),
        ),
        ("{routing: {service: {ports: [{port: 0}]}}}", Refused(AT_LEAST_1)),
        ("{routing: {service: {ports: [{port: 70000}]}}}", Refused("should be less than or equal to 65535")),
        ("{routing: {service: {ports: [{port: 80, targetPort: http}]}}}", Refused("must be of type integer")),
        ("{routing: {service: {ports: [{port: 80, protocol: HTTP}]}}}", Refused(ENUM)),
        (
            "{routing: {service: {ports: [{port: 80, name: Web}]}}}",
            Refused("a port's name may use only lower-case letters"),
        ),
        (
            "{routing: {service: {ports: [{port: 80, appProtocol: 'a b'}]}}}",
            Refused("appProtocol must be a name such as http"),
        ),
        (
            "{routing: {service: {name: 1st, ports: [{port: 80}]}}}",
            Refused("routing.service.name must be a Service's name"),
        ),
        (
            "{routing: {service: {name: a.b, ports: [{port: 80}]}}}",
            Refused("routing.service.name must be a Service's name"),
        ),
        ("{historyLimit: 0}", Refused(AT_LEAST_1)),
        ("{historyLimit: 101}", Refused("should be less than or equal to 100")),
    ]
};

#[derive(Clone, Copy)]
enum Answer {
    Accepted,
    Refused(&'static str),
}

fn untyped(place: &Namespace) -> Api<DynamicObject> {
    let groups = place.groups();
    Api::namespaced_with(groups.into_client(), place.name(), &ApiResource::erase::<LeaderGroup>(&()))
}

fn object(name: &str, spec: &str) -> Result<DynamicObject> {
    let spec: Value = serde_yaml_ng::from_str(spec).with_context(|| format!("{spec} is no YAML"))?;
    Ok(DynamicObject::new(name, &ApiResource::erase::<LeaderGroup>(&())).data(json!({"spec": spec})))
}

/// Fails unless the answer is what was expected.
fn check<T>(what: &str, answer: kube::Result<T>, expected: Answer) -> Result<()> {
    match (answer, expected) {
        (Ok(_), Answer::Accepted) => Ok(()),
        (Err(error), Answer::Refused(sentence)) => {
            ensure!(error.to_string().contains(sentence), "{what} is refused in other words: {error}");
            Ok(())
        }
        (Ok(_), Answer::Refused(sentence)) => anyhow::bail!("{what} is accepted, and should not be: {sentence}"),
        (Err(error), Answer::Accepted) => anyhow::bail!("{what} is refused: {error}"),
    }
}

#[tokio::test]
async fn a_bad_spec_is_refused_with_a_sentence_that_says_what_to_change() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("specs").await?;
    let groups = untyped(&place);
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    for (spec, expected) in SPECS {
        check(spec, groups.create(&dry_run, &object("billing", spec)?).await, expected)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_name_is_as_long_as_a_label_value_can_be() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("names").await?;
    let groups = untyped(&place);
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let longest = "a".repeat(63);
    check("63 characters", groups.create(&dry_run, &object(&longest, "{}")?).await, Answer::Accepted)?;
    let refused = Answer::Refused("metadata.name must be at most 63 characters: it is used as the value of the label");
    check("64 characters", groups.create(&dry_run, &object(&format!("{longest}a"), "{}")?).await, refused)
}

#[tokio::test]
async fn a_group_whose_name_makes_no_services_name_has_to_give_one() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("services").await?;
    let groups = untyped(&place);
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let refused = Answer::Refused("can't name a Service: set spec.routing.service.name");
    let (default, named) =
        ("{routing: {service: {ports: [{port: 80}]}}}", "{routing: {service: {name: rw, ports: [{port: 80}]}}}");
    let longest = "a".repeat(56);
    for (name, fits) in [("billing", true), (&longest, true), (&format!("{longest}a"), false), ("v1.billing", false)] {
        let expected = if fits { Answer::Accepted } else { refused };
        check(name, groups.create(&dry_run, &object(name, default)?).await, expected)?;
        check(name, groups.create(&dry_run, &object(name, named)?).await, Answer::Accepted)?;
    }
    Ok(())
}

#[tokio::test]
async fn the_lease_of_a_group_cannot_be_changed() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("immutable").await?;
    let groups = untyped(&place);
    groups.create(&PostParams::default(), &object("billing", "{}")?).await?;
    groups.create(&PostParams::default(), &object("named", "{lease: {name: other}}")?).await?;
    let refused = Answer::Refused("spec.lease.name cannot change: delete this LeaderGroup");
    let changes = [
        ("billing", json!("billing"), Answer::Accepted),
        ("billing", json!(null), Answer::Accepted),
        ("billing", json!("another"), refused),
        ("named", json!("named"), refused),
        ("named", json!(null), refused),
        ("named", json!("other"), Answer::Accepted),
    ];
    for (group, name, expected) in changes {
        let patch = Patch::Merge(json!({"spec": {"lease": {"name": name}}}));
        let answer = groups.patch(group, &PatchParams::default(), &patch).await;
        check(&format!("lease.name {name} for {group}"), answer, expected)?;
    }
    Ok(())
}

#[tokio::test]
async fn an_empty_spec_is_filled_with_defaults() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("defaults").await?;
    let created = untyped(&place).create(&PostParams::default(), &object("billing", "{}")?).await?;
    let spec = &created.data["spec"];
    assert_eq!(
        spec["lease"],
        json!({"create": false, "durationSeconds": 15, "renewDeadlineSeconds": 10, "retryPeriodSeconds": 2})
    );
    assert_eq!(spec["staleHolder"]["policy"], json!("Clear"));
    assert_eq!(spec["staleHolder"]["release"], json!("Auto"));
    assert_eq!(spec["staleHolder"]["onRestart"], json!("Auto"));
    assert_eq!(spec["staleHolder"]["unconfirmed"]["policy"], json!("WaitForExpiry"));
    assert_eq!(spec["historyLimit"], json!(20));
    let observed =
        |g: &LeaderGroup| g.says("CandidatesFound", "False", "NoPodMatches") && g.seen().lease_name.is_some();
    let group: LeaderGroup = place.until("billing", "the empty group is observed", observed).await?;
    assert_eq!(group.seen().lease_name.as_deref(), Some("billing"));
    assert_eq!(group.seen().observed_generation, group.metadata.generation);
    let conditions = group.seen().conditions;
    assert!(conditions.iter().all(|c| c.observed_generation == group.metadata.generation), "{conditions:?}");
    let hint = group.condition("CandidatesFound").map(|c| c.message).unwrap_or_default();
    assert!(hint.contains("leadergroup.dev/group=billing"), "{hint}");
    Ok(())
}

#[tokio::test]
async fn of_two_groups_on_one_lease_the_older_has_it_until_it_is_deleted() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("taken").await?;
    place.create(&Group::named("older").lease("shared").build()).await?;
    // Creation times are whole seconds.
    place.until("older", "the older is observed", |g: &LeaderGroup| g.says("Stalled", "False", "Observing")).await?;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    place.create(&Group::named("younger").lease("shared").build()).await?;
    let stalled = |g: &LeaderGroup| g.says("Stalled", "True", "LeaseTaken") && g.says("Ready", "False", "Stalled");
    let younger: LeaderGroup = place.until("younger", "the younger is stalled", stalled).await?;
    let message = younger.condition("Stalled").map(|c| c.message).unwrap_or_default();
    assert!(message.contains("belongs to the older LeaderGroup older"), "{message}");
    place.until_event("younger", "LeaseTaken").await?;
    // It leaves the Lease alone: the older does the clearing.
    place.create(&lease_of("shared", "gone", 2)).await?;
    place.until_cleared("shared").await?;
    place.groups().delete("older", &DeleteParams::default()).await?;
    let freed = |g: &LeaderGroup| g.says("Stalled", "False", "Observing") && g.verdict() == Some(Verdict::Free);
    place.until("younger", "the younger takes over", freed).await?;
    Ok(())
}

#[tokio::test]
async fn deleting_a_group_leaves_the_lease_and_its_holder_alone() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("deleted").await?;
    let lease = place.create(&lease_of("billing", "gone", 2)).await?;
    place.create(&Group::named("billing").build()).await?;
    let judged = |g: &LeaderGroup| g.verdict() == Some(Verdict::Unresolved);
    place.until("billing", "the group is observed", judged).await?;
    place.groups().delete("billing", &DeleteParams::default()).await?;
    place.until_gone::<LeaderGroup>("billing").await?;
    // Past the time at which the group's operator would have cleared it.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(place.leases().get("billing").await?.metadata.resource_version, lease.metadata.resource_version);
    Ok(())
}

/// The cells of a table that kubectl printed; two blanks or more lie between two of them.
fn cells(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[tokio::test]
async fn kubectl_shows_who_leads_by_the_short_name_and_in_the_category_all() -> Result<()> {
    let promise = "kubectl shows who leads";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("columns").await?;
    place.create(&Group::named("billing").build()).await?;
    place.run(&Candidates::named("billing").replicas(2).deployment()).await?;
    let all_ready = |g: &LeaderGroup| g.seen().candidates.ready == 2 && g.leading_pod().is_some();
    let group: LeaderGroup = place.until("billing", "both candidates are ready and one leads", all_ready).await?;
    let leader = group.leading_pod().context("nobody leads")?;
    let node = group.seen().leader.and_then(|l| l.node_name).context("the leader has no node")?;

    let narrow = place.kubectl(&["get", "lg"]).await?;
    let lines: Vec<_> = narrow.lines().map(cells).collect();
    assert_eq!(lines[0], ["NAME", "LEADER", "READY", "CANDIDATES", "TRANSITIONS", "SINCE", "AGE"]);
    assert_eq!(lines[1][..5], ["billing", leader.as_str(), "True", "2", "0"], "{narrow}");

    let wide = place.kubectl(&["get", "leadergroups", "--output=wide"]).await?;
    let lines: Vec<_> = wide.lines().map(cells).collect();
    assert_eq!(lines[0][7..], ["NODE", "LEASE", "REASON"]);
    assert_eq!(lines[1][7..], [node.as_str(), "billing", "Leading"], "{wide}");

    let all = place.kubectl(&["get", "all", "--output=name"]).await?;
    assert!(all.lines().any(|line| line == "leadergroup.leadergroup.dev/billing"), "{all}");
    let explained = place.kubectl(&["explain", "lg.spec.staleHolder.policy"]).await?;
    assert!(explained.contains("Clear the holder once its death is proven"), "{explained}");
    Ok(())
}
