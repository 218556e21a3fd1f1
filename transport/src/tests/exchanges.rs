//! Questions and their answers over a mesh that is not always well.

use kith_common::id::MessageId;

use super::*;
use crate::{CALL_BYTES_MAX, Exchanges, Fate, Full, Heard, Kind, MESSAGE_BYTES_MAX, Question, WAITING_MAX};

/// Alice and bob on one connection, and what each has heard; bob answers at once with what he was asked, if he does
struct Two {
    net: Net,
    id: ConnectionId,
    other: ConnectionId,
    exchanges: [Exchanges; 2],
    heard: [Vec<Heard>; 2],
    answers: bool,
}

impl Two {
    fn of(seed: u64) -> Self {
        let mut net = Net::of(2, seed);
        let (id, other) = net.connected();
        net.told.iter_mut().for_each(Vec::clear);
        Self { net, id, other, exchanges: Default::default(), heard: Default::default(), answers: true }
    }

    fn ask(&mut self, number: u8, kind: Kind, body: Vec<u8>) -> u64 {
        let (question, until) = (question(number, kind, body), self.net.now + Duration::from_secs(30));
        let Self { net, id, exchanges, .. } = self;
        exchanges[ALICE].ask(net.now, &mut net.endpoints[ALICE], *id, &question, until).unwrap()
    }

    fn run(&mut self, span: Duration) {
        let until = self.net.now + span;
        while self.net.now < until {
            self.net.run(Duration::from_millis(5));
            for who in [ALICE, BOB] {
                let Self { net, exchanges, heard, answers, .. } = self;
                let (endpoint, exchanges) = (&mut net.endpoints[who], &mut exchanges[who]);
                for (_, output) in std::mem::take(&mut net.told[who]) {
                    exchanges.handle_output(net.now, endpoint, &output);
                }
                exchanges.handle_timeout(net.now, endpoint);
                while let Some(news) = exchanges.poll() {
                    if let Heard::Asked { connection, stream, question } = &news
                        && *answers
                    {
                        exchanges.answer(net.now, endpoint, (*connection, *stream), 200, &question.body);
                    }
                    heard[who].push(news);
                }
            }
        }
    }

    /// Writes a stream's beginning, and no end; with which code bob has given it up, if he has
    fn begin(&mut self, bytes: &[u8]) -> (StreamId, Option<u64>) {
        let stream = self.net.endpoints[ALICE].open(self.id, Direction::Both).unwrap().unwrap();
        let mut written = 0;
        while written < bytes.len() {
            match self.net.endpoints[ALICE].write(self.net.now, self.id, stream, &bytes[written..]) {
                Ok(count) => written += count,
                Err(StreamError::GivenUp(code)) => return (stream, Some(code)),
                Err(error) => panic!("{error}"),
            }
            self.run(Duration::from_millis(10));
        }
        (stream, None)
    }

    fn fate(&self, ticket: u64) -> Option<Fate> {
        self.heard[ALICE].iter().find_map(|heard| match heard {
            Heard::Done { ticket: of, fate } if *of == ticket => Some(fate.clone()),
            _ => None,
        })
    }
}

fn question(number: u8, kind: Kind, body: Vec<u8>) -> Question {
    Question { kind, id: MessageId([number; 16]), body }
}

/// All but the last byte of the longest message
fn unfinished() -> Vec<u8> {
    let head = [&[2; 17][..], &(MESSAGE_BYTES_MAX as u32).to_le_bytes()].concat();
    [head, vec![1; MESSAGE_BYTES_MAX - 1]].concat()
}

const STREAMS: usize = crate::settings::STREAMS_MAX as usize;

/// Bytes of the longest message with its place
const LONGEST: usize = 16 + MESSAGE_BYTES_MAX;

fn status(status: u16) -> Option<Fate> {
    Some(Fate::Answered { status, body: Vec::new() })
}

#[test]
fn each_question_is_heard_once_and_has_its_own_answer_whatever_the_weather() {
    for seed in 0..5 {
        let mut two = Two::of(seed);
        two.net.weather = Weather { jitter: Duration::from_millis(15), lost: 100, doubled: 50, ..FAIR };
        let calls: Vec<_> = (0..100).map(|number| (two.ask(number, Kind::Call, vec![number; 1_000]), number)).collect();
        two.run(Duration::from_secs(20));
        for (ticket, number) in calls {
            assert_eq!(
                two.fate(ticket),
                Some(Fate::Answered { status: 200, body: vec![number; 1_000] }),
                "seed {seed}"
            );
        }
        let mut asked: Vec<u8> = two.heard[BOB].iter().filter_map(first_of_id).collect();
        asked.sort_unstable();
        assert_eq!(asked, (0..100).collect::<Vec<_>>(), "seed {seed}");
        assert!(two.exchanges[BOB].next_timeout().is_none() && two.exchanges[ALICE].next_timeout().is_none());
    }
}

