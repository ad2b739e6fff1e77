//! Our election library against a real API server: candidates of this program, and others of client-go, on one Lease.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use leadergroup_e2e::{Candidates, ElectorPods, Group, GroupView, LeaseView, Namespace, PATIENCE, Session};
use leadergroup_elector::{Elector, Loss, MissingRight, Options, Status, Timing, least_rights};
use serde_json::{Value, json};
use tokio::time::timeout;

const LEASE: &str = "billing";

fn timing() -> Timing {
    let second = Duration::from_secs(1);
    Timing::new(6 * second, 4 * second, second).expect("a good timing")
}

/// A candidate with the administrator's rights.
async fn candidate(session: &Session, place: &Namespace, identity: &str) -> Result<Elector> {
    candidate_as(session, place, identity, None).await
}

/// A candidate with the rights of whoever has this token.
async fn candidate_as(session: &Session, place: &Namespace, identity: &str, token: Option<&str>) -> Result<Elector> {
    let mut kubeconfig = Kubeconfig::read_from(session.cluster().kubeconfig())?;
    if let Some(token) = token {
        let user = AuthInfo { token: Some(token.to_owned().into()), ..AuthInfo::default() };
        for info in &mut kubeconfig.auth_infos {
            info.auth_info = Some(user.clone());
        }
    }
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Elector::start(config, Options::new(place.name(), LEASE, identity).timing(timing()))?)
}

/// A ServiceAccount and a token of it.
async fn account(place: &Namespace, name: &str) -> Result<String> {
    let mut account = ServiceAccount::default();
    account.metadata.name = Some(name.to_owned());
    place.create(&account).await?;
    let wanted = TokenRequest {
        spec: TokenRequestSpec { audiences: vec![], bound_object_ref: None, expiration_seconds: Some(3600) },
        ..TokenRequest::default()
    };
    let accounts: Api<ServiceAccount> = place.api();
    let issued = accounts.create_token_request(name, &PostParams::default(), &wanted).await?;
    Ok(issued.status.context("the API server issued no token")?.token)
}

async fn until_leads(elector: &mut Elector) -> Result<u64> {
    let term = timeout(PATIENCE, elector.leading()).await.context("it does not come to lead")?;
    Ok(term.context("it left")?.token.0)
}

async fn until(elector: &Elector, what: &str, is_so: impl FnMut(&Status) -> bool) -> Result<Status> {
    let mut status = elector.status();
    let waiting = status.wait_for(is_so);
    Ok(timeout(PATIENCE, waiting).await.with_context(|| format!("not: {what}"))??.clone())
}

async fn until_renewed(place: &Namespace, times: u32) -> Result<Lease> {
    let mut lease = place.leases().get(LEASE).await?;
    for _ in 0..times {
        let last = lease.renewed();
        lease = place.until(LEASE, "the Lease is renewed", |l: &Lease| l.renewed() > last).await?;
    }
    Ok(lease)
}

#[tokio::test]
async fn a_standby_leads_once_the_leader_resigned_or_was_dropped_and_tokens_grow() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("library").await?;
    let mut first = candidate(&session, &place, "first").await?;
    let one = until_leads(&mut first).await?;
    let mut second = candidate(&session, &place, "second").await?;
    until(&second, "the standby sees who leads", |s| s.holder.as_deref() == Some("first")).await?;
    assert!(first.leadership().leads() && !second.leadership().leads());

    first.resign().await;
    let two = until_leads(&mut second).await?;
    let third = candidate(&session, &place, "third").await?;
    until(&third, "the standby sees who leads", |s| s.holder.as_deref() == Some("second")).await?;
    // Nobody waits for it.
    drop(second);
    let mut third = third;
    let three = until_leads(&mut third).await?;
    ensure!(one < two && two < three, "tokens {one}, {two}, {three}");
    let record = place.leases().get(LEASE).await?.record();
    assert_eq!((record.lease_transitions, record.lease_duration_seconds), (Some(2), Some(6)));
    third.resign().await;
    let record = place.leases().get(LEASE).await?.record();
    assert_eq!((record.holder_identity.as_deref(), record.lease_duration_seconds), (Some(""), Some(1)));
    assert_eq!(record.lease_transitions, Some(2), "a release is no transition");
    Ok(())
}

