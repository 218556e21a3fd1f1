//! Connections that mean no good.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use kith_lab::draw::Draw;
use kith_lab::{Lab, verify};

/// Connections with rubbish, to each of the two
const RUBBISH: usize = 100;
/// Connections that say nothing, to each of the two
const SILENT: usize = 20;
/// The longest rubbish, in bytes
const BYTES_MAX: usize = 4_096;

/// The first bytes of a TLS handshake record that announces more than ever comes
const HANDSHAKE_CUT: [u8; 6] = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01];

/// Where a process listens, from `/ip4/127.0.0.1/tcp/7400`
fn listening(lab: &Lab, name: &str) -> SocketAddr {
    let listen = lab.node(name).expect("a node").status().expect("status").listen;
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
    let before = verify::graph(&lab).expect("graph");
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
    for (from, to) in verify::pairs(&super::peers(&lab)) {
        let answer = lab.send(&from, &to, "meanwhile").expect("an answer");
        assert!(answer.is_delivered(), "{from} → {to}: {} {}", answer.status, answer.reason);
    }
    open.into_iter().for_each(wait_closed);
    assert_eq!(verify::graph(&lab).expect("graph"), before);
    verify::settled(&lab).expect("everybody holds their links");
    lab.add_peer("newcomer").expect("started");
    lab.wait_logged_in("newcomer").expect("the supernode takes logins as before");
}
