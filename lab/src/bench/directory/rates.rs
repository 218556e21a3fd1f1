//! How many logins and look-ups a second the supernodes of a lab carry.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::bench;
use super::client::{Client, Place, Round, round};
use crate::error::LabError;
use crate::mesh::Lab;

/// What clients have been given a second
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    /// From the hellos on
    pub(super) logins: f64,
    /// … and with the opening of the link
    pub(super) opened_logins: f64,
    pub(super) logouts: f64,
    pub(super) look_ups: f64,
}

/// Has clients log in and out together for `span`, round by round, and for half of it look others up, if they are to
///
/// # Errors
/// A client was refused, or was not answered in time.
pub(super) fn sessions(
    runtime: &Runtime,
    lab: &Lab,
    clients: usize,
    span: Duration,
    asks: bool,
) -> Result<Rates, LabError> {
    let place = Arc::new(Place { supernodes: lab.listening()?, seed: lab.state()?.seed });
    let clients: Vec<Client> = (0..clients).map(|number| Client::new(number, Arc::clone(&place))).collect();
    runtime.block_on(measure(clients, span, asks)).map_err(bench)
}

async fn measure(mut clients: Vec<Client>, span: Duration, asks: bool) -> Result<Rates, String> {
    // Not measured: the first one registers names, and fills caches.
    (clients, _) = round(clients, false).await?;
    let (began, mut rounds) = (Instant::now(), Vec::new());
    while began.elapsed() < span {
        let done;
        (clients, done) = round(clients, asks && began.elapsed() > span / 2).await?;
        rounds.push(done);
    }
    let count = (clients.len() * rounds.len()) as f64;
    let a_second = |count: f64, of: fn(&Round) -> Duration| {
        let spans: Duration = rounds.iter().map(of).sum();
        if count > 0.0 { count / spans.as_secs_f64().max(f64::MIN_POSITIVE) } else { 0.0 }
    };
    Ok(Rates {
        logins: a_second(count, |round| round.login),
        opened_logins: a_second(count, |round| round.opening + round.login),
        logouts: a_second(count, |round| round.logout),
        look_ups: a_second(rounds.iter().map(|round| round.look_ups.0).sum::<u64>() as f64, |round| round.look_ups.1),
    })
}
