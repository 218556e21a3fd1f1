//! Mail by itself: packets that are answered late, or not at all.

use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::id::{Epoch, SessionId};
use crate::names::Source;
use crate::removed::RemovedKeys;
use crate::testing::{Ed, at_ms, certificate_of, ed, network_of, peer_name};

const NETWORK: u8 = 101;
const SUPERNODE: u8 = 100;
const A: u8 = 1;
const B: u8 = 2;
const PING: Content = Content::Signal(Signal::Ping);
const CHOICE: Choice = Choice::Destination;

fn address(n: u8) -> Address {
    Address(u64::from(n) << 60)
}

fn own(n: u8) -> Own {
    let (network, name, address) = (network_of(NETWORK), peer_name(n), address(n));
    let (key, session, epoch) = (ed(n).key(), SessionId([n; 16]), Epoch::new(0, 1));
    let grant = Grant { network, name: name.clone(), key, address, session, epoch };
    let signed = SignedGrant::sign(&grant, &ed(SUPERNODE), certificate_of(NETWORK, SUPERNODE)).unwrap();
    Own { network, address, name, signed }
}

/// The mail of a peer without neighbours, and what is lent to it
struct One {
    mail: Mail,
    signer: Ed,
    neighbourhood: Neighbourhood,
    removed: RemovedKeys,
}

impl One {
    fn new(n: u8) -> Self {
        let mut mail = Mail::new(ChaCha20Rng::from_seed([n; 32]));
        mail.handle_login(own(n));
        let neighbourhood = Neighbourhood::new(ed(n).key(), Default::default(), 1);
        Self { mail, signer: ed(n), neighbourhood, removed: RemovedKeys::default() }
    }

    fn drain(&mut self) -> Vec<MailOutput> {
        let lent = Lent { signer: &self.signer, neighbourhood: &self.neighbourhood, removed: &self.removed };
        std::iter::from_fn(|| self.mail.poll_output(at_ms(0), &lent)).collect()
    }

    fn take(&mut self, packet: &PacketBytes) -> Vec<MailOutput> {
        let lent = Lent { signer: &self.signer, neighbourhood: &self.neighbourhood, removed: &self.removed };
        self.mail.handle_packet(at_ms(0), &lent, Origin::Mesh, &packet.as_ref());
        self.drain()
    }

    /// Sends to `to`, whose place is known: the packet that is to be transmitted
    fn send(&mut self, to: u8) -> PacketBytes {
        self.mail.send(at_ms(0), peer_name(to), PING, true).unwrap();
        let outputs = self.drain();
        assert!(matches!(outputs.as_slice(), [MailOutput::Resolve { fresh: false, .. }]), "{outputs:?}");
        let (name, address) = (peer_name(to), address(to));
        let answer = Answer { name: name.clone(), address, record: None, source: Source::Tables, stale: false };
        self.mail.handle_resolved(at_ms(0), &Subject::Name(name), true, Ok(&answer));
        transmitted(self.drain())
    }
}

fn transmitted(outputs: Vec<MailOutput>) -> PacketBytes {
    match <[MailOutput; 1]>::try_from(outputs) {
        Ok([MailOutput::Transmit { packet, .. }]) => packet,
        other => panic!("{other:?}"),
    }
}

fn id(packet: &PacketBytes) -> u64 {
    packet.as_ref().header().id
}

fn fate(outputs: &[MailOutput]) -> (Status, u8) {
    match outputs {
        [MailOutput::Done(outcome)] => (outcome.fate.status, outcome.fate.transmissions),
        other => panic!("{other:?}"),
    }
}

#[test]
fn reply_may_come_before_it_is_known_how_its_message_left() {
    let (mut alice, mut bob) = (One::new(A), One::new(B));
    let packet = alice.send(B);
    let reply = transmitted(bob.take(&packet));
    assert!(alice.take(&reply).is_empty(), "its trace is to say whom routing chose");
    alice.mail.handle_sent(id(&packet), address(B), CHOICE);
    assert_eq!(fate(&alice.drain()), (Status::Delivered, 1));
    alice.mail.handle_unsent(at_ms(1), packet);
    assert!(alice.drain().is_empty() && alice.mail.is_idle(), "nobody waits for it any more");
}

#[test]
fn first_hop_is_noted_when_it_is_known_and_watched_from_then_on() {
    let mut alice = One::new(A);
    let packet = alice.send(B);
    alice.mail.handle_first_hop_lost(at_ms(1), address(7));
    assert!(alice.drain().is_empty(), "it is not known yet who has it");
    alice.mail.handle_sent(id(&packet), address(7), CHOICE);
    alice.mail.handle_first_hop_lost(at_ms(3), address(7));
    let outputs = alice.drain();
    assert!(
        matches!(outputs.as_slice(), [MailOutput::Transmit { avoid, .. }] if *avoid == [address(7)]),
        "{outputs:?}"
    );
}

#[test]
fn message_that_finds_no_way_is_looked_up_anew_and_relayed() {
    let mut alice = One::new(A);
    let packet = alice.send(B);
    alice.mail.handle_unsent(at_ms(1), packet);
    assert!(matches!(alice.drain().as_slice(), [MailOutput::Resolve { fresh: true, .. }]));
    let (name, address) = (peer_name(B), address(B));
    let answer = Answer { name: name.clone(), address, record: None, source: Source::Supernode, stale: false };
    alice.mail.handle_resolved(at_ms(2), &Subject::Name(name), true, Ok(&answer));
    let relayed = match <[MailOutput; 1]>::try_from(alice.drain()) {
        Ok([MailOutput::Relay { packet }]) => packet,
        other => panic!("{other:?}"),
    };
    alice.mail.handle_unsent(at_ms(3), relayed);
    assert!(alice.drain().is_empty(), "the clock brings the next transmission");
    assert_eq!(alice.mail.in_flight(), 1);
}

#[test]
fn reply_that_finds_no_way_is_handed_to_the_supernode_if_there_is_one() {
    let (mut alice, mut bob) = (One::new(A), One::new(B));
    let packet = alice.send(B);
    let reply = transmitted(bob.take(&packet));
    bob.mail.handle_unsent(at_ms(1), reply.clone());
    assert!(bob.drain().is_empty(), "there is none");
    let reply = transmitted(bob.take(&packet));
    bob.mail.handle_home(true);
    bob.mail.handle_unsent(at_ms(2), reply.clone());
    assert_eq!(bob.drain(), [MailOutput::Relay { packet: reply.clone() }]);
    bob.mail.handle_unsent(at_ms(3), reply);
    assert!(bob.drain().is_empty(), "the supernode is away after all: the sender sends again");
}

#[test]
fn reply_avoids_whom_the_one_before_was_handed_to() {
    let (mut alice, mut bob) = (One::new(A), One::new(B));
    let packet = alice.send(B);
    let reply = transmitted(bob.take(&packet));
    bob.mail.handle_sent(id(&reply), address(7), CHOICE);
    let outputs = bob.take(&packet);
    assert!(
        matches!(outputs.as_slice(), [MailOutput::Transmit { avoid, .. }] if *avoid == [address(7)]),
        "{outputs:?}"
    );
}

#[test]
fn logout_ends_sends_that_have_to_be_transmitted_again() {
    let mut alice = One::new(A);
    alice.send(B);
    alice.mail.handle_logout();
    assert_eq!(alice.mail.send(at_ms(1), peer_name(B), PING, false), Err(NotLoggedIn));
    alice.mail.handle_timeout(at_ms(500));
    assert_eq!(fate(&alice.drain()).0, Status::NotLoggedIn);
}
