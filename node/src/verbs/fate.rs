//! `kith fate ID`

use kith_common::id::MessageId;
use kith_common::status::Status;
use kith_runtime::cli::{self, Failure, Screen, Stop, count, span, time};
use kith_runtime::control::peer::{FateAnswer, Id, Request};
use kith_runtime::home::Home;

/// Show what became of a message
///
/// Exits with 0 if it was delivered, or waits in the out-box, else with the code of its status.
#[derive(Debug, clap::Args)]
pub(crate) struct Fate {
    /// As `send` or `outbox` shows it: 32 hexadecimal digits
    id: MessageId,
}

impl Fate {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let answer = cli::ask::<FateAnswer>(home, &Request::Fate { id: Id(self.id) })?;
        answer.tell(screen, |fate| readable(answer.status, fate), |fate| undelivered(answer.status, fate, home))
    }
}

fn readable(status: Status, answer: &FateAnswer) -> String {
    let FateAnswer { to, waiting, attempts, elapsed_us, at, reason, .. } = answer;
    match (status, waiting) {
        (Status::Accepted, Some(waiting)) => {
            let why = reason.as_deref().unwrap_or("no receipt by now");
            let (age, left) = (span(waiting.age_s), span(waiting.left_s));
            format!("in the out-box for {to} for {age}: {why}; {left} are left")
        }
        _ => {
            let at = at.as_deref().unwrap_or("an unknown time");
            format!("delivered to {to} at {at}, after {} and {}", time(*elapsed_us), count(*attempts, "attempt"))
        }
    }
}

fn undelivered(status: Status, answer: &FateAnswer, home: &Home) -> Failure {
    let FateAnswer { to, attempts, elapsed_us, at, reason, .. } = answer;
    let why = super::why(status, reason.as_deref());
    let what = if status == Status::TimedOut { "no receipt came from" } else { "not delivered to" };
    let at = at.as_deref().unwrap_or("an unknown time");
    let tried = format!("{}, {}, until {at}", count(*attempts, "attempt"), time(*elapsed_us));
    Failure::new(status, format!("{what} {to}: {why} ({tried})"), super::next(home, status, to))
}
