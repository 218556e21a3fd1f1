//! What becomes of one send, and of several.

mod random;
mod silence;

use super::*;
use crate::id::{Epoch, Key, NetworkId, SessionId, ShortId};
use crate::testing::{at_ms as at, name};
use crate::wire::bounded::{Bounded, Text};
use crate::wire::content::Signal;

const ID: MessageId = MessageId([1; 16]);
const KEY: Key = Key([7; 32]);
const HERE: Address = Address(0xaaaa_0000_0000_0000);
const THERE: Address = Address(0xbbbb_0000_0000_0000);
const PING: Content = Content::Signal(Signal::Ping);

fn hop(n: u64) -> Address {
    Address(n << 32)
}

fn grant(of: &str, key: Key) -> Grant {
    let (network, session) = (NetworkId([0; 32]), SessionId([0; 16]));
    Grant { network, name: name(of), key, address: HERE, session, epoch: Epoch::new(0, 1) }
}

fn reply(to: MessageId, status: Status) -> Reply {
    let way = PathHop { short: ShortId(5), relay: false, name: None };
    Reply { to, status, path: Bounded::truncated([way]), reason: Text::truncated("well") }
}

fn report(packet: u64, destination: Address, status: Status, cause: Cause) -> Undeliverable {
    Undeliverable { packet, destination, status, cause, path: Bounded::new() }
}

fn drain(outbox: &mut Outbox) -> Vec<OutboxOutput> {
    std::iter::from_fn(|| outbox.poll_output()).collect()
}

/// The shortest form of an output, for tables
fn told(output: &OutboxOutput) -> String {
    match output {
        OutboxOutput::Resolve { name, fresh: false } => format!("resolve {name}"),
        OutboxOutput::Resolve { name, fresh: true } => format!("resolve {name} anew"),
        OutboxOutput::Transmit { transmission, destination, avoid, .. } => {
            let avoid: Vec<String> = avoid.iter().map(|hop| (hop.0 >> 32).to_string()).collect();
            format!("transmit {transmission} to {} not {}", &destination.to_string()[..1], avoid.join(","))
        }
        OutboxOutput::Relay { transmission, destination, .. } => {
            format!("relay {transmission} to {}", &destination.to_string()[..1])
        }
        OutboxOutput::Done(fate) => format!("{} {} after {}", fate.status.code(), fate.reason, fate.transmissions),
    }
}

/// An out-box with one ping to heidi, and a clock
struct One {
    outbox: Outbox,
    now: Instant,
    is_home_up: bool,
}

impl One {
    fn new() -> Self {
        let mut one = Self { outbox: Outbox::default(), now: at(0), is_home_up: true };
        one.outbox.handle_send(at(0), ID, name("heidi"), PING);
        assert_eq!(one.told(), ["resolve heidi"]);
        one
    }

    /// … that was handed to neighbour 1 as packet 1
    fn sent() -> Self {
        let mut one = Self::new();
        assert_eq!(one.found(false, Ok(HERE)), ["transmit 1 to a not "]);
        one.via(1, 1);
        one
    }

    /// What it wants; each transmission is packed at once, in a packet of its own number
    fn told(&mut self) -> Vec<String> {
        let outputs = drain(&mut self.outbox);
        for output in &outputs {
            if let OutboxOutput::Transmit { transmission, .. } | OutboxOutput::Relay { transmission, .. } = output {
                self.outbox.handle_packed(output, (*transmission).into());
            }
        }
        outputs.iter().map(told).collect()
    }

    fn found(&mut self, fresh: bool, answer: Result<Address, Status>) -> Vec<String> {
        let answer = answer.map(|address| Target { address, key: Some(KEY) });
        self.outbox.handle_resolved(self.now, &name("heidi"), fresh, answer);
        self.told()
    }

    /// The packet of this transmission went to neighbour `neighbour`
    fn via(&mut self, transmission: u8, neighbour: u64) {
        self.outbox.handle_sent(transmission.into(), hop(neighbour));
    }

    fn undeliverable(&mut self, packet: u64, status: Status, cause: Cause) -> Vec<String> {
        let report = report(packet, HERE, status, cause);
        self.outbox.handle_undeliverable(self.now, &report).unwrap();
        self.told()
    }

    fn unsent(&mut self, transmission: u8) -> Vec<String> {
        self.outbox.handle_unsent(self.now, transmission.into());
        self.told()
    }

    /// Lets the clock run to the next timeout, which must be at `millis`
    fn wakes_at(&mut self, millis: u64) -> Vec<String> {
        assert_eq!(self.outbox.next_timeout(), Some(at(millis)));
        self.now = at(millis);
        self.outbox.handle_timeout(self.now, self.is_home_up);
        self.told()
    }
}

