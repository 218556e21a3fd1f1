//! Connections that mean no good.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use kith_common::status::Status;
use kith_common::wire::session::Purpose;
use kith_common::wire::{FrameKind, SMALL_BYTES_MAX};
use kith_lab::draw::Draw;
use kith_lab::process::ProcessId;
use kith_lab::{Lab, Options, Progress, graph};
use kith_runtime::link::CloseReason;

use super::hostile::{Hostile, Mutants, RawLink};

/// Connections with rubbish, to each of the two
const RUBBISH: usize = 100;
/// Connections that say nothing, to each of the two
const SILENT: usize = 20;
/// The longest rubbish, in bytes
const BYTES_MAX: usize = 4_096;

/// Mutated frames over links, to each of the two
const MUTANTS: usize = 10_000;
/// Before memory is looked at for the first time: buffers and pools have their size then
const WARM_UP: usize = 1_000;
/// What ten thousand of them may leave behind, in KiB: an allocator's slack, and no leak of a kibibyte a connection
const GROWTH_KIB_MAX: u64 = 8 * 1_024;
/// Times that the hostile member logs in; the mutants are spread over them
const LOGINS: usize = 10;

/// The first bytes of a TLS handshake record that announces more than ever comes
const HANDSHAKE_CUT: [u8; 6] = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01];

/// Where a process listens, from `/ip4/127.0.0.1/tcp/7400`
fn listening(lab: &Lab, name: &str) -> SocketAddr {
    let listen = lab.node(name).expect("a node").listen().expect("status");
    let parts: Vec<&str> = listen.first().expect("an address").split('/').collect();
    format!("{}:{}", parts[2], parts[4]).parse().expect("an address and a port")
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("connected");
    stream.set_read_timeout(Some(super::PATIENCE)).expect("timeout");
    stream
}

/// Waits until the other side has closed the connection
fn wait_closed(mut stream: TcpStream) {
    let mut bytes = [0; 1_024];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return,
            Err(error) if [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&error.kind()) => return,
            // An alert or a hello may come before the end.
            Ok(_) => {}
            Err(error) => panic!("the connection is still open: {error}"),
        }
    }
}

#[test]
fn rubbish_and_silence_are_closed_and_disturb_nobody() {
    let seed = super::seed();
    let lab = super::mesh_of(4, seed);
    let before = lab.graph().expect("graph");
    let mut draw = Draw::new(seed, "rubbish");
    let mut open = Vec::new();
    for name in ["alice", "supernode"] {
        let to = listening(&lab, name);
        open.extend((0..SILENT).map(|_| connect(to)));
        let mut cut = connect(to);
        cut.write_all(&HANDSHAKE_CUT).expect("written");
        open.push(cut);
        for _ in 0..RUBBISH {
            let len = 1 + draw.below(BYTES_MAX);
            let mut stream = connect(to);
            // The other side may have closed before the last byte.
            let _ = stream.write_all(&draw.bytes(len));
            open.push(stream);
        }
    }
    for (from, to) in graph::pairs(&super::peers(&lab)) {
        let answer = lab.send(&from, &to, "meanwhile").expect("an answer");
        assert!(answer.is_delivered(), "{from} → {to}: {} {}", answer.status, answer.reason);
    }
    open.into_iter().for_each(wait_closed);
    assert_eq!(lab.graph().expect("graph"), before);
    lab.settled().expect("everybody holds their links");
    lab.add_peer("newcomer").expect("started");
    lab.wait_logged_in("newcomer").expect("the supernode takes logins as before");
}

fn process(lab: &Lab, name: &str) -> ProcessId {
    lab.state().expect("state").process(name).expect("a process").process.expect("started")
}

fn rss_kib(lab: &Lab, name: &str) -> u64 {
    process(lab, name).usage().unwrap_or_else(|| panic!("{name} is gone")).rss_kib
}

/// How often a process's log tells of links with `key`, and of how many links those lines count
fn told_of(lab: &Lab, name: &str, key: &str) -> (usize, usize) {
    let log = std::fs::read_to_string(lab.node(name).expect("a node").log()).expect("a log");
    let of_key = format!("peer={key}");
    let lines = log.lines().filter(|line| line.contains(&of_key));
    let count = |line: &str| line.split_whitespace().find_map(|word| word.strip_prefix("count=")?.parse().ok());
    lines.fold((0, 0), |(lines, links), line| (lines + 1, links + count(line).unwrap_or(1)))
}

/// Runs `attack` while every pair sends; each pair at least once, and each message is delivered
fn while_all_pairs_send<T>(lab: &Lab, attack: impl FnOnce() -> T) -> T {
    let pairs = graph::pairs(&super::peers(lab));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            for round in 0.. {
                for (from, to) in &pairs {
                    let answer = lab.send(from, to, "meanwhile").expect("an answer");
                    assert!(answer.is_delivered(), "{from} → {to}: {} {}", answer.status, answer.reason);
                    if round > 0 && over.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        });
        let came = attack();
        over.store(true, Ordering::Relaxed);
        sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        came
    })
}

