//! The loop between the core and the world: links, the log's thread, the control socket, the clock.

mod listing;
mod requests;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use kith_common::crypto::Signer as _;
use kith_common::directory::Directory;
use kith_common::id::{Key, SupernodeId};
use kith_common::session::admission::AdmissionConfig;
use kith_common::session::by_use;
use kith_common::supernode::{LogEvent, Supernode, SupernodeConfig, SupernodeOutput};
use kith_runtime::clock::Clock;
use kith_runtime::control::server::ControlRequest;
use kith_runtime::control::supernode::Request;
use kith_runtime::host::ListenAddresses;
use kith_runtime::identity::Identity;
use kith_runtime::link::{LinkCommand, LinkEvent, LinkHandle, Stopped};
use rand_chacha::ChaCha20Rng;
use tokio::sync::mpsc;

use self::listing::Listing;
use self::requests::Asker;
use crate::log::{Log, News, StoreError};

/// Inputs that are handled before the core's outputs are carried out: one group commit takes them all
const BATCH_MAX: usize = 256;

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
    /// Why the log cannot be written at present
    log_fault: Option<String>,
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
        let Parts { clock, id, identity, admission, directory, log, links, listen, degree, rng } = parts;
        let key = identity.key();
        let config = SupernodeConfig { id, admission: admission.clone(), degree };
        let core = Supernode::new(clock.now(), config, identity, rng, directory);
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
            log_fault: None,
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
        loop {
            self.flush().await?;
            if let Some(reason) = self.fatal.take() {
                return Err(reason);
            }
            if leaving && self.core.is_idle() {
                break;
            }
            let (clock, wake) = (self.clock, self.core.next_timeout());
            tokio::select! {
                event = events.recv(), if !leaving => {
                    let Some(event) = event else { return Err(DriverError::LinksEnded) };
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
                () = clock.sleep_until(wake) => {
                    // What waits may be what a deadline was for: nobody is judged before it is heard.
                    let waiting = if leaving { 0 } else { events.len() };
                    self.handle_waiting(&mut events, waiting);
                    self.core.handle_timeout(clock.now());
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
            LinkEvent::Frame { link, frame } => self.core.handle_frame(now, link, frame),
            LinkEvent::Closed { link, reason } => self.core.handle_closed(now, link, &reason.to_string()),
            LinkEvent::Listening(address) => self.listen.add(address),
            LinkEvent::AddressExpired(address) => self.listen.remove(&address),
            LinkEvent::ListenerClosed { reason } => self.fatal = Some(DriverError::Unreachable(reason)),
            other => tracing::debug!(event = "link_event_ignored", reason = "not for a supernode", ?other),
        }
    }

    fn handle_news(&mut self, news: News) -> Result<(), DriverError> {
        let now = self.clock.now();
        match news {
            News::Events(events) => events.into_iter().for_each(|event| self.core.handle_log(now, event)),
            News::Leader(leader) => self.core.handle_log(now, LogEvent::LeaderChanged(leader)),
            News::Disk(fault) => {
                self.log.set_full(fault.is_some());
                self.log_fault = fault;
            }
            News::Failed(error) => return Err(error.into()),
            News::Ended(reason) => return Err(DriverError::LogEnded(reason)),
            News::Replaced(_) | News::Configured(_) | News::Read(_) | News::Ask { .. } | News::Answer { .. } => {}
        }
        Ok(())
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

    /// Carries out what the core wants
    async fn flush(&mut self) -> Result<(), DriverError> {
        while let Some(output) = self.core.poll_output() {
            let command = match output {
                SupernodeOutput::Send { link, frame } => LinkCommand::Send { link, frame },
                SupernodeOutput::Close { link, status, reason } => {
                    LinkCommand::Close { link, status, reason: reason.to_string() }
                }
                SupernodeOutput::Propose(group) => {
                    self.log.propose(group);
                    continue;
                }
                SupernodeOutput::Snapshot(directory) => {
                    self.log.snapshot(directory);
                    continue;
                }
                SupernodeOutput::Answered { ticket, outcome } => {
                    self.answer(ticket, outcome.as_ref());
                    continue;
                }
            };
            self.links.send(command).await.map_err(|Stopped| DriverError::LinksEnded)?;
        }
        Ok(())
    }
}
