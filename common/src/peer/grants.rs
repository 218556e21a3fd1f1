//! Grants that were verified before, so that a conversation costs one signature a message and not three.

use std::collections::BTreeMap;

use crate::id::NetworkId;
use crate::wire::content::{Message, SignedMessage};
use crate::wire::grant::{Grant, GrantError, SignedGrant};

/// Grants that are remembered; at the bound all are forgotten, and verified once more: simple, and rare
const GRANTS_MAX: usize = 1_024;

/// Verified grants of one network
#[derive(Debug, Default)]
pub(super) struct Grants {
    network: Option<NetworkId>,
    verified: BTreeMap<SignedGrant, Grant>,
}

impl Grants {
    /// The grant, if a supernode of `network` signed it
    pub(super) fn verify(&mut self, network: &NetworkId, signed: &SignedGrant) -> Result<Grant, GrantError> {
        if self.network != Some(*network) || self.verified.len() >= GRANTS_MAX {
            self.verified.clear();
            self.network = Some(*network);
        }
        if let Some(grant) = self.verified.get(signed) {
            return Ok(grant.clone());
        }
        let grant = signed.verify(network)?;
        self.verified.insert(signed.clone(), grant.clone());
        Ok(grant)
    }

    /// The sender's grant and the message, if a member of `network` signed it
    pub(super) fn verify_message(
        &mut self,
        network: &NetworkId,
        signed: &SignedMessage,
    ) -> Result<(Grant, Message), GrantError> {
        let grant = self.verify(network, signed.grant())?;
        let message = signed.verify(&grant)?;
        Ok((grant, message))
    }
}
