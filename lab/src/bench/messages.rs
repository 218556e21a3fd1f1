//! `kith-lab bench messages`: messages and calls a second over three forwarders, so many under way at once, beside requests and
//! answers over a chain of relays that only copy bytes.
//!
//! A message is synced to the receiver's disk before its receipt comes; a call is answered from memory.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use kith_runtime::control::client::{self, Answers, ClientError};
use kith_runtime::control::peer::{Body, Content, Request};
use serde_json::json;

use crate::bench::median;
use crate::bench::relays::{self, AtEnd, Chain};
use crate::error::{LabError, io_error};
use crate::goals::{self, Figure};
use crate::mesh::Lab;
use crate::node::{Node, name};
use crate::options::{Options, Progress};
use crate::output;

/// Forwarders on the way, of either chain
const FORWARDERS: usize = 3;
/// Bytes of a message, of a call's argument, and of a request and its answer
const BYTES: usize = 64;

/// How the bench is run
#[derive(Clone, Debug)]
pub(crate) struct MessagesOptions {
    pub(crate) lab: Options,
    /// How many are under way at once, one number after the other
    pub(crate) at_once: Vec<usize>,
    /// How often each is measured
    pub(crate) rounds: usize,
    /// How long each is measured each time
    pub(crate) measured: Duration,
    pub(crate) json: bool,
}

/// What is measured
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Bare,
    Calls,
    Messages,
}

/// Measures, and says what came of it; whether everything was answered
///
/// # Errors
/// The lab did not come up, or no two of its peers have three forwarders between them. All processes have ended then.
pub(crate) fn run(options: &MessagesOptions) -> Result<bool, LabError> {
    let lab = Lab::up(options.lab.clone(), Progress::Lines)?;
    let (from, to) = relays::pair(&lab, FORWARDERS)?;
    lab.progress().say(&format!("from {} to {}", from.name, to));
    let chain = Chain::of(FORWARDERS, AtEnd::Echoes).map_err(io_error("make a chain of relays"))?;
    let mut rates: BTreeMap<(usize, What), Vec<f64>> = BTreeMap::new();
    let mut failed = 0;
    for round in 1..=options.rounds {
        for at_once in &options.at_once {
            for what in [What::Bare, What::Calls, What::Messages] {
                let counted = match what {
                    What::Bare => {
                        ask_over(&chain, *at_once, options.measured).map_err(io_error("use a chain of relays"))?
                    }
                    What::Calls | What::Messages => {
                        let counted = measure(&from, &to, what, *at_once, options.measured);
                        counted.map_err(|error| from.failed(error))?
                    }
                };
                failed += counted.failed;
                rates.entry((*at_once, what)).or_default().push(counted.rate());
            }
            // Nobody's in-box is to be full.
            lab.node(&to)?.take_inbox()?;
        }
        lab.progress().say(&format!("round {round} of {}", options.rounds));
    }
    lab.down()?;
    let mut figures = figures(&rates);
    figures.push(Figure::at_most("that were not answered well", Some(failed as f64), 0.0, ""));
    if options.json {
        output::line(&json!({ "rounds": options.rounds, "figures": figures }).to_string());
    } else {
        output::line(&goals::text(&figures));
    }
    Ok(goals::all_held(&figures))
}

fn figures(rates: &BTreeMap<(usize, What), Vec<f64>>) -> Vec<Figure> {
    let rate = |at_once, what| rates.get(&(at_once, what)).cloned().map(median).unwrap_or_default();
    let of = |(at_once, what): &(usize, What)| {
        let words = match what {
            What::Bare => "requests over bare relays",
            What::Calls => "calls",
            What::Messages => "messages",
        };
        let told = Figure::told(format!("{at_once} under way: {words} a second"), rate(*at_once, *what), "");
        let share = rate(*at_once, *what) / rate(*at_once, What::Bare);
        let share = (*what != What::Bare).then(|| Figure::told("… of the bare relays'", share, ""));
        [Some(told), share].into_iter().flatten()
    };
    rates.keys().flat_map(of).collect()
}

