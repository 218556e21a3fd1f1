//! Links by hand: libp2p's TLS with our frames straight on it, and nobody behind it who decides anything.
//!
//! A process of the product has one key and one link thread; whoever needs many keys in one process, or bytes that no
//! honest node would send, makes links of these.

use std::io;
use std::net::SocketAddr;

use kith_common::id::Key;
use kith_common::wire::{Bye, FRAME_HEADER_BYTES, Frame, FrameKind, parse_frame_header};
use kith_runtime::link::CloseReason;
use libp2p::PeerId;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use libp2p::futures::io::{ReadHalf, WriteHalf};
use libp2p::futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::identity::PublicKey;
use libp2p::tcp::tokio::TcpStream;
use libp2p::tls::{Config, TlsStream};

/// What is read at once
const CHUNK_BYTES: usize = 4 * 1024;

/// A TLS connection to `to`, with nothing behind it, and who is at its other end
///
/// # Errors
/// Nobody answers, or the handshake fails.
pub async fn connect(tls: Config, to: SocketAddr) -> io::Result<(PeerId, TlsStream<TcpStream>)> {
    connect_on(tls, tokio::net::TcpStream::connect(to).await?).await
}

/// As [`connect`], on a connection that stands
///
/// # Errors
/// The handshake fails.
pub async fn connect_on(tls: Config, tcp: tokio::net::TcpStream) -> io::Result<(PeerId, TlsStream<TcpStream>)> {
    tcp.set_nodelay(true)?;
    tls.upgrade_outbound(TcpStream(tcp), "").await.map_err(io::Error::other)
}

/// As [`connect`], for a connection that somebody else has made
///
/// # Errors
/// The handshake fails.
pub async fn accept(tls: Config, tcp: tokio::net::TcpStream) -> io::Result<(PeerId, TlsStream<TcpStream>)> {
    tls.upgrade_inbound(TcpStream(tcp), "").await.map_err(io::Error::other)
}

/// The key that a libp2p name of ours holds as it is; `None` for a key of another kind
pub fn key_of(peer: &PeerId) -> Option<Key> {
    let public = PublicKey::try_decode_protobuf(peer.as_ref().digest()).ok()?;
    public.try_into_ed25519().ok().map(|public| Key(public.to_bytes()))
}

/// The two halves of a stream, and what has come of a frame that is not whole: less than one frame
pub struct Wire {
    read: ReadHalf<TlsStream<TcpStream>>,
    write: WriteHalf<TlsStream<TcpStream>>,
    partial: Vec<u8>,
}

impl Wire {
    pub fn new(stream: TlsStream<TcpStream>) -> Self {
        let (read, write) = stream.split();
        Self { read, write, partial: Vec::new() }
    }

    /// Writes bytes as they are
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write.write_all(bytes).await?;
        self.write.flush().await
    }

    /// Writes a frame
    ///
    /// # Errors
    /// The connection is gone, or no such frame can be written.
    pub async fn send(&mut self, frame: &Frame) -> io::Result<()> {
        self.write(&frame.to_bytes().map_err(io::Error::other)?).await
    }

    /// One frame, before there is a link
    ///
    /// # Errors
    /// The connection is gone, or this is no frame.
    pub async fn receive(&mut self) -> io::Result<(FrameKind, Vec<u8>)> {
        let mut head = [0; FRAME_HEADER_BYTES];
        self.read.read_exact(&mut head).await?;
        let (kind, len) = parse_frame_header(head).map_err(io::Error::other)?;
        let mut body = vec![0; len];
        self.read.read_exact(&mut body).await?;
        Ok((kind, body))
    }

    /// The frames that have become whole, none perhaps, as soon as there is something to read
    ///
    /// A call that is given up has read nothing.
    ///
    /// # Errors
    /// How the link has ended.
    pub async fn frames(&mut self) -> Result<Vec<Frame>, CloseReason> {
        let mut chunk = [0; CHUNK_BYTES];
        match self.read.read(&mut chunk).await {
            Ok(0) => Err(CloseReason::Reset(io::ErrorKind::UnexpectedEof)),
            Ok(count) => self.take_frames(chunk.get(..count).unwrap_or_default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads whatever still comes; how the link has ended, if the other side has said so
    pub async fn last_word(&mut self) -> Option<CloseReason> {
        let mut rest = Vec::new();
        // What came before the end counts, however that one came.
        self.read.read_to_end(&mut rest).await.ok();
        self.take_frames(&rest).err()
    }

    /// Every whole frame, with these bytes; a bye is the end
    fn take_frames(&mut self, bytes: &[u8]) -> Result<Vec<Frame>, CloseReason> {
        self.partial.extend_from_slice(bytes);
        let (mut frames, mut rest) = (Vec::new(), self.partial.as_slice());
        while let Some((head, after)) = rest.split_first_chunk::<FRAME_HEADER_BYTES>() {
            let (kind, len) = parse_frame_header(*head).map_err(CloseReason::Protocol)?;
            let Some((body, after)) = after.split_at_checked(len) else { break };
            match Frame::decode(kind, body).map_err(CloseReason::Protocol)? {
                Frame::Bye(Bye { status, reason }) => return Err(CloseReason::Bye { status, reason }),
                frame => frames.push(frame),
            }
            rest = after;
        }
        self.partial = rest.to_vec();
        Ok(frames)
    }
}