#[test]
fn reply_of_the_receiver_is_the_fate() {
    let mut one = One::sent();
    one.outbox.handle_reply(at(2), &grant("heidi", KEY), &reply(ID, Status::Delivered)).unwrap();
    let expected = Fate {
        id: ID,
        to: name("heidi"),
        status: Status::Delivered,
        path: reply(ID, Status::Delivered).path.into_vec(),
        elapsed: Duration::from_millis(2),
        transmissions: 1,
        reason: Reason::Replied,
        words: Text::truncated("well"),
    };
    assert_eq!(drain(&mut one.outbox), [OutboxOutput::Done(expected)]);
    assert!(one.outbox.is_empty());
    assert_eq!(one.outbox.next_timeout(), None);
}

#[test]
fn reply_of_any_status_is_the_fate() {
    for status in Status::ALL {
        let mut one = One::sent();
        one.outbox.handle_reply(at(2), &grant("heidi", KEY), &reply(ID, *status)).unwrap();
        assert_eq!(one.told(), [format!("{} the receiver replied after 1", status.code())]);
    }
}

#[test]
fn reply_from_another_name_or_key_is_ignored_with_a_reason() {
    let mut one = One::sent();
    let answer = reply(ID, Status::Delivered);
    let mut from = |who: &str, key| one.outbox.handle_reply(at(1), &grant(who, key), &answer);
    assert_eq!(from("mallory", KEY), Err(Ignored::OtherName));
    assert_eq!(from("heidi", Key([8; 32])), Err(Ignored::OtherKey));
    assert_eq!(from("heidi", KEY), Ok(()));
    assert_eq!(from("heidi", KEY), Err(Ignored::Unknown), "the second reply is nobody's");
    assert_eq!(one.told().len(), 1);
}

#[test]
fn reply_counts_by_its_name_where_no_key_is_known() {
    let mut one = One::new();
    let target = Target { address: HERE, key: None };
    one.outbox.handle_resolved(at(0), &name("heidi"), false, Ok(target));
    one.outbox.handle_reply(at(1), &grant("heidi", Key([9; 32])), &reply(ID, Status::Delivered)).unwrap();
    assert_eq!(one.told()[1], "200 the receiver replied after 1");
}

#[test]
fn silence_without_a_supernode_is_answered_by_resends_over_other_first_hops_and_ends_with_408() {
    let mut one = One::sent();
    one.is_home_up = false;
    assert_eq!(one.wakes_at(500), ["transmit 2 to a not 1"]);
    one.via(2, 2);
    assert_eq!(one.wakes_at(1_500), ["transmit 3 to a not 1,2"]);
    one.via(3, 3);
    assert_eq!(one.wakes_at(3_500), ["transmit 4 to a not 1,2,3"]);
    one.via(4, 1);
    assert_eq!(one.wakes_at(7_500), ["transmit 5 to a not 1,2,3"]);
    assert_eq!(one.wakes_at(10_000), ["408 no reply in time after 5"]);
    assert_eq!(one.outbox.next_timeout(), None);
}

#[test]
fn late_reply_to_an_early_transmission_is_the_fate() {
    let mut one = One::sent();
    one.wakes_at(500);
    one.via(2, 2);
    one.outbox.handle_reply(at(900), &grant("heidi", KEY), &reply(ID, Status::Delivered)).unwrap();
    assert_eq!(one.told(), ["200 the receiver replied after 2"]);
}

#[test]
fn look_up_that_finds_nothing_is_the_fate() {
    for status in [Status::NotFound, Status::Gone, Status::SlowDown, Status::Unavailable] {
        let expected = format!("{} so says the look-up of the name after 0", status.code());
        assert_eq!(One::new().found(false, Err(status)), [expected]);
    }
}

#[test]
fn look_up_without_an_answer_ends_with_408() {
    assert_eq!(One::new().wakes_at(10_000), ["408 no reply in time after 0"]);
}

#[test]
fn lost_first_hop_resends_at_once_over_another() {
    let mut one = One::sent();
    one.now = at(100);
    one.outbox.handle_first_hop_lost(at(100), hop(2));
    assert!(one.told().is_empty(), "another neighbour's link is no concern");
    one.outbox.handle_first_hop_lost(at(100), hop(1));
    assert_eq!(one.told(), ["transmit 2 to a not 1"]);
    one.via(2, 2);
    one.outbox.handle_first_hop_lost(at(110), hop(1));
    assert!(one.told().is_empty(), "the present transmission went elsewhere");
    assert_eq!(one.wakes_at(600), ["transmit 3 to a not 1,2"], "the patience begins anew and does not grow");
}

