//! Talks to the daemons through their control sockets.
//!
//! One request is one JSON line on a connection of its own; the answer is one or more lines, the last of which has
//! `"done": true` and a status. The answers' types here name only what the lab looks at: a key that a daemon leaves
//! out, or answers with `null`, has its type's default.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A question to a daemon had no answer; what it asked for may or may not have happened
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens at the socket: the daemon is not running, or not yet
    #[error("no daemon answers at {}: {error}", path.display())]
    Closed {
        /// The socket
        path: PathBuf,
        /// Why not
        error: std::io::Error,
    },
    /// The connection ended or fell silent before the last line
    #[error("no whole answer to {verb} within {:.1} s: {error}", limit.as_secs_f64())]
    Cut {
        /// What was asked
        verb: String,
        /// How long was waited at most
        limit: Duration,
        /// Why it ended
        error: std::io::Error,
    },
    /// A line of the answer is not what it should be
    #[error("the answer to {verb} cannot be read: {reason}")]
    Unreadable {
        /// What was asked
        verb: String,
        /// What is wrong with it
        reason: String,
    },
    /// The daemon refused, and says why
    #[error("{verb}: {status} {reason}")]
    Refused {
        /// What was asked
        verb: String,
        /// A code of the status table
        status: u16,
        /// The daemon's words
        reason: String,
    },
}

/// An answer holds at most this much: an in-box of 64 MiB as text, with room for its frame
const ANSWER_BYTES_MAX: u64 = 160 << 20;
/// Messages that a daemon removes at one request
const READ_MAX: usize = 1_024;

/// A daemon's control socket
#[derive(Clone, Debug)]
pub struct Control {
    home: PathBuf,
}

/// A whole answer
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Every line but the last
    pub lines: Vec<Value>,
    /// The last line, and each earlier line's keys that it lacks
    pub done: Map<String, Value>,
}

impl Control {
    /// The socket of the daemon with this home; nothing is opened before a request
    pub fn of(home: &Path) -> Self {
        Self { home: home.to_owned() }
    }

    /// Where the daemon listens: a path too long for a socket is replaced by a short one, which `control.path` tells
    pub fn path(&self) -> PathBuf {
        let told = std::fs::read_to_string(self.home.join("control.path")).ok();
        let told = told.map(|path| PathBuf::from(path.trim())).filter(|path| path.is_absolute());
        told.unwrap_or_else(|| self.home.join("control.sock"))
    }

