//! What users say is seen by nobody but the two whom it concerns: a string that is nowhere else goes through every verb that
//! carries content, and is looked for wherever somebody could find it.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kith_lab::state::Process;
use kith_lab::{Lab, Progress};
use socket2::{Domain, Protocol, Socket, Type};

/// Every protocol, as a packet socket wants it
const ALL: i32 = 0x0003_u16.to_be() as i32;
/// The largest packet on a loopback device
const PACKET_BYTES: usize = 70 * 1024;
/// What is read of a process's memory at once
const MEMORY_BYTES: usize = 1 << 20;

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    let Some(first) = wanted.first() else { return true };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        rest = &rest[at..];
        if rest.starts_with(wanted) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

/// Whether it is in what a process may write
fn is_in_memory(pid: u32, wanted: &[u8]) -> bool {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("its maps");
    let mut memory = File::open(format!("/proc/{pid}/mem")).expect("its memory");
    let range = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-').filter(|_| rest.starts_with("rw"))?;
        Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
    };
    maps.lines().filter_map(range).any(|(from, to)| {
        let (mut at, mut chunk) = (from, vec![0; MEMORY_BYTES]);
        while at < to {
            let len = (to - at).min(MEMORY_BYTES as u64) as usize;
            // What is not there any more is nowhere.
            if memory.seek(SeekFrom::Start(at)).is_err() || memory.read_exact(&mut chunk[..len]).is_err() {
                return false;
            }
            if contains(&chunk[..len], wanted) {
                return true;
            }
            // One that lies across two chunks is in the next one.
            at += (len - wanted.len().min(len - 1)) as u64;
            if len < MEMORY_BYTES {
                break;
            }
        }
        false
    })
}

fn is_in_file(path: &Path, wanted: &[u8]) -> bool {
    contains(&fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())), wanted)
}

/// Whatever passes on the loopback device: which of the wanted strings was seen
struct Capture {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<bool>>,
}

impl Capture {
    /// `None`, and said so, to whoever may not look at the network: that takes root
    fn start(wanted: Vec<Vec<u8>>) -> Option<Self> {
        let socket = match Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(ALL))) {
            Ok(socket) => socket,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                eprintln!("SKIPPED: the network is not looked at, as that takes root");
                return None;
            }
            Err(error) => panic!("no packet socket: {error}"),
        };
        socket.set_recv_buffer_size(64 << 20).expect("a buffer");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let (mut seen, mut packet) = (vec![false; wanted.len()], vec![0; PACKET_BYTES]);
            loop {
                match (&socket).read(&mut packet) {
                    Ok(len) => {
                        for (seen, wanted) in seen.iter_mut().zip(&wanted) {
                            *seen = *seen || contains(&packet[..len], wanted);
                        }
                    }
                    Err(_) if over.load(Ordering::Relaxed) => return seen,
                    Err(_) => {}
                }
            }
        });
        Some(Self { is_over, thread })
    }

    fn end(self) -> Vec<bool> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("it has captured")
    }
}

fn pid(process: &Process) -> u32 {
    process.process.expect("it runs").pid
}

/// One connection that carries this as it is
fn say_in_clear(bytes: &[u8]) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let mut stream = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
    stream.write_all(bytes).expect("it is written");
    stream.shutdown(Shutdown::Write).expect("its end");
    listener.accept().expect("a connection").0.read_to_end(&mut Vec::new()).expect("it is read");
}

/// A lab that was started by the command; whatever happens, it ends with the test
struct Started(Lab);

impl Drop for Started {
    fn drop(&mut self) {
        let mut down = Command::new(super::BINARY);
        let ended = down.arg("--dir").arg(self.0.dir()).arg("down").output();
        assert!(ended.is_ok_and(|ended| ended.status.success()) || thread::panicking(), "the lab has ended");
    }
}

fn wait_until(lab: &Lab, what: &str, holds: impl FnMut() -> Result<(), String>) {
    lab.wait_until(what, super::PATIENCE, holds).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn what_users_say_is_in_no_log_no_link_no_argument_and_no_forwarders_memory() {
    let seed = super::seed();
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path().join("lab");
    let mut up = Command::new(super::BINARY);
    up.arg("--dir").arg(&dir).args(["up", "--peers", "6", "--supernodes", "1", "--seed", &seed.to_string()]);
    let up = up.env("KITH_LOG", "trace").output().expect("kith-lab runs");
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    let started = Started(Lab::open(&dir, super::BINARY.into(), Progress::Quiet).expect("a lab"));
    let lab = &started.0;
    // The test's own memory is not looked at: it has them all.
    let canary = format!("canary-{seed:016x}-content");
    let clear = format!("canary-{seed:016x}-in-clear");
    let capture = Capture::start([&canary, &clear].map(|text| text.clone().into_bytes()).to_vec());
    say_in_clear(clear.as_bytes());

    let (alice, heidi) = (lab.node("alice").expect("alice"), lab.node("frank").expect("frank"));
    assert!(alice.send("frank", &canary).expect("a fate").is_delivered());
    alice.echo("frank", &canary).expect("a result");
    let taker = heidi.clone();
    let taken =
        thread::spawn(move || taker.take_pipe().expect("a pipe").read_to_end(&mut Vec::new()).expect("its end"));
    let mut pipe = None;
    wait_until(lab, "frank listens", || {
        pipe = Some(alice.pipe("frank").map_err(|error| error.to_string())?);
        Ok(())
    });
    let mut pipe = pipe.expect("a pipe");
    (0..100).for_each(|_| pipe.write_all(canary.as_bytes()).expect("it is written"));
    drop(pipe);
    assert_eq!(taken.join().expect("read"), 100 * canary.len());
    // One that waits is in its sender's memory, and on its disk.
    lab.pause("frank").expect("paused");
    let waiting = alice.send_kept("frank", &canary).expect("an answer");
    assert!(!waiting.is_delivered());

    let processes = lab.state().expect("the lab's state").processes;
    let sender = processes.iter().find(|process| process.name == "alice").expect("alice");
    assert!(is_in_memory(pid(sender), canary.as_bytes()), "whoever looks finds it where it is");
    for process in &processes {
        let (name, pid) = (&process.name, pid(process));
        assert!(!is_in_file(&process.home.join("log"), canary.as_bytes()), "it is in the log of {name}");
        for of in ["cmdline", "environ"] {
            let is_there = is_in_file(Path::new(&format!("/proc/{pid}/{of}")), canary.as_bytes());
            assert!(!is_there, "it is in {of} of {name}");
        }
        if !["alice", "frank"].contains(&name.as_str()) {
            assert!(!is_in_memory(pid, canary.as_bytes()), "{name} has it");
        }
    }
    assert!(is_in_file(&sender.home.join("log"), b"TRACE"), "everything is logged");
    let seen = capture.map_or(vec![false, true], Capture::end);
    assert_eq!(seen, [false, true], "it is on the network, or what is on the network is not seen");
    lab.resume("frank").expect("resumed");
}
