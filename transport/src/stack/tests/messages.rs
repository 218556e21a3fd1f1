use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::id::MessageId;
use kith_common::mail::OVERHEAD_BYTES;
use kith_common::status::Status;
use kith_common::testing::at_ms;
use kith_common::time::Instant;
use kith_common::wire;
use kith_common::wire::content::Receipt;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::output::End;
use crate::questions::{Fate, parsed_message};
use crate::stack::Outgoing;
use crate::stack::called::Why;
use crate::stack::messages::{MessageFate, Messages, NOW_OR_NEVER, New, Restored};
use crate::stack::wishes::Wish;

const DAY: u64 = 24 * 60 * 60 * 1_000;
const RUN: u64 = 1 << 32;

fn id(n: u8) -> MessageId {
    MessageId([n; 16])
}

/// An out-box with room for a thousand short messages, of a peer that is logged in
fn empty() -> Messages {
    let mut messages = Messages::new(1_000 * (OVERHEAD_BYTES + 1), 1);
    messages.handle_login(at_ms(0));
    messages
}

fn begin_for(messages: &mut Messages, now: u64, n: u8, to: u8, keep: Option<u64>) {
    let until = at_ms(now + keep.unwrap_or(NOW_OR_NEVER.as_millis() as u64));
    let new = New { id: id(n), to: peer_name(to), body: vec![n], until, is_kept: keep.is_some() };
    messages.begin(at_ms(now), new);
}

/// Message `n` for peer 2, which is kept for a day
fn begin(messages: &mut Messages, now: u64, n: u8) {
    begin_for(messages, now, n, 2, Some(DAY));
}

/// All but who was relied on, of which there is a test of its own
pub(super) fn wishes(messages: &mut Messages) -> Vec<Wish> {
    let is_other = |wish: &Wish| !matches!(wish, Wish::Relied { .. });
    std::iter::from_fn(|| messages.poll()).filter(is_other).collect()
}

fn resolve(fresh: bool) -> Wish {
    Wish::Resolve { name: peer_name(2), fresh }
}

pub(super) fn tell(messages: &mut Messages, now: u64, answer: Result<&Answer, Status>) {
    messages.handle_resolved(at_ms(now), &peer_name(2), true, answer, true);
}

pub(super) fn here() -> Answer {
    answer(2, 2, 2, Source::Supernode)
}

/// What goes out, each with the sequence and the one that it is behind; each gets its first byte for a ticket
pub(super) fn asked(messages: &mut Messages, now: u64) -> Vec<(u8, u64, u64)> {
    let mut asked = Vec::new();
    for wish in wishes(messages) {
        if let Wish::Ask { id, question, .. } = wish {
            let (place, body) = parsed_message(&question.body).unwrap();
            assert_eq!((question.id, body), (id, &id.0[..1]));
            messages.handle_asked(at_ms(now), &id, Some(id.0[0].into()));
            messages.handle_left(id.0[0].into());
            asked.push((id.0[0], place.sequence - RUN, place.after.saturating_sub(RUN)));
        }
    }
    asked
}

pub(super) fn fates(messages: &mut Messages) -> Vec<(u8, Status, Why)> {
    let fate = |wish| match wish {
        Wish::Ended { fate: MessageFate { id, status, reason, .. }, .. } => Some((id.0[0], status, reason)),
        _ => None,
    };
    wishes(messages).into_iter().filter_map(fate).collect()
}

pub(super) fn receipt(messages: &mut Messages, now: u64, n: u8, status: u16) {
    messages.handle_fate(at_ms(now), n.into(), Fate::Answered { status, body: Vec::new() });
}

/// Messages 1, 2, 3 are out
pub(super) fn three_out() -> Messages {
    let mut messages = empty();
    (1..=3).for_each(|n| begin(&mut messages, 0, n));
    tell(&mut messages, 0, Ok(&here()));
    assert_eq!(asked(&mut messages, 0), [(1, 1, 0), (2, 2, 1), (3, 3, 2)]);
    messages
}

