//! The values behind the vectors that are really signed: keys, grants, a login, a link, a packet on its way.

use kith_common::crypto::{self, Handshake, Signer};
use kith_common::id::{Address, Epoch, MessageId, NetworkId, SessionId, ShortId};
use kith_common::lift;
use kith_common::removed::RemovedKeys;
use kith_common::ring::Ring;
use kith_common::session::listening;
use kith_common::status::Status;
use kith_common::testing::Ed;
use kith_common::wire::bounded::Bounded;
use kith_common::wire::content::{Content, Message, Payload, Reply, Signal, SignedMessage};
use kith_common::wire::grant::{Certificate, Grant, SignedCertificate, SignedGrant};
use kith_common::wire::link::{Delta, LinkState, Probe, ProbeReply, Table, TableEntry};
use kith_common::wire::packet::{Class, Edit, Header, Mark, PacketRef, TTL_DEFAULT, emit_forwarded, new_packet};
use kith_common::wire::removed::{EndMark, SignedMark};
use kith_common::wire::session::{
    Challenge, Found, Granted, Hello, Location, Locations, LoggedOut, Login, Logout, LookUp, Purpose, Reason, Record,
    Renew, Renewed, Rewire, Role, Subject,
};
use kith_common::wire::{self, Bye, Frame, PacketBytes, VERSION};

use super::values::{Value, frame, name, raw, value};

const NETWORK_SEED: [u8; 32] = [0x11; 32];
const SUPERNODE_SEED: [u8; 32] = [0x12; 32];
const ALICE_SEED: [u8; 32] = [0x13; 32];
const BOB_SEED: [u8; 32] = [0x14; 32];
pub(crate) const SECRET: &[u8] = b"correct horse battery staple";
pub(crate) const PEER_NONCE: [u8; 32] = [0xa1; 32];
pub(crate) const SUPERNODE_NONCE: [u8; 32] = [0x51; 32];
/// Of the log that the directory stands in
const INCARNATION: u32 = 7;
const QUERY: u64 = 0x0102_0304_0506_0708;
const MESSAGE: MessageId = MessageId([0x3e; 16]);

pub(crate) fn network_pen() -> Ed {
    Ed::from_seed(NETWORK_SEED)
}

pub(crate) fn supernode_pen() -> Ed {
    Ed::from_seed(SUPERNODE_SEED)
}

pub(crate) fn alice_pen() -> Ed {
    Ed::from_seed(ALICE_SEED)
}

fn bob_pen() -> Ed {
    Ed::from_seed(BOB_SEED)
}

pub(crate) fn network() -> NetworkId {
    crypto::network_id(&network_pen().key())
}

/// One of the two peers of the vectors
#[derive(Clone, Copy)]
pub(crate) struct Who {
    name: &'static str,
    seed: [u8; 32],
    session: SessionId,
    epoch: Epoch,
    pub(crate) boot: u64,
    nonce: [u8; 32],
}

pub(crate) const ALICE: Who = Who {
    name: "alice",
    seed: ALICE_SEED,
    session: SessionId([0xa5; 16]),
    epoch: Epoch::new(INCARNATION, 3),
    boot: 1,
    nonce: [0xa2; 32],
};
pub(crate) const BOB: Who = Who {
    name: "bob",
    seed: BOB_SEED,
    session: SessionId([0xb5; 16]),
    epoch: Epoch::new(INCARNATION, 2),
    boot: 4,
    nonce: [0xb2; 32],
};

impl Who {
    pub(crate) fn pen(&self) -> Ed {
        Ed::from_seed(self.seed)
    }

    /// bob comes first, into an empty ring
    fn address(&self) -> Address {
        let bob = lift::choose_address(&bob_pen().key(), &[0x5b; 16], &Ring::new());
        if self.name == BOB.name {
            return bob;
        }
        lift::choose_address(&self.pen().key(), &[0x5a; 16], &Ring::from_iter([bob]))
    }

    pub(crate) fn grant(&self) -> Grant {
        let Self { session, epoch, .. } = *self;
        let (network, key, address) = (network(), self.pen().key(), self.address());
        Grant { network, name: name(self.name), key, address, session, epoch }
    }

    fn signed_grant(&self) -> SignedGrant {
        SignedGrant::sign(&self.grant(), &supernode_pen(), certificate()).unwrap()
    }

    /// The table that has this peer alone
    pub(crate) fn rewire(&self) -> Rewire {
        Rewire {
            epoch: Epoch::new(INCARNATION, 3),
            members: 2,
            degree: 16,
            neighbours: Bounded::truncated([self.record()]),
            apart: Bounded::new(),
        }
    }

