//! The links that there are, and how many there may be.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use kith_common::link::limits::Limits;
use kith_common::link::places::Places;
use kith_common::link::reason::CloseReason;

use super::LinkId;
use super::state::Link;
use super::wake::Wake;

/// All links of the thread; every `RefCell` is borrowed within one call, never across an await
pub(crate) struct Registry {
    pub(crate) places: Places,
    /// Those that commands can name; bounded by the places
    links: RefCell<BTreeMap<LinkId, Rc<Link>>>,
    /// Links whose tasks run, those with last words included
    running: Cell<usize>,
    ended: Wake,
    link_count: Cell<u64>,
}

impl Registry {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            places: Places::new(limits),
            links: RefCell::default(),
            running: Cell::new(0),
            ended: Wake::default(),
            link_count: Cell::new(0),
        }
    }

    /// A number that no link had
    pub(crate) fn next_link(&self) -> LinkId {
        self.link_count.set(self.link_count.get() + 1);
        LinkId(self.link_count.get())
    }

    pub(crate) fn add(&self, link: &Rc<Link>) {
        self.running.set(self.running.get() + 1);
        self.links.borrow_mut().insert(link.id, Rc::clone(link));
    }

    /// Nothing finds the link any more; it may still have last words
    pub(crate) fn remove(&self, link: &Link) {
        self.links.borrow_mut().remove(&link.id);
    }

    /// The link's last task is about to end, and the driver knows
    pub(crate) fn forget(&self) {
        self.running.set(self.running.get() - 1);
        self.ended.wake();
    }

    pub(crate) fn link(&self, id: LinkId) -> Option<Rc<Link>> {
        self.links.borrow().get(&id).cloned()
    }

    /// Links whose tasks run
    pub(crate) fn running(&self) -> usize {
        self.running.get()
    }

    /// Ends all links, and waits until there are none
    pub(crate) async fn close_all(&self, reason: &CloseReason) {
        // Again after each end: a handshake that was under way may have become a link meanwhile.
        loop {
            self.links.borrow().values().for_each(|link| link.close(reason.clone()));
            if self.running() == 0 {
                return;
            }
            self.ended.woken().await;
        }
    }
}
