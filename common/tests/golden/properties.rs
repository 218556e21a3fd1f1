//! Random frames come back as they were; random bytes never panic.

use kith_common::crypto::Signature;
use kith_common::fuzzing;
use kith_common::id::{Address, Epoch, InviteId, Key, MessageId, Name, NetworkId, SessionId, ShortId, SupernodeId};
use kith_common::status::Status;
use kith_common::wire::backbone::{Beat, Claim, Claimed, Present, Reported};
use kith_common::wire::bounded::{Bounded, Bytes, Text};
use kith_common::wire::content::{
    Call, Cause, Choice, Content, Hop, Message, Opening, PathHop, Payload, Receipt, Reply, Signal, SignedMessage,
    Undeliverable,
};
use kith_common::wire::link::{
    AskRecords, Delta, LinkState, Probe, ProbeReply, RECORDS_MAX, Records, Table, TableEntry,
};
use kith_common::wire::packet::{Class, Header, new_packet};
use kith_common::wire::removed::{AskRemoved, EndMark, KEYS_PER_PAGE, Mark, Removed, SignedMark};
use kith_common::wire::session::{
    Found, Granted, Hello, InviteProof, List, Listed, Listening, Listing, Location, Locations, Login, LookUp, Presence,
    Purpose, Reason, Record, Refused, Renew, Report, Rewire, Role, SUPERNODES_MAX, Subject, SupernodeRecord,
    Supernodes, Which,
};
use kith_common::wire::{Bye, Frame, FrameKind, PacketBytes, decode, encode};
use proptest::collection::vec;
use proptest::prelude::*;

use super::values::{Stamp, certificate, decode_frame, grant};

fn name() -> impl Strategy<Value = Name> {
    "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?".prop_map(|text| text.parse().unwrap())
}

fn key() -> impl Strategy<Value = Key> {
    any::<[u8; 32]>().prop_map(Key)
}

fn address() -> impl Strategy<Value = Address> {
    any::<u64>().prop_map(Address)
}

fn epoch() -> impl Strategy<Value = Epoch> {
    any::<(u32, u64)>().prop_map(|(incarnation, index)| Epoch::new(incarnation, index))
}

fn status() -> impl Strategy<Value = Status> {
    prop::sample::select(Status::ALL)
}

fn reason() -> impl Strategy<Value = Reason> {
    "\\PC{0,80}".prop_map(|text| Text::truncated(&text))
}

fn locations() -> impl Strategy<Value = Locations> {
    vec("/ip4/[0-9]{1,3}/tcp/[0-9]{1,5}", 0..=4)
        .prop_map(|texts| Locations::truncated(texts.iter().map(|text| Location::truncated(text))))
}

fn record() -> impl Strategy<Value = Record> {
    (name(), key(), address(), epoch(), locations()).prop_map(|(name, key, address, epoch, locations)| Record {
        name,
        key,
        address,
        epoch,
        locations,
    })
}

fn rewire() -> impl Strategy<Value = Rewire> {
    (epoch(), any::<u64>(), any::<u8>(), vec(record(), 0..=64), vec(address(), 0..=64)).prop_map(
        |(epoch, members, degree, neighbours, apart)| {
            let (neighbours, apart) = (Bounded::truncated(neighbours), Bounded::truncated(apart));
            Rewire { epoch, members, degree, neighbours, apart }
        },
    )
}

fn hello() -> impl Strategy<Value = Frame> {
    let network = prop::option::of(any::<[u8; 32]>().prop_map(NetworkId));
    (any::<[bool; 3]>(), any::<u64>(), any::<[u8; 32]>(), network).prop_map(
        |([is_peer, is_home, has_grant], boot, nonce, network)| {
            let role = if is_peer { Role::Peer } else { Role::Supernode };
            let purpose = if is_home { Purpose::Home } else { Purpose::Neighbour };
            Frame::Hello(Hello { role, purpose, boot, nonce, network, grant: has_grant.then(grant) })
        },
    )
}

