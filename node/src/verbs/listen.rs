//! `kith listen [CHANNEL]`

use kith_common::id::Name;
use kith_runtime::cli::{Screen, Stop};
use kith_runtime::control::client::{self, ClientError};
use kith_runtime::control::peer::{PipeAnswer, Request};
use kith_runtime::home::Home;

use super::piped;

/// Take the next pipe that another peer opens, and connect standard input and output to it
///
/// Waits until somebody types: kith pipe NAME[:CHANNEL]. Then it says on standard error who that is, and the command ends when
/// both sides have ended.
#[derive(Debug, clap::Args)]
pub(crate) struct Listen {
    /// Which pipes; without one, those that name none
    #[arg(default_value = "")]
    channel: String,

    /// Only from this peer; everybody else is refused
    #[arg(long, value_name = "NAME")]
    from: Option<Name>,
}

impl Listen {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let request = Request::Listen { channel: self.channel, from: self.from };
        let mut answer = client::open(home, &request, None)?;
        let PipeAnswer { name, pipe, .. } = answer.last_line()?.done()?.answer;
        let pipe = pipe.ok_or_else(|| ClientError::Broken("a pipe without a number".into()))?;
        screen.note(&format!("from {name}"))?;
        let (socket, early) = answer.into_raw()?;
        piped::run(home, screen, pipe, socket, &early)
    }
}