    fn record(&self) -> Record {
        let (name, key, address, epoch) = (name(self.name), self.pen().key(), self.address(), self.epoch);
        let locations = Locations::truncated([Location::truncated("/ip4/192.0.2.8/tcp/7401")]);
        Record { name, key, address, epoch, locations }
    }

    fn hello(&self) -> Frame {
        Frame::Hello(Hello {
            role: Role::Peer,
            purpose: Purpose::Neighbour,
            boot: self.boot,
            nonce: self.nonce,
            network: Some(network()),
            grant: Some(self.signed_grant()),
        })
    }

    fn table_with(&self, other: &Self) -> Frame {
        let entry = TableEntry { address: other.address(), up: false, name: name(other.name) };
        Frame::Table(Table {
            epoch: Epoch::new(INCARNATION, 3),
            entries: Bounded::truncated([entry]),
            unseen: Bounded::truncated([other.address()]),
        })
    }

    fn delta_of(other: &Self) -> Frame {
        Frame::Delta(Delta { changes: Bounded::truncated([LinkState { address: other.address(), up: true }]) })
    }

    /// A packet that its source hands to the destination itself
    fn packet(&self, to: &Self, id: u64, message: &Message) -> Frame {
        let signed = SignedMessage::sign(message, self.signed_grant(), &self.pen()).unwrap();
        let payload = wire::encode(&Payload::Message(Box::new(signed))).unwrap();
        let header = Header { class: Class::Signal, ..Header::new(self.address(), to.address(), id) };
        let made = new_packet(&header, &payload).unwrap();
        Frame::Packet(PacketBytes::new(forwarded(&made, &Edit::default())).unwrap())
    }
}

pub(crate) fn certificate() -> SignedCertificate {
    let certificate = Certificate { network_key: network_pen().key(), supernode: supernode_pen().key(), serial: 1 };
    SignedCertificate::sign(&certificate, &network_pen()).unwrap()
}

pub(crate) fn handshake() -> Handshake {
    Handshake {
        peer_nonce: PEER_NONCE,
        supernode_nonce: SUPERNODE_NONCE,
        peer: alice_pen().key(),
        supernode: supernode_pen().key(),
        network: network(),
        version: VERSION,
    }
}

fn forwarded(packet: &[u8], edit: &Edit) -> Vec<u8> {
    let mut out = Vec::new();
    emit_forwarded(&PacketRef::parse(packet).unwrap(), edit, &mut out).unwrap();
    out
}

/// The signature within the bytes of something signed, which begins with its counted body
fn signature_in(signed: &[u8]) -> Vec<u8> {
    let body = usize::from(u16::from_le_bytes([signed[0], signed[1]]));
    signed[2 + body..2 + body + 64].to_vec()
}

fn keys() -> Vec<Value> {
    vec![
        raw("secret key of the network", NETWORK_SEED),
        raw("key of the network", network_pen().key().0),
        raw("secret key of the supernode", SUPERNODE_SEED),
        raw("key of the supernode", supernode_pen().key().0),
        raw("secret key of alice", ALICE_SEED),
        raw("key of alice", alice_pen().key().0),
        raw("secret key of bob", BOB_SEED),
        raw("key of bob", bob_pen().key().0),
        raw("network secret", SECRET),
        raw("signed network id, under the hash", [b"kith/network/1\0".as_slice(), &network_pen().key().0].concat()),
        raw("signed network id", network().0),
    ]
}

fn grants() -> Vec<Value> {
    let body = wire::encode(&certificate().verify(None, &network_pen()).unwrap()).unwrap();
    let signed = wire::encode(&certificate()).unwrap();
    let mut values = vec![
        raw("signed certificate, under the signature", crypto::tagged(crypto::CERTIFICATE, &[&body])),
        raw("signed certificate, its bytes", body),
        raw("signed certificate, signature", signature_in(&signed)),
        value("signed certificate", certificate()),
        value("address of bob", BOB.address()),
        value("address of alice", ALICE.address()),
    ];
    let names = [
        [
            "signed grant of alice, its bytes",
            "signed grant of alice, under the signature",
            "signed grant of alice, signature",
            "signed grant of alice",
        ],
        [
            "signed grant of bob, its bytes",
            "signed grant of bob, under the signature",
            "signed grant of bob, signature",
            "signed grant of bob",
        ],
    ];
    for (who, [its_bytes, under, signature, whole]) in [ALICE, BOB].iter().zip(names) {
        let body = wire::encode(&who.grant()).unwrap();
        values.push(raw(under, crypto::tagged(crypto::GRANT, &[&body])));
        values.push(raw(signature, signature_in(&wire::encode(&who.signed_grant()).unwrap())));
        values.push(raw(its_bytes, body));
        values.push(value(whole, who.signed_grant()));
    }
    values
}

