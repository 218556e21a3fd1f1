//! The loop between the core and the world: links, the log's thread, the control socket, the clock.

mod agreement;
mod listing;
mod members;
mod membership;
mod requests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kith_common::crypto::Signer as _;
use kith_common::directory::Directory;
use kith_common::id::{Key, SupernodeId};
use kith_common::session::admission::AdmissionConfig;
use kith_common::session::by_use;
use kith_common::supernode::{Supernode, SupernodeConfig, SupernodeOutput};
use kith_common::time::{Instant, earliest};
use kith_common::wire::session::Location;
use kith_runtime::clock::Clock;
use kith_runtime::control::server::ControlRequest;
use kith_runtime::control::supernode::Request;
use kith_runtime::host::ListenAddresses;
use kith_runtime::identity::Identity;
use kith_runtime::link::{LinkCommand, LinkEvent, LinkHandle, Stopped};
use rand_chacha::ChaCha20Rng;
use tokio::sync::mpsc;

use self::listing::Listing;
use self::membership::Membership;
pub(crate) use self::membership::locations;
use self::requests::Asker;
use crate::log::{Log, News, StoreError};
use crate::others::Others;

/// Inputs that are handled before the core's outputs are carried out: one group commit takes them all
const BATCH_MAX: usize = 256;

/// So long links wait at a start for a log that nobody else has, which is opened within a moment: no table is told of an
/// incarnation that is about to pass. Without a disk that takes anything, peers go on as they are.
const HOLD: Duration = Duration::from_secs(3);

/// What a supernode is made of
pub(crate) struct Parts {
    pub(crate) clock: Clock,
    pub(crate) id: SupernodeId,
    pub(crate) identity: Identity,
    pub(crate) admission: Arc<AdmissionConfig>,
    /// As the log had it at the start
    pub(crate) directory: Directory,
    pub(crate) log: Log,
    pub(crate) links: LinkHandle,
    pub(crate) listen: ListenAddresses,
    pub(crate) degree: Option<u8>,
    pub(crate) links_max: usize,
    /// Whom a newcomer asks to be let in
    pub(crate) contacts: Vec<Location>,
    pub(crate) others: Others,
    /// Where others dial this supernode, if somebody has said so
    pub(crate) external: Vec<Location>,
    /// Drawn anew, if nobody can say whether the log is an old copy of itself
    pub(crate) incarnation: Option<u32>,
    /// Makes session ids and salts; from the system's randomness but for labs
    pub(crate) rng: ChaCha20Rng,
}

pub(crate) struct Driver {
    clock: Clock,
    id: SupernodeId,
    key: Key,
    admission: Arc<AdmissionConfig>,
    core: Supernode<Identity>,
    log: Log,
    links: LinkHandle,
    listen: ListenAddresses,
    /// The address that people were last told to dial
    told_to_join: Option<SocketAddr>,
    /// Operators who wait for the log, by ticket; the control socket bounds how many ask at once
    askers: BTreeMap<u64, Asker>,
    next_ticket: u64,
    listing: Listing,
    membership: Membership,
    others: Others,
    /// For the link thread
    commands: VecDeque<LinkCommand>,
    /// Until when links wait for the log, which is alone and not ready
    hold_until: Option<Instant>,
    /// Why the log cannot be written at present
    log_fault: Option<String>,
    /// Supernodes that are linked and have another log
    other_logs: BTreeSet<SupernodeId>,
    /// Why it must stop
    fatal: Option<DriverError>,
}

