//! Which pod a Lease's `holderIdentity` names.
//!
//! A template is literal text with placeholders. Placeholders for a pod's own values are replaced by
//! those values; `{any}` stands for one or more characters. Matching follows every way to read the
//! identity at once (a set of reachable positions), so no template can make it slow. No I/O, no Kubernetes types: the
//! operator and the kubectl plugin read pods each in their own way, and say of them what [`PodNames`] holds.

/// Host names are cut at this length by the kubelet (Linux allows 64 bytes with the final zero).
pub const HOSTNAME_MAX: usize = 63;
/// The longest template that the API server takes.
const TEMPLATE_MAX: usize = 253;

/// Why a template can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace that opens or closes nothing, or an unknown placeholder.
    #[error("identity {0:?} may use only the placeholders {{pod}}, {{node}}, {{uid}} and {{any}}, and no other braces")]
    Placeholder(String),
    /// Nothing in it tells one pod from another.
    #[error(
        "identity {0:?} must contain {{pod}}, {{node}} or {{uid}}: without one, a holder cannot be told from another"
    )]
    Anonymous(String),
}

/// What a pod is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodNames<'p> {
    /// Its name.
    pub name: &'p str,
    /// Its UID; for a static pod the hash of its manifest.
    pub uid: &'p str,
    /// The node it is bound to.
    pub node: Option<&'p str>,
    /// `spec.hostname`, where set.
    pub hostname: Option<&'p str>,
    /// Whether it uses its node's network, and so its host name.
    pub host_network: bool,
}

impl PodNames<'_> {
    /// The pod's name and the other names by which its programs may go: as they see it, and their node's where they use
    /// its network.
    pub fn all(self) -> Vec<String> {
        let mut names = self.own();
        if self.host_network {
            names.extend(self.node.map(ToOwned::to_owned));
        }
        names
    }

    /// The names that are the pod's own, also on its node's network.
    fn own(self) -> Vec<String> {
        let mut names = vec![self.name.to_owned()];
        if self.name.contains('.') {
            // Some programs replace what is neither letter nor digit.
            names.push(self.name.replace('.', "-"));
        }
        let hostname = self.hostname.unwrap_or(self.name);
        if let Some(cut) = hostname.get(..HOSTNAME_MAX) {
            names.push(cut.trim_end_matches(['-', '.']).to_owned());
        } else if hostname != self.name {
            names.push(hostname.to_owned());
        }
        names
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Pod,
    Node,
    Uid,
    Any,
}

/// How the group's library names its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    templates: Vec<Vec<Part>>,
}

impl Identity {
    /// The template a user wrote, or the default ones: `{pod}`, `{pod}_{any}`, and for host-network pods
    /// `{node}_{any}`, which is what `{pod}_{any}` reads as with their host name.
    ///
    /// # Errors
    /// On malformed templates; the API server refuses them too, but an older definition may have let one in.
    pub fn new(template: Option<&str>) -> Result<Self, TemplateError> {
        let templates = match template {
            Some(text) => vec![parse(text)?],
            None => vec![vec![Part::Pod], vec![Part::Pod, Part::Literal("_".to_owned()), Part::Any]],
        };
        Ok(Self { templates })
    }

    /// Whether the identity may be this pod's.
    pub fn fits<'p>(&self, identity: &str, pod: impl Into<PodNames<'p>>) -> bool {
        let pod = pod.into();
        let names = pod.all();
        let node: Vec<String> = pod.node.iter().map(ToString::to_string).collect();
        let uid = [pod.uid.to_owned()];
        self.templates.iter().any(|parts| {
            reaches_end(identity, parts, |part| match part {
                Part::Pod => Some(&names),
                Part::Node => Some(&node),
                Part::Uid => Some(&uid),
                Part::Literal(_) | Part::Any => None,
            })
        })
    }

    /// The name that a pod must have for this identity to be its own, if the templates allow only one: each begins with
    /// `{pod}`, followed by nothing or by a character that no pod's name has; or a single one has nothing but literal text
    /// around `{pod}`.
    pub fn only_name(&self, identity: &str) -> Option<String> {
        if let Some(name) = self.name_within_text(identity) {
            return Some(name.to_owned());
        }
        let in_names = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let delimited = self.templates.iter().all(|parts| match parts.as_slice() {
            [Part::Pod] => true,
            [Part::Pod, Part::Literal(text), ..] => !text.starts_with(in_names),
            _ => false,
        });
        let name = identity.split(|c| !in_names(c)).next().filter(|name| !name.is_empty())?;
        delimited.then(|| name.to_owned())
    }

    fn name_within_text<'i>(&self, identity: &'i str) -> Option<&'i str> {
        let [parts] = self.templates.as_slice() else { return None };
        let (before, after) = match parts.as_slice() {
            [Part::Pod, Part::Literal(after)] => ("", after.as_str()),
            [Part::Literal(before), Part::Pod] => (before.as_str(), ""),
            [Part::Literal(before), Part::Pod, Part::Literal(after)] => (before.as_str(), after.as_str()),
            _ => return None,
        };
        identity.strip_prefix(before)?.strip_suffix(after).filter(|name| !name.is_empty())
    }

    /// The template by which this identity would be one of these pods': for a user whose own fits nothing.
    ///
    /// The longest value that stands in it between characters of no word names the pod. What follows it may be another in
    /// each run; so may words with digits before it.
    pub fn proposal<'p>(identity: &str, pods: impl IntoIterator<Item: Into<PodNames<'p>>>) -> Option<String> {
        let found = pods.into_iter().map(Into::into).flat_map(|pod: PodNames<'_>| {
            let node = pod.node.filter(|_| pod.host_network);
            let node = node.map(ToOwned::to_owned).into_iter().collect();
            let values = [("{uid}", vec![pod.uid.to_owned()]), ("{pod}", pod.own()), ("{node}", node)];
            values.into_iter().flat_map(move |(placeholder, values)| {
                values
                    .into_iter()
                    .filter_map(move |value| Some((value.len(), template_around(identity, &value, placeholder)?)))
            })
        });
        let (_, template) = found.max_by_key(|(length, _)| *length)?;
        // A holder writes what it likes, and people copy this into specs and shells: nothing that could mean more there.
        let is_plain = template.chars().all(|c| c.is_alphanumeric() || "{}-_./:@+=~".contains(c));
        (is_plain && template.len() <= TEMPLATE_MAX && parse(&template).is_ok()).then_some(template)
    }

    /// Whether every identity of these templates contains its pod's UID, so that no other pod's processes can go by it.
    pub fn names_uid(&self) -> bool {
        self.templates.iter().all(|parts| parts.contains(&Part::Uid))
    }

    /// Whether the identity may be that of some pod, were there one.
    pub fn fits_some_pod(&self, identity: &str) -> bool {
        self.templates.iter().any(|parts| reaches_end(identity, parts, |_| None))
    }
}

