//! What the suspicions want of the log, and of home links.

use super::Supernode;
use super::judgement::SuspicionOutput;
use crate::crypto::Signer;
use crate::directory::Command;

impl<S: Signer> Supernode<S> {
    /// Carries out what the suspicions want
    pub(super) fn drain_suspicion(&mut self) {
        while let Some(wish) = self.judgement.poll_output() {
            match wish {
                SuspicionOutput::Suspect { session, reason } => {
                    let name = self.directory.session(session).map(|session| session.name.to_string());
                    tracing::info!(event = "suspecting", name, reason = reason.text());
                    self.proposals
                        .push_own(&self.directory, Command::Suspect { session, home: self.credentials.id, reason });
                }
                SuspicionOutput::Clear { session } => {
                    self.proposals.push_own(&self.directory, Command::Clear { session, home: self.credentials.id });
                }
                SuspicionOutput::Probe { session } => {
                    if let Some(home) = self.links.home_of(session) {
                        self.links.probe(home);
                    }
                }
            }
        }
    }
}
