use std::time::Duration;

use kith_common::id::MessageId;
use kith_common::status::Status;
use kith_common::testing::at_ms;
use kith_common::time::Instant;
use quinn_proto::{Dir, Side};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::output::{ConnectionId, StreamId};
use crate::stack::evaluating::{Begun, Caller, EVALUATING_MAX, Evaluating};
use crate::stack::results::{Ended, OVERHEAD_BYTES, REMEMBERED_FOR, RESULT_BYTES_MAX, Results};
use crate::stack::{CALL_TIME_MAX, CALLS_MAX};

const ID: MessageId = MessageId([1; 16]);
const CALL: &[u8] = b"echo hello";
const WAITS: Begun = Begun::Waits { instead_of: None };

/// The only stream of a connection
fn on(connection: u64) -> Caller {
    Caller::Other(ConnectionId(connection), StreamId(quinn_proto::StreamId::new(Side::Client, Dir::Bi, 0)))
}

fn id(number: usize) -> MessageId {
    MessageId((number as u128).to_le_bytes())
}

fn ended(status: Status, body: &[u8]) -> Begun {
    Begun::Ended { status, body: body.to_vec() }
}

/// Peer 1 asks on this connection
fn ask(evaluating: &mut Evaluating, connection: u64) -> Begun {
    evaluating.begin(at_ms(0), key(1), ID, CALL, on(connection))
}

fn result(bytes: usize) -> Ended {
    Ended { digest: [0; 32], status: Status::Delivered, body: vec![7; bytes] }
}

#[test]
fn call_whose_connection_is_lost_is_evaluated_once() {
    let mut evaluating = Evaluating::default();
    assert_eq!(ask(&mut evaluating, 1), Begun::Evaluate(1));
    assert_eq!(ask(&mut evaluating, 2), WAITS, "while it is evaluated");
    assert_eq!(
        evaluating.end(at_ms(5), 1, Status::Delivered, b"hello"),
        [on(1), on(2)],
        "the first may be there still"
    );
    assert_eq!(ask(&mut evaluating, 3), ended(Status::Delivered, b"hello"), "after it was");
    assert_eq!(ask(&mut evaluating, 3), ended(Status::Delivered, b"hello"), "as often as it is asked");
    assert_eq!(evaluating.end(at_ms(5), 1, Status::Delivered, b"other"), [], "a ticket is good once");
}

#[test]
fn call_that_ended_badly_is_not_evaluated_again_either() {
    let mut evaluating = Evaluating::default();
    assert_eq!(ask(&mut evaluating, 1), Begun::Evaluate(1));
    evaluating.end(at_ms(1), 1, Status::NotFound, b"no such function");
    assert_eq!(ask(&mut evaluating, 2), ended(Status::NotFound, b"no such function"));
}

#[test]
fn id_belongs_to_its_caller_and_to_one_call() {
    let mut evaluating = Evaluating::default();
    assert_eq!(ask(&mut evaluating, 1), Begun::Evaluate(1));
    let other = |evaluating: &mut Evaluating, by: u8| evaluating.begin(at_ms(0), key(by), ID, b"time", on(2));
    assert_eq!(other(&mut evaluating, 1), Begun::Conflict, "while it is evaluated");
    assert_eq!(other(&mut evaluating, 2), Begun::Evaluate(2), "another caller's id is another one");
    assert_eq!(evaluating.end(at_ms(1), 1, Status::Delivered, b"hello"), [on(1)], "who was refused does not wait");
    assert_eq!(other(&mut evaluating, 1), Begun::Conflict, "after it was");
    assert_eq!(ask(&mut evaluating, 3), ended(Status::Delivered, b"hello"), "and what was refused changes nothing");
}

