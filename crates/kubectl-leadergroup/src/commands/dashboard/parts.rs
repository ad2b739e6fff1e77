//! A page as parts that change each by itself, and what is to be sent to a browser that has an older version of it.

use std::collections::HashMap;

use maud::Markup;
use serde::Serialize;

/// A part of a page: one element.
pub struct Part {
    /// The element's id.
    pub id: String,
    /// The id of the element it is a child of.
    pub within: &'static str,
    /// It looks the same as long as this is the same.
    pub key: String,
    /// What is told to somebody who doesn't see the page when this changes.
    pub gist: String,
    draw: Box<dyn Fn() -> Markup + Send>,
}

impl Part {
    pub fn new(
        id: impl Into<String>,
        within: &'static str,
        key: impl Into<String>,
        draw: impl Fn() -> Markup + Send + 'static,
    ) -> Self {
        Self { id: id.into(), within, key: key.into(), gist: String::new(), draw: Box::new(draw) }
    }

    #[must_use]
    pub fn with_gist(self, gist: impl Into<String>) -> Self {
        Self { gist: gist.into(), ..self }
    }

    /// The element, whose id is the part's.
    pub fn draw(&self) -> Markup {
        (self.draw)()
    }
}

/// What a browser was sent.
#[derive(Default)]
pub struct Sent(Option<HashMap<String, (String, String)>>);

/// What it has to change. The fields' names are the script's.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Changes {
    /// What the browser has of parts that are not in `put` is to be taken away: it may have an older page.
    pub all: bool,
    pub put: Vec<Put>,
    /// Ids of what is gone.
    pub drop: Vec<String>,
    /// Sentences for those who don't see it.
    pub say: Vec<String>,
}

/// A part to be put into its place, or to replace what is there.
#[derive(Debug, PartialEq, Serialize)]
pub struct Put {
    pub id: String,
    pub within: &'static str,
    /// The part before it in the same place, if there is one.
    pub after: Option<String>,
    pub html: String,
}

/// So many sentences are read out for one change; of more only the number.
const MOST_SENTENCES: usize = 3;

impl Changes {
    pub fn is_empty(&self) -> bool {
        !self.all && self.put.is_empty() && self.drop.is_empty()
    }
}

impl Sent {
    /// What is new since the last call; all of it the first time. Draws only that.
    pub fn changes(&mut self, now: &[Part]) -> Changes {
        let before = self.0.take();
        let mut changes = Changes { all: before.is_none(), ..Changes::default() };
        let mut before = before.unwrap_or_default();
        let mut sent = HashMap::with_capacity(now.len());
        let mut last: HashMap<&str, &str> = HashMap::new();
        for part in now {
            let known = before.remove(&part.id);
            if known.as_ref().is_none_or(|(key, _)| *key != part.key) {
                changes.put.push(Put {
                    id: part.id.clone(),
                    within: part.within,
                    after: last.get(part.within).map(|id| (*id).to_owned()),
                    html: part.draw().into_string(),
                });
            }
            let is_news = known.map_or(!changes.all, |(_, gist)| gist != part.gist);
            if is_news && !part.gist.is_empty() {
                changes.say.push(part.gist.clone());
            }
            last.insert(part.within, &part.id);
            sent.insert(part.id.clone(), (part.key.clone(), part.gist.clone()));
        }
        changes.drop = before.into_keys().collect();
        changes.drop.sort_unstable();
        if changes.say.len() > MOST_SENTENCES {
            let rest = changes.say.split_off(MOST_SENTENCES).len();
            changes.say.push(format!("and {rest} more"));
        }
        self.0 = Some(sent);
        changes
    }
}

#[cfg(test)]
mod tests {
    use maud::html;

    use super::*;

    fn rows(rows: &[(&'static str, &'static str)]) -> Vec<Part> {
        rows.iter().map(|&(id, key)| row(id, key)).collect()
    }

    fn row(id: &'static str, key: &'static str) -> Part {
        Part::new(id, "groups", key, move || html! { (id) ":" (key) }).with_gist(format!("{id} is {key}"))
    }

    /// In short: what is put where, what is dropped, what is said.
    fn told(changes: &Changes) -> String {
        let put = changes.put.iter().map(|put| format!("+{} after {}", put.html, put.after.as_deref().unwrap_or("-")));
        let drop = changes.drop.iter().map(|id| format!("-{id}"));
        let say = changes.say.iter().map(|line| format!("\"{line}\""));
        put.chain(drop).chain(say).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn the_first_time_all_is_sent_and_nothing_said() {
        let mut sent = Sent::default();
        let changes = sent.changes(&rows(&[("a", "1"), ("b", "1")]));
        assert!(changes.all);
        assert_eq!(told(&changes), "+a:1 after -, +b:1 after a");
    }

    #[test]
    fn then_only_what_changed_is() {
        let mut sent = Sent::default();
        sent.changes(&rows(&[("a", "1"), ("b", "1"), ("c", "1")]));
        let mut next = |now: &[Part]| {
            let changes = sent.changes(now);
            assert!(!changes.all);
            told(&changes)
        };
        assert_eq!(next(&rows(&[("a", "1"), ("b", "1"), ("c", "1")])), "");
        assert_eq!(next(&rows(&[("a", "1"), ("b", "2"), ("c", "1")])), "+b:2 after a, \"b is 2\"");
        assert_eq!(next(&rows(&[("a", "1"), ("aa", "1"), ("c", "1")])), "+aa:1 after a, -b, \"aa is 1\"");
        assert_eq!(next(&[]), "-a, -aa, -c");
    }

    #[test]
    fn a_part_that_looks_different_and_means_the_same_is_not_read_out() {
        let mut sent = Sent::default();
        sent.changes(&[row("a", "1")]);
        assert_eq!(told(&sent.changes(&[row("a", "2").with_gist("a is 1")])), "+a:2 after -");
    }

    #[test]
    fn many_changes_at_once_are_not_read_out_one_by_one() {
        let mut sent = Sent::default();
        sent.changes(&[]);
        let changes = sent.changes(&rows(&[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"), ("e", "1")]));
        assert_eq!(changes.say, ["a is 1", "b is 1", "c is 1", "and 2 more"]);
    }
}