#[test]
fn loss_beyond_the_first_hop_resends_what_is_overdue_at_once() {
    let mut one = One::sent();
    one.now = at(240);
    one.outbox.handle_loss_beyond(at(240), hop(1));
    assert!(one.told().is_empty(), "a reply may well be on its way");
    one.now = at(260);
    one.outbox.handle_loss_beyond(at(260), hop(2));
    assert!(one.told().is_empty(), "another neighbour's links are no concern");
    one.outbox.handle_loss_beyond(at(260), hop(1));
    assert_eq!(one.told(), ["transmit 2 to a not 1"]);
    one.via(2, 2);
    one.outbox.handle_loss_beyond(at(270), hop(1));
    assert!(one.told().is_empty(), "the present transmission went elsewhere");
}

#[test]
fn undeliverable_is_looked_up_anew_and_relayed() {
    let mut one = One::sent();
    assert_eq!(one.undeliverable(1, Status::Unavailable, Cause::NoCandidate), ["resolve heidi anew"]);
    assert!(one.found(false, Ok(HERE)).is_empty(), "memory will not do");
    assert_eq!(one.found(true, Ok(HERE)), ["relay 2 to a"]);
    one.outbox.handle_reply(at(20), &grant("heidi", KEY), &reply(ID, Status::Delivered)).unwrap();
    assert_eq!(one.told(), ["200 the receiver replied after 2"]);
}

#[test]
fn undeliverable_at_an_old_address_is_transmitted_to_the_new_one() {
    let mut one = One::sent();
    one.undeliverable(1, Status::Unavailable, Cause::DestinationDown);
    assert_eq!(one.found(true, Ok(THERE)), ["transmit 2 to b not "]);
    one.via(2, 1);
    let old = report(2, HERE, Status::Unavailable, Cause::NoCandidate);
    assert_eq!(one.outbox.handle_undeliverable(at(1), &old), Err(Ignored::OtherDestination));
    let new = report(2, THERE, Status::Unavailable, Cause::NoCandidate);
    assert_eq!(one.outbox.handle_undeliverable(at(1), &new), Ok(()));
    assert_eq!(one.told(), ["resolve heidi anew"]);
    assert_eq!(one.found(true, Ok(THERE)), ["relay 3 to b"]);
}

#[test]
fn new_look_up_that_says_404_or_410_is_the_fate() {
    for (status, code) in [(Status::NotFound, "404"), (Status::Gone, "410")] {
        let mut one = One::sent();
        one.undeliverable(1, Status::Unavailable, Cause::DestinationDown);
        assert_eq!(one.found(true, Err(status)), [format!("{code} so says the look-up of the name after 1")]);
    }
}

#[test]
fn receiver_that_is_gone_may_have_got_what_was_never_given_back() {
    let mut one = One::sent();
    assert_eq!(one.wakes_at(500), ["transmit 2 to a not 1"]);
    one.via(2, 2);
    one.undeliverable(2, Status::Unavailable, Cause::DestinationDown);
    let expected = "408 it may have arrived, but no reply came, and now the receiver is not here after 2";
    assert_eq!(one.found(true, Err(Status::Gone)), [expected]);
}

/// Transmission 2 was relayed, and the supernode says that nobody is there
fn relayed_to_nobody(status: Status) -> One {
    let mut one = One::sent();
    one.undeliverable(1, Status::Unavailable, Cause::DestinationDown);
    one.found(true, Ok(HERE));
    assert_eq!(one.undeliverable(2, status, Cause::NoSession), ["resolve heidi anew"]);
    one
}

#[test]
fn relay_to_an_address_where_nobody_is_any_more_is_transmitted_to_the_new_one() {
    let mut one = relayed_to_nobody(Status::Gone);
    assert!(one.found(false, Ok(HERE)).is_empty(), "memory will not do");
    assert_eq!(one.found(true, Ok(THERE)), ["transmit 3 to b not "]);
    one.via(3, 1);
    one.outbox.handle_reply(at(20), &grant("heidi", KEY), &reply(ID, Status::Delivered)).unwrap();
    assert_eq!(one.told(), ["200 the receiver replied after 3"]);
}

#[test]
fn relay_to_nobody_ends_with_what_the_look_up_says_of_the_name() {
    for (status, code) in [(Status::NotFound, "404"), (Status::Gone, "410")] {
        let mut one = relayed_to_nobody(Status::Gone);
        assert_eq!(one.found(true, Err(status)), [format!("{code} so says the look-up of the name after 2")]);
    }
}

