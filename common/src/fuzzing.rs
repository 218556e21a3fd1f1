//! The bodies of the fuzz targets, the vectors they start from, and a seeded mutator for machines without a fuzzer.
//!
//! They live here, so that they compile and run with every test and cannot rot. `common/fuzz` holds the targets that
//! give them to cargo-fuzz; its README has the commands. Each body panics where a promise is broken, and only there.

use bincode::{Decode, Encode};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::crypto::Ed25519;
use crate::directory::{Command, Directory, SNAPSHOT_VERSION};
use crate::id::{NetworkId, ShortId};
use crate::wire::content::{Message, Payload};
use crate::wire::grant::{Certificate, Grant, SignedCertificate, SignedGrant};
use crate::wire::packet::{Edit, HEADER_BYTES, Mark, PacketRef, emit_forwarded};
use crate::wire::{self, FRAME_HEADER_BYTES, Frame, LARGE_BYTES_MAX};

/// A frame as a link reads it: header, then body
///
/// Whatever is accepted is written back as the same bytes (but for `Bye`, whose text is repaired), keeps its bound, and
/// can be printed.
pub fn frame(data: &[u8]) {
    let Some((head, body)) = data.split_first_chunk::<FRAME_HEADER_BYTES>() else { return };
    let Ok((kind, len)) = wire::parse_frame_header(*head) else { return };
    assert!(len <= kind.body_bytes_max() && len <= LARGE_BYTES_MAX, "{kind:?} of {len} bytes");
    let Some(body) = body.get(..len) else { return };
    let Ok(frame) = Frame::decode(kind, body) else { return };
    assert_eq!(frame.kind(), kind);
    let written = frame.to_bytes();
    if let Frame::Bye(_) = frame {
        let again = written.as_ref().ok().and_then(|bytes| bytes.get(FRAME_HEADER_BYTES..));
        assert_eq!(again.map(|body| Frame::decode(kind, body)), Some(Ok(frame)));
        return;
    }
    assert_eq!(written.as_deref(), Ok([head.as_slice(), body].concat().as_slice()));
    assert_printable(&format!("{frame:?}"));
}

/// A packet's bytes: reading it, and forwarding it with an edit made of its last bytes
pub fn packet(data: &[u8]) {
    let Ok(packet) = PacketRef::parse(data) else { return };
    let trailer: usize = packet.entries().len();
    assert_eq!(HEADER_BYTES + packet.payload().len() + trailer * wire::packet::ENTRY_BYTES, data.len());
    assert!(packet.way().count() <= trailer);
    let byte = data.last().copied().unwrap_or_default();
    let edit = Edit {
        give_back: packet.way().last().map(|(_, who)| who),
        dead: (0..u32::from(byte % 4)).map(ShortId).collect(),
        way: (byte & 4 != 0).then_some((Mark::Way, ShortId(byte.into()))),
        congested: byte & 8 != 0,
    };
    let mut out = vec![byte];
    match emit_forwarded(&packet, &edit, &mut out) {
        Err(_) => assert_eq!(out, [byte], "a refused packet left bytes behind"),
        Ok(()) => {
            let forwarded = PacketRef::parse(out.get(1..).unwrap_or_default());
            let forwarded = forwarded.map(|packet| (packet.header().ttl + 1, packet.payload().to_vec()));
            assert_eq!(forwarded, Ok((packet.header().ttl, packet.payload().to_vec())));
        }
    }
}

/// A packet's payload, and a message as it is signed
pub fn payload(data: &[u8]) {
    round_trip::<Payload>(data);
    round_trip::<Message>(data);
    if let Ok(Payload::Message(message)) = wire::decode(data) {
        assert!(message.grant().verify(&NetworkId([0; 32]), &Ed25519).is_err(), "nobody signs for network zero");
    }
}

/// Certificates and grants, whose signatures are checked as a stranger's are
pub fn grant(data: &[u8]) {
    round_trip::<Certificate>(data);
    round_trip::<Grant>(data);
    round_trip::<SignedCertificate>(data);
    round_trip::<SignedGrant>(data);
    if let Ok(certificate) = wire::decode::<SignedCertificate>(data) {
        let _verdict = certificate.verify(None, &Ed25519);
    }
    if let Ok(grant) = wire::decode::<SignedGrant>(data) {
        assert!(grant.verify(&NetworkId([0; 32]), &Ed25519).is_err(), "nobody signs for network zero");
    }
}

/// What a supernode reads from its own disk, which may be damaged: a command of the log, and a snapshot
pub fn directory(data: &[u8]) {
    if let Ok(command) = Command::from_bytes(data) {
        assert_eq!(command.to_bytes().as_deref(), Ok(data));
        let mut directory = Directory::new(0);
        directory.apply(1, &command);
    }
    if let Ok(directory) = Directory::restore(0, data) {
        let written = directory.snapshot();
        if data.first() == Some(&SNAPSHOT_VERSION) {
            assert_eq!(written.as_deref(), Ok(data));
        } else {
            // The version before is read too, and what it held is written in today's form.
            let restored = written.as_deref().map(|bytes| Directory::restore(0, bytes));
            assert_eq!(restored.map(|restored| restored.map(|it| it.snapshot())), Ok(Ok(written.clone())));
        }
    }
}

