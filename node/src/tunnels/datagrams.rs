//! Datagrams in a pipe, each behind its length: two bytes, little endian.
//!
//! A pipe keeps their order and loses none, which datagrams do not ask for; whoever sends more than it carries loses what does not
//! find room at its beginning, as anywhere else.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::piping::Ends;

/// Bytes of a datagram, as its length says them
const DATAGRAM_BYTES_MAX: usize = u16::MAX as usize;
/// Datagrams that wait for room in a pipe: some hundredths of a second of video
const WAITING_MAX: usize = 64;
/// Bytes between the frames and the pipe
const FRAMES_BYTES: usize = 64 * 1024;
/// A flow without a datagram for so long is over, as most firewalls see it
const IDLE: Duration = Duration::from_secs(60);

/// What waits to go into a pipe: more than [`WAITING_MAX`] are dropped
pub(super) type Waiting = mpsc::Sender<Bytes>;

/// The ends of a pipe that carries datagrams, and the other side of it
pub(super) fn framed() -> (Ends, DuplexStream) {
    let (program, own) = duplex(FRAMES_BYTES);
    let (reader, writer) = tokio::io::split(program);
    (Ends { reader: Box::new(reader), writer: Box::new(writer) }, own)
}

/// What a flow takes into its pipe, and from where
pub(super) fn waiting() -> (Waiting, mpsc::Receiver<Bytes>) {
    mpsc::channel(WAITING_MAX)
}

/// The ends of a socket that is connected to one address
pub(super) fn of_connected(socket: UdpSocket) -> Ends {
    let (ends, own) = framed();
    let (to_pipe, from_socket) = waiting();
    let socket = Arc::new(socket);
    let receiving = tokio::spawn(receive(Arc::clone(&socket), to_pipe));
    tokio::spawn(async move {
        relay(own, from_socket, |datagram| {
            let socket = Arc::clone(&socket);
            async move { socket.send(&datagram).await.map(|_| ()) }
        })
        .await;
        receiving.abort();
    });
    ends
}

async fn receive(socket: Arc<UdpSocket>, to_pipe: Waiting) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        match socket.recv(&mut buffer).await {
            Ok(bytes) => {
                if !put(&to_pipe, buffer.get(..bytes).unwrap_or_default()) {
                    return;
                }
            }
            // Nobody listens there just now (ICMP): datagrams may be sent all the same.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => {
                tracing::debug!(event = "datagrams_end", reason = %error);
                return;
            }
        }
    }
}

/// Lets a datagram wait for the pipe, or drops it where too many do; whether the pipe is there still
pub(super) fn put(to_pipe: &Waiting, datagram: &[u8]) -> bool {
    match to_pipe.try_send(Bytes::copy_from_slice(datagram)) {
        Ok(()) => true,
        Err(mpsc::error::TrySendError::Full(_)) => {
            tracing::trace!(event = "datagram_dropped", reason = "the pipe has no room for it");
            true
        }
        Err(mpsc::error::TrySendError::Closed(_)) => false,
    }
}

/// Carries datagrams both ways until the pipe ends, or nothing has passed for [`IDLE`]
pub(super) async fn relay<F: Future<Output = io::Result<()>>>(
    pipe: DuplexStream,
    from_socket: mpsc::Receiver<Bytes>,
    send: impl Fn(Bytes) -> F,
) {
    let (reader, writer) = tokio::io::split(pipe);
    let passed = Notify::new();
    let reason = tokio::select! {
        () = idle(&passed) => "nothing has passed for a minute",
        _ = write(from_socket, writer, &passed) => "no more come",
        _ = read(reader, send, &passed) => "the pipe has ended",
    };
    tracing::debug!(event = "datagrams_end", reason);
}

async fn idle(passed: &Notify) {
    while timeout(IDLE, passed.notified()).await.is_ok() {}
}

async fn write(
    mut from_socket: mpsc::Receiver<Bytes>,
    mut writer: impl AsyncWrite + Unpin,
    passed: &Notify,
) -> io::Result<()> {
    while let Some(datagram) = from_socket.recv().await {
        let Ok(length) = u16::try_from(datagram.len()) else { continue };
        writer.write_all(&length.to_le_bytes()).await?;
        writer.write_all(&datagram).await?;
        passed.notify_one();
    }
    Ok(())
}

async fn read<F: Future<Output = io::Result<()>>>(
    mut reader: impl AsyncRead + Unpin,
    send: impl Fn(Bytes) -> F,
    passed: &Notify,
) -> io::Result<()> {
    loop {
        let length = reader.read_u16_le().await?;
        let mut datagram = vec![0; length.into()];
        reader.read_exact(&mut datagram).await?;
        passed.notify_one();
        // One that is too long for its way, or that nobody takes, is lost as any other.
        if let Err(error) = send(Bytes::from(datagram)).await {
            tracing::trace!(event = "datagram_dropped", reason = %error);
        }
    }
}

/// Sends what comes of a pipe to whoever has begun a flow
pub(super) async fn relay_to(
    socket: Arc<UdpSocket>,
    to: SocketAddr,
    pipe: DuplexStream,
    from_socket: mpsc::Receiver<Bytes>,
) {
    relay(pipe, from_socket, |datagram| {
        let socket = Arc::clone(&socket);
        async move { socket.send_to(&datagram, to).await.map(|_| ()) }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn datagrams_pass_both_ways_with_their_bounds_and_empty_ones_too() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(server.local_addr().unwrap()).await.unwrap();
        let Ends { mut reader, mut writer } = of_connected(socket);
        writer.write_all(&[1, 0, 7, 0, 0, 2, 0, 8, 9]).await.unwrap();
        let mut buffer = [0; 16];
        for expected in [&[7][..], &[], &[8, 9]] {
            let (bytes, from) = timeout(LIMIT, server.recv_from(&mut buffer)).await.unwrap().unwrap();
            assert_eq!(&buffer[..bytes], expected);
            server.send_to(expected, from).await.unwrap();
        }
        let mut frames = [0; 9];
        timeout(LIMIT, reader.read_exact(&mut frames)).await.unwrap().unwrap();
        assert_eq!(frames, [1, 0, 7, 0, 0, 2, 0, 8, 9]);
    }

    #[tokio::test]
    async fn what_finds_no_room_is_dropped_and_holds_nobody_up() {
        let (to_pipe, from_socket) = waiting();
        for _ in 0..WAITING_MAX * 2 {
            assert!(put(&to_pipe, b"datagram"));
        }
        drop(from_socket);
        assert!(!put(&to_pipe, b"datagram"));
    }

    #[tokio::test(start_paused = true)]
    async fn flow_without_a_datagram_is_over_after_a_minute() {
        let (ends, own) = framed();
        let (_to_pipe, from_socket) = waiting();
        relay(own, from_socket, |_| async { Ok(()) }).await;
        let mut reader = ends.reader;
        assert_eq!(reader.read(&mut [0; 1]).await.unwrap(), 0);
    }
}
