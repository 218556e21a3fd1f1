use std::collections::BTreeSet;
use std::time::Duration;

use kith_common::id::MessageId;
use kith_common::testing::at_ms;
use kith_common::time::Instant;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::sayings::{PING_BYTES_MAX, Saying, parsed};
use crate::stack::called::{Called, Why};
use crate::stack::pings::{NotPinged, Pinged, Pings, Plan, Pong, TIMEOUT_MAX, Tally};
use crate::stack::wishes::Wish;

const ID: MessageId = MessageId([1; 16]);
const PLAN: Plan =
    Plan { count: Some(3), interval: Duration::from_millis(100), size: 64, timeout: Duration::from_secs(5) };

/// A series with whoever answers it
struct Case {
    pings: Pings,
    rng: ChaCha20Rng,
    /// Numbers of pings that were said
    said: Vec<u64>,
    told: Vec<Pinged>,
    held: u32,
    released: u32,
}

impl Case {
    fn of(plan: Plan) -> Self {
        let mut case = Self {
            pings: Pings::default(),
            rng: ChaCha20Rng::seed_from_u64(1),
            said: Vec::new(),
            told: Vec::new(),
            held: 0,
            released: 0,
        };
        case.pings.begin(at_ms(0), ID, peer_name(2), plan, false);
        case.drain();
        case
    }

    /// … with whom a connection stands since the beginning
    fn met(plan: Plan) -> Self {
        let mut case = Self::of(plan);
        assert_eq!((case.held, case.pings.next_timeout()), (1, None), "nothing is due before a connection stands");
        case.pings.handle_met(at_ms(0), &ID, key(2));
        case.pass(0);
        case
    }

