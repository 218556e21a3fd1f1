//! The values that the vectors are the bytes of.

use kith_common::crypto::{Signature, Signer, Verifier};
use kith_common::id::{Address, Epoch, InviteId, Key, MessageId, Name, NetworkId, SessionId, ShortId, SupernodeId};
use kith_common::session::listening;
use kith_common::status::Status;
use kith_common::wire::agreement::{
    Ballot, Change, Configuration, Configured, Entry, EntryContent, LogAnswer, LogAsk, LogQuestion, LogReply, Position,
    Proposals, Proposed, SnapshotPart,
};
use kith_common::wire::backbone::{Beat, Claim, Claimed, Present, Reported};
use kith_common::wire::bounded::{Bounded, Bytes, Text};
use kith_common::wire::content::{
    Call, Cause, Choice, Content, Hop, Message, Opening, PathHop, Payload, Receipt, Reply, Signal, SignedMessage,
    Undeliverable,
};
use kith_common::wire::grant::{Certificate, Grant, SignedCertificate, SignedGrant};
use kith_common::wire::link::{AskRecords, Delta, LinkState, Probe, ProbeReply, Records, Table, TableEntry};
use kith_common::wire::packet::{Class, Edit, HEADER_BYTES, Header, Mark, PacketRef, emit_forwarded, new_packet};
use kith_common::wire::removed::{self, AskRemoved, EndMark, Removed, SignedMark};
use kith_common::wire::session::{
    Challenge, Found, Granted, Hello, InviteProof, List, Listed, Listening, Listing, Location, Locations, LoggedOut,
    Login, Logout, LookUp, Presence, Purpose, Reason, Record, Refused, Renew, Renewed, Report, Rewire, Role, Subject,
    SupernodeRecord, Supernodes, Which,
};
use kith_common::wire::{self, Bye, FRAME_HEADER_BYTES, Frame, PacketBytes, WireError};

use super::signed::signed_values;

/// Signs everything with the same bytes: the vectors are about form
pub(crate) struct Stamp;

impl Verifier for Stamp {}

impl Signer for Stamp {
    fn key(&self) -> Key {
        Key([0; 32])
    }

    fn sign(&self, _bytes: &[u8]) -> Signature {
        Signature([0x5c; 64])
    }
}

/// Decodes; `Ok` tells whether it is the value again
type Decode = Box<dyn Fn(&[u8]) -> Result<bool, WireError>>;

/// A value under the name of its vector
pub(crate) struct Value {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) decode: Decode,
}