#[test]
fn second_relay_to_an_address_where_nobody_is_ends_with_410_whatever_the_first_one_said() {
    for status in [Status::NotFound, Status::Gone] {
        let mut one = relayed_to_nobody(status);
        assert_eq!(one.found(true, Ok(HERE)), ["relay 3 to a"]);
        let expected = "410 so says the relaying supernode: nobody is logged in at that address after 3";
        assert_eq!(one.undeliverable(3, status, Cause::NoSession), [expected]);
    }
}

#[test]
fn of_two_relays_to_nobody_the_second_one_waits_for_the_look_up_too() {
    let mut one = One::sent();
    one.undeliverable(1, Status::Unavailable, Cause::DestinationDown);
    one.found(true, Ok(HERE));
    assert_eq!(one.wakes_at(500), ["transmit 3 to a not 1"]);
    one.via(3, 2);
    one.undeliverable(3, Status::Unavailable, Cause::DestinationDown);
    assert_eq!(one.found(true, Ok(HERE)), ["relay 4 to a"]);
    assert_eq!(one.undeliverable(2, Status::Gone, Cause::NoSession), ["resolve heidi anew"]);
    assert!(one.undeliverable(4, Status::Gone, Cause::NoSession).is_empty());
    assert_eq!(one.found(true, Ok(THERE)), ["transmit 5 to b not "]);
}

#[test]
fn forwarder_that_says_404_is_not_believed() {
    let mut one = One::sent();
    assert_eq!(one.undeliverable(1, Status::NotFound, Cause::NoSession), ["resolve heidi anew"]);
}

#[test]
fn report_of_a_packet_counts_once() {
    let mut one = One::sent();
    one.undeliverable(1, Status::Unavailable, Cause::NoCandidate);
    let again = report(1, HERE, Status::Unavailable, Cause::NoCandidate);
    assert_eq!(one.outbox.handle_undeliverable(at(1), &again), Err(Ignored::Unknown));
    let unknown = report(99, HERE, Status::Unavailable, Cause::NoCandidate);
    assert_eq!(one.outbox.handle_undeliverable(at(1), &unknown), Err(Ignored::Unknown));
    assert!(one.told().is_empty());
}

#[test]
fn congestion_waits_for_the_next_resend() {
    let mut one = One::sent();
    assert!(one.undeliverable(1, Status::Unavailable, Cause::Congested).is_empty());
    assert_eq!(one.wakes_at(500), ["transmit 2 to a not 1"]);
}

#[test]
fn undeliverable_without_a_supernode_is_tried_three_times_and_ends_with_503() {
    let mut one = One::sent();
    let expected = "503 no neighbour was left to try, and no supernode could help after 3";
    one.is_home_up = false;
    for (packet, wakes, told) in [(1, 500, "transmit 2 to a not 1"), (2, 1_500, "transmit 3 to a not 1,2")] {
        assert_eq!(one.undeliverable(packet, Status::Unavailable, Cause::NoCandidate), ["resolve heidi anew"]);
        assert!(one.found(true, Err(Status::Unavailable)).is_empty());
        assert_eq!(one.wakes_at(wakes), [told]);
        one.via(packet as u8 + 1, packet + 1);
    }
    one.undeliverable(3, Status::Unavailable, Cause::NoCandidate);
    assert_eq!(one.found(true, Err(Status::Unavailable)), [expected]);
}

#[test]
fn relay_that_fails_is_tried_three_times_and_ends_with_503() {
    let mut one = One::sent();
    one.is_home_up = false;
    for round in 0..3_u8 {
        let packet = 2 * round + 1;
        one.undeliverable(packet.into(), Status::Unavailable, Cause::NoCandidate);
        assert_eq!(one.found(true, Ok(HERE)), [format!("relay {} to a", packet + 1)]);
        let failed = match round {
            // With no supernode at hand, …
            0 => one.unsent(packet + 1),
            // … or with one that has lost the peer as well.
            _ => one.undeliverable((packet + 1).into(), Status::Unavailable, Cause::DestinationDown),
        };
        if round == 2 {
            let lost = "503 the destination's neighbours have lost it, and no supernode could help after 6";
            assert_eq!(failed, [lost]);
            break;
        }
        assert!(failed.is_empty());
        one.wakes_at([500, 1_500][usize::from(round)]);
        one.via(packet + 2, 1);
    }
}

