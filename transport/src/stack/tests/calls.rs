use std::time::Duration;

use kith_common::id::MessageId;
use kith_common::status::Status;
use kith_common::testing::at_ms;
use kith_common::time::Instant;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::output::End;
use crate::questions::{Fate, Kind};
use crate::stack::called::{Called, Why};
use crate::stack::calls::{CALL_TIME_MAX, CALLS_MAX, Calls};
use crate::stack::wishes::Wish;

const ID: MessageId = MessageId([1; 16]);

fn begin(calls: &mut Calls, id: MessageId) {
    calls.begin(at_ms(0), id, peer_name(2), Kind::Call, vec![7], at_ms(10_000));
}

/// All but who was relied on, of which there are tests of its own
fn wishes(calls: &mut Calls) -> Vec<Wish> {
    let is_other = |wish: &Wish| !matches!(wish, Wish::Relied { .. });
    std::iter::from_fn(|| calls.poll()).filter(is_other).collect()
}

fn relied(calls: &mut Calls) -> usize {
    let is_so = |wish: &Wish| *wish == Wish::Relied { name: peer_name(2), key: key(2) };
    std::iter::from_fn(|| calls.poll()).filter(is_so).count()
}

fn resolve(fresh: bool) -> Wish {
    Wish::Resolve { name: peer_name(2), fresh }
}

/// What the directory says of peer 2, to those who want a fresh answer and to others
fn tell(calls: &mut Calls, now: u64, answer: Result<&Answer, Status>, can_relay: bool) -> Vec<Wish> {
    calls.handle_resolved(at_ms(now), &peer_name(2), true, answer, can_relay);
    wishes(calls)
}

/// A call that is asked, under this ticket
fn asked(ticket: u64) -> Calls {
    let mut calls = Calls::default();
    begin(&mut calls, ID);
    assert_eq!(wishes(&mut calls), [resolve(false)]);
    let wishes = tell(&mut calls, 0, Ok(&answer(2, 2, 2, Source::Supernode)), true);
    let [Wish::Ask { id: ID, key: of, address: Address(2), question, .. }] = &wishes[..] else { panic!("{wishes:?}") };
    assert_eq!((*of, question.id, &question.body), (key(2), ID, &vec![7]));
    calls.handle_asked(at_ms(0), ID, key(2), Some(ticket));
    calls
}

fn end(wishes: &[Wish]) -> (Status, Why) {
    let [Wish::Done(Called { status, reason, .. })] = wishes else { panic!("{wishes:?}") };
    (*status, reason.clone())
}

#[test]
fn call_ends_with_what_the_other_peer_says() {
    for (status, expected) in [(200, Status::Delivered), (404, Status::NotFound), (777, Status::Failed)] {
        let mut calls = asked(5);
        calls.handle_fate(at_ms(3), 5, Fate::Answered { status, body: b"yes".to_vec() });
        let wishes = wishes(&mut calls);
        assert_eq!(end(&wishes), (expected, Why::Answered));
        let [Wish::Done(called)] = &wishes[..] else { panic!() };
        assert_eq!(
            (&*called.body, called.elapsed, called.why()),
            (&b"yes"[..], Duration::from_millis(3), "yes".into())
        );
        assert!(calls.len() == 0 && calls.next_timeout().is_none());
    }
}

#[test]
fn name_that_nobody_vouches_for_is_met_before_it_is_asked() {
    for (shown, expected) in [(2, None), (3, Some((Status::NotFound, Why::OtherName)))] {
        let mut calls = Calls::default();
        begin(&mut calls, ID);
        wishes(&mut calls);
        let hearsay = answer(2, 2, 2, Source::Neighbours);
        assert_eq!(tell(&mut calls, 0, Ok(&hearsay), false), [Wish::Dial { key: key(2), address: Address(2) }]);
        calls.handle_met(at_ms(1), &key(9), &peer_name(2));
        assert_eq!(wishes(&mut calls), [], "another key is nobody's that was asked for");
        calls.handle_met(at_ms(1), &key(2), &peer_name(shown));
        match expected {
            Some(expected) => assert_eq!(end(&wishes(&mut calls)), expected),
            None => assert!(matches!(wishes(&mut calls)[..], [Wish::Ask { .. }])),
        }
    }
}

#[test]
fn table_without_a_key_is_no_answer_and_whoever_is_near_is_asked() {
    let mut calls = Calls::default();
    begin(&mut calls, ID);
    wishes(&mut calls);
    let table = Answer { record: None, ..answer(2, 2, 2, Source::Tables) };
    calls.handle_resolved(at_ms(0), &peer_name(2), false, Ok(&table), true);
    assert_eq!(wishes(&mut calls), [resolve(true)]);
    assert_eq!(end(&tell(&mut calls, 1, Ok(&table), true)), (Status::Unavailable, Why::LookUp));
}