/// The identity as a template, if the value stands in it with no letter or digit beside it.
fn template_around(identity: &str, value: &str, placeholder: &str) -> Option<String> {
    let in_word = |c: char| c.is_alphanumeric();
    let (before, after) = identity.match_indices(value).filter(|_| !value.is_empty()).find_map(|(at, _)| {
        let (before, after) = (&identity[..at], &identity[at + value.len()..]);
        (!before.ends_with(in_word) && !after.starts_with(in_word)).then_some((before, after))
    })?;
    let varies = before.rfind(|c: char| c.is_ascii_digit());
    let kept = varies.map_or(before, |at| before[at + 1..].trim_start_matches(in_word));
    let any_before = if varies.is_some() { "{any}" } else { "" };
    let mut rest = after.chars();
    let separator = rest.next().map(String::from).unwrap_or_default();
    let any_after = if rest.next().is_some() { "{any}" } else { "" };
    Some(format!("{any_before}{kept}{placeholder}{separator}{any_after}"))
}

fn parse(text: &str) -> Result<Vec<Part>, TemplateError> {
    let malformed = || TemplateError::Placeholder(text.to_owned());
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        match rest.find(['{', '}']) {
            Some(0) => {
                let (name, after) = rest.strip_prefix('{').and_then(|r| r.split_once('}')).ok_or_else(malformed)?;
                let part = match name {
                    "pod" => Part::Pod,
                    "node" => Part::Node,
                    "uid" => Part::Uid,
                    "any" => Part::Any,
                    _ => return Err(malformed()),
                };
                parts.push(part);
                rest = after;
            }
            next => {
                let (literal, after) = rest.split_at(next.unwrap_or(rest.len()));
                parts.push(Part::Literal(literal.to_owned()));
                rest = after;
            }
        }
    }
    if !parts.iter().any(|p| matches!(p, Part::Pod | Part::Node | Part::Uid)) {
        return Err(TemplateError::Anonymous(text.to_owned()));
    }
    Ok(parts)
}

/// Whether the parts can be laid over the whole identity. `values` gives the known values of a placeholder; without
/// them, a placeholder stands for any text of its kind.
fn reaches_end<'v>(identity: &str, parts: &[Part], values: impl Fn(&Part) -> Option<&'v [String]>) -> bool {
    let bytes = identity.as_bytes();
    let mut reachable = vec![false; bytes.len() + 1];
    reachable[0] = true;
    for part in parts {
        let mut next = vec![false; bytes.len() + 1];
        let mut lay = |text: &str| {
            for start in (0..reachable.len()).filter(|at| reachable[*at]) {
                if bytes[start..].starts_with(text.as_bytes()) {
                    next[start + text.len()] = true;
                }
            }
        };
        match (part, values(part)) {
            (Part::Literal(text), _) => lay(text),
            (_, Some(known)) => known.iter().for_each(|text| lay(text)),
            (part, None) => {
                let allowed = |b: u8| matches!(part, Part::Any) || b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
                let mut open = false;
                for at in 0..bytes.len() {
                    open = (open || reachable[at]) && allowed(bytes[at]);
                    next[at + 1] = open && identity.is_char_boundary(at + 1);
                }
            }
        }
        reachable = next;
    }
    reachable[bytes.len()]
}
