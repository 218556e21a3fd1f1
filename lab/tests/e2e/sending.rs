//! Messages in a quiet mesh.

use std::time::Duration;

use kith_common::status::Status;
use kith_lab::graph;
use kith_runtime::control::peer::Body;

/// Of eight peers of degree 4, in a quiet mesh
const HOPS_MAX: u64 = 5;
/// What a peer gains is told to its neighbours within 50 ms; the rest is for a busy machine
const TOLD: Duration = Duration::from_secs(20);

/// Eight peers that have their links and know their neighbours': until they do, ways may be longer than they need to be
fn quiet_mesh() -> super::TestLab {
    let lab = super::mesh_of(8, super::seed());
    let pairs = graph::pairs(&super::peers(&lab));
    let is_short = |(from, to): &(String, String)| {
        let trace = lab.node(from).and_then(|peer| peer.trace(to)).map_err(|error| error.to_string())?;
        let is_short = !trace.relayed && trace.hops.len() as u64 <= HOPS_MAX;
        is_short.then_some(()).ok_or_else(|| format!("{trace:?}"))
    };
    let told = lab.wait_until("every way is short", TOLD, || pairs.iter().try_for_each(is_short));
    told.unwrap_or_else(|error| panic!("{error}"));
    lab
}

#[test]
fn every_ordered_pair_delivers_within_five_hops_over_true_paths() {
    let lab = quiet_mesh();
    let links = lab.graph().expect("graph");
    let pairs = graph::pairs(&super::peers(&lab));
    assert_eq!(pairs.len(), 56);
    for (from, to) in pairs {
        // On a busy machine a supernode relays for two who have not met, for a few seconds.
        let mut answer = lab.send(&from, &to, "hello").expect("an answer");
        let unrelayed = lab.wait_until("a message goes through the mesh", super::PATIENCE, || {
            if !answer.relayed {
                return Ok(());
            }
            answer = lab.send(&from, &to, "hello").map_err(|error| error.to_string())?;
            Err(answer.way())
        });
        unrelayed.unwrap_or_else(|error| panic!("{from} → {to}: {error}"));
        assert!(answer.is_delivered(), "{from} → {to}: {} {}", answer.status, answer.reason);
        assert!(answer.hops <= HOPS_MAX, "{from} → {to}: {} hops over {}", answer.hops, answer.way());
        let fault = graph::fault_in_path(&links, &from, &to, &answer);
        assert_eq!(fault, None, "{from} → {to} over {}", answer.way());
    }
}

#[test]
fn message_is_in_the_inbox_once_with_its_sender() {
    let lab = super::mesh_of(4, super::seed());
    let answer = lab.send("alice", "dave", "two words").expect("an answer");
    assert!(answer.is_delivered(), "{} {}", answer.status, answer.reason);
    let inbox = lab.node("dave").expect("dave").inbox().expect("in-box");
    let seen: Vec<_> = inbox.iter().map(|line| (Some(line.id.0), line.from.as_str(), line.body.clone())).collect();
    assert_eq!(seen, [(answer.id, "alice", Body::Text("two words".into()))]);
}

#[test]
fn message_to_a_name_that_nobody_has_is_not_found() {
    let lab = super::mesh_of(2, super::seed());
    assert_eq!(lab.send("alice", "nobody", "hello").expect("an answer").status, Status::NotFound);
}

#[test]
fn trace_is_the_way_of_one_packet_over_links_that_are_there() {
    let lab = quiet_mesh();
    let links = lab.graph().expect("graph");
    for (from, to) in graph::pairs(&super::peers(&lab)) {
        let trace = lab.node(&from).expect("a peer").trace(&to).expect("a trace");
        assert!(!trace.relayed && trace.hops.len() as u64 <= HOPS_MAX, "{trace:?}");
        let way: Vec<&str> = trace.hops.iter().map(|hop| hop.name.as_str()).collect();
        assert_eq!(way.last(), Some(&to.as_str()), "{trace:?}");
        let mut at = from.as_str();
        for next in way {
            assert!(links[at].contains(next), "{at} has no link to {next}: {trace:?}");
            at = next;
        }
    }
}