/// Every accepted value has one form: its bytes
fn round_trip<T: Encode + Decode<()>>(data: &[u8]) {
    if let Ok(value) = wire::decode::<T>(data) {
        assert_eq!(wire::encode(&value).as_deref(), Ok(data));
    }
}

/// What others wrote must never drive a terminal
fn assert_printable(text: &str) {
    assert!(!text.contains(|c: char| c.is_control()), "a control character in {text:?}");
}

/// A vector of `golden.txt` or `golden-signed.txt`: its name and its bytes
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vector {
    /// What stands after the `#`
    pub name: String,
    pub bytes: Vec<u8>,
}

/// The golden vectors, in the order of the two files: first the form of everything, then what is really signed
///
/// # Errors
/// The token that is not understood.
pub fn golden() -> Result<Vec<Vector>, String> {
    let mut vectors: Vec<Vector> = Vec::new();
    let (form, signed) = (include_str!("wire/golden.txt"), include_str!("wire/golden-signed.txt"));
    for line in form.lines().chain(signed.lines()) {
        let line = line.split(';').next().unwrap_or_default().trim();
        if let Some(name) = line.strip_prefix("# ") {
            vectors.push(Vector { name: name.to_owned(), bytes: Vec::new() });
            continue;
        }
        let bytes = parse_line(line, &vectors)?;
        match vectors.last_mut() {
            Some(vector) => vector.bytes.extend(bytes),
            None if bytes.is_empty() => {}
            None => return Err(format!("bytes before the first name: {line}")),
        }
    }
    Ok(vectors)
}

fn parse_line(mut line: &str, earlier: &[Vector]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while !line.is_empty() {
        if let Some(name) = line.strip_prefix('@') {
            // A name may have spaces, so a reference goes to the end of its line.
            let vector = earlier.iter().find(|vector| vector.name == name.trim());
            bytes.extend_from_slice(&vector.ok_or_else(|| format!("no vector {name}"))?.bytes);
            return Ok(bytes);
        }
        let (token, rest) = match line.strip_prefix('"').and_then(|text| text.split_once('"')) {
            Some((text, rest)) => {
                bytes.extend_from_slice(text.as_bytes());
                ("", rest)
            }
            None => line.split_once(' ').unwrap_or((line, "")),
        };
        bytes.extend(parse_hex(token).ok_or_else(|| format!("not understood: {token}"))?);
        line = rest.trim_start();
    }
    Ok(bytes)
}

fn parse_hex(token: &str) -> Option<Vec<u8>> {
    if let Some((byte, count)) = token.split_once('*') {
        return Some(vec![u8::from_str_radix(byte, 16).ok()?; count.parse().ok()?]);
    }
    let digits = (0..token.len()).step_by(2).map(|at| token.get(at..at + 2));
    digits.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

/// Makes rubbish that is nearly right, the same for the same seed
#[derive(Debug)]
pub struct Mutator(ChaCha8Rng);

impl Mutator {
    /// A mutator whose choices follow from `seed`
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// One of `corpus`, changed in one to four places
    pub fn mutate(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.pick(corpus);
        for _ in 0..=self.below(4) {
            self.change(&mut bytes, corpus);
        }
        bytes
    }

    /// A number under `bound`, 0 if that is 0
    pub fn below(&mut self, bound: usize) -> usize {
        (self.0.next_u64() % (bound.max(1) as u64)) as usize
    }

    fn pick(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let which = self.below(corpus.len());
        corpus.get(which).cloned().unwrap_or_default()
    }

    fn change(&mut self, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(bytes.len());
        match self.below(8) {
            0 => self.overwrite(bytes, at, |byte, random| byte ^ (1 << (random % 8))),
            1 => self.overwrite(bytes, at, |_, random| random),
            2 => self.overwrite(bytes, at, |byte, random| byte.wrapping_add(random % 3).wrapping_sub(1)),
            3 => bytes.truncate(at),
            4 => self.interesting(bytes, at),
            5 => drop(bytes.splice(at..(at + 4).min(bytes.len()), None)),
            6 => {
                let tail = self.pick(corpus);
                let from = self.below(tail.len());
                bytes.truncate(at);
                bytes.extend_from_slice(tail.get(from..).unwrap_or_default());
            }
            _ => self.repair_length(bytes),
        }
    }

    fn overwrite(&mut self, bytes: &mut [u8], at: usize, change: fn(u8, u8) -> u8) {
        let random = self.below(256) as u8;
        if let Some(byte) = bytes.get_mut(at) {
            *byte = change(*byte, random);
        }
    }

    /// A count or length that lies
    fn interesting(&mut self, bytes: &mut [u8], at: usize) {
        const NUMBERS: [u32; 10] = [0, 1, 2, 63, 64, 65, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff];
        let number = NUMBERS.get(self.below(NUMBERS.len())).copied().unwrap_or_default().to_le_bytes();
        for (byte, new) in bytes.iter_mut().skip(at).zip(number) {
            *byte = new;
        }
    }

    /// Makes the header's length true again, so that changes of the body's length reach the body's decoder
    fn repair_length(&mut self, bytes: &mut [u8]) {
        let len = bytes.len().saturating_sub(FRAME_HEADER_BYTES) as u32;
        for (byte, new) in bytes.iter_mut().skip(1).zip(len.to_le_bytes().into_iter().take(3)) {
            *byte = new;
        }
    }
}
