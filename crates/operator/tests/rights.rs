//! The audit of candidates' rights: what is asked, what the answers mean, and when it is asked.
//!
//! `testdata/rights.txt` is the table of answers and of what follows from them.

#![allow(missing_docs)]

mod support;
mod rights {
    mod many;
}

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use leadergroup_api::LeaderGroupStatus;
use leadergroup_operator::audit::{Answers, Finding, Question, Right, Scope, Subject, questions, told};
use leadergroup_operator::decide::Notice;
use leadergroup_operator::engine::{Engine, Job, Outcome, Work};
use leadergroup_operator::index::{Change, Group, Index, Key};
use serde_json::{Value, json};
use support::api::{Api, Kind};
use support::cluster::{Cluster, condition_of, web_0, web_0_ended};
use support::{decode_group, ended, micro_time, ms, now_at, pod, running};

const RIGHTS: [(&str, Right); 6] = [
    ("get", Right::Get),
    ("update", Right::Update),
    ("patch", Right::Patch),
    ("watch", Right::Watch),
    ("create", Right::Create),
    ("update-anywhere", Right::UpdateAnywhere),
];

// === what is asked, and what follows ===

#[test]
fn the_table_of_answers() {
    datadriven::walk("tests/testdata/rights.txt", |file| file.run(|case| row(case)));
}

/// A case: a line for each account with what it may do; `lease=missing` where candidates have to create it.
fn row(case: &datadriven::TestCase) -> String {
    let accounts: Vec<(&str, &str)> = case.input.lines().filter_map(|line| line.split_once(':')).collect();
    let shown = accounts.len().min(leadergroup_operator::audit::MOST_ACCOUNTS);
    let subject = Subject {
        lease: "billing".into(),
        accounts: accounts.iter().take(shown).map(|(name, _)| Arc::from(*name)).collect(),
        of: accounts.len(),
        must_create: case.args.contains_key("lease"),
    };
    let (mut answers, mut asked) = (Answers::default(), Vec::new());
    while let Some(question) = questions::next(&subject, &answers) {
        let (name, rights) = accounts[question.account];
        let right = RIGHTS.iter().find(|(_, right)| *right == question.right).unwrap().0;
        asked.push(format!("{name} {right}"));
        answers.note(question, rights.split_whitespace().any(|may| may == right));
    }
    let told = condition_for(&LeaderGroupStatus::default(), &subject, Some(answers));
    format!("asked: {}\n{} {}: {}\n", asked.join(", "), told.status, told.reason, told.message.replace("; ", ";\n  "))
}

fn condition_for(base: &LeaderGroupStatus, subject: &Subject, answers: Option<Answers>) -> Condition {
    let mut group = support::group(&json!({}));
    group["metadata"]["name"] = json!("billing");
    let group = Group::from(decode_group(&group).read().0.unwrap());
    let finding = answers.map(|answers| Finding::Answered { subject: Arc::new(subject.clone()), answers });
    told::condition(base, &group, &Ok(subject.clone()), finding.as_ref(), now_at(ms(0)))
}

#[test]
fn names_of_any_length_fit_into_the_condition() {
    let names = (0..8).map(|n| Arc::from(format!("{n}{}", "a".repeat(252)))).collect();
    let subject = Subject { lease: "l".repeat(253), accounts: names, of: 1_000, must_create: true };
    let mut answers = Answers::default();
    while let Some(question) = questions::next(&subject, &answers) {
        answers.note(question, false);
    }
    let told = condition_for(&LeaderGroupStatus::default(), &subject, Some(answers));
    assert!(told.message.len() <= 4_096 && told.message.contains("may not get or update"), "{}", told.message);
}

#[test]
fn the_order_of_questions_is_that_of_names() {
    let question = |account, right| Some(Question { account, right });
    let accounts = vec![Arc::from("a"), Arc::from("b")];
    let subject = Subject { lease: "l".into(), accounts, of: 2, must_create: false };
    assert_eq!(questions::next(&subject, &Answers::default()), question(0, Right::Get));
}

// === in the whole engine ===

fn as_account(mut pod: Value, account: &str) -> Value {
    pod["spec"]["serviceAccountName"] = json!(account);
    pod
}

fn candidate(name: &str, account: &str) -> Value {
    as_account(pod(name, &format!("{name}-uid"), "n1", "Running", &[("app", running(0))]), account)
}

fn may_not(account: &str, right: Right) -> (String, Right) {
    (account.to_owned(), right)
}

