//! The asking side; blocking, as a command line wants it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use kith_common::status::Status;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Done, REQUEST_BYTES_MAX, Refusal};
use crate::home::Home;

/// Within which a daemon answers, unless it was asked to wait for longer: a ping's fate takes 10 s, its relay as long again
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The longest line of an answer: the longest message as hexadecimal digits, and what stands around it
const LINE_BYTES_MAX: u64 = REQUEST_BYTES_MAX as u64;

/// Why there is no answer
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens in that home
    #[error("no daemon runs in {home}")]
    NoDaemon {
        home: String,
        /// What to type
        hint: String,
    },
    /// The daemon of the other kind lives there
    #[error("{home} is the home of a {program}")]
    OtherRole { home: String, program: String },
    /// The request was not sent: a daemon would refuse it
    #[error("the request has {0} bytes, more than {REQUEST_BYTES_MAX}")]
    TooLong(usize),
    /// The daemon may still do what was asked for
    #[error("the daemon did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The daemon ended, or does not speak as it should; it may have done what was asked for
    #[error("the daemon's answer broke off: {0}")]
    Broken(String),
    /// The daemon says that the request could not be tried
    #[error("{status}: {}", refusal.error)]
    Refused {
        /// Never a success
        status: Status,
        /// What the daemon answered
        refusal: Refusal,
    },
    #[error("cannot talk to the daemon: {0}")]
    Io(#[from] io::Error),
}

/// A line of an answer
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// As it came, without its end
    pub text: String,
    /// The status, on the last line
    pub status: Option<Status>,
    /// On a last line that says the request could not be tried
    pub refusal: Option<Refusal>,
}

#[derive(serde::Deserialize)]
struct Head {
    #[serde(default)]
    done: bool,
    status: Option<u16>,
    error: Option<String>,
    hint: Option<String>,
}

impl Line {
    /// Reads a line, which has no end any more
    ///
    /// # Errors
    /// [`ClientError::Broken`] if it is no object, or the last line and has no status.
    pub fn read(text: String) -> Result<Self, ClientError> {
        let head: Head = serde_json::from_str(&text).map_err(malformed)?;
        if !head.done {
            return Ok(Self { text, status: None, refusal: None });
        }
        let status = head.status.and_then(Status::from_code);
        let status = status.ok_or_else(|| ClientError::Broken(format!("{:?} is no status", head.status)))?;
        Ok(Self { text, status: Some(status), refusal: head.error.map(|error| Refusal { error, hint: head.hint }) })
    }

    /// What the line says
    ///
    /// # Errors
    /// [`ClientError::Broken`] if it is not that.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_str(&self.text).map_err(malformed)
    }

    /// What the last line says
    ///
    /// # Errors
    /// [`ClientError::Refused`] if the request could not be tried, [`ClientError::Broken`] if it is something else.
    pub fn done<T: DeserializeOwned>(&self) -> Result<Done<T>, ClientError> {
        match (self.status, &self.refusal) {
            (Some(status), Some(refusal)) => Err(ClientError::Refused { status, refusal: refusal.clone() }),
            _ => self.parse(),
        }
    }
}

fn malformed(error: serde_json::Error) -> ClientError {
    ClientError::Broken(error.to_string())
}

/// The lines of one answer, up to the last one
#[derive(Debug)]
pub struct Answer {
    reader: BufReader<UnixStream>,
    within: Option<Duration>,
    is_over: bool,
}

/// Asks many things over one connection
#[derive(Debug)]
pub struct Asker {
    stream: UnixStream,
}

/// What comes back for an [`Asker`]
#[derive(Debug)]
pub struct Answers {
    reader: BufReader<UnixStream>,
}

/// A connection for many requests at once; what comes back is to be read while more is asked, by another thread
///
/// # Errors
/// [`ClientError`]
pub fn open_many(home: &Home) -> Result<(Asker, Answers), ClientError> {
    let stream = connect(home)?;
    let reader = BufReader::new(stream.try_clone()?);
    Ok((Asker { stream }, Answers { reader }))
}

impl Asker {
    /// Asks for something; every line of its answer has `number`
    ///
    /// # Errors
    /// [`ClientError`]: nothing was asked.
    pub fn ask<R: Serialize>(&mut self, number: u64, request: &R) -> Result<(), ClientError> {
        #[derive(Serialize)]
        struct Numbered<'a, R> {
            request: u64,
            #[serde(flatten)]
            asked: &'a R,
        }
        let line = line_of(&Numbered { request: number, asked: request })?;
        Ok(self.stream.write_all(&line)?)
    }

    /// Nothing more is asked: the answers end with the last one
    ///
    /// # Errors
    /// [`ClientError::Io`]
    pub fn finish(self) -> Result<(), ClientError> {
        Ok(self.stream.shutdown(std::net::Shutdown::Write)?)
    }
}