#[tokio::test]
async fn work_runs_while_its_candidate_leads_and_the_lease_is_released_once_it_ended() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("library").await?;
    let elector = candidate(&session, &place, "worker").await?;
    let leadership = elector.leadership();
    let leases = place.leases();
    let work = |_| {
        let (leadership, leases) = (leadership.clone(), leases.clone());
        async move {
            let holder = leases.get(LEASE).await.map(|lease| lease.holder());
            (leadership.leads(), holder)
        }
    };
    let done = timeout(PATIENCE, elector.run_while_leading(work)).await?.context("it left before")?;
    assert!(done.0, "the work does not see that it leads");
    assert_eq!(done.1?.as_deref(), Some("worker"));
    assert_eq!(place.leases().get(LEASE).await?.holder(), None);
    assert!(!leadership.leads());
    Ok(())
}

#[tokio::test]
async fn a_leader_whose_lease_is_deleted_or_taken_knows_it_and_campaigns_again() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("library").await?;
    let mut elector = candidate(&session, &place, "first").await?;
    let one = until_leads(&mut elector).await?;
    place.leases().delete(LEASE, &kube::api::DeleteParams::default()).await?;
    let lost = until(&elector, "it lost its deleted Lease", |s| s.term.is_none_or(|t| t.0 != one)).await?;
    assert!(lost.loss == Some(Loss::Freed) || lost.term.is_some(), "{lost:?}");
    let two = until_leads(&mut elector).await?;

    let stolen = json!({"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 2}});
    place.leases().patch(LEASE, &PatchParams::default(), &Patch::Merge(stolen)).await?;
    let lost = until(&elector, "it lost its taken Lease", |s| s.term.is_none_or(|t| t.0 != two)).await?;
    assert!(lost.loss == Some(Loss::Taken("thief".to_owned())) || lost.term.is_some(), "{lost:?}");
    let three = until_leads(&mut elector).await?;
    ensure!(one < two && two < three, "tokens {one}, {two}, {three}");
    Ok(())
}

#[tokio::test]
async fn the_timing_that_the_lease_asks_for_is_taken_up_while_running() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("library").await?;
    let mut elector = candidate(&session, &place, "first").await?;
    until_leads(&mut elector).await?;
    let asked = json!({"metadata": {"annotations": {
        "leadergroup.dev/lease-duration-seconds": "9",
        "leadergroup.dev/renew-deadline-seconds": "6",
        "leadergroup.dev/retry-period-seconds": "1",
    }}});
    place.leases().patch(LEASE, &PatchParams::default(), &Patch::Merge(asked)).await?;
    place.until(LEASE, "the record has 9 s", |l: &Lease| l.record().lease_duration_seconds == Some(9)).await?;
    assert!(elector.leadership().leads(), "the term goes on");
    assert_eq!(place.leases().get(LEASE).await?.record().lease_transitions, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_changed_group_changes_the_timing_of_candidates_that_run() -> Result<()> {
    let promise = "candidates that run take up the timing of their group";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("library").await?;
    let has_duration = |seconds| move |lease: &Lease| lease.record().lease_duration_seconds == Some(seconds);
    place.run_elector(&ElectorPods::run(LEASE, &["/workload"]).timing(6, 4, 1)).await?;
    place.until(LEASE, "the record has the candidate's own 6 s", has_duration(6)).await?;
    place.create(&Group::named(LEASE).timing(9, 6, 1).build()).await?;
    place.until(LEASE, "the record has the group's 9 s", has_duration(9)).await?;
    let leader = place.until_led(LEASE).await?;

    let changed = json!({"spec": {"lease": {"durationSeconds": 12, "renewDeadlineSeconds": 8}}});
    place.groups().patch(LEASE, &PatchParams::default(), &Patch::Merge(changed)).await?;
    place.until(LEASE, "the record has the group's 12 s", has_duration(12)).await?;
    let now = place.groups().get(LEASE).await?;
    assert_eq!((now.leading_pod(), now.seen().transitions), (leader.leading_pod(), 0));
    Ok(())
}

#[tokio::test]
async fn candidates_of_client_go_and_of_this_library_hand_over_to_each_other() -> Result<()> {
    let promise = "our elector and client-go's share a Lease";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("library").await?;
    place.run(&Candidates::named(LEASE).releasing().pod()).await?;
    let theirs = |lease: &Lease| lease.holder().as_deref() == Some(LEASE);
    place.until(LEASE, "client-go leads", theirs).await?;
    let mut ours = candidate(&session, &place, "ours").await?;
    until(&ours, "the standby sees who leads", |s| s.holder.as_deref() == Some(LEASE)).await?;
    until_renewed(&place, 2).await?;
    assert!(!ours.leadership().leads());

    place.delete_pod(LEASE).await?;
    until_leads(&mut ours).await?;
    assert_eq!(place.leases().get(LEASE).await?.record().lease_transitions, Some(1));
    let next = Candidates::named("next").lease(LEASE).releasing();
    place.run(&next.pod()).await?;
    until_renewed(&place, 2).await?;
    assert!(ours.leadership().leads(), "a standby of client-go's changes nothing");

    ours.resign().await;
    let lease = place.until(LEASE, "client-go leads", |l: &Lease| l.holder().as_deref() == Some("next")).await?;
    assert_eq!(lease.record().lease_transitions, Some(2));
    Ok(())
}

#[tokio::test]
async fn a_candidate_without_rights_names_what_it_lacks_and_leads_with_the_rights_it_names() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("library").await?;
    let token = account(&place, "worker").await?;
    let mut elector = candidate_as(&session, &place, "first", Some(&token)).await?;
    let status = until(&elector, "it names the right it lacks", |s| s.missing_right.is_some()).await?;
    let Some(MissingRight { verb, service_account }) = status.missing_right else { bail!("no right is named") };
    ensure!(["get", "watch"].contains(&verb), "{verb}");
    let (namespace, name) = service_account.context("no ServiceAccount is named")?;
    assert_eq!((&*namespace, &*name), (place.name(), "worker"));

    place.apply(&least_rights(&namespace, LEASE, &name)).await?;
    until_leads(&mut elector).await?;
    until(&elector, "nothing is lacking", |s| s.missing_right.is_none() && s.problem.is_none()).await?;
    Ok(())
}

#[tokio::test]
async fn a_standby_sends_nothing_while_the_leader_renews() -> Result<()> {
    let session = Session::start().await?;
    if session.cluster().is_existing() {
        leadergroup_e2e::tell_not_proven("no audit log", "a standby sends no requests");
        return Ok(());
    }
    let place = session.namespace("library").await?;
    let token = account(&place, "standby").await?;
    place.apply(&least_rights(place.name(), LEASE, "standby")).await?;
    let mut leader = candidate(&session, &place, "leader").await?;
    until_leads(&mut leader).await?;
    let standby = candidate_as(&session, &place, "standby", Some(&token)).await?;
    until(&standby, "the standby sees who leads", |s| s.holder.as_deref() == Some("leader")).await?;
    // What it asked for at its start is in the log.
    until_renewed(&place, 2).await?;
    let path = session.cluster().layout()?.audit_log();
    let from = std::fs::metadata(&path)?.len();
    until_renewed(&place, 10).await?;

    let mut log = std::fs::File::open(&path)?;
    log.seek(SeekFrom::Start(from))?;
    let user = format!("system:serviceaccount:{}:standby", place.name());
    let mut asked = BTreeMap::<String, u32>::new();
    let (mut renewals, admin) = (0, "kubernetes-admin");
    for line in BufReader::new(log).lines() {
        let Ok(request) = serde_json::from_str::<Value>(&line?) else { continue };
        let text = |pointer: &str| request.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if text("/user/username") == user {
            *asked.entry(text("/verb").to_owned()).or_default() += 1;
        }
        renewals += u32::from(
            text("/user/username") == admin
                && text("/verb") == "update"
                && text("/objectRef/namespace") == place.name()
                && text("/stage") == "ResponseComplete",
        );
    }
    ensure!(renewals >= 9, "the audit log shows {renewals} of 10 renewals, so it can't tell");
    assert!(asked.is_empty(), "the standby sent requests: {asked:?}");
    assert!(leader.leadership().leads() && !standby.leadership().leads());
    Ok(())
}