/// `web-0` leads, and its account is `app`, which may not do that.
fn led_without(denied: &[Right]) -> Cluster {
    let mut cluster = Cluster::new(&json!({}));
    let excess = (may_not("app", Right::UpdateAnywhere), may_not("other", Right::UpdateAnywhere));
    cluster.api.denied = denied.iter().map(|right| may_not("app", *right)).chain([excess.0, excess.1]).collect();
    cluster.put_pod(as_account(web_0("u0", running(0)), "app"));
    cluster.renew_times("web-0", 4);
    cluster
}

const UPDATE: [Right; 2] = [Right::Update, Right::Patch];

fn authorized(cluster: &Cluster) -> String {
    cluster.condition("CandidatesAuthorized")
}

fn message(cluster: &Cluster) -> String {
    let conditions = cluster.status().conditions;
    conditions.into_iter().find(|c| c.type_ == "CandidatesAuthorized").map(|c| c.message).unwrap_or_default()
}

fn events(cluster: &Cluster) -> Vec<&Notice> {
    cluster.notices.iter().filter(|notice| notice.reason == "MissingRights").collect()
}

fn change_rights(cluster: &mut Cluster, scope: &Scope) {
    cluster.engine.rights_changed(scope, now_at(ms(cluster.now)));
}

fn shop() -> Scope {
    Scope::Namespace("shop".to_owned())
}

#[test]
fn a_missing_right_is_told_once_and_its_mend_soon() {
    let mut cluster = led_without(&UPDATE);
    assert_eq!(authorized(&cluster), "False MissingRights");
    assert!(
        message(&cluster).contains("ServiceAccount app may not update or patch Lease web"),
        "{}",
        message(&cluster)
    );
    cluster.renew_times("web-0", 10);
    assert_eq!(events(&cluster).len(), 1);
    cluster.api.denied.clear();
    change_rights(&mut cluster, &shop());
    cluster.pass(1_500);
    assert_eq!(authorized(&cluster), "True Authorized");
    cluster.api.denied = vec![may_not("app", Right::Get)];
    change_rights(&mut cluster, &Scope::Cluster);
    cluster.pass(6_000);
    assert_eq!(authorized(&cluster), "False MissingRights");
    let told = events(&cluster);
    assert_eq!(told.len(), 2);
    assert_ne!(told[0].action, told[1].action, "another lack is another Event");
}

#[test]
fn rights_elsewhere_are_nobodys_business() {
    let mut cluster = led_without(&UPDATE);
    let asked = cluster.api.reviews;
    change_rights(&mut cluster, &Scope::Namespace("shop-2".to_owned()));
    change_rights(&mut cluster, &Scope::Namespace("sho".to_owned()));
    cluster.pass(10_000);
    assert_eq!(cluster.api.reviews, asked);
}

#[test]
fn a_restart_and_a_takeover_change_nothing_that_was_found() {
    for denied in [&UPDATE[..], &[]] {
        let mut cluster = led_without(denied);
        let (before, writes, told) = (cluster.status(), cluster.count("WriteStatus"), events(&cluster).len());
        cluster.restart();
        assert_eq!(cluster.status(), before);
        let asked = cluster.api.reviews;
        cluster.renew_times("web-0", 5);
        assert!(cluster.api.reviews > asked, "it was audited again");
        cluster.take_over();
        cluster.renew_times("web-0", 5);
        assert_eq!(cluster.status(), before);
        assert_eq!((cluster.count("WriteStatus"), events(&cluster).len()), (writes, told));
    }
}

#[test]
fn what_changed_while_no_operator_ran_is_found() {
    let mut cluster = led_without(&[]);
    assert_eq!(authorized(&cluster), "True Authorized");
    cluster.api.denied = UPDATE.map(|right| may_not("app", right)).into();
    cluster.restart();
    assert_eq!(authorized(&cluster), "True Authorized", "kept until it is known better");
    cluster.pass(3_000);
    assert_eq!(authorized(&cluster), "False MissingRights");
}

#[test]
fn nothing_is_asked_while_nothing_changes_but_twice_an_hour() {
    let mut cluster = led_without(&[]);
    let (asked, writes) = (cluster.api.reviews, cluster.count("WriteStatus"));
    assert_eq!(asked, 4);
    cluster.renew_times("web-0", 11 * 60);
    assert_eq!(cluster.api.reviews, asked, "22 minutes of renewals");
    cluster.renew_times("web-0", 10 * 60 * 30 - 11 * 60);
    let audits = (cluster.api.reviews - asked) / 4;
    assert!((16..=25).contains(&audits), "{audits} audits in ten hours");
    assert_eq!(cluster.count("WriteStatus"), writes);
}