#[test]
fn ten_thousand_mutated_frames_of_strangers_end_their_links_with_a_reason_and_nothing_else() {
    let seed = super::seed();
    let lab = super::mesh_of(4, seed);
    let before = lab.graph().expect("graph");
    for (number, (name, purpose)) in [("alice", Purpose::Neighbour), ("supernode-1", Purpose::Home)].iter().enumerate()
    {
        let mut hostile = Hostile::new(200 + number as u8, 16);
        let (to, key) = (listening(&lab, name), hostile.key().to_string());
        let started = process(&lab, name);
        let began = Instant::now();
        let mut mutants = Mutants::new(seed + number as u64);
        let warm = hostile.pour(&mut mutants, to, *purpose, WARM_UP);
        let rss = rss_kib(&lab, name);
        let poured = while_all_pairs_send(&lab, || hostile.pour(&mut mutants, to, *purpose, MUTANTS));
        assert_eq!(poured.frames, MUTANTS);
        assert!(poured.told() * 2 > poured.links, "most are told why: {poured:?}");
        let grown = rss_kib(&lab, name).saturating_sub(rss);
        assert!(grown < GROWTH_KIB_MAX, "{name} has grown by {grown} KiB");
        assert_eq!(process(&lab, name), started, "{name} was started again");
        let (lines, links) = told_of(&lab, name, &key);
        let seconds = began.elapsed().as_secs() as usize;
        assert!(lines <= seconds + 2, "{name} tells of {links} links in {lines} lines, within {seconds} s");
        // The last ones wait for the next line, which the next stranger would cause.
        assert!(links > 0 && links <= warm.links + poured.links, "{links} of {}", warm.links + poured.links);
    }
    assert_eq!(lab.graph().expect("graph"), before);
    lab.settled().expect("everybody holds their links");
}

#[test]
fn hostile_member_with_ten_thousand_mutated_frames_disturbs_only_its_own_links() {
    let seed = super::seed();
    let lab = super::mesh_of(6, seed);
    let mut hostile = Hostile::new(210, 1);
    let mut mutants = Mutants::new(seed);
    let supernode = listening(&lab, "supernode-1");
    let names = super::peers(&lab);
    let rss = |lab: &Lab| names.iter().map(|name| rss_kib(lab, name)).max().expect("peers");
    let mut before = 0;
    let (mut told, mut links) = (0, 0);
    while_all_pairs_send(&lab, || {
        for round in 0..LOGINS {
            let session = hostile.log_in(supernode, "mallory");
            let neighbour = *session.neighbours.first().expect("a neighbour");
            let poured = hostile.pour(&mut mutants, neighbour, Purpose::Neighbour, MUTANTS / LOGINS);
            (told, links) = (told + poured.told(), links + poured.links);
            hostile.pour_over(&mut mutants, session.home);
            if round == 0 {
                before = rss(&lab);
            }
        }
    });
    assert!(told * 2 > links, "{told} of {links} were told why they end");
    let grown = rss(&lab).saturating_sub(before);
    assert!(grown < GROWTH_KIB_MAX, "a peer has grown by {grown} KiB");
    drop(hostile);
    super::settle(&lab);
    for (from, to) in graph::pairs(&names) {
        let answer = lab.send(&from, &to, "afterwards").expect("an answer");
        assert!(answer.is_delivered() && answer.attempts == 1, "{from} → {to}: {answer:?}");
    }
}

#[test]
fn connection_that_breaks_a_rule_or_a_deadline_is_told_its_status() {
    let dir = tempfile::tempdir().expect("a directory");
    // A lease that outlasts the deadline of a frame, which nobody renews here.
    let options = Options { peers: 3, lease: super::PATIENCE, ..super::options(dir.path(), super::seed()) };
    let lab = Lab::up(options, Progress::Quiet).unwrap_or_else(|error| panic!("the mesh did not come up: {error}"));
    let supernode = listening(&lab, "supernode-1");
    // Kind 1 is a hello; the magic and a version that nobody speaks. What follows is that version's own affair.
    let other_version: &[u8] = &[1, 6, 0, 0, b'K', b'I', b'T', b'H', 2, 0];
    let cut_hello: &[u8] = &[1, 100, 0, 0, b'K', b'I'];
    let [low, high, top, _] = (SMALL_BYTES_MAX as u32 + 1).to_le_bytes();
    let oversized = [FrameKind::Probe as u8, low, high, top];
    let hello_oversized = [FrameKind::Hello as u8, low, high, top];
    std::thread::scope(|scope| {
        for to in [listening(&lab, "alice"), supernode] {
            for (bytes, status) in [
                (other_version, Status::VersionNotSupported),
                (&hello_oversized, Status::TooLarge),
                (&oversized, Status::TooLarge),
                (b"GET / HTTP/1.1\r\n\r\n", Status::Malformed),
                (cut_hello, Status::TimedOut),
                (b"", Status::TimedOut),
            ] {
                scope.spawn(move || {
                    let mut raw = RawLink::connect(to);
                    raw.write(bytes);
                    assert_eq!(raw.read_bye(), Some(status), "{bytes:02x?}");
                });
            }
        }
        scope.spawn(move || {
            let mut hostile = Hostile::new(220, 1);
            let session = hostile.log_in(supernode, "mallory");
            let neighbour = *session.neighbours.first().expect("a neighbour");
            let by = |reason: CloseReason| match reason {
                CloseReason::Bye { status, .. } => status,
                other => panic!("no bye: {other}"),
            };
            let link = hostile.open(neighbour, Purpose::Neighbour);
            hostile.send(link, oversized.to_vec());
            assert_eq!(by(hostile.wait_closed(link)), Status::TooLarge);
            // Long enough to swallow whatever else goes over the link meanwhile.
            let [low, high, ..] = 16_000_u16.to_le_bytes();
            let begun = vec![FrameKind::Table as u8, low, high, 0, 1];
            hostile.send(session.home, begun.clone());
            let link = hostile.open(neighbour, Purpose::Neighbour);
            hostile.send(link, begun);
            assert_eq!(by(hostile.wait_closed(session.home)), Status::TimedOut);
            let reason = hostile.wait_closed(link);
            assert_eq!(by(reason.clone()), Status::TimedOut, "{reason}");
        });
    });
    super::settle(&lab);
}
