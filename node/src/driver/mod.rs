//! The loop between a peer's cores and the world.
//!
//! One task owns every core. It waits for whatever comes first (an event of a link, a verb from the control socket, a
//! message that is on disk, a timer), hands it to the core concerned, and drains all cores until none has anything more
//! to say:
//!
//! ```text
//! links ─► events ─┐            ┌─► session ──────► log in, renew, log out
//! control ─► verbs ┼─► Driver ──┼─► neighbourhood ► links to hold, tables to tell ─► routes ─► links
//! in-box ─► kept ──┤            ├─► outbox ───────► transmit, relay, fates ─► answers
//! clock ─► timers ─┘            └─► names ────────► look-ups, floods
//! ```

mod events;
mod grants;
mod outputs;
mod packets;
mod replies;
mod requests;
mod trace;
mod waiting;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;

use kith_common::id::{Address, Key, MessageId, Name};
use kith_common::messages::names::Resolver;
use kith_common::messages::outbox::Outbox;
use kith_common::routing::neighbourhood::{LinkId, Neighbourhood};
use kith_common::routing::{RouteCache, Routes};
use kith_common::session::peer::PeerSession;
use kith_common::status::Status;
use kith_common::time::{Instant, earliest};
use kith_common::wire::Frame;
use kith_common::wire::grant::SignedGrant;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use tokio::sync::mpsc;

use self::grants::Grants;
use self::packets::Arrived;
use self::replies::Replies;
use self::waiting::Waiting;
use crate::clock::Clock;
use crate::control::Request;
use crate::control::server::ControlRequest;
use crate::functions::Functions;
use crate::identity::Identity;
use crate::inbox::worker::{InboxWorker, Outcome};
use crate::link::{LinkCommand, LinkEvent, LinkGauges, LinkHandle};

/// Inputs that are handled before the cores are drained and the links told: enough to make a storm cheap
const BATCH_MAX: usize = 64;

/// What this peer is in its session
struct Own {
    address: Address,
    name: Name,
    signed: SignedGrant,
}

/// What a dial is for
#[derive(Clone, Copy)]
enum DialFor {
    /// The session's attempt
    Home(u64),
    /// A neighbour
    Neighbour(Key),
}

/// The link to the supernode
#[derive(Clone, Copy)]
struct Home {
    link: LinkId,
    attempt: u64,
}

/// What a driver is made of
pub(crate) struct Parts {
    pub(crate) clock: Clock,
    pub(crate) name: Name,
    pub(crate) home_dir: crate::home::Home,
    pub(crate) identity: Identity,
    pub(crate) boot: u64,
    pub(crate) session: PeerSession,
    pub(crate) neighbourhood: Neighbourhood,
    pub(crate) names: Resolver,
    pub(crate) links: LinkHandle,
    pub(crate) listen: Vec<String>,
    pub(crate) inbox: InboxWorker,
    pub(crate) functions: Functions,
    pub(crate) rng: ChaCha20Rng,
}

