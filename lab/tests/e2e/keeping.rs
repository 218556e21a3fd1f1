//! Messages that wait: for receivers who are not here, across the deaths of both ends.

use std::time::Duration;

use kith_common::status::Status;
use kith_lab::Node;
use kith_runtime::control::Done;
use kith_runtime::control::peer::{Body, FateAnswer, Id, OutboxAnswer, Request, SendAnswer};

/// A receiver that comes back is looked for every half a minute; the rest is for a busy machine
const FOUND: Duration = Duration::from_secs(120);
/// For an answer of a daemon that is busy
const ANSWER: Duration = Duration::from_secs(60);

/// Puts a message into the out-box, and waits for no more
fn put(from: &Node, to: &str, body: Body) -> Done<SendAnswer> {
    let name = to.parse().expect("a name");
    from.ask(&Request::Send { name, body, ttl_s: None, wait_ms: Some(0) }, ANSWER).expect("an answer")
}

fn text(text: &str) -> Body {
    Body::Text(text.to_owned())
}

fn fate(of: &Node, id: Id) -> Result<Done<FateAnswer>, String> {
    of.ask(&Request::Fate { id }, ANSWER).map_err(|error| error.to_string())
}

fn outbox(of: &Node) -> OutboxAnswer {
    of.ask::<OutboxAnswer>(&Request::Outbox, ANSWER).expect("an answer").answer
}

fn bodies(of: &Node) -> Result<Vec<Body>, String> {
    let lines = of.inbox().map_err(|error| error.to_string())?;
    Ok(lines.into_iter().map(|line| line.body).collect())
}

