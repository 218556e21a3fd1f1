//! What a supernode must prove before it is told anything, and before its grant is believed.

use super::MembershipConfig;
use super::state::Setback;
use crate::crypto::{self, Handshake, Signer};
use crate::id::{Key, Name, NetworkId, SessionId, SupernodeId};
use crate::session::Secret;
use crate::status::Status;
use crate::wire::VERSION;
use crate::wire::grant::{Grant, GrantError, SignedGrant};
use crate::wire::session::{Challenge, InviteProof, Login};

/// What the hellos said
#[derive(Clone, Debug)]
pub(super) struct Greeting {
    /// The other end's key, as the transport proved it
    pub(super) supernode: Key,
    /// The network that the other end's hello named, if it named one
    pub(super) network: Option<NetworkId>,
    pub(super) supernode_nonce: [u8; 32],
    pub(super) peer_nonce: [u8; 32],
}

/// What both ends sign, and whom the peer talks to, if the other end is a supernode of the right network: `pinned`, or any if that is none
pub(super) fn check_challenge(
    greeting: &Greeting,
    pinned: Option<NetworkId>,
    challenge: &Challenge,
    signer: &impl Signer,
) -> Result<(Handshake, SupernodeId), Setback> {
    let certificate = challenge.certificate.verify(None, signer);
    let certificate = certificate.map_err(|error| not_allowed(format!("the supernode's certificate: {error}")))?;
    let network = crypto::network_id(&certificate.network_key);
    if let Some(pinned) = pinned.filter(|pinned| *pinned != network) {
        return Err(not_allowed(format!("the supernode is of network {network}, and this peer of network {pinned}")));
    }
    if greeting.network.is_some_and(|said| said != network) {
        return Err(not_allowed(format!("the supernode's hello names another network than its own, {network}")));
    }
    // A certificate is public: whoever has seen one could show it, but not over a link that proved its key.
    if certificate.supernode != greeting.supernode {
        return Err(not_allowed(format!("the supernode's certificate: {}", GrantError::OtherKey)));
    }
    let handshake = Handshake {
        peer_nonce: greeting.peer_nonce,
        supernode_nonce: greeting.supernode_nonce,
        peer: signer.key(),
        supernode: greeting.supernode,
        network,
        version: VERSION,
    };
    if !signer.verify(&greeting.supernode, &handshake.challenge_bytes(), &challenge.signature) {
        return Err(not_allowed("the supernode's signature under its challenge is wrong".to_owned()));
    }
    Ok((handshake, SupernodeId(certificate.serial)))
}

/// The proof that goes with the login, if the network wants one; fails if it does and no secret is known
pub(super) fn prove_secret(
    handshake: &Handshake,
    secret: Option<&Secret>,
    is_required: bool,
) -> Result<Option<[u8; 32]>, Setback> {
    match (secret, is_required) {
        (Some(secret), true) => Ok(Some(handshake.secret_proof(secret.as_bytes()))),
        (None, true) => Err(not_allowed("the network wants its secret proved, and none is configured".to_owned())),
        // A proof is something to guess the secret from, so nobody gets one without asking.
        (_, false) => Ok(None),
    }
}

/// The wish to log in, signed for this link alone
pub(super) fn login(
    config: &MembershipConfig,
    handshake: &Handshake,
    secret_proof: Option<[u8; 32]>,
    resume: Option<SessionId>,
    signer: &impl Signer,
) -> Login {
    let invite = config.invite.map(|token| InviteProof { id: token.id(), proof: handshake.invite_proof(&token.0) });
    Login {
        name: config.name.clone(),
        signature: signer.sign(&handshake.login_bytes(&config.name)),
        secret_proof,
        external: config.external.clone(),
        listening: config.listening.clone(),
        resume,
        invite,
    }
}

/// The grant, if `network` gives it to `name` with our own key
pub(super) fn check_grant(
    name: &Name,
    network: &NetworkId,
    signed: &SignedGrant,
    signer: &impl Signer,
) -> Result<Grant, Setback> {
    let grant = signed.verify(network, signer).and_then(|grant| {
        let is_ours = grant.key == signer.key() && grant.name == *name;
        if is_ours { Ok(grant) } else { Err(GrantError::OtherKey) }
    });
    grant.map_err(|error| not_allowed(format!("the supernode's grant: {error}")))
}

fn not_allowed(reason: String) -> Setback {
    Setback::new(Status::NotAllowed, reason)
}
