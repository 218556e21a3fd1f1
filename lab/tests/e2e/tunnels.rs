//! Tunnels: programs of one peer that reach what another one exposes, and nothing else.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use kith_common::status::Status;
use kith_lab::{LabError, Node, OpenTunnel};
use kith_runtime::control::client::ClientError;
use kith_runtime::control::peer::{Connection, ConnectionsAnswer, Request, Tunnel, TunnelState};

/// Bytes that take a second or two
const LONG: usize = 8 << 20;

fn node(lab: &super::TestLab, name: &str) -> Node {
    lab.node(name).expect("a peer")
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// A server on this machine, which does the same with each connection; it ends with the process
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
    port
}

/// Answers with what it has heard, once it has heard all
fn answer_all(mut stream: TcpStream) {
    let mut heard = Vec::new();
    if stream.read_to_end(&mut heard).is_ok() {
        // Whoever has hung up wants no answer.
        let _ = stream.write_all(&heard);
    }
}

fn connect(to: &OpenTunnel) -> TcpStream {
    let stream = TcpStream::connect(to.at.parse::<SocketAddr>().expect("an address")).expect("connected");
    stream.set_read_timeout(Some(super::PATIENCE)).expect("a time limit");
    stream
}

fn ask(to: &OpenTunnel, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = connect(to);
    let mut answer = Vec::new();
    stream.write_all(question)?;
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Somebody whom alice reaches over others
fn far(lab: &super::TestLab) -> &'static str {
    let others = ["bob", "carol", "dave", "erin", "frank", "grace", "heidi"];
    let is_far = |to: &&&str| node(lab, "alice").trace(to).is_ok_and(|trace| !trace.relayed && trace.hops.len() > 1);
    others.iter().find(is_far).copied().expect("somebody far")
}

fn kith(lab: &super::TestLab, name: &str, args: &[&str]) -> Output {
    let mut command = Command::new(super::BINARY);
    command.arg("--dir").arg(lab.dir()).args(["exec", name]).args(args).output().expect("kith runs")
}

fn only(node: &Node) -> Tunnel {
    let tunnels = node.tunnels().expect("its tunnels").tunnels;
    tunnels.into_iter().next().expect("a tunnel")
}

#[test]
fn connections_go_on_over_a_tunnel_whose_forwarder_is_killed() {
    let lab = super::mesh_of(8, super::seed());
    let (alice, to) = (node(&lab, "alice"), far(&lab));
    let port = server(answer_all);
    let _exposed = node(&lab, to).expose(&format!("{port} for alice")).expect("exposed");
    let tunnel = alice.forward("0", &format!("{to}:{port}")).expect("a tunnel");
    let sent = pattern(LONG);
    assert!(ask(&tunnel, &sent).expect("an answer") == sent);

    // Four at a time, again and again, and one that lasts.
    let is_over = Arc::new(AtomicBool::new(false));
    let tunnel = Arc::new(tunnel);
    let mut lasting = connect(&tunnel);
    let askers: Vec<_> = (0..4_u8)
        .map(|number| {
            let (tunnel, is_over) = (Arc::clone(&tunnel), Arc::clone(&is_over));
            thread::spawn(move || {
                let mut asked = 0_u32;
                while !is_over.load(Ordering::Relaxed) {
                    let question = [asked.to_le_bytes().as_slice(), &[number; 3_000]].concat();
                    assert_eq!(ask(&tunnel, &question).expect("an answer"), question, "{number}: {asked}");
                    asked += 1;
                }
                asked
            })
        })
        .collect();
    lasting.write_all(&sent[..LONG / 2]).expect("it is written");
    let trace = alice.trace(to).expect("a way");
    if let Some(forwarder) = trace.hops.first().map(|hop| hop.name.clone()).filter(|name| name != to) {
        lab.kill(&forwarder).expect("killed");
    }
    lasting.write_all(&sent[LONG / 2..]).expect("it is written");
    lasting.shutdown(Shutdown::Write).expect("its half is closed");
    let mut answer = Vec::new();
    lasting.read_to_end(&mut answer).expect("an answer");
    assert!(answer == sent, "{} bytes", answer.len());
    is_over.store(true, Ordering::Relaxed);
    let asked: u32 = askers.into_iter().map(|asker| asker.join().expect("all were answered")).sum();
    let told = only(&alice);
    assert!(asked > 0 && told.opened >= u64::from(asked) && told.failed == 0, "{asked}: {told:?}");
    let listed = alice.ask::<ConnectionsAnswer>(&Request::Connections, super::PATIENCE).expect("an answer").answer;
    let is_it = |seen: &Connection| {
        seen.name.as_ref().is_some_and(|name| name.as_str() == to) && seen.connected && seen.first_hop.is_some()
    };
    let seen = listed.connections.iter().find(|seen| is_it(seen));
    assert!(seen.is_some_and(|seen| seen.bytes_out > LONG as u64 && seen.bytes_in > LONG as u64), "{listed:?}");
    let is_flat = || match only(&alice).open {
        0 => Ok(()),
        open => Err(format!("{open} are open")),
    };
    lab.wait_until("all pipes to end", super::PATIENCE, is_flat).expect("none is open");
}