#[test]
fn what_is_lacking_is_asked_about_again_sooner() {
    let mut cluster = led_without(&UPDATE);
    cluster.api.denied.clear();
    cluster.pass(6 * 60_000 + 1_000);
    assert_eq!(authorized(&cluster), "True Authorized", "though no watch told of the mend");
}

#[test]
fn a_pod_that_comes_or_goes_is_a_question_only_if_its_account_is_new() {
    let mut cluster = led_without(&[]);
    let asked = cluster.api.reviews;
    cluster.put_pod(candidate("web-1", "app"));
    cluster.pass(10_000);
    assert_eq!(cluster.api.reviews, asked);
    cluster.api.denied.extend(UPDATE.map(|right| may_not("other", right)));
    cluster.put_pod(candidate("web-2", "other"));
    assert_eq!(authorized(&cluster), "True Authorized");
    cluster.pass(2_000);
    assert_eq!(authorized(&cluster), "False MissingRights");
    assert!(
        message(&cluster).starts_with("ServiceAccount other may not update or patch Lease web;"),
        "{}",
        message(&cluster)
    );
    cluster.delete(Kind::Pod, "web-2");
    cluster.pass(6_000);
    assert_eq!(authorized(&cluster), "True Authorized");
}

#[test]
fn pods_of_one_workload_share_the_name_of_their_account() {
    let mut index = Index::default();
    let apply = |index: &mut Index, kind, object: &Value| {
        let event = kube::runtime::watcher::Event::Apply(object.clone());
        index.apply(support::api::change(kind, &event), now_at(ms(0)));
    };
    apply(&mut index, Kind::Group, &support::group(&json!({})));
    for name in ["web-2", "web-0", "web-1", "web-3"] {
        apply(&mut index, Kind::Pod, &candidate(name, "app"));
    }
    // Seen again, in another state.
    apply(&mut index, Kind::Pod, &as_account(pod("web-1", "web-1-uid", "n1", "Failed", &[("app", ended(0))]), "app"));
    let snapshot = index.snapshot(&Key::new("shop", "web")).unwrap();
    let accounts: Vec<_> = snapshot.candidates.iter().map(|pod| pod.account.clone().unwrap()).collect();
    assert_eq!(accounts.len(), 4);
    assert!(accounts.iter().all(|account| Arc::ptr_eq(account, &accounts[0])), "{accounts:?}");
}

#[test]
fn candidates_that_ended_are_not_asked_about() {
    let mut cluster = led_without(&[]);
    cluster.put_pod(as_account(web_0_ended(20_000), "app"));
    assert_eq!(authorized(&cluster), "Unknown NotAudited");
    assert!(message(&cluster).contains("no candidate exists"), "{}", message(&cluster));
}

#[test]
fn all_candidates_replaced_by_others_of_the_same_account_are_no_question() {
    let mut cluster = led_without(&[]);
    let asked = cluster.api.reviews;
    cluster.delete(Kind::Pod, "web-0");
    assert_eq!(authorized(&cluster), "Unknown NotAudited");
    cluster.put_pod(candidate("web-1", "app"));
    assert_eq!(authorized(&cluster), "True Authorized");
    cluster.delete(Kind::Pod, "web-1");
    // While there is nobody to ask about, rights change.
    change_rights(&mut cluster, &shop());
    cluster.pass(10_000);
    assert_eq!(cluster.api.reviews, asked);
    cluster.api.denied = UPDATE.map(|right| may_not("app", right)).into();
    cluster.put_pod(candidate("web-2", "app"));
    cluster.pass(2_000);
    assert_eq!(authorized(&cluster), "False MissingRights");
}

#[test]
fn to_create_is_needed_while_there_is_no_lease_and_nobody_else_creates_it() {
    let mut cluster = Cluster::new(&json!({}));
    cluster.api.denied = vec![may_not("app", Right::Create)];
    cluster.put_pod(candidate("web-0", "app"));
    cluster.pass(2_000);
    assert_eq!(authorized(&cluster), "False MissingRights");
    cluster.renew("web-0");
    cluster.pass(6_000);
    assert_eq!(authorized(&cluster), "True Authorized");
    cluster.delete(Kind::Lease, "web");
    cluster.pass(6_000);
    assert_eq!(authorized(&cluster), "False MissingRights");
    cluster.put_pod(candidate("web-1", "other"));
    cluster.pass(6_000);
    assert_eq!(authorized(&cluster), "True Authorized", "one that may create it is enough");

    let mut cluster = Cluster::new(&json!({"lease": {"create": true}}));
    cluster.api.denied = vec![may_not("app", Right::Create)];
    cluster.put_pod(candidate("web-0", "app"));
    cluster.pass(2_000);
    assert_eq!(authorized(&cluster), "True Authorized");
}

