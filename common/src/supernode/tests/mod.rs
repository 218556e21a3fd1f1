//! A supernode input by input: what it says is compared as a transcript, one line an output.

mod durable;
mod invites;
mod log;
mod logins;
mod overload;
mod refusals;
mod relay;
mod requests;
mod several;
mod suspicion;

use std::time::Duration;

use rand_chacha::rand_core::SeedableRng;

use super::proposals::Then;
use super::*;
use crate::directory::{LogIn, Right};
use crate::id::{Address, Epoch, Name};
use crate::link::Direction;
use crate::testing::{Ed, certificate_of, ed, handshake_of, network_of, peer_name as name};
use crate::wire::Bye;
use crate::wire::link::ProbeReply;
use crate::wire::session::{Hello, Locations, Login, Logout, Purpose, Renew, Report, Rewire, Role};

const LEASE: Duration = Duration::from_secs(30);
/// Longer than any test, for those in which nobody renews
const LONG_LEASE: Duration = Duration::from_secs(3600);
const SUPERNODE: u8 = 200;
const NETWORK: u8 = 201;
const HOME: SupernodeId = SupernodeId(1);
const OWN_NONCE: [u8; 32] = [SUPERNODE; 32];

fn admission(lease: Duration) -> Arc<AdmissionConfig> {
    Arc::new(AdmissionConfig {
        network: network_of(NETWORK),
        certificate: certificate_of(NETWORK, SUPERNODE),
        secret: None,
        is_open: true,
        lease,
    })
}

fn login(peer: u8, resume: Option<SessionId>) -> Frame {
    login_as(peer, name(peer), resume)
}

fn login_as(peer: u8, name: Name, resume: Option<SessionId>) -> Frame {
    let handshake = handshake_of(NETWORK, [peer, SUPERNODE], [peer, SUPERNODE]);
    Frame::Login(Login {
        signature: ed(peer).sign(&handshake.login_bytes(&name)),
        name,
        secret_proof: None,
        external: Locations::new(),
        listening: Default::default(),
        resume,
        invite: None,
    })
}

/// One line, `link: what`, for what goes over a link
fn line(output: &SupernodeOutput) -> String {
    match output {
        SupernodeOutput::Send { link, frame } => format!("{}: {}", link.0, frame_line(frame)),
        SupernodeOutput::Close { link, status, .. } => format!("{}: Close {}", link.0, status.code()),
        SupernodeOutput::Propose(proposals) => {
            let names: Vec<_> = proposals.iter().map(|proposal| command_name(&proposal.command)).collect();
            format!("append {}", names.join(" "))
        }
        SupernodeOutput::Read => "read".to_owned(),
        SupernodeOutput::Dial(dial) => format!("dial {}", dial.number),
        SupernodeOutput::Snapshot(directory) => format!("snapshot at {}", directory.applied()),
        SupernodeOutput::Answered { ticket, outcome } => {
            let outcome = outcome.as_ref().map_or("lost".to_owned(), |outcome| first_word(&format!("{outcome:?}")));
            format!("released {ticket}: {outcome}")
        }
    }
}

fn frame_line(frame: &Frame) -> String {
    match frame {
        Frame::Refused(refused) => format!("Refused {} for {} ms", refused.status.code(), refused.retry_after_ms),
        Frame::Found(found) => format!("Found {} {}", found.query, found.status.code()),
        frame => format!("{:?}", frame.kind()),
    }
}

fn command_name(command: &Command) -> String {
    first_word(&format!("{command:?}"))
}

fn first_word(debug: &str) -> String {
    debug.split(['(', ' ']).next().unwrap_or_default().to_owned()
}

/// A supernode, the time, and a log that holds one group and says nothing by itself
struct Bench {
    core: Supernode<Ed>,
    now: Instant,
    group: Vec<Proposal>,
    /// The log's last index
    index: u64,
}

impl Bench {
    /// After the first lease, which counts in its own way; peers `1..=peers` are in, each on the link of its number
    fn of(peers: u8) -> Self {
        Self::with(peers, LEASE, None)
    }

    fn with(peers: u8, lease: Duration, degree: Option<u8>) -> Self {
        let mut bench = Self::over(Directory::new(0), lease, degree);
        bench.wait(lease);
        bench.settle();
        for peer in 1..=peers {
            bench.enter(peer.into(), peer);
        }
        bench
    }

    fn over(directory: Directory, lease: Duration, degree: Option<u8>) -> Self {
        let config =
            SupernodeConfig { id: HOME, admission: admission(lease), degree, links_max: 100, contacts: Vec::new() };
        let now = Instant::ZERO;
        // Another one at each start, as a daemon has: session ids must not come back.
        let rng = ChaCha20Rng::seed_from_u64(directory.applied());
        let index = directory.applied();
        let core = Supernode::new(now, config, ed(SUPERNODE), rng, directory);
        Self { core, now, group: Vec::new(), index }
    }

    fn open(&mut self, link: u64, peer: u8) {
        self.open_from(link, peer, None);
    }

