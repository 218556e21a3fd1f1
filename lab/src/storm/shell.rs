//! The shell around the product's own [`Membership`]: its links, and what is told of the session on them; small enough
//! for thousands in one process.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use kith_common::id::Key;
use kith_common::link::limits::Deadlines;
use kith_common::link::opening::Greeting;
use kith_common::link::reason::Slow;
use kith_common::session::membership::{Membership, MembershipConfig, MembershipOutput};
use kith_common::status::Status;
use kith_common::wire::link::ProbeReply;
use kith_common::wire::session::{Found, LookUp, Reason};
use kith_common::wire::{Bye, Frame};
use kith_runtime::clock::Clock;
use kith_runtime::identity::Identity;
use kith_runtime::link::{CloseReason, DialError};
use tokio::time::{sleep, timeout};

use crate::wire::Wire;

/// Longer than any of its waits: whoever has nothing to wait for looks after this long again
const IDLE: Duration = Duration::from_secs(3_600);

/// Both hellos are exchanged
pub(crate) struct Dialled {
    pub(crate) key: Key,
    pub(crate) wire: Wire,
    pub(crate) greeting: Greeting,
}

/// A dial that is under way
pub(crate) type Dialling = Pin<Box<dyn Future<Output = Result<Dialled, DialError>> + Send>>;

/// Dials one of these locations
pub(crate) type Dialler = Box<dyn Fn(Vec<String>) -> Dialling + Send>;

/// One session's shell
pub(crate) struct Shell {
    identity: Identity,
    dialler: Dialler,
    clock: Clock,
    membership: Membership,
    links: Links,
}

/// What has happened to the session
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    /// A dial has begun
    Dialled,
    LoggedIn,
    Lost,
    /// By a supernode; the search goes on
    Refused,
    LoggedOut,
    /// The answer to a question
    Found(Found),
}

/// What may come next
pub(crate) enum Event {
    Opened(u64, Box<Dialled>),
    Failed(u64, DialError),
    Frames(u64, Vec<Frame>),
    Closed(u64, CloseReason),
    /// Time has passed
    Time,
}

/// The links of a session: one that is home or shall be, and a scout's
struct Links([Link; 2]);

/// A link with a supernode, by the number of its dial
enum Link {
    None,
    Dialling(u64, Dialling),
    Open(u64, Box<Wire>),
}

impl Shell {
    /// Begins to look for a supernode at the first [`Self::drain`]
    pub(crate) fn new(
        identity: Identity,
        membership: MembershipConfig,
        seed: u64,
        clock: Clock,
        dialler: Dialler,
    ) -> Self {
        let membership = Membership::new(membership, seed, clock.now());
        Self { identity, dialler, clock, membership, links: Links([Link::None, Link::None]) }
    }

    /// Does what is to be done by now, until there is something to tell or nothing to do; never to be given up halfway
    pub(crate) async fn drain(&mut self) -> Option<Told> {
        self.membership.handle_timeout(self.clock.now());
        while let Some(output) = self.membership.poll_output() {
            match output {
                MembershipOutput::Dial { dial, locations } => {
                    self.links.put(Link::Dialling(dial, (self.dialler)(locations)));
                    return Some(Told::Dialled);
                }
                MembershipOutput::Send { dial, frame } => self.send(dial, &frame).await,
                MembershipOutput::Close { dial, status, reason } => self.links.close(dial, status, reason).await,
                MembershipOutput::LoggedIn { .. } => return Some(Told::LoggedIn),
                MembershipOutput::Lost { .. } => return Some(Told::Lost),
                MembershipOutput::Refused { .. } => return Some(Told::Refused),
                MembershipOutput::LoggedOut { .. } => return Some(Told::LoggedOut),
                MembershipOutput::Found(found) => return Some(Told::Found(found)),
                _ => {}
            }
        }
        None
    }

    /// Waits for what comes next, which [`Self::take`] wants; a call that is given up has taken nothing
    pub(crate) async fn wait(&mut self) -> Event {
        let wait = self.membership.next_timeout().map_or(IDLE, |at| at.since(self.clock.now()));
        tokio::select! {
            event = self.links.next() => event,
            () = sleep(wait) => Event::Time,
        }
    }