#[test]
fn halves_and_resets_are_carried_as_they_are() {
    let lab = super::mesh_of(4, super::seed());
    let (alice, bob) = (node(&lab, "alice"), node(&lab, "bob"));
    // A server that speaks first, and hears on after it has said all.
    let (heard, hears) = mpsc::channel();
    let talker = server(move |mut stream| {
        stream.write_all(b"hello").expect("it is written");
        // It may be reset by now, which the reading tells.
        let _ = stream.shutdown(Shutdown::Write);
        let mut rest = Vec::new();
        let read = stream.read_to_end(&mut rest).map(|_| rest).map_err(|error| error.kind());
        let _ = heard.send(read);
    });
    // One that goes with something unread, which is a reset.
    let breaker = server(|mut stream| {
        let _ = stream.read_exact(&mut [0; 1]);
        let _ = stream.peek(&mut [0; 1]);
    });
    let _exposed = bob.expose(&format!("127.0.0.1:{talker} for alice")).expect("exposed");
    let _exposed_too = bob.expose(&format!("{breaker} for alice")).expect("exposed");

    let tunnel = alice.forward("0", &format!("bob:{talker}")).expect("a tunnel");
    let mut stream = connect(&tunnel);
    let mut said = Vec::new();
    stream.read_to_end(&mut said).expect("an end");
    assert_eq!(said, b"hello");
    stream.write_all(b"still here").expect("it is written");
    drop(stream);
    assert_eq!(hears.recv_timeout(super::PATIENCE).expect("it ends"), Ok(b"still here".to_vec()));

    // Whoever goes with something unread has reset it, and the server hears so.
    let mut stream = connect(&tunnel);
    stream.write_all(b"never").expect("it is written");
    stream.read_exact(&mut [0; 1]).expect("a letter");
    drop(stream);
    let reset = hears.recv_timeout(super::PATIENCE).expect("it ends");
    assert_eq!(reset, Err(io::ErrorKind::ConnectionReset));

    let tunnel = alice.forward("0", &format!("bob:{breaker}")).expect("a tunnel");
    let mut stream = connect(&tunnel);
    // Some may be written before the reset is heard.
    let _ = stream.write_all(&pattern(1 << 16));
    let error = stream.read_to_end(&mut Vec::new()).expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn nothing_is_reached_that_no_rule_exposes_and_the_refusal_says_what_to_type() {
    let lab = super::mesh_of(4, super::seed());
    let (alice, bob, carol) = (node(&lab, "alice"), node(&lab, "bob"), node(&lab, "carol"));
    let port = server(answer_all);
    let pipe = format!("bob:{port}");
    let refused = kith(&lab, "alice", &["pipe", &pipe]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(i32::from(Status::NotAllowed.exit_code())), "{said}");
    assert!(said.contains("is not exposed to alice") && said.contains(&format!("kith expose {port} --for")), "{said}");

    let tunnels = [&alice, &carol].map(|from| from.forward("0", &pipe).expect("a tunnel"));
    let is_reset = |tunnel: &OpenTunnel| match ask(tunnel, b"question") {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => true,
        Ok(answer) if answer == b"question" => false,
        other => panic!("{other:?}"),
    };
    assert!(tunnels.iter().all(is_reset));
    let told = only(&alice);
    assert!(told.failed == 1 && told.reason.is_some_and(|reason| reason.contains("403")), "the table says why");
    {
        let _exposed = bob.expose(&format!("{port} for alice")).expect("exposed");
        assert!(!is_reset(&tunnels[0]) && is_reset(&tunnels[1]));
    }
    let is_over =
        || if bob.tunnels().is_ok_and(|answer| answer.tunnels.is_empty()) { Ok(()) } else { Err("still".into()) };
    lab.wait_until("the rule to end with whoever has asked for it", super::PATIENCE, is_over).expect("over");
    assert!(is_reset(&tunnels[0]));
    // An address of this machine by another name is no other machine's.
    let _exposed = bob.expose(&format!("*:{port} for everyone")).expect("exposed");
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost", "[::1]", "0.0.0.0"] {
        let tunnel = alice.forward("0", &format!("bob:{host}:{port}")).expect("a tunnel");
        assert!(is_reset(&tunnel), "{host}");
    }
    for (at, to) in [("0", "bob"), ("host:1", "bob:1"), ("unix:/tmp/a", "bob:udp:53")] {
        match alice.forward(at, to) {
            Err(LabError::Control { error: ClientError::Refused { status, .. }, .. }) => {
                assert_eq!(status, Status::Malformed, "{at} {to}")
            }
            other => panic!("{other:?}"),
        }
    }
    let taken = alice.forward(&tunnels[0].at, &pipe).expect_err("it is taken");
    assert!(taken.to_string().contains("nobody can listen at"), "{taken}");
}

