//! More than one lab, and labs in strange places.

use std::collections::BTreeMap;

use kith_common::status::Status;
use kith_lab::process::Condition;
use kith_lab::role::Role;
use kith_lab::{Lab, Options, Progress};
use kith_runtime::control::peer::State;

fn addresses(lab: &Lab) -> BTreeMap<String, Option<String>> {
    let peers = lab.running(Role::Peer).expect("peers");
    peers.iter().map(|peer| (peer.name.clone(), peer.status().expect("status").answer.address)).collect()
}

#[test]
fn two_labs_side_by_side_know_nothing_of_each_other() {
    let seed = super::seed();
    let (one, other) = (super::mesh_of(3, seed), super::mesh_of(4, seed + 1));
    let network = |lab: &Lab| lab.node("alice").expect("alice").status().expect("status").answer.network;
    assert_ne!(network(&one), network(&other));
    assert_eq!(one.send("alice", "dave", "hello").expect("an answer").status, Status::NotFound);
    one.down().expect("ended");
    let processes = one.state().expect("state").processes;
    assert!(processes.iter().all(|process| process.condition() == Condition::Ended));
    let answer = other.send("alice", "dave", "still here").expect("an answer");
    assert!(answer.is_delivered(), "{} {}", answer.status, answer.reason);
    assert_eq!(super::peers(&other).len(), 4);
}

#[test]
fn same_seed_gives_the_same_ring() {
    let seed = super::seed();
    let first = addresses(&super::mesh_of(5, seed));
    assert_eq!(addresses(&super::mesh_of(5, seed)), first);
    assert_ne!(addresses(&super::mesh_of(5, seed + 1)), first);
}

#[test]
fn home_too_deep_for_a_socket_is_reached_all_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let deep = dir.path().join("a-rather-long-name-of-a-directory".repeat(2)).join("and-another-one".repeat(4));
    let lab = Lab::up(Options { peers: 2, ..super::options(&deep, super::seed()) }, Progress::Quiet);
    let lab = lab.unwrap_or_else(|error| panic!("the mesh did not come up: {error}"));
    assert!(lab.node("bob").expect("bob").home.file("control.sock").as_os_str().len() > 107);
    let answer = lab.send("alice", "bob", "down here").expect("an answer");
    assert!(answer.is_delivered(), "{} {}", answer.status, answer.reason);
}

#[test]
fn peer_without_the_network_secret_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let secret = Some("open sesame".to_owned());
    let options = Options { peers: 2, secret, ..super::options(dir.path(), super::seed()) };
    let lab = Lab::up(options, Progress::Quiet).unwrap_or_else(|error| panic!("the mesh did not come up: {error}"));
    // Opened anew, the lab knows nothing of the secret, and so gives none to the peers that it starts.
    let stranger = Lab::open(lab.dir(), super::BINARY.into(), Progress::Quiet).expect("the same lab");
    stranger.add_peer("stranger").expect("started");
    let node = lab.node("stranger").expect("stranger");
    let refused = || {
        let status = node.status().map_err(|error| error.to_string())?;
        if status.status == Status::NotAllowed && status.answer.state != State::LoggedIn {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    };
    lab.wait_until("the stranger to be refused", super::PATIENCE, refused).expect("403");
    lab.kill("stranger").expect("killed");
}
