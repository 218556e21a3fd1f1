//! The keys that names must have, as the user sees and changes them.

use kith_common::id::{Key, Name};
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_runtime::control::peer::{PINS_PAGE_MAX, PinAnswer, PinnedKey, PinnedName, PinsAnswer};
use kith_runtime::control::server::Reply;
use kith_runtime::identity::peer_id_of;
use kith_transport::stack::Pin;

use super::Driver;
use crate::inbox::NameChange;

impl Driver {
    pub(super) fn list_pins(&self, name: Option<Name>, after: Option<Name>, reply: Reply) {
        let Some(name) = name else {
            let mut pins = self.stack.pins(after.as_ref());
            let page = pins.by_ref().take(PINS_PAGE_MAX).map(|(name, pin)| pinned(name, pin)).collect();
            let answer = PinsAnswer { pins: page, more: pins.next().is_some() };
            return reply.finish(Status::Delivered, &answer);
        };
        match self.stack.pin_of(&name) {
            Some(pin) => {
                reply.finish(Status::Delivered, &PinsAnswer { pins: vec![pinned(&name, pin)], more: false });
            }
            None => self.refuse_unpinned(&name, reply),
        }
    }

    pub(super) fn pin(&mut self, now: Instant, name: Name, key: Key, reply: Reply) {
        let before = self.stack.pin_of(&name).map(|pin| pin.key);
        if key == self.stack.peer().key() || self.is_own_name(&name) {
            return reply.refuse(Status::Conflict, "that is this peer itself, which needs no pin", None);
        }
        match self.stack.pin(now, name.clone(), key) {
            Ok(()) => {
                let answer = PinAnswer { name: name.clone(), before: before.as_ref().map(peer_id) };
                self.inbox.trust(NameChange::Pin(name, key), reply, answer);
            }
            Err(error) => reply.refuse(Status::SlowDown, error.to_string(), Some(self.next("trust"))),
        }
    }

    pub(super) fn unpin(&mut self, now: Instant, name: Name, reply: Reply) {
        match self.stack.unpin(now, &name) {
            Some(key) => {
                let answer = PinAnswer { name: name.clone(), before: Some(peer_id(&key)) };
                self.inbox.trust(NameChange::Unpin(name), reply, answer);
            }
            None => self.refuse_unpinned(&name, reply),
        }
    }

    fn refuse_unpinned(&self, name: &Name, reply: Reply) {
        let error = format!("no key is pinned to {name}: the first one that answers to it is");
        reply.refuse(Status::NotFound, error, Some(self.next("trust")));
    }
}

fn pinned(name: &Name, Pin { key, refused }: &Pin) -> PinnedName {
    let refused = refused.as_ref().map(peer_id);
    PinnedName { name: name.clone(), key: PinnedKey(*key), peer_id: peer_id(key), refused }
}

/// What is no key of libp2p's was never proved to be somebody's, so that nobody sees the digits
fn peer_id(key: &Key) -> String {
    peer_id_of(key).map_or_else(|| kith_common::hex::encode(&key.0), |id| id.to_string())
}
