//! Pipes: who asks for one, who takes one, and what passes between a pipe and its program.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use kith_common::id::Name;
use kith_common::mail::NotLoggedIn;
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire::bounded::{Bytes, Text};
use kith_common::wire::content::Opening;
use kith_common::wire::grant::Grant;
use kith_runtime::control::peer::{OpenPipe, PipeAnswer, PipeEndAnswer};
use kith_runtime::control::server::{Raw, Reply};
use kith_transport::stack::{CALL_TIMEOUT, CALLS_MAX};
use kith_transport::{Called, End, PipeId, PipeNews, Read, StreamError};
use tokio::sync::{mpsc, oneshot};

use super::Driver;
use super::waiting::Caller;
use crate::piping::{Ends, PIECE_BYTES, Piece, Program, ProgramEvent};
use crate::tunnels::Destination;

/// The service that hands a pipe to whoever listens at the control socket
const PIPE: &str = "pipe";

/// What a program that reads or writes no more is to the other end
const PROGRAM_GONE: u64 = Status::Gone.code() as u64;

/// Ends of pipes that are remembered until somebody asks: those of the last minutes on a busy machine
const ENDS_MAX: usize = 4_096;

/// Somebody who waits for whoever opens a pipe
#[derive(Debug)]
struct Listener {
    reply: Reply,
    channel: String,
    from: Option<Name>,
}

/// A pipe and its program
#[derive(Debug)]
struct Open {
    /// None until the control socket has handed it over
    program: Option<Program>,
    /// What it has written, and the pipe had no room for
    unwritten: VecDeque<Piece>,
    /// Bytes of the first of those that are passed on already
    passed_on: usize,
    with: Name,
    /// Its channel, or where it leads
    channel: String,
    /// By which it has come
    tunnel: Option<u64>,
    sent: u64,
    received: u64,
    /// Whether the program has said that it has written all
    has_closed: bool,
    is_written: bool,
    is_read: bool,
    /// The first thing that broke it off
    broken: Option<(Status, String)>,
}

/// How a pipe has ended: in order, or not
type Ended = Result<(), (Status, String)>;

/// All pipes of this peer's programs
#[derive(Debug, Default)]
pub(super) struct Pipes {
    listeners: Vec<Listener>,
    open: BTreeMap<PipeId, Open>,
    ended: VecDeque<(PipeId, Ended)>,
}

impl Pipes {
    /// Those that are open, in the order in which they were opened
    pub(super) fn open_pipes(&self) -> impl Iterator<Item = OpenPipe> {
        self.open.iter().map(|(pipe, open)| OpenPipe {
            pipe: pipe.0,
            tunnel: open.tunnel,
            with: open.with.clone(),
            channel: open.channel.clone(),
            sent: open.sent,
            received: open.received,
        })
    }

    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Those that have come by a tunnel
    pub(super) fn of_tunnel(&self, tunnel: u64) -> Vec<PipeId> {
        self.open.iter().filter(|(_, open)| open.tunnel == Some(tunnel)).map(|(pipe, _)| *pipe).collect()
    }

    fn forget_gone(&mut self) {
        self.listeners.retain(|listener| !listener.reply.is_gone());
    }
}

impl Driver {
    pub(super) fn ask_pipe(&mut self, now: Instant, to: Name, channel: String, timeout_ms: Option<u64>, reply: Reply) {
        if !reply.is_alone() {
            return refuse_among_many(reply);
        }
        let opening = match (channel.parse::<Destination>(), Bytes::try_from(channel.clone().into_bytes())) {
            (Ok(destination), _) if destination.is_udp() => {
                let hint = Some(self.next(&format!("forward PORT {to}:{destination}")));
                return reply.refuse(Status::Malformed, "a pipe has no datagrams", hint);
            }
            (Ok(destination), _) => destination.opening(),
            (Err(_), Ok(argument)) => Opening { service: Text::truncated(PIPE), argument },
            (Err(_), Err(_)) => {
                return reply.refuse(Status::TooLarge, "a channel's name has at most 1,024 bytes", None);
            }
        };
        let timeout = timeout_ms.map_or(CALL_TIMEOUT, Duration::from_millis);
        self.make_room(self.stack.calls() >= CALLS_MAX);
        match self.stack.ask_for_pipe(now, to, &opening, now + timeout) {
            Ok(id) => {
                self.waiting.for_call(id, Caller::Pipe { reply, channel });
            }
            Err(NotLoggedIn) => self.refuse_to_send(now, reply),
        }
    }

