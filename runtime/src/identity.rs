//! Who this node is: its key on disk, its libp2p identity, and how often it has started.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kith_common::crypto::{Signature, Signer, Verifier};
use kith_common::hex;
use kith_common::id::Key;
use libp2p::PeerId;
use libp2p::identity::{Keypair, PublicKey, ed25519};

use crate::files;

/// The key's file in a node's home
pub const KEY_FILE: &str = "key";
/// The file with the number of starts in a node's home
pub(crate) const BOOT_FILE: &str = "boot";

/// Hexadecimal digits of the secret half
const KEY_DIGITS: usize = 64;
/// What is read of a key's file or a boot's at most: more than either has
const BYTES_MAX: u64 = 128;

/// A node's Ed25519 key
#[derive(Clone)]
pub struct Identity {
    pair: ed25519::Keypair,
    key: Key,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.key)
    }
}

/// The home or a file in it cannot be used; nothing was changed unless it says so
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The operating system refused
    #[error("{action} {path}: {source}")]
    Io {
        action: &'static str,
        path: PathBuf,
        /// What came of it
        source: io::Error,
    },
    /// Others may read the key, so it may be known already
    #[error("the key {path} can be read by others (mode {mode:04o}); if nobody has: chmod 600 {path}")]
    KeyIsOpen { path: PathBuf, mode: u32 },
    /// The key's file holds something else
    #[error(
        "{path} is not a Kith key ({KEY_DIGITS} hexadecimal digits and a check), or it is damaged; put back a copy of it, \
         or move it away to get a new identity, which has no right to the old one's name"
    )]
    NotAKey { path: PathBuf },
    /// The boot file holds something else
    #[error("{path} is not a number of starts; write one larger than any before, for example: date +%s > {path}")]
    NotABoot { path: PathBuf },
}

impl Identity {
    /// A new key, nowhere on disk
    pub fn generate() -> Self {
        Self::of(ed25519::Keypair::generate())
    }

    /// The key with this secret half: for labs and tests that want the same ring again
    pub fn from_seed(mut seed: [u8; 32]) -> Self {
        let secret = ed25519::SecretKey::try_from_bytes(&mut seed);
        // Every 32 bytes are a secret key; a new one is as good an answer as any to what cannot be.
        Self::of(secret.map_or_else(|_| ed25519::Keypair::generate(), Into::into))
    }

    /// The key in `home`; the directory (0700) and the key (0600) are made if they are not there
    ///
    /// # Errors
    /// [`IdentityError`]; a key that others may read is refused.
    pub fn load_or_create(home: &Path) -> Result<Self, IdentityError> {
        make_home(home)?;
        let path = home.join(KEY_FILE);
        match files::read(&path, BYTES_MAX) {
            Ok((file, bytes)) => Self::read(&file, &bytes, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let identity = Self::generate();
                identity.write(home)?;
                tracing::info!(event = "key_made", key = %identity.key, path = %path.display());
                Ok(identity)
            }
            Err(source) => Err(IdentityError::Io { action: "open", path, source }),
        }
    }

    /// Writes the key into `home`, which must not have one: the file is there whole or not at all
    ///
    /// # Errors
    /// [`IdentityError::Io`], also for a home that has a key.
    pub fn write(&self, home: &Path) -> Result<(), IdentityError> {
        make_home(home)?;
        let path = home.join(KEY_FILE);
        let text = files::with_check(&format!("{:?}", Key(self.secret_bytes())));
        let temporary = home.join(format!(".{KEY_FILE}.{}", std::process::id()));
        let write = || {
            let mut file = files::create_new(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            // A link, unlike a rename, never replaces a key that another process wrote in the meantime.
            fs::hard_link(&temporary, &path)
        };
        let written = write();
        let removed = fs::remove_file(&temporary);
        written.map_err(|source| IdentityError::Io { action: "make the key", path: path.clone(), source })?;
        removed.map_err(|source| IdentityError::Io { action: "remove", path: temporary, source })?;
        files::sync_parent(&path).map_err(|source| IdentityError::Io { action: "sync the directory of", path, source })
    }

    pub fn keypair(&self) -> Keypair {
        self.pair.clone().into()
    }

    pub fn peer_id(&self) -> PeerId {
        PublicKey::from(self.pair.public()).to_peer_id()
    }

    fn of(pair: ed25519::Keypair) -> Self {
        let key = Key(pair.public().to_bytes());
        Self { pair, key }
    }

    fn read(file: &File, bytes: &[u8], path: PathBuf) -> Result<Self, IdentityError> {
        let metadata = file.metadata();
        let mode =
            metadata.map_err(|source| IdentityError::Io { action: "inspect", path: path.clone(), source })?.mode();
        if mode & 0o077 != 0 {
            return Err(IdentityError::KeyIsOpen { path, mode: mode & 0o7777 });
        }
        // A digit that has changed would be another key: another member, or another network.
        match files::checked(bytes).map(str::parse::<Key>) {
            Some(Ok(Key(seed))) => Ok(Self::from_seed(seed)),
            _ => Err(IdentityError::NotAKey { path }),
        }
    }

    fn secret_bytes(&self) -> [u8; 32] {
        let pair = self.pair.to_bytes();
        std::array::from_fn(|i| pair.get(i).copied().unwrap_or_default())
    }
}

impl Verifier for Identity {}

impl Signer for Identity {
    fn key(&self) -> Key {
        self.key
    }

