//! Whoever comes to the door: a key, a name, and an invite or none.

use std::net::IpAddr;

use kith_common::crypto::{Handshake, Signer};
use kith_common::id::{Key, Name, NetworkId, SessionId};
use kith_common::invite::Token;
use kith_common::link::{Direction, LinkId, Opened};
use kith_common::status::Status;
use kith_common::wire::session::{Hello, InviteProof, Locations, Login, Logout, Purpose, Role};
use kith_common::wire::{Frame, VERSION};

use crate::mesh::node::{Identity, Signed};
use crate::mesh::users;

/// Numbers of machines that are no supernodes begin here
const FIRST: u32 = 1_000;

pub(super) struct Person {
    identity: Identity,
    pub(super) name: Name,
    ip: IpAddr,
    pub(super) token: Option<Token>,
    pub(super) link: Option<LinkId>,
    /// How often it was let in
    pub(super) granted: u32,
    /// Why it was not
    pub(super) refused: Vec<Status>,
}

impl Person {
    pub(super) fn new(seed: u64, number: u32, ip: IpAddr, signed: &Signed) -> Self {
        let identity = Identity::derive(seed, FIRST + number, 0, signed);
        Self { identity, name: users::name_of(number), ip, token: None, link: None, granted: 0, refused: Vec::new() }
    }

    pub(super) fn key(&self) -> Key {
        self.identity.key()
    }

    /// A link of this person, and its login there
    pub(super) fn login(&self, link: LinkId, network: NetworkId, supernode: Key) -> (Opened, Login) {
        let (peer_nonce, own_nonce) = ([1; 32], [2; 32]);
        let (role, purpose) = (Role::Peer, Purpose::Home);
        let hello = Hello { role, purpose, boot: 1, nonce: peer_nonce, network: None, grant: None };
        let (direction, key) = (Direction::Incoming, self.key());
        let opened = Opened { link, direction, key, hello, own_nonce, dial: None, remote_ip: Some(self.ip) };
        let (peer, supernode_nonce, version) = (key, own_nonce, VERSION);
        let handshake = Handshake { peer_nonce, supernode_nonce, peer, supernode, network, version };
        let invite = self.token.map(|token| InviteProof { id: token.id(), proof: handshake.invite_proof(&token.0) });
        let login = Login {
            signature: self.identity.sign(&handshake.login_bytes(&self.name)),
            name: self.name.clone(),
            secret_proof: None,
            external: Locations::new(),
            listening: Default::default(),
            resume: None,
            invite,
        };
        (opened, login)
    }
}

pub(super) fn log_out(session: SessionId) -> Frame {
    Frame::Logout(Logout { session })
}