fn login() -> impl Strategy<Value = Frame> {
    let resume = prop::option::of(any::<[u8; 16]>().prop_map(SessionId));
    let signature = any::<[u8; 64]>().prop_map(Signature);
    let invite = any::<Option<([u8; 8], [u8; 32])>>();
    (name(), signature, any::<Option<[u8; 32]>>(), locations(), locations(), resume, invite).prop_map(
        |(name, signature, secret_proof, external, listening, resume, invite)| {
            let invite = invite.map(|(id, proof)| InviteProof { id: InviteId(id), proof });
            let listening = Listening::truncated(listening.iter().cloned());
            Frame::Login(Login { name, signature, secret_proof, external, listening, resume, invite })
        },
    )
}

fn link_frame() -> impl Strategy<Value = Frame> {
    let entry = (address(), any::<bool>(), name()).prop_map(|(address, up, name)| TableEntry { address, up, name });
    let change = (address(), any::<bool>()).prop_map(|(address, up)| LinkState { address, up });
    prop_oneof![
        (epoch(), vec(entry, 0..=64), vec(address(), 0..=128)).prop_map(|(epoch, entries, unseen)| {
            let (entries, unseen) = (Bounded::truncated(entries), Bounded::truncated(unseen));
            Frame::Table(Table { epoch, entries, unseen })
        }),
        vec(change, 0..=64).prop_map(|changes| Frame::Delta(Delta { changes: Bounded::truncated(changes) })),
        any::<u32>().prop_map(|sequence| Frame::Probe(Probe { sequence })),
        any::<u32>().prop_map(|sequence| Frame::ProbeReply(ProbeReply { sequence })),
        vec(address(), 0..=RECORDS_MAX)
            .prop_map(|places| Frame::AskRecords(AskRecords { places: Bounded::truncated(places) })),
        vec(record(), 0..=RECORDS_MAX)
            .prop_map(|records| Frame::Records(Records { records: Bounded::truncated(records) })),
    ]
}

fn packet() -> impl Strategy<Value = Frame> {
    let class = prop_oneof![Just(Class::Signal), Just(Class::Data)];
    let header = (address(), address(), any::<u64>(), 0u8..=128, class, any::<[bool; 2]>());
    (header, vec(any::<u8>(), 0..2_000)).prop_map(
        |((destination, source, id, ttl, class, [congested, traced]), payload)| {
            let header = Header { destination, source, id, ttl, class, congested, traced };
            Frame::Packet(PacketBytes::new(new_packet(&header, &payload).unwrap()).unwrap())
        },
    )
}

fn frame() -> impl Strategy<Value = Frame> {
    let subject =
        prop_oneof![name().prop_map(Subject::Name), any::<u32>().prop_map(|short| Subject::ShortId(ShortId(short))),];
    prop_oneof![
        hello(),
        login(),
        link_frame(),
        packet(),
        (any::<u32>(), rewire()).prop_map(|(lease_ms, rewire)| Frame::Granted(Granted {
            grant: grant(),
            lease_ms,
            rewire: Box::new(rewire)
        })),
        rewire().prop_map(Frame::Rewire),
        (status(), reason()).prop_map(|(status, reason)| Frame::Bye(Bye { status, reason })),
        (status(), reason(), any::<u32>()).prop_map(|(status, reason, retry_after_ms)| Frame::Refused(Refused {
            status,
            reason,
            retry_after_ms
        })),
        (any::<[u8; 16]>(), epoch())
            .prop_map(|(session, epoch)| Frame::Renew(Renew { session: SessionId(session), epoch })),
        (any::<u64>(), any::<u8>(), subject, any::<bool>()).prop_map(|(query, ttl, subject, may_be_stale)| {
            Frame::LookUp(LookUp { query, ttl, subject, may_be_stale })
        }),
        (any::<u64>(), status(), prop::option::of(record()), any::<u64>(), any::<bool>()).prop_map(
            |(query, status, record, index, is_stale)| Frame::Found(Found { query, status, record, index, is_stale })
        ),
        report().prop_map(Frame::Report),
        backbone(),
        (any::<u64>(), which()).prop_map(|(query, which)| Frame::List(List { query, which })),
        listing().prop_map(Frame::Listing),
        any::<(u32, [u8; 16])>()
            .prop_map(|(count, digest)| Frame::AskRemoved(AskRemoved { mark: Mark { count, digest } })),
        removed(),
        supernodes(),
    ]
}

