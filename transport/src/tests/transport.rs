//! Whole peers that ask each other by key.

use kith_common::crypto::Ed25519;
use kith_common::id::{Epoch, MessageId, SessionId};
use kith_common::testing::{certificate_of, ed, name, network_of};
use kith_common::wire::grant::{Grant, SignedGrant};

use super::*;
use crate::{Effect, Fate, Kind, NotSaid, PING_BYTES_MAX, PipeId, PipeNews, Question, Transport};

mod early;
mod pipes;

const NETWORK: u8 = 99;
const NAMES: [&str; 3] = ["alice", "bob", "carol"];

fn grant(of: usize, session: u8) -> Grant {
    let (network, session, epoch) = (network_of(NETWORK), SessionId([session; 16]), Epoch::new(1, u64::from(session)));
    Grant { network, name: name(NAMES[of]), key: key_of(of), address: address_of(of), session, epoch }
}

fn signed(grant: &Grant) -> SignedGrant {
    SignedGrant::sign(grant, &ed(98), certificate_of(NETWORK, 98)).unwrap()
}

/// Three peers, of which each admits whom `knows` says, and answers with what it was asked
struct Mesh {
    now: Instant,
    peers: Vec<Transport<Ed25519>>,
    seed: u64,
    /// All that was ever sent, if it is kept
    record: Option<Vec<(usize, Arrival, Vec<u8>)>>,
    under_way: BTreeMap<(Instant, u64), (usize, Arrival, Vec<u8>)>,
    sent: u64,
    lost: u32,
    rng: ChaCha20Rng,
    knows: fn(&Grant) -> bool,
    asked: Vec<(usize, String, Question)>,
    done: Vec<(usize, u64, Fate)>,
    said: Vec<(usize, Bytes)>,
    ended: usize,
    /// Pipes that were taken, by whom
    taken: Vec<(usize, PipeId)>,
    /// What was told of pipes
    news: Vec<(usize, PipeId, PipeNews)>,
}

fn peer(of: usize, seed: u64) -> Transport<Ed25519> {
    peer_with(of, seed, [of as u8; 32])
}

fn peer_with(of: usize, seed: u64, reset_secret: [u8; 32]) -> Transport<Ed25519> {
    let parts = EndpointParts {
        signer: Arc::new(holder(of)),
        provider: Arc::new(seeded::provider()),
        reset_secret,
        rng: ChaCha20Rng::seed_from_u64(seed << 8 | of as u64),
    };
    Transport::new(parts, network_of(NETWORK), Ed25519, signed(&grant(of, 1))).unwrap()
}

impl Mesh {
    fn of(seed: u64) -> Self {
        seeded::seed(seed);
        Self {
            now: Instant::ZERO,
            peers: (0..3).map(|of| peer(of, seed)).collect(),
            seed,
            record: None,
            under_way: BTreeMap::new(),
            sent: 0,
            lost: 0,
            rng: ChaCha20Rng::seed_from_u64(seed),
            knows: |_| true,
            asked: Vec::new(),
            done: Vec::new(),
            said: Vec::new(),
            ended: 0,
            taken: Vec::new(),
            news: Vec::new(),
        }
    }

    fn ask(&mut self, from: usize, to: usize, number: u8) -> u64 {
        let question = Question { kind: Kind::Call, id: MessageId([number; 16]), body: vec![number] };
        let until = self.now + Duration::from_secs(20);
        self.peers[from].ask(self.now, (key_of(to), address_of(to)), question, until).unwrap()
    }

    /// It forgets all that it knew but its key
    fn restart(&mut self, who: usize) {
        self.seed += 100;
        self.peers[who] = peer(who, self.seed);
    }

    /// What a peer does next when all that has come was taken in
    fn next_effect(&mut self, who: usize) -> Option<Effect> {
        loop {
            let effect = self.peers[who].poll_effect();
            if effect.is_some() || !self.peers[who].flush(self.now) {
                return effect;
            }
        }
    }

