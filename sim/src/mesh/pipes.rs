//! Programs at pipes: one that has opened it writes a pattern and reads what comes back, and one at the other end that gives back
//! whatever it reads.

use std::collections::BTreeMap;

use kith_common::id::{Address, MessageId, Name};
use kith_common::wire::bounded::{Bytes, Text};
use kith_common::wire::content::Opening;
use kith_transport::stack::CALL_TIMEOUT;
use kith_transport::{Called, PipeId, PipeNews, Read};

use super::node::NodeId;
use super::watch::Observation;
use super::world::World;

/// Bytes that a program reads, or writes, at once
const PIECE_BYTES: usize = 8 * 1024;

/// The program at one end
#[derive(Debug)]
struct Program {
    /// Of the pipe, in the whole run
    number: u64,
    is_opener: bool,
    /// What is to be written, and how much of it is
    bytes: Vec<u8>,
    written: usize,
    /// How much of it is written before its user has the next deed: pipes last for a while
    limit: usize,
    /// Whether nothing comes to `bytes` any more
    is_all: bool,
    is_finished: bool,
    has_arrived: bool,
    is_read: bool,
}

impl Program {
    /// One that gives back whatever it reads
    const fn giving_back(number: u64) -> Self {
        Self {
            number,
            is_opener: false,
            bytes: Vec::new(),
            written: 0,
            limit: usize::MAX,
            is_all: false,
            is_finished: false,
            has_arrived: false,
            is_read: false,
        }
    }
}

/// The programs of one process at its pipes
#[derive(Debug, Default)]
pub struct Programs {
    /// Pipes that were asked for: their numbers, and how much is to pass
    openers: BTreeMap<MessageId, (u64, usize)>,
    open: BTreeMap<PipeId, Program>,
}

impl Programs {
    /// Pipes that have a program
    pub fn at_pipes(&self) -> usize {
        self.open.len()
    }
}