#[test]
fn what_was_accepted_arrives_once_and_in_order_though_both_ends_were_killed() {
    let lab = super::mesh_of(4, super::seed());
    let alice = lab.node("alice").expect("alice");
    lab.kill("dave").expect("killed");
    let ids: Vec<Id> = (1..=6)
        .map(|number| {
            let sent = put(&alice, "dave", text(&number.to_string()));
            assert_eq!(sent.status, Status::Accepted, "{sent:?}");
            sent.answer.id
        })
        .collect();
    let waiting = outbox(&alice);
    assert_eq!((waiting.messages, waiting.waiting.len()), (6, 6), "{waiting:?}");
    lab.kill("alice").expect("killed");
    lab.start_and_wait("alice").expect("alice is back");
    let alice = lab.node("alice").expect("alice");
    assert_eq!(outbox(&alice).messages, 6, "a new process has them again");
    assert_eq!(fate(&alice, ids[5]).expect("a fate").status, Status::Accepted);
    lab.start_and_wait("dave").expect("dave is back");
    let dave = lab.node("dave").expect("dave");
    let expected: Vec<Body> = (1..=6).map(|number| text(&number.to_string())).collect();
    let arrived = lab.wait_until("all messages to arrive", FOUND, || {
        let seen = bodies(&dave)?;
        if seen == expected { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    arrived.unwrap_or_else(|error| panic!("{error}"));
    for id in ids {
        let told = lab.wait_until("the fate to be known", FOUND, || match fate(&alice, id)?.status {
            Status::Delivered => Ok(()),
            status => Err(status.to_string()),
        });
        told.unwrap_or_else(|error| panic!("{error}"));
    }
    assert_eq!(outbox(&alice).messages, 0);
    assert_eq!(bodies(&dave).expect("in-box"), expected, "once");
}

#[test]
fn peer_that_was_stopped_in_good_order_has_forgotten_no_fate() {
    let lab = super::mesh_of(4, super::seed());
    for number in 1..=3 {
        let sent = lab.send("alice", "dave", &number.to_string()).expect("an answer");
        assert!(sent.is_delivered(), "{sent:?}");
        // Nobody is there whom it could send a message again.
        lab.stop("alice").expect("stopped");
        lab.stop("dave").expect("stopped");
        lab.start_and_wait("alice").expect("alice is back");
        assert_eq!(outbox(&lab.node("alice").expect("alice")).messages, 0, "after message {number}");
        lab.start_and_wait("dave").expect("dave is back");
    }
}

#[test]
fn message_that_is_taken_back_is_not_delivered_and_one_that_is_not_kept_ends_at_once() {
    let lab = super::mesh_of(4, super::seed());
    let alice = lab.node("alice").expect("alice");
    lab.stop("dave").expect("stopped");
    let sent = lab.node("alice").expect("alice").send_kept("dave", "never mind").expect("an answer");
    assert_eq!(sent.status, Status::Accepted, "{sent:?}");
    assert!(sent.reason.contains("logged out"), "{sent:?}");
    let id = Id(sent.id.expect("an id"));
    let taken = alice.ask::<FateAnswer>(&Request::TakeBack { id }, ANSWER).expect("an answer");
    assert_eq!(taken.status, Status::Delivered);
    assert!(alice.ask::<FateAnswer>(&Request::TakeBack { id }, ANSWER).is_err(), "it is gone");
    assert_eq!(lab.send("alice", "dave", "now or never").expect("an answer").status, Status::Gone);
    assert_eq!(outbox(&alice).messages, 0);
    lab.start_and_wait("dave").expect("dave is back");
    let dave = lab.node("dave").expect("dave");
    let heard = lab.wait_until("dave to be reached", FOUND, || {
        let sent = lab.send("alice", "dave", "welcome back").map_err(|error| error.to_string())?;
        if sent.is_delivered() { Ok(()) } else { Err(sent.reason) }
    });
    heard.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(bodies(&dave).expect("in-box"), [text("welcome back")]);
}

#[test]
fn longest_message_arrives_whole_and_one_byte_more_is_refused() {
    let lab = super::mesh_of(4, super::seed());
    let alice = lab.node("alice").expect("alice");
    let longest: Vec<u8> = (0_u32..4 << 20).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let name: kith_common::id::Name = "dave".parse().expect("a name");
    let send = |body| Request::Send { name: name.clone(), body, ttl_s: None, wait_ms: Some(120_000) };
    let limit = Duration::from_secs(180);
    let sent = alice.ask::<SendAnswer>(&send(Body::Data(longest.clone())), limit).expect("an answer");
    assert_eq!(sent.status, Status::Delivered, "{sent:?}");
    let inbox = lab.node("dave").expect("dave").inbox().expect("in-box");
    assert!(inbox.len() == 1 && inbox[0].body.bytes() == longest, "{} messages", inbox.len());
    let longer = [longest, vec![0]].concat();
    let refused = alice.ask::<SendAnswer>(&send(Body::Data(longer)), limit).expect("an answer");
    assert_eq!(refused.status, Status::TooLarge, "{refused:?}");
}

/// Dave's in-box once it ends with this message
fn until(lab: &super::TestLab, last: &str) -> Vec<Body> {
    let dave = lab.node("dave").expect("dave");
    let mut seen = Vec::new();
    let arrived = lab.wait_until("the last message to arrive", FOUND, || {
        seen = bodies(&dave)?;
        if seen.last() == Some(&text(last)) { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    arrived.unwrap_or_else(|error| panic!("{error}"));
    seen
}

#[test]
fn receiver_that_dies_at_any_point_of_its_keeping_has_every_message_once_and_in_order() {
    let lab = super::mesh_of(4, super::seed());
    let alice = lab.node("alice").expect("alice");
    let mut expected = Vec::new();
    for point in ["keep", "kept"] {
        lab.stop("dave").expect("stopped");
        lab.start_crashing("dave", point).expect("started");
        for number in 1..=5 {
            let body = text(&format!("{point} {number}"));
            let sent = put(&alice, "dave", body.clone());
            assert!(sent.status.is_success(), "{sent:?}");
            expected.push(body);
        }
        lab.wait_for_end("dave").unwrap_or_else(|error| panic!("{point}: {error}"));
        lab.start_and_wait("dave").expect("dave is back");
        assert_eq!(until(&lab, &format!("{point} 5")), expected);
    }
}

#[test]
fn sender_that_dies_at_any_point_of_its_keeping_loses_nothing_that_it_has_accepted_and_sends_nothing_twice() {
    let lab = super::mesh_of(4, super::seed());
    let mut accepted = Vec::new();
    for point in ["store", "stored", "end", "ended"] {
        lab.stop("alice").expect("stopped");
        lab.start_crashing("alice", point).expect("started");
        lab.wait_logged_in("alice").expect("logged in");
        let alice = lab.node("alice").expect("alice");
        let name: kith_common::id::Name = "dave".parse().expect("a name");
        for number in 1..=3 {
            let body = text(&format!("{point} {number}"));
            let request = Request::Send { name: name.clone(), body: body.clone(), ttl_s: None, wait_ms: Some(0) };
            // It dies before it can say what became of one of them.
            if alice.ask::<SendAnswer>(&request, ANSWER).is_ok_and(|sent| sent.status.is_success()) {
                accepted.push(body);
            }
        }
        lab.wait_for_end("alice").unwrap_or_else(|error| panic!("{point}: {error}"));
        lab.start_and_wait("alice").expect("alice is back");
        let last = format!("after {point}");
        assert!(put(&lab.node("alice").expect("alice"), "dave", text(&last)).status.is_success());
        accepted.push(text(&last));
        let seen = until(&lab, &last);
        // What still waits for its receipt would be sent anew, and end, as soon as it starts again.
        let has_ended = || {
            let waiting = lab.node("alice").map(|alice| outbox(&alice).messages).map_err(|error| error.to_string())?;
            if waiting == 0 { Ok(()) } else { Err(format!("{waiting} wait")) }
        };
        lab.wait_until("every message to have its fate", FOUND, has_ended).expect("an empty out-box");
        let twice = seen.iter().enumerate().find(|(at, body)| seen[..*at].contains(body));
        assert_eq!(twice, None, "{point}: {seen:?}");
        let kept: Vec<Body> = seen.iter().filter(|body| accepted.contains(body)).cloned().collect();
        assert_eq!(kept, accepted, "{point}: all that was accepted, in its order");
    }
}
