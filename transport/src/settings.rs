//! How QUIC is set for an overlay: its packets are ours, so their size is chosen and not found out.

use std::sync::Arc;
use std::time::Duration;

use quinn_proto::{IdleTimeout, TransportConfig, VarInt};

use crate::acked::Acked;

/// Bytes of one QUIC datagram, which is one packet's payload, at most: half of what a packet of 1,200 bytes costs a byte, and
/// four of them still fit into a frame's class
pub const DATAGRAM_BYTES: u16 = 6_000;

/// Bytes that one stream may have under way
///
/// quinn-proto ends a whole connection when one stream has more than 1,024 pieces out of order, and an overlay reorders:
/// a window holds no more packets than that.
pub const STREAM_WINDOW: u32 = 1 << 20;

const _: () = assert!(STREAM_WINDOW < 1024 * (DATAGRAM_BYTES as u32));

/// Bytes that all streams of one connection may have under way: as many as one, so that a thousand connections that nobody
/// reads hold no more than a gigabyte
pub const CONNECTION_WINDOW: u32 = STREAM_WINDOW;

/// … and as much more for each pipe, as what waits in one that nobody reads must not hold up the others; of so many at most
pub const PIPES_WINDOWS_MAX: usize = 63;

/// Streams of each direction that the other end may have open; one more waits at its end. Two thousand TCP connections that go
/// to one peer as pipes have room, beside what is asked; one that holds nothing costs a few hundred bytes.
pub const STREAMS_MAX: u32 = 2_304;

/// Bytes of datagrams that wait to be sent, or to be read; the oldest go first, as the latest is wanted
pub const DATAGRAMS_BYTES_MAX: usize = 64 * 1024;

/// Connections at once: some 60 KiB each while they are used, and [`CONNECTION_WINDOW`]
/// more at worst. One more takes the place of the one that was heard last the longest ago, strangers first that have proved no
/// key yet.
pub const CONNECTIONS_MAX: usize = 1024;

/// A connection on which nothing has been heard for so long ends: both ends keep what it costs until then, and a new one
/// costs two round trips, or one with a ticket
pub const IDLE: Duration = Duration::from_secs(60);

/// What a round trip is taken for before one was measured: some hops at the other end of a continent. A first packet that
/// vanishes is sent again after three of it.
pub const FIRST_ROUND_TRIP: Duration = Duration::from_millis(100);

/// For one connection, of which `acked` is told
pub(crate) fn transport(acked: Acked) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(STREAMS_MAX.into())
        .max_concurrent_uni_streams(STREAMS_MAX.into())
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE.as_millis() as u32))))
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(CONNECTION_WINDOW.into())
        .initial_rtt(FIRST_ROUND_TRIP)
        .initial_mtu(DATAGRAM_BYTES)
        .min_mtu(DATAGRAM_BYTES)
        .mtu_discovery_config(None)
        .datagram_receive_buffer_size(Some(DATAGRAMS_BYTES_MAX))
        .datagram_send_buffer_size(DATAGRAMS_BYTES_MAX)
        .congestion_controller_factory(Arc::new(acked))
        .enable_segmentation_offload(false)
        // Whoever looks on learns nothing from it that a forwarder should know.
        .allow_spin(false);
    Arc::new(config)
}
