//! How many logins and look-ups a second the supernodes of a lab carry.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::bench;
use super::client::{Client, Place, Round, round};
use crate::error::LabError;
use crate::mesh::Lab;
use crate::role::Role;

/// What clients have been given a second
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    /// From the hellos on
    pub(super) logins: f64,
    /// … and with the opening of the link
    pub(super) opened_logins: f64,
    pub(super) logouts: f64,
    pub(super) look_ups: f64,
    /// Processor time of all supernodes for one session: the link's opening, login and logout, in microseconds
    pub(super) session_us: f64,
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
    // Not measured: the first one registers names, and fills caches.
    let (clients, _) = runtime.block_on(round(clients, false)).map_err(bench)?;
    let (span, before) = (if asks { span / 2 } else { span }, cpu_us(lab)?);
    let (clients, rounds) = runtime.block_on(measure(clients, span, false)).map_err(bench)?;
    let count = (clients.len() * rounds.len()) as f64;
    let mut rates = Rates {
        logins: a_second(count, &rounds, |round| round.login),
        opened_logins: a_second(count, &rounds, |round| round.opening + round.login),
        logouts: a_second(count, &rounds, |round| round.logout),
        look_ups: 0.0,
        session_us: (cpu_us(lab)? - before) / count.max(1.0),
    };
    if asks {
        let (_, rounds) = runtime.block_on(measure(clients, span, true)).map_err(bench)?;
        let asked = rounds.iter().map(|round| round.look_ups.0).sum::<u64>() as f64;
        rates.look_ups = a_second(asked, &rounds, |round| round.look_ups.1);
    }
    Ok(rates)
}

async fn measure(mut clients: Vec<Client>, span: Duration, asks: bool) -> Result<(Vec<Client>, Vec<Round>), String> {
    let (began, mut rounds) = (Instant::now(), Vec::new());
    while began.elapsed() < span {
        let done;
        (clients, done) = round(clients, asks).await?;
        rounds.push(done);
    }
    Ok((clients, rounds))
}

fn a_second(count: f64, rounds: &[Round], of: fn(&Round) -> Duration) -> f64 {
    count / rounds.iter().map(of).sum::<Duration>().as_secs_f64().max(f64::MIN_POSITIVE)
}

/// Processor time that the supernodes have taken so far, in microseconds
fn cpu_us(lab: &Lab) -> Result<f64, LabError> {
    Ok(lab.usages(Role::Supernode)?.values().map(|usage| usage.cpu_ms).sum::<u64>() as f64 * 1e3)
}
