//! The loop between the directory and the world.
//!
//! One task owns the directory and an admission a connection. What changes the directory is proposed to the log, and
//! applied once it is durable; only then is anybody told:
//!
//! ```text
//! links ─► admissions ─► LoginRequest … ─┐                                      ┌─► granted, logged out
//! leases, suspicion ─► Expire, Suspect … ┼─► Journal ─► disk ─► Directory::apply ┼─► rewires to whom it touched
//! control ─► release ────────────────────┘                                      └─► answers
//! ```

mod applied;
mod connections;
mod journal;
mod requests;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kith_common::directory::{Command, Directory, Leases, Pair, Suspicion};
use kith_common::id::{Key, SessionId, ShortId};
use kith_common::session::supernode::{Admission, AdmissionConfig};
use kith_common::status::Status;
use kith_common::time::{Instant, earliest};
use kith_common::wire::Frame;
use kith_node::clock::Clock;
use kith_node::control::server::ControlRequest;
use kith_node::identity::Identity;
use kith_node::link::{LinkCommand, LinkEvent, LinkHandle, LinkId};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use tokio::sync::mpsc;

use self::applied::Then;
use self::connections::Claim;
use self::journal::{Durable, Journal};
use crate::control::Request;
use crate::network::Network;

/// Inputs that are handled before the links are told: one group commit takes them all
const BATCH_MAX: usize = 256;

/// One connection
struct Connection {
    key: Key,
    admission: Admission,
}

/// What a supernode is made of
pub(crate) struct Parts {
    pub(crate) clock: Clock,
    pub(crate) identity: Identity,
    pub(crate) network: Network,
    pub(crate) admission: Arc<AdmissionConfig>,
    pub(crate) directory: Directory,
    pub(crate) store: crate::store::Store,
    pub(crate) links: LinkHandle,
    pub(crate) listen: Vec<String>,
    pub(crate) degree: Option<u8>,
    /// Makes session ids and salts; from the system's randomness but for labs
    pub(crate) rng: ChaCha20Rng,
}

/// A running supernode
pub(crate) struct Driver {
    clock: Clock,
    identity: Identity,
    network: Network,
    short_id: ShortId,
    admission: Arc<AdmissionConfig>,
    directory: Directory,
    journal: Journal<Then>,
    leases: Leases,
    pair_terms: Leases<Pair>,
    suspicion: Suspicion,
    connections: BTreeMap<LinkId, Connection>,
    /// The link of each session that has one
    homes: BTreeMap<SessionId, LinkId>,
    claims: Vec<Claim>,
    links: LinkHandle,
    commands: Vec<LinkCommand>,
    /// Why it must stop
    fatal: Option<String>,
    listen: Vec<String>,
    rng: ChaCha20Rng,
}

impl Driver {
    /// Takes up what the log holds; every session has one whole lease from now
    ///
    /// # Errors
    /// [`std::io::Error`] if the system has no thread to give for the log.
    pub(crate) fn new(parts: Parts) -> std::io::Result<(Self, mpsc::Receiver<Durable>)> {
        let Parts { clock, identity, network, admission, directory, store, links, listen, degree, rng } = parts;
        let now = clock.now();
        let lease = admission.lease;
        let sessions: Vec<_> = directory.sessions().map(|s| (s.id, s.suspect.is_some())).collect();
        let (journal, durable) = Journal::start(store)?;
        let key = kith_common::crypto::Signer::key(&identity);
        let mut driver = Self {
            short_id: short_id_of(&key),
            leases: Leases::new(now, lease, sessions.iter().map(|(id, _)| *id)),
            pair_terms: Leases::new(now, kith_common::directory::PAIR_TERM, directory.pairs()),
            suspicion: Suspicion::new(now, lease, sessions),
            connections: BTreeMap::new(),
            homes: BTreeMap::new(),
            claims: Vec::new(),
            commands: Vec::new(),
            fatal: None,
            clock,
            identity,
            network,
            admission,
            directory,
            journal,
            links,
            listen,
            rng,
        };
        driver.configure(degree);
        Ok((driver, durable))
    }

    /// Takes the configured degree for the network's, if one is configured
    fn configure(&mut self, degree: Option<u8>) {
        let before = self.directory.degree();
        let Some(degree) = degree.filter(|degree| *degree != before) else { return };
        if self.directory.members().len() > 0 {
            tracing::warn!(event = "degree_changed", before, degree, reason = "configured so; everybody is rewired");
        }
        self.propose(Command::Configure { degree });
    }

    /// Runs until `shutdown`; what was proposed by then is made durable first
    ///
    /// # Errors
    /// In words, if the disk, the link thread or the listener fails: a supernode that cannot keep its word stops.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<LinkEvent>,
        mut durable: mpsc::Receiver<Durable>,
        mut control: mpsc::Receiver<ControlRequest<Request>>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), String> {
        tokio::pin!(shutdown);
        let mut leaving = false;
        loop {
            self.flush().await?;
            if let Some(reason) = self.fatal.take() {
                return Err(reason);
            }
            if leaving && self.journal.is_idle() {
                break;
            }
            let (clock, wake) = (self.clock, self.next_timeout());
            tokio::select! {
                event = events.recv(), if !leaving => {
                    let Some(event) = event else { return Err("the link thread has ended".into()) };
                    self.handle_event(event);
                    for _ in 1..BATCH_MAX {
                        let Ok(event) = events.try_recv() else { break };
                        self.handle_event(event);
                    }
                }
                outcome = durable.recv() => {
                    let Some(outcome) = outcome else { return Err("the log's thread has ended".into()) };
                    let is_snapshot_due = outcome.map_err(|error| error.to_string())?;
                    self.handle_durable(is_snapshot_due);
                }
                Some(request) = control.recv() => self.handle_request(request),
                () = clock.sleep_until(wake) => self.handle_timeout(),
                () = &mut shutdown, if !leaving => leaving = true,
            }
        }
        // The thread may be gone already; there is nothing left to end then.
        let _ = self.links.send(LinkCommand::Shutdown).await;
        while events.recv().await.is_some() {}
        Ok(())
    }

    fn next_timeout(&self) -> Option<Instant> {
        let admissions = self.connections.values().filter_map(|connection| connection.admission.next_timeout()).min();
        let claims = self.claims.iter().map(|claim| claim.until).min();
        [self.leases.next_timeout(), self.pair_terms.next_timeout(), self.suspicion.next_timeout(), admissions, claims]
            .into_iter()
            .fold(None, earliest)
    }

    async fn flush(&mut self) -> Result<(), String> {
        self.drain_suspicion();
        for command in std::mem::take(&mut self.commands) {
            self.links.send(command).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn send(&mut self, link: LinkId, frame: Frame) {
        self.commands.push(LinkCommand::Send { link, frame });
    }

    fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}

/// What stands for a supernode on the path of a packet that it relayed
fn short_id_of(key: &Key) -> ShortId {
    let [a, b, c, d, ..] = key.0;
    ShortId(u32::from_be_bytes([a, b, c, d]))
}
