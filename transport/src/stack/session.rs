//! What of the peer's concerns its connections: its session, names, links, and who was removed.

use std::sync::Arc;

use kith_common::crypto::{self, Signer};
use kith_common::id::{Key, Name};
use kith_common::mutant::{self, Mutant};
use kith_common::names::Answer;
use kith_common::peer::PeerOutput;
use kith_common::routing::neighbourhood::Event;
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire::grant::SignedGrant;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::Stack;
use super::checks::Verdict;
use super::wishes::{Wish, moved};
use crate::EndpointParts;
use crate::identity::IdentityError;
use crate::transport::Transport;

/// Signed, and never sent, by whoever wants a secret of its own that is the same after a restart
const RESET: &str = "kith/reset/1";

impl<S: Signer + Clone + Send + Sync + 'static> Stack<S> {
    /// What of the peer's concerns its connections
    pub(super) fn watch(&mut self, now: Instant, output: &PeerOutput) {
        self.close_removed(now);
        match output {
            PeerOutput::SetHello(hello) => self.set_own(now, hello.grant.as_ref()),
            PeerOutput::Resolved { name, fresh, answer } => {
                self.on_resolved(now, name, *fresh, answer.as_ref().map_err(|status| *status));
            }
            PeerOutput::Event(Event::LinkDown { address, .. }) => {
                if let Some(transport) = &mut self.transport {
                    transport.handle_first_hop_lost(now, *address);
                    self.settle(now);
                }
            }
            PeerOutput::PathNamed { ticket, path } => self.handle_named(*ticket, path),
            _ => {}
        }
    }

    /// There is another session, or none any more
    fn set_own(&mut self, now: Instant, own: Option<&SignedGrant>) {
        if self.own.as_ref() == own {
            return;
        }
        self.own = own.cloned();
        match (own, &mut self.transport) {
            (None, _) => return self.close_all(now),
            (Some(own), Some(transport)) => transport.set_own(now, own.clone()),
            (Some(own), None) => match self.new_transport(own) {
                Ok(transport) => self.transport = transport,
                Err(reason) => tracing::error!(event = "no_connections", %reason),
            },
        }
        self.messages.handle_login(now);
        self.settle(now);
    }

    fn new_transport(&mut self, own: &SignedGrant) -> Result<Option<Transport<S>>, IdentityError> {
        let Some(network) = self.peer.network() else { return Ok(None) };
        let reset = self.signer.sign(&crypto::tagged(RESET, &[])).0;
        let parts = EndpointParts {
            signer: Arc::new(self.signer.clone()),
            provider: Arc::clone(&self.provider),
            reset_secret: crypto::sha256(&[&reset]),
            rng: ChaCha20Rng::from_rng(&mut self.rng),
        };
        Transport::new(parts, network, self.signer.clone(), own.clone()).map(Some)
    }

    fn on_resolved(&mut self, now: Instant, name: &Name, fresh: bool, answer: Result<&Answer, Status>) {
        if fresh {
            self.handle_found(now, name, answer);
            for (connection, grant, verdict) in self.checks.handle_resolved(now, name, answer) {
                let Some(transport) = &mut self.transport else { break };
                match verdict {
                    // It may have been pinned to another key while the directory was asked.
                    Verdict::Admitted if self.trust.is_another(&grant.name, &grant.key) => {
                        self.refuse_another(now, connection);
                    }
                    Verdict::Admitted => {
                        transport.admit(now, connection, grant.session);
                        self.handle_checked(now, connection, &grant.key, &grant.name);
                        self.handle_met(now, &grant.key, &grant.name);
                        self.keep_checked(now, connection);
                    }
                    Verdict::Refused(status, reason) => {
                        tracing::info!(event = "session_refused", name = %grant.name, %status, reason);
                        // The last word is to reach the other end, which shows the grant of its new session on the next one.
                        if let Some(Wish::Moved { key, address }) = answer.ok().and_then(moved)
                            && key == grant.key
                        {
                            transport.set_address_of(now, connection, address);
                        }
                        transport.refuse(now, connection, status.code());
                    }
                }
            }
        }
        let can_relay = self.peer.home_link().is_some();
        let trusted = self.trusted(answer);
        let answer = trusted.as_deref().map_err(|status| *status);
        self.calls.handle_resolved(now, name, fresh, answer, can_relay);
        self.messages.handle_resolved(now, name, fresh, answer, can_relay);
        self.settle(now);
    }

    /// Whoever was removed from the network for good loses its connections
    pub(super) fn close_removed(&mut self, now: Instant) {
        let removed = self.peer.removed();
        if removed.len() == self.removed || mutant::is(Mutant::RemovedCallsEvaluated) {
            return;
        }
        self.removed = removed.len();
        if let Some(transport) = &mut self.transport {
            let of_removed: Vec<Key> = transport.keys().filter(|key| removed.contains(key)).copied().collect();
            of_removed.iter().for_each(|key| transport.close(now, key, Status::NotAllowed.code().into()));
        }
        self.settle(now);
    }
}