#[test]
fn so_many_streams_wait_for_one_result_and_then_the_newest_instead_of_the_oldest() {
    let mut evaluating = Evaluating::default();
    assert_eq!(ask(&mut evaluating, 0), Begun::Evaluate(1));
    for connection in 1..8 {
        assert_eq!(ask(&mut evaluating, connection), WAITS);
    }
    assert_eq!(ask(&mut evaluating, 8), Begun::Waits { instead_of: Some(on(0)) });
    let told = evaluating.end(at_ms(1), 1, Status::Delivered, b"");
    assert_eq!(told, (1..=8).map(on).collect::<Vec<_>>());
}

#[test]
fn one_evaluation_more_than_there_may_be_is_refused_and_repeats_are_not() {
    let mut evaluating = Evaluating::default();
    assert_eq!(ask(&mut evaluating, 1), Begun::Evaluate(1));
    for number in 1..EVALUATING_MAX {
        let begun = evaluating.begin(at_ms(0), key(2), id(number), CALL, on(2));
        assert!(matches!(begun, Begun::Evaluate(_)), "{begun:?}");
    }
    assert_eq!(evaluating.begin(at_ms(0), key(3), ID, CALL, on(3)), Begun::Full);
    assert_eq!(ask(&mut evaluating, 2), WAITS);
    evaluating.end(at_ms(1), 1, Status::Delivered, b"");
    assert!(matches!(evaluating.begin(at_ms(1), key(3), ID, CALL, on(3)), Begun::Evaluate(_)), "it was not remembered");
    assert_eq!(ask(&mut evaluating, 3), ended(Status::Delivered, b""));
    const { assert!(EVALUATING_MAX >= CALLS_MAX, "one caller's calls find room") };
}

#[test]
fn result_is_remembered_for_longer_than_any_caller_repeats_a_question() {
    let (mut evaluating, begun) = (Evaluating::default(), at_ms(0));
    // The caller asks first, and at once, in the first moment of its call and for the last time in the last one.
    assert_eq!(ask(&mut evaluating, 1), Begun::Evaluate(1));
    evaluating.end(begun, 1, Status::Delivered, b"hello");
    let ask_at = |evaluating: &mut Evaluating, now: Instant| {
        evaluating.handle_timeout(now);
        evaluating.begin(now, key(1), ID, CALL, on(2))
    };
    let minute = Duration::from_secs(60);
    assert_eq!(ask_at(&mut evaluating, begun + CALL_TIME_MAX + minute), ended(Status::Delivered, b"hello"));
    assert_eq!(ask_at(&mut evaluating, begun + (REMEMBERED_FOR - minute)), ended(Status::Delivered, b"hello"));
    assert_eq!(ask_at(&mut evaluating, begun + REMEMBERED_FOR), Begun::Evaluate(2), "then it is forgotten");
}

#[test]
fn forgotten_in_their_order_as_time_passes() {
    let mut results = Results::default();
    for number in 0..10 {
        results.insert(at_ms(number), key(1 + (number % 3) as u8), id(number as usize), result(100));
    }
    results.handle_timeout(at_ms(4) + REMEMBERED_FOR);
    assert_eq!((results.len(), results.bytes()), (5, 5 * (100 + OVERHEAD_BYTES)));
    assert_eq!(results.get(at_ms(4), &key(2), &id(4)), None);
    assert!(results.get(at_ms(4), &key(3), &id(5)).is_some());
    // Whether or not anybody has tidied up, nothing is told after its time.
    assert_eq!(results.get(at_ms(5) + REMEMBERED_FOR, &key(3), &id(5)), None);
    results.handle_timeout(at_ms(9) + REMEMBERED_FOR);
    assert_eq!((results.len(), results.bytes()), (0, 0));
}