    fn drain(&mut self) {
        while let Some(wish) = self.pings.poll() {
            match wish {
                Wish::Hold { id: ID, to, .. } if to == peer_name(2) => self.held += 1,
                Wish::Release { id: ID } => self.released += 1,
                Wish::Say { key: to, bytes } => {
                    assert_eq!(to, key(2));
                    let Some(Saying::Ping { pong }) = parsed(&bytes) else { panic!("{bytes:?}") };
                    let Some(Saying::Pong { number }) = parsed(&pong) else { panic!("{pong:?}") };
                    self.said.push(number);
                }
                Wish::Pinged(pinged) => self.told.push(pinged),
                other => panic!("{other:?}"),
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        self.pings.handle_timeout(at_ms(ms), &mut self.rng);
        self.drain();
    }

    /// The answer to the ping of this sequence comes from the holder of a key
    fn pong_of(&mut self, ms: u64, by: u8, sequence: usize) -> Option<MessageId> {
        let series = self.pings.handle_pong(at_ms(ms), &key(by), self.said[sequence - 1], 64);
        self.drain();
        series
    }

    fn pong(&mut self, ms: u64, sequence: usize) -> Pong {
        self.told.clear();
        assert_eq!(self.pong_of(ms, 2, sequence), Some(ID));
        let [Pinged::Answered(pong)] = &self.told[..] else { panic!("{:?}", self.told) };
        pong.clone()
    }

    fn end(&self) -> (Tally, Status, Option<&str>) {
        let Some(Pinged::Ended { series: ID, tally, status, reason, .. }) = self.told.last() else {
            panic!("{:?}", self.told)
        };
        assert_eq!((self.released, self.pings.len(), self.pings.next_timeout()), (1, 0, None), "nothing is left of it");
        (*tally, *status, reason.as_deref())
    }

    fn not_held(&mut self, ms: u64, status: Status, why: Why) {
        self.pings.handle_not_held(at_ms(ms), &Called::at_once(ID, peer_name(2), status, why));
        self.drain();
    }
}

#[test]
fn ping_goes_each_interval_whether_or_not_the_last_was_answered() {
    let mut case = Case::met(PLAN);
    assert_eq!(case.said.len(), 1, "at once");
    assert_eq!(case.pings.next_timeout(), Some(at_ms(100)));
    case.pass(99);
    assert_eq!(case.said.len(), 1);
    case.pass(100);
    case.pass(200);
    assert_eq!(case.said.len(), 3);
    for (ms, sequence) in [(220, 2), (230, 3)] {
        let pong = case.pong(ms, sequence);
        assert_eq!((pong.sequence, pong.bytes), (sequence as u64, 64));
        assert_eq!(pong.time, Duration::from_millis(ms - (sequence as u64 - 1) * 100));
        assert!(!(pong.is_duplicate || pong.is_reordered || pong.is_late));
    }
    case.pass(10_000);
    let (tally, status, reason) = case.end();
    assert_eq!((tally.sent, tally.received, tally.lost(), status, reason), (3, 2, 1, Status::Delivered, None));
}

#[test]
fn series_ends_with_its_last_answer_or_when_that_is_due_no_more() {
    let mut case = Case::met(PLAN);
    case.pass(100);
    case.pass(200);
    for sequence in 1..=3 {
        case.pong(210, sequence);
    }
    assert_eq!(case.pings.next_timeout(), Some(at_ms(210)), "all are answered");
    case.pass(210);
    assert_eq!(case.end().0.lost(), 0);

    let mut case = Case::met(PLAN);
    case.pass(100);
    case.pong(150, 1);
    case.pass(200);
    assert_eq!(case.pings.next_timeout(), Some(at_ms(1_200)), "a second, as what was answered was quick");
    case.pong(1_000, 2);
    assert_eq!(case.pings.next_timeout(), Some(at_ms(200 + 2 * 900)), "twice the longest");

    let mut case = Case::met(PLAN);
    case.pass(100);
    case.pass(200);
    assert_eq!(case.pings.next_timeout(), Some(at_ms(5_200)), "its timeout, where nothing was answered");
    case.pass(5_200);
    let (tally, status, reason) = case.end();
    assert_eq!((tally.lost(), status, reason), (3, Status::TimedOut, Some("no answer came")));
}

#[test]
fn duplicate_overtaken_and_late_answers_are_said_to_be_so() {
    let mut case = Case::met(Plan { count: None, timeout: Duration::from_millis(300), ..PLAN });
    (1..=5).for_each(|ping| case.pass(100 * ping));
    let marks = |pong: &Pong| [pong.is_duplicate, pong.is_reordered, pong.is_late];
    assert_eq!(marks(&case.pong(500, 3)), [false, false, false]);
    assert_eq!(marks(&case.pong(510, 3)), [true, false, true]);
    assert_eq!(marks(&case.pong(520, 2)), [false, true, true]);
    assert_eq!(marks(&case.pong(530, 5)), [false, false, false]);
    case.pings.end(&ID);
    case.drain();
    let (tally, ..) = case.end();
    assert_eq!((tally.sent, tally.received, tally.lost()), (6, 3, 3));
    assert_eq!((tally.duplicates, tally.reordered), (1, 1));
}

#[test]
fn only_who_was_pinged_answers_and_only_what_has_come_to_him() {
    let mut case = Case::met(PLAN);
    assert_eq!(case.pong_of(5, 3, 1), None, "somebody else");
    let drawn = case.said[0];
    for number in [0, 1, drawn.wrapping_add(1), drawn.wrapping_sub(1), u64::MAX] {
        assert_eq!(case.pings.handle_pong(at_ms(5), &key(2), number, 64), None);
    }
    case.drain();
    assert_eq!(case.told, []);
    case.pings.end(&ID);
    case.drain();
    assert_eq!(case.pong_of(6, 2, 1), None, "it is over");
}

#[test]
fn series_that_never_had_a_connection_ends_with_why() {
    for (status, why) in [
        (Status::NotFound, Why::LookUp),
        (Status::Gone, Why::LookUp),
        (Status::Unavailable, Why::NoWay),
        (Status::TimedOut, Why::NoAnswer),
        (Status::SlowDown, Why::TooMany),
    ] {
        let mut case = Case::of(PLAN);
        case.not_held(7, status, why.clone());
        let (tally, said, reason) = case.end();
        let words = Called::at_once(ID, peer_name(2), status, why).why();
        assert_eq!((tally, said, reason), (Tally::default(), status, Some(words.as_str())));
    }
}

#[test]
fn series_whose_connection_is_lost_goes_on_and_looks_for_another_one() {
    let mut case = Case::met(Plan { count: Some(30), ..PLAN });
    case.pong(10, 1);
    case.not_held(50, Status::Gone, Why::LookUp);
    assert!(matches!(case.told.last(), Some(Pinged::Troubled { series: ID, status: Status::Gone, .. })));
    (1..=10).for_each(|ping| case.pass(100 * ping));
    assert_eq!((case.said.len(), case.held), (11, 1), "what is due counts, and nobody is hurried");
    case.pass(1_100);
    assert_eq!(case.held, 2);
    case.pings.handle_met(at_ms(1_150), &ID, key(2));
    case.pass(1_200);
    let pong = case.pong(1_210, 13);
    assert_eq!((pong.sequence, pong.time), (13, Duration::from_millis(10)));
    // Nobody comes back from these.
    case.not_held(1_250, Status::NotAllowed, Why::Removed);
    let (tally, status, reason) = case.end();
    assert_eq!((tally.sent, tally.received, status), (13, 2, Status::Delivered));
    assert_eq!(reason, Some("whoever has that name was removed from the network for good"));
}

#[test]
fn all_series_end_with_the_session() {
    let mut case = Case::met(PLAN);
    case.pings.handle_logout();
    case.drain();
    assert_eq!(case.end().1, Status::NotLoggedIn);
}

#[test]
fn peer_that_pings_itself_is_answered_at_once() {
    let mut case = Case::of(PLAN);
    let own = MessageId([2; 16]);
    case.pings.begin(at_ms(0), own, peer_name(1), Plan { count: Some(1), ..PLAN }, true);
    case.pings.handle_timeout(at_ms(0), &mut case.rng);
    let wishes: Vec<Wish> = std::iter::from_fn(|| case.pings.poll()).collect();
    let [Wish::Pinged(Pinged::Answered(pong)), Wish::Release { .. }, Wish::Pinged(Pinged::Ended { tally, .. })] =
        &wishes[..]
    else {
        panic!("{wishes:?}")
    };
    assert_eq!((pong.series, pong.time, tally.received), (own, Duration::ZERO, 1));
}

#[test]
fn process_that_stood_still_does_not_make_up_for_it() {
    let mut case = Case::met(Plan { count: None, ..PLAN });
    case.pass(60_000);
    assert_eq!(case.said.len(), 2);
    assert_eq!(case.pings.next_timeout(), Some(at_ms(60_100)));
}

#[test]
fn answers_of_a_series_without_end_are_known_for_a_minute_and_its_memory_has_a_bound() {
    let interval = Duration::from_millis(10);
    let mut case = Case::met(Plan { count: None, interval, timeout: TIMEOUT_MAX, ..PLAN });
    (1..10_000).for_each(|ping| case.pass(10 * ping));
    assert_eq!(case.said.len(), 10_000);
    assert_eq!(case.pong_of(99_990, 2, 1), None, "too long ago");
    assert_eq!(case.pong(99_990, 4_000).time, Duration::from_secs(60));
    assert_eq!(case.pong(99_990, 10_000).time, Duration::ZERO);
}

#[test]
fn plan_out_of_its_bounds_is_refused_with_the_bound() {
    let ms = Duration::from_millis;
    let table = [
        (PLAN, Ok(())),
        (Plan { count: None, interval: ms(10), size: 9, timeout: ms(0) }, Ok(())),
        (Plan { size: PING_BYTES_MAX, timeout: TIMEOUT_MAX, ..PLAN }, Ok(())),
        (Plan { count: Some(0), ..PLAN }, Err(NotPinged::NoPing)),
        (Plan { interval: ms(9), ..PLAN }, Err(NotPinged::Interval)),
        (Plan { interval: ms(3_600_001), ..PLAN }, Err(NotPinged::Interval)),
        (Plan { size: 8, ..PLAN }, Err(NotPinged::Size)),
        (Plan { size: PING_BYTES_MAX + 1, ..PLAN }, Err(NotPinged::Size)),
        (Plan { timeout: TIMEOUT_MAX + ms(1), ..PLAN }, Err(NotPinged::Timeout)),
    ];
    for (plan, expected) in table {
        assert_eq!(plan.check(), expected, "{plan:?}");
    }
    assert_eq!(NotPinged::Size.to_string(), "a ping has 9 to 5900 bytes");
}

/// Whatever happens, what a series has sent, and what became of it, adds up
#[test]
fn counts_of_a_series_add_up_whatever_happens() {
    for seed in 0..200 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut case = Case::of(Plan { count: Some(20), ..PLAN });
        let (mut now, mut answered, mut duplicates) = (0, BTreeSet::new(), 0);
        while !matches!(case.told.last(), Some(Pinged::Ended { .. })) {
            now += u64::from(rng.next_u32() % 80);
            assert!(now < 60_000, "seed {seed}: it never ends");
            case.told.clear();
            match rng.next_u32() % 8 {
                0 => case.pings.handle_met(at_ms(now), &ID, key(2)),
                1 if now > 1_000 => case.not_held(now, Status::Gone, Why::LookUp),
                2..=4 if !case.said.is_empty() => {
                    let sequence = 1 + rng.next_u32() as usize % case.said.len();
                    if case.pong_of(now, 2, sequence).is_some() && !answered.insert(sequence) {
                        duplicates += 1;
                    }
                }
                _ => case.pass(now),
            }
            case.drain();
        }
        let Some(Pinged::Ended { tally, .. }) = case.told.last() else { panic!() };
        assert_eq!((tally.received, tally.duplicates), (answered.len() as u64, duplicates), "seed {seed}");
        assert_eq!(tally.sent, case.said.len() as u64, "seed {seed}");
        assert_eq!(tally.lost() + tally.received, tally.sent, "seed {seed}");
        assert!(tally.least <= tally.mean() && tally.mean() <= tally.most, "seed {seed}");
    }
}

/// What somebody says who may say anything
#[test]
fn sayings_of_any_bytes_do_no_harm() {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let mut case = Case::met(PLAN);
    for len in 0..2_000 {
        let mut bytes = vec![0; len % 40];
        rng.fill_bytes(&mut bytes);
        if let Some(kind) = bytes.first_mut() {
            *kind %= 4;
        }
        if let Some(Saying::Pong { number }) = parsed(&bytes.into()) {
            assert_eq!(case.pings.handle_pong(Instant::ZERO, &key(2), number, len), None);
        }
    }
    case.drain();
    assert_eq!(case.told, []);
}