    fn settle(&mut self) {
        for who in 0..self.peers.len() {
            while let Some(effect) = self.next_effect(who) {
                match effect {
                    Effect::Transmit(datagram) => {
                        let to = (0..3).find(|number| address_of(*number) == datagram.to);
                        if let Some(to) = to.filter(|_| self.rng.next_u32() % 1000 >= self.lost) {
                            self.sent += 1;
                            let at = (self.now + Duration::from_millis(5), self.sent);
                            let (source, label) = (address_of(who), datagram.label);
                            let arrival = Arrival { source, label, is_congested: false, is_relayed: false };
                            if let Some(record) = &mut self.record {
                                record.push((to, arrival, datagram.bytes.clone()));
                            }
                            self.under_way.insert(at, (to, arrival, datagram.bytes));
                        }
                    }
                    Effect::Check { connection, grant } if (self.knows)(&grant) => {
                        self.peers[who].admit(self.now, connection, grant.session);
                    }
                    Effect::Check { connection, .. } => self.peers[who].refuse(self.now, connection, 410),
                    Effect::Asked { connection, stream, question, .. } if question.kind == Kind::Pipe => {
                        let place = (connection, stream);
                        match question.body.as_slice() {
                            b"no" => self.peers[who].answer(self.now, place, 403, b"nobody listens"),
                            _ => {
                                let pipe = self.peers[who].open_pipe(self.now, place).unwrap();
                                self.taken.push((who, pipe));
                            }
                        }
                    }
                    Effect::Pipe { pipe, news } => self.news.push((who, pipe, news)),
                    Effect::Asked { connection, stream, from, question } => {
                        self.peers[who].answer(self.now, (connection, stream), 200, &question.body);
                        self.asked.push((who, from.name.to_string(), question));
                    }
                    Effect::Done { ticket, fate } => self.done.push((who, ticket, fate)),
                    Effect::Ended { .. } => self.ended += 1,
                    Effect::Said { connection } => {
                        let said = std::iter::from_fn(|| self.peers[who].take_said(connection));
                        let said: Vec<Bytes> = said.collect();
                        self.said.extend(said.into_iter().map(|bytes| (who, bytes)));
                    }
                    Effect::Left { .. } => {}
                }
            }
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.settle();
            let packet = self.under_way.first_key_value().map(|((at, _), _)| *at);
            let timers = self.peers.iter().map(Transport::next_timeout).fold(None, earliest);
            let Some(at) = earliest(packet, timers).filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            while let Some(entry) = self.under_way.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (to, arrival, bytes) = entry.remove();
                self.peers[to].handle_datagram(self.now, &arrival, &bytes);
            }
            self.peers.iter_mut().for_each(|peer| peer.handle_timeout(self.now));
        }
        self.now = end;
    }

    fn fate(&self, who: usize, ticket: u64) -> Option<&Fate> {
        self.done.iter().find(|(of, done, _)| (*of, *done) == (who, ticket)).map(|(_, _, fate)| fate)
    }
}

#[test]
fn peers_ask_each_other_over_one_connection_and_know_who_asks() {
    for seed in 0..5 {
        let mut mesh = Mesh::of(seed);
        mesh.lost = 100;
        let first = mesh.ask(ALICE, BOB, 1);
        mesh.run(Duration::from_secs(5));
        // Bob asks back by the connection that is there, and knows who is at its other end.
        assert!(mesh.peers[BOB].is_connected(&key_of(ALICE)), "seed {seed}");
        let (second, third) = (mesh.ask(BOB, ALICE, 2), mesh.ask(2, BOB, 3));
        mesh.run(Duration::from_secs(5));
        for (who, ticket, number) in [(ALICE, first, 1), (BOB, second, 2), (2, third, 3)] {
            assert_eq!(
                mesh.fate(who, ticket),
                Some(&Fate::Answered { status: 200, body: vec![number] }),
                "seed {seed}"
            );
        }
        let asked: Vec<_> = mesh.asked.iter().map(|(who, from, _)| (*who, from.as_str())).collect();
        assert_eq!(asked, [(BOB, "alice"), (ALICE, "bob"), (BOB, "carol")], "seed {seed}");
        mesh.run(3 * crate::settings::IDLE);
        assert_eq!(
            (mesh.ended, mesh.peers[BOB].is_connected(&key_of(ALICE))),
            (4, false),
            "seed {seed}: both ends of two"
        );
    }
}