    /// Sends `request` and waits for the whole answer, `limit` in all
    ///
    /// # Errors
    /// The daemon could not be asked, or did not answer in time; a status of failure is no error here.
    pub fn ask(&self, request: &Value, limit: Duration) -> Result<Answer, ControlError> {
        let verb = request.get("verb").and_then(Value::as_str).unwrap_or_default().to_owned();
        let path = self.path();
        let deadline = Instant::now() + limit;
        let cut = |error| ControlError::Cut { verb: verb.clone(), limit, error };
        let mut stream = UnixStream::connect(&path).map_err(|error| ControlError::Closed { path, error })?;
        stream.set_write_timeout(Some(limit)).map_err(cut)?;
        if let Err(error) = stream.write_all(format!("{request}\n").as_bytes())
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            return Err(cut(error));
        }
        // A daemon with too many askers hangs up before it reads, and its word is in the socket then.
        let mut lines = BufReader::new(stream.take(ANSWER_BYTES_MAX));
        let mut answer = Answer::default();
        loop {
            let line = read_line(&mut lines, deadline).map_err(cut)?;
            let unreadable = |reason: String| ControlError::Unreadable { verb: verb.clone(), reason };
            let value: Value = serde_json::from_str(&line).map_err(|error| unreadable(error.to_string()))?;
            let Value::Object(object) = value else { return Err(unreadable("not an object".into())) };
            if object.get("done").and_then(Value::as_bool) == Some(true) {
                answer.finish(object);
                return Ok(answer);
            }
            answer.lines.push(Value::Object(object));
        }
    }

    /// How the daemon is
    ///
    /// # Errors
    /// As [`Self::ask`]. A daemon without a session answers with 503, which is an answer like any other here.
    pub fn status(&self, limit: Duration) -> Result<StatusAnswer, ControlError> {
        self.ask(&json!({"verb": "status"}), limit)?.read("status")
    }

    /// The peer's links
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn neighbours(&self, limit: Duration) -> Result<NeighboursAnswer, ControlError> {
        self.ask(&json!({"verb": "neighbours"}), limit)?.read("neighbours")
    }

    /// Sends a message and waits for its fate
    ///
    /// # Errors
    /// As [`Self::ask`]: the message has a fate, but it is not known here.
    pub fn send(&self, to: &str, text: &str, limit: Duration) -> Result<SendAnswer, ControlError> {
        self.ask(&json!({"verb": "send", "name": to, "text": text}), limit)?.read("send")
    }

    /// The unread messages, oldest first; they stay in the in-box
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn inbox(&self, limit: Duration) -> Result<Vec<InboxLine>, ControlError> {
        let answer = self.ask(&json!({"verb": "inbox"}), limit)?;
        answer.lines.into_iter().map(|line| read(line, "inbox")).collect()
    }

    /// The unread messages, oldest first, which leave the in-box
    ///
    /// # Errors
    /// As [`Self::ask`], and if the daemon refuses to remove them; some may be removed then.
    pub fn take_inbox(&self, limit: Duration) -> Result<Vec<InboxLine>, ControlError> {
        let inbox = self.inbox(limit)?;
        for lines in inbox.chunks(READ_MAX) {
            let sequences: Vec<u64> = lines.iter().map(|line| line.sequence).collect();
            let answer = self.ask(&json!({"verb": "read", "sequences": sequences}), limit)?;
            if answer.status() >= 300 {
                let (verb, status, reason) = ("read".to_owned(), answer.status(), answer.reason());
                return Err(ControlError::Refused { verb, status, reason });
            }
        }
        Ok(inbox)
    }

    /// Where `name` is
    ///
    /// # Errors
    /// As [`Self::ask`]; a name that is not found is an answer with that status.
    pub fn lookup(&self, name: &str, limit: Duration) -> Result<LookupAnswer, ControlError> {
        self.ask(&json!({"verb": "lookup", "name": name}), limit)?.read("lookup")
    }

    /// The way to `name`, hop by hop
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn trace(&self, name: &str, limit: Duration) -> Result<TraceAnswer, ControlError> {
        self.ask(&json!({"verb": "trace", "name": name}), limit)?.read("trace")
    }

    /// The peers that a supernode knows
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn peers(&self, limit: Duration) -> Result<PeersAnswer, ControlError> {
        self.ask(&json!({"verb": "peers"}), limit)?.read("peers")
    }
}