/// Why a running supernode stops
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriverError {
    /// The link thread has ended
    #[error("the link thread has ended")]
    LinksEnded,
    /// The log's thread has ended
    #[error("the log has ended: {0}")]
    LogEnded(String),
    /// The log cannot be written; nothing was acknowledged that is not in it
    #[error(transparent)]
    Log(#[from] StoreError),
    /// The system no longer lets it listen
    #[error("nobody can reach this supernode: {0}")]
    Unreachable(String),
}

impl Driver {
    /// Takes up what the log holds
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { clock, id, identity, admission, directory, log, links, listen, degree, .. } = parts;
        let Parts { links_max, contacts, others, external, incarnation, rng, .. } = parts;
        let key = identity.key();
        let config = SupernodeConfig { id, admission: admission.clone(), degree, links_max, contacts };
        let now = clock.now();
        let mut core = Supernode::new(now, config, identity, rng, directory);
        incarnation.into_iter().for_each(|incarnation| core.incarnate(incarnation));
        Self {
            clock,
            id,
            key,
            admission,
            core,
            log,
            links,
            listen,
            told_to_join: None,
            askers: BTreeMap::new(),
            next_ticket: 0,
            listing: Listing::new(),
            membership: Membership::new(now, id, external),
            others,
            commands: VecDeque::new(),
            hold_until: incarnation.map(|_| now + HOLD),
            log_fault: None,
            other_logs: BTreeSet::new(),
            fatal: None,
        }
    }

    /// Runs until `shutdown`; what was proposed by then is made durable first
    ///
    /// # Errors
    /// [`DriverError`]: a supernode that cannot keep its word stops.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<LinkEvent>,
        mut news: mpsc::Receiver<News>,
        mut control: mpsc::Receiver<ControlRequest<Request>>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), DriverError> {
        tokio::pin!(shutdown);
        let mut leaving = false;
        self.tell_how_to_join();
        // What the log has said by now comes before any link: a supernode that does not know of others takes itself for the
        // only one, and would refuse logins by a directory that may be old.
        while let Ok(told) = news.try_recv() {
            self.handle_news(told)?;
        }
        loop {
            self.flush().await?;
            if let Some(reason) = self.fatal.take() {
                return Err(reason);
            }
            if leaving && self.core.is_idle() {
                break;
            }
            let (clock, wake, is_held) = (self.clock, self.next_timeout(), self.is_held());
            tokio::select! {
                event = events.recv(), if leaving || !is_held => {
                    let Some(event) = event else { return Err(DriverError::LinksEnded) };
                    if leaving {
                        self.handle_last(event);
                        continue;
                    }
                    self.handle_event(event);
                    self.handle_waiting(&mut events, BATCH_MAX - 1);
                    self.tell_how_to_join();
                }
                told = news.recv() => {
                    let Some(told) = told else { return Err(DriverError::LogEnded("it says nothing any more".into())) };
                    self.handle_news(told)?;
                }
                Some(request) = control.recv() => self.handle_request(request),
                Some(wanted) = self.listing.wanted() => self.make_page(wanted),
                changed = self.membership.changed() => self.membership.handle_changed(clock.now(), changed),
                () = clock.sleep_until(wake) => {
                    // What waits may be what a deadline was for: nobody is judged before it is heard.
                    let waiting = if leaving || self.is_held() { 0 } else { events.len() };
                    self.handle_waiting(&mut events, waiting);
                    self.core.handle_timeout(clock.now());
                    self.seek_membership();
                }
                () = &mut shutdown, if !leaving => leaving = true,
            }
        }
        // The thread may be gone already; there is nothing left to end then.
        let _ = self.links.send(LinkCommand::Shutdown).await;
        while events.recv().await.is_some() {}
        Ok(())
    }

    /// Hands the core up to `most` events that have come already
    fn handle_waiting(&mut self, events: &mut mpsc::Receiver<LinkEvent>, most: usize) {
        for _ in 0..most {
            let Ok(event) = events.try_recv() else { return };
            self.handle_event(event);
        }
    }

    fn handle_event(&mut self, event: LinkEvent) {
        let now = self.clock.now();
        match event {
            LinkEvent::Opened(opened) => self.core.handle_opened(now, &opened.opened),
            LinkEvent::DialFailed { dial, reason } => {
                self.core.handle_dial_failed(now, dial, reason.status(), &reason.to_string());
            }
            LinkEvent::Frame { link, frame } => self.handle_frame(now, link, frame),
            LinkEvent::Closed { link, reason } => self.handle_closed(now, link, &reason.to_string()),
            LinkEvent::Listening(address) => {
                self.listen.add(address);
                self.membership.handle_moved(now);
            }
            LinkEvent::AddressExpired(address) => {
                self.listen.remove(&address);
                self.membership.handle_moved(now);
            }
            LinkEvent::ListenerClosed { reason } => self.fatal = Some(DriverError::Unreachable(reason)),
            other => tracing::debug!(event = "link_event_ignored", reason = "not for a supernode", ?other),
        }
    }

    /// Whether links wait for the log
    fn is_held(&self) -> bool {
        self.hold_until.is_some_and(|until| self.clock.now() < until)
    }

    fn next_timeout(&self) -> Option<Instant> {
        let own = earliest(self.membership.next_timeout(self.clock.now()), self.hold_until.filter(|_| self.is_held()));
        earliest(self.core.next_timeout(), own)
    }

    /// Says what a newcomer types, again whenever a better address of this machine turns up
    fn tell_how_to_join(&mut self) {
        let best = by_use(self.listen.addresses(), None).first().copied();
        if let Some(best) = best.filter(|best| self.told_to_join != Some(*best)) {
            self.told_to_join = Some(best);
            tracing::info!(event = "reachable", at_a_peer = self.what_to_type(best));
        }
    }

    fn what_to_type(&self, at: SocketAddr) -> String {
        if self.admission.takes_invites_only() {
            return "kith join LINE, with a line that kith-supernode invite prints here".to_owned();
        }
        format!("kith run --supernode {at} --name NAME")
    }

    /// Carries out what the core and the log want
    async fn flush(&mut self) -> Result<(), DriverError> {
        while let Some(output) = self.core.poll_output() {
            match output {
                SupernodeOutput::Send { link, frame } => self.commands.push_back(LinkCommand::Send { link, frame }),
                SupernodeOutput::Close { link, status, reason } => {
                    self.commands.push_back(LinkCommand::Close { link, status, reason: reason.to_string() });
                }
                SupernodeOutput::Dial(dial) => self.commands.push_back(LinkCommand::Dial(dial)),
                SupernodeOutput::Propose(group) => self.log.propose(group),
                SupernodeOutput::Read => self.log.read(),
                SupernodeOutput::Snapshot(directory) => self.log.snapshot(directory),
                SupernodeOutput::Answered { ticket, outcome } => self.answer(ticket, outcome.as_ref()),
            }
        }
        while let Some(command) = self.commands.pop_front() {
            self.links.send(command).await.map_err(|Stopped| DriverError::LinksEnded)?;
        }
        Ok(())
    }
}
