//! `kith login`

use std::time::Duration;

use kith_runtime::cli::{self, Failure, Screen, Stop};
use kith_runtime::control::peer::{Request, SessionAnswer, State, StatusAnswer};
use kith_runtime::home::Home;

/// Come back into the mesh after a logout
#[derive(Debug, clap::Args)]
pub(crate) struct Login {
    /// Wait until that is so, for so many seconds at most
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = super::WAIT_DEFAULT, value_parser = super::seconds)]
    wait: Option<Duration>,
}

impl Login {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let answer = cli::ask::<SessionAnswer>(home, &Request::Login)?;
        let Some(within) = self.wait.filter(|_| answer.status.is_success()) else {
            return answer.tell(screen, readable, |session| {
                let why = super::why(answer.status, session.reason.as_deref());
                Failure::new(answer.status, not_yet(&session.name, &why), Some(goes_on(home)))
            });
        };
        let answer = super::status::wait(home, within)?;
        let good = |status: &StatusAnswer| format!("{} is logged in", status.name);
        answer.tell(screen, good, |status| {
            let why = super::why(answer.status, status.reason.as_deref());
            let is_in_vain = super::is_refused(answer.status) || status.state == State::LoggedOut;
            let next = if is_in_vain { format!("next: {}", home.command("status")) } else { goes_on(home) };
            Failure::new(answer.status, not_yet(&status.name, &why), Some(next))
        })
    }
}

fn not_yet(name: &kith_common::id::Name, why: &str) -> String {
    format!("{name} is not logged in: {why}")
}

fn goes_on(home: &Home) -> String {
    format!("it goes on trying; next: {}", home.command("status --wait"))
}

fn readable(answer: &SessionAnswer) -> String {
    let name = &answer.name;
    match answer.state {
        State::LoggedIn => format!("{name} is logged in"),
        State::Searching | State::Joining | State::LoggedOut => format!("{name} is logging in (--wait waits for it)"),
    }
}
