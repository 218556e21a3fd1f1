//! Which peers notice that one joins or leaves.

use std::collections::BTreeSet;

use kith_lab::Lab;
use kith_lab::graph::Graph;
use kith_lab::role::Role;

const PEERS: usize = 40;
const NEW: &str = "newcomer";

/// The two peers beside `name` on the ring, by everybody's own word about their addresses
fn ring_neighbours(lab: &Lab, name: &str) -> BTreeSet<String> {
    let mut ring: Vec<(u64, String)> = Vec::new();
    for peer in lab.running(Role::Peer).expect("peers") {
        let address = peer.status().expect("status").answer.address.expect("a place");
        ring.push((u64::from_str_radix(&address, 16).expect("an address"), peer.name));
    }
    ring.sort();
    let at = ring.iter().position(|(_, peer)| peer == name).expect("on the ring");
    let beside = [(at + 1) % ring.len(), (at + ring.len() - 1) % ring.len()];
    beside.into_iter().map(|at| ring[at].1.clone()).collect()
}

/// The peers whose links differ, `NEW` itself aside
fn changed(before: &Graph, after: &Graph) -> BTreeSet<String> {
    let names = before.keys().chain(after.keys()).filter(|name| *name != NEW);
    names.filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
}

#[test]
fn join_and_leave_among_40_change_only_the_tables_of_the_neighbours_and_ring_neighbours() {
    let lab = super::mesh_of(PEERS, super::seed());
    let before = lab.graph().expect("graph");
    assert_eq!(before.len(), PEERS);

    lab.add_peer(NEW).expect("started");
    lab.wait_logged_in(NEW).expect("logged in");
    super::settle(&lab);
    let joined = lab.graph().expect("graph");
    let mut touched = joined[NEW].clone();
    touched.extend(ring_neighbours(&lab, NEW));
    let others: Vec<String> = changed(&before, &joined).difference(&touched).cloned().collect();
    assert!(others.is_empty(), "a join changed the tables of {others:?}, who are not of {touched:?}");

    lab.stop(NEW).expect("logged out");
    super::settle(&lab);
    let left = lab.graph().expect("graph");
    let others: Vec<String> = changed(&joined, &left).difference(&touched).cloned().collect();
    assert!(others.is_empty(), "a leave changed the tables of {others:?}, who are not of {touched:?}");
    assert_eq!(left, before, "the same members have the same tables");
}