/// bob was removed, and nobody else
fn removals() -> Vec<Value> {
    let mut list = RemovedKeys::default();
    assert!(list.push(bob_pen().key()));
    let end = EndMark { network: network(), mark: list.mark() };
    let body = wire::encode(&end).unwrap();
    let signed = SignedMark::sign(&end, &supernode_pen(), certificate()).unwrap();
    let hashed = [b"kith/removed-keys/1\0".as_slice(), &[0; 16], &bob_pen().key().0].concat();
    vec![
        raw("removed keys, under the hash", hashed),
        value("signed end of the removed keys, its bytes", end),
        raw("signed end of the removed keys, under the signature", crypto::tagged(crypto::REMOVED, &[&body])),
        raw("signed end of the removed keys, signature", signature_in(&wire::encode(&signed).unwrap())),
        value("signed end of the removed keys", signed),
    ]
}

fn handshakes() -> Vec<Value> {
    let handshake = handshake();
    let challenge = handshake.challenge_bytes();
    let login = handshake.login_bytes(&name("alice"));
    let parts = challenge[crypto::CHALLENGE.len() + 1..].to_vec();
    vec![
        raw("signed challenge, signature", supernode_pen().sign(&challenge).0),
        raw("signed challenge, under the signature", challenge),
        raw("signed login, signature", alice_pen().sign(&login).0),
        raw("signed login, under the signature", login),
        raw("secret proof, key", crypto::sha256(&[SECRET])),
        raw("secret proof, under the key", [crypto::SECRET.as_bytes(), &[0], &parts].concat()),
        raw("secret proof", handshake.secret_proof(SECRET)),
        raw("handshake, six parts", parts),
    ]
}

fn messages() -> [Message; 2] {
    let reply = Reply { to: MESSAGE, status: Status::Delivered, path: Bounded::new(), reason: Default::default() };
    [
        Message { id: MESSAGE, to: name("bob"), content: Content::Signal(Signal::Ping) },
        Message { id: MessageId([0x3f; 16]), to: name("alice"), content: Content::Reply(reply) },
    ]
}

fn signed_messages() -> Vec<Value> {
    let names = [
        ["signed ping, its bytes", "signed ping, under the signature", "signed ping, signature"],
        ["signed reply, its bytes", "signed reply, under the signature", "signed reply, signature"],
    ];
    let mut values = Vec::new();
    for ((message, who), [its_bytes, under, signature]) in messages().into_iter().zip([ALICE, BOB]).zip(names) {
        let body = wire::encode(&message).unwrap();
        let tagged = crypto::tagged(crypto::MESSAGE, &[&body]);
        let signed = wire::encode(&SignedMessage::sign(&message, who.signed_grant(), &who.pen()).unwrap()).unwrap();
        assert!(signed.ends_with(&who.pen().sign(&tagged).0));
        values.push(raw(signature, who.pen().sign(&tagged).0));
        values.push(raw(under, tagged));
        values.push(value(its_bytes, message));
    }
    values
}

