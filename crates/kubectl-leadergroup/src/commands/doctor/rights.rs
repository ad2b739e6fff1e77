//! Whether the candidates may do what an elector has to, and no more.

use kube::ResourceExt as _;
use leadergroup_elector::lease::MANAGER;

use super::case::Case;
use super::finding::{Mend, Report};
use super::snapshot::May;
use crate::objects::{holder, renewed_by};

pub fn examine(case: &Case<'_>, report: &mut Report) {
    const CHECK: &str = "rights";
    let may = match case.patient.rights {
        Ok(may) => may,
        Err(why) => return report.skip(CHECK, why),
    };
    let (namespace, group) = (case.patient.namespace, case.patient.group);
    let name = group.name_any();
    let grant = || format!("kubectl leadergroup -n {namespace} rbac {name} | kubectl apply -f -");
    let lease = group.lease_name();
    // Most electors poll, as one that leads without the right to watch shows; ours does not.
    let needs_watch = case
        .patient
        .place
        .lease_of(group)
        .is_none_or(|lease| holder(lease).is_none() || renewed_by(lease) == Some(MANAGER));
    for account in may {
        let lacks: Vec<_> = [(account.get, "get"), (account.update, "update")]
            .iter()
            .filter(|(may, _)| !may)
            .map(|(_, verb)| *verb)
            .collect();
        let who = &account.account.name;
        if !lacks.is_empty() {
            report.fail(CHECK, format!("ServiceAccount {who} may not {} Lease {lease}", lacks.join(" or ")), grant());
        } else if !account.watch && needs_watch {
            let message =
                format!("ServiceAccount {who} may not watch Lease {lease}, so only an elector that polls works");
            report.warn(CHECK, message, grant());
        }
        excess(account, report);
    }
    let must_create = case.patient.place.lease_of(group).is_none() && !group.spec.lease.create;
    if must_create && !may.is_empty() && !may.iter().any(|account| account.create) {
        report.fail(CHECK, format!("no candidate may create Lease {lease}, which does not exist"), grant());
    }
}

fn excess(account: &May, report: &mut Report) {
    let who = &account.account;
    let what = if account.everything {
        "do everything in its namespace, so it can make itself leader of any group there"
    } else if account.update_anywhere {
        "update the Leases of all namespaces, so it can make itself leader of any group"
    } else {
        return;
    };
    let message = format!("ServiceAccount {} may {what}: no candidate needs that", who.name);
    let mend = Mend::from(format!(
        "kubectl get rolebindings,clusterrolebindings -A -o wide | grep -w {}/{}",
        who.namespace, who.name
    ))
    .and("take it away in what binds it");
    report.warn("excess-rights", message, mend);
}
