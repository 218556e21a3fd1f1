//! The protocol's vectors, checked by somebody else: other implementations of Ed25519, SHA-256 and HMAC than the
//! product's, a byte reader of its own, and nothing but what `docs/protocol.md` says.
//!
//! If a test here fails and those in `common/tests/golden` hold, the page is wrong, or the product and its vectors are.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by its panic"
)]

use std::collections::BTreeMap;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use aws_lc_rs::{digest, hmac};

/// The vectors by their names
struct Golden(BTreeMap<String, Vec<u8>>);

impl Golden {
    fn read() -> Self {
        let vectors = kith_common::fuzzing::golden().unwrap();
        Self(vectors.into_iter().map(|vector| (vector.name, vector.bytes)).collect())
    }

    fn get(&self, name: &str) -> &[u8] {
        self.0.get(name).unwrap_or_else(|| panic!("no vector {name}"))
    }

    /// The body of the frame with this name, once its header is checked
    fn body(&self, name: &str, kind: u8) -> Reader<'_> {
        let mut reader = Reader(self.get(name));
        assert_eq!(reader.u8(), kind, "kind of {name}");
        let length = reader.take(3);
        let length = usize::from(length[0]) | usize::from(length[1]) << 8 | usize::from(length[2]) << 16;
        assert_eq!(length, reader.0.len(), "length of {name}");
        reader
    }
}

/// Reads what the page calls u8, u16, u32, u64, bytes, text and option
#[derive(Clone)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.take(N).try_into().unwrap()
    }

    fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// Which incarnation of the log, and the index there
    fn epoch(&mut self) -> (u32, u64) {
        (self.u32(), self.u64())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    fn bytes(&mut self) -> &'a [u8] {
        let count = self.u16();
        self.take(count.into())
    }

    fn text(&mut self) -> &'a str {
        std::str::from_utf8(self.bytes()).unwrap()
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        match self.u8() {
            0 => None,
            1 => Some(read(self)),
            other => panic!("an option begins with {other}"),
        }
    }

    fn end(self) {
        assert_eq!(self.0, [0; 0], "bytes are left over");
    }
}

fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    digest::digest(&digest::SHA256, &parts.concat()).as_ref().to_vec()
}

