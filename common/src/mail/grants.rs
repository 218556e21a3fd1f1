//! Grants that were verified before, so that a message of a known sender costs one signature and not three.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::crypto::Verifier;
use crate::id::NetworkId;
use crate::wire::content::{Message, SignedMessage};
use crate::wire::grant::{Certificate, Grant, GrantError, SignedCertificate, SignedGrant};

/// Grants that are remembered; at the bound all are forgotten, and verified once more: simple, and rare
const GRANTS_MAX: usize = 1_024;
/// Certificates that are remembered, likewise: a network has a few supernodes
const CERTIFICATES_MAX: usize = 16;

/// Verified grants of one network
#[derive(Debug, Default)]
pub(super) struct Grants {
    network: Option<NetworkId>,
    certificates: BTreeMap<SignedCertificate, Certificate>,
    verified: BTreeMap<SignedGrant, Grant>,
}

impl Grants {
    /// The grant, if a supernode of `network` signed it
    pub(super) fn verify(
        &mut self,
        network: &NetworkId,
        signed: &SignedGrant,
        verifier: &impl Verifier,
    ) -> Result<Grant, GrantError> {
        if self.network != Some(*network) || self.verified.len() >= GRANTS_MAX {
            self.verified.clear();
            self.certificates.clear();
            self.network = Some(*network);
        }
        if let Some(grant) = self.verified.get(signed) {
            return Ok(grant.clone());
        }
        let grant = signed.verify_under(self.certificate(network, signed.certificate(), verifier)?, verifier)?;
        self.verified.insert(signed.clone(), grant.clone());
        Ok(grant)
    }

    fn certificate(
        &mut self,
        network: &NetworkId,
        signed: &SignedCertificate,
        verifier: &impl Verifier,
    ) -> Result<&Certificate, GrantError> {
        if self.certificates.len() >= CERTIFICATES_MAX && !self.certificates.contains_key(signed) {
            self.certificates.clear();
        }
        match self.certificates.entry(signed.clone()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(signed.verify(Some(network), verifier)?)),
        }
    }

    /// The sender's grant and the message, if a member of `network` signed it
    pub(super) fn verify_message(
        &mut self,
        network: &NetworkId,
        signed: &SignedMessage,
        verifier: &impl Verifier,
    ) -> Result<(Grant, Message), GrantError> {
        let grant = self.verify(network, signed.grant(), verifier)?;
        let message = signed.verify(&grant, verifier)?;
        Ok((grant, message))
    }
}
