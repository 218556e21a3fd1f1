//! The answering side: connections in, requests to a driver, its lines back.
//!
//! The driver owns the state and gets [`ControlRequest`]s over a bounded channel. It answers through the [`Reply`] that
//! comes with each: at once and without waiting by [`Reply::finish`], or line by line from a task of its own.
//!
//! A connection whose first request has a number is for many of them (`many`); every other one is for one, and may be handed over
//! as it is behind the last line ([`Reply::finish_and_pass`]): its bytes are a pipe's from then on.

pub(crate) mod many;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use kith_common::status::Status;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Done, REQUEST_BYTES_MAX, Refusal};

/// Askers at once: a quarter of the descriptors that a process usually has, and five seconds of a message every 20 ms; one
/// more is told 429
pub(crate) const CONNECTIONS_MAX: usize = 256;

/// Requests that wait for the driver, which answers thousands a second; one more is told 429
pub(crate) const REQUESTS_MAX: usize = 128;

/// Lines of one answer that wait for the asker
const LINES_MAX: usize = 16;

/// Requests longer than that are read one at a time: with [`CONNECTIONS_MAX`] short ones they hold 100 MiB
const SHORT_BYTES_MAX: usize = 256 * 1024;

/// In which a request must have come; how long an asker takes to read the answer is its own affair
const PATIENCE: Duration = Duration::from_secs(5);

/// How often to look whether an asker that closed its sending side is still there
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A request, and where its answer goes
#[derive(Debug)]
pub struct ControlRequest<R> {
    /// What is asked for
    pub request: R,
    /// Dropped without [`Reply::finish`], the asker is told 500
    pub reply: Reply,
}

/// Where an answer goes
#[derive(Debug)]
pub struct Reply {
    lines: mpsc::Sender<String>,
    last: oneshot::Sender<Last>,
    is_alone: bool,
}

/// A connection whose last line is written: what the asker writes from then on, and where it reads
#[derive(Debug)]
pub struct Raw {
    /// Some of it may have been read ahead
    pub reader: BufReader<OwnedReadHalf>,
    pub writer: OwnedWriteHalf,
}

/// The last line, and who is to have the connection behind it, if somebody is
#[derive(Debug)]
struct Last {
    line: String,
    to: Option<oneshot::Sender<Raw>>,
}

/// The asker has hung up; nothing else was changed
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the asker has hung up")]
pub struct HungUp;

/// What a driver answered: the server's end of a [`Reply`], and a test's
#[derive(Debug)]
pub struct Lines {
    lines: mpsc::Receiver<String>,
    last: oneshot::Receiver<Last>,
    passed_to: Option<oneshot::Sender<Raw>>,
}

impl Reply {
    /// A reply and what comes out of it
    pub fn channel() -> (Self, Lines) {
        Self::on_connection(true)
    }

    /// … to the only request of its connection, or to one of many
    fn on_connection(is_alone: bool) -> (Self, Lines) {
        let (lines, received) = mpsc::channel(LINES_MAX);
        let (last, receiver) = oneshot::channel();
        (Self { lines, last, is_alone }, Lines { lines: received, last: receiver, passed_to: None })
    }

    /// Sends a line that is not the last; waits while the asker is slow
    ///
    /// # Errors
    /// [`HungUp`]
    pub async fn line(&self, item: &impl Serialize) -> Result<(), HungUp> {
        self.lines.send(to_line(item)).await.map_err(|_| HungUp)
    }

    /// Sends the last line: never waits, and an asker that has hung up does not matter
    pub fn finish(self, status: Status, answer: &impl Serialize) {
        // The asker is gone: there is nobody to tell.
        let _ = self.last.send(Last { line: to_line(&Done { done: true, status, answer }), to: None });
    }

    /// Sends the last line, and then hands the connection over, unless the asker has hung up
    pub fn finish_and_pass(self, status: Status, answer: &impl Serialize) -> oneshot::Receiver<Raw> {
        let (to, raw) = oneshot::channel();
        // The asker is gone: nothing is handed over either.
        let _ = self.last.send(Last { line: to_line(&Done { done: true, status, answer }), to: Some(to) });
        raw
    }

    /// Whether there is no other request on this connection, so that it can be handed over
    pub fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Sends the last line where the request could not be tried
    pub fn refuse(self, status: Status, error: impl Into<String>, hint: Option<String>) {
        self.finish(status, &Refusal { error: error.into(), hint });
    }

    /// Whether the asker has hung up
    pub fn is_gone(&self) -> bool {
        self.last.is_closed()
    }

    /// Returns when the asker has hung up
    pub async fn hung_up(&self) {
        self.lines.closed().await;
    }
}

impl Lines {
    /// The next line, and whether it is the last; 500 if the driver dropped its end
    pub async fn next(&mut self) -> (String, bool) {
        if let Some(line) = self.lines.recv().await {
            return (line, false);
        }
        let last = (&mut self.last).await.unwrap_or_else(|_| {
            let line = refusal(Status::Failed, "the daemon gave up on the request", None);
            Last { line, to: None }
        });
        self.passed_to = last.to;
        (last.line, true)
    }
}

fn to_line(item: &impl Serialize) -> String {
    serde_json::to_string(item).unwrap_or_else(|error| refusal(Status::Failed, &error.to_string(), None))
}

fn refusal(status: Status, error: &str, hint: Option<&str>) -> String {
    let refusal = Refusal { error: error.to_owned(), hint: hint.map(str::to_owned) };
    // Two strings and a number always have a JSON form.
    serde_json::to_string(&Done { done: true, status, answer: refusal }).unwrap_or_default()
}

