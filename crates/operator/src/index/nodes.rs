//! The nodes of the index.

use super::{Cause, Index};
use crate::model::Node;
use crate::time::Now;
use crate::wire::NodeWire;

impl Index {
    /// Notes whether nodes can be read, which every judgement may depend on.
    pub(super) fn hide_nodes(&mut self, hidden: bool) {
        if std::mem::replace(&mut self.nodes_hidden, hidden) != hidden {
            self.touched.extend(self.groups.keys().map(|key| (key.clone(), Cause::Change)));
        }
    }

    pub(super) fn apply_node(&mut self, wire: NodeWire, now: Now) {
        let name = wire.metadata.name.clone().unwrap_or_default();
        let mut node = Node::from(wire);
        let known = self.nodes.get(&name);
        node.lost_since =
            (node.out_of_service && !node.ready).then(|| known.and_then(|n| n.lost_since).unwrap_or(now.mono));
        if known == Some(&node) {
            return;
        }
        self.nodes.insert(name.clone(), node);
        self.touch_node(&name);
    }

    pub(super) fn delete_node(&mut self, name: &str) {
        if self.nodes.remove(name).is_some() {
            self.touch_node(name);
        }
    }

    fn touch_node(&mut self, node: &str) {
        for (key, names) in self.members.all() {
            let pods = self.pods.get(&key.namespace);
            let existing = names.iter().filter_map(|n| pods?.get(n));
            let gone = self.gone.of(key).map(|g| &g.pod);
            if existing.chain(gone).any(|p| p.node.as_deref() == Some(node)) {
                self.touched.push((key.clone(), Cause::Change));
            }
        }
    }
}