#[test]
fn message_is_stored_and_goes_out_at_once_and_ends_with_its_receipt() {
    let mut messages = empty();
    begin(&mut messages, 5, 1);
    let outgoing = Outgoing { sequence: RUN + 1, id: id(1), to: peer_name(2), body: vec![1], until: at_ms(5 + DAY) };
    assert_eq!(wishes(&mut messages), [Wish::Store(outgoing), resolve(false)]);
    tell(&mut messages, 6, Ok(&here()));
    assert_eq!(asked(&mut messages, 6), [(1, 1, 0)]);
    messages.handle_stored(at_ms(7), RUN + 1, true);
    let path = vec![kith_common::wire::content::PathHop { short: Address(9).short(), relay: false, name: None }];
    let body = wire::encode(&Receipt { path: path.clone().try_into().unwrap(), ..Receipt::default() }).unwrap();
    messages.handle_fate(at_ms(8), 1, Fate::Answered { status: 200, body });
    let [Wish::Ended { fate, stored: Some(sequence) }] = &wishes(&mut messages)[..] else { panic!() };
    assert_eq!(
        (fate.status, &fate.path, fate.attempts, fate.elapsed),
        (Status::Delivered, &path, 1, Duration::from_millis(3))
    );
    assert_eq!((*sequence, messages.len(), messages.bytes(), messages.next_timeout()), (RUN + 1, 0, 0, None));
}

#[test]
fn each_message_names_the_one_before_it_that_has_no_fate() {
    let mut messages = three_out();
    receipt(&mut messages, 1, 2, 200);
    begin(&mut messages, 2, 4);
    assert_eq!(asked(&mut messages, 2), [(4, 4, 3)]);
    (1..=3).for_each(|n| receipt(&mut messages, 3, n, 200));
    begin(&mut messages, 4, 5);
    assert_eq!(asked(&mut messages, 4), [(5, 5, 4)]);
    receipt(&mut messages, 5, 4, 413);
    receipt(&mut messages, 5, 5, 425);
    assert_eq!(asked(&mut messages, 5), [(5, 5, 0)], "the one that it named will never come");
}

