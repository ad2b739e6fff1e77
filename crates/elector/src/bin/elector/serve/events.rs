//! Server-sent events: what is known now, and whenever it changes.

use std::convert::Infallible;
use std::sync::Arc;

use axum::response::sse::Event;
use futures::Stream;
use leadergroup_elector::{Leadership, Status};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::http::Desk;
use super::view::View;

/// One client's stream. It holds no events, only what the client was told last: one that reads slowly misses what
/// happened in between, and then gets what is so.
struct Teller {
    desk: Arc<Desk>,
    leadership: Leadership,
    status: watch::Receiver<Status>,
    giving_up: watch::Receiver<bool>,
    told: Option<View>,
    _place: OwnedSemaphorePermit,
}

/// Begins with what is so now.
pub fn stream(desk: Arc<Desk>, place: OwnedSemaphorePermit) -> impl Stream<Item = Result<Event, Infallible>> {
    let (leadership, status, giving_up) = (desk.leadership.clone(), desk.status.clone(), desk.giving_up.clone());
    let teller = Teller { desk, leadership, status, giving_up, told: None, _place: place };
    futures::stream::unfold(teller, |mut teller| async move {
        let event = teller.next().await?;
        Some((Ok(event), teller))
    })
}

impl Teller {
    /// None once elector ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let view = self.desk.view();
            if let Some(name) = name(self.told.as_ref(), &view) {
                let data = serde_json::to_string(&view).ok()?;
                self.told = Some(view);
                return Some(Event::default().event(name).data(data));
            }
            let campaigns = self.status.has_changed().is_ok();
            tokio::select! {
                () = self.desk.end.cancelled() => return None,
                _ = self.leadership.changed(), if campaigns => {}
                _ = self.status.changed(), if campaigns => {}
                changed = self.giving_up.changed() => changed.ok()?,
            }
        }
    }
}

/// Which event tells the difference, if one does.
fn name(told: Option<&View>, now: &View) -> Option<&'static str> {
    let Some(told) = told else { return Some("leadership") };
    let essence = |view: &View| (view.leading, view.campaigning, view.term.as_ref().map(|term| term.token));
    if essence(told) != essence(now) || told.holder != now.holder {
        return Some("leadership");
    }
    let end = |view: &View| view.term.as_ref().map(|term| term.valid_until_boottime_milliseconds);
    (end(told) != end(now)).then_some("renewed")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use leadergroup_election::Version;
    use leadergroup_elector::{Options, Term};

    use super::*;
    use crate::serve::view::About;

    fn view(holder: Option<&str>, term: Option<(u64, u64)>) -> View {
        let status = Status { holder: holder.map(Into::into), ..Status::default() };
        let term = term.map(|(token, until)| {
            let until = Duration::from_millis(until);
            Term { token: Version(token), valid_until: until, expires_at: until }
        });
        let about = About::of(&Options::new("shop", "billing", "a"));
        about.view(&status, term, Duration::ZERO, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_first_event_tells_what_is_so() {
        assert_eq!(name(None, &view(None, None)), Some("leadership"));
    }

    #[test]
    fn gain_loss_and_a_change_of_the_holder_are_told() {
        let (free, mine) = (view(None, None), view(Some("a"), Some((7, 100))));
        let theirs = view(Some("b"), None);
        for (before, after) in [(&free, &mine), (&mine, &theirs), (&theirs, &mine), (&theirs, &free), (&mine, &free)] {
            assert_eq!(name(Some(before), after), Some("leadership"), "{before:?} {after:?}");
        }
        assert_eq!(name(Some(&mine), &view(Some("a"), Some((9, 100)))), Some("leadership"), "another term");
        let left = View { campaigning: false, ..free.clone() };
        assert_eq!(name(Some(&free), &left), Some("leadership"));
    }

    #[test]
    fn a_renewal_is_told_to_clients_of_the_leader_alone() {
        let mine = view(Some("a"), Some((7, 100)));
        assert_eq!(name(Some(&mine), &view(Some("a"), Some((7, 200)))), Some("renewed"));
        assert_eq!(name(Some(&view(Some("b"), None)), &view(Some("b"), None)), None);
    }

    #[test]
    fn what_keeps_a_candidate_from_its_lease_is_no_event() {
        let before = view(Some("b"), None);
        let after = View { problem: Some("could not get the Lease".into()), ..before.clone() };
        assert_eq!(name(Some(&before), &after), None);
    }
}
