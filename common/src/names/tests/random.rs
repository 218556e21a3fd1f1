//! Random inputs on one resolver: every question is answered once, in time.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Input {
    Home(bool),
    Ask(u8, bool, bool),
    Found(bool, u8, u8, u8),
    LookUp(u8, u8, u8, u8),
    Pass(u16),
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        1 => any::<bool>().prop_map(Input::Home),
        4 => (0..6u8, any::<bool>(), any::<bool>()).prop_map(|(who, fresh, local)| Input::Ask(who, fresh, local)),
        4 => (any::<bool>(), 0..12u8, 0..5u8, 0..6u8).prop_map(|(home, q, what, who)| Input::Found(home, q, what, who)),
        3 => (0..4u8, 0..12u8, 0..6u8, 0..6u8).prop_map(|(from, q, ttl, who)| Input::LookUp(from, q, ttl, who)),
        2 => (0..3_000u16).prop_map(Input::Pass),
    ]
}

proptest! {
    #[test]
    fn every_question_is_answered_and_floods_stay_within_their_rate(inputs in prop::collection::vec(input(), 0..200)) {
        let who = |n: u8| format!("n{n}");
        let mut one = One::homeless();
        let (mut queries, mut open, mut floods) = (vec![0; 12], [0_i32; 6], 0_u64);
        let mut drained = |one: &mut One, open: &mut [i32; 6], queries: &mut Vec<u64>| {
            for output in drain(&mut one.resolver) {
                match output {
                    NamesOutput::Resolved { subject: Subject::Name(name), fresh, .. } => {
                        let n: usize = name.as_str()[1..].parse().unwrap();
                        if fresh { open[n] = 0 } else { open[n] -= 1 }
                    }
                    NamesOutput::Ask(look_up) => queries.insert(0, look_up.query),
                    NamesOutput::Flood { except, look_up } => {
                        queries.insert(0, look_up.query);
                        floods += 1;
                        assert!(look_up.ttl <= FLOOD_TTL - u8::from(except.is_some()));
                    }
                    _ => {}
                }
            }
            queries.truncate(12);
            let elapsed = one.now.as_micros() / 1_000_000;
            // One asker is the resolver itself; four neighbours are the others.
            assert!(floods <= 1 + elapsed + 4 * (u64::from(ASKS_BURST) + elapsed));
        };
        for input in inputs {
            match input {
                Input::Home(reachable) => one.resolver.handle_home(one.now, reachable),
                Input::Ask(n, fresh, known) => {
                    open[usize::from(n)] += 1;
                    let known = known.then(|| local(&who(n), n.into()));
                    one.resolver.handle_ask(one.now, Subject::Name(name(&who(n))), fresh, known);
                }
                Input::Found(home, q, what, n) => {
                    let from = if home { HOME } else { Answerer::Neighbour(place(1)) };
                    let statuses =
                        [Status::Delivered, Status::Delivered, Status::NotFound, Status::Gone, Status::Unavailable];
                    let record = (what == 0).then(|| record(&who(n), n.into()));
                    let found = found(queries[usize::from(q) % queries.len()], statuses[usize::from(what)], record);
                    let _ = one.resolver.handle_found(one.now, from, &found);
                }
                Input::LookUp(from, q, ttl, n) => {
                    let query = if q < 3 { queries[usize::from(q) % queries.len()] } else { q.into() };
                    let look_up = LookUp { query, ttl, subject: Subject::Name(name(&who(n))), may_be_stale: false };
                    let _ = one.resolver.handle_look_up(one.now, place(from.into()), &look_up, None);
                }
                Input::Pass(millis) => {
                    one.now = one.now + Duration::from_millis(millis.into());
                    one.resolver.handle_timeout(one.now);
                }
            }
            drained(&mut one, &mut open, &mut queries);
            prop_assert_eq!(open.iter().filter(|n| **n > 0).count(), one.resolver.questions.len());
            prop_assert_eq!(one.resolver.questions.len(), one.resolver.queries.len());
            prop_assert_eq!(one.resolver.questions.len(), one.resolver.timers.len());
        }
        while let Some(wakes) = one.resolver.next_timeout() {
            one.now = one.now.max(wakes);
            one.resolver.handle_timeout(one.now);
            drained(&mut one, &mut open, &mut queries);
        }
        prop_assert!(open.iter().all(|n| *n == 0), "{:?}", open);
    }
}
