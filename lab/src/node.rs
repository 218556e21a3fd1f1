//! A process of a lab, to be asked through its control socket.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use kith_common::id::Name;
use kith_common::status::Status;
use kith_runtime::control::client::{self, ClientError};
use kith_runtime::control::peer::{
    Body, CallAnswer, Content, InboxLine, LookupAnswer, NeighboursAnswer, PingLine, PingsAnswer, PipeAnswer, READ_MAX,
    ReadAnswer, Request, Series, StatusAnswer, TraceAnswer, TunnelLine, TunnelsAnswer,
};
use kith_runtime::control::{Done, Refusal, supernode};
use kith_runtime::home::{Home, PEER, SUPERNODE};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::LabError;
use crate::fate::Fate;
use crate::role::Role;
use crate::state::Process;

/// One look at a daemon on its control socket; a busy machine is slow, a paused daemon says nothing at all
pub(crate) const LOOK_LIMIT: Duration = Duration::from_secs(2);
/// A send has its fate within 10 s and perhaps a look-up and a relay after that
pub(crate) const SEND_LIMIT: Duration = Duration::from_secs(30);

/// A tunnel, or something that is exposed: it ends when this is dropped
#[derive(Debug)]
pub struct OpenTunnel {
    /// Where programs come to; empty if it has no entrance
    pub at: String,
    _asker: client::Answer,
}

/// One process of a lab, to be asked
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is called in the lab
    pub name: String,
    pub role: Role,
    /// Where it keeps its things
    pub home: Home,
}

impl Node {
    pub(crate) fn of(process: &Process) -> Result<Self, LabError> {
        let role = match process.role {
            Role::Peer => PEER,
            Role::Supernode => SUPERNODE,
        };
        let home = Home::resolve(role, Some(&process.home))?;
        Ok(Self { name: process.name.clone(), role: process.role, home })
    }

    pub fn log(&self) -> PathBuf {
        self.home.file("log")
    }

    /// Asks for an answer of one line, which must come within `limit`; a status of failure is an answer too
    ///
    /// # Errors
    /// [`LabError::Control`]
    pub fn ask<T: DeserializeOwned>(&self, request: &impl Serialize, limit: Duration) -> Result<Done<T>, LabError> {
        client::ask(&self.home, request, limit).and_then(|line| line.done()).map_err(|error| self.failed(error))
    }

    pub(crate) fn failed(&self, error: ClientError) -> LabError {
        LabError::Control { name: self.name.clone(), error }
    }

    /// How a peer is: the status is 200 only if it is logged in
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn status(&self) -> Result<Done<StatusAnswer>, LabError> {
        self.ask(&Request::Status, LOOK_LIMIT)
    }

    /// Where it listens, whatever its role
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn listen(&self) -> Result<Vec<String>, LabError> {
        match self.role {
            Role::Peer => Ok(self.status()?.answer.listen),
            Role::Supernode => {
                let done = self.ask::<supernode::StatusAnswer>(&supernode::Request::Status, LOOK_LIMIT)?;
                Ok(done.answer.listen)
            }
        }
    }

    /// A peer's links
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn neighbours(&self) -> Result<NeighboursAnswer, LabError> {
        self.ask(&Request::Neighbours, LOOK_LIMIT).map(|done| done.answer)
    }

    /// Sends a message that is delivered now or never, and waits for its fate
    ///
    /// # Errors
    /// As [`Self::ask`]; then the message's fate is not known.
    pub fn send(&self, to: &str, text: &str) -> Result<Fate, LabError> {
        self.send_for(to, text, Some(Duration::ZERO))
    }

    /// Sends a message that is kept as long as messages usually are, and waits a while for its fate
    ///
    /// # Errors
    /// As [`Self::ask`]; then the message's fate is not known.
    pub fn send_kept(&self, to: &str, text: &str) -> Result<Fate, LabError> {
        self.send_for(to, text, None)
    }

