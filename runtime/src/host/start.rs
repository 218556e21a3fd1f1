//! The steps with which both daemons begin, and why one of them may fail.

use std::net::SocketAddr;
use std::time::Duration;

use libp2p::Multiaddr;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use sd_notify::NotifyState;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::config::HostConfig;
use crate::identity::{Identity, IdentityError, next_boot};
use crate::link::{self, LinkConfig, LinkEvent, LinkHandle, SpawnError};
use crate::location::socket_of;

/// How long the system may take to say where it listens
const LISTEN_WAIT: Duration = Duration::from_secs(5);

/// Why a daemon does not start; what it had on disk is as it was, but for the number of its starts
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It has no key
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// There are no keys and no nonces without randomness, and anybody could choose places on the ring
    #[error("the system gives no randomness: {0}")]
    Randomness(getrandom::Error),
    /// It has no links
    #[error(transparent)]
    Links(#[from] SpawnError),
    #[error("the system does not say where it listens")]
    ListensSilently,
    #[error("the link thread has ended")]
    LinksEnded,
    /// The link thread has said something else before it said where it listens
    #[error("expected to listen, got {0}")]
    Unexpected(String),
}

/// What a daemon has before anything of its own has started
pub struct Start {
    /// The process's
    pub clock: Clock,
    pub identity: Identity,
    /// How often it has started, this time included
    pub boot: u64,
    /// Seeded by the system
    pub rng: ChaCha20Rng,
}

/// What comes of the link thread's start
pub struct Links {
    pub handle: LinkHandle,
    pub events: mpsc::Receiver<LinkEvent>,
    pub listen: ListenAddresses,
}

/// Where the links listen, as far as the system has said so
#[derive(Clone, Debug, Default)]
pub struct ListenAddresses(Vec<Multiaddr>);

impl ListenAddresses {
    /// A machine has an address for each of its networks
    pub fn add(&mut self, address: Multiaddr) {
        if !self.0.contains(&address) {
            self.0.push(address);
        }
    }

    /// The machine has left a network
    pub fn remove(&mut self, address: &Multiaddr) {
        self.0.retain(|other| other != address);
    }

    /// For people
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().filter_map(socket_of)
    }
}

/// Draws from the system's randomness from now on
///
/// # Errors
/// [`StartError::Randomness`]
pub fn seeded() -> Result<ChaCha20Rng, StartError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(StartError::Randomness)?;
    Ok(ChaCha20Rng::from_seed(seed))
}

/// Tells whoever started this process, if it wants to know, as systemd with `Type=notify` does
pub(super) fn tell_manager(state: NotifyState<'_>) {
    if let Err(reason) = sd_notify::notify(&[state]) {
        tracing::warn!(event = "manager_not_told", %reason);
    }
}

impl Start {
    /// The clock, the key in the home, and randomness
    ///
    /// # Errors
    /// [`StartError`]; the home is as it was.
    pub fn of(config: &HostConfig) -> Result<Self, StartError> {
        let clock = Clock::start();
        let rng = seeded()?;
        let home = config.home.path();
        let identity = Identity::load_or_create(home)?;
        Ok(Self { clock, identity, boot: next_boot(home)?, rng })
    }

    /// Starts the link thread, and waits until the system says where it listens
    ///
    /// # Errors
    /// [`StartError`]; a link thread that says nothing ends with its handle.
    pub async fn links(&self, config: &HostConfig, mut link: LinkConfig) -> Result<Links, StartError> {
        link.limits.links_per_ip_max = config.links_per_ip_max;
        let (handle, mut events) = link::spawn(link, &self.identity)?;
        let first = tokio::time::timeout(LISTEN_WAIT, events.recv()).await;
        match first.map_err(|_| StartError::ListensSilently)? {
            Some(LinkEvent::Listening(address)) => {
                let mut listen = ListenAddresses::default();
                listen.add(address);
                tell_manager(NotifyState::Ready);
                Ok(Links { handle, events, listen })
            }
            Some(event) => Err(StartError::Unexpected(format!("{event:?}"))),
            None => Err(StartError::LinksEnded),
        }
    }
}
