//! Calls at other peers, and their ends.

use std::time::Duration;

use kith_common::hex;
use kith_common::id::{MessageId, Name};
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire::bounded::{Bounded, Bytes, Text};
use kith_common::wire::content::Call;
use kith_runtime::control::peer::{self, CallAnswer, Id};
use kith_runtime::control::server::Reply;
use kith_transport::Called;
use kith_transport::stack::{CALL_TIMEOUT, CALLS_MAX, NotBegun};

use super::Driver;
use super::waiting::Caller;

/// Bytes of a result that an answer at the control socket holds, in hexadecimal digits if it must be
const RESULT_BYTES_MAX: usize = 480 * 1024;

/// What is to be called, and how long it may take
pub(super) struct Wanted {
    pub(super) name: Name,
    pub(super) function: String,
    pub(super) arguments: Vec<peer::Content>,
    pub(super) timeout_ms: Option<u64>,
    /// Whoever repeats a call says which
    pub(super) id: Option<MessageId>,
}

impl Driver {
    pub(super) fn ask_call(&mut self, now: Instant, wanted: Wanted, reply: Reply) {
        let Wanted { name, function, arguments, timeout_ms, id } = wanted;
        let arguments = arguments.into_iter().map(|argument| Bytes::try_from(argument.0.into_bytes()));
        let arguments = arguments.collect::<Result<Vec<_>, _>>().and_then(Bounded::try_from);
        let call = match (Text::try_from(function.clone()), arguments) {
            (Ok(text), Ok(arguments)) => Call { function: text, arguments },
            (Err(error), _) => {
                return reply.refuse(Status::Malformed, format!("the function's name: {error}"), None);
            }
            (_, Err(error)) => return reply.refuse(Status::TooLarge, format!("the arguments: {error}"), None),
        };
        let timeout = timeout_ms.map_or(CALL_TIMEOUT, Duration::from_millis);
        self.make_room(self.stack.calls() >= CALLS_MAX);
        match self.stack.call(now, id, name, &call, now + timeout) {
            Ok(id) => {
                self.waiting.for_call(id, Caller::Result { reply, function });
            }
            Err(NotBegun::NotLoggedIn) => self.refuse_to_send(now, reply),
            Err(error @ NotBegun::IdInUse) => {
                reply.refuse(Status::Conflict, error.to_string(), Some("wait for its end, or leave the id out".into()));
            }
        }
    }

    /// A call has come to its end; who asked for it may have hung up
    pub(super) fn on_called(&mut self, now: Instant, called: Called) {
        let caller = self.waiting.take_call(&called.id);
        match (caller, called.pipe) {
            (Some(Caller::Pipe { reply, channel }), _) => self.on_pipe_called(&called, &channel, reply),
            (Some(Caller::Tunnel { tunnel, leads_to, answer }), _) => {
                self.on_tunnel_called(now, &called, tunnel, &leads_to, answer);
            }
            (Some(Caller::Result { reply, function }), _) => {
                let is_long = called.body.len() > RESULT_BYTES_MAX;
                if is_long {
                    let bytes = called.body.len();
                    let error = format!("the result has {bytes} bytes, and {RESULT_BYTES_MAX} can be shown");
                    return reply.refuse(Status::TooLarge, error, None);
                }
                reply.finish(called.status, &answer(called, function));
            }
            (None, Some(pipe)) => self.stack.drop_pipe(now, pipe, Status::Gone),
            (None, None) => {}
        }
    }
}

fn answer(called: Called, function: String) -> CallAnswer {
    let (answered, elapsed_us) = (called.is_answered(), called.elapsed.as_micros() as u64);
    let reason = (!called.status.is_success()).then(|| called.why());
    let (mut result, mut result_data) = (None, None);
    if called.status.is_success() {
        match String::from_utf8(called.body) {
            Ok(text) => result = Some(peer::Content(text)),
            Err(error) => result_data = Some(hex::encode(error.as_bytes())),
        }
    }
    CallAnswer { id: Id(called.id), name: called.to, function, answered, result, result_data, elapsed_us, reason }
}