#[test]
fn datagrams_sockets_and_socks_lead_to_what_is_exposed() {
    let lab = super::mesh_of(4, super::seed());
    let (alice, bob) = (node(&lab, "alice"), node(&lab, "bob"));

    let echo = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = echo.local_addr().expect("its address").port();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((bytes, from)) = echo.recv_from(&mut buffer) {
            let _ = echo.send_to(&buffer[..bytes], from);
        }
    });
    let _datagrams = bob.expose(&format!("udp:{port} for alice")).expect("exposed");
    let tunnel = alice.forward("0", &format!("bob:udp:{port}")).expect("a tunnel");
    for number in 0..3_u8 {
        // Each program has a flow of its own.
        let program = UdpSocket::bind("127.0.0.1:0").expect("a port");
        program.connect(tunnel.at.parse::<SocketAddr>().expect("an address")).expect("connected");
        program.set_read_timeout(Some(super::PATIENCE)).expect("a time limit");
        for question in [vec![number; 1], vec![number; 1_200], Vec::new()] {
            program.send(&question).expect("sent");
            let mut buffer = [0; 2048];
            let bytes = program.recv(&mut buffer).expect("an answer");
            assert_eq!(&buffer[..bytes], question);
        }
    }

    let directory = tempfile::tempdir().expect("a directory");
    let (here, there) = (directory.path().join("here"), directory.path().join("there"));
    let listener = UnixListener::bind(&there).expect("a socket");
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard);
            let _ = stream.write_all(&heard);
        }
    });
    let _socket = bob.expose(&format!("unix:{} for alice", there.display())).expect("exposed");
    let (at, to) = (format!("unix:{}", here.display()), format!("bob:unix:{}", there.display()));
    {
        let _tunnel = alice.forward(&at, &to).expect("a tunnel");
        let mut stream = UnixStream::connect(&here).expect("connected");
        stream.write_all(b"over sockets").expect("it is written");
        stream.shutdown(Shutdown::Write).expect("its half is closed");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        assert_eq!(answer, b"over sockets");
    }
    let is_gone = || if here.exists() { Err("it is there".to_owned()) } else { Ok(()) };
    lab.wait_until("the socket to go with its tunnel", super::PATIENCE, is_gone).expect("gone");

    let port = server(answer_all);
    let _port = bob.expose(&format!("{port} for alice")).expect("exposed");
    let socks = alice.socks("0").expect("an entrance");
    let wanted = |host: &str, port: u16| {
        let mut stream = connect(&socks);
        let length = u8::try_from(host.len()).expect("a short name");
        let request = [&[5, 1, 0, 5, 1, 0, 3, length][..], host.as_bytes(), &port.to_be_bytes()].concat();
        stream.write_all(&request).expect("it is written");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer[..3], &[5, 0, 5]);
        (answer[3], stream)
    };
    for host in ["bob", "bob.kith"] {
        let (code, mut stream) = wanted(host, port);
        assert_eq!(code, 0, "{host}");
        stream.write_all(b"by a proxy").expect("it is written");
        stream.shutdown(Shutdown::Write).expect("its half is closed");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        assert_eq!(answer, b"by a proxy");
    }
    assert_eq!(wanted("bob", 1).0, 2, "not allowed");
    assert_eq!(wanted("nobody", port).0, 4, "no such host");
    assert_eq!(wanted("example.org", port).0, 4, "no peer's name");
}