    fn send_for(&self, to: &str, text: &str, ttl: Option<Duration>) -> Result<Fate, LabError> {
        let (body, ttl_s) = (Body::Text(text.to_owned()), ttl.map(|ttl| ttl.as_secs()));
        let request = Request::Send { name: name(to)?, body, ttl_s, wait_ms: None };
        let line = client::ask(&self.home, &request, SEND_LIMIT);
        line.and_then(|line| Fate::of(&line)).map_err(|error| self.failed(error))
    }

    /// Calls `echo` at another peer and waits for the end of it; what came back is not the same as `text`: that is an error
    ///
    /// # Errors
    /// As [`Self::ask`]; then nothing is known of it.
    pub fn echo(&self, to: &str, text: &str) -> Result<Status, LabError> {
        let arguments = vec![Content(text.to_owned())];
        let request =
            Request::Call { name: name(to)?, function: "echo".to_owned(), arguments, timeout_ms: None, id: None };
        let Done { status, answer, .. } = self.ask::<CallAnswer>(&request, SEND_LIMIT)?;
        let is_same = answer.result.is_none_or(|Content(result)| result == text);
        if is_same { Ok(status) } else { Ok(Status::Conflict) }
    }

    /// Packets that this peer has forwarded for others since it has started
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn packets_forwarded(&self) -> Result<u64, LabError> {
        let (name, function) = (name(&self.name)?, "status".to_owned());
        let request = Request::Call { name, function, arguments: Vec::new(), timeout_ms: None, id: None };
        let answer = self.ask::<CallAnswer>(&request, LOOK_LIMIT)?.answer;
        let Content(text) = answer.result.unwrap_or(Content(String::new()));
        let status: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        Ok(status.get("packets_forwarded").and_then(serde_json::Value::as_u64).unwrap_or_default())
    }

    /// Pings a peer again and again until the series is over: its lines, and what it came to
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn pings(&self, to: &str, series: Series) -> Result<(Vec<PingLine>, Done<PingsAnswer>), LabError> {
        let request = Request::Ping { name: name(to)?, series };
        self.read_pings(&request).map_err(|error| self.failed(error))
    }

    fn read_pings(&self, request: &Request) -> Result<(Vec<PingLine>, Done<PingsAnswer>), ClientError> {
        let mut lines = Vec::new();
        for line in client::open(&self.home, request, Some(SEND_LIMIT))? {
            let line = line?;
            if line.status.is_some() {
                return Ok((lines, line.done()?));
            }
            lines.push(line.parse()?);
        }
        Err(ClientError::Broken("it has no last line".into()))
    }

    /// The unread messages, oldest first; they stay in the in-box
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn inbox(&self) -> Result<Vec<InboxLine>, LabError> {
        self.read_inbox().map_err(|error| self.failed(error))
    }

    fn read_inbox(&self) -> Result<Vec<InboxLine>, ClientError> {
        self.read_lines(&Request::Inbox { follow: false, from: None }, SEND_LIMIT)
    }

    /// The lines of an answer before its last one, each of which must come within `limit`
    fn read_lines<T: DeserializeOwned>(
        &self,
        request: &impl Serialize,
        limit: Duration,
    ) -> Result<Vec<T>, ClientError> {
        let mut items = Vec::new();
        for line in client::open(&self.home, request, Some(limit))? {
            let line = line?;
            if line.status.is_none() {
                items.push(line.parse()?);
                continue;
            }
            line.done::<serde::de::IgnoredAny>()?;
        }
        Ok(items)
    }

    /// The unread messages, oldest first, which leave the in-box
    ///
    /// # Errors
    /// As [`Self::ask`], and if the daemon refuses to remove them; some may be removed then.
    pub fn take_inbox(&self) -> Result<Vec<InboxLine>, LabError> {
        let inbox = self.inbox()?;
        for lines in inbox.chunks(READ_MAX) {
            let sequences = lines.iter().map(|line| line.sequence).collect();
            self.ask::<ReadAnswer>(&Request::Read { sequences }, SEND_LIMIT)?;
        }
        Ok(inbox)
    }