fn report() -> impl Strategy<Value = Report> {
    prop_oneof![address().prop_map(Report::LinkDown), address().prop_map(Report::Unreachable), Just(Report::Isolated),]
}

fn backbone() -> impl Strategy<Value = Frame> {
    let supernode = || any::<u64>().prop_map(SupernodeId);
    let beat = (any::<u16>(), prop::option::of(supernode()), vec(supernode(), 0..=SUPERNODES_MAX));
    prop_oneof![
        any::<u16>().prop_map(|load| Frame::Present(Present { certificate: certificate(), load })),
        beat.prop_map(|(load, leader, sees)| Frame::Beat(Beat { load, leader, sees: Bounded::truncated(sees) })),
        (address(), report()).prop_map(|(reporter, report)| Frame::Reported(Reported { reporter, report })),
        any::<(u64, [u8; 16])>().prop_map(|(number, id)| Frame::Claim(Claim { number, session: SessionId(id) })),
        any::<(u64, bool)>().prop_map(|(number, is_alive)| Frame::Claimed(Claimed { number, is_alive })),
    ]
}

fn removed() -> impl Strategy<Value = Frame> {
    let mark = || any::<(u32, [u8; 16])>().prop_map(|(count, digest)| Mark { count, digest });
    (mark(), vec(key(), 0..=KEYS_PER_PAGE), mark()).prop_map(|(from, keys, mark)| {
        let end = EndMark { network: NetworkId([4; 32]), mark };
        let end = SignedMark::sign(&end, &Stamp, certificate()).unwrap();
        Frame::Removed(Removed { from, keys: Bounded::truncated(keys), end })
    })
}

fn supernodes() -> impl Strategy<Value = Frame> {
    let record = (any::<u64>(), locations(), any::<u16>());
    let record = record.prop_map(|(id, locations, load)| SupernodeRecord { id: SupernodeId(id), locations, load });
    (any::<u64>(), vec(record, 0..=SUPERNODES_MAX)).prop_map(|(home, records)| {
        Frame::Supernodes(Supernodes { home: SupernodeId(home), supernodes: Bounded::truncated(records) })
    })
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![prop::option::of(name()).prop_map(Which::After), name().prop_map(Which::Like)]
}

fn listing() -> impl Strategy<Value = Listing> {
    let presence = prop_oneof![address().prop_map(Presence::Here), Just(Presence::Suspect), Just(Presence::Away)];
    let listed = (name(), presence).prop_map(|(name, presence)| Listed { name, presence });
    (any::<[u64; 3]>(), status(), vec(listed, 0..20)).prop_map(|([query, names, members], status, listed)| Listing {
        query,
        status,
        names,
        members,
        listed: Bounded::truncated(listed),
    })
}

fn path<const N: usize>() -> impl Strategy<Value = Bounded<PathHop, N>> {
    let hop = (any::<u32>(), any::<bool>(), prop::option::of(name()));
    let hop = hop.prop_map(|(short, relay, name)| PathHop { short: ShortId(short), relay, name });
    vec(hop, 0..20).prop_map(Bounded::truncated)
}

fn bytes<const N: usize>() -> impl Strategy<Value = Bytes<N>> {
    vec(any::<u8>(), 0..500).prop_map(|bytes| bytes.try_into().unwrap())
}