#[test]
fn an_operator_that_may_not_ask_says_so_and_does_everything_else() {
    let mut cluster = led_without(&[]);
    cluster.api.refuses_reviews = true;
    change_rights(&mut cluster, &Scope::Cluster);
    cluster.pass(6_000);
    assert_eq!(authorized(&cluster), "Unknown NotAudited");
    assert!(message(&cluster).contains("config/rbac/role.yaml"), "{}", message(&cluster));
    let (audits, writes) = (cluster.count("Audit"), cluster.count("WriteStatus"));
    cluster.renew_times("web-0", 30 * 60);
    let tries = cluster.count("Audit") - audits;
    assert!((9..=13).contains(&tries), "{tries} tries in an hour");
    assert_eq!(cluster.count("WriteStatus"), writes);
    cluster.put_pod(as_account(web_0_ended(i64::try_from(cluster.now).unwrap()), "app"));
    assert_eq!(cluster.api.cleared.len(), 1);
    cluster.put_pod(candidate("web-1", "app"));
    cluster.api.refuses_reviews = false;
    change_rights(&mut cluster, &Scope::Cluster);
    cluster.pass(6_000);
    assert_eq!(authorized(&cluster), "True Authorized");
}

#[test]
fn what_one_group_shows_of_the_operators_own_right_holds_for_all() {
    let mut cluster = led_without(&[]);
    for number in 0..20 {
        let name = format!("g{number}");
        let mut group = support::group(&json!({}));
        group["metadata"]["name"] = json!(name);
        group["metadata"]["uid"] = json!(format!("group-{name}"));
        cluster.put_group(group);
        let mut pod = candidate(&format!("{name}-0"), "app");
        pod["metadata"]["labels"] = json!({"leadergroup.dev/group": name});
        cluster.put_pod(pod);
    }
    cluster.pass(20_000);
    let says = |cluster: &Cluster| {
        let all = (0..20).map(|number| condition_of(&cluster.status_of(&format!("g{number}")), "CandidatesAuthorized"));
        let mut all: Vec<_> = all.collect();
        all.dedup();
        all
    };
    assert_eq!(says(&cluster), ["True Authorized"]);
    cluster.api.refuses_reviews = true;
    let audits = cluster.count("Audit");
    change_rights(&mut cluster, &Scope::Cluster);
    cluster.pass(20_000);
    assert_eq!(says(&cluster), ["Unknown NotAudited"]);
    assert_eq!(cluster.count("Audit"), audits + 1);
    cluster.api.refuses_reviews = false;
    change_rights(&mut cluster, &Scope::Cluster);
    cluster.pass(30_000);
    assert_eq!(says(&cluster), ["True Authorized"]);
}

#[test]
fn of_a_thousand_accounts_the_first_are_checked() {
    let mut cluster = led_without(&[]);
    for number in 0..1_000 {
        cluster.put_pod(candidate(&format!("web-{}", number + 1), &format!("account-{number:04}")));
    }
    let asked = cluster.api.reviews;
    cluster.pass(60_000);
    assert!(
        message(&cluster).contains("only the first 8 of 1001 ServiceAccounts were checked"),
        "{}",
        message(&cluster)
    );
    assert!(cluster.api.reviews - asked <= 32, "{} questions", cluster.api.reviews - asked);
}

#[test]
fn rights_that_change_all_the_time_are_asked_about_every_five_seconds() {
    let mut cluster = led_without(&[]);
    let audits = cluster.count("Audit");
    for _ in 0..600 {
        change_rights(&mut cluster, &shop());
        cluster.pass(100);
    }
    let audits = cluster.count("Audit") - audits;
    assert!((10..=13).contains(&audits), "{audits} audits in a minute");
}

