//! Standard input and output at a pipe, for `pipe` and `listen`.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use kith_common::status::Status;
use kith_runtime::cli::{self, Failure, Screen, Stop};
use kith_runtime::control::peer::{PipeEndAnswer, Request};
use kith_runtime::home::Home;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Bytes that are copied at once
const PIECE_BYTES: usize = 64 * 1024;
/// How often to look whether the pipe is over while standard input is read, which cannot be interrupted
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Copies until both sides have ended, or the pipe has broken off
///
/// # Errors
/// [`Stop`]: standard output is closed, or the pipe has broken off, with the reason.
pub(super) fn run(home: &Home, screen: &mut Screen, pipe: u64, socket: UnixStream, early: &[u8]) -> Result<u8, Stop> {
    let (is_sent, sent) = mpsc::channel();
    let to = socket.try_clone()?;
    // It may read from a terminal for ever: nobody waits for it when the pipe is over.
    thread::spawn(move || is_sent.send(send(to)));
    receive(screen, &socket, early)?;
    loop {
        match sent.recv_timeout(LOOK_EVERY) {
            Ok(Ok(())) | Err(RecvTimeoutError::Disconnected) => break,
            // A pipe that has broken off says why by itself.
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Ok(Err(error)) => return Err(error.into()),
            Err(RecvTimeoutError::Timeout) if is_over(&socket)? => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    end(home, pipe)
}

fn send(mut to: UnixStream) -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match input.read(&mut piece)? {
            0 => break,
            read => to.write_all(piece.get(..read).unwrap_or_default())?,
        }
    }
    match to.shutdown(Shutdown::Write) {
        // The daemon has closed it by now.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        ended => ended,
    }
}

fn receive(screen: &mut Screen, mut from: &UnixStream, early: &[u8]) -> Result<(), Stop> {
    screen.piped(early)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => screen.piped(piece.get(..read).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the daemon has closed both halves
fn is_over(socket: &UnixStream) -> io::Result<bool> {
    let mut look = [PollFd::new(socket, PollFlags::empty())];
    poll(&mut look, Some(&Timespec::default()))?;
    Ok(look.iter().any(|look| look.revents().contains(PollFlags::HUP)))
}

/// How the daemon says that it has ended
fn end(home: &Home, pipe: u64) -> Result<u8, Stop> {
    loop {
        let answer = cli::ask::<PipeEndAnswer>(home, &Request::PipeEnd { pipe })?;
        match answer.status {
            Status::Delivered => return Ok(0),
            // What was written last is on its way.
            Status::Accepted => thread::sleep(LOOK_EVERY),
            status => {
                let reason = answer.answer.reason.as_deref();
                let error = format!("the pipe has broken off: {}", super::why(status, reason));
                return Err(Failure::new(status, error, None).into());
            }
        }
    }
}