    pub(super) fn listen(&mut self, channel: String, from: Option<Name>, reply: Reply) {
        if !reply.is_alone() {
            return refuse_among_many(reply);
        }
        if channel.parse::<Destination>().is_ok() {
            let error = format!("whoever opens a pipe to {channel:?} means a port or a socket, not a channel");
            let hint = self.next(&format!("expose {channel} --for NAME"));
            return reply.refuse(Status::Malformed, error, Some(hint));
        }
        self.pipes.forget_gone();
        self.pipes.listeners.push(Listener { reply, channel, from });
    }

    pub(super) fn tell_pipe_end(&self, pipe: u64, reply: Reply) {
        let of = PipeId(pipe);
        let (status, reason) = match self.pipes.ended.iter().find(|(id, _)| *id == of) {
            Some((_, Ok(()))) => (Status::Delivered, None),
            Some((_, Err((status, reason)))) => (*status, Some(reason.clone())),
            None => match self.pipes.open.get(&of).map(|open| &open.broken) {
                Some(None) => (Status::Accepted, None),
                Some(Some((status, reason))) => (*status, Some(reason.clone())),
                None => (Status::NotFound, Some("no such pipe is known any more".to_owned())),
            },
        };
        reply.finish(status, &PipeEndAnswer { reason });
    }

    /// A pipe that was asked for is open, or will not be
    pub(super) fn on_pipe_called(&mut self, called: &Called, channel: &str, reply: Reply) {
        if let Some(pipe) = called.pipe {
            return self.open(pipe, &called.to, channel, "asked for here", reply);
        }
        let (answered, reason) = (called.is_answered(), Some(called.why()));
        reply.finish(called.status, &PipeAnswer { name: called.to.clone(), pipe: None, answered, reason });
    }

    /// Another peer asks for a pipe
    pub(super) fn on_pipe_asked(&mut self, now: Instant, ticket: u64, from: &Grant, opening: &Opening) {
        self.pipes.forget_gone();
        if let Some(destination) = Destination::of_opening(opening) {
            return self.on_tunnel_asked(now, ticket, &from.name, destination);
        }
        let refuse = |driver: &mut Self, status, reason: &str| {
            tracing::info!(event = "pipe_refused", with = %from.name, service = %*opening.service, %status, reason);
            driver.stack.refuse_pipe(now, ticket, status, reason);
        };
        let channel = match std::str::from_utf8(&opening.argument) {
            Ok(channel) if *opening.service == *PIPE => channel,
            _ => return refuse(self, Status::NotFound, "there is no such service"),
        };
        let listens = |listener: &Listener| listener.channel == channel;
        let may = |listener: &Listener| listener.from.as_ref().is_none_or(|name| *name == from.name);
        let Some(at) = self.pipes.listeners.iter().position(|listener| listens(listener) && may(listener)) else {
            let is_there = self.pipes.listeners.iter().any(listens);
            return match is_there {
                true => refuse(self, Status::NotAllowed, "who listens there does so for somebody else"),
                false => refuse(self, Status::NotFound, "nobody listens there for it"),
            };
        };
        let Listener { reply, channel, from: only } = self.pipes.listeners.remove(at);
        match self.stack.take_pipe(now, ticket) {
            Ok(pipe) => self.open(pipe, &from.name, &channel, "asked for there", reply),
            // Whoever has asked does not wait any more: the next one will do.
            Err(_) => self.pipes.listeners.insert(at, Listener { reply, channel, from: only }),
        }
    }

    /// A pipe is open: its program is whoever waits for `reply`
    fn open(&mut self, pipe: PipeId, with: &Name, channel: &str, by: &str, reply: Reply) {
        self.begin(pipe, with, channel, by, None);
        let answer = PipeAnswer { name: with.clone(), pipe: Some(pipe.0), answered: true, reason: None };
        let raw = reply.finish_and_pass(Status::Delivered, &answer);
        tokio::spawn(hand_over(pipe, raw, self.program_events.clone()));
    }