    fn open_from(&mut self, link: u64, peer: u8, remote_ip: Option<std::net::IpAddr>) {
        let hello =
            Hello { role: Role::Peer, purpose: Purpose::Home, boot: 1, nonce: [peer; 32], network: None, grant: None };
        let opened = Opened {
            link: LinkId(link),
            direction: Direction::Incoming,
            key: ed(peer).key(),
            hello,
            own_nonce: OWN_NONCE,
            dial: None,
            remote_ip,
        };
        self.core.handle_opened(self.now, &opened);
    }

    /// A link of `peer`, and its login on it
    fn ask(&mut self, link: u64, peer: u8) {
        self.open(link, peer);
        self.frame(link, login(peer, None));
    }

    fn enter(&mut self, link: u64, peer: u8) {
        self.ask(link, peer);
        let said = self.settle();
        assert!(said.contains(&format!("{link}: Granted")), "{said:?}");
    }

    fn frame(&mut self, link: u64, frame: Frame) {
        self.core.handle_frame(self.now, LinkId(link), frame);
    }

    fn report(&mut self, link: u64, report: Report) {
        self.frame(link, Frame::Report(report));
    }

    /// Any frame at all
    fn answer(&mut self, link: u64) {
        self.frame(link, Frame::ProbeReply(ProbeReply { sequence: 0 }));
    }

    fn close(&mut self, link: u64) {
        self.core.handle_closed(self.now, LinkId(link), "reset");
    }

    /// The peer of that number and link logs out, and goes (with a good-bye or without) before the disk has written it
    fn log_out_and_close(&mut self, peer: u8, bye: bool) {
        let link = peer.into();
        self.frame(link, Frame::Logout(Logout { session: self.session(peer) }));
        assert_eq!(self.drain(), ["append LogOut"]);
        if bye {
            self.frame(link, Frame::Bye(Bye { status: Status::TimedOut, reason: Reason::truncated("stopped") }));
            assert_eq!(self.drain(), [format!("{link}: Close 408")]);
        }
        self.close(link);
        assert_eq!(self.drain(), [""; 0]);
    }

    fn outputs(&mut self) -> Vec<SupernodeOutput> {
        let outputs: Vec<_> = std::iter::from_fn(|| self.core.poll_output()).collect();
        for output in &outputs {
            if let SupernodeOutput::Propose(proposals) = output {
                assert!(self.group.is_empty(), "{proposals:?} before all of {:?} was answered", self.group);
                self.group.clone_from(proposals);
            }
        }
        outputs
    }

    fn drain(&mut self) -> Vec<String> {
        self.outputs().iter().map(line).collect()
    }

    /// The log commits the group under way
    fn commit(&mut self) {
        for Proposal { number, command } in std::mem::take(&mut self.group) {
            self.commit_one(command, Some(number));
        }
    }

    /// The log commits this command, and the tables that it changes are told before there is another one
    fn commit_one(&mut self, command: Command, number: Option<u64>) {
        self.commit_untold(command, number);
        self.core.tell_tables(self.now + GATHER);
    }

    /// The log commits this command, and the tables that it changes wait to be told
    fn commit_untold(&mut self, command: Command, number: Option<u64>) {
        self.index += 1;
        self.core.handle_log(self.now, LogEvent::Committed { index: self.index, command, number });
    }

    /// The log loses the group under way
    fn lose(&mut self) -> Vec<String> {
        for Proposal { number, .. } in std::mem::take(&mut self.group) {
            self.core.handle_log(self.now, LogEvent::Lost { number });
        }
        self.drain()
    }

    /// The log commits the group under way, and what follows is said
    fn durable(&mut self) -> Vec<String> {
        self.commit();
        self.drain()
    }

    /// A disk that takes no time, until nothing waits for it
    fn settle(&mut self) -> Vec<String> {
        let mut said = self.drain();
        while !self.core.is_idle() {
            said.append(&mut self.durable());
        }
        said
    }

    /// Time passes, to each moment that the core asked for
    fn wait(&mut self, duration: Duration) -> Vec<String> {
        let (until, mut said) = (self.now + duration, Vec::new());
        while let Some(at) = self.core.next_timeout().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            self.core.handle_timeout(self.now);
            said.append(&mut self.drain());
        }
        self.now = until;
        said
    }

    fn session(&self, peer: u8) -> SessionId {
        self.core.directory().by_key(&ed(peer).key()).unwrap().id
    }

    fn address(&self, peer: u8) -> Address {
        self.core.directory().by_key(&ed(peer).key()).unwrap().address
    }

    fn suspects(&self) -> Vec<SessionId> {
        self.core.directory().suspects().map(|session| session.id).collect()
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The tables among `outputs`, with the links that they go to
fn rewires(outputs: &[SupernodeOutput]) -> Vec<(u64, Rewire)> {
    let rewire = |output: &SupernodeOutput| match output {
        SupernodeOutput::Send { link, frame: Frame::Rewire(rewire) } => Some((link.0, rewire.clone())),
        _ => None,
    };
    outputs.iter().filter_map(rewire).collect()
}
