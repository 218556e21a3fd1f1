//! The loop between a peer and the world.
//!
//! One task owns the peer with its connections. It waits for whatever comes first (an event of a link, a verb from the control socket, a
//! message that is on disk, a timer), hands it to them, and drains them until they have nothing more to say. What is
//! decided is in [`kith_common::peer`] and [`kith_transport::stack`]; here are the clock, the disk, the askers and their answers.

mod calls;
mod connections;
mod events;
mod functions;
mod outputs;
mod pings;
mod pipes;
mod requests;
pub(crate) mod sends;
mod trace;
mod trust;
mod tunnels;
mod waiting;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kith_common::id::Name;
use kith_common::session::membership::Standing;
use kith_common::status::Status;
use kith_common::time::{Instant, earliest};
use kith_common::wire::session::Location;
use kith_runtime::clock::Clock;
use kith_runtime::control::peer::Request;
use kith_runtime::control::server::ControlRequest;
use kith_runtime::host::ListenAddresses;
use kith_runtime::identity::Identity;
use kith_runtime::kept_waiting::KeptWaiting;
use kith_runtime::link::{LinkCommand, LinkEvent, LinkGauges, LinkHandle, LinkId};
use kith_transport::Stack;
use tokio::sync::mpsc;

use self::functions::Evaluations;
use self::pipes::Pipes;
use self::tunnels::Tunnels;
use self::waiting::{Gone, Waiting};
use crate::functions::Functions;
use crate::inbox::worker::{InboxWorker, Outcome};
use crate::piping::ProgramEvent;
use crate::tunnels::Kept;

/// Inputs that are handled before the peer is drained and the links told: enough to make a storm cheap
const BATCH_MAX: usize = 64;

/// So long the end of the process waits for the disk, which takes a batch of messages in a tenth of a second where it is slow
const CLOSING_MAX: Duration = Duration::from_secs(3);

pub(crate) struct Driver {
    clock: Clock,
    name: Name,
    home: kith_runtime::home::Home,
    stack: Stack<Identity>,
    links: LinkHandle,
    /// What is told of each link by whoever made it
    open: HashMap<LinkId, Open>,
    listen: ListenAddresses,
    inbox: InboxWorker,
    functions: Functions,
    waiting: Waiting,
    pipes: Pipes,
    tunnels: Tunnels,
    evaluations: Evaluations,
    /// Where those who copy for programs at pipes say what these do
    program_events: mpsc::Sender<ProgramEvent>,
    /// Whether it was said that this peer is in the mesh
    is_in_mesh_told: bool,
}

/// An open link, as the shell alone knows it
struct Open {
    gauges: Arc<LinkGauges>,
    /// Where it was dialled; `None`: the other side did
    location: Option<Location>,
}

/// What a driver is made of
pub(crate) struct Parts {
    pub(crate) clock: Clock,
    pub(crate) name: Name,
    pub(crate) home: kith_runtime::home::Home,
    pub(crate) stack: Stack<Identity>,
    pub(crate) links: LinkHandle,
    pub(crate) listen: ListenAddresses,
    pub(crate) inbox: InboxWorker,
    pub(crate) functions: Functions,
    pub(crate) program_events: mpsc::Sender<ProgramEvent>,
    pub(crate) tunnels: Kept,
}

