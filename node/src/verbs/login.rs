//! `kith login`

use kith_runtime::cli::{self, Failure, Screen, Stop};
use kith_runtime::control::peer::{Request, SessionAnswer, State};
use kith_runtime::home::Home;

/// Come back into the mesh after a logout
#[derive(Debug, clap::Args)]
pub(crate) struct Login {}

impl Login {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let answer = cli::ask::<SessionAnswer>(home, &Request::Login)?;
        answer.tell(screen, readable, |session| {
            let why = super::why(answer.status, session.reason.as_deref());
            let hint = format!("it goes on trying; next: {}", home.command("status"));
            Failure::new(answer.status, format!("{} is not logged in: {why}", session.name), Some(hint))
        })
    }
}

fn readable(answer: &SessionAnswer) -> String {
    let name = &answer.name;
    match answer.state {
        State::LoggedIn => format!("{name} is logged in"),
        State::Searching | State::Joining | State::LoggedOut => format!("{name} is logging in"),
    }
}
