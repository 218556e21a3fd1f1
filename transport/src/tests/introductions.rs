//! Who the other end is, and what is heard of it before that is known.

use kith_common::crypto::Ed25519;
use kith_common::id::{Epoch, SessionId};
use kith_common::testing::{certificate_of, ed, name, network_of};
use kith_common::wire::grant::{Grant, SignedGrant};

use super::*;
use crate::{CODE_NOT_ALLOWED, CODE_NOT_SHOWN, INTRODUCTION_WAIT, Introductions, Told};

const NETWORK: u8 = 99;
const SUPERNODE: u8 = 98;

fn grant(of: usize, session: u8, address: Address) -> Grant {
    Grant {
        network: network_of(NETWORK),
        name: name(["alice", "bob"][of]),
        key: key_of(of),
        address,
        session: SessionId([session; 16]),
        epoch: Epoch::new(1, session.into()),
    }
}

fn signed(grant: &Grant) -> SignedGrant {
    SignedGrant::sign(grant, &ed(SUPERNODE), certificate_of(NETWORK, SUPERNODE)).unwrap()
}

/// Alice and bob, and what each is told
struct Two {
    net: Net,
    introductions: [Introductions<Ed25519>; 2],
    told: [Vec<Told>; 2],
}

impl Two {
    fn showing(grants: [SignedGrant; 2]) -> Self {
        let introductions = grants.map(|own| Introductions::new(network_of(NETWORK), Ed25519, own));
        Self { net: Net::of(3, 1), introductions, told: [Vec::new(), Vec::new()] }
    }

    fn new() -> Self {
        Self::showing([ALICE, BOB].map(|who| signed(&grant(who, 1, address_of(who)))))
    }

    /// On a connection that alice has made, and both have admitted; its names at both ends
    fn admitted() -> (Self, ConnectionId, ConnectionId) {
        let mut two = Self::new();
        let id = two.net.connect(ALICE, BOB);
        two.run(Duration::from_millis(100));
        let (theirs, _) = two.met(BOB)[0];
        two.admit(ALICE, id, 1);
        two.admit(BOB, theirs, 1);
        (two, id, theirs)
    }

    fn run(&mut self, span: Duration) {
        let until = self.net.now + span;
        while self.net.now < until {
            self.net.run(Duration::from_millis(5));
            for who in [ALICE, BOB] {
                let outputs = std::mem::take(&mut self.net.told[who]);
                let Self { net, introductions, told } = self;
                let (introductions, endpoint) = (&mut introductions[who], &mut net.endpoints[who]);
                let outputs = outputs.into_iter().map(|(_, output)| output);
                told[who].extend(outputs.filter_map(|output| introductions.handle_output(net.now, endpoint, output)));
                introductions.handle_timeout(net.now, endpoint);
            }
        }
    }

    fn admit(&mut self, who: usize, connection: ConnectionId, session: u8) -> Vec<Output> {
        let Self { net, introductions, .. } = self;
        introductions[who].admit(net.now, &mut net.endpoints[who], connection, SessionId([session; 16]))
    }

    /// Whom this end has met on which connection
    fn met(&self, who: usize) -> Vec<(ConnectionId, Grant)> {
        let met = self.told[who].iter().filter_map(|told| match told {
            Told::Met { connection, grant } => Some((*connection, grant.clone())),
            Told::Output(_) => None,
        });
        met.collect()
    }

    fn ends(&self, who: usize) -> Vec<End> {
        let ends = self.told[who].iter().filter_map(|told| match told {
            Told::Output(Output::Ended { end, .. }) => Some(end.clone()),
            _ => None,
        });
        ends.collect()
    }
}

#[test]
fn ends_meet_and_what_came_before_is_told_when_they_are_admitted() {
    let mut two = Two::new();
    let id = two.net.connect(ALICE, BOB);
    two.run(Duration::from_millis(100));
    assert_eq!(two.met(ALICE), [(id, grant(BOB, 1, address_of(BOB)))], "also who was dialled");
    two.admit(ALICE, id, 1);
    let (theirs, shown) = two.met(BOB)[0].clone();
    assert_eq!(shown, grant(ALICE, 1, address_of(ALICE)));
    let stream = two.net.endpoints[ALICE].open(id, Direction::Both).unwrap().unwrap();
    two.net.endpoints[ALICE].write(two.net.now, id, stream, b"early").unwrap();
    two.run(Duration::from_millis(100));
    assert_eq!((two.met(BOB).len(), two.told[BOB].len()), (1, 1), "it waits");
    let waited = two.admit(BOB, theirs, 1);
    let opened = Output::Opened { connection: theirs, stream, direction: Direction::Both };
    assert!(matches!(waited[0], Output::Connected { .. }) && waited.contains(&opened), "{waited:?}");
    assert_eq!(two.introductions[BOB].grant_of(theirs), Some(&shown));
    two.net.endpoints[ALICE].write(two.net.now, id, stream, b"late").unwrap();
    two.run(INTRODUCTION_WAIT * 2);
    assert!(
        two.told[BOB].contains(&Told::Output(Output::Readable { connection: theirs, stream })),
        "{:?}",
        two.told[BOB]
    );
    assert_eq!((two.ends(ALICE), two.ends(BOB)), (vec![], vec![]));
}