#[test]
fn two_who_ask_each_other_at_once_are_both_answered() {
    for seed in 0..5 {
        let mut mesh = Mesh::of(seed);
        mesh.lost = 100;
        let tickets: Vec<_> = (0..20)
            .flat_map(|number| [(ALICE, mesh.ask(ALICE, BOB, number)), (BOB, mesh.ask(BOB, ALICE, number))])
            .collect();
        mesh.run(Duration::from_secs(10));
        for (who, ticket) in tickets {
            assert!(matches!(mesh.fate(who, ticket), Some(Fate::Answered { status: 200, .. })), "seed {seed}");
        }
        assert_eq!(mesh.asked.len(), 40, "seed {seed}: each is heard once");
    }
}

#[test]
fn whoever_is_dialled_where_nobody_is_gets_what_is_sent_once_the_directory_knows_better() {
    let mut mesh = Mesh::of(1);
    let question = Question { kind: Kind::Call, id: MessageId([1; 16]), body: vec![1] };
    let until = mesh.now + Duration::from_secs(20);
    let nowhere = (key_of(BOB), Address(7));
    let ticket = mesh.peers[ALICE].ask(mesh.now, nowhere, question, until).unwrap();
    mesh.run(Duration::from_secs(2));
    assert_eq!(mesh.fate(ALICE, ticket), None);
    mesh.peers[ALICE].dial(mesh.now, key_of(BOB), address_of(BOB)).unwrap();
    mesh.run(Duration::from_secs(2));
    assert_eq!(mesh.fate(ALICE, ticket), Some(&Fate::Answered { status: 200, body: vec![1] }));
    // Who has answered says so itself where it is.
    mesh.peers[ALICE].dial(mesh.now, key_of(BOB), Address(7)).unwrap();
    let ticket = mesh.ask(ALICE, BOB, 2);
    mesh.run(Duration::from_secs(2));
    assert!(matches!(mesh.fate(ALICE, ticket), Some(Fate::Answered { status: 200, .. })));
}

#[test]
fn who_is_not_known_to_the_directory_is_not_heard() {
    let mut mesh = Mesh::of(1);
    mesh.knows = |grant| grant.name.as_str() != "alice";
    let ticket = mesh.ask(ALICE, BOB, 1);
    mesh.run(Duration::from_secs(5));
    assert_eq!(mesh.fate(ALICE, ticket), Some(&Fate::Lost(End::Closed { code: 410 })));
    let other = mesh.ask(2, BOB, 2);
    mesh.run(Duration::from_secs(5));
    assert!(matches!(mesh.fate(2, other), Some(Fate::Answered { status: 200, .. })));
    assert_eq!(mesh.asked.len(), 1, "alice's was never told");
}

#[test]
fn question_for_nobody_has_its_fate_and_the_next_one_dials_anew() {
    let mut mesh = Mesh::of(1);
    mesh.lost = 1000;
    let ticket = mesh.ask(ALICE, BOB, 1);
    mesh.run(Duration::from_secs(30));
    assert_eq!(mesh.fate(ALICE, ticket), Some(&Fate::Lost(End::ClosedHere { code: 401 })), "long before it is idle");
    assert!(!mesh.peers[ALICE].is_connected(&key_of(BOB)));
    mesh.lost = 0;
    let ticket = mesh.ask(ALICE, BOB, 2);
    mesh.run(Duration::from_secs(5));
    assert!(matches!(mesh.fate(ALICE, ticket), Some(Fate::Answered { status: 200, .. })));
}