impl Iterator for Answers {
    type Item = Result<(u64, Line), ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        #[derive(serde::Deserialize)]
        struct Number {
            request: u64,
        }
        let mut text = String::new();
        match self.reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut text) {
            Ok(0) => None,
            Ok(_) if !text.ends_with('\n') => Some(Err(ClientError::Broken("the daemon hung up".into()))),
            Ok(_) => {
                let number = serde_json::from_str::<Number>(&text).map_err(malformed);
                Some(number.and_then(|Number { request }| Ok((request, Line::read(text.trim_end().to_owned())?))))
            }
            Err(error) => Some(Err(ClientError::Io(error))),
        }
    }
}

/// Sends `request`; each line of the answer must come `within` (none: whenever it comes)
///
/// # Errors
/// [`ClientError`]; with all but [`ClientError::Io`] nothing was asked.
pub fn open<R: Serialize>(home: &Home, request: &R, within: Option<Duration>) -> Result<Answer, ClientError> {
    let line = line_of(request)?;
    let mut stream = connect(home)?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    stream.set_read_timeout(within)?;
    if let Err(error) = stream.write_all(&line) {
        // A daemon that has too many askers says so before it reads: its word is in the socket then.
        if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
            return Err(ClientError::Io(error));
        }
    }
    Ok(Answer { reader: BufReader::new(stream), within, is_over: false })
}

/// Sends `request`, whose answer is one line that must come `within`
///
/// # Errors
/// [`ClientError`], but for a refusal, which is a line like any other here.
pub fn ask<R: Serialize>(home: &Home, request: &R, within: Duration) -> Result<Line, ClientError> {
    open(home, request, Some(within))?.last_line()
}

fn connect(home: &Home) -> Result<UnixStream, ClientError> {
    if let Some(program) = home.other_program() {
        return Err(ClientError::OtherRole { home: home.path().display().to_string(), program });
    }
    home.connect_control().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => no_daemon(home),
        _ => ClientError::Io(error),
    })
}

/// A request with its end
fn line_of<R: Serialize>(request: &R) -> Result<Vec<u8>, ClientError> {
    let mut line = serde_json::to_vec(request).map_err(malformed)?;
    if line.len() > REQUEST_BYTES_MAX {
        return Err(ClientError::TooLong(line.len()));
    }
    line.push(b'\n');
    Ok(line)
}

fn no_daemon(home: &Home) -> ClientError {
    let hint = home.start_command();
    ClientError::NoDaemon { home: home.path().display().to_string(), hint }
}

impl Answer {
    fn read_line(&mut self) -> Result<Line, ClientError> {
        let mut text = String::new();
        let read = self.reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut text);
        match read {
            Ok(_) if text.ends_with('\n') => Line::read(text.trim_end().to_owned()),
            Ok(_) => Err(ClientError::Broken("the daemon hung up".into())),
            Err(error) => Err(self.fault(error)),
        }
    }

    fn fault(&self, error: io::Error) -> ClientError {
        match (error.kind(), self.within) {
            (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, Some(within)) => ClientError::TimedOut(within),
            (io::ErrorKind::ConnectionReset, _) => ClientError::Broken("the daemon hung up".into()),
            _ => ClientError::Io(error),
        }
    }
}

impl Answer {
    /// The last line, whatever comes before it
    ///
    /// # Errors
    /// [`ClientError`], but for a refusal, which is a line like any other here.
    pub fn last_line(&mut self) -> Result<Line, ClientError> {
        let broken = || ClientError::Broken("it has no last line".into());
        self.find(|line| line.as_ref().map_or(true, |line| line.status.is_some())).unwrap_or_else(|| Err(broken()))
    }

    /// The connection behind the last line, and what was read ahead of it: a pipe's bytes
    ///
    /// # Errors
    /// [`ClientError::Io`]
    pub fn into_raw(self) -> Result<(UnixStream, Vec<u8>), ClientError> {
        let early = self.reader.buffer().to_vec();
        let stream = self.reader.into_inner();
        stream.set_read_timeout(None)?;
        stream.set_write_timeout(None)?;
        Ok((stream, early))
    }
}

impl Iterator for Answer {
    type Item = Result<Line, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let line = self.read_line();
        self.is_over = line.as_ref().map_or(true, |line| line.status.is_some());
        Some(line)
    }
}

#[cfg(test)]
mod tests;
