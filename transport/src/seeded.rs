//! Handshakes that are the same again: what TLS draws comes from a seed. For tests and the simulator alone; whoever knows
//! the seed can read everything.

use std::cell::RefCell;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret, SupportedKxGroup, ring,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved};
use x25519_dalek::{PublicKey, StaticSecret};

thread_local! {
    static DRAWN: RefCell<ChaCha20Rng> = RefCell::new(ChaCha20Rng::seed_from_u64(0));
}

/// All that TLS draws on this thread follows from `seed` from now on
pub fn seed(seed: u64) {
    DRAWN.set(ChaCha20Rng::seed_from_u64(seed));
}

fn draw(bytes: &mut [u8]) {
    DRAWN.with_borrow_mut(|drawn| drawn.fill_bytes(bytes));
}

/// What TLS needs, of *ring*'s, but for chance
pub fn provider() -> CryptoProvider {
    CryptoProvider { kx_groups: vec![&Group], secure_random: &Chance, ..ring::default_provider() }
}

#[derive(Debug)]
struct Chance;

impl SecureRandom for Chance {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        draw(bytes);
        Ok(())
    }
}

#[derive(Debug)]
struct Group;

impl SupportedKxGroup for Group {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut bytes = [0; 32];
        draw(&mut bytes);
        let secret = StaticSecret::from(bytes);
        Ok(Box::new(Exchange { public: PublicKey::from(&secret).to_bytes(), secret }))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

struct Exchange {
    secret: StaticSecret,
    public: [u8; 32],
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, theirs: &[u8]) -> Result<SharedSecret, Error> {
        let theirs: [u8; 32] = theirs.try_into().map_err(|_| PeerMisbehaved::InvalidKeyShare)?;
        let shared = self.secret.diffie_hellman(&PublicKey::from(theirs));
        if !shared.was_contributory() {
            return Err(PeerMisbehaved::InvalidKeyShare.into());
        }
        Ok(SharedSecret::from(shared.as_bytes().as_slice()))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}