/// The tag, a NUL, and each part after its length as u32
fn tagged(tag: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = [tag.as_bytes(), &[0]].concat();
    for part in parts {
        bytes.extend((part.len() as u32).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

fn verify(key: &[u8], bytes: &[u8], signature: &[u8]) {
    UnparsedPublicKey::new(&ED25519, key).verify(bytes, signature).expect("the signature is wrong");
}

/// Bytes that were signed, and the signature over them under `tag`
fn signed<'a>(reader: &mut Reader<'a>, tag: &str, key: &[u8]) -> &'a [u8] {
    let body = reader.bytes();
    verify(key, &tagged(tag, &[body]), reader.take(64));
    body
}

struct Certificate {
    network_key: [u8; 32],
    supernode: [u8; 32],
    serial: u64,
}

fn certificate(reader: &mut Reader<'_>) -> Certificate {
    let mut ahead = Reader(reader.clone().bytes());
    let network_key: [u8; 32] = ahead.array();
    let mut body = Reader(signed(reader, "kith/certificate/1", &network_key));
    let certificate = Certificate { network_key: body.array(), supernode: body.array(), serial: body.u64() };
    body.end();
    certificate
}

#[derive(Debug, PartialEq)]
struct Grant {
    network: [u8; 32],
    name: String,
    key: [u8; 32],
    address: u64,
    session: [u8; 16],
    epoch: (u32, u64),
}

/// The body and its signature come first, the certificate of who signed it last
fn grant(reader: &mut Reader<'_>, network: &[u8]) -> Grant {
    let (body, signature) = (reader.bytes(), reader.take(64));
    let certificate = certificate(reader);
    assert_eq!(sha256(&[b"kith/network/1\0", &certificate.network_key]), network);
    verify(&certificate.supernode, &tagged("kith/grant/1", &[body]), signature);
    let mut body = Reader(body);
    let grant = Grant {
        network: body.array(),
        name: body.text().to_owned(),
        key: body.array(),
        address: body.u64(),
        session: body.array(),
        epoch: body.epoch(),
    };
    body.end();
    assert_eq!(grant.network, network);
    grant
}

struct Hello {
    role: u32,
    purpose: u32,
    boot: u64,
    nonce: [u8; 32],
    network: Option<[u8; 32]>,
    grant: Option<Grant>,
}

fn hello(mut body: Reader<'_>) -> Hello {
    assert_eq!(body.take(4), b"KITH");
    assert_eq!(body.u16(), 1);
    let (role, purpose, boot, nonce) = (body.u32(), body.u32(), body.u64(), body.array());
    let network: Option<[u8; 32]> = body.option(Reader::array);
    let grant = body.option(|body| grant(body, &network.expect("a grant is shown in a network")));
    body.end();
    Hello { role, purpose, boot, nonce, network, grant }
}

struct Record {
    name: String,
    key: [u8; 32],
    address: u64,
    epoch: (u32, u64),
    locations: Vec<String>,
}

fn record(body: &mut Reader<'_>) -> Record {
    let (name, key, address, epoch) = (body.text().to_owned(), body.array(), body.u64(), body.epoch());
    let locations = (0..body.u16()).map(|_| body.text().to_owned()).collect();
    Record { name, key, address, epoch, locations }
}

fn candidate(key: &[u8], salt: &[u8], i: u8) -> u64 {
    u64::from_be_bytes(sha256(&[key, salt, &[i]])[..8].try_into().unwrap())
}

#[test]
fn keys_follow_from_their_secrets_and_the_network_from_its_key() {
    let golden = Golden::read();
    for who in ["the network", "the supernode", "alice", "bob"] {
        let pair = Ed25519KeyPair::from_seed_unchecked(golden.get(&format!("secret key of {who}"))).unwrap();
        assert_eq!(pair.public_key().as_ref(), golden.get(&format!("key of {who}")), "{who}");
    }
    assert_eq!(sha256(&[b"kith/network/1\0", golden.get("key of the network")]), golden.get("signed network id"));
}

#[test]
fn everything_signed_is_signed_as_the_page_says() {
    let golden = Golden::read();
    let by = |who: &str| Ed25519KeyPair::from_seed_unchecked(golden.get(&format!("secret key of {who}"))).unwrap();
    let bytes_of = |what: &str| golden.get(&format!("signed {what}, its bytes"));
    let handshake = six_parts(&golden);
    let handshake: Vec<&[u8]> = handshake.iter().map(Vec::as_slice).collect();
    let cases = [
        ("certificate", "the network", tagged("kith/certificate/1", &[bytes_of("certificate")])),
        ("grant of alice", "the supernode", tagged("kith/grant/1", &[bytes_of("grant of alice")])),
        ("grant of bob", "the supernode", tagged("kith/grant/1", &[bytes_of("grant of bob")])),
        ("end of the removed keys", "the supernode", tagged("kith/removed/1", &[bytes_of("end of the removed keys")])),
        ("challenge", "the supernode", tagged("kith/challenge/1", &handshake)),
        ("login", "alice", tagged("kith/login/1", &[handshake.as_slice(), &[b"alice"]].concat())),
        ("ping", "alice", tagged("kith/message/1", &[bytes_of("ping")])),
        ("reply", "bob", tagged("kith/message/1", &[bytes_of("reply")])),
    ];
    for (what, who, bytes) in cases {
        assert_eq!(bytes, golden.get(&format!("signed {what}, under the signature")), "{what}");
        let signature = golden.get(&format!("signed {what}, signature"));
        assert_eq!(by(who).sign(&bytes).as_ref(), signature, "{what}");
        verify(golden.get(&format!("key of {who}")), &bytes, signature);
    }
}

#[test]
fn end_of_the_removed_keys_is_a_hash_over_all_of_them() {
    let golden = Golden::read();
    let hashed = [b"kith/removed-keys/1\0".as_slice(), &[0; 16], golden.get("key of bob")].concat();
    assert_eq!(hashed, golden.get("removed keys, under the hash"));
    let end = [golden.get("signed network id"), &1u32.to_le_bytes(), &sha256(&[&hashed])[..16]].concat();
    assert_eq!(end, golden.get("signed end of the removed keys, its bytes"));
}

/// What both sides of the login in the transcript sign over, gathered from their frames
fn six_parts(golden: &Golden) -> [Vec<u8>; 6] {
    let (peer, supernode) =
        (hello(golden.body("login 01 peer: Hello", 1)), hello(golden.body("login 02 supernode: Hello", 1)));
    let key = |who: &str| golden.get(&format!("key of {who}")).to_vec();
    let network = supernode.network.unwrap().to_vec();
    [peer.nonce.to_vec(), supernode.nonce.to_vec(), key("alice"), key("the supernode"), network, vec![1, 0]]
}

#[test]
fn login_in_the_transcript_is_one_that_both_sides_accept() {
    let golden = Golden::read();
    let (peer, supernode) =
        (hello(golden.body("login 01 peer: Hello", 1)), hello(golden.body("login 02 supernode: Hello", 1)));
    assert_eq!((peer.role, peer.purpose, peer.boot, supernode.role, supernode.purpose), (0, 1, 1, 1, 1));
    assert!(peer.network.is_none() && peer.grant.is_none() && supernode.grant.is_none());
    let parts = six_parts(&golden);
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let network = supernode.network.unwrap();

    let mut challenge = golden.body("login 03 supernode: Challenge", 3);
    let certificate = certificate(&mut challenge);
    assert_eq!((certificate.supernode.as_slice(), certificate.serial), (parts[3], 1));
    assert_eq!(sha256(&[b"kith/network/1\0", &certificate.network_key]), network);
    verify(&certificate.supernode, &tagged("kith/challenge/1", &parts), challenge.take(64));
    assert_eq!(challenge.u8(), 1, "the secret is required");
    assert_eq!(challenge.u8(), 1, "the supernode is led");
    challenge.end();

    let mut login = golden.body("login 04 peer: Login", 4);
    let name = login.text();
    verify(parts[2], &tagged("kith/login/1", &[parts.as_slice(), &[name.as_bytes()]].concat()), login.take(64));
    let proof = login.option(|login| login.take(32)).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &sha256(&[golden.get("network secret")]));
    hmac::verify(&key, &tagged("kith/secret/1", &parts), proof).expect("the proof is wrong");
    assert_eq!((login.u16(), login.u16(), login.text()), (0, 1, "/ip4/192.0.2.7/tcp/7401"));
    assert_eq!(login.option(|login| login.take(16)), None, "no session to resume");
    assert_eq!(login.option(|login| login.take(40)), None, "no invite");
    login.end();

    let mut granted = golden.body("login 05 supernode: Granted", 5);
    let grant = grant(&mut granted, &network);
    assert_eq!((grant.name.as_str(), grant.key.as_slice(), grant.epoch), ("alice", parts[2], (7, 3)));
    assert_eq!(granted.u32(), 30_000);
    assert_eq!((granted.epoch(), granted.u64(), granted.u8(), granted.u16()), ((7, 3), 2, 16, 1));
    let bob = record(&mut granted);
    assert_eq!(granted.u16(), 0, "from nobody is the peer parted");
    granted.end();
    assert_eq!((bob.name.as_str(), bob.key.as_slice(), bob.epoch), ("bob", golden.get("key of bob"), (7, 2)));
    assert_eq!(bob.locations, ["/ip4/192.0.2.8/tcp/7401"]);

    for (frame, kind) in [("login 06 peer: Renew", 7), ("login 07 supernode: Renewed", 8)] {
        let mut body = golden.body(frame, kind);
        assert_eq!((body.array(), body.epoch()), (grant.session, (7, 3)), "{frame}");
        if frame.contains("Renewed") {
            assert_eq!(body.u8(), 0, "the supernode is not cut off from the others");
        }
        body.end();
    }
    let mut look_up = golden.body("login 08 peer: LookUp", 11);
    let query = look_up.u64();
    assert_eq!((look_up.u8(), look_up.u32(), look_up.text(), look_up.u8()), (0, 0, "bob", 0));
    look_up.end();
    let mut found = golden.body("login 09 supernode: Found", 12);
    assert_eq!((found.u64(), found.u16()), (query, 200));
    assert_eq!(found.option(record).unwrap().address, bob.address);
    assert!(found.u64() > 0, "the answer takes account of the log up to some command");
    assert_eq!(found.u8(), 0, "and is no older than the question");
    found.end();
    for (frame, kind) in [("login 12 peer: Logout", 9), ("login 13 supernode: LoggedOut", 10)] {
        let mut body = golden.body(frame, kind);
        assert_eq!(body.array(), grant.session, "{frame}");
        body.end();
    }
    let mut bye = golden.body("login 14 supernode: Bye", 2);
    assert_eq!((bye.u16(), bye.0), (200, b"logged out".as_slice()));
}

