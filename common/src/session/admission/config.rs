//! Who may come into a network, and for how long.

use std::time::Duration;

use crate::id::NetworkId;
use crate::session::Secret;
use crate::wire::grant::SignedCertificate;

/// What all admissions of a supernode share
#[derive(Clone, Debug)]
pub struct AdmissionConfig {
    pub network: NetworkId,
    /// The right to sign grants
    pub certificate: SignedCertificate,
    /// What every peer must prove to know; none: `is_open` says who is let in
    pub secret: Option<Secret>,
    /// Without a secret: whether whoever comes may have a name, or only who holds an invite
    pub is_open: bool,
    /// How long a session lasts without a renewal
    pub lease: Duration,
}

impl AdmissionConfig {
    /// Whether whoever comes may have a name that nobody has
    pub const fn takes_anybody(&self) -> bool {
        self.is_open && self.secret.is_none()
    }

    /// Whether a newcomer needs an invite; else there is a secret to know, or [`Self::takes_anybody`]
    pub const fn takes_invites_only(&self) -> bool {
        !self.is_open && self.secret.is_none()
    }
}