#[test]
fn lost_connection_is_made_again_at_once_and_then_after_rests() {
    let mut calls = asked(5);
    calls.handle_fate(at_ms(100), 5, Fate::Lost(End::Forgotten));
    assert_eq!(wishes(&mut calls), [resolve(true)], "at once");
    let (mut now, here) = (100, answer(2, 2, 2, Source::Supernode));
    for (ticket, rest) in [(6, 250), (7, 500), (8, 1_000), (9, 2_000), (10, 2_000)] {
        assert!(matches!(tell(&mut calls, now, Ok(&here), true)[..], [Wish::Ask { id: ID, .. }]), "under its id");
        calls.handle_asked(at_ms(now), ID, key(2), Some(ticket));
        calls.handle_fate(at_ms(now), ticket, Fate::Lost(End::Silent));
        assert_eq!(wishes(&mut calls), []);
        assert_eq!(calls.next_timeout(), Some(at_ms(now + rest)));
        now += rest;
        calls.handle_timeout(at_ms(now));
        assert_eq!(wishes(&mut calls), [resolve(true)]);
    }
    calls.handle_timeout(at_ms(10_000));
    assert_eq!(end(&wishes(&mut calls)), (Status::TimedOut, Why::Lost(End::Silent)));
}

#[test]
fn what_comes_back_is_asked_for_anew() {
    let mut calls = asked(5);
    calls.handle_undeliverable(at_ms(0), &key(9), false);
    assert_eq!(wishes(&mut calls), [], "somebody else's");
    calls.handle_undeliverable(at_ms(0), &key(2), false);
    calls.handle_undeliverable(at_ms(1), &key(2), false);
    assert_eq!(wishes(&mut calls), [resolve(true)], "once");
    let elsewhere = answer(2, 2, 9, Source::Supernode);
    let moved = Wish::Moved { key: key(2), address: Address(9) };
    assert_eq!(tell(&mut calls, 2, Ok(&elsewhere), true), [moved]);
    calls.handle_undeliverable(at_ms(749), &key(2), false);
    assert_eq!(wishes(&mut calls), [], "many packets come back at once");
    calls.handle_undeliverable(at_ms(750), &key(2), false);
    assert_eq!(wishes(&mut calls), [resolve(true)]);
    // Another key has the name by now.
    let [Wish::Cancel { ticket: 5 }, Wish::Ask { key: other, .. }] =
        &tell(&mut calls, 751, Ok(&answer(2, 3, 3, Source::Supernode)), true)[..]
    else {
        panic!()
    };
    assert_eq!(*other, key(3));
    for status in [Status::NotFound, Status::Gone] {
        let mut calls = asked(5);
        calls.handle_undeliverable(at_ms(0), &key(2), false);
        wishes(&mut calls);
        let wishes = tell(&mut calls, 1, Err(status), true);
        assert_eq!((&wishes[0], end(&wishes[1..])), (&Wish::Cancel { ticket: 5 }, (status, Why::LookUp)));
    }
}

#[test]
fn what_comes_back_three_times_and_is_not_relayed_ends_with_503() {
    let here = answer(2, 2, 2, Source::Supernode);
    for (can_relay, of_relay, is_end) in
        [(false, false, true), (true, false, false), (true, true, true), (false, true, true)]
    {
        let mut calls = asked(5);
        for round in 0..3 {
            assert_eq!(calls.len(), 1, "round {round}");
            calls.handle_undeliverable(at_ms(round * 750), &key(2), false);
            calls.handle_undeliverable(at_ms(round * 750), &key(2), of_relay);
            wishes(&mut calls);
            let wishes = tell(&mut calls, round * 750, Ok(&here), can_relay);
            assert_eq!(wishes[0], Wish::Moved { key: key(2), address: Address(2) });
            if round == 2 && is_end {
                assert_eq!(end(&wishes[2..]), (Status::Unavailable, Why::NoWay));
            } else {
                assert_eq!(wishes.len(), 1);
            }
        }
    }
}