fn content() -> impl Strategy<Value = Content> {
    let reply = (any::<[u8; 16]>(), status(), path(), reason())
        .prop_map(|(to, status, path, reason)| Content::Reply(Reply { to: MessageId(to), status, path, reason }));
    prop_oneof![Just(Content::Signal(Signal::Ping)), reply]
}

fn receipt() -> impl Strategy<Value = Receipt> {
    (path(), reason()).prop_map(|(path, reason)| Receipt { path, reason })
}

fn call() -> impl Strategy<Value = Call> {
    ("[a-z]{1,64}", vec(bytes(), 0..8)).prop_map(|(function, arguments)| Call {
        function: Text::truncated(&function),
        arguments: Bounded::truncated(arguments),
    })
}

fn opening() -> impl Strategy<Value = Opening> {
    ("[a-z]{1,64}", bytes()).prop_map(|(service, argument)| Opening { service: Text::truncated(&service), argument })
}

fn message() -> impl Strategy<Value = Message> {
    (any::<[u8; 16]>(), name(), content()).prop_map(|(id, to, content)| Message { id: MessageId(id), to, content })
}

fn payload() -> impl Strategy<Value = Payload> {
    let cause = prop::sample::select(vec![
        Cause::NoCandidate,
        Cause::TtlSpent,
        Cause::DestinationDown,
        Cause::NoSession,
        Cause::Congested,
    ]);
    let choice = prop_oneof![
        Just(Choice::Destination),
        Just(Choice::KnowsDestination),
        any::<u32>().prop_map(Choice::NearestBall),
        Just(Choice::Back),
        Just(Choice::Relay),
    ];
    prop_oneof![
        message()
            .prop_map(|message| Payload::Message(Box::new(SignedMessage::sign(&message, grant(), &Stamp).unwrap()))),
        (any::<u64>(), address(), status(), cause, path()).prop_map(|(packet, destination, status, cause, path)| {
            Payload::Undeliverable(Undeliverable { packet, destination, status, cause, path })
        }),
        (any::<u64>(), any::<u8>(), name(), address(), address(), choice).prop_map(
            |(packet, index, name, address, next, choice)| {
                Payload::Hop(Hop { packet, index, name, address, next, choice })
            }
        ),
        bytes().prop_map(Payload::Datagram),
    ]
}

proptest! {
    #[test]
    fn decode_of_encode_is_identity_for_frames(frame in frame()) {
        prop_assert_eq!(decode_frame(&frame.to_bytes().unwrap()), Ok(frame));
    }

    #[test]
    fn decode_of_encode_is_identity_for_payloads(
        payload in payload(), message in message(), call in call(), opening in opening(), receipt in receipt(),
    ) {
        prop_assert_eq!(decode(&encode(&payload).unwrap()), Ok(payload));
        prop_assert_eq!(decode(&encode(&message).unwrap()), Ok(message));
        prop_assert_eq!(decode(&encode(&call).unwrap()), Ok(call));
        prop_assert_eq!(decode(&encode(&opening).unwrap()), Ok(opening));
        prop_assert_eq!(decode(&encode(&receipt).unwrap()), Ok(receipt));
    }

    #[test]
    fn frames_that_follow_each_other_are_told_apart(frames in vec(frame(), 1..4)) {
        let mut stream = Vec::new();
        for frame in &frames {
            frame.encode_into(&mut stream).unwrap();
        }
        let mut rest = stream.as_slice();
        for frame in &frames {
            let len = frame.to_bytes().unwrap().len();
            prop_assert_eq!(decode_frame(&rest[..len]), Ok(frame.clone()));
            rest = &rest[len..];
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn junk_never_panics(kind in prop::sample::select(FrameKind::ALL), junk in vec(any::<u8>(), 0..600)) {
        let _verdict = Frame::decode(kind, &junk);
        for target in [fuzzing::frame, fuzzing::packet, fuzzing::payload, fuzzing::grant] {
            target(&junk);
        }
    }
}
