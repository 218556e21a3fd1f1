//! `kith-lab bench stream` and `bench tunnel`: bytes a second through one pipe, or one connection over a tunnel, over so many forwarders, beside a TCP connection through as many
//! relays that only copy bytes.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bench::median;
use crate::bench::relays::{self, AtEnd, Chain};
use crate::bench::tunnel::Tunnelled;
use crate::error::{LabError, io_error};
use crate::goals::{self, Figure};
use crate::mesh::Lab;
use crate::node::Node;
use crate::options::{Options, Progress};
use crate::output;

/// Bytes that are written, and read, at once
const PIECE_BYTES: usize = 64 * 1024;
/// What one forwarder is to carry, in millions of bytes a second, on two processors that do all the work
const OVER_ONE: f64 = 150.0;
/// How long to try a pipe: the one who listens may not be there yet
const TRY_FOR: Duration = Duration::from_secs(30);

/// What carries the bytes
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// A pipe between two programs at control sockets
    Pipe,
    /// A TCP connection over a tunnel
    Tunnel,
}

/// How the bench is run
#[derive(Clone, Debug)]
pub(crate) struct StreamOptions {
    pub(crate) lab: Options,
    pub(crate) by: By,
    /// How many forwarders, one number after the other
    pub(crate) forwarders: Vec<usize>,
    /// How often each is measured
    pub(crate) rounds: usize,
    /// How long is written each time
    pub(crate) measured: Duration,
    pub(crate) json: bool,
}

/// Measures, and says what came of it; whether everything arrived, and as fast as it is to
///
/// # Errors
/// The lab did not come up, or no two of its peers have so many forwarders between them. All processes have ended then.
pub(crate) fn run(options: &StreamOptions) -> Result<bool, LabError> {
    let lab = Lab::up(options.lab.clone(), Progress::Lines)?;
    let mut rates: BTreeMap<(usize, bool), Vec<f64>> = BTreeMap::new();
    let mut lost = 0;
    for forwarders in &options.forwarders {
        let (from, to) = relays::pair(&lab, *forwarders)?;
        let to = lab.node(&to)?;
        lab.progress().say(&format!("over {forwarders}: from {} to {}", from.name, to.name));
        let chain = Chain::of(*forwarders, AtEnd::Reads).map_err(io_error("make a chain of relays"))?;
        for _ in 0..options.rounds {
            let bare = over(&chain, options.measured).map_err(io_error("use a chain of relays"))?;
            rates.entry((*forwarders, false)).or_default().push(bare);
            let (rate, missing) = match options.by {
                By::Pipe => piped(&from, &to, options.measured)?,
                By::Tunnel => tunnelled(&from, &to, options.measured)?,
            };
            rates.entry((*forwarders, true)).or_default().push(rate);
            lost += missing;
        }
    }
    lab.down()?;
    let mut figures = figures(&rates, options.by);
    figures.push(Figure::at_most("bytes that did not arrive", Some(lost as f64), 0.0, ""));
    if options.json {
        output::line(&json!({ "rounds": options.rounds, "figures": figures }).to_string());
    } else {
        output::line(&goals::text(&figures));
    }
    Ok(goals::all_held(&figures))
}

fn figures(rates: &BTreeMap<(usize, bool), Vec<f64>>, by: By) -> Vec<Figure> {
    let rate = |forwarders, of_kith| rates.get(&(forwarders, of_kith)).cloned().map(median).unwrap_or_default() / 1e6;
    let of = |(forwarders, of_kith): &(usize, bool)| {
        let own = rate(*forwarders, *of_kith);
        if !of_kith {
            return vec![Figure::told(format!("over {forwarders}: a connection through bare relays"), own, "MB/s")];
        }
        let carrier = if by == By::Pipe { "a pipe" } else { "a connection through a tunnel" };
        let what = format!("over {forwarders}: {carrier}");
        let own_figure = match forwarders {
            1 => Figure::at_least(what, own, OVER_ONE, "MB/s"),
            _ => Figure::told(what, own, "MB/s"),
        };
        vec![own_figure, Figure::told("… of the bare relays'", own / rate(*forwarders, false), "")]
    };
    rates.keys().flat_map(of).collect()
}

