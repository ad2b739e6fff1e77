//! The requests of a candidate, and what becomes of them.

use futures::future::BoxFuture;
use kube::Api;
use kube::api::PostParams;
use leadergroup_election::{Answer, Observation, Request, What};

use crate::clock::until;
use crate::lease::{self, Lease};
use crate::problem::Problem;

/// What became of a request.
pub(crate) struct Reply {
    pub id: u64,
    pub answer: Answer,
    pub is_read: bool,
    /// The Lease after it.
    pub lease: Option<Lease>,
    /// Why it failed, where that says anything.
    pub problem: Option<Problem>,
}

/// Sends a request. `known` is the Lease at the version that the request names.
pub(crate) fn send(api: &Api<Lease>, name: &str, known: Option<&Lease>, request: Request) -> BoxFuture<'static, Reply> {
    let (api, name, known) = (api.clone(), name.to_owned(), known.cloned());
    Box::pin(async move {
        let deadline = until(request.deadline);
        let params = PostParams { field_manager: Some(lease::MANAGER.to_owned()), ..PostParams::default() };
        let (verb, result) = match &request.what {
            What::Read => ("get", tokio::time::timeout(deadline, api.get_opt(&name)).await),
            What::Create(change) => {
                let object = lease::new(&name, change);
                let created = tokio::time::timeout(deadline, api.create(&params, &object)).await;
                ("create", created.map(|result| result.map(Some)))
            }
            What::Replace(version, change) => {
                let Some(known) = known.filter(|known| lease::version(&known.metadata).is_ok_and(|v| v == *version))
                else {
                    // A later one has arrived since the request was made.
                    return Reply {
                        id: request.id,
                        answer: Answer::Conflict,
                        is_read: false,
                        lease: None,
                        problem: None,
                    };
                };
                let object = lease::changed(&known, change);
                let replaced = tokio::time::timeout(deadline, api.replace(&name, &params, &object)).await;
                ("update", replaced.map(|result| result.map(Some)))
            }
        };
        let is_read = matches!(request.what, What::Read);
        let (answer, lease, problem) = match result {
            Ok(Ok(lease)) => match lease.as_ref().map_or(Ok(Observation::Absent(None)), lease::seen) {
                Ok(observation) => (Answer::Done(observation), lease, None),
                Err(error) => (Answer::Unknown, None, Some(Problem::Version(error))),
            },
            Ok(Err(error)) => {
                let answer = answer_of(&error, is_read);
                let told = (answer != Answer::Conflict).then(|| Problem::of(verb, error));
                (answer, None, told)
            }
            Err(_) => (Answer::Unknown, None, Some(Problem::NoAnswer { verb })),
        };
        Reply { id: request.id, answer, is_read, lease, problem }
    })
}

/// Whether a request that failed may have been done all the same.
fn answer_of(error: &kube::Error, is_read: bool) -> Answer {
    match error {
        kube::Error::Api(status) => match status.code {
            409 => Answer::Conflict,
            // A Lease that was to be replaced is gone. A namespace that is gone is told when the Lease is created.
            404 if !is_read => Answer::Conflict,
            400..=499 if status.code != 408 => Answer::Refused,
            _ => Answer::Unknown,
        },
        _ => Answer::Unknown,
    }
}
