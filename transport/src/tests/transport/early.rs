//! What is said before the handshake is done, to somebody with whom there was a connection before.

use super::*;

/// There and back in the mesh of these tests
const ROUND_TRIP: Duration = Duration::from_millis(10);

/// Alice has had a connection with bob, which is over
fn met(seed: u64) -> Mesh {
    let mut mesh = Mesh::of(seed);
    let ticket = mesh.ask(ALICE, BOB, 1);
    mesh.run(ROUND_TRIP);
    assert_eq!(mesh.fate(ALICE, ticket), None, "a first handshake takes a round trip by itself");
    mesh.run(3 * crate::settings::IDLE);
    assert!(mesh.fate(ALICE, ticket).is_some() && !mesh.peers[ALICE].is_connected(&key_of(BOB)));
    mesh
}

fn is_answered(mesh: &Mesh, ticket: u64) -> bool {
    matches!(mesh.fate(ALICE, ticket), Some(Fate::Answered { status: 200, .. }))
}

#[test]
fn who_was_met_before_is_asked_and_answers_within_one_round_trip() {
    let mut mesh = met(1);
    let tickets = [2, 3].map(|number| mesh.ask(ALICE, BOB, number));
    mesh.run(ROUND_TRIP);
    assert!(tickets.iter().all(|ticket| is_answered(&mesh, *ticket)), "{:?}", mesh.done);
    mesh.run(Duration::from_secs(1));
    assert_eq!((mesh.asked.len(), mesh.ended), (3, 2), "each is heard once, and by one connection");
    assert!(mesh.peers[BOB].standing_with(&key_of(ALICE)).is_some());
}

#[test]
fn who_has_started_anew_hears_nothing_of_it_and_is_asked_again_on_the_same_connection() {
    let mut mesh = met(2);
    mesh.restart(BOB);
    let ticket = mesh.ask(ALICE, BOB, 2);
    mesh.run(2 * ROUND_TRIP);
    assert_eq!(mesh.fate(ALICE, ticket), Some(&Fate::Lost(End::Forgotten)));
    assert_eq!(mesh.asked.len(), 1, "it was not heard");
    let again = mesh.ask(ALICE, BOB, 2);
    mesh.run(2 * ROUND_TRIP);
    assert!(is_answered(&mesh, again), "{:?}", mesh.done);
    assert_eq!((mesh.asked.len(), mesh.peers[BOB].connections()), (2, 1), "no second handshake was needed");
    // The tickets that bob gives by now are as good as those before.
    mesh.run(3 * crate::settings::IDLE);
    let third = mesh.ask(ALICE, BOB, 3);
    mesh.run(ROUND_TRIP);
    assert!(is_answered(&mesh, third), "{:?}", mesh.done);
}

#[test]
fn pipe_waits_until_the_handshake_is_done_and_what_is_asked_behind_it_does_not() {
    let mut mesh = met(3);
    let question = Question { kind: Kind::Pipe, id: MessageId([9; 16]), body: b"yes".to_vec() };
    let until = mesh.now + Duration::from_secs(20);
    mesh.peers[ALICE].ask(mesh.now, (key_of(BOB), address_of(BOB)), question, until).unwrap();
    let ticket = mesh.ask(ALICE, BOB, 2);
    mesh.run(ROUND_TRIP);
    assert!(is_answered(&mesh, ticket) && mesh.taken.is_empty());
    mesh.run(2 * ROUND_TRIP);
    assert_eq!(mesh.taken.len(), 1);
}

#[test]
fn what_was_said_early_is_not_heard_a_second_time_however_often_it_is_played_again() {
    let mut mesh = met(4);
    mesh.record = Some(Vec::new());
    let ticket = mesh.ask(ALICE, BOB, 2);
    mesh.run(Duration::from_secs(1));
    assert!(is_answered(&mesh, ticket));
    let record = mesh.record.take().unwrap();
    let to_bob = record.iter().filter(|(to, _, _)| *to == BOB);
    for is_over in [false, true] {
        for (_, arrival, bytes) in to_bob.clone().chain(to_bob.clone()) {
            mesh.peers[BOB].handle_datagram(mesh.now, arrival, bytes);
            mesh.settle();
        }
        assert_eq!(mesh.asked.len(), 2, "while the connection stands, and when it is over: {is_over}");
        mesh.run(3 * crate::settings::IDLE);
    }
    // Nor by one that has started anew.
    mesh.restart(BOB);
    to_bob.for_each(|(_, arrival, bytes)| _ = mesh.peers[BOB].handle_datagram(mesh.now, arrival, bytes));
    mesh.run(Duration::from_secs(30));
    assert_eq!(mesh.asked.len(), 2);
}

/// Bob has heard what alice said early, and she hears nothing that he says to that, for ever
fn begun_and_left(seed: u64) -> Mesh {
    let mut mesh = met(seed);
    mesh.ask(ALICE, BOB, 2);
    mesh.run(ROUND_TRIP / 2);
    assert!(mesh.asked.len() == 2 && mesh.peers[BOB].is_connected(&key_of(ALICE)));
    mesh.under_way.clear();
    // She knows nothing of that connection, nor how to say so.
    mesh.peers[ALICE] = peer_with(ALICE, seed + 1, [77; 32]);
    mesh
}

#[test]
fn whoever_begins_early_and_never_ends_the_handshake_is_given_up_as_soon_as_one_without_a_ticket() {
    let mut mesh = begun_and_left(5);
    mesh.run(crate::introductions::HANDSHAKE_WAIT);
    assert_eq!(mesh.peers[BOB].connections(), 0);
}

#[test]
fn connection_whose_handshake_is_not_done_gives_way_to_one_with_the_same_key_whose_handshake_is() {
    let mut mesh = begun_and_left(6);
    let ticket = mesh.ask(ALICE, BOB, 3);
    mesh.run(2 * ROUND_TRIP);
    assert!(is_answered(&mesh, ticket), "{:?}", mesh.done);
    assert_eq!(mesh.peers[BOB].connections(), 2);
    let back = mesh.ask(BOB, ALICE, 4);
    mesh.run(ROUND_TRIP);
    assert!(matches!(mesh.fate(BOB, back), Some(Fate::Answered { .. })), "{:?}", mesh.done);
    mesh.run(crate::introductions::HANDSHAKE_WAIT);
    assert_eq!(mesh.peers[BOB].connections(), 1, "and is given up");
}

#[test]
fn questions_arrive_once_whatever_the_weather_and_however_often_the_other_end_starts_anew() {
    for seed in 0..20 {
        let mut mesh = met(seed);
        mesh.lost = 200;
        for number in 2..10 {
            if mesh.rng.next_u32().is_multiple_of(3) {
                mesh.restart(BOB);
            } else {
                mesh.run(3 * crate::settings::IDLE);
            }
            let before = mesh.asked.len();
            let ticket = mesh.ask(ALICE, BOB, number);
            mesh.run(Duration::from_secs(20));
            match mesh.fate(ALICE, ticket) {
                Some(Fate::Answered { .. }) => assert_eq!(mesh.asked.len(), before + 1, "seed {seed}"),
                Some(Fate::Lost(_) | Fate::TimedOut) => {}
                other => panic!("seed {seed}: {other:?}"),
            }
        }
    }
}
