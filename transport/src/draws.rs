//! What an endpoint draws.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn_proto::ConnectionIdGenerator;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

/// Bytes of this end's names for connections: with eight, nobody guesses one
const CONNECTION_ID_BYTES: usize = 8;

pub(crate) fn drawn<const N: usize>(rng: &mut ChaCha20Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Draws this end's names for connections
#[derive(Clone)]
pub(crate) struct Names(Arc<Mutex<ChaCha20Rng>>);

impl Names {
    pub(crate) fn new(rng: ChaCha20Rng) -> Self {
        Self(Arc::new(Mutex::new(rng)))
    }
}

impl ConnectionIdGenerator for Names {
    fn generate_cid(&mut self) -> quinn_proto::ConnectionId {
        let mut rng = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        quinn_proto::ConnectionId::new(&drawn::<CONNECTION_ID_BYTES>(&mut rng))
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