#[test]
fn who_is_neither_admitted_nor_refused_is_put_out() {
    let mut two = Two::new();
    two.net.connect(ALICE, BOB);
    two.run(INTRODUCTION_WAIT + Duration::from_secs(1));
    let code = CODE_NOT_SHOWN;
    // Neither has asked the directory for longer than the other.
    let mut ends = [two.ends(ALICE), two.ends(BOB)];
    ends.sort_by_key(|ends| format!("{ends:?}"));
    assert_eq!(ends, [vec![End::Closed { code }], vec![End::ClosedHere { code }]]);
}

#[test]
fn grant_of_somebody_else_or_of_another_network_or_none_at_all_ends_the_connection() {
    let good = signed(&grant(BOB, 1, address_of(BOB)));
    let elsewhere = Grant { network: network_of(NETWORK + 1), ..grant(ALICE, 1, address_of(ALICE)) };
    let forged = SignedGrant::sign(&grant(ALICE, 1, address_of(ALICE)), &ed(7), certificate_of(NETWORK, SUPERNODE));
    for bad in [good.clone(), signed(&elsewhere), forged.unwrap()] {
        let mut two = Two::showing([bad, good.clone()]);
        two.net.connect(ALICE, BOB);
        two.run(Duration::from_millis(100));
        assert_eq!((two.met(BOB), two.ends(BOB)), (vec![], vec![End::ClosedHere { code: CODE_NOT_ALLOWED }]));
        assert_eq!(two.ends(ALICE), [End::Closed { code: CODE_NOT_ALLOWED }]);
    }
}

#[test]
fn bytes_that_are_no_grant_or_have_no_end_are_refused() {
    for (bytes, is_ended) in [(vec![1; 40], true), (vec![1; 5_000], false)] {
        let mut net = Net::of(2, 1);
        let (id, other) = net.connected();
        let own = signed(&grant(BOB, 1, address_of(BOB)));
        let mut introductions = Introductions::new(network_of(NETWORK), Ed25519, own);
        let stream = net.endpoints[ALICE].open(id, Direction::One).unwrap().unwrap();
        net.endpoints[ALICE].write(net.now, id, stream, &bytes).unwrap();
        if is_ended {
            net.endpoints[ALICE].finish(net.now, id, stream).unwrap();
        }
        net.run(Duration::from_millis(50));
        for (_, output) in std::mem::take(&mut net.told[BOB]) {
            introductions.handle_output(net.now, &mut net.endpoints[BOB], output);
        }
        net.settle();
        assert_eq!(net.end_of(BOB, other), Some(End::ClosedHere { code: CODE_NOT_ALLOWED }));
    }
}

#[test]
fn who_shows_nothing_is_put_out() {
    let mut two = Two::new();
    let id = two.net.endpoints[2].connect(two.net.now, key_of(BOB), address_of(BOB)).unwrap();
    two.run(INTRODUCTION_WAIT + Duration::from_secs(1));
    assert_eq!(two.ends(BOB), [End::ClosedHere { code: CODE_NOT_SHOWN }]);
    assert_eq!(two.net.end_of(2, id), Some(End::Closed { code: CODE_NOT_SHOWN }));
    assert_eq!(two.introductions[BOB].next_timeout(), None);
}

#[test]
fn packets_follow_to_the_address_of_a_newer_session_and_an_older_one_takes_back_nothing() {
    let (mut two, _, theirs) = Two::admitted();
    // Whoever sits at the third place hears what is for alice there.
    let elsewhere = address_of(2);
    for (session, address) in [(3, elsewhere), (2, address_of(ALICE))] {
        let own = signed(&grant(ALICE, session, address));
        let Two { net, introductions, .. } = &mut two;
        introductions[ALICE].set_own(net.now, &mut net.endpoints[ALICE], own);
        two.run(Duration::from_millis(100));
    }
    let sessions: Vec<_> = two.met(BOB).into_iter().map(|(_, grant)| grant.session).collect();
    assert_eq!(sessions, [1, 3].map(|session| SessionId([session; 16])), "another session is met anew");
    assert_eq!(two.admit(BOB, theirs, 1), [], "that is not the one that is asked for");
    assert_eq!(two.introductions[BOB].grant_of(theirs).unwrap().session, SessionId([1; 16]));
    two.admit(BOB, theirs, 3);
    two.net.record = Some(Vec::new());
    two.net.endpoints[BOB].say(two.net.now, theirs, Bytes::from_static(b"where are you")).unwrap();
    two.run(Duration::from_millis(10));
    assert_eq!(two.net.record.as_ref().unwrap()[0].0, 2);
}

#[test]
fn new_session_is_shown_also_while_the_connection_is_full_of_something_else() {
    let (mut two, id, theirs) = Two::admitted();
    let stream = two.net.endpoints[ALICE].open(id, Direction::Both).unwrap().unwrap();
    while two.net.endpoints[ALICE].write(two.net.now, id, stream, &[7; 65_536]).unwrap() > 0 {}
    let Two { net, introductions, .. } = &mut two;
    introductions[ALICE].set_own(net.now, &mut net.endpoints[ALICE], signed(&grant(ALICE, 2, address_of(ALICE))));
    two.run(Duration::from_millis(500));
    assert_eq!(two.met(BOB).len(), 1, "bob reads nothing of what fills it");
    while !matches!(two.net.endpoints[BOB].read(two.net.now, theirs, stream, usize::MAX), Ok(Read::Nothing)) {}
    two.run(Duration::from_millis(500));
    assert_eq!((two.met(BOB).len(), two.ends(BOB)), (2, vec![]), "and then it comes");
}