#[test]
fn oldest_of_a_lone_caller_are_forgotten_at_the_bound_in_number_and_in_bytes() {
    const COUNT: usize = RESULT_BYTES_MAX / OVERHEAD_BYTES;
    for (bytes, count) in [(0, COUNT), (1 << 20, 15)] {
        let mut results = Results::default();
        for number in 0..count {
            results.insert(at_ms(0), key(1), id(number), result(bytes));
        }
        assert_eq!(results.len(), count);
        results.insert(at_ms(0), key(1), id(count), result(bytes));
        assert_eq!(results.len(), count);
        assert_eq!(results.get(at_ms(0), &key(1), &id(0)), None, "so it is evaluated again");
        assert!((1..=count).all(|number| results.get(at_ms(0), &key(1), &id(number)).is_some()));
        assert!(results.bytes() <= RESULT_BYTES_MAX);
    }
    let mut results = Results::default();
    results.insert(at_ms(0), key(1), ID, result(RESULT_BYTES_MAX));
    assert_eq!((results.len(), results.bytes()), (0, 0), "one that is larger than all room");
}

#[test]
fn caller_of_many_pushes_out_its_own_and_nobody_elses() {
    for bytes in [0, 100_000] {
        let mut results = Results::default();
        results.insert(at_ms(0), key(2), ID, result(50_000));
        let many = 2 * RESULT_BYTES_MAX / (bytes + OVERHEAD_BYTES);
        for number in 0..many {
            results.insert(at_ms(0), key(1), id(number), result(bytes));
        }
        assert!(results.get(at_ms(0), &key(2), &ID).is_some(), "the oldest of all, and still remembered");
        assert!(results.get(at_ms(0), &key(1), &id(0)).is_none());
        assert!(results.get(at_ms(0), &key(1), &id(many - 1)).is_some());
    }
}

#[test]
fn callers_share_what_room_there_is() {
    let mut results = Results::default();
    let (cost, number) = (10_000 + OVERHEAD_BYTES, RESULT_BYTES_MAX / (10_000 + OVERHEAD_BYTES));
    for at in 0..number {
        results.insert(at_ms(0), key(1), id(at), result(10_000));
    }
    // A lone caller has all of it, until others come.
    assert_eq!(results.len(), number);
    for at in 0..number {
        results.insert(at_ms(0), key(2), id(at), result(10_000));
        results.insert(at_ms(0), key(3), id(at), result(10_000));
    }
    for caller in 1..=3 {
        let kept = (0..number).filter(|at| results.get(at_ms(0), &key(caller), &id(*at)).is_some()).count();
        assert!((number / 3..=number / 3 + 1).contains(&kept), "{caller}: {kept} of {number}, {cost} bytes each");
    }
}

#[test]
fn books_agree_whatever_is_remembered_and_forgotten() {
    for seed in 0..50 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (mut results, mut now) = (Results::default(), Instant::ZERO);
        for _ in 0..500 {
            now = now + Duration::from_secs(u64::from(rng.next_u32() % 60));
            let (caller, number) = (rng.next_u32() % 5, rng.next_u32() as usize % 40);
            if rng.next_u32() % 8 == 0 {
                results.handle_timeout(now);
            } else {
                // An id may be there already, and many bytes push out others at once.
                let bytes = if rng.next_u32() % 4 == 0 { 1 << 20 } else { rng.next_u32() as usize % 5_000 };
                results.insert(now, key(caller as u8), id(number), result(bytes));
                assert!(results.get(now, &key(caller as u8), &id(number)).is_some(), "seed {seed}");
            }
            let all = (0..5).flat_map(|caller| (0..40).map(move |number| (key(caller), id(number))));
            // With the beginning of time all that has not been forgotten is told.
            let all = all.filter_map(|(caller, id)| results.get(Instant::ZERO, &caller, &id));
            let bytes: Vec<usize> = all.map(|ended| ended.body.len() + OVERHEAD_BYTES).collect();
            assert_eq!((results.len(), results.bytes()), (bytes.len(), bytes.iter().sum()), "seed {seed}");
            assert!(results.bytes() <= RESULT_BYTES_MAX, "seed {seed}");
        }
        results.handle_timeout(now + REMEMBERED_FOR);
        assert_eq!((results.len(), results.bytes()), (0, 0), "seed {seed}");
    }
}