/// A running peer
pub(crate) struct Driver {
    clock: Clock,
    name: Name,
    home_dir: crate::home::Home,
    identity: Identity,
    boot: u64,
    session: PeerSession,
    neighbourhood: Neighbourhood,
    outbox: Outbox,
    names: Resolver,
    grants: Grants,
    /// Of the present tables; `None` while there is no session
    routes: Option<Arc<Routes>>,
    are_routes_stale: bool,
    generation: u64,
    cache: RouteCache,
    own: Option<Own>,
    home: Option<Home>,
    dials: BTreeMap<u64, DialFor>,
    next_dial: u64,
    links: LinkHandle,
    gauges: HashMap<LinkId, Arc<LinkGauges>>,
    commands: Vec<LinkCommand>,
    listen: Vec<String>,
    inbox: InboxWorker,
    storing: BTreeMap<u64, Arrived>,
    next_ticket: u64,
    replies: Replies,
    functions: Functions,
    waiting: Waiting,
    rng: ChaCha20Rng,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { clock, name, identity, boot, session, neighbourhood, names, links, listen, .. } = parts;
        Self {
            clock,
            name,
            home_dir: parts.home_dir,
            identity,
            boot,
            session,
            neighbourhood,
            outbox: Outbox::new(),
            names,
            grants: Grants::default(),
            routes: None,
            are_routes_stale: false,
            generation: 0,
            cache: RouteCache::new(),
            own: None,
            home: None,
            dials: BTreeMap::new(),
            next_dial: 0,
            links,
            gauges: HashMap::new(),
            commands: Vec::new(),
            listen,
            inbox: parts.inbox,
            storing: BTreeMap::new(),
            next_ticket: 0,
            replies: Replies::default(),
            functions: parts.functions,
            waiting: Waiting::default(),
            rng: parts.rng,
        }
    }

    /// Runs until `shutdown`, then logs out and ends
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<LinkEvent>,
        mut kept: mpsc::Receiver<Outcome>,
        mut requests: mpsc::Receiver<ControlRequest<Request>>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), String> {
        tokio::pin!(shutdown);
        let mut is_leaving = false;
        loop {
            self.drain().await?;
            if is_leaving && self.has_left() {
                break;
            }
            let (clock, wake) = (self.clock, self.next_timeout());
            tokio::select! {
                event = events.recv() => {
                    let Some(event) = event else { return Err("the link thread has ended".into()) };
                    self.handle_event(event);
                    for _ in 1..BATCH_MAX {
                        let Ok(event) = events.try_recv() else { break };
                        self.handle_event(event);
                    }
                }
                outcome = kept.recv() => match outcome {
                    Some(outcome) => self.handle_kept(outcome),
                    None => return Err("the in-box's thread has ended".into()),
                },
                Some(request) = requests.recv() => {
                    if is_leaving && request.request != Request::Status {
                        request.reply.refuse(Status::Unavailable, "the daemon is ending", None);
                    } else {
                        self.handle_request(request);
                    }
                }
                () = clock.sleep_until(wake) => self.handle_timeout(),
                () = &mut shutdown, if !is_leaving => {
                    is_leaving = true;
                    self.session.handle_logout(self.clock.now());
                }
            }
        }
        // The link thread may have ended by itself: then there is nothing left to end.
        if self.links.send(LinkCommand::Shutdown).await.is_ok() {
            while events.recv().await.is_some() {}
        }
        Ok(())
    }

    fn has_left(&self) -> bool {
        use kith_common::session::peer::Standing;
        matches!(self.session.standing(), Standing::LoggedOut { .. })
    }

    fn next_timeout(&self) -> Option<Instant> {
        let timeouts = [
            self.session.next_timeout(),
            self.neighbourhood.next_timeout(),
            self.outbox.next_timeout(),
            self.names.next_timeout(),
        ];
        timeouts.into_iter().fold(None, earliest)
    }

    fn handle_timeout(&mut self) {
        let now = self.clock.now();
        self.session.handle_timeout(now);
        self.neighbourhood.handle_timeout(now);
        self.outbox.handle_timeout(now);
        self.names.handle_timeout(now);
    }

    fn send(&mut self, link: LinkId, frame: Frame) {
        self.commands.push(LinkCommand::Send { link, frame });
    }

    fn close(&mut self, link: LinkId, status: Status, reason: &str) {
        self.commands.push(LinkCommand::Close { link, status, reason: reason.to_owned() });
    }

    /// The supernode's link, while there is a session on it
    fn home_link(&self) -> Option<LinkId> {
        let attempt = self.session.home()?;
        self.home.filter(|home| home.attempt == attempt).map(|home| home.link)
    }

    fn random_u64(&mut self) -> u64 {
        self.rng.next_u64()
    }

    fn random_id(&mut self) -> MessageId {
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        MessageId(bytes)
    }
}
