//! One of something for each machine, found by the machine's number: oracles that see every event ask for it every time.

use crate::mesh::node::NodeId;

/// One `T` for each machine; what nobody has asked for is a default
#[derive(Debug, Default)]
pub(super) struct PerNode<T>(Vec<T>);

impl<T: Default> PerNode<T> {
    pub(super) fn of(&mut self, node: NodeId) -> &mut T {
        if self.0.len() <= node.index() {
            self.0.resize_with(node.index() + 1, T::default);
        }
        &mut self.0[node.index()]
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Those that have been asked for, and any below them
    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeId, &T)> + Clone {
        (0..).map(NodeId).zip(&self.0)
    }
}
