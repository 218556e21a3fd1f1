//! The verbs of `kith-supernode`, one a file.

mod backup;
mod certify;
mod invite;
mod list;
mod lookup;
mod members;
mod peers;
mod release;
mod remove;
mod restore;
mod ring;
mod run;
mod status;

use kith_runtime::cli::{Screen, Stop, Verbs};
use kith_runtime::home::Home;

/// What to do in a home
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    Run(Box<run::Run>),
    Status(status::Status),
    Peers(peers::Peers),
    Lookup(lookup::Lookup),
    Ring(ring::Ring),
    Invite(invite::Invite),
    Release(release::Release),
    Remove(remove::Remove),
    Members(members::Members),
    Certify(certify::Certify),
    Backup(backup::Backup),
    Restore(restore::Restore),
}

impl Verbs for Verb {
    fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        match self {
            Self::Run(verb) => verb.run(home),
            Self::Status(verb) => verb.run(home, screen),
            Self::Peers(verb) => verb.run(home, screen),
            Self::Lookup(verb) => verb.run(home, screen),
            Self::Ring(verb) => verb.run(home, screen),
            Self::Invite(verb) => verb.run(home, screen),
            Self::Remove(verb) => verb.run(home, screen),
            Self::Release(verb) => verb.run(home, screen),
            Self::Members(verb) => verb.run(home, screen),
            Self::Certify(verb) => verb.run(home, screen),
            Self::Backup(verb) => verb.run(home, screen),
            Self::Restore(verb) => verb.run(home, screen),
        }
    }
}
