//! A peer that falls silent and comes back.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kith_common::id::MessageId;
use kith_lab::flow::{Flow, Summary};
use kith_lab::{graph, soak, verify};

const SEND_EVERY: Duration = Duration::from_millis(20);

/// A pair with a forwarder between them, and that forwarder
fn pair_with_a_forwarder(lab: &kith_lab::Lab) -> (String, String, String) {
    let pairs = graph::pairs(&super::peers(lab));
    let found = pairs.into_iter().find_map(|(from, to)| {
        let answer = lab.send(&from, &to, "how far?").expect("an answer");
        // Of two who have not met a supernode may have relayed the first one.
        (answer.path.len() > 2 && !answer.relayed).then(|| (from, to, answer.path[1].clone()))
    });
    found.expect("two peers that are no neighbours")
}

#[test]
fn paused_forwarder_is_routed_around_and_nothing_is_delivered_twice() {
    let lab = super::mesh_of(8, super::seed());
    let (from, to, forwarder) = pair_with_a_forwarder(&lab);
    let receiver = lab.node(&to).expect("receiver");
    receiver.take_inbox().expect("an emptied in-box");
    let flow = Flow::start(lab.node(&from).expect("sender"), to.clone(), SEND_EVERY);
    flowing(&lab, &flow);

    let paused = Instant::now();
    lab.pause(&forwarder).expect("paused");
    let both = [from.clone(), to.clone()];
    let delivered = verify::pairs_deliver(&lab, &both, paused, soak::HEALED_LIMIT);
    delivered.unwrap_or_else(|error| panic!("{forwarder} is paused: {error}"));

    lab.resume(&forwarder).expect("resumed");
    super::settle(&lab);
    let sent = flow.stop();
    let summary = Summary::of(&sent, SEND_EVERY);
    assert_eq!(summary.unknown, 0, "{summary:?}");

    let inbox = receiver.inbox().expect("in-box");
    let ids: BTreeSet<MessageId> = inbox.iter().map(|line| line.id.0).collect();
    assert_eq!(ids.len(), inbox.len(), "a message was delivered twice");
    let fates = sent.iter().filter_map(|sent| sent.fate.as_ref().ok());
    for answer in fates.filter(|answer| answer.is_delivered()) {
        let id = answer.id.expect("a message with a receipt has an id");
        assert!(ids.contains(&id), "{id:?} has a receipt and is not in the in-box");
    }
}

/// Waits until the flow has brought something over
fn flowing(lab: &kith_lab::Lab, flow: &Flow) {
    let arrived = || flow.latest().map(|_| ()).ok_or_else(|| "nothing has arrived yet".to_owned());
    lab.wait_until("the flow to begin", super::PATIENCE, arrived).expect("a flow");
}