/// What was counted in a time
#[derive(Clone, Copy, Debug)]
struct Counted {
    answered: usize,
    failed: usize,
    took: Duration,
}

impl Counted {
    fn rate(&self) -> f64 {
        self.answered as f64 / self.took.as_secs_f64()
    }
}

/// One more is asked for each answer; what is under way when the time is over is waited for, and not counted
fn measure(from: &Node, to: &str, what: What, at_once: usize, measured: Duration) -> Result<Counted, ClientError> {
    let (mut asker, mut answers) = client::open_many(&from.home)?;
    let text = "x".repeat(BYTES);
    let to = name(to).map_err(|error| ClientError::Broken(error.to_string()))?;
    let request = match what {
        What::Messages => Request::Send { name: to, body: Body::Text(text), ttl_s: None, wait_ms: Some(60_000) },
        What::Bare | What::Calls => {
            let arguments = vec![Content(text)];
            Request::Call { name: to, function: "echo".to_owned(), arguments, timeout_ms: Some(60_000), id: None }
        }
    };
    // The first one makes the connection.
    asker.ask(0, &request)?;
    let mut failed = usize::from(!is_well(&mut answers)?);
    let (started, mut answered) = (Instant::now(), 0);
    for number in 0..at_once {
        asker.ask(number as u64, &request)?;
    }
    while started.elapsed() < measured {
        failed += usize::from(!is_well(&mut answers)?);
        answered += 1;
        asker.ask(answered as u64, &request)?;
    }
    let took = started.elapsed();
    asker.finish()?;
    for _ in 0..at_once {
        failed += usize::from(!is_well(&mut answers)?);
    }
    Ok(Counted { answered, failed, took })
}

fn is_well(answers: &mut Answers) -> Result<bool, ClientError> {
    let (_, line) = answers.next().ok_or_else(|| ClientError::Broken("the daemon hung up".to_owned()))??;
    Ok(line.status.is_some_and(|status| status.code() == 200))
}

/// As [`measure`], of requests and answers over bare relays
fn ask_over(chain: &Chain, at_once: usize, measured: Duration) -> io::Result<Counted> {
    let mut stream = chain.connect()?;
    let (request, mut answer) = ([7; BYTES], [0; BYTES]);
    let (started, mut answered) = (Instant::now(), 0);
    for _ in 0..at_once {
        stream.write_all(&request)?;
    }
    while started.elapsed() < measured {
        stream.read_exact(&mut answer)?;
        answered += 1;
        stream.write_all(&request)?;
    }
    let took = started.elapsed();
    stream.shutdown(Shutdown::Write)?;
    let left = io::copy(&mut stream, &mut io::sink())?;
    let failed = usize::from(left != (at_once * BYTES) as u64);
    Ok(Counted { answered, failed, took })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_of_relays_answers_everything() {
        let chain = Chain::of(FORWARDERS, AtEnd::Echoes).unwrap();
        for at_once in [1, 16] {
            let counted = ask_over(&chain, at_once, Duration::from_millis(50)).unwrap();
            assert!(counted.failed == 0 && counted.answered > 0, "{counted:?}");
        }
    }

    #[test]
    fn rates_stand_beside_those_of_the_bare_relays() {
        let rates = [((16, What::Bare), vec![1_000.0]), ((16, What::Calls), vec![100.0, 500.0, 300.0])];
        let figures = figures(&rates.into_iter().collect());
        let told: Vec<_> = figures.iter().map(|figure| (figure.what.as_str(), figure.value)).collect();
        let expected = [
            ("16 under way: requests over bare relays a second", Some(1_000.0)),
            ("16 under way: calls a second", Some(300.0)),
            ("… of the bare relays'", Some(0.3)),
        ];
        assert_eq!(told, expected);
    }
}
