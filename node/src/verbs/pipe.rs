//! `kith pipe NAME[:CHANNEL]`

use std::time::Duration;

use kith_common::id::Name;
use kith_common::status::Status;
use kith_runtime::cli::{self, Failure, Screen, Stop};
use kith_runtime::control::client::{self, ANSWER_WITHIN};
use kith_runtime::control::peer::{PipeAnswer, Request, StatusAnswer};
use kith_runtime::home::Home;

use super::piped;
use crate::tunnels::Destination;

/// Connect standard input and output to whoever listens at another peer, or to a port that it exposes
///
/// What is written here is read there, and the other way round, over the mesh and encrypted from end to end. The end of the
/// input is told there; the command ends when both sides have ended. With another peer: kith listen [CHANNEL]. For ssh to bob,
/// who has typed kith expose 22 --for YOUR-NAME: ssh -o ProxyCommand='kith pipe %h:22' bob
#[derive(Debug, clap::Args)]
pub(crate) struct Pipe {
    /// At which peer, and on which channel there; PORT, HOST:PORT or unix:/PATH is what it exposes
    #[arg(value_name = "NAME[:CHANNEL]", value_parser = end)]
    to: (Name, String),

    /// How long to try
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = super::seconds)]
    timeout: Duration,
}

/// A peer, and a channel that may be empty
fn end(text: &str) -> Result<(Name, String), String> {
    let (name, channel) = text.split_once(':').unwrap_or((text, ""));
    let name = name.parse::<Name>().map_err(|error| error.to_string())?;
    Ok((name, channel.to_owned()))
}

/// What somebody at the other peer is to type, if it does not expose what was wanted
fn to_expose(home: &Home, status: Status, name: &Name, destination: &str) -> Option<String> {
    if status != Status::NotAllowed {
        return None;
    }
    let own = cli::ask::<StatusAnswer>(home, &Request::Status).map(|answer| answer.answer.name.to_string());
    let own = own.unwrap_or_else(|_| "NAME".to_owned());
    Some(format!("at {name}, type: kith expose {destination} --for {own}"))
}

impl Pipe {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let (name, channel) = self.to;
        let request =
            Request::Pipe { name, channel: channel.clone(), timeout_ms: Some(self.timeout.as_millis() as u64) };
        let mut answer = client::open(home, &request, Some(self.timeout + ANSWER_WITHIN))?;
        let done = answer.last_line()?.done::<PipeAnswer>()?;
        let Some(pipe) = done.answer.pipe.filter(|_| done.status.is_success()) else {
            let PipeAnswer { name, answered, reason, .. } = &done.answer;
            let status = done.status;
            let error = format!("no pipe to {name}: {}", super::why(status, reason.as_deref()));
            let hint = match (answered, channel.as_str()) {
                (true, channel) if channel.parse::<Destination>().is_ok() => to_expose(home, status, name, channel),
                (true, "") => Some(format!("at {name}, type: kith listen")),
                (true, channel) => Some(format!("at {name}, type: kith listen {channel}")),
                // There is nobody else to look for.
                (false, _) if status == Status::Conflict => None,
                (false, _) => super::next(home, status, name),
            };
            return Err(Failure::new(status, error, hint).into());
        };
        let (socket, early) = answer.into_raw()?;
        piped::run(home, screen, pipe, socket, &early)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::tests::name;

    #[test]
    fn end_of_a_pipe_is_a_peer_and_a_channel() {
        assert_eq!(end("bob"), Ok((name("bob"), String::new())));
        assert_eq!(end("bob:chat"), Ok((name("bob"), "chat".to_owned())));
        assert_eq!(end("bob:"), Ok((name("bob"), String::new())));
        assert!(end(":chat").is_err());
    }
}
