//! Pipes between programs of two peers.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use kith_common::status::Status;
use kith_lab::{LabError, Node};
use kith_runtime::control::client::ClientError;

/// Bytes that take a few seconds
const LONG: usize = 24 << 20;

fn node(lab: &super::TestLab, name: &str) -> Node {
    lab.node(name).expect("a peer")
}

/// A pipe from one peer to whoever listens at another: both ends
fn piped(lab: &super::TestLab, from: &str, to: &str) -> (UnixStream, UnixStream) {
    let taker = node(lab, to);
    let taken = thread::spawn(move || taker.take_pipe().expect("a pipe"));
    let mut pipe = None;
    let opened = lab.wait_until("somebody listens", super::PATIENCE, || {
        pipe = Some(node(lab, from).pipe(to).map_err(|error| error.to_string())?);
        Ok(())
    });
    opened.expect("a pipe");
    (pipe.expect("a pipe"), taken.join().expect("taken"))
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

fn read_all(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("it is read");
    bytes
}

#[test]
fn pipe_carries_all_both_ways_while_a_forwarder_on_its_way_is_killed() {
    let lab = super::mesh_of(8, super::seed());
    let far = |to: &&&str| node(&lab, "alice").trace(to).is_ok_and(|trace| !trace.relayed && trace.hops.len() > 1);
    let others = ["bob", "carol", "dave", "erin", "frank", "grace", "heidi"];
    let to = *others.iter().find(far).expect("somebody far");
    let (mut here, mut there) = piped(&lab, "alice", to);
    let sent = pattern(LONG);
    let mut writing = here.try_clone().expect("a descriptor");
    let writer = thread::spawn(move || {
        writing.write_all(&pattern(LONG)).expect("it is written");
        writing.shutdown(Shutdown::Write).expect("its half is closed");
    });
    let mut first = vec![0; 1 << 20];
    there.read_exact(&mut first).expect("it is under way");
    let trace = node(&lab, "alice").trace(to).expect("a way");
    let forwarder = trace.hops.first().map(|hop| hop.name.clone()).filter(|name| name != to);
    if let Some(forwarder) = forwarder {
        lab.kill(&forwarder).expect("killed");
    }
    let rest = read_all(&mut there);
    writer.join().expect("written");
    assert!(first == sent[..first.len()] && rest == sent[first.len()..], "{} bytes came", first.len() + rest.len());
    // What alice has closed is hers alone.
    there.write_all(b"all of it").expect("it is written");
    drop(there);
    assert_eq!(read_all(&mut here), b"all of it");
}

#[test]
fn pipe_that_nobody_takes_is_refused_and_one_whose_end_is_killed_says_so() {
    let lab = super::mesh_of(4, super::seed());
    match node(&lab, "alice").pipe("bob") {
        Err(LabError::Control { error: ClientError::Refused { status, .. }, .. }) => {
            assert_eq!(status, Status::NotFound)
        }
        other => panic!("{other:?}"),
    }
    // The command itself, whose exit code says whether what it has printed is all.
    let kith = |name: &str, args: &[&str]| {
        let mut command = Command::new(super::BINARY);
        command.arg("--dir").arg(lab.dir()).args(["exec", name]).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kith runs")
    };
    let mut listening = kith("bob", &["listen", "chat"]);
    let mut output = listening.stdout.take().expect("its output");
    let (heard, hears) = mpsc::channel();
    thread::spawn(move || {
        let mut line = [0; 6];
        heard.send(output.read_exact(&mut line).map(|()| line))
    });
    let mut asking = None;
    let asked = lab.wait_until("bob listens, and hears", super::PATIENCE, || {
        let asks = asking.get_or_insert_with(|| {
            let mut child = kith("alice", &["pipe", "bob:chat"]);
            // Where nobody listens yet it has ended by now.
            let _ = child.stdin.as_mut().expect("its input").write_all(b"hello\n");
            child
        });
        if asks.try_wait().expect("its state").is_some() {
            asking = None;
            return Err("nobody listens yet".to_owned());
        }
        let line = hears.try_recv().map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        if &line == b"hello\n" { Ok(()) } else { Err(format!("{line:?}")) }
    });
    asked.expect("a pipe");
    lab.kill("bob").expect("killed");
    let ended = asking.expect("a command").wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&ended.stderr);
    // The mesh says that nothing arrives there, and the directory that nobody is there: idle time is not waited for.
    let code = i32::from(Status::Gone.exit_code());
    assert!(ended.status.code() == Some(code) && said.contains("broken off"), "{:?}: {said}", ended.status);
    let _ = listening.wait();
}
