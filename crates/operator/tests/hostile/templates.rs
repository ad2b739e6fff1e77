//! Templates of identities, read by the letter.

use std::collections::HashSet;

use leadergroup_operator::judge::Identity;
use leadergroup_operator::model::Pod;
use leadergroup_operator::wire::PodWire;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use super::input::{PODS, an_identity};
use crate::support::{decode, pod};

#[derive(Clone, Debug)]
pub enum Piece {
    Text(String),
    Pod,
    Node,
    Uid,
    Any,
}

/// A template, a pod, and an identity that mostly follows the template.
#[derive(Clone, Debug)]
pub struct Case {
    pieces: Vec<Piece>,
    pod: Pod,
    pub identity: String,
}

pub fn a_case() -> impl Strategy<Value = Case> {
    let text = prop_oneof![
        select(vec!["-", "_", ".", "a", "é", "billing-leader-", "web-0", "*", ".*", "^", "[a-z]+", "\\d", "$1", "\n"])
            .prop_map(ToOwned::to_owned),
        "[^{}]{1,4}",
    ];
    let piece = prop_oneof![
        3 => text.prop_map(Piece::Text),
        3 => Just(Piece::Pod),
        1 => Just(Piece::Node),
        1 => Just(Piece::Uid),
        2 => Just(Piece::Any),
    ];
    let pieces = prop::collection::vec(piece, 1..7);
    let pieces =
        pieces.prop_filter("it names no pod", |p| p.iter().any(|p| matches!(p, Piece::Pod | Piece::Node | Piece::Uid)));
    let hostname = select(vec![None, None, Some("web-1".to_owned()), Some("h".repeat(63)), Some("h-".repeat(40))]);
    let change =
        prop::option::of((any::<prop::sample::Index>(), prop::option::of(select(vec!['-', '_', 'a', 'é', '{', '\0']))));
    let by_template = (any::<u8>(), "[^{}]{1,3}", change);
    let identity = prop_oneof![4 => by_template.prop_map(Ok), 1 => an_identity().prop_map(Err)];
    (pieces, select(PODS.to_vec()), hostname, prop::bool::weighted(0.2), identity).prop_map(
        |(pieces, name, hostname, network, identity)| {
            let mut object = pod(name, "0-1", "n1", "Running", &[]);
            object["spec"]["hostname"] = json!(hostname);
            object["spec"]["hostNetwork"] = json!(network);
            let pod = decode::<PodWire>(&object).into();
            let identity = match identity {
                Ok((which, any, change)) => laid_out(&pieces, &pod, usize::from(which), &any, change),
                // Whoever reads by the letter reads slowly.
                Err(other) => other.chars().take(100).collect(),
            };
            Case { pieces, pod, identity }
        },
    )
}

/// One piece is left out, or its first character taken and another put at its end.
type Change = (prop::sample::Index, Option<char>);

/// The identity that the pod has by the template, or nearly.
fn laid_out(pieces: &[Piece], pod: &Pod, which: usize, any: &str, change: Option<Change>) -> String {
    let names = names(pod);
    let text = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Pod => names[which % names.len()].clone(),
        Piece::Node => pod.node.clone().unwrap_or_default(),
        Piece::Uid => pod.uid.clone(),
        Piece::Any => any.to_owned(),
    };
    let mut texts: Vec<String> = pieces.iter().map(text).collect();
    if let Some((at, by)) = change {
        let changed = &mut texts[at.index(pieces.len())];
        *changed = by.map_or_else(String::new, |by| changed.chars().skip(1).chain([by]).collect());
    }
    texts.concat()
}

fn names(pod: &Pod) -> Vec<String> {
    let hostname = pod.hostname.clone().unwrap_or_else(|| pod.name.clone());
    let cut: String = hostname.chars().take(63).collect();
    let seen = if hostname.len() < 63 { cut } else { cut.trim_end_matches(['-', '.']).to_owned() };
    let mut names = vec![pod.name.clone(), seen];
    names.extend(pod.node.clone().filter(|_| pod.host_network));
    names
}

impl Case {
    fn template(&self) -> String {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Pod => "{pod}".to_owned(),
            Piece::Node => "{node}".to_owned(),
            Piece::Uid => "{uid}".to_owned(),
            Piece::Any => "{any}".to_owned(),
        };
        self.pieces.iter().map(text).collect()
    }

    /// Whether one piece after the other can be taken from the front of the identity until nothing is left of either.
    fn fits(&self, piece: usize, rest: &str, failed: &mut HashSet<(usize, usize)>) -> bool {
        let Some(next) = self.pieces.get(piece) else { return rest.is_empty() };
        if failed.contains(&(piece, rest.len())) {
            return false;
        }
        let mut after = |text: &str| rest.strip_prefix(text).is_some_and(|rest| self.fits(piece + 1, rest, failed));
        let fits = match next {
            Piece::Text(text) => after(text),
            Piece::Pod => names(&self.pod).iter().any(|name| after(name)),
            Piece::Node => after(self.pod.node.as_deref().unwrap_or_default()),
            Piece::Uid => after(&self.pod.uid),
            Piece::Any => {
                rest.char_indices().skip(1).map(|(at, _)| at).chain([rest.len()]).any(|at| at > 0 && after(&rest[..at]))
            }
        };
        if !fits {
            failed.insert((piece, rest.len()));
        }
        fits
    }

    /// What is wrong with how the operator reads the template.
    pub fn misread(&self) -> Option<String> {
        let template = self.template();
        let identity = Identity::new(Some(&template)).expect("a template of known placeholders");
        let fits = identity.fits(&self.identity, &self.pod);
        if fits != self.fits(0, &self.identity, &mut HashSet::new()) {
            return Some(format!("it {} the template {template:?}", if fits { "fits" } else { "does not fit" }));
        }
        if fits && !identity.fits_some_pod(&self.identity) {
            return Some("it fits the pod, and no pod".to_owned());
        }
        let goes_by_name = self.pod.hostname.is_none() && !self.pod.host_network && !self.pod.name_is_cut();
        let only = identity.only_name(&self.identity).filter(|_| fits && goes_by_name);
        only.filter(|only| *only != self.pod.name).map(|only| format!("only a pod named {only:?} may have it"))
    }
}

/// What is wrong with how the operator takes a template, valid or not.
pub fn mistaken(template: &str) -> Option<String> {
    let names = ["{pod}", "{node}", "{uid}", "{any}"];
    let literal = names.iter().fold(template.to_owned(), |text, name| text.replace(name, "\u{1}"));
    let valid = !literal.contains(['{', '}']) && names[..3].iter().any(|name| template.contains(name));
    let error = match (Identity::new(Some(template)), valid) {
        (Ok(_), true) => return None,
        (Ok(_), false) => return Some("it is taken, though the API server would refuse it".to_owned()),
        (Err(error), true) => return Some(format!("it is refused: {error}")),
        (Err(error), false) => error.to_string(),
    };
    let sentence = error.replacen(&format!("{template:?}"), "T", 1);
    let is_one = sentence.starts_with("identity T ") && !sentence.contains(['\n', '.', ';']) && sentence.len() < 160;
    (!is_one).then(|| format!("the error is not one sentence: {error}"))
}