    /// A pipe is open, whose program comes later
    pub(super) fn begin(&mut self, pipe: PipeId, with: &Name, channel: &str, by: &str, tunnel: Option<u64>) {
        tracing::info!(event = "pipe_opened", pipe = pipe.0, %with, channel, reason = by);
        let open = Open {
            program: None,
            channel: channel.to_owned(),
            tunnel,
            unwritten: VecDeque::new(),
            passed_on: 0,
            with: with.clone(),
            sent: 0,
            received: 0,
            has_closed: false,
            is_written: false,
            is_read: false,
            broken: None,
        };
        self.pipes.open.insert(pipe, open);
    }

    /// The program of a pipe is there, or has hung up before
    pub(super) fn handle_program(&mut self, now: Instant, pipe: PipeId, ends: Option<Ends>) {
        let Some(open) = self.pipes.open.get_mut(&pipe) else { return };
        match ends {
            Some(ends) => {
                open.program = Some(Program::start(pipe, ends, &self.program_events));
                self.fill(now, pipe);
            }
            None => self.break_off(now, pipe, Status::Gone, "whoever has asked for it has hung up"),
        }
    }

    /// A program has done something
    pub(super) fn handle_program_event(&mut self, now: Instant, event: ProgramEvent) {
        match event {
            ProgramEvent::Evaluated { ticket, outcome } => self.on_evaluated(now, ticket, outcome),
            ProgramEvent::Wanted(wanted) => self.on_wanted(now, wanted),
            ProgramEvent::Tunnel { tunnel, news } => self.on_tunnel(now, tunnel, news),
            ProgramEvent::Reached { ticket, reached } => self.on_reached(now, ticket, reached),
            ProgramEvent::HandedOver { pipe, ends } => self.handle_program(now, pipe, ends),
            ProgramEvent::Wrote { pipe, piece } => {
                if let Some(open) = self.pipes.open.get_mut(&pipe).filter(|open| !open.is_written) {
                    open.unwritten.push_back(piece);
                    self.pass_on(now, pipe);
                }
            }
            ProgramEvent::Closed { pipe } => {
                if let Some(open) = self.pipes.open.get_mut(&pipe) {
                    open.has_closed = true;
                    self.pass_on(now, pipe);
                }
            }
            // Whoever has reset a connection does not read from it either, though nothing may be left to be written that would show it.
            ProgramEvent::Failed { pipe } => self.break_off(now, pipe, Status::Gone, "the program here has failed"),
            ProgramEvent::Room { pipe } => self.fill(now, pipe),
            ProgramEvent::Deaf { pipe } => {
                self.stack.stop_pipe(now, pipe, PROGRAM_GONE);
                self.note_read(pipe, Some((Status::Gone, "the program here reads no more")));
            }
        }
    }

    /// Something has happened to a pipe
    pub(super) fn on_pipe(&mut self, now: Instant, pipe: PipeId, news: PipeNews) {
        match news {
            PipeNews::Readable => self.fill(now, pipe),
            PipeNews::Writable => self.pass_on(now, pipe),
            PipeNews::Arrived => self.note_written(pipe, None),
            PipeNews::Stopped { .. } => {
                self.note_written(pipe, Some((Status::Gone, "the program there reads no more")));
            }
            PipeNews::Lost(end) => {
                let (status, reason) = of_lost(&end);
                self.break_off(now, pipe, status, &reason);
            }
        }
    }

    /// What the program has written goes on, as much as there is room for
    fn pass_on(&mut self, now: Instant, pipe: PipeId) {
        let Self { pipes, stack, .. } = self;
        let Some(open) = pipes.open.get_mut(&pipe) else { return };
        while let Some(piece) = open.unwritten.front() {
            let rest = piece.bytes.get(open.passed_on..).unwrap_or_default();
            let written = match stack.write_pipe(now, pipe, rest) {
                Ok(written) => written,
                // What has ended it is told of by itself.
                Err(_) => return open.unwritten.clear(),
            };
            open.sent += written as u64;
            if written < rest.len() {
                open.passed_on += written;
                return;
            }
            open.unwritten.pop_front();
            open.passed_on = 0;
        }
        if open.has_closed && !open.is_written {
            // What has ended it before is told of by itself.
            let _: Result<(), StreamError> = stack.finish_pipe(now, pipe);
        }
    }