    /// Where `whom` is
    ///
    /// # Errors
    /// As [`Self::ask`], and if the peer does not know it.
    pub fn lookup(&self, whom: &str) -> Result<Done<LookupAnswer>, LabError> {
        self.ask(&Request::Lookup { name: name(whom)? }, SEND_LIMIT)
    }

    /// The way to `whom`, hop by hop
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn trace(&self, whom: &str) -> Result<TraceAnswer, LabError> {
        self.ask(&Request::Trace { name: name(whom)? }, SEND_LIMIT).map(|done| done.answer)
    }

    /// Opens a pipe to whoever listens at another peer without a channel; the connection is the pipe
    ///
    /// # Errors
    /// As [`Self::ask`], and [`LabError::Control`] with a refusal if nobody takes it.
    pub fn pipe(&self, to: &str) -> Result<UnixStream, LabError> {
        self.piped(&Request::Pipe { name: name(to)?, channel: String::new(), timeout_ms: None })
    }

    /// Takes the next pipe that somebody opens without a channel, whenever that is; the connection is the pipe
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn take_pipe(&self) -> Result<UnixStream, LabError> {
        self.piped(&Request::Listen { channel: String::new(), from: None })
    }

    fn piped(&self, request: &Request) -> Result<UnixStream, LabError> {
        let piped = || {
            let mut answer = client::open(&self.home, request, None)?;
            let Done { status, answer: PipeAnswer { pipe, reason, .. }, .. } = answer.last_line()?.done()?;
            match pipe {
                // Nothing comes before something is written.
                Some(_) => Ok(answer.into_raw()?.0),
                None => {
                    let refusal = Refusal { error: reason.unwrap_or_default(), hint: None };
                    Err(ClientError::Refused { status, refusal })
                }
            }
        };
        piped().map_err(|error| self.failed(error))
    }

    /// Lets programs reach a destination at a peer from an entrance here, as `kith forward` does
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn forward(&self, at: &str, to: &str) -> Result<OpenTunnel, LabError> {
        self.stand(&Request::Forward { at: at.to_owned(), to: to.to_owned() })
    }

    /// Lets programs reach peers' ports by SOCKS 5, as `kith socks` does
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn socks(&self, at: &str) -> Result<OpenTunnel, LabError> {
        self.stand(&Request::Socks { at: at.to_owned() })
    }

    /// Lets peers reach something here, as `kith expose` does
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn expose(&self, rule: &str) -> Result<OpenTunnel, LabError> {
        self.stand(&Request::Expose { rule: rule.to_owned() })
    }

    fn stand(&self, request: &Request) -> Result<OpenTunnel, LabError> {
        let stand = || {
            let mut asker = client::open(&self.home, request, Some(SEND_LIMIT))?;
            let line = asker.next().unwrap_or_else(|| Err(ClientError::Broken("it has no line".into())))?;
            if line.status.is_some() {
                line.done::<serde::de::IgnoredAny>()?;
            }
            let TunnelLine { at, .. } = line.parse()?;
            Ok(OpenTunnel { at: at.unwrap_or_default(), _asker: asker })
        };
        stand().map_err(|error| self.failed(error))
    }

    /// Its tunnels, what it exposes, and what is open
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn tunnels(&self) -> Result<TunnelsAnswer, LabError> {
        self.ask(&Request::Tunnels, SEND_LIMIT).map(|done| done.answer)
    }

    /// The peers that a supernode knows
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn peers(&self) -> Result<Vec<supernode::Member>, LabError> {
        self.peers_within(LOOK_LIMIT)
    }

    pub(crate) fn peers_within(&self, limit: Duration) -> Result<Vec<supernode::Member>, LabError> {
        self.read_lines(&supernode::Request::Peers, limit).map_err(|error| self.failed(error))
    }
}

/// A name, as people type it
///
/// # Errors
/// [`LabError::Options`] if it cannot be one.
pub(crate) fn name(text: &str) -> Result<Name, LabError> {
    text.parse().map_err(|error| LabError::Options(format!("{text:?} is no name: {error}")))
}
