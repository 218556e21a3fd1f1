//! Calls that are repeated.

use std::time::Duration;

use kith_common::id::{MessageId, Name};
use kith_common::status::Status;
use kith_lab::Node;
use kith_runtime::control::Done;
use kith_runtime::control::peer::{CallAnswer, Content, Id, Request};

/// What a call of `time`, or of `echo` with a text, comes to
fn call(from: &Node, to: &str, echo: Option<&str>, id: Option<Id>) -> (Status, Id, String) {
    let name: Name = to.parse().expect("a name");
    let function = echo.map_or("time", |_| "echo").to_owned();
    let arguments = echo.iter().map(|text| Content((*text).to_owned())).collect();
    // The time is told in milliseconds, and that of another evaluation is to be another one.
    std::thread::sleep(Duration::from_millis(5));
    let request = Request::Call { name, function, arguments, timeout_ms: None, id };
    let answer: Done<CallAnswer> = from.ask(&request, super::PATIENCE).expect("an answer");
    let CallAnswer { id, result, reason, .. } = answer.answer;
    (answer.status, id, result.map(|Content(text)| text).or(reason).unwrap_or_default())
}

#[test]
fn repeated_call_comes_to_the_result_that_there_is_across_the_callers_restart_and_at_itself() {
    let lab = super::mesh_of(4, super::seed());
    let alice = lab.node("alice").expect("alice");
    for to in ["dave", "alice"] {
        let (status, id, time) = call(&alice, to, None, None);
        assert_eq!(status, Status::Delivered, "{time}");
        // Evaluated anew, the time would be another one.
        assert_eq!(call(&alice, to, None, Some(id)), (Status::Delivered, id, time.clone()));
        let (_, other, later) = call(&alice, to, None, None);
        assert!(other != id && later != time, "{later}");
        let (status, of, why) = call(&alice, to, Some("hello"), Some(id));
        assert_eq!((status, of), (Status::Conflict, id), "{why}");
        assert_eq!(call(&alice, to, None, Some(id)).2, time, "what was refused changes nothing");
        let (_, id, text) = call(&alice, to, Some("hello"), Some(Id(MessageId([to.len() as u8; 16]))));
        assert_eq!((id.0, text.as_str()), (MessageId([to.len() as u8; 16]), "hello"), "an id of one's own choice");
    }

    let (_, id, time) = call(&alice, "dave", None, None);
    lab.kill("alice").expect("killed");
    lab.start_and_wait("alice").expect("started");
    let alice = lab.node("alice").expect("alice");
    assert_eq!(call(&alice, "dave", None, Some(id)), (Status::Delivered, id, time));
}
