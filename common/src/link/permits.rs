//! Permits within the [`limits`](super::limits), each given back by whoever lets go of it.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use super::limits::{Guest, Held, Limits, Refusal, Usage};
use super::lobby::LobbyId;
use crate::mutant::{self, Mutant};
use crate::time::Instant;
use crate::wire::FrameKind;
use crate::wire::session::Purpose;

/// The permits of one process; clones hand out the same ones
#[derive(Clone)]
pub struct Permits(Rc<RefCell<Usage>>);

/// A permit that somebody holds within the limits; given back when dropped
pub struct Permit {
    permits: Permits,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Pending(LobbyId),
    Dial,
    Incoming(Option<IpAddr>, Guest),
    Outgoing,
}

impl Permits {
    /// Nobody holds one yet
    pub fn new(limits: Limits) -> Self {
        Self(Rc::new(RefCell::new(Usage::new(limits))))
    }

    /// For a connection that came; others may have lost theirs in any case, as [`Permits::poll_put_out`] says
    ///
    /// # Errors
    /// Which limit keeps it out.
    pub fn pending(&self, now: Instant, ip: Option<IpAddr>) -> Result<Permit, Refusal> {
        let id = self.0.borrow_mut().begin_pending(now, ip)?;
        Ok(self.permit(Kind::Pending(id)))
    }

    /// Whose connection is to be dropped, to make room; drain after every [`Permits::pending`]
    pub fn poll_put_out(&self) -> Option<LobbyId> {
        self.0.borrow_mut().poll_put_out()
    }

    /// A frame of this kind goes over a link to `ip`; whether it says that the other side is a member
    pub fn on_sent(&self, kind: FrameKind, ip: Option<IpAddr>) -> bool {
        self.0.borrow_mut().on_sent(kind, ip)
    }

    /// For a dial
    ///
    /// # Errors
    /// How many links there are, if there may be no dial.
    pub fn dial(&self) -> Result<Permit, usize> {
        self.0.borrow_mut().begin_dial()?;
        Ok(self.permit(Kind::Dial))
    }

    /// For a link that came in for this purpose, by the word of whoever dialled
    ///
    /// # Errors
    /// Which limit keeps it out.
    pub fn incoming(&self, ip: Option<IpAddr>, purpose: Purpose) -> Result<Permit, Refusal> {
        let guest = self.0.borrow_mut().begin_incoming(ip, purpose)?;
        Ok(self.permit(Kind::Incoming(ip, guest)))
    }

    /// For a link that was dialled
    ///
    /// # Errors
    /// How many links there are, if there may be no more.
    pub fn outgoing(&self) -> Result<Permit, usize> {
        self.0.borrow_mut().begin_outgoing()?;
        Ok(self.permit(Kind::Outgoing))
    }

    /// How many are held at present
    pub fn held(&self) -> Held {
        self.0.borrow().held()
    }

    fn permit(&self, kind: Kind) -> Permit {
        Permit { permits: self.clone(), kind }
    }
}

impl Permit {
    /// The number of a connection that has not said hello
    pub const fn lobby_id(&self) -> Option<LobbyId> {
        if let Kind::Pending(id) = self.kind { Some(id) } else { None }
    }

    /// The first byte came: a connection keeps its permit until it ends
    pub fn on_first_byte(&self) {
        if let Kind::Pending(id) = self.kind {
            self.permits.0.borrow_mut().on_first_byte(id);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut usage = self.permits.0.borrow_mut();
        match self.kind {
            Kind::Pending(_) if mutant::is(Mutant::HandshakePlaceKept) => {}
            Kind::Incoming(..) if mutant::is(Mutant::LinkPlaceKept) => {}
            Kind::Pending(id) => usage.end_pending(id),
            Kind::Dial => usage.end_dial(),
            Kind::Incoming(ip, guest) => usage.end_incoming(ip, guest),
            Kind::Outgoing => usage.end_outgoing(),
        }
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.kind.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_given_back_when_its_holder_lets_go() {
        let limits = Limits { pending_max: 1, pending_reserved: 0, dials_max: 1, ..Limits::default() };
        let (permits, now) = (Permits::new(limits), Instant::ZERO);
        let held = [permits.pending(now, None).unwrap(), permits.dial().unwrap(), permits.outgoing().unwrap()];
        assert_eq!(permits.held(), Held { pending: 1, dials: 1, incoming: 0, outgoing: 1 });
        held.iter().for_each(Permit::on_first_byte);
        assert_eq!((permits.pending(now, None).unwrap_err(), permits.dial().unwrap_err()), (Refusal::Pending, 1));
        drop(held);
        assert_eq!(permits.held(), Held { pending: 0, dials: 0, incoming: 0, outgoing: 0 });
        assert!(permits.pending(now, None).is_ok() && permits.incoming(None, Purpose::Home).is_ok());
    }
}
