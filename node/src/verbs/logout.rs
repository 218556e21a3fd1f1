//! `kith logout`

use kith_runtime::cli::{self, Failure, Screen, Stop};
use kith_runtime::control::peer::{Request, SessionAnswer};
use kith_runtime::home::Home;

/// Leave the mesh at once; the daemon stays, and `kith login` comes back, as does the daemon's next start
#[derive(Debug, clap::Args)]
pub(crate) struct Logout {}

impl Logout {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let answer = cli::ask::<SessionAnswer>(home, &Request::Logout)?;
        let good = |session: &SessionAnswer| {
            format!("{} is logged out; to come back: {}", session.name, home.command("login"))
        };
        answer.tell(screen, good, |session| {
            let why = super::why(answer.status, session.reason.as_deref());
            Failure::new(answer.status, format!("{} is not logged out: {why}", session.name), None)
        })
    }
}
