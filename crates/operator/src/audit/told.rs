//! What the user is told: the condition `CandidatesAuthorized`, and an Event when it becomes false.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use leadergroup_api::LeaderGroupStatus;

use super::{Answers, Finding, Right, Subject};
use crate::decide::action::Notice;
use crate::index::{Group, Key};
use crate::text::cut;
use crate::time::Now;

/// The condition's type.
pub const CANDIDATES_AUTHORIZED: &str = "CandidatesAuthorized";
/// The condition's longest message, in bytes: what is wrong with the most accounts, of names as long as they can be.
const LONGEST_MESSAGE: usize = 4_096;

/// What is said.
struct Told {
    status: &'static str,
    reason: &'static str,
    message: String,
}

fn unknown(why: &str) -> Told {
    Told { status: "Unknown", reason: "NotAudited", message: why.to_owned() }
}

/// The condition as of this finding. Without one, what the status says already is left as it is, for it is no older than
/// an operator's restart.
pub fn condition(
    base: &LeaderGroupStatus,
    group: &Group,
    subject: &Result<Subject, &'static str>,
    finding: Option<&Finding>,
    now: Now,
) -> Condition {
    let before = find(base);
    let mut generation = group.generation;
    let told = match (subject, finding) {
        (Err(why), _) => unknown(why),
        (Ok(_), Some(Finding::Refused)) => unknown(
            "the operator may not create subjectaccessreviews.authorization.k8s.io: apply config/rbac/role.yaml, or \
             config/components/cluster-reads where it watches some namespaces",
        ),
        (Ok(present), Some(Finding::Answered { subject, answers })) => {
            // The next audit answers for what the spec says now.
            if *present != **subject {
                generation = before.and_then(|c| c.observed_generation).or(generation);
            }
            found(&group.key, subject, answers)
        }
        (Ok(_), None) => match before {
            Some(known) if known.status != "Unknown" => return known.clone(),
            _ => unknown("the rights of the candidates are about to be checked"),
        },
    };
    let since = before.filter(|c| c.status == told.status).map(|c| c.last_transition_time.clone());
    Condition {
        last_transition_time: since.unwrap_or_else(|| Time(now.wall_second())),
        message: cut(told.message, LONGEST_MESSAGE),
        observed_generation: generation,
        reason: told.reason.to_owned(),
        status: told.status.to_owned(),
        type_: CANDIDATES_AUTHORIZED.to_owned(),
    }
}

/// What the status says about the candidates' rights; none while that is not known.
pub fn authorized(status: &LeaderGroupStatus) -> Option<bool> {
    match find(status)?.status.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    }
}

/// The condition became false.
pub fn notice(base: &LeaderGroupStatus, status: &LeaderGroupStatus) -> Option<Notice> {
    if authorized(status) != Some(false) || authorized(base) == Some(false) {
        return None;
    }
    let condition = find(status)?;
    // The same lack within minutes is counted as one Event, another one is not.
    let mut hash = DefaultHasher::new();
    condition.message.hash(&mut hash);
    Some(Notice {
        warning: true,
        reason: condition.reason.clone(),
        action: format!("Audit{:016x}", hash.finish()),
        note: condition.message.clone(),
        pod: None,
        saved: None,
    })
}

fn find(status: &LeaderGroupStatus) -> Option<&Condition> {
    status.conditions.iter().find(|c| c.type_ == CANDIDATES_AUTHORIZED)
}

/// Whether every account may do what an elector has to, and one of them create the Lease if that is needed.
pub fn suffices(subject: &Subject, answers: &Answers) -> bool {
    lacking(subject, answers).is_empty() && may_create(subject, answers)
}

