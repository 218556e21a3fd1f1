//! A supernode that lets everybody in, and does what it is asked for at once.

use super::super::*;
use super::members::*;
use super::world::{Delivery, End, World, far};
use crate::crypto::Handshake;
use crate::id::Epoch;
use crate::status::Status;
use crate::wire::bounded::Bounded;
use crate::wire::packet::{self, Edit};
use crate::wire::removed::{AskRemoved, EndMark, Mark, Removed, SignedMark};
use crate::wire::session::{Challenge, Found, Granted, Listing, LoggedOut, LookUp, Renewed, Rewire, Subject};
use crate::wire::{Frame, PacketBytes, VERSION};

const LEASE: Duration = Duration::from_secs(30);
pub(super) const NONCE: [u8; 32] = [0xb0; 32];

impl World {
    pub(super) fn challenge(&mut self, link: LinkId, peer_nonce: [u8; 32], peer: Key) {
        let (supernode, supernode_nonce) = (ed(SUPERNODE).key(), NONCE);
        let handshake =
            Handshake { peer_nonce, supernode_nonce, peer, supernode, network: network(), version: VERSION };
        let signature = ed(SUPERNODE).sign(&handshake.challenge_bytes());
        let challenge = Challenge { certificate: certificate(), signature, secret_required: false, is_led: true };
        self.queue.push_back(Delivery::Frame(link, Frame::Challenge(challenge)));
    }

    pub(super) fn at_supernode(&mut self, n: u8, frame: Frame) {
        match frame {
            Frame::Login(_) => {
                let (grant, lease_ms) = (signed_grant(n), LEASE.as_millis() as u32);
                let rewire = self.rewire_of(n, &[]);
                self.send_home(n, Frame::Granted(Granted { grant, lease_ms, rewire: Box::new(rewire) }));
            }
            Frame::Renew(renew) => {
                let renewed = Renewed { session: renew.session, epoch: Epoch::new(0, self.epoch), is_cut_off: false };
                self.send_home(n, Frame::Renewed(renewed));
            }
            Frame::Logout(logout) => self.send_home(n, Frame::LoggedOut(LoggedOut { session: logout.session })),
            Frame::LookUp(LookUp { query, subject, .. }) => {
                let is_meant = |record: &Record| match &subject {
                    Subject::Name(name) => *name == record.name,
                    Subject::ShortId(short) => *short == record.address.short(),
                };
                let known = self.peers.keys().map(|n| record(*n)).chain(self.strangers.clone());
                let record = known.into_iter().find(is_meant);
                let status = if record.is_some() { Status::Delivered } else { Status::NotFound };
                self.look_ups.push(subject);
                self.send_home(n, Frame::Found(Found { query, status, record, index: 0, is_stale: false }));
            }
            Frame::List(list) => {
                let names = self.peers.len() as u64;
                let listing = Listing { names, ..Listing::refused(list.query, Status::Delivered) };
                self.send_home(n, Frame::Listing(listing));
            }
            Frame::AskRemoved(AskRemoved { mark }) => {
                let told = self.removed_after(&mark);
                self.send_home(n, Frame::Removed(told));
            }
            Frame::Relay(packet) => self.relay(&packet),
            Frame::Report(report) => self.reports.push(report),
            other => panic!("a supernode is not told {other:?}"),
        }
    }

    pub(super) fn removed_after(&self, mark: &Mark) -> Removed {
        let (from, keys) = self.removed.page_after(mark);
        let end = EndMark { network: network(), mark: self.removed.mark() };
        Removed { from, keys, end: SignedMark::sign(&end, &ed(SUPERNODE), certificate()).unwrap() }
    }

    /// The supernode passes a packet on to whom it is for, if it knows it
    pub(super) fn relay(&mut self, relayed: &PacketBytes) {
        let to = relayed.as_ref().header().destination;
        let Some(n) = self.peers.keys().find(|n| address(**n) == to).copied() else { return };
        let edit = Edit { way: Some((packet::Mark::Relay, address(15).short())), ..Edit::default() };
        self.pass(far(self.link_of_home(n)), &relayed.as_ref(), &edit);
    }

    /// The link of a peer's own to the supernode, logged in or not
    fn link_of_home(&self, n: u8) -> LinkId {
        far(*self.links.iter().rev().find(|(_, end)| **end == End::Supernode(n)).expect("a home link").0)
    }

    pub(super) fn send_home(&mut self, n: u8, frame: Frame) {
        let link = self.link_of_home(n);
        self.queue.push_back(Delivery::Frame(link, frame));
    }

    pub(super) fn rewire_of(&self, n: u8, edges: &[(u8, u8)]) -> Rewire {
        let of = |(a, b): &(u8, u8)| if *a == n { Some(*b) } else { (*b == n).then_some(*a) };
        let neighbours = Bounded::truncated(edges.iter().filter_map(of).map(record));
        Rewire {
            epoch: Epoch::new(0, self.epoch),
            members: self.peers.len() as u64,
            degree: 4,
            neighbours,
            apart: Default::default(),
        }
    }
}
