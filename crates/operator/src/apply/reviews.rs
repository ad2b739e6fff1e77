//! Asks the API server what a candidate's account may do.

use std::sync::Arc;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;

use super::{Applier, DEADLINE};
use crate::audit::{Answers, BrokenOff, Question, Right, Subject, questions};
use crate::engine::{Outcome, Work};
use crate::time::Mono;

impl Applier {
    /// Asks one question after the other, as long as they are answered, and within a deadline for all of them.
    pub(super) async fn audit(&self, work: &Work, subject: &Arc<Subject>, began: Mono) -> Outcome {
        let reviews = Api::<SubjectAccessReview>::all(self.client.clone());
        let mut answers = Answers::default();
        let mut broke_off = None;
        while let Some(question) = questions::next(subject, &answers) {
            if self.clock.now().mono > began + DEADLINE {
                broke_off = Some(BrokenOff::Failed(format!("it takes longer than {} s", DEADLINE.as_secs())));
                break;
            }
            let review = review(&work.group.namespace, subject, question);
            let params = PostParams::default();
            let request = async {
                match reviews.create(&params, &review).await {
                    Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
                    answer => answer.map(|review| Some(review.status.is_some_and(|status| status.allowed))),
                }
            };
            match self.send(work, request).await {
                Ok(Some(allowed)) => answers.note(question, allowed),
                Ok(None) => broke_off = Some(BrokenOff::Refused),
                Err(failure) => broke_off = Some(BrokenOff::Failed(format!("{failure:?}"))),
            }
            if broke_off.is_some() {
                break;
            }
        }
        Outcome::Audited { subject: subject.clone(), answers, broke_off }
    }
}

/// The question, about an account as the API server knows it once it has authenticated one of its pods.
fn review(namespace: &str, subject: &Subject, question: Question) -> SubjectAccessReview {
    let account = subject.accounts.get(question.account).map_or("", |name| &**name);
    let groups = [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        "system:authenticated".to_owned(),
    ];
    // No namespace stands for all of them. To create is asked without a name, which such a request does not have.
    let everywhere = question.right == Right::UpdateAnywhere;
    let named = !everywhere && question.right != Right::Create;
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{namespace}:{account}")),
            groups: Some(groups.into()),
            resource_attributes: Some(ResourceAttributes {
                group: Some("coordination.k8s.io".to_owned()),
                version: Some("v1".to_owned()),
                resource: Some("leases".to_owned()),
                verb: Some(question.right.verb().to_owned()),
                namespace: (!everywhere).then(|| namespace.to_owned()),
                name: named.then(|| subject.lease.clone()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}