#[test]
fn what_may_get_lost_is_said_where_a_connection_stands_and_nowhere_else() {
    let mut mesh = Mesh::of(1);
    assert_eq!(
        (mesh.peers[ALICE].standing_with(&key_of(BOB)), mesh.peers[ALICE].standing_at(&name("bob"))),
        (None, None)
    );
    mesh.peers[ALICE].dial(mesh.now, key_of(BOB), address_of(BOB)).unwrap();
    mesh.run(Duration::from_secs(1));
    let connection = mesh.peers[ALICE].standing_with(&key_of(BOB)).unwrap();
    assert_eq!(mesh.peers[ALICE].standing_at(&name("bob")), Some(connection));
    assert_eq!(mesh.peers[ALICE].standing_at(&name("carol")), None);
    let say = |mesh: &mut Mesh, bytes: Vec<u8>| mesh.peers[ALICE].say(mesh.now, connection, bytes.into());
    let longest = vec![7; PING_BYTES_MAX];
    assert_eq!(say(&mut mesh, longest.clone()), Ok(()));
    let Err(NotSaid::TooLong { most }) = say(&mut mesh, vec![0; 6_000]) else { panic!() };
    assert!((PING_BYTES_MAX..6_000).contains(&most), "{most}");
    assert_eq!(say(&mut mesh, vec![8; most]), Ok(()));
    assert!(say(&mut mesh, vec![9; most + 1]).is_err());
    mesh.run(Duration::from_secs(1));
    let said: Vec<_> = mesh.said.iter().map(|(who, bytes)| (*who, bytes.to_vec())).collect();
    assert_eq!(said, [(BOB, longest), (BOB, vec![8; most])]);
    mesh.peers[BOB].close(mesh.now, &key_of(ALICE), 410);
    mesh.run(Duration::from_secs(1));
    assert_eq!(say(&mut mesh, vec![1]), Err(NotSaid::NoConnection));
    assert_eq!(mesh.peers[ALICE].standing_with(&key_of(BOB)), None);
}

#[test]
fn who_is_not_let_in_is_told_nothing_and_is_not_heard() {
    let mut mesh = Mesh::of(2);
    mesh.knows = |grant| grant.name != name("alice");
    let asked = mesh.ask(ALICE, BOB, 1);
    while mesh.peers[BOB].connections() == 0 {
        mesh.run(Duration::from_millis(1));
    }
    assert_eq!(mesh.peers[BOB].standing_with(&key_of(ALICE)), None);
    mesh.run(Duration::from_secs(1));
    assert!(mesh.said.is_empty() && mesh.fate(ALICE, asked).is_some());
}

#[test]
fn question_and_its_answer_are_a_packet_each_and_many_that_come_together_share_theirs() {
    let mut mesh = Mesh::of(3);
    mesh.ask(ALICE, BOB, 0);
    mesh.run(Duration::from_secs(1));
    let before = mesh.sent;
    for number in 1..=100 {
        let ticket = mesh.ask(ALICE, BOB, number);
        while mesh.fate(ALICE, ticket).is_none() {
            mesh.run(Duration::from_millis(5));
        }
    }
    let one_by_one = mesh.sent - before;
    assert!(one_by_one <= 220, "{one_by_one} packets for a hundred questions, one after the other");
    let before = mesh.sent;
    let tickets: Vec<_> = (1..=100).map(|number| mesh.ask(ALICE, BOB, number)).collect();
    mesh.run(Duration::from_secs(1));
    assert!(tickets.into_iter().all(|ticket| mesh.fate(ALICE, ticket).is_some()));
    let at_once = mesh.sent - before;
    assert!(at_once <= 10, "{at_once} packets for a hundred questions at once");
}