fn first_of_id(heard: &Heard) -> Option<u8> {
    if let Heard::Asked { question, .. } = heard { Some(question.id.0[0]) } else { None }
}

#[test]
fn longest_message_arrives_and_one_byte_more_does_not() {
    let mut two = Two::of(1);
    two.answers = false;
    let ticket = two.ask(1, Kind::Message, vec![7; LONGEST]);
    two.run(Duration::from_secs(10));
    let [Heard::Asked { connection, stream, question }] = &two.heard[BOB][..] else { panic!("{:?}", two.heard[BOB]) };
    assert!(question.body == vec![7; LONGEST] && question.kind == Kind::Message);
    let place = (*connection, *stream);
    assert!(two.exchanges[BOB].is_awaited(place));
    let Two { net, exchanges, .. } = &mut two;
    exchanges[BOB].answer(net.now, &mut net.endpoints[BOB], place, 429, b"full");
    two.run(Duration::from_millis(100));
    assert_eq!(two.fate(ticket), Some(Fate::Answered { status: 429, body: b"full".to_vec() }));
    for (kind, bytes) in [(Kind::Message, LONGEST + 1), (Kind::Call, CALL_BYTES_MAX + 1)] {
        let ticket = two.ask(2, kind, vec![7; bytes]);
        two.run(Duration::from_secs(2));
        assert_eq!(two.fate(ticket), status(413));
    }
    assert_eq!(two.heard[BOB].len(), 1);
}

/// Messages 0..8 and calls 8..16 in turn, in bad weather; the ids that bob has heard
fn heard_of_both(seed: u64) -> Vec<u8> {
    let mut two = Two::of(seed);
    two.net.weather = Weather { jitter: Duration::from_millis(40), lost: 150, ..FAIR };
    for n in 0..8 {
        two.ask(n, Kind::Message, vec![n; 20_000]);
        two.ask(8 + n, Kind::Call, vec![n]);
    }
    two.run(Duration::from_secs(20));
    two.heard[BOB].iter().filter_map(first_of_id).collect()
}

