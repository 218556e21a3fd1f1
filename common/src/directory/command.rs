//! What the log holds: commands, and their bytes.

use bincode::{Decode, Encode};

use crate::id::{Address, InviteId, Key, Name, SessionId, SupernodeId};
use crate::invite::Token;
pub use crate::wire::agreement::COMMAND_BYTES_MAX;
use crate::wire::session::Locations;
use crate::wire::{self, WireError};

/// The first byte of every command in the log; a directory that reads another one stops rather than guesses
pub const COMMAND_VERSION: u8 = 5;

/// One entry of the log
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// The network's degree is this from now on: all tables change
    Configure {
        /// Even, [`DEGREE_MIN`](crate::lift::DEGREE_MIN) to [`DEGREE_MAX`](crate::lift::DEGREE_MAX)
        degree: u8,
    },
    /// A key enters under a name, which is its own from the first time on
    LogIn(LogIn),
    /// A session's peer is taken out of the ring, while its name, address and session stay
    Suspect {
        /// Which; a session has one address, and a suspicion must not outlive it
        session: SessionId,
        /// Whose judgement it is: of no account if the session is at home elsewhere by now
        home: SupernodeId,
        reason: SuspectReason,
    },
    /// A suspect is heard again and returns to the ring; as above, if the session is at this home
    Clear { session: SessionId, home: SupernodeId },
    /// Two peers cannot connect: each is absent to the other until one logs in again, or the pair expires
    UnreachablePair {
        /// Who dialled
        reporter: Address,
        /// Who was dialled
        other: Address,
    },
    /// Two peers may try to connect again
    ExpirePair {
        a: Address,
        b: Address,
        /// The entry that kept them apart: of no account if they were brought together since, and are apart by another one
        parted: u64,
    },
    /// A peer says goodbye
    LogOut { session: SessionId },
    /// A lease has ended, by the clock of this home, or with it; of no account if the session is at home elsewhere by now
    Expire { session: SessionId, home: SupernodeId },
    /// A name belongs to nobody again; its session, if there is one, ends
    Release { name: Name },
    /// Newcomers may come by this invite from now on
    Invite {
        token: Token,
        /// The only name that it is good for, if it is for one
        name: Option<Name>,
        /// Newcomers that it lets in, at least one
        uses: u32,
        /// When it ends; none: when it is used up
        minutes: Option<u32>,
    },
    /// A supernode has led the log for another minute
    Minute,
    /// The key that owns this name is barred for good; its session, if there is one, ends, and the name stays its own
    Remove { name: Name },
    /// The log may be an older copy of itself: epochs are of another incarnation from now on
    Incarnate {
        /// Drawn anew
        incarnation: u32,
    },
}

/// The wish to enter: registers the name if nobody has it (one compare-and-set) and starts a session
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LogIn {
    /// The name that the session is known by
    pub name: Name,
    /// Who; the supernode has checked its signature
    pub key: Key,
    /// A fresh id, or the id of the key's present session to take that one up again
    pub session: SessionId,
    /// If the session is to be taken up again, the home that it has: refused if it is over, as no session begins twice, and if
    /// it has moved meanwhile, as of two homes that want it one would take it from the other
    pub resumes: Option<SupernodeId>,
    /// The session that the peer says it has. The supernode that proposes this may be behind, and not know it: if it is the
    /// key's present one when this is applied, it goes on, and `session` is used for nothing
    pub offers: Option<SessionId>,
    /// Drawn by the supernode after it saw the key, so that nobody can grind a place
    pub salt: [u8; 16],
    /// Where the peer can be dialled
    pub locations: Locations,
    /// The supernode that the peer has logged in to, and that judges whether it is gone
    pub home: SupernodeId,
    /// By what right the name may be taken, if nobody has it
    pub right: Right,
}

impl LogIn {
    /// Whether this goes on with the key's present session, instead of putting another one in its place
    pub(super) fn goes_on_with(&self, present: SessionId) -> bool {
        self.session == present || self.offers == Some(present)
    }
}

/// By what right somebody may take a name that nobody has; whoever has it already needs none
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Right {
    /// By none: it is an owner who comes back
    Owner,
    /// The network takes whoever comes, or whoever knows its secret, and this one does
    Anybody,
    /// By an invite, which the supernode has seen proved
    Invite(InviteId),
}

/// Why a peer was suspected
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum SuspectReason {
    /// Its home link was lost, and a neighbour lost its link too
    Reported,
    /// Its home link stayed lost for 2 s
    HomeLost,
    /// A neighbour lost its link, and the peer did not answer its home either
    Silent,
}

impl SuspectReason {
    /// A few words for people
    pub const fn text(self) -> &'static str {
        match self {
            Self::Reported => "a neighbour and its supernode lost their links to it",
            Self::HomeLost => "its supernode lost its link",
            Self::Silent => "a neighbour lost its link, and it did not answer its supernode",
        }
    }
}

/// Bytes of the log that are no command; nothing was applied
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Another version of the program wrote it
    #[error("the log holds a command of version {0}, this is version {COMMAND_VERSION}")]
    Version(u8),
    /// The bytes were damaged
    #[error("the log holds bytes that are no command: {0}")]
    Bytes(#[from] WireError),
}

impl Command {
    /// The command as the log keeps it: [`COMMAND_VERSION`], then its encoding
    ///
    /// # Errors
    /// None of a command: its parts are bounded below [`COMMAND_BYTES_MAX`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, WireError> {
        let mut bytes = vec![COMMAND_VERSION];
        bytes.append(&mut wire::encode(self)?);
        Ok(bytes)
    }

    /// The command that the log kept as `bytes`
    ///
    /// # Errors
    /// [`CommandError`] says whether they are of another version or damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CommandError> {
        let (version, body) = bytes.split_first().ok_or(WireError::Malformed)?;
        if *version != COMMAND_VERSION {
            return Err(CommandError::Version(*version));
        }
        if bytes.len() > COMMAND_BYTES_MAX {
            return Err(CommandError::Bytes(WireError::TooLong));
        }
        Ok(wire::decode(body)?)
    }
}