/// What passes through the pipe of this number, from the first byte on
pub fn pattern(number: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| ((at ^ number << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

impl World {
    /// A user opens a pipe to somebody, for so many bytes
    pub(super) fn open_pipe(&mut self, node: NodeId, to: &Name, len: usize) {
        self.pipes_opened += 1;
        let number = self.pipes_opened;
        let argument = Bytes::try_from(number.to_le_bytes().to_vec()).unwrap_or_default();
        let opening = Opening { service: Text::truncated("echo"), argument };
        let local = self.local(node);
        let source = self.node(node).place().unwrap_or(Address(0));
        let Some(peer) = self.node_mut(node).peer_mut() else { return };
        if let Ok(id) = peer.stack.ask_for_pipe(local, to.clone(), &opening, local + CALL_TIMEOUT) {
            peer.programs.openers.insert(id, (number, len));
            self.watch.see(self.queue.now(), node, &Observation::Opening { id, to, number, len, source });
        }
    }

    /// Whether this was the end of a question for a pipe, which is open now, or will not be
    pub(super) fn on_pipe_called(&mut self, node: NodeId, called: &Called) -> bool {
        let Some(peer) = self.node_mut(node).peer_mut() else { return false };
        let Some((number, len)) = peer.programs.openers.remove(&called.id) else { return false };
        if let Some(pipe) = called.pipe {
            let (bytes, limit) = (pattern(number, len), len / 2);
            let program = Program { is_opener: true, bytes, limit, is_all: true, ..Program::giving_back(number) };
            peer.programs.open.insert(pipe, program);
            self.run_program(node, pipe);
        }
        true
    }

    /// Somebody asks for a pipe
    pub(super) fn on_pipe_asked(&mut self, node: NodeId, ticket: u64, opening: &Opening) {
        let local = self.local(node);
        let number = opening.argument.first_chunk().map_or(0, |number| u64::from_le_bytes(*number));
        let Some(peer) = self.node_mut(node).peer_mut() else { return };
        // Whoever has asked may have given it up.
        if let Ok(pipe) = peer.stack.take_pipe(local, ticket) {
            peer.programs.open.insert(pipe, Program::giving_back(number));
        }
    }

    /// Something has happened to a pipe
    pub(super) fn on_pipe(&mut self, node: NodeId, pipe: PipeId, news: &PipeNews) {
        let Some(peer) = self.node_mut(node).peer_mut() else { return };
        let Some(program) = peer.programs.open.get_mut(&pipe) else { return };
        match news {
            PipeNews::Readable | PipeNews::Writable => return self.run_program(node, pipe),
            PipeNews::Arrived => program.has_arrived = true,
            PipeNews::Stopped { .. } | PipeNews::Lost(_) => return self.end_program(node, pipe, false),
        }
        if program.is_read {
            self.end_program(node, pipe, true);
        }
    }

    /// Its user lets all programs of a machine write the rest
    pub(super) fn resume_programs(&mut self, node: NodeId) {
        let Some(peer) = self.node_mut(node).peer_mut() else { return };
        let held = peer.programs.open.iter_mut().filter(|(_, program)| program.limit < program.bytes.len());
        let mut resumed = Vec::new();
        for (pipe, program) in held {
            program.limit = usize::MAX;
            resumed.push((*pipe, program.number));
        }
        for (pipe, number) in resumed {
            self.watch.see(self.queue.now(), node, &Observation::PipeResumed { number });
            self.run_program(node, pipe);
        }
    }

    fn end_program(&mut self, node: NodeId, pipe: PipeId, is_whole: bool) {
        let Some(peer) = self.node_mut(node).peer_mut() else { return };
        let Some(Program { number, is_opener, .. }) = peer.programs.open.remove(&pipe) else { return };
        self.watch.see(self.queue.now(), node, &Observation::PipeEnded { number, is_opener, is_whole });
    }

    /// The program does what it can: it writes what there is room for, and reads what has come
    fn run_program(&mut self, node: NodeId, pipe: PipeId) {
        let local = self.local(node);
        loop {
            let Some(peer) = self.node_mut(node).peer_mut() else { return };
            let Some(program) = peer.programs.open.get_mut(&pipe) else { return };
            let until = program.bytes.len().min(program.limit);
            if let Some(rest) = program.bytes.get(program.written..until).filter(|rest| !rest.is_empty()) {
                let piece = rest.get(..PIECE_BYTES).unwrap_or(rest);
                match peer.stack.write_pipe(local, pipe, piece) {
                    // Whoever gives back reads no more before it has.
                    Ok(0) if !program.is_opener => return,
                    Ok(written) => program.written += written,
                    Err(_) => return,
                }
            }
            let is_written = program.written == program.bytes.len();
            if is_written && program.is_all && !program.is_finished {
                // What has broken it off is told of by itself.
                program.is_finished = peer.stack.finish_pipe(local, pipe).is_ok();
            }
            if !is_written && !program.is_opener {
                continue;
            }
            match peer.stack.read_pipe(local, pipe, PIECE_BYTES) {
                Ok(Read::Bytes(bytes)) => {
                    let Program { number, is_opener, .. } = *program;
                    if !is_opener {
                        (program.bytes, program.written) = (bytes.to_vec(), 0);
                    }
                    let seen = Observation::PipeRead { number, is_opener, bytes: &bytes };
                    self.watch.see(self.queue.now(), node, &seen);
                }
                Ok(Read::Nothing) | Err(_) => return,
                Ok(Read::End) => {
                    (program.is_read, program.is_all) = (true, true);
                    let Program { number, is_opener, has_arrived, .. } = *program;
                    if !is_opener && !program.is_finished {
                        program.is_finished = peer.stack.finish_pipe(local, pipe).is_ok();
                    }
                    self.watch.see(self.queue.now(), node, &Observation::PipeAll { number, is_opener });
                    if has_arrived {
                        self.end_program(node, pipe, true);
                    }
                    return;
                }
            }
        }
    }
}