#[test]
fn send_without_a_first_hop_tries_old_ones_and_then_the_supernode() {
    let mut one = One::sent();
    one.now = at(10);
    one.outbox.handle_first_hop_lost(at(10), hop(1));
    assert_eq!(one.told(), ["transmit 2 to a not 1"]);
    assert_eq!(one.unsent(2), ["transmit 3 to a not "]);
    assert_eq!(one.unsent(3), ["resolve heidi anew"]);
    assert_eq!(one.found(true, Ok(HERE)), ["relay 4 to a"]);
}

#[test]
fn shell_that_cannot_make_a_packet_ends_the_send() {
    let mut one = One::new();
    one.found(false, Ok(HERE));
    one.outbox.handle_refused(at(1), &ID, Status::TooLarge, "it is too large");
    assert_eq!(one.told(), ["413 it is too large after 1"]);
}

#[test]
fn one_answer_serves_everybody_who_waits_for_the_name() {
    let mut outbox = Outbox::default();
    for n in 1..=3 {
        outbox.handle_send(at(0), MessageId([n; 16]), name(["bob", "heidi"][usize::from(n > 1)]), PING);
    }
    drain(&mut outbox);
    outbox.handle_resolved(at(1), &name("heidi"), false, Ok(Target { address: HERE, key: None }));
    assert_eq!(drain(&mut outbox).len(), 2);
}

#[test]
fn send_past_the_bound_ends_with_429_and_leaves_the_others() {
    let mut outbox = Outbox::default();
    for n in 0..IN_FLIGHT_MAX as u128 {
        outbox.handle_send(at(0), MessageId(n.to_be_bytes()), name("heidi"), PING);
    }
    drain(&mut outbox);
    outbox.handle_send(at(0), MessageId([255; 16]), name("heidi"), PING);
    assert_eq!(drain(&mut outbox).iter().map(told).collect::<Vec<_>>(), ["429 too many pings are under way after 0"]);
    assert_eq!(outbox.len(), IN_FLIGHT_MAX);
}

#[test]
fn send_that_is_no_request_or_has_a_used_id_is_refused() {
    let mut one = One::sent();
    one.outbox.handle_send(at(0), MessageId([2; 16]), name("bob"), Content::Reply(reply(ID, Status::Delivered)));
    one.outbox.handle_send(at(0), ID, name("bob"), PING);
    let refused =
        ["400 a reply cannot be sent as a request after 0", "409 another send with this id is under way after 0"];
    assert_eq!(one.told(), refused);
    assert_eq!(one.outbox.message(&ID).unwrap().to, name("heidi"));
    assert!(one.outbox.awaits(1));
}

#[test]
fn transmissions_end_at_their_bound_and_the_send_with_408() {
    let mut one = One::sent();
    for transmission in 1..TRANSMISSIONS_MAX {
        one.outbox.handle_first_hop_lost(at(1), hop(1));
        assert_eq!(one.told(), [format!("transmit {} to a not 1", transmission + 1)]);
        one.via(transmission + 1, 1);
    }
    one.outbox.handle_first_hop_lost(at(1), hop(1));
    assert!(one.told().is_empty());
    assert_eq!(one.wakes_at(10_000), ["408 no reply in time after 16"]);
}

#[test]
fn late_answer_about_an_early_packet_changes_only_whom_to_avoid() {
    let mut one = One::new();
    one.is_home_up = false;
    assert_eq!(one.found(false, Ok(HERE)), ["transmit 1 to a not "]);
    assert_eq!(one.wakes_at(500), ["transmit 2 to a not "]);
    one.via(1, 1);
    one.via(2, 2);
    one.outbox.handle_first_hop_lost(at(600), hop(1));
    assert!(one.told().is_empty(), "the present transmission went elsewhere");
    assert_eq!(one.wakes_at(1_500), ["transmit 3 to a not 1,2"]);
    assert!(one.unsent(1).is_empty(), "a later transmission has an answer of its own");
    assert_eq!(one.unsent(3), ["transmit 4 to a not "]);
}

#[test]
fn packet_without_an_answer_may_have_arrived() {
    let mut one = One::new();
    one.found(false, Ok(HERE));
    assert_eq!(one.wakes_at(500), ["transmit 2 to a not "]);
    one.undeliverable(2, Status::Unavailable, Cause::DestinationDown);
    let expected = "408 it may have arrived, but no reply came, and now the receiver is not here after 2";
    assert_eq!(one.found(true, Err(Status::Gone)), [expected]);
    one.via(1, 1);
    assert!(one.unsent(1).is_empty() && one.outbox.packets.is_empty(), "nobody waits for it any more");
}
