//! What work costs where processors are limited, in processor time of one whole core.
//!
//! The sums are what was measured of the product: a peer at rest with eight links wakes three or four times a second, for
//! a probe or a reply, and takes 0.2 ms a second, one with sixteen links of sixty on a machine 0.5 ms; a forwarder under load takes 12 µs for a message and its receipt; a mesh
//! of sixty processes that start at once takes 2.2 ms for each side of a handshake, with caches that others have used
//! meanwhile. Only proportions matter.

use std::time::Duration;

/// One side of a TLS handshake
pub(super) const HANDSHAKE: Duration = Duration::from_millis(2);
/// What a dialler computes before it says anything: a pair of keys
pub(super) const CLIENT_HELLO: Duration = Duration::from_micros(200);
/// An Ed25519 signature
pub(super) const SIGN: Duration = Duration::from_micros(20);
/// … which somebody checks
pub(super) const VERIFY: Duration = Duration::from_micros(45);
/// A thread that wakes to do anything: its timers, and caches that others have used meanwhile
pub(super) const WAKE: Duration = Duration::from_micros(80);
/// A stream that is readable: a system call, a task that wakes, and a cipher
pub(super) const READ: Duration = Duration::from_micros(6);
/// A batch that is written, likewise
pub(super) const WRITE: Duration = Duration::from_micros(6);
/// A frame that is decoded or encoded, and what a core does about it
pub(super) const FRAME: Duration = Duration::from_micros(1);
/// A kilobyte read or written: copies and a cipher, at 100 MB/s
pub(super) const KILOBYTE: Duration = Duration::from_micros(10);
/// A command that a supernode applies: it finds whose tables change
pub(super) const COMMAND: Duration = Duration::from_micros(20);
/// A table that a supernode works out for a peer; the frame comes on top
pub(super) const REWIRE: Duration = Duration::from_micros(5);
/// A timer that goes off
pub(super) const TIMER: Duration = Duration::from_micros(2);
