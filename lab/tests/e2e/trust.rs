//! A name that somebody else has now.

use std::time::Duration;

use kith_common::status::Status;
use kith_lab::{Lab, Node};
use kith_runtime::control::Done;
use kith_runtime::control::peer::{Body, PinAnswer, PinnedKey, PinnedName, PinsAnswer, Request, SendAnswer};
use kith_runtime::control::supernode::{self, ReleaseAnswer};
use kith_runtime::identity::parse_key;

/// For an answer of a daemon that is busy
const ANSWER: Duration = Duration::from_secs(60);

fn send(from: &Node, to: &str, ttl_s: Option<u64>) -> Done<SendAnswer> {
    let (name, body) = (to.parse().expect("a name"), Body::Text("to the right one".to_owned()));
    from.ask(&Request::Send { name, body, ttl_s, wait_ms: None }, ANSWER).expect("an answer")
}

fn pin(of: &Node, name: &str) -> PinnedName {
    let request = Request::Pins { name: Some(name.parse().expect("a name")), after: None };
    let answer = of.ask::<PinsAnswer>(&request, ANSWER).expect("an answer");
    answer.answer.pins.into_iter().next().expect("a pin")
}

fn texts(of: &Node) -> usize {
    of.inbox().expect("an in-box").len()
}

/// Waits until a peer is in the mesh
fn wait_in(lab: &Lab, node: &Node) {
    let is_in = || {
        let status = node.status().map_err(|error| error.to_string())?;
        if status.status.is_success() { Ok(()) } else { Err(format!("{status:?}")) }
    };
    lab.wait_until("a peer to be in the mesh", super::PATIENCE, is_in).expect("logged in");
}

#[test]
fn who_was_talked_to_is_not_taken_for_another_with_the_same_name_until_the_user_says_so() {
    let lab = super::mesh_of(4, super::seed());
    let node = |name: &str| lab.node(name).expect(name);
    let (alice, bob) = (node("alice"), node("bob"));
    assert_eq!(alice.echo("dave", "hello").expect("an answer"), Status::Delivered);
    let first = pin(&alice, "dave");
    assert_eq!(first.refused, None);

    lab.stop("dave").expect("stopped");
    let release = supernode::Request::Release { name: "dave".parse().expect("a name") };
    node("supernode").ask::<ReleaseAnswer>(&release, ANSWER).expect("released");
    lab.add_peer_as("impostor", "dave").expect("started");
    let impostor = node("impostor");
    wait_in(&lab, &impostor);

    // By calls, by messages that wait and by those that do not, whoever begins it.
    assert_eq!(alice.echo("dave", "who are you?").expect("an answer"), Status::AnotherKey);
    assert_eq!(send(&alice, "dave", Some(0)).status, Status::AnotherKey);
    let waiting = send(&alice, "dave", None);
    assert!(waiting.status == Status::Accepted && waiting.answer.reason.is_some(), "{waiting:?}");
    // What has left once may have arrived, for all that its sender knows.
    let sent = send(&impostor, "alice", Some(0));
    let says_why = sent.answer.reason.as_ref().is_some_and(|reason| reason.contains("another key"));
    assert!([Status::NotAllowed, Status::TimedOut].contains(&sent.status) && says_why, "{sent:?}");
    assert_eq!(impostor.echo("alice", "let me in").expect("an answer"), Status::NotAllowed);
    assert_eq!((texts(&impostor), texts(&alice)), (0, 0));
    // Whoever has never talked to the first one knows no better.
    assert_eq!(bob.echo("dave", "hello").expect("an answer"), Status::Delivered);

    // It is on the disk.
    lab.kill("alice").expect("killed");
    lab.start_and_wait("alice").expect("back");
    let alice = node("alice");
    wait_in(&lab, &alice);
    assert_eq!(alice.echo("dave", "and now?").expect("an answer"), Status::AnotherKey);
    let refused = pin(&alice, "dave");
    assert_eq!(refused.key, first.key);
    let key = refused.refused.as_deref().and_then(parse_key).map(PinnedKey).expect("the key that was refused");
    assert_ne!(key, first.key);

    let trusted = Request::Pin { name: "dave".parse().expect("a name"), key };
    assert_eq!(alice.ask::<PinAnswer>(&trusted, ANSWER).expect("an answer").status, Status::Delivered);
    assert_eq!(alice.echo("dave", "welcome").expect("an answer"), Status::Delivered);
    assert_eq!(pin(&alice, "dave"), PinnedName { refused: None, ..pin(&bob, "dave") });
    let arrived = || if texts(&impostor) == 1 { Ok(()) } else { Err("it waits".to_owned()) };
    lab.wait_until("what waited to arrive", super::PATIENCE, arrived).expect("delivered");
    let back = || {
        let sent = send(&impostor, "alice", Some(0));
        if sent.status == Status::Delivered { Ok(()) } else { Err(format!("{sent:?}")) }
    };
    lab.wait_until("the way back", super::PATIENCE, back).expect("delivered");
}