    /// The program gets what has come, as much as it takes
    fn fill(&mut self, now: Instant, pipe: PipeId) {
        let Self { pipes, stack, .. } = self;
        let Some(open) = pipes.open.get_mut(&pipe).filter(|open| !open.is_read) else { return };
        let Some(program) = &mut open.program else { return };
        while program.has_room() {
            match stack.read_pipe(now, pipe, PIECE_BYTES) {
                Ok(Read::Bytes(bytes)) => {
                    open.received += bytes.len() as u64;
                    program.give(bytes);
                }
                Ok(Read::Nothing) | Err(StreamError::Gone(_)) => return,
                Ok(Read::End) => {
                    program.end();
                    return self.note_read(pipe, None);
                }
                Err(StreamError::GivenUp(_)) => {
                    return self.note_read(pipe, Some((Status::Gone, "the program there has failed")));
                }
            }
        }
    }

    /// Nothing more goes out
    fn note_written(&mut self, pipe: PipeId, broken: Option<(Status, &str)>) {
        let Some(open) = self.pipes.open.get_mut(&pipe) else { return };
        open.is_written = true;
        open.unwritten.clear();
        if let (Some(program), true) = (&open.program, broken.is_some()) {
            program.ignore();
        }
        self.note(pipe, broken);
    }

    /// Nothing more comes
    fn note_read(&mut self, pipe: PipeId, broken: Option<(Status, &str)>) {
        let Some(open) = self.pipes.open.get_mut(&pipe) else { return };
        open.is_read = true;
        if let (Some(program), true) = (&mut open.program, broken.is_some()) {
            program.cut();
        }
        self.note(pipe, broken);
    }

    fn note(&mut self, pipe: PipeId, broken: Option<(Status, &str)>) {
        let Some(open) = self.pipes.open.get_mut(&pipe) else { return };
        if let Some((status, reason)) = broken {
            open.broken.get_or_insert((status, reason.to_owned()));
        }
        if open.is_written && open.is_read {
            self.end(pipe);
        }
    }

    /// Both halves are over at once
    pub(super) fn break_off(&mut self, now: Instant, pipe: PipeId, status: Status, reason: &str) {
        self.stack.drop_pipe(now, pipe, status);
        if let Some(open) = self.pipes.open.get_mut(&pipe) {
            open.broken.get_or_insert((status, reason.to_owned()));
            self.end(pipe);
        }
    }

    fn end(&mut self, pipe: PipeId) {
        let Some(Open { with, tunnel, sent, received, broken, .. }) = self.pipes.open.remove(&pipe) else { return };
        self.tunnels.count_ended(tunnel, sent, received);
        let reason = broken.as_ref().map_or("both halves were closed", |(_, reason)| reason);
        tracing::info!(event = "pipe_ended", pipe = pipe.0, %with, sent, received, reason);
        if self.pipes.ended.len() >= ENDS_MAX {
            self.pipes.ended.pop_front();
        }
        self.pipes.ended.push_back((pipe, broken.map_or(Ok(()), Err)));
    }
}

fn refuse_among_many(reply: Reply) {
    let hint = Some("open another connection for it".to_owned());
    reply.refuse(Status::Malformed, "a pipe needs a connection of its own", hint);
}

async fn hand_over(pipe: PipeId, raw: oneshot::Receiver<Raw>, to: mpsc::Sender<ProgramEvent>) {
    let ends = raw.await.ok().map(Ends::from);
    // Without a driver there is no pipe either.
    let _ = to.send(ProgramEvent::HandedOver { pipe, ends }).await;
}

/// What the end of its connection means for whoever uses a pipe
fn of_lost(end: &End) -> (Status, String) {
    let code = match end {
        End::Closed { code } | End::ClosedHere { code } => u16::try_from(*code).ok().and_then(Status::from_code),
        _ => None,
    };
    match code {
        Some(Status::Gone) => (Status::Gone, "its owner has logged out, or is not heard any more".to_owned()),
        Some(status @ (Status::NotAllowed | Status::AnotherKey | Status::SlowDown)) => (status, end.to_string()),
        // The other end chooses its code: no other one means anything here.
        _ => (Status::Unavailable, end.to_string()),
    }
}