#[test]
fn one_call_more_than_there_may_be_is_refused_and_a_logout_ends_all() {
    let mut calls = Calls::default();
    for n in 0..CALLS_MAX {
        begin(&mut calls, MessageId((n as u128).to_le_bytes()));
    }
    assert!(calls.has(&MessageId([0; 16])) && !calls.has(&MessageId([0xff; 16])));
    begin(&mut calls, MessageId([0xff; 16]));
    let refused: Vec<_> = wishes(&mut calls).into_iter().filter(|wish| *wish != resolve(false)).collect();
    assert_eq!(end(&refused), (Status::SlowDown, Why::TooMany));
    calls.handle_logout(at_ms(1));
    let ended = wishes(&mut calls);
    assert_eq!((ended.len(), calls.len(), calls.next_timeout()), (CALLS_MAX, 0, None));
    assert_eq!(end(&ended[..1]), (Status::NotLoggedIn, Why::LoggedOut));
    calls.begin(at_ms(2), ID, peer_name(2), Kind::Call, vec![0; crate::CALL_BYTES_MAX + 1], at_ms(9));
    assert_eq!(end(&wishes(&mut calls)), (Status::TooLarge, Why::TooLarge));
}

#[test]
fn call_at_this_peer_itself_is_asked_at_once_and_ends_as_any_other() {
    let mut calls = Calls::default();
    begin(&mut calls, ID);
    assert_eq!(wishes(&mut calls), [resolve(false)]);
    calls.handle_own(at_ms(0), &peer_name(3), (key(1), Address(1)));
    assert_eq!(wishes(&mut calls), [], "another name");
    calls.handle_own(at_ms(0), &peer_name(2), (key(1), Address(1)));
    let wishes_now = wishes(&mut calls);
    assert!(matches!(&wishes_now[..], [Wish::Ask { id: ID, key: of, .. }] if *of == key(1)), "{wishes_now:?}");
    calls.handle_own(at_ms(0), &peer_name(2), (key(1), Address(1)));
    assert_eq!(wishes(&mut calls), [], "once");
    calls.handle_asked(at_ms(0), ID, key(1), Some(1 << 63));
    calls.handle_fate(at_ms(2), 1 << 63, Fate::Answered { status: 200, body: Vec::new() });
    assert_eq!(end(&wishes(&mut calls)), (Status::Delivered, Why::Answered));
}

#[test]
fn call_lasts_as_long_as_the_longest_may_whatever_was_asked_for() {
    let mut calls = Calls::default();
    calls.begin(at_ms(5), ID, peer_name(2), Kind::Call, vec![7], Instant::from_micros(u64::MAX));
    assert_eq!(calls.next_timeout(), Some(at_ms(5) + CALL_TIME_MAX));
    calls.handle_timeout(at_ms(5) + CALL_TIME_MAX);
    assert_eq!(end(&wishes(&mut calls)[1..]), (Status::TimedOut, Why::NoAnswer));
}

#[test]
fn cancelled_call_has_no_end() {
    let mut calls = asked(5);
    calls.cancel(&ID);
    assert_eq!((wishes(&mut calls), calls.len()), (vec![Wish::Cancel { ticket: 5 }], 0));
    calls.handle_fate(at_ms(1), 5, Fate::TimedOut);
    assert_eq!(wishes(&mut calls), []);
}

#[test]
fn every_call_has_one_end_whatever_happens_and_in_time() {
    for seed in 0..300 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (mut calls, mut now, mut ticket) = (Calls::default(), Instant::ZERO, 0);
        let (mut tickets, mut begun, mut ends) = (Vec::new(), 0_u128, std::collections::BTreeMap::new());
        for step in 0..400 {
            now = now + Duration::from_millis(u64::from(rng.next_u32() % 200));
            let n = (rng.next_u32() % 3) as u8 + 2;
            let answers = answers(n);
            let said = &answers[rng.next_u32() as usize % answers.len()];
            match rng.next_u32() % 8 {
                0 if step < 300 => {
                    begun += 1;
                    let until = now + Duration::from_millis(u64::from(rng.next_u32() % 9_000));
                    calls.begin(now, MessageId(begun.to_le_bytes()), peer_name(n), Kind::Call, vec![1], until);
                }
                1..=3 => {
                    let said = said.as_ref().map_err(|status| *status);
                    calls.handle_resolved(now, &peer_name(n), rng.next_u32() % 2 == 0, said, rng.next_u32() % 2 == 0);
                }
                4 => calls.handle_undeliverable(now, &key(n), rng.next_u32() % 4 == 0),
                5 => calls.handle_met(now, &key(n), &peer_name(n)),
                6 => calls.handle_ended(now, &key(n), &End::Silent),
                _ if !tickets.is_empty() => {
                    let ticket = tickets.swap_remove(rng.next_u32() as usize % tickets.len());
                    let fate = match rng.next_u32() % 3 {
                        0 => Fate::Answered { status: 200, body: Vec::new() },
                        1 => Fate::Lost(End::Silent),
                        _ => Fate::TimedOut,
                    };
                    calls.handle_fate(now, ticket, fate);
                }
                _ => {}
            }
            calls.handle_timeout(now);
            while let Some(wish) = calls.poll() {
                match wish {
                    Wish::Ask { id, key, .. } => {
                        ticket += 1;
                        tickets.push(ticket);
                        calls.handle_asked(now, id, key, (rng.next_u32() % 20 != 0).then_some(ticket));
                    }
                    Wish::Done(called) => assert!(ends.insert(called.id, now).is_none(), "seed {seed}: two ends"),
                    _ => {}
                }
            }
            assert!(calls.next_timeout().is_none_or(|at| at > now), "seed {seed}: nothing is left that was due");
        }
        calls.handle_timeout(now + Duration::from_secs(10));
        while let Some(wish) = calls.poll() {
            if let Wish::Done(called) = wish {
                assert!(ends.insert(called.id, now).is_none(), "seed {seed}: two ends");
            }
        }
        assert_eq!((ends.len() as u128, calls.len()), (begun, 0), "seed {seed}");
    }
}

