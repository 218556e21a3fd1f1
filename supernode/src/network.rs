//! Whose supernode this is: the network's own key, and the certificates that it has signed.
//!
//! The first supernode of a network makes the network key, in `network/` in its home. That directory may be carried
//! elsewhere: it is wanted only where another supernode gets its certificate, and it has the list of all that were given.

use std::io;
use std::path::{Path, PathBuf};

use kith_common::crypto::{self, Ed25519, Signer};
use kith_common::hex;
use kith_common::id::{Key, NetworkId, SupernodeId};
use kith_common::wire::grant::{Certificate, GrantError, SignedCertificate};
use kith_common::wire::{self, WireError};
use kith_runtime::files;
use kith_runtime::identity::{Identity, IdentityError, KEY_FILE};

/// The directory of the network key, in the home of the supernode that made it
pub(crate) const NETWORK_DIRECTORY: &str = "network";
/// The certificate's file in a supernode's home
const CERTIFICATE_FILE: &str = "certificate";
/// The list of certificates, beside the network key
const ISSUED_FILE: &str = "issued";
/// What a certificate's line begins with; the number is of its form
const PREFIX: &str = "kith-certificate1-";
/// What is read of the list at most: some ten thousand certificates
const ISSUED_BYTES_MAX: u64 = 1 << 20;
/// What is read of a certificate's file at most
const CERTIFICATE_BYTES_MAX: u64 = 4096;

