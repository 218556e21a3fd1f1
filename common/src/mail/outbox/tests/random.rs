//! Random inputs on one out-box: every send has exactly one fate, in time.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Input {
    Send(u8, u8),
    Resolved(u8, bool, u8),
    Answer(u8, bool),
    Sent(u64, u8),
    Unsent(u64),
    Refused(u8),
    Reply(u8, u8, u8),
    Report(u64, u8, u8),
    Lost(u8),
    Pass(u16),
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        4 => (0..12u8, 0..3u8).prop_map(|(id, to)| Input::Send(id, to)),
        3 => (0..3u8, any::<bool>(), 0..5u8).prop_map(|(to, fresh, what)| Input::Resolved(to, fresh, what)),
        6 => (0..3u8, any::<bool>()).prop_map(|(hop, sent)| Input::Answer(hop, sent)),
        1 => (0..40u64, 0..3u8).prop_map(|(packet, hop)| Input::Sent(packet, hop)),
        2 => (0..40u64).prop_map(Input::Unsent),
        1 => (0..12u8).prop_map(Input::Refused),
        2 => (0..12u8, 0..3u8, 0..2u8).prop_map(|(id, from, key)| Input::Reply(id, from, key)),
        5 => (0..60u64, 0..5u8, 0..2u8).prop_map(|(packet, cause, at)| Input::Report(packet, cause, at)),
        2 => (0..3u8).prop_map(Input::Lost),
        3 => (0..2_000u16).prop_map(Input::Pass),
    ]
}

/// Random inputs on one out-box; counts what the properties are about
struct World {
    outbox: Outbox,
    now: Instant,
    packets: u64,
    begun: Vec<usize>,
    ended: Vec<usize>,
    unanswered: Option<u64>,
}

impl World {
    fn apply(&mut self, input: Input) {
        let to = |n: u8| name(["bob", "carol", "heidi"][usize::from(n)]);
        let id = |n: u8| MessageId([n; 16]);
        let (now, outbox) = (self.now, &mut self.outbox);
        match input {
            Input::Send(n, whom) => {
                self.begun[usize::from(n)] += 1;
                outbox.handle_send(now, id(n), to(whom), PING);
            }
            Input::Resolved(whom, fresh, what) => {
                let target = |address| Ok(Target { address, key: Some(KEY) });
                let errors = [Status::NotFound, Status::Gone, Status::Unavailable];
                let answer =
                    errors.get(usize::from(what)).map_or(target([HERE, THERE][usize::from(what % 2)]), |s| Err(*s));
                outbox.handle_resolved(now, &to(whom), fresh, answer);
            }
            Input::Answer(neighbour, sent) => match self.unanswered.take() {
                Some(packet) if sent => outbox.handle_sent(packet, hop(neighbour.into())),
                Some(packet) => outbox.handle_unsent(now, packet),
                None => {}
            },
            Input::Sent(packet, neighbour) => outbox.handle_sent(packet, hop(neighbour.into())),
            Input::Unsent(packet) => outbox.handle_unsent(now, packet),
            Input::Refused(n) => outbox.handle_refused(now, &id(n), Status::TooLarge, "refused"),
            Input::Reply(n, from, key) => {
                let from = grant(to(from).as_str(), [KEY, Key([8; 32])][usize::from(key)]);
                let _ = outbox.handle_reply(now, &from, &reply(id(n), Status::Delivered));
            }
            Input::Report(packet, cause, place) => {
                let causes =
                    [Cause::NoCandidate, Cause::TtlSpent, Cause::DestinationDown, Cause::NoSession, Cause::Congested];
                let status = [Status::Unavailable, Status::Gone][usize::from(cause == 3)];
                let at = [HERE, THERE][usize::from(place)];
                let _ = outbox.handle_undeliverable(now, &report(packet, at, status, causes[usize::from(cause)]));
            }
            Input::Lost(neighbour) => outbox.handle_first_hop_lost(now, hop(neighbour.into())),
            Input::Pass(millis) => {
                self.now = self.now + Duration::from_millis(millis.into());
                outbox.handle_timeout(self.now, millis % 2 == 0);
            }
        }
    }

    fn pack(&mut self, output: &OutboxOutput) {
        self.packets += 1;
        self.outbox.handle_packed(output, self.packets);
        self.unanswered = Some(self.packets);
    }

    fn drain(&mut self) {
        while let Some(output) = self.outbox.poll_output() {
            match output {
                OutboxOutput::Transmit { transmission, ref avoid, .. } => {
                    assert!(transmission <= TRANSMISSIONS_MAX && avoid.len() <= usize::from(TRANSMISSIONS_MAX));
                    self.pack(&output);
                }
                OutboxOutput::Relay { .. } => self.pack(&output),
                OutboxOutput::Resolve { .. } => {}
                OutboxOutput::Done(fate) => {
                    assert!(fate.elapsed <= SEND_TIMEOUT + Duration::from_secs(2), "only a late clock makes it longer");
                    self.ended[usize::from(fate.id.0[0])] += 1;
                }
            }
        }
        assert!(self.outbox.next_timeout().is_some() != self.outbox.is_empty());
    }
}

proptest! {
    #[test]
    fn every_send_has_exactly_one_fate(inputs in prop::collection::vec(input(), 0..200)) {
        let (begun, ended) = (vec![0; 12], vec![0; 12]);
        let mut world =
            World { outbox: Outbox::default(), now: at(0), packets: 0, begun, ended, unanswered: None };
        for input in inputs {
            world.apply(input);
            world.drain();
            let open = |n: &usize| world.begun[*n] - world.ended[*n];
            prop_assert!((0..12).all(|n| open(&n) <= 1));
            prop_assert_eq!((0..12).map(|n| open(&n)).sum::<usize>(), world.outbox.len());
        }
        while let Some(wakes) = world.outbox.next_timeout() {
            world.now = world.now.max(wakes);
            world.outbox.handle_timeout(world.now, true);
            world.drain();
        }
        prop_assert_eq!(world.begun, world.ended);
        prop_assert!(world.outbox.packets.is_empty() && world.outbox.waiting.is_empty());
    }
}