/// Bytes a second through bare relays
fn over(chain: &Chain, measured: Duration) -> io::Result<f64> {
    let mut stream = chain.connect()?;
    let started = Instant::now();
    let written = write_for(&mut stream, measured)?;
    stream.shutdown(Shutdown::Write)?;
    read_all(&mut stream)?;
    Ok(written as f64 / started.elapsed().as_secs_f64())
}

/// Bytes a second through a pipe, and how many did not arrive
fn piped(from: &Node, to: &Node, measured: Duration) -> Result<(f64, u64), LabError> {
    let taker = to.clone();
    let reader = thread::spawn(move || -> Result<u64, LabError> {
        let mut stream = taker.take_pipe()?;
        read_all(&mut stream).map_err(io_error("read from a pipe"))
    });
    let deadline = Instant::now() + TRY_FOR;
    let mut stream = loop {
        match from.pipe(&to.name) {
            Ok(stream) => break stream,
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => {}
        }
    };
    let started = Instant::now();
    let written = write_for(&mut stream, measured).map_err(io_error("write into a pipe"))?;
    stream.shutdown(Shutdown::Write).map_err(io_error("write into a pipe"))?;
    // The other end closes its half once it has read everything.
    read_all(&mut stream).map_err(io_error("read from a pipe"))?;
    let took = started.elapsed();
    let read = reader.join().map_err(|_| io_error("read from a pipe")(io::Error::other("the reader has failed")))??;
    Ok((written as f64 / took.as_secs_f64(), written.abs_diff(read)))
}

/// Bytes a second through a tunnel, and how many did not arrive
fn tunnelled(from: &Node, to: &Node, measured: Duration) -> Result<(f64, u64), LabError> {
    let failed = || io_error("use a tunnel");
    let end = Chain::of(0, AtEnd::Reads).map_err(failed())?;
    let tunnel = Tunnelled::to(end.at(), from, to)?;
    let mut stream = tunnel.connect().map_err(failed())?;
    let started = Instant::now();
    let written = write_for(&mut stream, measured).map_err(failed())?;
    stream.shutdown(Shutdown::Write).map_err(failed())?;
    // The other end closes once it has read everything.
    read_all(&mut stream).map_err(failed())?;
    let took = started.elapsed();
    let read = to.tunnels()?.tunnels.first().map_or(0, |rule| rule.received);
    Ok((written as f64 / took.as_secs_f64(), written.abs_diff(read)))
}

fn write_for(stream: &mut impl Write, measured: Duration) -> io::Result<u64> {
    let piece = vec![7; PIECE_BYTES];
    let (started, mut written) = (Instant::now(), 0);
    while started.elapsed() < measured {
        stream.write_all(&piece)?;
        written += PIECE_BYTES as u64;
    }
    Ok(written)
}

/// How many bytes came until the end
fn read_all(stream: &mut impl Read) -> io::Result<u64> {
    let (mut piece, mut all) = (vec![0; PIECE_BYTES], 0);
    loop {
        match stream.read(&mut piece)? {
            0 => return Ok(all),
            read => all += read as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_relays_carry_everything() {
        let chain = Chain::of(3, AtEnd::Reads).unwrap();
        assert!(over(&chain, Duration::from_millis(50)).unwrap() > 0.0);
        let echoes = Chain::of(1, AtEnd::Echoes).unwrap();
        let mut stream = echoes.connect().unwrap();
        stream.write_all(b"all of it").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&mut stream).unwrap(), 9);
    }

    #[test]
    fn pipe_stands_beside_the_bare_relays_and_has_a_goal_over_one_forwarder() {
        let rates = [((1, false), vec![1e9]), ((1, true), vec![100e6, 200e6, 140e6]), ((3, true), vec![1e6])];
        let figures = figures(&rates.into_iter().collect(), By::Pipe);
        let told: Vec<_> = figures.iter().map(|figure| (figure.what.as_str(), figure.value, figure.held)).collect();
        assert_eq!(told[0], ("over 1: a connection through bare relays", Some(1_000.0), true));
        assert_eq!(told[1], ("over 1: a pipe", Some(140.0), false));
        assert_eq!(told[2], ("… of the bare relays'", Some(0.14), true));
        assert_eq!(told[3], ("over 3: a pipe", Some(1.0), true));
    }
}