/// What is done about a connection that is held
fn hold() -> Calls {
    let mut calls = Calls::default();
    calls.hold(at_ms(0), ID, peer_name(2), Duration::from_secs(5));
    assert_eq!(wishes(&mut calls), [resolve(false)]);
    let dial = Wish::Dial { key: key(2), address: Address(2) };
    assert_eq!(tell(&mut calls, 0, Ok(&answer(2, 2, 2, Source::Supernode)), true), [dial]);
    calls
}

fn met(calls: &mut Calls, now: u64) -> Vec<Wish> {
    calls.handle_met(at_ms(now), &key(2), &peer_name(2));
    wishes(calls)
}

fn not_held(wishes: &[Wish]) -> (Status, Why) {
    let [Wish::NotHeld(Called { status, reason, .. })] = wishes else { panic!("{wishes:?}") };
    (*status, reason.clone())
}

#[test]
fn connection_that_is_wanted_once_is_there_when_the_other_end_is_known() {
    for (source, shown, expected) in [
        (Source::Supernode, 2, (Status::Delivered, Why::Met)),
        (Source::Neighbours, 2, (Status::Delivered, Why::Met)),
        (Source::Supernode, 3, (Status::NotFound, Why::OtherName)),
        (Source::Neighbours, 3, (Status::NotFound, Why::OtherName)),
    ] {
        let mut calls = Calls::default();
        calls.reach(at_ms(0), ID, peer_name(2), at_ms(1_000));
        wishes(&mut calls);
        assert!(matches!(tell(&mut calls, 0, Ok(&answer(2, 2, 2, source)), true)[..], [Wish::Dial { .. }]));
        calls.handle_met(at_ms(5), &key(2), &peer_name(shown));
        let mut told = wishes(&mut calls);
        if let [Wish::Dial { .. }] = told[..] {
            // Whoever nobody vouches for is met, and then dialled as others are: he is there already.
            told = met(&mut calls, 5);
        }
        let [Wish::Reached(called)] = &told[..] else { panic!("{told:?}") };
        assert_eq!((called.status, called.reason.clone()), expected);
        assert!(calls.len() == 0 && calls.next_timeout().is_none());
    }
}

#[test]
fn held_connection_is_made_anew_whenever_it_is_lost() {
    let mut calls = hold();
    assert_eq!(met(&mut calls, 9), [Wish::Met { id: ID, key: key(2) }]);
    assert_eq!(calls.next_timeout(), None, "it lasts");
    assert_eq!(met(&mut calls, 10), [], "its grant of another session is no news");
    for lost in [60_000, 120_000] {
        calls.handle_ended(at_ms(lost), &key(2), &End::Forgotten);
        let rest = if lost == 60_000 { 0 } else { 250 };
        calls.handle_timeout(at_ms(lost + rest));
        assert_eq!(wishes(&mut calls), [resolve(true)]);
        tell(&mut calls, lost + rest, Ok(&answer(2, 2, 2, Source::Supernode)), true);
        assert_eq!(calls.next_timeout(), Some(at_ms(lost + 5_000)), "as much time as the first had");
        assert_eq!(met(&mut calls, lost + 400), [Wish::Met { id: ID, key: key(2) }]);
    }
    calls.handle_ended(at_ms(200_000), &key(2), &End::Silent);
    for rest in [0, 5_000] {
        wishes(&mut calls);
        calls.handle_timeout(at_ms(200_000 + rest));
    }
    assert_eq!(not_held(&wishes(&mut calls)), (Status::TimedOut, Why::Lost(End::Silent)));
}