#[test]
fn the_metric_follows_the_condition_and_goes_with_the_group() {
    let shown = |c: &Cluster| c.metric(r#"leadergroup_candidates_authorized{namespace="shop",group="web"}"#);
    let mut cluster = led_without(&UPDATE);
    assert_eq!(shown(&cluster), Some(0.0));
    cluster.api.denied.clear();
    change_rights(&mut cluster, &shop());
    cluster.pass(2_000);
    assert_eq!(shown(&cluster), Some(1.0));
    let sound = cluster.api.get(Kind::Group, "web").unwrap().clone();
    let mut unreadable = sound.clone();
    unreadable["spec"]["staleHolder"] = json!("no object");
    cluster.put_group(unreadable);
    assert_eq!(shown(&cluster), None, "what is not read is not known");
    assert_eq!(cluster.condition("Stalled"), "True Undecodable");
    cluster.put_group(sound);
    cluster.pass(2_000);
    assert_eq!(shown(&cluster), Some(1.0));
    cluster.delete(Kind::Group, "web");
    assert_eq!(shown(&cluster), None);
}

// === one at a time ===

/// An engine that leads two groups, whose work is not done by anybody.
fn two_groups() -> Engine {
    let mut api = Api::default();
    api.put(Kind::Node, support::node("n1", true, false));
    for name in ["web", "zzz"] {
        let mut group = support::group(&json!({}));
        group["metadata"]["name"] = json!(name);
        group["metadata"]["uid"] = json!(format!("group-{name}"));
        api.put(Kind::Group, group);
        let mut pod = candidate(&format!("{name}-0"), "app");
        pod["metadata"]["labels"] = json!({"leadergroup.dev/group": name});
        api.put(Kind::Pod, pod);
    }
    let mut engine = Engine::default();
    for kind in Kind::ALL {
        engine.change(support::api::change(kind, &kube::runtime::watcher::Event::Init), now_at(ms(0)));
        for object in api.list(kind) {
            let event = kube::runtime::watcher::Event::InitApply(object);
            engine.change(support::api::change(kind, &event), now_at(ms(0)));
        }
        engine.change(support::api::change(kind, &kube::runtime::watcher::Event::InitDone), now_at(ms(0)));
    }
    engine.lead(1, now_at(ms(0)));
    engine
}

fn audits(engine: &mut Engine) -> Vec<Work> {
    engine.take_work().into_iter().filter(|work| matches!(work.job, Job::Audit(_))).collect()
}

#[test]
fn a_group_deleted_during_its_audit_does_not_hold_up_the_others() {
    let mut engine = two_groups();
    engine.wake(now_at(ms(2_000)));
    let first = audits(&mut engine);
    assert_eq!(first.iter().map(|work| work.group.name.as_str()).collect::<Vec<_>>(), ["web"], "one at a time");
    engine.wake(now_at(ms(3_000)));
    assert!(audits(&mut engine).is_empty());
    let group = kube::runtime::watcher::Event::Delete(decode_group(&support::group(&json!({}))));
    engine.change(Change::Group(group), now_at(ms(4_000)));
    assert!(engine.next_wake().is_some_and(|at| at <= ms(4_000)));
    engine.wake(now_at(ms(4_000)));
    let second = audits(&mut engine);
    assert_eq!(second.iter().map(|work| work.group.name.as_str()).collect::<Vec<_>>(), ["zzz"]);
    // The answer that came too late.
    let Job::Audit(subject) = &first[0].job else { unreachable!() };
    let outcome = Outcome::Audited { subject: subject.clone(), answers: Answers::default(), broke_off: None };
    engine.outcome(&first[0], outcome, now_at(ms(5_000)));
    assert!(audits(&mut engine).is_empty());
}

#[test]
fn nothing_else_waits_for_an_audit_under_way() {
    let mut engine = two_groups();
    engine.wake(now_at(ms(2_000)));
    let [audit] = &audits(&mut engine)[..] else { panic!("one audit") };
    let lease = json!({"holderIdentity": "web-0", "leaseDurationSeconds": 15, "renewTime": micro_time(2_000)});
    let mut ended = candidate("web-0", "app");
    ended["status"] = pod("web-0", "", "n1", "Failed", &[("app", support::ended(3_000))])["status"].clone();
    for (kind, object) in [(Kind::Lease, support::lease(&lease)), (Kind::Pod, ended)] {
        engine.change(support::api::change(kind, &kube::runtime::watcher::Event::Apply(object)), now_at(ms(4_000)));
    }
    let work = engine.take_work();
    assert!(work.iter().any(|work| work.group == audit.group && matches!(work.job, Job::Act(_))), "{work:?}");
}

#[test]
fn an_operator_that_stands_by_asks_nothing() {
    let mut engine = two_groups();
    engine.stand_by();
    engine.rights_changed(&Scope::Cluster, now_at(ms(1_000)));
    engine.wake(now_at(ms(60_000)));
    assert!(engine.take_work().is_empty());
    assert_eq!(engine.next_wake(), None);
}