#[test]
fn addresses_are_the_loneliest_candidates() {
    let golden = Golden::read();
    let address = |who: &str| u64::from_le_bytes(golden.get(&format!("address of {who}")).try_into().unwrap());
    let bob = candidate(golden.get("key of bob"), &[0x5b; 16], 0);
    assert_eq!(bob, address("bob"));
    let distance = |a: u64, b: u64| a.wrapping_sub(b).min(b.wrapping_sub(a));
    let mut alice = candidate(golden.get("key of alice"), &[0x5a; 16], 0);
    for i in 1..32 {
        let other = candidate(golden.get("key of alice"), &[0x5a; 16], i);
        if distance(other, bob) > distance(alice, bob) {
            alice = other;
        }
    }
    assert_eq!(alice, address("alice"));
}

#[test]
fn link_in_the_transcript_is_one_that_both_sides_accept() {
    let golden = Golden::read();
    let network = golden.get("signed network id");
    // The peer with the smaller key dials, so it speaks first.
    assert!(golden.get("key of bob") < golden.get("key of alice"));
    let [bob, alice] = ["link 01 bob: Hello", "link 02 alice: Hello"].map(|name| hello(golden.body(name, 1)));
    assert_eq!((bob.role, bob.purpose, alice.role, alice.purpose), (0, 0, 0, 0));
    let [bob, alice] = [bob, alice].map(|hello| hello.grant.unwrap());
    assert_eq!((bob.key.as_slice(), alice.key.as_slice()), (golden.get("key of bob"), golden.get("key of alice")));
    for (who, other, table, delta) in [
        (&bob, &alice, "link 03 bob: Table", "link 05 bob: Delta"),
        (&alice, &bob, "link 04 alice: Table", "link 06 alice: Delta"),
    ] {
        assert_eq!(who.network, network);
        let mut table = golden.body(table, 16);
        assert_eq!((table.epoch(), table.u16()), ((7, 3), 1));
        assert_eq!((table.u64(), table.u8(), table.text()), (other.address, 0, other.name.as_str()));
        // Their link is just opening, so neither has seen the other yet.
        assert_eq!((table.u16(), table.u64()), (1, other.address));
        table.end();
        let mut delta = golden.body(delta, 17);
        assert_eq!((delta.u16(), delta.u64(), delta.u8()), (1, other.address, 1));
        delta.end();
    }
    let ping = message_in(golden.body("link 09 alice: Packet with a ping", 32), &alice, &bob, network);
    let mut ping = Reader(&ping);
    let id: [u8; 16] = ping.array();
    assert_eq!((ping.text(), ping.u32(), ping.u32()), ("bob", 0, 0));
    ping.end();
    let reply = message_in(golden.body("link 10 bob: Packet with the reply", 32), &bob, &alice, network);
    let mut reply = Reader(&reply);
    let _own_id: [u8; 16] = reply.array();
    assert_eq!((reply.text(), reply.u32()), ("alice", 1));
    assert_eq!((reply.array::<16>(), reply.u16(), reply.u16(), reply.bytes()), (id, 200, 0, [].as_slice()));
    reply.end();
}