/// There is no network to serve
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    /// Its key cannot be had
    #[error("the network's key: {0}")]
    Key(#[from] IdentityError),
    /// A certificate cannot be written
    #[error("the supernode's certificate: {0}")]
    Unwritable(#[from] WireError),
    /// A file cannot be used
    #[error("{action} {}: {error}", path.display())]
    Io { action: &'static str, path: PathBuf, error: io::Error },
    /// A newcomer has none
    #[error(
        "this supernode has no certificate of the network that it is to join; on the machine with the network's key type: \
         kith-supernode certify {key:?}, and here: run --join HOST --certificate LINE, with the line that it prints"
    )]
    NoCertificate { key: Key },
    /// It is another supernode's
    #[error(
        "the certificate is for the key {certified:?}, and this supernode's is {key:?}; its own comes of: kith-supernode certify {key:?}"
    )]
    OtherKey { certified: Key, key: Key },
    /// It is elsewhere
    #[error(
        "the network's key is not in {}; it is in the home of the supernode that made the network, or where somebody has \
         put it: say where with --network DIR",
        .0.display()
    )]
    NoNetworkKey(PathBuf),
    /// It was changed
    #[error("the certificate {0}; copy all of its line")]
    Unreadable(&'static str),
    /// It is not the network key's word
    #[error("the certificate: {0}")]
    Untrue(#[from] GrantError),
    /// The list is not what was written
    #[error("{} is damaged in line {line}; put back a copy of it: no serial may be given twice", path.display())]
    Issued { path: PathBuf, line: usize },
}

/// A supernode's right to sign grants, and the network that it is a right in
pub(crate) struct Network {
    id: NetworkId,
    serial: u64,
    certificate: SignedCertificate,
}

impl Network {
    /// The certificate in `home`, or `given` in its place; without any, the one that the network key in `home` signs, which
    /// is made if this supernode is not `joining` a network that has one
    ///
    /// # Errors
    /// [`NetworkError`] says what is missing; nothing was changed then.
    pub(crate) fn load(home: &Path, supernode: Key, given: Option<&str>, joining: bool) -> Result<Self, NetworkError> {
        let path = home.join(CERTIFICATE_FILE);
        let kept = match files::read(&path, CERTIFICATE_BYTES_MAX) {
            Ok((_, bytes)) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(NetworkError::Io { action: "read", path, error }),
        };
        let (signed, is_kept) = match (given, kept) {
            (Some(line), kept) => (parse(line)?, kept.is_some_and(|kept| kept.trim() == line.trim())),
            (None, Some(line)) => (parse(&line)?, true),
            (None, None) if joining => return Err(NetworkError::NoCertificate { key: supernode }),
            (None, None) => (Issuer::load_or_create(&home.join(NETWORK_DIRECTORY))?.issue(supernode)?, false),
        };
        let certificate = signed.verify(None, &Ed25519)?;
        if certificate.supernode != supernode {
            return Err(NetworkError::OtherKey { certified: certificate.supernode, key: supernode });
        }
        if !is_kept {
            put(home, &signed)?;
        }
        let id = crypto::network_id(&certificate.network_key);
        Ok(Self { id, serial: certificate.serial, certificate: signed })
    }

    pub(crate) fn id(&self) -> NetworkId {
        self.id
    }

    /// The supernode that was certified
    pub(crate) const fn supernode(&self) -> SupernodeId {
        SupernodeId(self.serial)
    }

    /// The certificate that challenges and grants show
    pub(crate) fn certificate(&self) -> &SignedCertificate {
        &self.certificate
    }
}

/// The network key, and the list of what it has signed
pub(crate) struct Issuer {
    key: Identity,
    issued: PathBuf,
}

impl Issuer {
    /// The network key in this directory
    ///
    /// # Errors
    /// [`NetworkError`]; also if there is none, as a new one would be of another network.
    pub(crate) fn load(directory: &Path) -> Result<Self, NetworkError> {
        if directory.join(KEY_FILE).exists() {
            return Self::load_or_create(directory);
        }
        Err(NetworkError::NoNetworkKey(directory.to_owned()))
    }

    /// The network key in this directory, which is made if it is not there
    ///
    /// # Errors
    /// [`NetworkError::Key`] if its file cannot be read, written, or is open to others.
    pub(crate) fn load_or_create(directory: &Path) -> Result<Self, NetworkError> {
        let key = Identity::load_or_create(directory)?;
        Ok(Self { key, issued: directory.join(ISSUED_FILE) })
    }

    /// A certificate for a supernode's key: the one that it was given before, or one with the next serial
    ///
    /// # Errors
    /// [`NetworkError`]; no certificate was given, though its serial may be used up.
    pub(crate) fn issue(&self, supernode: Key) -> Result<SignedCertificate, NetworkError> {
        let mut issued = self.read()?;
        let known = issued.iter().find(|(_, key)| *key == supernode).map(|(serial, _)| *serial);
        let serial = match known {
            Some(serial) => serial,
            None => {
                let serial = issued.iter().map(|(serial, _)| *serial).max().unwrap_or_default() + 1;
                issued.push((serial, supernode));
                self.write(&issued)?;
                serial
            }
        };
        let certificate = Certificate { network_key: self.key.key(), supernode, serial };
        Ok(SignedCertificate::sign(&certificate, &self.key)?)
    }

    /// Gives the supernode in `home` its certificate, and its key if it has none yet
    ///
    /// # Errors
    /// As [`Self::issue`], and if the home cannot be used; what was made there until then is left.
    pub(crate) fn issue_into(&self, home: &Path) -> Result<SignedCertificate, NetworkError> {
        let certificate = self.issue(Identity::load_or_create(home)?.key())?;
        put(home, &certificate)?;
        Ok(certificate)
    }

    fn read(&self) -> Result<Vec<(u64, Key)>, NetworkError> {
        let path = || self.issued.clone();
        let bytes = match files::read(&self.issued, ISSUED_BYTES_MAX) {
            Ok((_, bytes)) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(NetworkError::Io { action: "read", path: path(), error }),
        };
        let mut issued = Vec::new();
        for (at, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let entry = files::checked(line).and_then(|line| {
                let (serial, key) = line.split_once(' ')?;
                Some((serial.parse().ok()?, key.parse().ok()?))
            });
            issued.push(entry.ok_or_else(|| NetworkError::Issued { path: path(), line: at + 1 })?);
        }
        Ok(issued)
    }

    fn write(&self, issued: &[(u64, Key)]) -> Result<(), NetworkError> {
        let lines: String =
            issued.iter().map(|(serial, key)| files::with_check(&format!("{serial} {key:?}"))).collect();
        let failed = |error| NetworkError::Io { action: "write", path: self.issued.clone(), error };
        files::replace(&self.issued, lines.as_bytes()).map_err(failed)
    }
}

/// A certificate as one line that can be copied; it is no secret
///
/// # Errors
/// None of a certificate: its size is fixed.
pub(crate) fn line(certificate: &SignedCertificate) -> Result<String, WireError> {
    Ok(format!("{PREFIX}{}", hex::encode(&wire::encode(certificate)?)))
}

/// Keeps a certificate in the home of the supernode that it is for
///
/// # Errors
/// [`NetworkError::Io`]; whatever was kept there is left.
fn put(home: &Path, certificate: &SignedCertificate) -> Result<(), NetworkError> {
    let (path, line) = (home.join(CERTIFICATE_FILE), format!("{}\n", line(certificate)?));
    files::replace(&path, line.as_bytes()).map_err(|error| NetworkError::Io { action: "write", path, error })
}

fn parse(line: &str) -> Result<SignedCertificate, NetworkError> {
    let digits = line.trim().strip_prefix(PREFIX).ok_or(NetworkError::Unreadable("is none"))?;
    let bytes = hex::decode(digits).ok_or(NetworkError::Unreadable("is not whole"))?;
    wire::decode(&bytes).map_err(|_| NetworkError::Unreadable("is not whole"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(of: u8) -> Key {
        Identity::from_seed([of; 32]).key()
    }

    #[test]
    fn first_supernode_makes_a_network_and_has_it_again() {
        let home = tempfile::tempdir().unwrap();
        let made = Network::load(home.path(), key(1), None, false).unwrap();
        assert_eq!(made.supernode(), SupernodeId(1));
        // Even without the network key, which may be elsewhere by now.
        std::fs::rename(home.path().join(NETWORK_DIRECTORY), home.path().join("elsewhere")).unwrap();
        let again = Network::load(home.path(), key(1), None, false).unwrap();
        assert_eq!((again.id(), again.supernode()), (made.id(), made.supernode()));
        assert!(!home.path().join(NETWORK_DIRECTORY).exists());
    }

    #[test]
    fn newcomer_needs_a_certificate_and_keeps_it() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let network = Network::load(first.path(), key(1), None, false).unwrap();
        let refused = Network::load(second.path(), key(2), None, true).err().unwrap().to_string();
        assert!(refused.contains(&format!("kith-supernode certify {:?}", key(2))), "{refused}");
        assert_eq!(std::fs::read_dir(second.path()).unwrap().count(), 0);
        let issuer = Issuer::load_or_create(&first.path().join(NETWORK_DIRECTORY)).unwrap();
        let given = line(&issuer.issue(key(2)).unwrap()).unwrap();
        let joined = Network::load(second.path(), key(2), Some(&given), true).unwrap();
        assert_eq!((joined.id(), joined.supernode()), (network.id(), SupernodeId(2)));
        assert_eq!(Network::load(second.path(), key(2), None, true).unwrap().supernode(), SupernodeId(2));
        let other = Network::load(second.path(), key(3), None, true).err().unwrap();
        assert!(matches!(other, NetworkError::OtherKey { .. }), "{other}");
    }

    #[test]
    fn home_that_was_given_its_certificate_joins_without_a_line() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let network = Network::load(first.path(), key(1), None, false).unwrap();
        let issuer = Issuer::load(&first.path().join(NETWORK_DIRECTORY)).unwrap();
        let home = second.path().join("home");
        let given = [issuer.issue_into(&home).unwrap(), issuer.issue_into(&home).unwrap()];
        assert_eq!(given[0], given[1], "once and again");
        let own = Identity::load_or_create(&home).unwrap().key();
        let joined = Network::load(&home, own, None, true).unwrap();
        assert_eq!((joined.id(), joined.supernode()), (network.id(), SupernodeId(2)));
    }

    #[test]
    fn serial_is_given_once_to_each_key() {
        let home = tempfile::tempdir().unwrap();
        let issuer = Issuer::load_or_create(home.path()).unwrap();
        let serial = |of| issuer.issue(key(of)).unwrap().verify(None, &Ed25519).unwrap().serial;
        assert_eq!([serial(1), serial(2), serial(1), serial(3)], [1, 2, 1, 3]);
        let path = home.path().join(ISSUED_FILE);
        let mut lines = std::fs::read_to_string(&path).unwrap();
        lines.replace_range(0..1, "9");
        std::fs::write(&path, lines).unwrap();
        assert!(matches!(issuer.issue(key(4)), Err(NetworkError::Issued { line: 1, .. })));
    }

    #[test]
    fn line_that_lost_or_changed_a_letter_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let issuer = Issuer::load_or_create(home.path()).unwrap();
        let whole = line(&issuer.issue(key(1)).unwrap()).unwrap();
        for at in 0..whole.len() {
            let other = if whole.as_bytes()[at] == b'0' { "1" } else { "0" };
            let changed = [&whole[..at], other, &whole[at + 1..]].concat();
            let refused =
                [&whole[..at], &changed].map(|line| Network::load(home.path(), key(1), Some(line), true).is_err());
            assert_eq!(refused, [true, true], "letter {at}");
        }
    }
}
