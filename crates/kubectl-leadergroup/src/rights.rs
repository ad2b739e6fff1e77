//! What accounts may do, as the API server answers: `SubjectAccessReviews`.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;

use crate::session::{Session, is_forbidden};

/// A `ServiceAccount`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    pub namespace: String,
    pub name: String,
}

/// What could not be checked, and why.
pub type Checked<T> = Result<T, String>;

/// Questions under way at a time.
pub const AT_A_TIME: usize = 8;

/// A list that may be refused, or of a kind that there is not.
pub fn checked<T>(result: kube::Result<T>, what: &str) -> Result<Checked<T>> {
    match result {
        Ok(found) => Ok(Ok(found)),
        Err(error) if is_forbidden(&error) => Ok(Err(format!("you may not {what}"))),
        Err(error) => Err(error).with_context(|| format!("can't {what}")),
    }
}

/// Something an account may be allowed to do. An empty namespace or name stands for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Right {
    pub verb: String,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
}

impl Right {
    /// A verb on Leases.
    pub fn on_leases(verb: &str, namespace: &str, name: &str) -> Self {
        Self {
            verb: verb.to_owned(),
            group: "coordination.k8s.io".to_owned(),
            resource: "leases".to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Self::default()
        }
    }
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        for (before, part) in [('/', &self.subresource), ('.', &self.group), (' ', &self.name)] {
            if !part.is_empty() {
                f.write_char(before)?;
                f.write_str(part)?;
            }
        }
        Ok(())
    }
}

/// Whether the account may do that.
///
/// # Errors
///
/// When the API server does not answer.
pub async fn may(session: &Session, account: &Account, right: &Right) -> Result<Checked<bool>> {
    let Account { namespace, name } = account;
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{namespace}:{name}")),
            groups: Some(vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ]),
            resource_attributes: Some(ResourceAttributes {
                verb: some(&right.verb),
                group: some(&right.group),
                resource: some(&right.resource),
                subresource: some(&right.subresource),
                namespace: some(&right.namespace),
                name: some(&right.name),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    match Api::all(session.client.clone()).create(&PostParams::default(), &review).await {
        Ok(answer) => Ok(Ok(answer
            .status
            .is_some_and(|status: k8s_openapi::api::authorization::v1::SubjectAccessReviewStatus| status.allowed))),
        Err(error) if is_forbidden(&error) => {
            Ok(Err("you may not create subjectaccessreviews.authorization.k8s.io".to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}
