//! `kith-lab bench opening`: the processor time of a link's opening, beside that of a signature's check.
//!
//! Two link layers in this process open links with each other, one after the other: TCP, the TLS handshake, both hellos,
//! and the goodbye. It is what a newcomer costs a node before anybody knows who it is, and what a lost link costs again.

use std::time::Duration;

use kith_common::crypto::{self, Signer};
use kith_common::status::Status;
use kith_common::wire::session::{Location, Purpose, Role};
use kith_runtime::clock::Clock;
use kith_runtime::identity::Identity;
use kith_runtime::link::{self, Dial, HelloTemplate, LinkCommand, LinkConfig, LinkEvent, LinkHandle, LinkId};
use kith_runtime::location;
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{median, text};
use crate::error::LabError;
use crate::output;
use crate::process::ProcessId;
use crate::role::ANY_PORT;

/// Checks of a signature a round: about as much work as the links of a round are
const CHECKS: u32 = 10_000;
/// Links a round: the kernel counts in hundredths of a second, which are less than a hundredth of a round
const LINKS: u32 = 1_000;
/// From an order to its event
const EVENT_LIMIT: Duration = Duration::from_secs(10);

/// What one round came to, and then their median
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Opening {
    /// Processor time of both sides for a link that is opened and closed, in microseconds
    pub link_us: f64,
    /// Processor time of one check of an Ed25519 signature, in microseconds
    pub check_us: f64,
    /// The first over the second
    pub ratio: f64,
}

/// Measures so many rounds and prints their medians
///
/// # Errors
/// A link layer did not start, or did not open a link within ten seconds.
pub(crate) fn run(rounds: usize, json: bool) -> Result<Opening, LabError> {
    let failed = |reason| LabError::Bench { process: "the only one".into(), reason };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| failed(error.to_string()))?;
    let opening = runtime.block_on(measure(rounds)).map_err(failed)?;
    let Opening { link_us, check_us, ratio } = opening;
    output::line(&if json {
        json!({ "rounds": rounds, "opening": opening }).to_string()
    } else {
        format!(
            "a link is opened and closed with {link_us:.0} us of processor, both sides together: {ratio:.1} times a \
             signature's check ({check_us:.1} us); medians of {rounds}"
        )
    });
    Ok(opening)
}

async fn measure(rounds: usize) -> Result<Opening, String> {
    let (mut listener, mut dialler) = (Side::start().await?, Side::start().await?);
    // Not measured: the first ones fill caches and pools.
    open(&mut listener, &mut dialler, LINKS / 10).await?;
    let (mut links, mut checks, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let before = cpu_us()?;
        open(&mut listener, &mut dialler, LINKS).await?;
        let between = cpu_us()?;
        check();
        let (link, check) = ((between - before) / f64::from(LINKS), (cpu_us()? - between) / f64::from(CHECKS));
        links.push(link);
        checks.push(check);
        ratios.push(link / check);
    }
    Ok(Opening { link_us: median(links), check_us: median(checks), ratio: median(ratios) })
}

/// Checks a signature over and over
fn check() {
    let identity = Identity::generate();
    let bytes = [7; 100];
    let signature = identity.sign(&bytes);
    for _ in 0..CHECKS {
        let is_good = crypto::verify(&identity.key(), std::hint::black_box(&bytes), &signature);
        assert!(std::hint::black_box(is_good), "a signature is good for whoever made it");
    }
}

fn cpu_us() -> Result<f64, String> {
    let usage = ProcessId::of(std::process::id()).and_then(|process| process.usage());
    Ok(usage.ok_or("the system does not say what this process has used")?.cpu_ms as f64 * 1_000.0)
}

/// One of the two link layers
struct Side {
    links: LinkHandle,
    events: mpsc::Receiver<LinkEvent>,
    at: Location,
}

impl Side {
    async fn start() -> Result<Self, String> {
        let hello = HelloTemplate { role: Role::Peer, boot: 1, network: None, grant: None };
        let listen = ANY_PORT.parse().map_err(text)?;
        let config = LinkConfig { listen: vec![listen], ..LinkConfig::of_peer(hello, Clock::start(), 1) };
        let (links, mut events) = link::spawn(config, &Identity::generate()).map_err(text)?;
        loop {
            if let LinkEvent::Listening(at) = next(&mut events).await? {
                let at = location::to_wire(&at).map_err(text)?;
                return Ok(Self { links, events, at });
            }
        }
    }

    async fn opened(&mut self) -> Result<LinkId, String> {
        loop {
            match next(&mut self.events).await? {
                LinkEvent::Opened(opened) => return Ok(opened.link),
                LinkEvent::DialFailed { reason, .. } => return Err(reason.to_string()),
                _ => {}
            }
        }
    }

    async fn closed(&mut self) -> Result<(), String> {
        while !matches!(next(&mut self.events).await?, LinkEvent::Closed { .. }) {}
        Ok(())
    }
}

/// Opens and closes so many links, one after the other
async fn open(listener: &mut Side, dialler: &mut Side, links: u32) -> Result<(), String> {
    for number in 1..=links {
        let locations = vec![listener.at.clone()];
        let dial = Dial { number: number.into(), key: None, locations, purpose: Purpose::Neighbour };
        dialler.links.send(LinkCommand::Dial(dial)).await.map_err(text)?;
        let link = dialler.opened().await?;
        listener.opened().await?;
        let close = LinkCommand::Close { link, status: Status::Gone, reason: "measured".into() };
        dialler.links.send(close).await.map_err(text)?;
        dialler.closed().await?;
        listener.closed().await?;
    }
    Ok(())
}

async fn next(events: &mut mpsc::Receiver<LinkEvent>) -> Result<LinkEvent, String> {
    let event = timeout(EVENT_LIMIT, events.recv()).await.map_err(|_| "nothing came within ten seconds")?;
    event.ok_or_else(|| "the link thread has ended".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn links_open_and_close_one_after_the_other() {
        let (mut listener, mut dialler) = (Side::start().await.unwrap(), Side::start().await.unwrap());
        open(&mut listener, &mut dialler, 3).await.unwrap();
        let counts = (listener.links.counters().counts(), dialler.links.counters().counts());
        assert_eq!((counts.0.opened, counts.1.opened), (3, 3));
    }
}
