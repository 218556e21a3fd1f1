//! The links that there are, and how many there may be.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use kith_common::link::limits::{Limits, Refusal};
use kith_common::link::lobby::LobbyId;
use kith_common::link::permits::{Permit, Permits};
use kith_common::link::reason::CloseReason;
use kith_common::rate::Strangers;
use kith_common::time::Instant;

use super::LinkId;
use super::state::Link;
use super::wake::Wake;
use crate::sync::{Mistake, makes};

/// All links of the thread; every `RefCell` is borrowed within one call, never across an await
pub(crate) struct Registry {
    pub(crate) permits: Permits,
    /// Wakes each connection that has not said hello when it is to make room; bounded by the permits
    lobby: RefCell<BTreeMap<LobbyId, Rc<Wake>>>,
    /// Those that commands can name; bounded by the permits
    links: RefCell<BTreeMap<LinkId, Rc<Link>>>,
    /// Links whose tasks run, those with last words included
    running: Cell<usize>,
    ended: Wake,
    link_count: Cell<u64>,
    /// Links that ended before anybody took who dialled for a member
    pub(crate) strangers: Strangers,
}

impl Registry {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            permits: Permits::new(limits),
            lobby: RefCell::default(),
            links: RefCell::default(),
            running: Cell::new(0),
            ended: Wake::default(),
            link_count: Cell::new(0),
            strangers: Strangers::default(),
        }
    }

    /// A permit for a connection that has not said hello, and what is woken when it must make room
    pub(crate) fn enter(self: &Rc<Self>, now: Instant, ip: Option<IpAddr>) -> Result<(Visitor, Rc<Wake>), Refusal> {
        let permit = self.permits.pending(now, ip);
        // Whoever comes in vain may still have shown that others are overdue.
        while let Some(gone) = self.permits.poll_put_out() {
            if let Some(put_out) = self.lobby.borrow_mut().remove(&gone)
                && !makes(Mistake::PutsOutInSilence)
            {
                put_out.wake();
            }
        }
        let (permit, put_out) = (permit?, Rc::<Wake>::default());
        if let Some(id) = permit.lobby_id() {
            self.lobby.borrow_mut().insert(id, Rc::clone(&put_out));
        }
        Ok((Visitor { registry: Rc::clone(self), permit }, put_out))
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

/// A connection that has not said hello; its permit and what would wake it are given back when dropped
pub(crate) struct Visitor {
    registry: Rc<Registry>,
    pub(crate) permit: Permit,
}

impl Drop for Visitor {
    fn drop(&mut self) {
        if let Some(id) = self.permit.lobby_id() {
            self.registry.lobby.borrow_mut().remove(&id);
        }
    }
}

#[cfg(test)]
#[cfg(feature = "schedules")]
mod schedules;