/// A thread that a peer cannot be without has ended; it has logged why
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DriverError {
    /// The link thread
    #[error("the link thread has ended")]
    LinksEnded,
    /// The in-box's thread
    #[error("the in-box's thread has ended")]
    InboxEnded,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { clock, name, home, stack, links, listen, inbox, functions, program_events, tunnels } = parts;
        Self {
            clock,
            name,
            home,
            stack,
            links,
            open: HashMap::new(),
            listen,
            inbox,
            functions,
            waiting: Waiting::default(),
            pipes: Pipes::default(),
            evaluations: Evaluations::default(),
            tunnels: Tunnels::start(tunnels, &program_events),
            program_events,
            is_in_mesh_told: false,
        }
    }

    /// Runs until `shutdown`, then logs out and ends
    ///
    /// # Errors
    /// [`DriverError`] if a thread that it needs has ended: then it ends without a logout.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<LinkEvent>,
        mut outcomes: mpsc::Receiver<Outcome>,
        mut requests: mpsc::Receiver<ControlRequest<Request>>,
        mut program_events: mpsc::Receiver<ProgramEvent>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), DriverError> {
        tokio::pin!(shutdown);
        let mut is_leaving = false;
        let mut kept_waiting = KeptWaiting::of_this_thread();
        loop {
            self.forget_gone();
            self.drain().await?;
            if is_leaving && self.has_left() {
                break;
            }
            let (clock, wake) = (self.clock, earliest(self.stack.next_timeout(), self.next_timeout()));
            tokio::select! {
                event = events.recv() => {
                    let Some(event) = event else { return Err(DriverError::LinksEnded) };
                    self.tell_kept_waiting(&mut kept_waiting);
                    self.handle_event(event);
                    self.handle_waiting(&mut events, BATCH_MAX - 1);
                }
                outcome = outcomes.recv() => {
                    let Some(outcome) = outcome else { return Err(DriverError::InboxEnded) };
                    self.handle_outcome(outcome);
                    let more = std::iter::from_fn(|| outcomes.try_recv().ok()).take(BATCH_MAX - 1);
                    more.for_each(|outcome| self.handle_outcome(outcome));
                }
                Some(request) = requests.recv() => {
                    let more = std::iter::from_fn(|| requests.try_recv().ok()).take(BATCH_MAX - 1);
                    for request in std::iter::once(request).chain(more) {
                        if is_leaving && request.request != Request::Status {
                            request.reply.refuse(Status::Unavailable, "the daemon is ending", None);
                        } else {
                            self.handle_request(request);
                        }
                    }
                }
                Some(event) = program_events.recv() => {
                    let more = std::iter::from_fn(|| program_events.try_recv().ok()).take(BATCH_MAX - 1);
                    for event in std::iter::once(event).chain(more) {
                        self.handle_program_event(self.clock.now(), event);
                    }
                }
                () = clock.sleep_until(wake) => {
                    self.tell_kept_waiting(&mut kept_waiting);
                    // What waits may be what a deadline was for: nobody is judged before it is heard.
                    let waiting = events.len();
                    self.handle_waiting(&mut events, waiting);
                    self.tell_waited(self.clock.now());
                    self.look_after_functions(self.clock.now());
                    self.stack.handle_timeout(self.clock.now());
                }
                () = &mut shutdown, if !is_leaving => {
                    is_leaving = true;
                    let now = self.clock.now();
                    self.waiting.hurry(now);
                    self.tell_waited(now);
                    self.stack.log_out(now);
                }
            }
        }
        // The link thread may have ended by itself: then there is nothing left to end.
        if self.links.send(LinkCommand::Shutdown).await.is_ok() {
            while events.recv().await.is_some() {}
        }
        self.close_inbox(outcomes).await;
        Ok(())
    }

    /// When there is something to look after that is not the stack's
    fn next_timeout(&self) -> Option<Instant> {
        earliest(self.waiting.next_timeout(), self.evaluations.next_timeout())
    }

    /// Whatever the disk was asked for is there when the process ends: fates that wait for the next sync would be forgotten, and
    /// their messages sent once more
    async fn close_inbox(&self, mut outcomes: mpsc::Receiver<Outcome>) {
        self.inbox.shut_down();
        tokio::select! {
            () = async { while outcomes.recv().await.is_some() {} } => {}
            () = self.clock.sleep_until(Some(self.clock.now() + CLOSING_MAX)) => {
                let reason = "the disk takes too long: what it was told last may not be there";
                tracing::warn!(event = "inbox_not_closed", reason);
            }
        }
    }

    /// Nobody waits any more for what these have asked: whoever evaluates, answers or takes it hears so
    fn forget_gone(&mut self) {
        let now = self.clock.now();
        let Gone { calls, pings } = self.waiting.take_gone(now);
        calls.iter().for_each(|id| self.stack.cancel(now, id));
        for id in &pings {
            self.stack.end_pings(now, id);
        }
    }

    /// Whoever has hung up holds no place that somebody else asks for
    fn make_room(&mut self, is_full: bool) {
        if is_full {
            self.waiting.look_now();
            self.forget_gone();
        }
    }

    /// While it dials, the peer hears how short of a processor this process is
    fn tell_kept_waiting(&mut self, kept_waiting: &mut KeptWaiting) {
        if self.stack.peer().is_dialling() {
            self.stack.peer_mut().handle_kept_waiting(self.clock.now(), kept_waiting.since_last());
        }
    }

    fn has_left(&self) -> bool {
        matches!(self.stack.peer().standing(), Standing::LoggedOut { .. })
    }
}