/// The message in a packet that its source handed to the destination itself
fn message_in(mut packet: Reader<'_>, from: &Grant, to: &Grant, network: &[u8]) -> Vec<u8> {
    assert_eq!((packet.u64(), packet.u64()), (to.address, from.address));
    let _id = packet.u64();
    assert_eq!((packet.u8(), packet.u8(), packet.u8(), packet.u8()), (63, 1, 0, 0), "a signal");
    let (len, reserved) = (packet.u16(), packet.u16());
    assert_eq!((usize::from(len), reserved), (packet.0.len(), 0));
    assert_eq!(packet.u32(), 0, "a message");
    assert_eq!(grant(&mut packet, network), *from);
    let body = signed(&mut packet, "kith/message/1", &from.key);
    packet.end();
    body.to_vec()
}

/// One DER value: its tag, its content, and all of it
fn der<'a>(reader: &mut Reader<'a>) -> (u8, &'a [u8], &'a [u8]) {
    let start = reader.0;
    let (tag, first) = (reader.u8(), reader.u8());
    let len = match first {
        0..0x80 => usize::from(first),
        _ => reader.take(usize::from(first & 0x7f)).iter().fold(0, |len, byte| len << 8 | usize::from(*byte)),
    };
    let content = reader.take(len);
    (tag, content, &start[..start.len() - reader.0.len()])
}

