//! How this peer came into its network: the invite that it was given, and the name that it took, in its home.

use std::io;
use std::path::Path;

use kith_common::id::Name;
use kith_common::invite::Invitation;
use kith_runtime::config::{ConfigError, undecided};
use kith_runtime::files;
use kith_runtime::home::{Home, INVITE_FILE};

/// Longer than any invite's line and name
const BYTES_MAX: u64 = 8 * 1024;

/// What `kith join` keeps, so that `kith run` is enough afterwards
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) name: Name,
    pub(crate) invitation: Invitation,
}

impl Joined {
    /// What an earlier `kith join` has kept in `home`, if there was one
    ///
    /// # Errors
    /// [`ConfigError`] if the file cannot be read or was damaged.
    pub(crate) fn load(home: &Home) -> Result<Option<Self>, ConfigError> {
        let path = home.file(INVITE_FILE);
        let bytes = match files::read(&path, BYTES_MAX) {
            Ok((_, bytes)) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ConfigError::Read { path, error }),
        };
        let joined = files::checked(&bytes).and_then(Self::parse);
        let fault = || format!("{} is damaged; type kith join with a new invite, or remove it", path.display());
        joined.map(Some).ok_or_else(|| undecided("invite", fault()))
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, line) = text.split_once(' ')?;
        Some(Self { name: name.parse().ok()?, invitation: line.parse().ok()? })
    }

    /// Keeps it in `home`, which is there
    ///
    /// # Errors
    /// [`io::Error`]; what was kept before is as it was.
    pub(crate) fn keep(&self, home: &Path) -> io::Result<()> {
        let text = format!("{} {}", self.name, self.invitation);
        files::replace(&home.join(INVITE_FILE), files::with_check(&text).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use kith_common::id::NetworkId;
    use kith_common::invite::Token;
    use kith_runtime::home::PEER;

    use super::*;

    #[test]
    fn what_was_kept_is_there_again_and_damage_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::resolve(PEER, Some(directory.path())).unwrap();
        assert_eq!(Joined::load(&home).unwrap(), None);
        let invitation = Invitation {
            network: NetworkId([1; 32]),
            token: Token([2; 16]),
            name: None,
            supernodes: Default::default(),
        };
        let joined = Joined { name: "alice".parse().unwrap(), invitation };
        joined.keep(directory.path()).unwrap();
        assert_eq!(Joined::load(&home).unwrap(), Some(joined));
        std::fs::write(directory.path().join(INVITE_FILE), "alice kith1-00\n").unwrap();
        assert!(Joined::load(&home).unwrap_err().to_string().contains("is damaged"));
    }
}
