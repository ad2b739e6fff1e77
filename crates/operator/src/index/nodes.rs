//! The nodes of the index.

use super::{Cause, Index};
use crate::model::{Node, Pod};
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
        if known.is_none_or(|known| known.created != node.created) {
            let is_replaced = |pod: &Pod| pod.node.as_ref() == Some(&name) && node.replaced_under(pod);
            self.pods.lose(is_replaced);
            self.gone.lose(is_replaced);
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
        let on_node = |pod: &Pod| pod.node.as_deref() == Some(node);
        for (key, names) in self.members.all() {
            let mut existing = names.iter().filter_map(|name| self.pods.get(&key.namespace, name));
            if existing.any(on_node) {
                self.touched.push((key.clone(), Cause::Change));
            }
        }
        // Deleted pods of that node may be holders still.
        let gone = self.gone.all().filter(|(_, gone)| on_node(&gone.pod));
        let held: Vec<_> = gone.flat_map(|(namespace, gone)| self.held_by(namespace, &gone.pod)).collect();
        self.touched.extend(held.into_iter().map(|key| (key, Cause::Change)));
    }
}
