//! What an admission wants of the shell and of the directory.

use std::net::IpAddr;
use std::time::Duration;

use super::AdmissionConfig;
use crate::crypto::Handshake;
use crate::id::{Epoch, Key, Name, SessionId};
use crate::mutant::{self, Mutant};
use crate::status::Status;
use crate::time::Instant;
use crate::wire::removed::AskRemoved;
use crate::wire::session::{InviteProof, List, Locations, Login, LookUp, Reason, Report};
use crate::wire::{Frame, PacketBytes};

/// A login that was checked and may be put into the log
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginRequest {
    pub name: Name,
    /// The peer's key, as the transport and its signature proved it
    pub key: Key,
    /// How often the peer has started
    pub boot: u64,
    /// Where the peer can be dialled, the best that is known
    pub locations: Locations,
    /// The session that the peer had, to be taken up again if its lease lasts
    pub resume: Option<SessionId>,
    /// Where the peer is, if the transport knows
    pub from: Option<IpAddr>,
    /// When it must be answered, as its peer gives it up soon after that
    pub until: Instant,
    /// By what right the peer may have a name that nobody has
    pub entitlement: Entitlement,
}

/// By what right a peer says that it may enter
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entitlement {
    /// The network takes whoever comes, or it has a secret, which the peer has proved to know
    Anybody,
    /// By none: it says that the name is its own
    Owner,
    /// By an invite, whose proof is to be checked with what the directory knows of it
    Invited {
        proof: InviteProof,
        /// What the proof is of
        handshake: Box<Handshake>,
    },
}

impl Entitlement {
    /// What a login that was checked shows, in a network of these rules
    pub(super) fn of(rules: &AdmissionConfig, handshake: &Handshake, login: &Login) -> Self {
        match login.invite {
            // A secret was proved by now.
            _ if !rules.takes_invites_only() || mutant::is(Mutant::ClosedLetsAllIn) => Self::Anybody,
            Some(proof) => Self::Invited { proof, handshake: Box::new(handshake.clone()) },
            None => Self::Owner,
        }
    }
}

/// No, and when to come again
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 401, 403, 409, 413, 426, 429 or 503
    pub status: Status,
    /// What is wrong, and what to do
    pub reason: Reason,
    /// Zero: trying again as it is will not help
    pub retry_after: Duration,
}

impl Refusal {
    /// A refusal that says `reason`, cut to what a frame holds
    pub fn new(status: Status, reason: &str, retry_after: Duration) -> Self {
        Self { status, reason: Reason::truncated(reason), retry_after }
    }
}

/// What the shell is to do, and what it is told
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdmissionOutput {
    /// Send on this connection
    Send(Frame),
    /// Say good-bye and close
    Close { status: Status, reason: Reason },
    /// Put this into the log; answered by `handle_granted` once it is durable, or by `handle_refused`
    Propose(LoginRequest),
    /// The lease begins anew; answered by `handle_renewed`, or by `handle_ended` if there is no such session
    ///
    /// `epoch` is of the table that the peer has; if the directory's is another, the peer gets a rewire, too.
    Renew { session: SessionId, epoch: Epoch },
    /// End this session in the log; answered by `handle_logged_out` once it is durable
    LogOut { session: SessionId },
    /// A question for the directory; answered by a `Found` frame
    LookUp(LookUp),
    /// A question for names; answered by a `Listing` frame
    List(List),
    /// A question for who was removed; answered by a `Removed` frame
    AskRemoved(AskRemoved),
    /// What the peer found out about its neighbours
    Report(Report),
    /// Pass this packet on to its destination
    Relay(PacketBytes),
    /// Give this packet back: the peer sends more relays than its rate allows
    RelayRefused(PacketBytes),
    /// The session has no connection any more, and did not log out
    Lost { session: SessionId, reason: Reason },
}