#[test]
fn tunnels_of_the_configuration_come_back_after_a_restart_of_either_side() {
    let lab = super::mesh_of(4, super::seed());
    let (alice, bob) = (node(&lab, "alice"), node(&lab, "bob"));
    let port = server(answer_all);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = taken.local_addr().expect("its address");
    let write = |node: &Node, text: String| std::fs::write(node.home.file("node.toml"), text).expect("a file");
    write(&bob, format!("expose = [\"{port} for alice,carol\"]\n"));
    write(&alice, format!("forward = [\"{at} bob:{port}\"]\n"));
    for name in ["bob", "alice"] {
        lab.stop(name).expect("stopped");
        lab.start_and_wait(name).expect("it is back");
    }
    let state = |expected: TunnelState| match alice.tunnels() {
        Ok(answer) if answer.tunnels.first().is_some_and(|tunnel| tunnel.state == expected && tunnel.kept) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    let patience = super::PATIENCE + Duration::from_secs(10);
    lab.wait_until("the port to be told of as taken", patience, || state(TunnelState::Troubled)).expect("told");
    drop(taken);
    lab.wait_until("the port to be taken when it is free", patience, || state(TunnelState::Open)).expect("open");
    let asked = |what: &str| {
        let answered = || {
            let mut stream = TcpStream::connect(at).map_err(|error| error.to_string())?;
            stream.set_read_timeout(Some(super::PATIENCE)).map_err(|error| error.to_string())?;
            let mut answer = Vec::new();
            stream.write_all(b"question").map_err(|error| error.to_string())?;
            stream.shutdown(Shutdown::Write).map_err(|error| error.to_string())?;
            stream.read_to_end(&mut answer).map_err(|error| error.to_string())?;
            if answer == b"question" { Ok(()) } else { Err(format!("{answer:?}")) }
        };
        lab.wait_until(what, patience, answered).expect("an answer");
    };
    asked("an answer");
    for name in ["bob", "alice"] {
        lab.kill(name).expect("killed");
        lab.start_and_wait(name).expect("it is back");
        asked(&format!("an answer after {name} was killed and has started again"));
    }
}
