//! The links that there are, and how many there may be.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use kith_common::link::limits::{Admission, Limits, Refusal};
use kith_common::link::reason::CloseReason;

use super::LinkId;
use super::state::Link;
use super::wake::Wake;

/// All links of the thread; every `RefCell` is borrowed within one call, never across an await
pub(crate) struct Registry {
    admission: RefCell<Admission>,
    /// Those that commands can name; bounded by the admission
    links: RefCell<BTreeMap<LinkId, Rc<Link>>>,
    /// Links whose tasks run, those with last words included
    running: Cell<usize>,
    ended: Wake,
    link_count: Cell<u64>,
}

impl Registry {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            admission: RefCell::new(Admission::new(limits)),
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

/// A place that somebody holds within the limits; given back when dropped
pub(crate) struct Slot {
    registry: Rc<Registry>,
    kind: SlotKind,
}

#[derive(Clone, Copy)]
enum SlotKind {
    Pending(Option<IpAddr>),
    Dial,
    Incoming(Option<IpAddr>),
    Outgoing,
}

impl Slot {
    pub(crate) fn pending(registry: &Rc<Registry>, ip: Option<IpAddr>) -> Result<Self, Refusal> {
        registry.admission.borrow_mut().begin_pending(ip)?;
        Ok(Self { registry: Rc::clone(registry), kind: SlotKind::Pending(ip) })
    }

    pub(crate) fn dial(registry: &Rc<Registry>) -> Result<Self, usize> {
        registry.admission.borrow_mut().begin_dial()?;
        Ok(Self { registry: Rc::clone(registry), kind: SlotKind::Dial })
    }

    pub(crate) fn incoming(registry: &Rc<Registry>, ip: Option<IpAddr>) -> Result<Self, Refusal> {
        registry.admission.borrow_mut().begin_incoming(ip)?;
        Ok(Self { registry: Rc::clone(registry), kind: SlotKind::Incoming(ip) })
    }

    pub(crate) fn outgoing(registry: &Rc<Registry>) -> Result<Self, usize> {
        registry.admission.borrow_mut().begin_outgoing()?;
        Ok(Self { registry: Rc::clone(registry), kind: SlotKind::Outgoing })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut admission = self.registry.admission.borrow_mut();
        match self.kind {
            SlotKind::Pending(ip) => admission.end_pending(ip),
            SlotKind::Dial => admission.end_dial(),
            SlotKind::Incoming(ip) => admission.end_incoming(ip),
            SlotKind::Outgoing => admission.end_outgoing(),
        }
    }
}
