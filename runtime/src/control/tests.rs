use std::path::Path;
use std::time::Duration;

use kith_common::id::{MessageId, Name};
use kith_common::wire::content::Choice;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::peer::{Body, Content, Id, PingEcho, PingLine, ReadAnswer, Request, Series, explain};
use super::server::{CONNECTIONS_MAX, ControlRequest, REQUESTS_MAX, Reply, serve};
use super::*;

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

#[test]
fn requests_are_as_documented() {
    let table = [
        (Request::Status, r#"{"verb":"status"}"#),
        (Request::Lookup { name: name("bob") }, r#"{"verb":"lookup","name":"bob"}"#),
        (
            Request::Send { name: name("bob"), body: Body::Text("hi".into()), ttl_s: None, wait_ms: None },
            r#"{"verb":"send","name":"bob","text":"hi"}"#,
        ),
        (
            Request::Send { name: name("bob"), body: Body::Data(vec![0, 255]), ttl_s: None, wait_ms: None },
            r#"{"verb":"send","name":"bob","data":"00ff"}"#,
        ),
        (
            Request::Send { name: name("bob"), body: Body::Text("hi".into()), ttl_s: Some(0), wait_ms: Some(500) },
            r#"{"verb":"send","name":"bob","text":"hi","ttl_s":0,"wait_ms":500}"#,
        ),
        (Request::Outbox, r#"{"verb":"outbox"}"#),
        (Request::Pins { name: None, after: Some(name("bob")) }, r#"{"verb":"pins","after":"bob"}"#),
        (Request::Unpin { name: name("bob") }, r#"{"verb":"unpin","name":"bob"}"#),
        (
            Request::TakeBack { id: Id(MessageId([1; 16])) },
            r#"{"verb":"take_back","id":"01010101010101010101010101010101"}"#,
        ),
        (Request::Fate { id: Id(MessageId([1; 16])) }, r#"{"verb":"fate","id":"01010101010101010101010101010101"}"#),
        (Request::Inbox { follow: true, from: None }, r#"{"verb":"inbox","follow":true,"from":null}"#),
        (Request::Read { sequences: vec![7] }, r#"{"verb":"read","sequences":[7]}"#),
        (
            Request::Call {
                name: name("bob"),
                function: "echo".into(),
                arguments: vec![Content("a".into())],
                timeout_ms: Some(5_000),
                id: None,
            },
            r#"{"verb":"call","name":"bob","function":"echo","arguments":["a"],"timeout_ms":5000}"#,
        ),
        (
            Request::Call {
                name: name("bob"),
                function: "time".into(),
                arguments: vec![],
                timeout_ms: None,
                id: Some(Id(MessageId([1; 16]))),
            },
            r#"{"verb":"call","name":"bob","function":"time","arguments":[],"id":"01010101010101010101010101010101"}"#,
        ),
        (Request::Ping { name: name("bob"), series: Series::default() }, r#"{"verb":"ping","name":"bob"}"#),
        (
            Request::Ping {
                name: name("bob"),
                series: Series { count: Some(5), interval_ms: Some(50), size: Some(64), timeout_ms: Some(2_000) },
            },
            r#"{"verb":"ping","name":"bob","count":5,"interval_ms":50,"size":64,"timeout_ms":2000}"#,
        ),
        (
            Request::EndPings { series: Id(MessageId([1; 16])) },
            r#"{"verb":"end_pings","series":"01010101010101010101010101010101"}"#,
        ),
        (
            Request::Forward { at: "8080".into(), to: "bob:80".into() },
            r#"{"verb":"forward","at":"8080","to":"bob:80"}"#,
        ),
        (Request::Expose { rule: "22 for alice".into() }, r#"{"verb":"expose","rule":"22 for alice"}"#),
        (Request::Tunnels, r#"{"verb":"tunnels"}"#),
        (Request::Peers { after: None }, r#"{"verb":"peers","after":null}"#),
        (Request::Similar { name: name("bob") }, r#"{"verb":"similar","name":"bob"}"#),
        (Request::Logout, r#"{"verb":"logout"}"#),
    ];
    for (request, text) in table {
        assert_eq!(json(&request), text);
        assert_eq!(serde_json::from_str::<Request>(text).unwrap(), request);
    }
    assert_eq!(
        serde_json::from_str::<Request>(r#"{"verb":"inbox"}"#).unwrap(),
        Request::Inbox { follow: false, from: None }
    );
}

#[test]
fn lines_of_a_series_of_pings_are_as_documented() {
    let echo =
        PingEcho { name: name("bob"), seq: 3, bytes: 64, rtt_us: 410, duplicate: false, reordered: true, late: false };
    let table = [
        (
            PingLine::Begun { series: Id(MessageId([1; 16])) },
            r#"{"event":"begun","series":"01010101010101010101010101010101"}"#,
        ),
        (
            PingLine::Answer(echo),
            r#"{"event":"answer","name":"bob","seq":3,"bytes":64,"rtt_us":410,"duplicate":false,"reordered":true,"late":false}"#,
        ),
        (
            PingLine::Trouble { status: 410, reason: "gone".into() },
            r#"{"event":"trouble","status":410,"reason":"gone"}"#,
        ),
    ];
    for (line, text) in table {
        assert_eq!(json(&line), text);
        assert_eq!(serde_json::from_str::<PingLine>(text).unwrap(), line);
    }
}

#[test]
fn content_of_messages_is_not_printed() {
    let send = Request::Send { name: name("bob"), body: Body::Text("sesame".into()), ttl_s: None, wait_ms: None };
    let arguments = vec![Content("sesame".into())];
    let call = Request::Call { name: name("bob"), function: "f".into(), arguments, timeout_ms: None, id: None };
    assert!(!format!("{send:?} {call:?}").contains("sesame"));
}

#[test]
fn body_of_control_characters_is_sent_as_digits() {
    let long = Body::of(vec![1; 56 * 1024]).compact();
    assert!(
        json(&Request::Send { name: name("bob"), body: long, ttl_s: None, wait_ms: None }).len() < REQUEST_BYTES_MAX
    );
    assert_eq!(Body::of(b"two\nlines, three".to_vec()).compact(), Body::Text("two\nlines, three".into()));
    assert_eq!(Body::of(b"a\nb\nc\n".to_vec()).compact(), Body::Text("a\nb\nc\n".into()), "short lines stay readable");
    let fewer = |text: &str| {
        let (text, data) = (Body::Text(text.into()), Body::Data(text.into()));
        let len = |body: &Body| serde_json::to_string(body).unwrap().len();
        if len(&data) < len(&text) { data } else { text }
    };
    // Of every character that JSON may write differently, more and more among letters.
    for c in (0..0x100).filter_map(char::from_u32) {
        for count in 0..5 {
            let text: String = "ab".chars().chain(std::iter::repeat_n(c, count)).collect();
            assert_eq!(Body::Text(text.clone()).compact(), fewer(&text), "{text:?}");
        }
    }
    assert_eq!(Body::of(vec![255]), Body::Data(vec![255]));
}

#[test]
fn last_line_has_its_status_first_and_then_the_answers_keys() {
    let done = Done { done: true, status: Status::Delivered, answer: ReadAnswer { removed: 2 } };
    assert_eq!(json(&done), r#"{"done":true,"status":200,"removed":2}"#);
    assert_eq!(serde_json::from_str::<Done<ReadAnswer>>(&json(&done)).unwrap(), done);
    assert!(serde_json::from_str::<Done<ReadAnswer>>(r#"{"done":true,"status":299,"removed":2}"#).is_err());
}

#[test]
fn every_choice_is_explained_in_words() {
    let words = |choice| explain(Some(choice), &name("heidi"));
    assert_eq!(words(Choice::KnowsDestination), ("knows_destination", "it has a link to heidi".into()));
    assert_eq!(
        words(Choice::NearestBall(287)),
        ("nearest_ball", "its neighbours come nearest to heidi: about 2.8 hops from here".into())
    );
}

struct Served {
    directory: tempfile::TempDir,
    requests: mpsc::Receiver<ControlRequest<Request>>,
    _server: tokio::task::JoinHandle<()>,
}

impl Served {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("s")).unwrap();
        let (driver, requests) = mpsc::channel(REQUESTS_MAX);
        Self { directory, requests, _server: tokio::spawn(serve(listener, driver)) }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.path().join("s")).await.unwrap()
    }

    async fn ask(&self, line: &[u8]) -> UnixStream {
        let mut stream = self.connect().await;
        stream.write_all(line).await.unwrap();
        stream
    }

    async fn reply(&mut self) -> Reply {
        self.requests.recv().await.unwrap().reply
    }
}

async fn all(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    // A server that did not read all of a request resets the connection after its answer.
    if let Err(error) = stream.read_to_end(&mut bytes).await {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn answer_is_the_drivers_lines_in_order() {
    let mut served = Served::new();
    let mut stream = served.ask(b"{\"verb\":\"status\"}\n").await;
    let ControlRequest { request, reply } = served.requests.recv().await.unwrap();
    assert_eq!(request, Request::Status);
    reply.line(&1).await.unwrap();
    reply.line(&2).await.unwrap();
    reply.finish(Status::Delivered, &ReadAnswer { removed: 0 });
    assert_eq!(all(&mut stream).await, "1\n2\n{\"done\":true,\"status\":200,\"removed\":0}\n");
}

#[tokio::test]
async fn asker_that_closed_its_sending_side_is_answered_still() {
    let mut served = Served::new();
    let mut stream = served.ask(b"{\"verb\":\"status\"}").await;
    stream.shutdown().await.unwrap();
    served.reply().await.refuse(Status::NotFound, "nobody", Some("look again".into()));
    let expected = "{\"done\":true,\"status\":404,\"error\":\"nobody\",\"hint\":\"look again\"}\n";
    assert_eq!(all(&mut stream).await, expected);
}

#[tokio::test]
async fn many_requests_of_one_connection_are_answered_in_any_order() {
    let mut served = Served::new();
    let asked = b"{\"request\":1,\"verb\":\"status\"}\n{\"request\":2,\"verb\":\"inbox\"}\n{\"request\":3,\"verb\":\"dance\"}\n";
    let stream = served.ask(asked).await;
    let (first, second) = (served.reply().await, served.reply().await);
    let (mut reading, mut writing) = stream.into_split();
    let mut lines = BufReader::new(&mut reading).lines();
    let refused = lines.next_line().await.unwrap().unwrap();
    assert!(refused.starts_with("{\"request\":3,\"done\":true,\"status\":400,\"error\""), "{refused}");
    second.line(&ReadAnswer { removed: 5 }).await.unwrap();
    second.finish(Status::Delivered, &ReadAnswer { removed: 0 });
    first.finish(Status::NotLoggedIn, &ReadAnswer { removed: 9 });
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(lines.next_line().await.unwrap().unwrap());
    }
    told.sort();
    let expected = [
        "{\"request\":1,\"done\":true,\"status\":401,\"removed\":9}",
        "{\"request\":2,\"done\":true,\"status\":200,\"removed\":0}",
        "{\"request\":2,\"removed\":5}",
    ];
    assert_eq!(told, expected);
    writing.write_all(b"{\"request\":4,\"verb\":\"status\"}\n").await.unwrap();
    writing.shutdown().await.unwrap();
    drop(served.reply().await);
    let last = lines.next_line().await.unwrap().unwrap();
    assert!(last.starts_with("{\"request\":4,\"done\":true,\"status\":500"), "{last}");
    assert_eq!(lines.next_line().await.unwrap(), None, "all is answered");
}

#[tokio::test]
async fn asker_of_many_things_that_hangs_up_is_gone_for_all_of_them() {
    let mut served = Served::new();
    let stream = served.ask(b"{\"request\":1,\"verb\":\"status\"}\n{\"request\":2,\"verb\":\"status\"}\n").await;
    let (first, second) = (served.reply().await, served.reply().await);
    drop(stream);
    first.hung_up().await;
    second.hung_up().await;
}

#[tokio::test]
async fn one_connection_may_have_so_many_requests_at_once_and_the_next_is_read_later() {
    let mut served = Served::new();
    let asked = (0..=server::many::AT_ONCE_MAX).map(|n| format!("{{\"request\":{n},\"verb\":\"status\"}}\n"));
    let stream = served.ask(asked.collect::<String>().as_bytes()).await;
    let mut replies = Vec::new();
    for _ in 0..server::many::AT_ONCE_MAX {
        replies.push(served.reply().await);
    }
    let more = tokio::time::timeout(Duration::from_millis(50), served.requests.recv()).await;
    assert!(more.is_err(), "one more is not read");
    replies.pop().unwrap().finish(Status::Delivered, &ReadAnswer { removed: 0 });
    served.reply().await;
    drop(stream);
}

#[tokio::test]
async fn driver_learns_that_the_asker_hung_up() {
    let mut served = Served::new();
    let stream = served.ask(b"{\"verb\":\"inbox\",\"follow\":true}\n").await;
    let reply = served.reply().await;
    drop(stream);
    reply.hung_up().await;
    assert_eq!(reply.line(&1).await, Err(server::HungUp));
}

#[tokio::test]
async fn request_that_the_driver_drops_is_answered_500() {
    let mut served = Served::new();
    let mut stream = served.ask(b"{\"verb\":\"status\"}\n").await;
    drop(served.reply().await);
    assert!(all(&mut stream).await.starts_with("{\"done\":true,\"status\":500,"));
}

#[tokio::test]
async fn malformed_and_oversized_requests_are_refused_with_their_status() {
    let served = Served::new();
    let mut unknown = served.ask(b"{\"verb\":\"dance\"}\n").await;
    assert!(
        all(&mut unknown).await.starts_with("{\"done\":true,\"status\":400,\"error\":\"not a request: unknown variant")
    );
    let mut stream = served.connect().await;
    // The server may stop reading in the middle.
    let _ = stream.write_all(&vec![b' '; REQUEST_BYTES_MAX + 1]).await;
    assert!(all(&mut stream).await.starts_with("{\"done\":true,\"status\":413,"));
    let mut longest = vec![b' '; REQUEST_BYTES_MAX - 1];
    longest.extend_from_slice(b"\n\n");
    assert!(all(&mut served.ask(&longest).await).await.starts_with("{\"done\":true,\"status\":400,"));
}

#[tokio::test(start_paused = true)]
async fn asker_that_sends_nothing_is_hung_up_on() {
    let served = Served::new();
    let mut stream = served.connect().await;
    assert!(all(&mut stream).await.starts_with("{\"done\":true,\"status\":408,"));
}

#[tokio::test(start_paused = true)]
async fn asker_that_reads_late_gets_every_line() {
    let mut served = Served::new();
    let mut stream = served.ask(b"{\"verb\":\"inbox\",\"follow\":true}\n").await;
    let reply = served.reply().await;
    // Far more than the socket's buffers hold, so that the server has to wait for its reader.
    let line = "x".repeat(64 * 1024);
    let written = line.clone();
    let lines = tokio::spawn(async move {
        for _ in 0..64 {
            reply.line(&written).await.unwrap();
        }
        reply.finish(Status::Delivered, &ReadAnswer { removed: 0 });
    });
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let text = all(&mut stream).await;
    lines.await.unwrap();
    assert_eq!(text.lines().filter(|told| told.len() == line.len() + 2).count(), 64);
    assert!(text.ends_with("{\"done\":true,\"status\":200,\"removed\":0}\n"));
}

#[tokio::test]
async fn one_asker_too_many_is_told_429_and_the_others_are_not_disturbed() {
    let mut served = Served::new();
    let mut askers = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        askers.push(served.ask(b"{\"verb\":\"status\"}\n").await);
        // Taken one by one, so that none waits for the driver.
        let reply = served.reply().await;
        tokio::spawn(async move {
            reply.hung_up().await;
        });
    }
    let mut extra = served.connect().await;
    assert!(all(&mut extra).await.starts_with("{\"done\":true,\"status\":429,"));
    askers.pop();
    // Its place is free once the server has noticed.
    for _ in 0..1000 {
        let mut stream = served.connect().await;
        if stream.write_all(b"{\"verb\":\"login\"}\n").await.is_ok() {
            let request = tokio::time::timeout(Duration::from_millis(50), served.requests.recv()).await;
            if let Ok(Some(ControlRequest { request: Request::Login, .. })) = request {
                return;
            }
        }
    }
    panic!("the place was never free again");
}

#[tokio::test]
async fn request_beyond_the_drivers_queue_is_told_429() {
    let served = Served::new();
    let mut waiting = Vec::new();
    for _ in 0..REQUESTS_MAX {
        waiting.push(served.ask(b"{\"verb\":\"status\"}\n").await);
    }
    // Askers are served concurrently: whichever request came last is the one that is refused.
    let extra = served.ask(b"{\"verb\":\"status\"}\n").await;
    waiting.push(extra);
    let answers = waiting.into_iter().map(|stream| {
        Box::pin(async move {
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).await.unwrap();
            line
        })
    });
    let mut answers: Vec<_> = answers.collect();
    let first = std::future::poll_fn(|context| {
        answers
            .iter_mut()
            .find_map(|answer| match answer.as_mut().poll(context) {
                std::task::Poll::Ready(line) => Some(std::task::Poll::Ready(line)),
                std::task::Poll::Pending => None,
            })
            .unwrap_or(std::task::Poll::Pending)
    });
    assert!(first.await.starts_with("{\"done\":true,\"status\":429,\"error\":\"the daemon is busy\""));
}