#[test]
fn connection_that_nothing_answers_is_doubted_as_calls_are() {
    for is_met in [false, true] {
        let mut calls = hold();
        if is_met {
            met(&mut calls, 1);
        }
        calls.handle_undeliverable(at_ms(10), &key(2), false);
        assert_eq!(wishes(&mut calls), [resolve(true)]);
        assert_eq!(not_held(&tell(&mut calls, 11, Err(Status::Gone), true)), (Status::Gone, Why::LookUp));
    }
    // What has come meanwhile says that there is a way.
    let mut calls = hold();
    met(&mut calls, 1);
    let here = answer(2, 2, 2, Source::Supernode);
    for (round, now) in (0..8).zip((0..).step_by(1_000)) {
        calls.handle_undeliverable(at_ms(now), &key(2), false);
        assert_eq!(wishes(&mut calls), [resolve(true)], "round {round}");
        assert!(matches!(tell(&mut calls, now, Ok(&here), false)[..], [Wish::Moved { .. }]), "round {round}");
        calls.handle_heard(&ID);
    }
}

#[test]
fn held_connection_follows_the_name_to_another_key() {
    let mut calls = hold();
    met(&mut calls, 1);
    calls.handle_undeliverable(at_ms(10), &key(2), false);
    wishes(&mut calls);
    let dial = Wish::Dial { key: key(3), address: Address(3) };
    assert_eq!(tell(&mut calls, 11, Ok(&answer(2, 3, 3, Source::Supernode)), true), [dial]);
    calls.handle_met(at_ms(12), &key(3), &peer_name(2));
    assert_eq!(wishes(&mut calls), [Wish::Met { id: ID, key: key(3) }]);
}

#[test]
fn what_asks_nothing_has_its_place_among_calls_and_ends_with_them() {
    let mut calls = Calls::default();
    let id = |n: usize| MessageId((n as u128).to_le_bytes());
    (0..CALLS_MAX).for_each(|n| calls.hold(at_ms(0), id(n), peer_name(2), Duration::from_secs(5)));
    wishes(&mut calls);
    calls.reach(at_ms(0), id(CALLS_MAX), peer_name(2), at_ms(1));
    let told = wishes(&mut calls);
    assert!(matches!(&told[..], [Wish::Reached(called)] if called.reason == Why::TooMany), "{told:?}");
    calls.handle_logout(at_ms(1));
    let told = wishes(&mut calls);
    assert!(told.len() == CALLS_MAX && told.iter().all(|wish| matches!(wish, Wish::NotHeld(_))));
    let mut calls = hold();
    calls.handle_removed_key(at_ms(1), &key(2));
    assert_eq!(not_held(&wishes(&mut calls)), (Status::NotAllowed, Why::Removed));
}

#[test]
fn who_has_answered_or_is_met_is_relied_on_once_and_nobody_else_is() {
    let fates =
        [(Fate::Answered { status: 404, body: Vec::new() }, 1), (Fate::TimedOut, 0), (Fate::Lost(End::Silent), 0)];
    for (fate, expected) in fates {
        let mut calls = asked(5);
        calls.handle_fate(at_ms(3), 5, fate);
        assert_eq!(relied(&mut calls), expected);
    }
    let mut calls = hold();
    calls.handle_met(at_ms(1), &key(2), &peer_name(2));
    assert_eq!(relied(&mut calls), 1);
    calls.handle_met(at_ms(2), &key(2), &peer_name(2));
    assert_eq!(relied(&mut calls), 0, "who asks for its name anew would meet it for ever");
}

#[test]
fn key_that_is_not_the_pinned_one_ends_a_call_at_once_here_and_there() {
    let mut calls = asked(5);
    calls.handle_fate(at_ms(3), 5, Fate::Lost(End::Closed { code: Status::AnotherKey.code().into() }));
    assert_eq!(end(&wishes(&mut calls)), (Status::NotAllowed, Why::NotTrusted));
    let mut calls = asked(5);
    assert_eq!(calls.handle_trusted(&peer_name(2), Some(&key(2))), []);
    assert_eq!(calls.handle_trusted(&peer_name(2), Some(&key(3))), [key(2)]);
    assert_eq!(
        wishes(&mut calls),
        [Wish::Cancel { ticket: 5 }, resolve(true)],
        "what is on its way to another is taken back"
    );
    let mut calls = Calls::default();
    begin(&mut calls, ID);
    wishes(&mut calls);
    let told = tell(&mut calls, 1, Err(Status::AnotherKey), true);
    assert_eq!(end(&told), (Status::AnotherKey, Why::LookUp));
}
