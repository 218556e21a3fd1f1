//! Standard input and output at pipes, and how they end.

use crate::{Fake, one};

const PIPE: &str = r#"{"verb":"pipe","name":"heidi","channel":"chat","timeout_ms":10000}"#;
const END: &str = r#"{"verb":"pipe_end","pipe":7}"#;

fn opened(bytes: &str) -> String {
    format!("{{\"done\":true,\"status\":200,\"name\":\"heidi\",\"pipe\":7,\"answered\":true,\"reason\":null}}\n{bytes}")
}

fn ended(status: u16, reason: &str) -> String {
    format!("{{\"done\":true,\"status\":{status},\"reason\":{reason}}}\n")
}

#[test]
fn what_comes_out_of_a_pipe_is_printed_as_it_is_and_its_end_is_asked_for() {
    let (piped, on_its_way, whole) = (opened("two\nlines\x07"), ended(202, "null"), ended(200, "null"));
    let told = Fake::new(&[(PIPE, &piped), (END, &on_its_way), (END, &whole)]).run(&["pipe", "heidi:chat"]);
    assert_eq!((told.exit, told.out.as_str(), told.errors.as_str()), (0, "two\nlines\x07", ""));
    let listen = r#"{"verb":"listen","channel":"chat","from":"heidi"}"#;
    let told = Fake::new(&[(listen, &opened("hello")), (END, &whole)]).run(&["listen", "chat", "--from", "heidi"]);
    assert_eq!((told.exit, told.out.as_str(), told.errors.as_str()), (0, "hello", "from heidi\n"));
}

#[test]
fn pipe_that_has_broken_off_is_a_failure_though_something_came() {
    let lost = ended(503, r#""nothing was heard for too long""#);
    let told = Fake::new(&[(PIPE, &opened("half")), (END, &lost)]).run(&["pipe", "heidi:chat"]);
    assert_eq!((told.exit, told.out.as_str()), (93, "half"));
    assert_eq!(told.errors, "kith: the pipe has broken off: 503 unavailable: nothing was heard for too long\n");
}

#[test]
fn pipe_that_nobody_takes_says_what_to_type_there_or_here() {
    let refused = |status: u16, answered: bool| {
        format!(
            r#"{{"done":true,"status":{status},"name":"heidi","pipe":null,"answered":{answered},"reason":"nobody listens there for it"}}"#
        )
    };
    let told = one(PIPE, &refused(404, true), &["pipe", "heidi:chat"]);
    let expected =
        "kith: no pipe to heidi: 404 not found: nobody listens there for it\n  at heidi, type: kith listen chat\n";
    assert_eq!((told.exit, told.errors.as_str()), (44, expected));
    let told = one(PIPE, &refused(410, false), &["pipe", "heidi:chat"]);
    assert!(told.exit == 50 && told.errors.contains("\n  next: kith"), "{}", told.errors);
}