pub(crate) fn value<T>(name: &'static str, value: T) -> Value
where
    T: bincode::Encode + bincode::Decode<()> + PartialEq + 'static,
{
    let bytes = wire::encode(&value).unwrap();
    Value { name, bytes, decode: Box::new(move |bytes| wire::decode::<T>(bytes).map(|decoded| decoded == value)) }
}

pub(crate) fn frame(name: &'static str, frame: Frame) -> Value {
    let bytes = frame.to_bytes().unwrap();
    Value { name, bytes, decode: Box::new(move |bytes| decode_frame(bytes).map(|decoded| decoded == frame)) }
}

/// As a link reads it, but for bytes that are missing
pub(crate) fn decode_frame(bytes: &[u8]) -> Result<Frame, WireError> {
    let (head, body) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>().ok_or(WireError::Malformed)?;
    let (kind, _) = wire::parse_frame_header(*head)?;
    Frame::decode(kind, body)
}

pub(crate) const ALICE: Address = Address(0x0123_4567_89ab_cdef);
pub(crate) const BOB: Address = Address(0xfedc_ba98_7654_3210);
const CAROL: Address = Address(0xfedc_ba98_7654_3211);
const NETWORK: NetworkId = NetworkId([4; 32]);
const SESSION: SessionId = SessionId([5; 16]);

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn certificate() -> SignedCertificate {
    let certificate = Certificate { network_key: Key([1; 32]), supernode: Key([2; 32]), serial: 9 };
    SignedCertificate::sign(&certificate, &Stamp).unwrap()
}

pub(crate) fn grant() -> SignedGrant {
    let grant = Grant {
        network: NETWORK,
        name: name("alice"),
        key: Key([3; 32]),
        address: ALICE,
        session: SESSION,
        epoch: Epoch::new(0x1ca7_0b5e, 42),
    };
    SignedGrant::sign(&grant, &Stamp, certificate()).unwrap()
}

fn locations() -> Locations {
    Locations::truncated([Location::truncated("/ip4/192.0.2.7/tcp/7400")])
}

pub(crate) fn record() -> Record {
    Record {
        name: name("bob"),
        key: Key([8; 32]),
        address: BOB,
        epoch: Epoch::new(0x1ca7_0b5e, 41),
        locations: locations(),
    }
}

pub(crate) fn rewire() -> Rewire {
    Rewire {
        epoch: Epoch::new(0x1ca7_0b5e, 42),
        members: 16_960,
        degree: 16,
        neighbours: Bounded::truncated([record()]),
        apart: Bounded::truncated([CAROL]),
    }
}

pub(crate) fn hello() -> Hello {
    Hello { role: Role::Peer, purpose: Purpose::Home, boot: 3, nonce: [7; 32], network: None, grant: None }
}

pub(crate) fn message(content: Content) -> Message {
    Message { id: MessageId([6; 16]), to: name("bob"), content }
}

fn bytes<const N: usize>(bytes: &[u8]) -> Bytes<N> {
    bytes.to_vec().try_into().unwrap()
}

fn ping() -> Message {
    message(Content::Signal(Signal::Ping))
}

/// Bytes that no type of this crate has: they are compared, and not read
pub(crate) fn raw(name: &'static str, bytes: impl Into<Vec<u8>>) -> Value {
    let bytes = bytes.into();
    let expected = bytes.clone();
    let decode = move |bytes: &[u8]| if bytes == expected { Ok(true) } else { Err(WireError::Malformed) };
    Value { name, bytes, decode: Box::new(decode) }
}

fn header(ttl: u8, class: Class, marked: bool) -> Header {
    let id = 0x0102_0304_0506_0708;
    Header { destination: BOB, source: ALICE, id, ttl, class, congested: marked, traced: marked }
}

/// A packet that was given back once, then forwarded over a dead neighbour
fn packet() -> PacketBytes {
    let first = new_packet(&header(66, Class::Data, true), b"abc").unwrap();
    let edits = [
        Edit { way: Some((Mark::Way, ShortId(1))), ..Edit::default() },
        Edit { give_back: Some(ShortId(1)), way: Some((Mark::Way, ShortId(2))), ..Edit::default() },
    ];
    let forwarded = edits.iter().fold(first, |packet, edit| {
        let mut out = Vec::new();
        emit_forwarded(&PacketRef::parse(&packet).unwrap(), edit, &mut out).unwrap();
        out
    });
    PacketBytes::new(with_entry(forwarded, Mark::Dead, 3)).unwrap()
}

fn with_entry(mut packet: Vec<u8>, mark: Mark, who: u32) -> Vec<u8> {
    packet[27] += 1;
    packet.push(mark as u8);
    packet.extend_from_slice(&who.to_le_bytes());
    packet
}

fn relayed() -> PacketBytes {
    let packet = new_packet(&header(1, Class::Signal, false), b"").unwrap();
    assert_eq!(packet.len(), HEADER_BYTES);
    PacketBytes::new(with_entry(packet, Mark::Relay, 2)).unwrap()
}

fn session_frames() -> Vec<Value> {
    let external = locations();
    let (signature, challenge) = (Signature([0x5c; 64]), certificate());
    let login = Login {
        name: name("alice"),
        signature,
        secret_proof: Some([11; 32]),
        external,
        listening: listening(["192.0.2.7:7400", "[2001:db8::7]:7400"].map(|at| at.parse().unwrap())),
        resume: Some(SESSION),
        invite: Some(InviteProof { id: InviteId([7; 8]), proof: [12; 32] }),
    };
    let bare = Login {
        secret_proof: None,
        external: Locations::new(),
        listening: Listening::new(),
        resume: None,
        invite: None,
        ..login.clone()
    };
    let supernode = Hello { role: Role::Supernode, network: Some(NETWORK), ..hello() };
    let backbone = Hello { purpose: Purpose::Backbone, ..supernode.clone() };
    let neighbour = Hello { purpose: Purpose::Neighbour, network: Some(NETWORK), grant: Some(grant()), ..hello() };
    let refused = Refused { status: Status::Conflict, reason: Reason::truncated("taken"), retry_after_ms: 2000 };
    vec![
        frame("frame Hello of a peer to its supernode", Frame::Hello(hello())),
        frame("frame Hello of a supernode", Frame::Hello(supernode)),
        frame("frame Hello between supernodes", Frame::Hello(backbone)),
        frame("frame Hello of a neighbour", Frame::Hello(neighbour)),
        frame("frame Bye", Frame::Bye(Bye { status: Status::Gone, reason: Reason::truncated("leaving") })),
        frame(
            "frame Challenge",
            Frame::Challenge(Challenge { certificate: challenge, signature, secret_required: true, is_led: true }),
        ),
        frame("frame Login with everything", Frame::Login(login)),
        frame("frame Login with as little as can be", Frame::Login(bare)),
        frame(
            "frame Granted",
            Frame::Granted(Granted { grant: grant(), lease_ms: 30_000, rewire: Box::new(rewire()) }),
        ),
        frame("frame Refused", Frame::Refused(refused)),
        frame("frame Renew", Frame::Renew(Renew { session: SESSION, epoch: Epoch::new(0x1ca7_0b5e, 42) })),
        frame(
            "frame Renewed",
            Frame::Renewed(Renewed { session: SESSION, epoch: Epoch::new(0x1ca7_0b5e, 42), is_cut_off: true }),
        ),
        frame("frame Logout", Frame::Logout(Logout { session: SESSION })),
        frame("frame LoggedOut", Frame::LoggedOut(LoggedOut { session: SESSION })),
    ]
}

const MARK: removed::Mark = removed::Mark { count: 2, digest: [14; 16] };

pub(crate) fn removed() -> Removed {
    let end = EndMark { network: NETWORK, mark: removed::Mark { count: 3, digest: [15; 16] } };
    let end = SignedMark::sign(&end, &Stamp, certificate()).unwrap();
    Removed { from: MARK, keys: Bounded::truncated([Key([8; 32])]), end }
}

fn supernodes() -> Supernodes {
    let here = SupernodeRecord { id: SupernodeId(9), locations: locations(), load: 250 };
    let there = SupernodeRecord { id: SupernodeId(10), locations: Locations::new(), load: 0 };
    Supernodes { home: SupernodeId(9), supernodes: Bounded::truncated([here, there]) }
}

fn directory_frames() -> Vec<Value> {
    let query = 0x0102_0304_0506_0708;
    let by_name = LookUp { query, ttl: 4, subject: Subject::Name(name("bob")), may_be_stale: false };
    let by_short_id = LookUp { query, ttl: 0, subject: Subject::ShortId(BOB.short()), may_be_stale: true };
    let found = Found { query, status: Status::Delivered, record: Some(record()), index: 42, is_stale: false };
    let nothing = Found { query, status: Status::NotFound, record: None, index: 42, is_stale: true };
    let list = |which| Frame::List(List { query, which });
    let listed = [("alice", Presence::Here(ALICE)), ("bob", Presence::Suspect), ("carol", Presence::Away)];
    let listed = listed.map(|(who, presence)| Listed { name: name(who), presence });
    let listed = Bounded::truncated(listed);
    let listing = Listing { query, status: Status::Delivered, names: 3, members: 1, listed };
    vec![
        frame("frame LookUp of a name", Frame::LookUp(by_name)),
        frame("frame LookUp of a short id", Frame::LookUp(by_short_id)),
        frame("frame Found with a record", Frame::Found(found)),
        frame("frame Found with nothing", Frame::Found(nothing)),
        frame("frame List of the first names", list(Which::After(None))),
        frame("frame List of names after one", list(Which::After(Some(name("bob"))))),
        frame("frame List of names like one", list(Which::Like(name("bob")))),
        frame("frame Listing", Frame::Listing(listing)),
        frame("frame AskRemoved", Frame::AskRemoved(AskRemoved { mark: MARK })),
        frame("frame Removed", Frame::Removed(removed())),
        frame("frame Supernodes", Frame::Supernodes(supernodes())),
        frame("frame Rewire", Frame::Rewire(rewire())),
        frame("frame Report of a link that is down", Frame::Report(Report::LinkDown(BOB))),
        frame("frame Report of an unreachable neighbour", Frame::Report(Report::Unreachable(BOB))),
        frame("frame Report of isolation", Frame::Report(Report::Isolated)),
    ]
}

const VOTED: Ballot = Ballot { term: 4, candidate: SupernodeId(10), is_elected: false };
const LEADER: Ballot = Ballot { term: 3, candidate: SupernodeId(9), is_elected: true };

const fn position(term: u64, leader: u64, entry: u64) -> Position {
    Position { term, leader: SupernodeId(leader), entry }
}

fn configuration() -> Configuration {
    let voters = |ids: &[u64]| Bounded::truncated(ids.iter().copied().map(SupernodeId));
    let supernodes = Bounded::truncated([Configured { id: SupernodeId(9), locations: locations() }]);
    Configuration { voters: Bounded::truncated([voters(&[9]), voters(&[9, 10, 11])]), supernodes }
}

fn proposals() -> Proposals {
    let command = Bytes::try_from(vec![1, 2]).unwrap();
    Bounded::truncated([Proposed { proposer: SupernodeId(10), boot: 2, number: 7, command }])
}

fn questions() -> Vec<(&'static str, LogQuestion)> {
    let entry = |entry, content| Entry { at: position(3, 9, entry), content };
    let entries = Bounded::truncated([
        entry(42, EntryContent::Blank),
        entry(43, EntryContent::Commands(proposals())),
        entry(44, EntryContent::Configuration(configuration())),
    ]);
    let (after, committed) = (Some(position(3, 9, 41)), Some(position(2, 10, 40)));
    let part = SnapshotPart {
        ballot: LEADER,
        last: after,
        configured_at: Some(position(1, 9, 2)),
        configuration: configuration(),
        name: Text::truncated("s-41"),
        offset: 65_536,
        bytes: vec![7, 8, 9].try_into().unwrap(),
        is_last: true,
    };
    let joining = Configured { id: SupernodeId(10), locations: locations() };
    let removal = Change::Remove { id: SupernodeId(10), leaves_one: true };
    vec![
        ("frame LogAsk to append", LogQuestion::Append { ballot: LEADER, after, committed, entries }),
        ("frame LogAsk for a vote", LogQuestion::Vote { ballot: VOTED, last: None }),
        ("frame LogAsk with a part of a snapshot", LogQuestion::Snapshot(part)),
        ("frame LogAsk to propose", LogQuestion::Propose(proposals())),
        ("frame LogAsk to read", LogQuestion::Read),
        ("frame LogAsk to take a supernode in", LogQuestion::Change(Change::Add(joining))),
        ("frame LogAsk to take a supernode out", LogQuestion::Change(removal)),
        ("frame LogAsk for the leader", LogQuestion::WhoLeads),
        ("frame LogAsk about an entry that is gone", LogQuestion::Acknowledged(position(3, 9, 43))),
    ]
}

fn replies() -> Vec<(&'static str, LogReply)> {
    let last = Some(position(3, 9, 43));
    let misplaced = LogReply::PartMisplaced { name: Text::truncated("s-41"), offset: 49_152 };
    vec![
        ("frame LogAnswer that all is appended", LogReply::Appended),
        ("frame LogAnswer that a part is appended", LogReply::AppendedUpTo(last)),
        ("frame LogAnswer of a conflict", LogReply::Conflict),
        ("frame LogAnswer of a newer ballot", LogReply::Outvoted(VOTED)),
        ("frame LogAnswer with a vote", LogReply::Voted { ballot: VOTED, is_granted: true, last }),
        ("frame LogAnswer that a part was taken", LogReply::PartTaken { ballot: LEADER }),
        ("frame LogAnswer that a part was misplaced", misplaced),
        ("frame LogAnswer that it is committed", LogReply::Committed),
        ("frame LogAnswer to a read", LogReply::ReadAt(42)),
        ("frame LogAnswer that it is changed", LogReply::Changed(configuration())),
        ("frame LogAnswer with the leader", LogReply::Leader(Some(SupernodeId(9)))),
        ("frame LogAnswer of a failure", LogReply::Failed(Reason::truncated("busy"))),
        ("frame LogAnswer to a stranger", LogReply::Stranger),
        ("frame LogAnswer to one with another log", LogReply::OtherLog),
        ("frame LogAnswer of a refusal", LogReply::Refused(Reason::truncated("it is the only one"))),
    ]
}

fn log_frames() -> Vec<Value> {
    let number = 0x0102_0304_0506_0708;
    let ask = |question| Frame::LogAsk(LogAsk { number, lineage: 0x0f0e_0d0c_0b0a_0908, question });
    let asks = questions().into_iter().map(|(name, question)| frame(name, ask(question)));
    let answers = replies().into_iter().map(|(name, reply)| frame(name, Frame::LogAnswer(LogAnswer { number, reply })));
    asks.chain(answers).collect()
}

fn backbone_frames() -> Vec<Value> {
    let sees = Bounded::truncated([SupernodeId(9), SupernodeId(10)]);
    let beat = Beat { load: 250, leader: Some(SupernodeId(9)), sees };
    let alone = Beat { load: 0, leader: None, sees: Bounded::new() };
    vec![
        frame("frame Present", Frame::Present(Present { certificate: certificate(), load: 250 })),
        frame("frame Beat", Frame::Beat(beat)),
        frame("frame Beat of one that sees nobody", Frame::Beat(alone)),
        frame("frame Reported", Frame::Reported(Reported { reporter: ALICE, report: Report::LinkDown(BOB) })),
        frame("frame Claim", Frame::Claim(Claim { number: 7, session: SESSION })),
        frame("frame Claimed", Frame::Claimed(Claimed { number: 7, is_alive: true })),
    ]
}

fn link_frames() -> Vec<Value> {
    let entries = [
        TableEntry { address: BOB, up: true, name: name("bob") },
        TableEntry { address: CAROL, up: false, name: name("carol") },
    ];
    let changes = [LinkState { address: BOB, up: true }, LinkState { address: CAROL, up: false }];
    vec![
        frame(
            "frame Table",
            Frame::Table(Table {
                epoch: Epoch::new(0x1ca7_0b5e, 42),
                entries: Bounded::truncated(entries),
                unseen: Bounded::truncated([CAROL]),
            }),
        ),
        frame("frame Delta", Frame::Delta(Delta { changes: Bounded::truncated(changes) })),
        frame("frame Probe", Frame::Probe(Probe { sequence: 7 })),
        frame("frame ProbeReply", Frame::ProbeReply(ProbeReply { sequence: 7 })),
        frame("frame AskRecords", Frame::AskRecords(AskRecords { places: Bounded::truncated([BOB, CAROL]) })),
        frame("frame Records", Frame::Records(Records { records: Bounded::truncated([record()]) })),
        frame("frame Packet", Frame::Packet(packet())),
        frame("frame Relay", Frame::Relay(relayed())),
    ]
}

fn messages() -> Vec<Value> {
    let arguments = Bounded::truncated([bytes(b"a"), bytes(b"")]);
    let call = Call { function: Text::truncated("echo"), arguments };
    let opening = Opening { service: Text::truncated("pipe"), argument: bytes(b"chat") };
    let path = [
        PathHop { short: ShortId(2), relay: false, name: Some(name("carol")) },
        PathHop { short: ShortId(3), relay: true, name: None },
    ];
    let (path, reason) = (Bounded::truncated(path), Text::truncated("well"));
    let receipt = Receipt { path: path.clone(), reason: reason.clone() };
    let reply = Reply { to: MessageId([12; 16]), status: Status::Delivered, path, reason };
    let number = 0x0102_0304_0506_0708_u64.to_le_bytes();
    let (sequence, after) = (0x0000_0003_0000_002b_u64.to_le_bytes(), 0x0000_0003_0000_002a_u64.to_le_bytes());
    vec![
        value("message with a ping", ping()),
        value("message with a reply", Message { to: name("alice"), ..message(Content::Reply(reply)) }),
        raw("question of a message, its body", [&sequence, &after, b"hello".as_slice()].concat()),
        value("receipt", receipt),
        value("call", call),
        value("opening", opening),
        raw("saying of a ping", [&[1], number.as_slice(), &[0; 3]].concat()),
        raw("saying of a pong", [&[2], number.as_slice(), &[0; 3]].concat()),
        raw("saying of an application", [&[3, 2, 1], b"hello".as_slice()].concat()),
    ]
}

fn payloads() -> Vec<Value> {
    let undeliverable = Undeliverable {
        packet: 0x0102_0304_0506_0708,
        destination: BOB,
        status: Status::Unavailable,
        cause: Cause::TtlSpent,
        path: Bounded::truncated([PathHop { short: ShortId(2), relay: false, name: None }]),
    };
    let hop = Hop {
        packet: 0x0102_0304_0506_0708,
        index: 2,
        name: name("carol"),
        address: ALICE,
        next: BOB,
        choice: Choice::NearestBall(395),
    };
    vec![
        value("payload Message", Payload::Message(Box::new(SignedMessage::sign(&ping(), grant(), &Stamp).unwrap()))),
        value("payload Undeliverable", Payload::Undeliverable(undeliverable)),
        value("payload Hop", Payload::Hop(hop)),
        value("payload Datagram", Payload::Datagram(bytes(&[13, 14, 15]))),
    ]
}

fn variants() -> Vec<Value> {
    let causes = [Cause::NoCandidate, Cause::TtlSpent, Cause::DestinationDown, Cause::NoSession, Cause::Congested];
    let choices =
        [Choice::Destination, Choice::KnowsDestination, Choice::NearestBall(395), Choice::Back, Choice::Relay];
    let statuses: [Status; 16] = Status::ALL.try_into().unwrap();
    vec![value("causes", causes), value("choices", choices), value("statuses", statuses)]
}

/// Every value that has a vector
pub(crate) fn values() -> Vec<Value> {
    let parts = vec![
        value("certificate", certificate()),
        value("grant", grant()),
        value("record", record()),
        value("rewire", rewire()),
    ];
    let frames =
        [session_frames(), directory_frames(), backbone_frames(), log_frames(), link_frames()].into_iter().flatten();
    let rest = [messages(), payloads(), variants(), signed_values()].into_iter().flatten();
    parts.into_iter().chain(frames).chain(rest).collect()
}