#[test]
fn certificate_of_a_link_says_whose_it_is_as_the_page_says() {
    let keypair = libp2p::identity::Keypair::ed25519_from_bytes([0x13; 32]).unwrap();
    let (certificate, _) = libp2p::tls::certificate::generate(&keypair).unwrap();
    let (_, certificate, _) = der(&mut Reader(certificate.as_ref()));
    let (_, certificate, _) = der(&mut Reader(certificate));
    let mut fields = Reader(certificate);
    // Version, serial, algorithm, issuer, validity, subject; then the public key, and in the end the extensions.
    (0..6).for_each(|_| _ = der(&mut fields));
    let (_, _, public_key) = der(&mut fields);
    let (tag, extensions, _) = der(&mut fields);
    assert_eq!(tag, 0xa3);
    let (_, extensions, _) = der(&mut Reader(extensions));
    let mut extensions = Reader(extensions);
    let content =
        std::iter::from_fn(|| (!extensions.0.is_empty()).then(|| der(&mut extensions).1)).find_map(|extension| {
            let mut extension = Reader(extension);
            let (_, oid, _) = der(&mut extension);
            // 1.3.6.1.4.1.53594.1.1
            (oid == [0x2b, 6, 1, 4, 1, 0x83, 0xa2, 0x5a, 1, 1]).then(|| {
                let (tag, content, _) = der(&mut extension);
                if tag == 1 { der(&mut extension).1 } else { content }
            })
        });
    let (_, pair, _) = der(&mut Reader(content.unwrap()));
    let mut pair = Reader(pair);
    let ((_, identity, _), (_, signature, _)) = (der(&mut pair), der(&mut pair));
    pair.end();
    let golden = Golden::read();
    let alice = golden.get("key of alice");
    assert_eq!(identity, [[8, 1, 0x12, 0x20].as_slice(), alice].concat());
    verify(alice, &[b"libp2p-tls-handshake:".as_slice(), public_key].concat(), signature);
}

/// A packet's header and its trailer, apart
fn parts_of(packet: &[u8]) -> (Vec<u8>, Vec<(u8, u32)>) {
    let payload = usize::from(u16::from_le_bytes([packet[28], packet[29]]));
    let (head, trailer) = packet.split_at(32 + payload);
    let entries = trailer.chunks(5).map(|entry| (entry[0], u32::from_le_bytes(entry[1..].try_into().unwrap())));
    let entries: Vec<_> = entries.collect();
    assert_eq!(usize::from(packet[27]), entries.len());
    (head.to_vec(), entries)
}

#[test]
fn packet_on_its_way_is_edited_as_the_page_says() {
    const TRIED: u8 = 0;
    const WAY: u8 = 1;
    const DEAD: u8 = 2;
    let golden = Golden::read();
    let (first, _) = parts_of(golden.get("packet 1 made by alice"));
    let steps = [
        ("packet 1 made by alice", vec![]),
        ("packet 2 from alice to a", vec![]),
        ("packet 3 from a to b", vec![(WAY, 10)]),
        ("packet 4 given back by b", vec![(WAY, 10), (DEAD, 13), (TRIED, 11)]),
        ("packet 5 from a to c", vec![(WAY, 10), (DEAD, 13), (TRIED, 11)]),
        ("packet 6 given back by c", vec![(WAY, 10), (DEAD, 13), (TRIED, 11), (TRIED, 12)]),
        ("packet 7 given back by a", vec![(TRIED, 10), (DEAD, 13), (TRIED, 11), (TRIED, 12)]),
    ];
    for (hops, (name, expected)) in (0..).zip(steps) {
        let (head, entries) = parts_of(golden.get(name));
        assert_eq!(entries, expected, "{name}");
        let mut unchanged = first.clone();
        (unchanged[24], unchanged[27]) = (64 - hops, expected.len() as u8);
        assert_eq!(head, unchanged, "{name}");
    }
}
