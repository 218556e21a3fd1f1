//! The network's own key: made by its first supernode, kept in `network/` in that supernode's home.

use std::path::Path;

use kith_common::crypto::{self, Signer};
use kith_common::id::{Key, NetworkId, SupernodeId};
use kith_common::wire::WireError;
use kith_common::wire::grant::{Certificate, SignedCertificate};
use kith_runtime::identity::{Identity, IdentityError};

/// The serial of the first supernode's certificate
///
/// A network has one supernode for now; further ones will count up from here.
const FIRST_SERIAL: u64 = 1;

/// There is no network to serve
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    /// Its key cannot be had
    #[error("the network's key: {0}")]
    Key(#[from] IdentityError),
    /// A certificate cannot be written
    #[error("the supernode's certificate: {0}")]
    Certificate(#[from] WireError),
}

/// A supernode's right to sign grants, and the network that it is a right in
pub(crate) struct Network {
    id: NetworkId,
    certificate: SignedCertificate,
}

impl Network {
    /// Reads the network key from `home`, or makes one there, and certifies `supernode` with it
    ///
    /// # Errors
    /// [`NetworkError`] if the key file cannot be read, written, or is open to others; nothing was changed then.
    pub(crate) fn load_or_create(home: &Path, supernode: Key) -> Result<Self, NetworkError> {
        let network_key = Identity::load_or_create(&home.join("network"))?;
        let certificate = Certificate { network_key: network_key.key(), supernode, serial: FIRST_SERIAL };
        let id = crypto::network_id(&network_key.key());
        let certificate = SignedCertificate::sign(&certificate, &network_key)?;
        Ok(Self { id, certificate })
    }

    pub(crate) fn id(&self) -> NetworkId {
        self.id
    }

    /// The supernode that was certified
    pub(crate) const fn supernode(&self) -> SupernodeId {
        SupernodeId(FIRST_SERIAL)
    }

    /// The certificate that challenges and grants show
    pub(crate) fn certificate(&self) -> &SignedCertificate {
        &self.certificate
    }
}