    /// Takes what has come; drain afterwards, and do not give it up halfway
    pub(crate) async fn take(&mut self, event: Event) {
        match event {
            Event::Opened(dial, dialled) => {
                let Dialled { key, wire, greeting } = *dialled;
                self.links.put(Link::Open(dial, Box::new(wire)));
                self.membership.handle_opened(self.clock.now(), dial, key, greeting.own_nonce, &greeting.theirs);
            }
            Event::Failed(dial, error) => {
                self.links.forget(dial);
                self.membership.handle_dial_failed(self.clock.now(), dial, &error);
            }
            Event::Frames(dial, frames) => {
                for frame in frames {
                    match frame {
                        Frame::Probe(probe) => {
                            self.send(dial, &Frame::ProbeReply(ProbeReply { sequence: probe.sequence })).await;
                        }
                        frame => self.membership.handle_frame(self.clock.now(), dial, frame, &self.identity),
                    }
                }
            }
            Event::Closed(dial, reason) => self.closed(dial, &reason),
            Event::Time => {}
        }
    }

    /// Ends the session; [`Told::LoggedOut`] follows in any case
    pub(crate) fn log_out(&mut self) {
        self.membership.handle_logout(self.clock.now());
    }

    /// Sends a question on the home link, if there is one
    pub(crate) async fn ask(&mut self, question: LookUp) {
        if let Some(dial) = self.membership.home() {
            self.send(dial, &Frame::LookUp(question)).await;
        }
    }

    /// Where the supernode was dialled that the session is at home at
    pub(crate) fn home(&self) -> Option<String> {
        self.membership.chosen_home().map(|home| home.location)
    }

    async fn send(&mut self, dial: u64, frame: &Frame) {
        if let Err(reason) = self.links.send(dial, frame).await {
            self.closed(dial, &reason);
        }
    }

    /// As the product's core is told of an end: the other side's word if there was one
    fn closed(&mut self, dial: u64, reason: &CloseReason) {
        self.links.forget(dial);
        let now = self.clock.now();
        match reason {
            CloseReason::Bye { status, reason } => self.membership.handle_closed(now, dial, *status, reason),
            other => self.membership.handle_closed(now, dial, Status::Unavailable, &other.to_string()),
        }
    }
}

impl Links {
    /// This one, in the place of an earlier state of it, or in a free one
    fn put(&mut self, link: Link) {
        let [one, other] = &mut self.0;
        let is_for = |place: &Link| place.dial() == link.dial();
        let place = if is_for(other) || (!is_for(one) && other.dial().is_none()) { other } else { one };
        *place = link;
    }

    fn forget(&mut self, dial: u64) {
        for link in self.0.iter_mut().filter(|link| link.dial() == Some(dial)) {
            *link = Link::None;
        }
    }

    /// What comes next on any of them; a call that is given up has taken nothing
    async fn next(&mut self) -> Event {
        let [one, other] = &mut self.0;
        tokio::select! {
            event = one.next() => event,
            event = other.next() => event,
        }
    }

    async fn send(&mut self, dial: u64, frame: &Frame) -> Result<(), CloseReason> {
        for link in &mut self.0 {
            link.send(dial, frame).await?;
        }
        Ok(())
    }

    async fn close(&mut self, dial: u64, status: Status, reason: Reason) {
        for link in self.0.iter_mut().filter(|link| link.dial() == Some(dial)) {
            link.close(status, reason.clone()).await;
        }
    }
}

impl Link {
    fn dial(&self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Dialling(dial, _) | Self::Open(dial, _) => Some(*dial),
        }
    }

    /// What comes next; a call that is given up has taken nothing
    async fn next(&mut self) -> Event {
        match self {
            Self::None => std::future::pending().await,
            Self::Dialling(dial, dialling) => match dialling.await {
                Ok(dialled) => Event::Opened(*dial, Box::new(dialled)),
                Err(error) => Event::Failed(*dial, error),
            },
            Self::Open(dial, wire) => match wire.frames().await {
                Ok(frames) => Event::Frames(*dial, frames),
                Err(reason) => Event::Closed(*dial, reason),
            },
        }
    }

    /// Sends on the link that `dial` made, if it is that one
    async fn send(&mut self, dial: u64, frame: &Frame) -> Result<(), CloseReason> {
        let Self::Open(number, wire) = self else { return Ok(()) };
        if *number != dial {
            return Ok(());
        }
        match timeout(Deadlines::default().write, wire.send(frame)).await {
            Ok(sent) => sent.map_err(CloseReason::from),
            Err(_) => Err(CloseReason::Slow(Slow::Write)),
        }
    }

    /// Ends it, with a last word if it can be said at once
    async fn close(&mut self, status: Status, reason: Reason) {
        if let Self::Open(_, wire) = self {
            // Whoever does not take it learns it from the end of the connection.
            let _ = timeout(Deadlines::default().bye, wire.send(&Frame::Bye(Bye { status, reason }))).await;
        }
        *self = Self::None;
    }
}