impl Answer {
    /// The status code; 0 when the answer has none
    pub fn status(&self) -> u16 {
        self.done.get("status").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok()).unwrap_or(0)
    }

    /// Why it is not as was asked; empty when it is
    pub fn reason(&self) -> String {
        self.done.get("reason").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn finish(&mut self, done: Map<String, Value>) {
        self.done = done;
        for line in self.lines.iter().filter_map(Value::as_object) {
            for (key, value) in line {
                self.done.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        // A request that could not even be tried has an error in place of its verb's own keys.
        if let Some(error) = self.done.get("error").cloned() {
            self.done.entry("reason").or_insert(error);
        }
    }

    /// The answer as a `T`
    ///
    /// # Errors
    /// A key has a value of another type than expected.
    pub fn read<T: DeserializeOwned>(self, verb: &str) -> Result<T, ControlError> {
        read(Value::Object(self.done), verb)
    }
}

/// An object of an answer, where a key with `null` counts as left out
pub(crate) fn read<T: DeserializeOwned>(mut value: Value, verb: &str) -> Result<T, ControlError> {
    drop_nulls(&mut value);
    let unreadable =
        |error: serde_json::Error| ControlError::Unreadable { verb: verb.to_owned(), reason: error.to_string() };
    serde_json::from_value(value).map_err(unreadable)
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            object.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// A line without its end, read before `deadline`
fn read_line(lines: &mut BufReader<std::io::Take<UnixStream>>, deadline: Instant) -> std::io::Result<String> {
    let mut line = Vec::new();
    loop {
        // The timeout is for one read, and a line may come in many.
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        lines.get_ref().get_ref().set_read_timeout(Some(left))?;
        let chunk = match lines.fill_buf() {
            Ok([]) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(chunk) => chunk,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return Err(std::io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        };
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(chunk.len());
        line.extend(chunk.iter().take(taken));
        lines.consume(taken + usize::from(end.is_some()));
        if end.is_some() {
            return String::from_utf8(line).map_err(|_| std::io::ErrorKind::InvalidData.into());
        }
        if Instant::now() >= deadline {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
    }
}

/// One text or several
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum Texts {
    /// One
    One(String),
    /// Any number
    Many(Vec<String>),
}

impl Default for Texts {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Texts {
    /// The first one
    pub fn first(&self) -> Option<&str> {
        match self {
            Self::One(text) => Some(text),
            Self::Many(texts) => texts.first().map(String::as_str),
        }
    }
}

/// The answer to `status`, of a peer or a supernode
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StatusAnswer {
    /// A code of the status table
    pub status: u16,
    /// `logged_in`, `searching`, `joining` or `logged_out`
    pub state: String,
    /// Why it is in that state
    pub reason: String,
    /// Its place on the ring
    pub address: String,
    /// The network's id
    pub network: String,
    /// Of the table it works with
    pub epoch: u64,
    /// How many members the ring has
    pub members: u64,
    /// Links that are up
    pub links_up: u64,
    /// Links that it should have
    pub links: u64,
    /// Messages that nobody has read yet
    pub inbox_messages: u64,
    /// The daemon's pid
    pub pid: u32,
    /// Where it listens
    pub listen: Texts,
}

impl StatusAnswer {
    /// Whether it has a session
    pub fn is_logged_in(&self) -> bool {
        self.state == "logged_in"
    }
}

/// The answer to `neighbours`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NeighboursAnswer {
    /// Of the table it works with
    pub epoch: u64,
    /// Every link there is or should be
    pub neighbours: Vec<Neighbour>,
}

/// One link
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Neighbour {
    /// The other end's name
    pub name: String,
    /// The other end's place on the ring
    pub address: String,
    /// `up`, `dialling`, `down` or `leaving`
    pub state: String,
    /// Why it is in that state
    pub reason: String,
    /// Round-trip time in microseconds
    pub rtt_us: u64,
    /// Bytes received on this link
    pub bytes_in: u64,
    /// Bytes sent on this link
    pub bytes_out: u64,
}

impl Neighbour {
    /// Whether packets can take this link
    pub fn is_up(&self) -> bool {
        self.state == "up"
    }
}

/// The answer to `send`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct SendAnswer {
    /// The message's fate: a code of the status table
    pub status: u16,
    /// The message's id
    pub id: String,
    /// Hops that the message took
    pub hops: u64,
    /// The names along its way, both ends included
    pub path: Vec<String>,
    /// Whether a supernode carried it
    pub relayed: bool,
    /// From the request to the fate, in microseconds
    pub elapsed_us: u64,
    /// How often it was sent; 1 when the first try arrived
    pub attempts: u64,
    /// Why it has this fate
    pub reason: String,
}

impl SendAnswer {
    /// Whether the message is on the receiver's disk
    pub fn is_delivered(&self) -> bool {
        self.status == 200
    }

    /// `alice → carol → heidi`
    pub fn way(&self) -> String {
        self.path.join(" → ")
    }
}

/// One message of an in-box
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct InboxLine {
    /// Its number in the in-box
    pub sequence: u64,
    /// The message's id
    pub id: String,
    /// The sender's name
    pub from: String,
    /// What it says
    pub text: String,
}

/// The answer to `lookup`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LookupAnswer {
    /// A code of the status table
    pub status: u16,
    /// The name's place on the ring
    pub address: String,
    /// Whether it comes from memory, with no supernode to ask
    pub stale: bool,
    /// `supernode`, `neighbours` or `memory`
    pub source: String,
}

/// The answer to `trace`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TraceAnswer {
    /// A code of the status table
    pub status: u16,
    /// Every peer on the way
    pub hops: Vec<TraceHop>,
}

/// One peer on the way
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TraceHop {
    /// Its name
    pub name: String,
    /// Its place on the ring
    pub address: String,
    /// Round-trip time from the source, in microseconds
    pub rtt_us: u64,
    /// Why it was chosen
    pub reason: String,
}

/// A supernode's answer to `peers`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PeersAnswer {
    /// Of the last change of the ring
    pub epoch: u64,
    /// Everybody with a session
    pub peers: Vec<PeerLine>,
}

/// One peer as its supernode sees it
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PeerLine {
    /// Its name
    pub name: String,
    /// Its place on the ring
    pub address: String,
    /// How it stands: logged_in, suspect, logged_out
    pub state: String,
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A daemon that answers one request with `answer` and then hangs up
    fn daemon(answer: &'static str) -> (tempfile::TempDir, thread::JoinHandle<String>) {
        let home = tempfile::tempdir().expect("dir");
        let listener = UnixListener::bind(home.path().join("control.sock")).expect("bind");
        let daemon = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut request = String::new();
            BufReader::new(stream.try_clone().expect("clone")).read_line(&mut request).expect("request");
            stream.write_all(answer.as_bytes()).expect("answer");
            request
        });
        (home, daemon)
    }

    #[test]
    fn send_is_one_line_and_its_answer_is_read() {
        let (home, daemon) = daemon(
            "{\"done\":true,\"status\":200,\"hops\":2,\"path\":[\"alice\",\"bob\",\"heidi\"],\"reason\":null}\n",
        );
        let sent = Control::of(home.path()).send("heidi", "a\nb", LIMIT).expect("answer");
        assert!(sent.is_delivered());
        assert_eq!(sent.way(), "alice → bob → heidi");
        let request = daemon.join().expect("daemon");
        assert_eq!(request.matches('\n').count(), 1);
        let request: Value = serde_json::from_str(&request).expect("json");
        assert_eq!(request, json!({"verb": "send", "name": "heidi", "text": "a\nb"}));
    }

    #[test]
    fn inbox_is_every_line_but_the_last() {
        let (home, _daemon) =
            daemon("{\"from\":\"bob\",\"text\":\"x\"}\n{\"from\":\"eve\"}\n{\"done\":true,\"status\":200}\n");
        let inbox = Control::of(home.path()).inbox(LIMIT).expect("answer");
        assert_eq!(inbox.iter().map(|line| line.from.as_str()).collect::<Vec<_>>(), ["bob", "eve"]);
    }

    #[test]
    fn refusal_is_read_as_an_answer_with_its_reason() {
        let (home, _daemon) = daemon("{\"done\":true,\"status\":503,\"error\":\"no session\"}\n");
        let sent = Control::of(home.path()).send("heidi", "hello", LIMIT).expect("answer");
        assert_eq!((sent.status, sent.reason.as_str()), (503, "no session"));
    }

    #[test]
    fn answer_without_a_last_line_is_cut() {
        let (home, _daemon) = daemon("{\"from\":\"bob\"}\n{\"do");
        let error = Control::of(home.path()).inbox(LIMIT).expect_err("cut");
        assert!(matches!(error, ControlError::Cut { .. }), "{error}");
    }

    #[test]
    fn silent_daemon_is_given_up_at_the_deadline() {
        let home = tempfile::tempdir().expect("dir");
        let _listener = UnixListener::bind(home.path().join("control.sock")).expect("bind");
        let error = Control::of(home.path()).status(Duration::from_millis(20)).expect_err("silent");
        assert!(matches!(error, ControlError::Cut { .. }), "{error}");
    }

    #[test]
    fn missing_daemon_is_told_from_a_silent_one() {
        let home = tempfile::tempdir().expect("dir");
        let error = Control::of(home.path()).status(LIMIT).expect_err("nobody");
        assert!(matches!(error, ControlError::Closed { .. }), "{error}");
    }

    #[test]
    fn socket_is_where_the_daemon_says() {
        let home = tempfile::tempdir().expect("dir");
        let control = Control::of(home.path());
        assert_eq!(control.path(), home.path().join("control.sock"));
        std::fs::write(home.path().join("control.path"), "/run/kith/abc.sock\n").expect("write");
        assert_eq!(control.path(), Path::new("/run/kith/abc.sock"));
    }

    #[test]
    fn listening_address_is_read_as_one_or_as_several() {
        for text in [r#"{"listen":"/ip4/1.2.3.4/tcp/1"}"#, r#"{"listen":["/ip4/1.2.3.4/tcp/1"]}"#] {
            let status: StatusAnswer = serde_json::from_str(text).expect("json");
            assert_eq!(status.listen.first(), Some("/ip4/1.2.3.4/tcp/1"));
        }
    }
}