/// The accounts that lack a right on the Lease, with the verbs. Which of the two it renews by is the elector's choice, so
/// one is enough, and where both lack both are named.
fn lacking<'a>(subject: &'a Subject, answers: &Answers) -> Vec<(&'a str, Vec<&'static str>)> {
    let lacks = |account: usize| {
        let may = |right| answers.allow(account, right);
        let renew = may(Right::Update) || may(Right::Patch);
        let needs = [(may(Right::Get), "get"), (renew, "update"), (renew, "patch")];
        needs.into_iter().filter(|(may, _)| !may).map(|(_, verb)| verb)
    };
    let accounts = subject.accounts.iter().enumerate();
    accounts.map(|(at, name)| (&**name, lacks(at).collect::<Vec<_>>())).filter(|(_, verbs)| !verbs.is_empty()).collect()
}

fn may_create(subject: &Subject, answers: &Answers) -> bool {
    !subject.must_create || (0..subject.accounts.len()).any(|account| answers.allow(account, Right::Create))
}

fn named(accounts: &[&str]) -> String {
    let plural = if accounts.len() == 1 { "" } else { "s" };
    format!("ServiceAccount{plural} {}", accounts.join(", "))
}

fn found(group: &Key, subject: &Subject, answers: &Answers) -> Told {
    let lease = &subject.lease;
    let all: Vec<&str> = subject.accounts.iter().map(|name| &**name).collect();
    let of_those = |is_so: &dyn Fn(usize) -> bool| -> Vec<&str> {
        all.iter().enumerate().filter(|(at, _)| is_so(*at)).map(|(_, name)| *name).collect()
    };
    let lacking = lacking(subject, answers);
    let mut sentences: Vec<String> = lacking
        .iter()
        .map(|(account, verbs)| format!("ServiceAccount {account} may not {} Lease {lease}", verbs.join(" or ")))
        .collect();
    let creates = may_create(subject, answers);
    if !creates {
        sentences.push(format!("{} may not create Lease {lease}, which does not exist", named(&all)));
    }
    let suffices = sentences.is_empty();
    if suffices {
        sentences.push(format!("{} may get and renew Lease {lease}", named(&all)));
    }
    let blind = of_those(&|at| answers.to(at, Right::Watch) == Some(false));
    if suffices && !blind.is_empty() {
        sentences.push(format!("note: {} may not watch it, so only an elector that polls works", named(&blind)));
    }
    let anywhere = of_those(&|at| answers.allow(at, Right::UpdateAnywhere));
    if !anywhere.is_empty() {
        sentences
            .push(format!("note: {} may update Leases in all namespaces, which no candidate needs", named(&anywhere)));
    }
    if subject.of > all.len() {
        sentences.push(format!("only the first {} of {} ServiceAccounts were checked", all.len(), subject.of));
    }
    if !lacking.is_empty() {
        let accounts: Vec<&str> = lacking.iter().map(|(account, _)| *account).collect();
        sentences.push(format!("allow it: {}", grant(group, lease, &accounts)));
    }
    if !creates {
        sentences.push(format!("allow an account to create Leases, or have the operator do so: {}", create(group)));
    }
    let (status, reason) = if suffices { ("True", "Authorized") } else { ("False", "MissingRights") };
    Told { status, reason, message: sentences.join("; ") }
}

/// The commands that give these accounts the rights on the Lease that any elector needs.
fn grant(group: &Key, lease: &str, accounts: &[&str]) -> String {
    let Key { namespace, name } = group;
    let subjects: Vec<_> = accounts.iter().map(|account| format!("--serviceaccount={namespace}:{account}")).collect();
    let binding = format!("leadergroup-{name}-{}", accounts.first().unwrap_or(&""));
    format!(
        "kubectl create role leadergroup-{name} -n {namespace} --verb=get,watch,update,patch \
         --resource=leases.coordination.k8s.io --resource-name={lease}; \
         kubectl create rolebinding {binding} -n {namespace} --role=leadergroup-{name} {}",
        subjects.join(" ")
    )
}

/// The command that has the operator create the Lease.
fn create(group: &Key) -> String {
    let Key { namespace, name } = group;
    format!(
        r#"kubectl patch leadergroup {name} -n {namespace} --type=merge -p '{{"spec":{{"lease":{{"create":true}}}}}}'"#
    )
}