pub(crate) fn login_frames() -> Vec<(&'static str, Frame)> {
    let session = ALICE.session;
    let hello = |role, nonce, network| Hello { role, purpose: Purpose::Home, boot: 1, nonce, network, grant: None };
    let handshake = handshake();
    let challenge = Challenge {
        certificate: certificate(),
        signature: supernode_pen().sign(&handshake.challenge_bytes()),
        secret_required: true,
        is_led: true,
    };
    let login = Login {
        name: name("alice"),
        signature: alice_pen().sign(&handshake.login_bytes(&name("alice"))),
        secret_proof: Some(handshake.secret_proof(SECRET)),
        external: Locations::new(),
        listening: listening(["192.0.2.7:7401".parse().unwrap()]),
        resume: None,
        invite: None,
    };
    let granted = Granted { grant: ALICE.signed_grant(), lease_ms: 30_000, rewire: Box::new(BOB.rewire()) };
    let look_up = LookUp { query: QUERY, ttl: 0, subject: Subject::Name(name("bob")), may_be_stale: false };
    let found =
        Found { query: QUERY, status: Status::Delivered, record: Some(BOB.record()), index: 4, is_stale: false };
    let bye = Bye { status: Status::Delivered, reason: Reason::truncated("logged out") };
    vec![
        ("login 01 peer: Hello", Frame::Hello(hello(Role::Peer, PEER_NONCE, None))),
        ("login 02 supernode: Hello", Frame::Hello(hello(Role::Supernode, SUPERNODE_NONCE, Some(network())))),
        ("login 03 supernode: Challenge", Frame::Challenge(challenge)),
        ("login 04 peer: Login", Frame::Login(login)),
        ("login 05 supernode: Granted", Frame::Granted(granted)),
        ("login 06 peer: Renew", Frame::Renew(Renew { session, epoch: Epoch::new(INCARNATION, 3) })),
        (
            "login 07 supernode: Renewed",
            Frame::Renewed(Renewed { session, epoch: Epoch::new(INCARNATION, 3), is_cut_off: false }),
        ),
        ("login 08 peer: LookUp", Frame::LookUp(look_up)),
        ("login 09 supernode: Found", Frame::Found(found)),
        ("login 10 supernode: Probe", Frame::Probe(Probe { sequence: 1 })),
        ("login 11 peer: ProbeReply", Frame::ProbeReply(ProbeReply { sequence: 1 })),
        ("login 12 peer: Logout", Frame::Logout(Logout { session })),
        ("login 13 supernode: LoggedOut", Frame::LoggedOut(LoggedOut { session })),
        ("login 14 supernode: Bye", Frame::Bye(bye)),
    ]
}

pub(crate) fn link_frames() -> Vec<(&'static str, Frame)> {
    let [ping, reply] = messages();
    let bye = Bye { status: Status::Gone, reason: Reason::truncated("this peer logs out") };
    vec![
        ("link 01 bob: Hello", BOB.hello()),
        ("link 02 alice: Hello", ALICE.hello()),
        ("link 03 bob: Table", BOB.table_with(&ALICE)),
        ("link 04 alice: Table", ALICE.table_with(&BOB)),
        ("link 05 bob: Delta", Who::delta_of(&ALICE)),
        ("link 06 alice: Delta", Who::delta_of(&BOB)),
        ("link 07 alice: Probe", Frame::Probe(Probe { sequence: 1 })),
        ("link 08 bob: ProbeReply", Frame::ProbeReply(ProbeReply { sequence: 1 })),
        ("link 09 alice: Packet with a ping", ALICE.packet(&BOB, 0x1111_2222_3333_4444, &ping)),
        ("link 10 bob: Packet with the reply", BOB.packet(&ALICE, 0x5555_6666_7777_8888, &reply)),
        ("link 11 bob: Bye", Frame::Bye(bye)),
    ]
}

fn packets() -> Vec<Value> {
    let header = Header {
        destination: Address(0x0fed_cba9_8765_4321),
        source: ALICE.address(),
        id: QUERY,
        ttl: TTL_DEFAULT,
        class: Class::Data,
        congested: false,
        traced: false,
    };
    let [a, b, c, d] = [10, 11, 12, 13].map(ShortId);
    let tried = |who| Edit { way: Some((Mark::Tried, who)), ..Edit::default() };
    let edits = [
        ("packet 2 from alice to a", Edit::default()),
        ("packet 3 from a to b", Edit { way: Some((Mark::Way, a)), ..Edit::default() }),
        ("packet 4 given back by b", Edit { dead: vec![d].into(), ..tried(b) }),
        ("packet 5 from a to c", Edit::default()),
        ("packet 6 given back by c", tried(c)),
        ("packet 7 given back by a", Edit { give_back: Some(a), ..Edit::default() }),
    ];
    let mut packet = new_packet(&header, b"hi").unwrap();
    let checked = |name, bytes: Vec<u8>| {
        let decode = |bytes: &[u8]| PacketRef::parse(bytes).map(|_| true);
        Value { name, bytes, decode: Box::new(decode) }
    };
    let mut values = vec![checked("packet 1 made by alice", packet.clone())];
    for (name, edit) in edits {
        packet = forwarded(&packet, &edit);
        values.push(checked(name, packet.clone()));
    }
    values
}

/// Every value that is really signed, or stands in a transcript
pub(crate) fn signed_values() -> Vec<Value> {
    let record = value("record of bob", BOB.record());
    let frames = login_frames().into_iter().chain(link_frames());
    let frames = frames.map(|(name, said)| frame(name, said)).chain([record]).collect();
    [keys(), grants(), removals(), handshakes(), signed_messages(), frames, packets()].into_iter().flatten().collect()
}
