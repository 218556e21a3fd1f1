//! One name, one owner.

use kith_common::status::Status;
use kith_lab::{Lab, Options};
use kith_runtime::control::peer::State;

const RACERS: usize = 20;

/// Waits until `name` is told that the name it asks for belongs to another
pub(crate) fn wait_refused(lab: &Lab, name: &str) {
    let node = lab.node(name).expect("a peer");
    let refused = || {
        let status = node.status().map_err(|error| error.to_string())?;
        if status.status == Status::Conflict && status.answer.state != State::LoggedIn {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    };
    lab.wait_until(&format!("{name} to be refused"), super::PATIENCE, refused).expect("409");
}

#[test]
fn of_twenty_peers_that_race_for_a_name_exactly_one_gets_it() {
    race(1);
}

#[test]
fn of_twenty_peers_that_race_for_a_name_at_three_supernodes_exactly_one_gets_it() {
    race(3);
}

fn race(supernodes: usize) {
    let lab = super::supernodes_only(supernodes, super::seed());
    let racers: Vec<String> = (0..RACERS).map(|number| format!("racer-{number}")).collect();
    std::thread::scope(|scope| {
        for racer in &racers {
            scope.spawn(|| lab.add_peer_as(racer, "prize").expect("started"));
        }
    });
    let statuses = || -> Result<Vec<(State, Status)>, String> {
        let status = |racer: &String| {
            let status = lab.node(racer).and_then(|node| node.status()).map_err(|error| error.to_string())?;
            Ok((status.answer.state, status.status))
        };
        racers.iter().map(status).collect()
    };
    let decided = || {
        let statuses = statuses()?;
        let open = statuses.iter().find(|(state, status)| *state != State::LoggedIn && *status != Status::Conflict);
        open.map_or(Ok(()), |open| Err(format!("{open:?}")))
    };
    lab.wait_until("every racer to know", super::PATIENCE, decided).expect("a decision");
    let winners = statuses().expect("statuses").iter().filter(|(state, _)| *state == State::LoggedIn).count();
    assert_eq!(winners, 1);
}

#[test]
fn second_process_with_a_living_peers_key_is_refused() {
    refuse_a_twin(1);
}

#[test]
fn second_process_with_a_living_peers_key_is_refused_by_whichever_supernode_it_asks() {
    refuse_a_twin(3);
}

fn refuse_a_twin(supernodes: usize) {
    let lab = super::mesh(super::seed(), |options| Options { supernodes, peers: 2, ..options });
    let home = lab.node("alice").expect("alice").home;
    lab.add_peer_as("twin", "alice").expect("started");
    let twin = lab.node("twin").expect("twin").home;
    lab.kill("twin").expect("killed");
    std::fs::copy(home.file("key"), twin.file("key")).expect("copied");
    lab.start("twin").expect("started");
    wait_refused(&lab, "twin");
    let answer = lab.send("bob", "alice", "still you?").expect("an answer");
    assert!(answer.is_delivered(), "{} {}", answer.status, answer.reason);
}
