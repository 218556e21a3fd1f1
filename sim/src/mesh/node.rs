//! A machine: its clock, its disk, its process, and the links of that process.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::DerefMut;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};
use kith_common::crypto::{self, Signature, Signer, Verifier};
use kith_common::id::{Address, Key, Name};
use kith_common::link::HelloTemplate;
use kith_common::link::open::Link;
use kith_common::link::permits::{Permit, Permits};
use kith_common::peer::Peer;
use kith_common::routing::forward::{Allowance, Forwarder};
use kith_common::session::admission::AdmissionConfig;
use kith_common::supernode::Supernode;
use kith_common::time::Instant;
use kith_common::wire::grant::{Certificate, SignedCertificate};
use kith_transport::Stack;

use super::clock::Clock;
use super::costs::{SIGN, VERIFY};
use super::disk::PeerDisk;
use super::log::Replica;
use super::net::{ConnId, Side};
use super::opening::Greeter;
use super::packets::Target;
use super::pipes::Programs;
use super::processor::Waiting;
use super::queue::Event;

/// A machine's number; supernodes come first
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl NodeId {
    /// As an index
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Signatures that are remembered: of large meshes those of some seconds. At the bound all are forgotten, and computed
/// once more
const SIGNED_MAX: usize = 1 << 17;

/// What was signed, by whom and how
type Signatures = HashMap<(Key, Signature), Vec<u8>>;

/// What was signed in this world: dozens check each signature, which would be a fifth of a run
#[derive(Clone, Debug, Default)]
pub struct Signed(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    signatures: Signatures,
    work: Duration,
}

impl Signed {
    /// One thread runs a world: TLS alone, which keeps the key, wants it to be fit for many
    fn book(&self) -> impl DerefMut<Target = Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What signatures have cost since the last call
    pub fn take_work(&self) -> Duration {
        std::mem::take(&mut self.book().work)
    }
}

/// A private key
#[derive(Clone, Debug)]
pub struct Identity {
    pair: SigningKey,
    key: Key,
    signed: Signed,
}

impl Identity {
    /// The key that these numbers make
    pub fn derive(seed: u64, node: u32, disk: u32, signed: &Signed) -> Self {
        let parts: [&[u8]; 4] = [b"kith-sim key", &seed.to_le_bytes(), &node.to_le_bytes(), &disk.to_le_bytes()];
        let pair = SigningKey::from_bytes(&crypto::sha256(&parts));
        let key = Key(pair.verifying_key().to_bytes());
        Self { pair, key, signed: signed.clone() }
    }
}

impl Verifier for Identity {
    fn verify(&self, key: &Key, bytes: &[u8], signature: &Signature) -> bool {
        let mut book = self.signed.book();
        book.work += VERIFY;
        let is_known = book.signatures.get(&(*key, *signature)).is_some_and(|what| what == bytes);
        is_known || crypto::verify(key, bytes, signature)
    }
}

impl Signer for Identity {
    fn key(&self) -> Key {
        self.key
    }

    fn sign(&self, bytes: &[u8]) -> Signature {
        let signature = Signature(self.pair.sign(bytes).to_bytes());
        let mut book = self.signed.book();
        book.work += SIGN;
        if book.signatures.len() >= SIGNED_MAX {
            book.signatures.clear();
        }
        book.signatures.insert((self.key, signature), bytes.to_vec());
        signature
    }
}

/// A supernode's rules for logins, with the certificate that its network gave it
pub fn admission_of(seed: u64, supernode: Replica, lease: Duration, signed: &Signed) -> AdmissionConfig {
    let network_key = Identity::derive(seed, u32::MAX, 0, signed);
    let key = Identity::derive(seed, supernode.0 as u32, 0, signed).key();
    let certificate = Certificate { network_key: network_key.key(), supernode: key, serial: supernode.id().0 };
    let certificate = SignedCertificate::sign(&certificate, &network_key)
        .unwrap_or_else(|error| unreachable!("a certificate of three numbers: {error}"));
    AdmissionConfig { network: crypto::network_id(&network_key.key()), certificate, secret: None, is_open: true, lease }
}

/// One link of a process
#[derive(Debug)]
pub struct End {
    /// Over which stream
    pub conn: ConnId,
    /// At which end
    pub side: Side,
    /// What it does
    pub core: Link,
    /// When its timer goes off, in true time
    pub armed: Option<Instant>,
    /// Reports that its packets may cause
    pub reports: Allowance,
    /// Whether the stream has taken a batch that does not get through at present
    pub is_stuck: bool,
    /// Among the links that its process may have
    pub permit: Permit,
    /// Of a link that is over: when its last words have had their time, by its machine's clock
    pub leave_at: Option<Instant>,
}

/// A running peer
pub struct PeerProcess {
    /// Its cores
    pub stack: Stack<Identity>,
    /// What its hellos say
    pub hello: HelloTemplate,
    /// Decides its packets
    pub forwarder: Forwarder<Target>,
    /// At its pipes
    pub programs: Programs,
}

impl PeerProcess {
    /// The peer without its connections
    pub const fn core(&self) -> &Peer<Identity> {
        self.stack.peer()
    }
}

/// A running supernode
pub struct SupernodeProcess {
    /// Its cores
    pub core: Supernode<Identity>,
    /// What its hellos say
    pub hello: HelloTemplate,
}

/// What runs on a machine
pub enum Process {
    /// A peer
    Peer(Box<PeerProcess>),
    /// A supernode
    Supernode(Box<SupernodeProcess>),
}

/// What kind of machine it is, with its disk
#[derive(Debug)]
pub enum Disk {
    /// A peer's
    Peer(Box<PeerDisk>),
    /// A supernode's, which is the log's
    Supernode,
}

/// One machine
pub struct Node {
    /// Its number
    pub id: NodeId,
    /// Its name
    pub name: Name,
    /// Its clock
    pub clock: Clock,
    /// How its clock drifts when it is well
    pub ppm: i64,
    /// Its disk
    pub disk: Disk,
    /// How long a write takes at present, on average
    pub write: Duration,
    /// What runs on it
    pub process: Option<Process>,
    /// Starts of processes so far
    pub life: u32,
    /// Whether the machine runs; without it nothing answers a SYN
    pub is_up: bool,
    /// While the process is paused: what waits for it
    pub backlog: Option<VecDeque<Event>>,
    /// What waits for its turn, where processors are limited
    pub waiting: Waiting,
    /// Its links
    pub ends: BTreeMap<u64, End>,
    /// Links that are over, and say their last words
    pub leaving: BTreeMap<u64, End>,
    /// Links that the process has done something to at this moment
    pub touched: BTreeSet<u64>,
    /// How many links and handshakes its process may have, and has
    pub permits: Permits,
    /// Dials that have made no link yet
    pub dials: BTreeMap<ConnId, Permit>,
    /// Permits of those whose handshake waits for a turn
    pub accepting: BTreeMap<ConnId, Permit>,
    /// Streams that are no links yet
    pub greeters: BTreeMap<(ConnId, Side), Greeter>,
    /// The last link's number
    pub links: u64,
    /// When its cores' timer goes off, in true time
    pub armed: Option<Instant>,
    /// Whether its user wants it to be logged in
    pub wants_session: bool,
}

impl Node {
    /// The running peer
    pub fn peer(&self) -> Option<&PeerProcess> {
        match &self.process {
            Some(Process::Peer(peer)) => Some(peer),
            _ => None,
        }
    }

    /// The running peer
    pub fn peer_mut(&mut self) -> Option<&mut PeerProcess> {
        match &mut self.process {
            Some(Process::Peer(peer)) => Some(peer),
            _ => None,
        }
    }

    /// Where the running peer is in the mesh, if it has a session
    pub fn place(&self) -> Option<Address> {
        Some(self.peer()?.core().own()?.address)
    }

    /// The running supernode
    pub fn supernode(&self) -> Option<&SupernodeProcess> {
        match &self.process {
            Some(Process::Supernode(supernode)) => Some(supernode),
            _ => None,
        }
    }

    /// The running supernode
    pub fn supernode_mut(&mut self) -> Option<&mut SupernodeProcess> {
        match &mut self.process {
            Some(Process::Supernode(supernode)) => Some(supernode),
            _ => None,
        }
    }

    /// The peer's disk
    pub fn peer_disk(&mut self) -> Option<&mut PeerDisk> {
        match &mut self.disk {
            Disk::Peer(disk) => Some(disk),
            Disk::Supernode => None,
        }
    }

    /// Whether a process runs and is not paused
    pub const fn runs(&self) -> bool {
        self.process.is_some() && self.backlog.is_none()
    }
}