#[test]
fn messages_are_heard_in_the_order_in_which_they_were_sent_and_calls_do_not_wait_for_them() {
    let mut overtaken = 0;
    for seed in 0..10 {
        let (messages, calls): (Vec<u8>, Vec<u8>) = heard_of_both(seed).into_iter().partition(|n| *n < 8);
        assert_eq!(messages, (0..8).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(calls.len(), 8, "seed {seed}");
        let all = heard_of_both(seed);
        let last_message = all.iter().rposition(|n| *n < 8);
        overtaken += usize::from(all.iter().position(|n| *n == 15) < last_message);
    }
    assert!(overtaken > 0, "somewhere the last call has overtaken a message");
}

#[test]
fn message_that_is_given_up_holds_up_no_other() {
    let mut two = Two::of(7);
    // All but the end of it comes, and then its sender gives it up.
    let (stream, code) = two.begin(&unfinished()[..50]);
    assert_eq!(code, None);
    let behind = two.ask(1, Kind::Message, vec![1]);
    let call = two.ask(2, Kind::Call, vec![2]);
    two.run(Duration::from_secs(1));
    assert!(
        two.fate(behind).is_none() && two.fate(call).is_some(),
        "it waits for the one before it, and a call does not"
    );
    two.net.endpoints[ALICE].reset(two.net.now, two.id, stream, 408).unwrap();
    two.run(Duration::from_secs(1));
    assert_eq!(two.fate(behind), Some(Fate::Answered { status: 200, body: vec![1] }));
}

#[test]
fn question_without_an_answer_ends_at_its_deadline_and_one_that_is_cancelled_is_not_told() {
    let mut two = Two::of(2);
    two.answers = false;
    let (late, cancelled) = (two.ask(1, Kind::Call, vec![1]), two.ask(2, Kind::Call, vec![2]));
    two.run(Duration::from_secs(1));
    let Two { net, exchanges, .. } = &mut two;
    exchanges[ALICE].cancel(net.now, &mut net.endpoints[ALICE], cancelled);
    two.run(Duration::from_secs(1));
    let places = two.heard[BOB].iter().map(|heard| match heard {
        Heard::Asked { connection, stream, .. } => (*connection, *stream),
        Heard::Done { .. } | Heard::Left { .. } | Heard::Opened { .. } => panic!("bob has asked nothing"),
    });
    let places: Vec<_> = places.collect();
    assert_eq!(places.iter().map(|place| two.exchanges[BOB].is_awaited(*place)).collect::<Vec<_>>(), [true, false]);
    two.run(Duration::from_secs(40));
    assert_eq!((two.fate(late), two.fate(cancelled)), (Some(Fate::TimedOut), None));
    assert!(!two.exchanges[BOB].is_awaited(places[0]), "bob hears that nobody waits");
}

#[test]
fn end_of_the_connection_is_the_fate_of_all_that_was_asked_on_it() {
    let mut two = Two::of(3);
    two.answers = false;
    let tickets: Vec<u64> = (0..STREAMS).map(|_| two.ask(7, Kind::Call, vec![1])).collect();
    let more = two.ask(9, Kind::Call, vec![1]);
    two.run(Duration::from_millis(500));
    assert_eq!(two.heard[BOB].len(), STREAMS, "as many as there may be streams");
    let Two { net, id, .. } = &mut two;
    net.endpoints[ALICE].close(net.now, *id, 410);
    two.run(Duration::from_millis(100));
    let lost = Some(Fate::Lost(End::ClosedHere { code: 410 }));
    assert!(tickets.iter().chain([&more]).all(|ticket| two.fate(*ticket) == lost));
}

#[test]
fn who_asks_too_much_waits_and_then_is_refused_and_room_is_used_as_it_comes() {
    let mut two = Two::of(4);
    let tickets: Vec<u64> = (0..STREAMS + WAITING_MAX).map(|_| two.ask(7, Kind::Call, vec![1])).collect();
    let Two { net, id, exchanges, .. } = &mut two;
    let one_more = question(1, Kind::Call, Vec::new());
    let refused = exchanges[ALICE].ask(net.now, &mut net.endpoints[ALICE], *id, &one_more, net.now);
    assert_eq!(refused, Err(Full));
    two.run(Duration::from_secs(5));
    assert!(tickets.iter().all(|ticket| two.fate(*ticket) == Some(Fate::Answered { status: 200, body: vec![1] })));
}

#[test]
fn what_is_written_before_a_pipe_is_taken_is_the_beginning_of_the_pipe() {
    // A program in another language need not wait for the answer.
    let mut two = Two::of(5);
    two.answers = false;
    let bytes = [&[4; 17][..], &[2, 0, 0, 0], b"to", b"early"].concat();
    let (stream, refused) = two.begin(&bytes);
    two.run(Duration::from_millis(100));
    let asked = question(4, Kind::Pipe, b"to".to_vec());
    let place = (two.other, stream);
    assert_eq!(refused, None);
    assert_eq!(two.heard[BOB], [Heard::Asked { connection: place.0, stream, question: asked }]);
    let (early, head) = two.exchanges[BOB].open(place).expect("alice waits");
    assert_eq!((early.as_slice(), head.as_slice()), (b"early".as_slice(), [200, 0, 0, 0, 0, 0].as_slice()));
    assert!(two.exchanges[BOB].open(place).is_none(), "it is taken once");
}

#[test]
fn rubbish_in_place_of_a_question_is_refused_and_nothing_else_happens() {
    for bytes in [vec![], vec![9], vec![3; 20], vec![3; 21], [&[3; 17][..], &[1, 0, 0, 0], b"more"].concat()] {
        let mut two = Two::of(5);
        let Two { net, id, .. } = &mut two;
        let stream = net.endpoints[ALICE].open(*id, Direction::Both).unwrap().unwrap();
        if !bytes.is_empty() {
            net.endpoints[ALICE].write(net.now, *id, stream, &bytes).unwrap();
        }
        net.endpoints[ALICE].finish(net.now, *id, stream).unwrap();
        two.run(Duration::from_millis(100));
        let Two { net, id, .. } = &mut two;
        let read = net.endpoints[ALICE].read(net.now, *id, stream, 9);
        assert!(matches!(read, Err(StreamError::GivenUp(400 | 413))), "{bytes:?}: {read:?}");
        assert!(two.heard[BOB].is_empty() && two.net.end_of(BOB, two.other).is_none());
        let ticket = two.ask(1, Kind::Call, vec![4]);
        two.run(Duration::from_millis(100));
        assert_eq!(two.fate(ticket), Some(Fate::Answered { status: 200, body: vec![4] }), "others go on");
    }
}

#[test]
fn what_was_read_makes_room_for_what_comes_and_what_comes_at_once_is_bounded() {
    let mut two = Two::of(6);
    let tickets: Vec<u64> = (0..5)
        .map(|number| {
            let ticket = two.ask(number, Kind::Message, vec![number; MESSAGE_BYTES_MAX]);
            two.run(Duration::from_secs(5));
            ticket
        })
        .collect();
    // A receipt is no echo: it is longer than any may be.
    assert!(tickets.iter().all(|ticket| two.fate(*ticket) == status(413)) && two.heard[BOB].len() == 5);
    // Of what may be held, one connection has half: two that never end. Who writes no more of them gives them up.
    let long = unfinished();
    let begun: Vec<_> = (0..4).map(|_| two.begin(&long)).collect();
    let codes: Vec<_> = begun.iter().map(|(_, code)| *code).collect();
    assert_eq!(codes, [None, None, Some(429), Some(429)]);
    two.run(Duration::from_secs(20));
    for (stream, _) in &begun[..2] {
        let Two { net, id, .. } = &mut two;
        assert_eq!(net.endpoints[ALICE].write(net.now, *id, *stream, b"more"), Err(StreamError::GivenUp(408)));
    }
    assert_eq!(two.begin(&long).1, None, "there is room again");
}

#[test]
fn streams_of_questions_that_came_to_nothing_are_free_again() {
    let mut two = Two::of(7);
    two.answers = false;
    for round in 0..3 {
        // More than there may be streams at once: cancelled, refused as too large, and given up by who was asked.
        let cancelled: Vec<u64> = (0..100).map(|number| two.ask(number, Kind::Call, vec![1])).collect();
        let refused: Vec<u64> =
            (0..20).map(|number| two.ask(number, Kind::Call, vec![1; CALL_BYTES_MAX + 1])).collect();
        two.run(Duration::from_secs(2));
        let Two { net, exchanges, .. } = &mut two;
        cancelled.iter().for_each(|ticket| exchanges[ALICE].cancel(net.now, &mut net.endpoints[ALICE], *ticket));
        two.run(Duration::from_secs(1));
        assert!(refused.iter().all(|ticket| two.fate(*ticket) == status(413)), "round {round}");
    }
    two.answers = true;
    let tickets: Vec<u64> = (0..=255).map(|number| two.ask(number, Kind::Call, vec![1])).collect();
    two.run(Duration::from_secs(1));
    let fate = Some(Fate::Answered { status: 200, body: vec![1] });
    assert!(tickets.iter().all(|ticket| two.fate(*ticket) == fate), "all streams are there");
}

#[test]
fn message_that_its_sender_gives_up_half_way_leaves_room_for_others() {
    let mut two = Two::of(8);
    for number in 0..8 {
        let ticket = two.ask(number, Kind::Message, vec![number; MESSAGE_BYTES_MAX]);
        two.run(Duration::from_millis(150));
        let Two { net, exchanges, .. } = &mut two;
        exchanges[ALICE].cancel(net.now, &mut net.endpoints[ALICE], ticket);
        two.run(Duration::from_millis(100));
    }
    assert!(two.heard[BOB].is_empty(), "none has come as a whole");
    let ticket = two.ask(9, Kind::Message, vec![1; MESSAGE_BYTES_MAX]);
    two.run(Duration::from_secs(10));
    assert_eq!((two.fate(ticket), two.heard[BOB].len()), (status(413), 1));
}

#[test]
fn message_whose_receipt_nobody_wants_any_more_leaves_room_for_others() {
    let mut two = Two::of(9);
    let long = unfinished();
    for _ in 0..6 {
        let (stream, code) = two.begin(&long);
        assert_eq!(code, None);
        let Two { net, id, .. } = &mut two;
        net.endpoints[ALICE].stop(net.now, *id, stream, 408).unwrap();
        two.run(Duration::from_millis(100));
    }
}
