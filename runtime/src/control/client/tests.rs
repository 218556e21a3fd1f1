use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::thread::{self, JoinHandle};

use super::*;
use crate::control::peer::{Body, InboxLine, Request, SendAnswer};
use crate::home::PEER;

const LIMIT: Duration = Duration::from_secs(20);

fn home(directory: &tempfile::TempDir) -> Home {
    Home::resolve(PEER, Some(directory.path())).unwrap()
}

/// A daemon that answers one request with `answer` and then hangs up
fn daemon(answer: &'static str) -> (tempfile::TempDir, JoinHandle<String>) {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("control.sock")).unwrap();
    let daemon = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut request).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        request
    });
    (directory, daemon)
}

fn send() -> Request {
    Request::Send { name: "heidi".parse().unwrap(), body: Body::Text("a\nb".into()), ttl_s: None, wait_ms: None }
}

fn inbox() -> Request {
    Request::Inbox { follow: false, from: None }
}

#[test]
fn request_is_one_line_and_its_answer_is_read() {
    let (directory, daemon) = daemon(concat!(
        "{\"done\":true,\"status\":200,\"id\":\"000102030405060708090a0b0c0d0e0f\",\"to\":\"heidi\",\"hops\":2,",
        "\"path\":[\"alice\",\"bob\",\"heidi\"],\"relayed\":false,\"elapsed_us\":900,\"attempts\":1,\"reason\":null}\n",
    ));
    let line = ask(&home(&directory), &send(), LIMIT).unwrap();
    let done = line.done::<SendAnswer>().unwrap();
    assert_eq!((done.status, done.answer.path.join(" ")), (Status::Delivered, "alice bob heidi".into()));
    let request = daemon.join().unwrap();
    assert_eq!(request.matches('\n').count(), 1);
    assert_eq!(serde_json::from_str::<Request>(&request).unwrap(), send());
}

#[test]
fn lines_come_before_the_last_one() {
    let (directory, _daemon) = daemon(concat!(
        "{\"sequence\":1,\"id\":\"000102030405060708090a0b0c0d0e0f\",\"from\":\"bob\",\"address\":\"0\",\"at\":\"\",",
        "\"bytes\":1,\"text\":\"x\",\"confirmed\":true}\n{\"done\":true,\"status\":200,\"messages\":1}\n",
    ));
    let lines: Vec<Line> = open(&home(&directory), &inbox(), Some(LIMIT)).unwrap().collect::<Result<_, _>>().unwrap();
    let [message, last] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!((message.status, last.status), (None, Some(Status::Delivered)));
    assert_eq!(message.parse::<InboxLine>().unwrap().from.as_str(), "bob");
}

#[test]
fn refusal_is_told_with_its_status_and_reason() {
    let (directory, _daemon) = daemon("{\"done\":true,\"status\":503,\"error\":\"no session\"}\n");
    let line = ask(&home(&directory), &send(), LIMIT).unwrap();
    let ClientError::Refused { status, refusal } = line.done::<SendAnswer>().unwrap_err() else { panic!("{line:?}") };
    assert_eq!((status, refusal.error.as_str()), (Status::Unavailable, "no session"));
}

#[test]
fn answer_without_a_last_line_is_broken() {
    let (directory, _daemon) = daemon("{\"from\":\"bob\"}\n{\"do");
    let error = ask(&home(&directory), &inbox(), LIMIT).unwrap_err();
    assert!(matches!(error, ClientError::Broken(_)), "{error}");
}

#[test]
fn silent_daemon_is_given_up_at_the_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(directory.path().join("control.sock")).unwrap();
    let error = ask(&home(&directory), &Request::Status, Duration::from_millis(20)).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut(_)), "{error}");
}

#[test]
fn missing_daemon_is_told_from_a_silent_one() {
    let directory = tempfile::tempdir().unwrap();
    let error = ask(&home(&directory), &Request::Status, LIMIT).unwrap_err();
    assert!(matches!(error, ClientError::NoDaemon { .. }), "{error}");
}