#[test]
fn what_was_out_goes_out_again_in_its_order_after_a_lost_connection() {
    let mut messages = three_out();
    receipt(&mut messages, 1, 1, 200);
    wishes(&mut messages);
    for n in [2, 3] {
        messages.handle_fate(at_ms(2), n, Fate::Lost(End::Forgotten));
    }
    assert_eq!(wishes(&mut messages), [resolve(true)], "once, and at once");
    let (mut now, rests) = (2, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
    for rest in rests {
        tell(&mut messages, now, Ok(&here()));
        assert_eq!(asked(&mut messages, now), [(2, 2, 0), (3, 3, 2)]);
        for n in [2, 3] {
            messages.handle_fate(at_ms(now), n, Fate::Lost(End::Silent));
        }
        assert_eq!((wishes(&mut messages), messages.next_timeout()), (vec![], Some(at_ms(now + rest))));
        now += rest;
        messages.handle_timeout(at_ms(now));
        assert_eq!(wishes(&mut messages), [resolve(true)]);
    }
    messages.handle_timeout(at_ms(DAY));
    let lost = Why::Lost(End::Silent);
    assert_eq!(fates(&mut messages), [(2, Status::TimedOut, lost.clone()), (3, Status::TimedOut, lost)]);
}

#[test]
fn absent_receiver_is_waited_for_and_found_when_it_is_back() {
    let mut messages = empty();
    begin(&mut messages, 0, 1);
    wishes(&mut messages);
    tell(&mut messages, 0, Err(Status::Gone));
    let [Wish::Delayed { to, trouble }] = &wishes(&mut messages)[..] else { panic!() };
    assert_eq!((to, trouble.status, &trouble.reason), (&peer_name(2), Status::Gone, &Why::LookUp));
    messages.handle_timeout(at_ms(250));
    assert_eq!(wishes(&mut messages), [resolve(true)]);
    tell(&mut messages, 250, Err(Status::Gone));
    wishes(&mut messages);
    begin(&mut messages, 260, 9);
    let told = wishes(&mut messages);
    assert!(matches!(&told[..], [Wish::Store(_), Wish::Delayed { .. }]), "whoever is next hears it as well: {told:?}");
    assert!(messages.cancel(at_ms(260), &id(9)));
    wishes(&mut messages);
    messages.handle_met(at_ms(700), &key(9), &peer_name(9));
    assert_eq!(wishes(&mut messages), [], "somebody else");
    messages.handle_met(at_ms(700), &key(2), &peer_name(2));
    assert_eq!(wishes(&mut messages), [resolve(true)], "it has come by itself");
    tell(&mut messages, 750, Ok(&here()));
    assert_eq!(asked(&mut messages, 750), [(1, 1, 0)]);
    receipt(&mut messages, 751, 1, 200);
    assert_eq!(fates(&mut messages), [(1, Status::Delivered, Why::Answered)]);
}

#[test]
fn fate_of_what_was_never_out_says_why_and_of_what_was_out_that_it_may_have_arrived() {
    for (status, was_out) in [(Status::Gone, false), (Status::Unavailable, false), (Status::Gone, true)] {
        let mut messages = if was_out { three_out() } else { empty() };
        if was_out {
            messages.handle_undeliverable(at_ms(1), &key(2), false);
            wishes(&mut messages);
        } else {
            begin(&mut messages, 0, 1);
            wishes(&mut messages);
        }
        tell(&mut messages, 1, Err(status));
        let before = wishes(&mut messages);
        assert_eq!(
            before.iter().filter(|wish| matches!(wish, Wish::Cancel { .. })).count(),
            if was_out { 3 } else { 0 }
        );
        messages.handle_timeout(at_ms(DAY));
        let expected = if was_out { Status::TimedOut } else { status };
        assert_eq!(fates(&mut messages)[0], (1, expected, Why::LookUp));
    }
    let mut messages = empty();
    begin(&mut messages, 0, 1);
    tell(&mut messages, 1, Err(Status::NotFound));
    assert_eq!(fates(&mut messages), [(1, Status::NotFound, Why::LookUp)], "at once");
}

#[test]
fn whoever_is_met_where_nothing_arrives_is_asked_for_anew_and_then_rested() {
    let mut messages = empty();
    begin(&mut messages, 0, 1);
    wishes(&mut messages);
    let near = answer(2, 2, 8, Source::Neighbours);
    tell(&mut messages, 10, Ok(&near));
    assert_eq!(wishes(&mut messages), [Wish::Dial { key: key(2), address: Address(8) }]);
    messages.handle_undeliverable(at_ms(20), &key(2), false);
    assert_eq!(wishes(&mut messages), [resolve(true)]);
    messages.handle_undeliverable(at_ms(30), &key(2), false);
    assert_eq!(wishes(&mut messages), [], "it is asked for already");
    tell(&mut messages, 40, Ok(&here()));
    let told = wishes(&mut messages);
    assert!(matches!(told[..], [Wish::Ask { address: Address(2), .. }]), "{told:?}");

    // Where nobody can say more it is not asked for again and again.
    let mut messages = empty();
    begin(&mut messages, 0, 1);
    for round in 1..=3 {
        wishes(&mut messages);
        tell(&mut messages, round * 1_000, Ok(&near));
        messages.handle_undeliverable(at_ms(round * 1_000 + 1), &key(2), false);
    }
    let told = wishes(&mut messages);
    assert!(matches!(told.last(), Some(Wish::Delayed { .. })), "it rests: {told:?}");
}

#[test]
fn what_waited_for_its_connection_has_not_arrived() {
    let mut messages = empty();
    begin_for(&mut messages, 0, 1, 2, None);
    tell(&mut messages, 0, Ok(&here()));
    messages.handle_asked(at_ms(0), &id(1), Some(1));
    messages.handle_undeliverable(at_ms(1), &key(2), false);
    wishes(&mut messages);
    tell(&mut messages, 2, Err(Status::Gone));
    let all = wishes(&mut messages);
    let [Wish::Cancel { ticket: 1 }, Wish::Close { key: of }, Wish::Ended { fate, .. }] = &all[..] else {
        panic!("{all:?}")
    };
    assert_eq!((*of, fate.status, fate.attempts), (key(2), Status::Gone, 1), "and nobody is at the other end");
}

#[test]
fn what_is_not_kept_ends_with_the_first_reason_why_it_is_not_there() {
    for (said, expected) in [(Err(Status::Gone), Status::Gone), (Err(Status::Unavailable), Status::Unavailable)] {
        let mut messages = empty();
        begin_for(&mut messages, 0, 1, 2, None);
        assert_eq!(wishes(&mut messages), [resolve(false)], "the disk hears nothing of it");
        tell(&mut messages, 1, said);
        assert_eq!(fates(&mut messages), [(1, expected, Why::LookUp)]);
    }
    for (code, expected) in [(429, Status::SlowDown), (500, Status::Failed), (200, Status::Delivered)] {
        let mut messages = empty();
        begin_for(&mut messages, 0, 1, 2, None);
        tell(&mut messages, 0, Ok(&here()));
        asked(&mut messages, 0);
        receipt(&mut messages, 1, 1, code);
        assert_eq!(fates(&mut messages), [(1, expected, Why::Answered)]);
    }
    let mut messages = empty();
    begin_for(&mut messages, 0, 1, 2, None);
    tell(&mut messages, 0, Ok(&here()));
    asked(&mut messages, 0);
    messages.handle_timeout(at_ms(0) + NOW_OR_NEVER);
    assert_eq!(fates(&mut messages), [(1, Status::TimedOut, Why::NoAnswer)]);
    let mut messages = Messages::new(10_000, 1);
    begin_for(&mut messages, 0, 1, 2, None);
    assert_eq!(fates(&mut messages), [(1, Status::NotLoggedIn, Why::LoggedOut)]);
}

#[test]
fn full_in_box_holds_up_all_that_is_behind_and_they_keep_their_order() {
    let mut messages = three_out();
    receipt(&mut messages, 1, 1, 429);
    receipt(&mut messages, 1, 2, 425);
    receipt(&mut messages, 1, 3, 425);
    let told = wishes(&mut messages);
    assert!(matches!(&told[..], [Wish::Delayed { trouble, .. }] if trouble.status == Status::SlowDown), "{told:?}");
    begin(&mut messages, 2, 4);
    assert_eq!(asked(&mut messages, 2), [], "a new one is no reason to ask earlier");
    messages.handle_timeout(at_ms(251));
    assert_eq!(wishes(&mut messages), [resolve(true)]);
    tell(&mut messages, 251, Ok(&here()));
    assert_eq!(asked(&mut messages, 251), [(1, 1, 0), (2, 2, 1), (3, 3, 2), (4, 4, 3)]);
}

#[test]
fn window_moves_up_and_what_is_on_disk_alone_is_read_when_its_turn_comes() {
    let mut messages = empty();
    for n in 1..=200 {
        begin(&mut messages, 0, n);
        messages.handle_stored(at_ms(0), RUN + u64::from(n), true);
    }
    tell(&mut messages, 0, Ok(&here()));
    assert_eq!(asked(&mut messages, 0).len(), 128);
    receipt(&mut messages, 1, 1, 200);
    receipt(&mut messages, 1, 2, 200);
    let (mut loads, ended) = (Vec::new(), wishes(&mut messages));
    for wish in ended {
        if let Wish::Load { sequence } = wish {
            loads.push(sequence - RUN);
        }
    }
    assert_eq!(loads, [129, 130]);
    messages.handle_loaded(at_ms(2), RUN + 130, Some(vec![130]));
    assert_eq!(asked(&mut messages, 2), [], "behind one that is not read yet");
    messages.handle_loaded(at_ms(2), RUN + 129, Some(vec![129]));
    assert_eq!(asked(&mut messages, 2), [(129, 129, 128), (130, 130, 129)]);
    receipt(&mut messages, 3, 3, 200);
    wishes(&mut messages);
    messages.handle_loaded(at_ms(4), RUN + 131, None);
    assert_eq!(fates(&mut messages), [(131, Status::Failed, Why::DiskFailed)]);
}

#[test]
fn what_the_disk_refuses_is_delivered_now_or_never() {
    let mut messages = empty();
    begin(&mut messages, 0, 1);
    tell(&mut messages, 0, Err(Status::Unavailable));
    messages.handle_stored(at_ms(1), RUN + 1, false);
    assert_eq!((fates(&mut messages), messages.len()), (vec![], 1));
    messages.handle_timeout(at_ms(0) + NOW_OR_NEVER);
    assert_eq!(fates(&mut messages), [(1, Status::Failed, Why::DiskFailed)]);
}

#[test]
fn restored_messages_go_out_before_new_ones_and_are_as_old_as_they_are() {
    let mut messages = Messages::new(2 * (OVERHEAD_BYTES + 1), 7);
    let restored = |sequence, n| {
        let (age, left) = (Duration::from_secs(60), Duration::from_secs(30));
        Restored { sequence, id: id(n), to: peer_name(2), bytes: 1, age, left }
    };
    messages.restore(at_ms(0), [restored(RUN + 1, 1), restored(RUN + 4, 2)]);
    begin(&mut messages, 0, 3);
    assert_eq!(fates(&mut messages), [(3, Status::SlowDown, Why::OutboxFull)], "they count");
    assert_eq!(wishes(&mut messages), [], "without a session nobody is looked for");
    messages.handle_login(at_ms(1_000));
    assert_eq!(wishes(&mut messages), [resolve(false)]);
    tell(&mut messages, 1_000, Ok(&here()));
    assert_eq!(wishes(&mut messages), [RUN + 1, RUN + 4].map(|sequence| Wish::Load { sequence }));
    messages.handle_loaded(at_ms(1_000), RUN + 1, Some(vec![1]));
    messages.handle_loaded(at_ms(1_000), RUN + 4, Some(vec![2]));
    assert_eq!(asked(&mut messages, 1_000), [(1, 1, 0), (2, 4, 1)]);
    receipt(&mut messages, 2_000, 1, 200);
    let [Wish::Ended { fate, .. }] = &wishes(&mut messages)[..] else { panic!() };
    assert_eq!(fate.elapsed, Duration::from_secs(62));
    messages.handle_timeout(at_ms(30_000));
    assert_eq!(fates(&mut messages), [(2, Status::TimedOut, Why::NoAnswer)]);
    begin(&mut messages, 31_000, 4);
    let all = wishes(&mut messages);
    let [Wish::Store(Outgoing { sequence, .. }), ..] = &all[..] else { panic!("{all:?}") };
    assert_eq!(*sequence, (7 << 32) + 1, "no sequence is given twice");
}

#[test]
fn logout_ends_what_is_not_kept_and_the_rest_waits_for_the_next_session() {
    let mut messages = three_out();
    begin_for(&mut messages, 1, 4, 2, None);
    assert_eq!(asked(&mut messages, 1), [(4, 4, 3)]);
    messages.handle_logout(at_ms(2));
    assert_eq!(fates(&mut messages), [(4, Status::TimedOut, Why::LoggedOut)], "it may have arrived");
    assert_eq!(messages.len(), 3);
    messages.handle_login(at_ms(3));
    tell(&mut messages, 3, Ok(&here()));
    assert_eq!(asked(&mut messages, 3), [(1, 1, 0), (2, 2, 1), (3, 3, 2)]);
}

#[test]
fn message_that_is_taken_back_is_out_no_more() {
    let mut messages = three_out();
    assert!(messages.cancel(at_ms(1), &id(2)) && !messages.cancel(at_ms(1), &id(9)));
    let all = wishes(&mut messages);
    let [Wish::Cancel { ticket: 2 }, Wish::Ended { fate, .. }] = &all[..] else { panic!("{all:?}") };
    assert_eq!((fate.status, &fate.reason), (Status::TimedOut, &Why::TakenBack));
    receipt(&mut messages, 2, 2, 200);
    assert_eq!(wishes(&mut messages), []);
}

#[test]
fn everything_for_another_key_goes_to_that() {
    let mut messages = three_out();
    messages.handle_undeliverable(at_ms(1), &key(2), false);
    assert_eq!(wishes(&mut messages), [resolve(true)]);
    tell(&mut messages, 2, Ok(&answer(2, 3, 3, Source::Supernode)));
    let all = wishes(&mut messages);
    assert!(all[..3].iter().all(|wish| matches!(wish, Wish::Cancel { .. })));
    assert!(all[3..].iter().all(|wish| matches!(wish, Wish::Ask { key: of, .. } if *of == key(3))));
    messages.handle_removed(at_ms(3), &id(1));
    assert_eq!(fates(&mut messages), [(1, Status::TimedOut, Why::Removed)], "the first key may have had it");
}

#[test]
fn every_message_has_one_fate_whatever_happens_and_in_time() {
    for seed in 0..300 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (mut messages, mut now, mut last_ticket) = (Messages::new(6 * (OVERHEAD_BYTES + 1), 1), Instant::ZERO, 0);
        let (mut tickets, mut begun, mut ends) = (Vec::new(), 0_u128, BTreeMap::new());
        let mut disk = Vec::new();
        for step in 0..500 {
            now = now + Duration::from_millis(u64::from(rng.next_u32() % 200));
            let n = (rng.next_u32() % 3) as u8 + 2;
            let answers = answers(n);
            let said = answers[rng.next_u32() as usize % answers.len()].as_ref().map_err(|status| *status);
            match rng.next_u32() % 11 {
                0 | 1 if step < 400 => {
                    begun += 1;
                    let (id, until) = (
                        MessageId(begun.to_le_bytes()),
                        now + Duration::from_millis(u64::from(rng.next_u32() % 9_000)),
                    );
                    let is_kept = rng.next_u32() % 3 != 0;
                    messages.begin(now, New { id, to: peer_name(n), body: vec![1], until, is_kept });
                }
                2..=4 => {
                    messages.handle_resolved(now, &peer_name(n), rng.next_u32() % 2 == 0, said, rng.next_u32() % 2 == 0)
                }
                5 => messages.handle_undeliverable(now, &key(n), rng.next_u32() % 4 == 0),
                6 => messages.handle_met(now, &key(n), &peer_name(n)),
                7 => messages.handle_ended(now, &key(n), &End::Silent),
                8 if rng.next_u32() % 4 == 0 => messages.handle_logout(now),
                8 => messages.handle_login(now),
                9 if !disk.is_empty() => match disk.swap_remove(rng.next_u32() as usize % disk.len()) {
                    (sequence, true) => messages.handle_stored(now, sequence, rng.next_u32() % 4 != 0),
                    (sequence, false) => {
                        messages.handle_loaded(now, sequence, (rng.next_u32() % 4 != 0).then(|| vec![1]))
                    }
                },
                _ if !tickets.is_empty() => {
                    let ticket = tickets.swap_remove(rng.next_u32() as usize % tickets.len());
                    let status = [200, 413, 425, 429, 500][rng.next_u32() as usize % 5];
                    let fate = match rng.next_u32() % 3 {
                        0 => Fate::Answered { status, body: Vec::new() },
                        1 => Fate::Lost(End::Silent),
                        _ => Fate::TimedOut,
                    };
                    messages.handle_fate(now, ticket, fate);
                }
                _ => {}
            }
            messages.handle_timeout(now);
            while let Some(wish) = messages.poll() {
                match wish {
                    Wish::Ask { id, .. } => {
                        last_ticket += 1;
                        let ticket = (rng.next_u32() % 20 != 0).then_some(last_ticket);
                        tickets.extend(ticket);
                        messages.handle_asked(now, &id, ticket);
                        ticket
                            .filter(|ticket| ticket % 3 != 0)
                            .into_iter()
                            .for_each(|ticket| messages.handle_left(ticket));
                    }
                    Wish::Store(Outgoing { sequence, .. }) => disk.push((sequence, true)),
                    Wish::Load { sequence } => disk.push((sequence, false)),
                    Wish::Ended { fate, .. } => assert!(ends.insert(fate.id, now).is_none(), "seed {seed}: two fates"),
                    _ => {}
                }
            }
            assert!(messages.bytes() <= messages.bytes_max(), "seed {seed}");
            assert!(messages.next_timeout().is_none_or(|at| at > now), "seed {seed}: nothing is left that was due");
        }
        messages.handle_timeout(now + Duration::from_secs(10));
        while let Some(wish) = messages.poll() {
            if let Wish::Ended { fate, .. } = wish {
                assert!(ends.insert(fate.id, now).is_none(), "seed {seed}: two fates");
            }
        }
        assert_eq!((ends.len() as u128, messages.len(), messages.bytes()), (begun, 0, 0), "seed {seed}");
        assert_eq!(messages.next_timeout(), None, "seed {seed}: nothing is left of anybody");
    }
}