    fn sign(&self, bytes: &[u8]) -> Signature {
        let signature = self.pair.sign(bytes);
        Signature(std::array::from_fn(|i| signature.get(i).copied().unwrap_or_default()))
    }
}

/// The libp2p name of `key`; `None` if its bytes are no Ed25519 key
pub fn peer_id_of(key: &Key) -> Option<PeerId> {
    let public = ed25519::PublicKey::try_from_bytes(&key.0).ok()?;
    Some(PublicKey::from(public).to_peer_id())
}

/// The key within a libp2p name; `None` for a name that is a hash or of another kind of key
pub(crate) fn key_of(peer_id: &PeerId) -> Option<Key> {
    const IDENTITY: u64 = 0;
    let multihash = peer_id.as_ref();
    if multihash.code() != IDENTITY {
        return None;
    }
    let public = PublicKey::try_decode_protobuf(multihash.digest()).ok()?;
    Some(Key(public.try_into_ed25519().ok()?.to_bytes()))
}

/// The key that a text names, which is 64 hexadecimal digits or a libp2p name; `None` if it is neither
pub fn parse_key(text: &str) -> Option<Key> {
    let digits = || hex::decode(text)?.try_into().ok().map(Key);
    let key = text.parse().ok().and_then(|peer_id| key_of(&peer_id)).or_else(digits)?;
    // Bytes that are no point of the curve are nobody's key.
    peer_id_of(&key).map(|_| key)
}

/// Counts this start in `home` and returns the count, the first being 1; it is on disk before this returns
///
/// # Errors
/// [`IdentityError`]; the count is then as before, or one larger.
pub(crate) fn next_boot(home: &Path) -> Result<u64, IdentityError> {
    let path = home.join(BOOT_FILE);
    let last = match files::read(&path, BYTES_MAX) {
        Ok((_, bytes)) => {
            let text = std::str::from_utf8(&bytes).unwrap_or_default();
            text.trim_end().parse::<u64>().ok().filter(|boot| *boot < u64::MAX)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(0),
        Err(source) => return Err(IdentityError::Io { action: "read", path, source }),
    };
    let Some(last) = last else { return Err(IdentityError::NotABoot { path }) };
    let boot = last + 1;
    let written = files::replace(&path, format!("{boot}\n").as_bytes());
    written.map_err(|source| IdentityError::Io { action: "write", path, source })?;
    Ok(boot)
}

/// Makes the directory for its owner alone; what one that is there should look like is [`crate::home`]'s affair
fn make_home(home: &Path) -> Result<(), IdentityError> {
    let made = files::create_directory(home);
    made.map_err(|source| IdentityError::Io { action: "create", path: home.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn key_is_made_once_and_for_its_owner_alone() {
        let parent = tempfile::tempdir().unwrap();
        let home = parent.path().join("a/b");
        let made = Identity::load_or_create(&home).unwrap();
        assert_eq!((mode(&home), mode(&home.join(KEY_FILE))), (0o700, 0o600));
        assert_eq!(Identity::load_or_create(&home).unwrap().key(), made.key());
        assert_eq!(fs::read_dir(&home).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn key_that_others_may_read_is_refused() {
        let home = tempfile::tempdir().unwrap();
        Identity::load_or_create(home.path()).unwrap();
        let path = home.path().join(KEY_FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Identity::load_or_create(home.path()).unwrap_err();
        assert!(matches!(error, IdentityError::KeyIsOpen { mode: 0o640, .. }), "{error}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn file_that_is_no_key_is_refused_and_kept() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(KEY_FILE);
        let flipped = files::with_check(&"0a".repeat(32)).replacen("0a", "0b", 1);
        for bytes in [&b"not a key"[..], &[0xff; 40], b"", flipped.as_bytes()] {
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let error = Identity::load_or_create(home.path()).unwrap_err();
            assert!(matches!(error, IdentityError::NotAKey { .. }), "{error}");
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }

    #[test]
    fn second_key_does_not_replace_the_first() {
        let home = tempfile::tempdir().unwrap();
        Identity::from_seed([1; 32]).write(home.path()).unwrap();
        assert!(Identity::from_seed([2; 32]).write(home.path()).is_err());
        let kept = Identity::load_or_create(home.path()).unwrap();
        assert_eq!(kept.key(), Identity::from_seed([1; 32]).key());
    }

    #[test]
    fn boots_count_up_and_rubbish_is_refused() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(next_boot(home.path()).unwrap(), 1);
        assert_eq!(next_boot(home.path()).unwrap(), 2);
        fs::write(home.path().join(BOOT_FILE), "many").unwrap();
        assert!(matches!(next_boot(home.path()), Err(IdentityError::NotABoot { .. })));
    }

    #[test]
    fn peer_id_and_key_are_the_same_identity() {
        let identity = Identity::from_seed([7; 32]);
        let peer_id = identity.peer_id();
        assert_eq!(key_of(&peer_id), Some(identity.key()));
        assert_eq!(peer_id_of(&identity.key()), Some(peer_id));
        assert_eq!(identity.keypair().public().to_peer_id(), peer_id);
        assert_eq!(key_of(&PeerId::random()), None);
    }

    #[test]
    fn signature_is_one_that_the_cores_accept() {
        let identity = Identity::generate();
        let signature = identity.sign(b"text");
        assert!(kith_common::crypto::verify(&identity.key(), b"text", &signature));
    }
}