/// Serves askers until it is dropped, which hangs up on all of them
pub(crate) async fn serve<R>(listener: UnixListener, driver: mpsc::Sender<ControlRequest<R>>)
where
    R: DeserializeOwned + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let long = Arc::new(Semaphore::new(1));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Mostly file descriptors are lacking; they come back when others close theirs.
                tracing::warn!(reason = %error, "control connection not accepted");
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(reason = "too many askers", connections_max = CONNECTIONS_MAX, "control connection refused");
            // Not awaited: the line fits into a new socket's buffer, and nobody may hold up the others.
            let line = refusal(Status::SlowDown, "the daemon has too many askers", Some("try again in a second"));
            let _ = stream.try_write(format!("{line}\n").as_bytes());
            continue;
        };
        let (driver, long) = (driver.clone(), Arc::clone(&long));
        connections.spawn(async move {
            if let Err(error) = answer(stream, driver, &long).await {
                tracing::debug!(reason = %error, "control connection closed");
            }
            drop(place);
        });
    }
}

async fn answer<R: DeserializeOwned + Send + 'static>(
    stream: UnixStream,
    driver: mpsc::Sender<ControlRequest<R>>,
    long: &Semaphore,
) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let (number, request) = read_request(&mut reader, long).await?;
    if number.is_some() {
        return many::answer_all((number, request), reader, writer, driver, long).await;
    }
    let (reply, mut lines) = Reply::channel();
    let sent = request.and_then(|request| hand_over(&driver, ControlRequest { request, reply }));
    if let Err(line) = sent {
        // Not more patience than the request got: this asker never came as far as the driver.
        let written = timeout(PATIENCE, write_line(&mut writer, &line)).await;
        return written.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)));
    }
    loop {
        let (line, is_last) = tokio::select! {
            line = lines.next() => line,
            () = gone(&mut reader, &writer) => return Ok(()),
        };
        write_line(&mut writer, &line).await?;
        if is_last {
            if let Some(to) = lines.passed_to.take() {
                // Whoever was to have it is gone: so is the connection.
                let _ = to.send(Raw { reader, writer });
            }
            return Ok(());
        }
    }
}

type RequestReader = BufReader<OwnedReadHalf>;

/// A request with its number, if it has one; or the line that refuses it
type Numbered<R> = (Option<u64>, Result<R, String>);

/// What a request may say beside what it asks for
#[derive(Deserialize)]
struct Number {
    #[serde(default)]
    request: Option<u64>,
}

async fn read_request<R: DeserializeOwned>(reader: &mut RequestReader, long: &Semaphore) -> io::Result<Numbered<R>> {
    let too_late = || Ok((None, Err(refusal(Status::TimedOut, "no request came", None))));
    let mut line = Vec::new();
    let Ok(read) = timeout(PATIENCE, read_line(reader, SHORT_BYTES_MAX, &mut line)).await else { return too_late() };
    read?;
    let mut _turn = None;
    if line.len() > SHORT_BYTES_MAX && !line.ends_with(b"\n") {
        // Whoever waits for a turn is not to blame for the time that it takes.
        _turn = Some(long.acquire().await);
        let rest = REQUEST_BYTES_MAX - line.len();
        let Ok(read) = timeout(PATIENCE, read_line(reader, rest, &mut line)).await else { return too_late() };
        read?;
    }
    if line.len() > REQUEST_BYTES_MAX && !line.ends_with(b"\n") {
        let error = format!("a request has at most {REQUEST_BYTES_MAX} bytes");
        return Ok((None, Err(refusal(Status::TooLarge, &error, None))));
    }
    let number = serde_json::from_slice(&line).ok().and_then(|Number { request }| request);
    let request = serde_json::from_slice(&line);
    Ok((number, request.map_err(|error| refusal(Status::Malformed, &format!("not a request: {error}"), None))))
}

/// Reads on to the end of the line, or one byte more than `most`
async fn read_line(reader: &mut RequestReader, most: usize, line: &mut Vec<u8>) -> io::Result<()> {
    reader.take(most as u64 + 1).read_until(b'\n', line).await.map(|_| ())
}

fn hand_over<R>(driver: &mpsc::Sender<ControlRequest<R>>, request: ControlRequest<R>) -> Result<(), String> {
    driver.try_send(request).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => {
            refusal(Status::SlowDown, "the daemon is busy", Some("try again in a second"))
        }
        mpsc::error::TrySendError::Closed(_) => refusal(Status::Unavailable, "the daemon is ending", None),
    })
}

/// Returns when the asker has hung up; one that only closed its sending side still waits for its answer.
async fn gone(reader: &mut RequestReader, writer: &OwnedWriteHalf) {
    let mut rest = [0; 256];
    while reader.read(&mut rest).await.is_ok_and(|count| count > 0) {}
    left(writer.as_ref()).await;
}

/// Returns when nobody is at the other end any more
async fn left(stream: &UnixStream) {
    loop {
        let ready = stream.ready(Interest::WRITABLE).await;
        if !ready.is_ok_and(|ready| !ready.is_write_closed()) {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits for as long as the asker is there: somebody may be reading the in-box in a pager
async fn write_line(writer: &mut OwnedWriteHalf, line: &str) -> io::Result<()> {
    let mut text = String::new();
    push_line(&mut text, line);
    writer.write_all(text.as_bytes()).await
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}
