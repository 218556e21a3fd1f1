//! `kith-sim mesh`: one run, or many seeds of it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::arguments::{self, Mistake};
use crate::mesh::config::MeshConfig;
use crate::mesh::faults::Effect;
use crate::mesh::lies::Lie;
use crate::mesh::oracle::Operations;
use crate::mesh::shape::Shape;
use crate::mesh::watch::Violation;
use crate::mesh::{self, Report, users};
use crate::oracles;
use crate::output::{self, line, note};
use crate::parallel::{map_chunks, threads_default};

/// How many times as long it is from one fault to the next where most or all supernodes are away for long
const OUTAGE_REST: u32 = 4;

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// How many peers
    #[arg(long, default_value = "50", value_parser = arguments::peers)]
    peers: usize,
    /// How many supernodes, which elect one to lead if they are several
    #[arg(long, default_value_t = 1, value_parser = arguments::supernodes)]
    supernodes: u32,
    /// The network's degree; small, so that there are hops to see
    #[arg(long, default_value = "8", value_parser = arguments::degree)]
    degree: u8,
    /// The first seed: the same seed gives the same run
    #[arg(long, default_value = "1", value_parser = arguments::seed)]
    seed: u64,
    /// How many seeds, from the first on
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=arguments::SEEDS_MAX))]
    seeds: u64,
    /// How long faults last, in simulated minutes; 0: none happen
    #[arg(long, default_value = "10", value_name = "MINUTES", value_parser = arguments::minutes)]
    minutes: f64,
    /// Only these kinds of faults, separated by commas, as `faults that bit` has them; `none` alone for none; a wrong one
    /// is answered with the list
    #[arg(long, value_name = "KINDS")]
    only: Option<String>,
    /// Ways between so many of the peers stay cut for ever, and the others must be served all the same
    #[arg(long, value_name = "SHARE", value_parser = arguments::share, default_value = "0")]
    outside: f64,
    /// So many more peers look alive and do not forward what they should
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with_all = ["outside", "shape"])]
    liars: u32,
    /// What they do not forward: all, half or large (packets)
    #[arg(long, value_name = "LIE", default_value_t)]
    lie: Lie,
    /// Who can dial whom, from the beginning and for ever: line, ring, star, tree or cliques; whoever has a way must be
    /// reached by it
    #[arg(long, value_name = "SHAPE", conflicts_with = "outside")]
    shape: Option<Shape>,
    /// Seconds from one deed of a user to the next, on average
    #[arg(long, default_value = "40", value_name = "SECONDS", value_parser = arguments::seconds)]
    deeds: f64,
    /// One user sends so many messages at once, before faults begin
    #[arg(long, value_name = "MESSAGES", default_value_t = 0)]
    burst: u32,
    /// Tell one seed's story of everything that names this: a peer (`peer-7`), an address, the id of a packet (in
    /// hexadecimal) or of a message, or `all`
    #[arg(long, value_name = "WHAT", conflicts_with_all = ["seeds", "json"], value_parser = about)]
    trace: Option<String>,
    #[command(flatten)]
    mistake: Mistake,
    /// How many threads; the runs do not depend on it
    #[arg(long, default_value_t = threads_default(), value_name = "N")]
    threads: usize,
    /// Print an object instead of a text
    #[arg(long)]
    json: bool,
}

/// What a story is to be about; ids and addresses as they are written there
fn about(text: &str) -> Result<String, String> {
    let text = text.trim().to_lowercase();
    match text.strip_prefix("0x").unwrap_or(&text) {
        "" => Err("a peer, an address, an id, or `all`".into()),
        about => Ok(about.to_owned()),
    }
}

impl Options {
    /// The config of one seed
    ///
    /// # Errors
    /// In words, if a kind of fault does not exist.
    pub fn config(&self, seed: u64) -> Result<MeshConfig, String> {
        let kinds: BTreeSet<Effect> = match self.only.as_deref() {
            None => Effect::usual().collect(),
            Some("none") => Default::default(),
            Some(list) => list.split(',').map(|kind| kind.trim().parse()).collect::<Result<_, _>>()?,
        };
        let usual = MeshConfig::new(seed, self.peers as u32 + self.liars);
        // While nobody can log in, a peer that crashes costs the others more: some are to be left.
        let is_long = kinds.contains(&Effect::Outage) || kinds.contains(&Effect::NoQuorum);
        let rest = if is_long { OUTAGE_REST } else { 1 };
        Ok(MeshConfig {
            fault_every: usual.fault_every * rest,
            supernodes: self.supernodes,
            degree: self.degree,
            faults: Duration::from_secs_f64(self.minutes * 60.0),
            kinds,
            deed_every: Duration::from_secs_f64(self.deeds),
            burst: self.burst,
            outside: self.outside,
            liars: self.liars,
            lie: self.lie,
            shape: self.shape,
            story: self.trace.clone(),
            ..usual
        })
    }

    fn names(&self) -> String {
        let last = self.supernodes + self.peers as u32 - 1;
        format!("{} to {}", users::name_of(self.supernodes), users::name_of(last))
    }

    fn tell(&self, seed: u64, violation: &Violation) -> String {
        format!("seed {seed}: {violation}\n  replay, with --trace WHAT as a story: {}", self.replay(seed))
    }

    /// The command that runs one seed of this again
    pub fn replay(&self, seed: u64) -> String {
        let mut command = format!("kith-sim mesh --peers {} --degree {} --seed {seed}", self.peers, self.degree);
        if self.supernodes > 1 {
            command += &format!(" --supernodes {}", self.supernodes);
        }
        if self.minutes != 10.0 {
            command += &format!(" --minutes {}", self.minutes);
        }
        if let Some(only) = &self.only {
            command += &format!(" --only {only}");
        }
        if self.outside > 0.0 {
            command += &format!(" --outside {}", self.outside);
        }
        if self.liars > 0 {
            command += &format!(" --liars {} --lie {}", self.liars, self.lie);
        }
        if let Some(shape) = self.shape {
            command += &format!(" --shape {shape}");
        }
        if self.deeds != 40.0 {
            command += &format!(" --deeds {}", self.deeds);
        }
        if self.burst > 0 {
            command += &format!(" --burst {}", self.burst);
        }
        #[cfg(feature = "mutants")]
        if let Some(mutant) = self.mistake.mutant {
            command += &format!(" --mutant {mutant}");
        }
        command
    }
}

/// A run in which an oracle was wronged
#[derive(Debug, Serialize)]
struct Wrong {
    seed: u64,
    oracle: &'static str,
    what: String,
    at_s: f64,
    replay: String,
}

/// What many runs came to
#[derive(Debug, Default, Serialize)]
struct Summary {
    seeds: u64,
    violations: Vec<Wrong>,
    simulated_s: f64,
    wall_s: f64,
    /// Simulated time over the time that one thread took for it
    speed: f64,
    events: u64,
    /// What each kind of fault has done: frames, packets, writes, processes and so on that it met
    effects: BTreeMap<String, u64>,
    /// What senders were told of their messages
    messages: BTreeMap<String, u64>,
    /// Of calls that were answered: how many, and the seconds that half, 99 of a hundred, and all of them took at most
    calls: Waits,
    /// Packets that liars have dropped
    lies: u64,
    /// What people did with the directory, and the oracles have judged
    operations: Operations,
    /// What became of packets at forwarders
    packets: BTreeMap<String, u64>,
    permanent_cuts: usize,
    queue_longest: usize,
    conns_most: usize,
    hash: String,
    #[serde(skip)]
    call_waits: Vec<Duration>,
}

/// How long people waited, in seconds
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct Waits {
    count: usize,
    half_s: f64,
    most_s: f64,
    all_s: f64,
}

impl Waits {
    fn of(mut waits: Vec<Duration>) -> Self {
        waits.sort_unstable();
        let at = |hundredths: usize| {
            let index = (waits.len() * hundredths).div_ceil(100).saturating_sub(1);
            waits.get(index).map_or(0.0, Duration::as_secs_f64)
        };
        Self { count: waits.len(), half_s: at(50), most_s: at(99), all_s: at(100) }
    }
}

impl Summary {
    fn add(&mut self, options: &Options, seed: u64, report: &Report) {
        self.seeds += 1;
        if let Some(violation) = &report.violation {
            let Violation { at, oracle, what } = violation.clone();
            let (at_s, replay) = (at.as_micros() as f64 / 1e6, options.replay(seed));
            self.violations.push(Wrong { seed, oracle, what, at_s, replay });
        }
        self.simulated_s += report.simulated.as_secs_f64();
        self.events += report.events;
        for (effect, count) in &report.effects {
            *self.effects.entry(effect.to_string()).or_default() += count;
        }
        for (status, number) in &report.fates {
            *self.messages.entry(status.to_string()).or_default() += number;
        }
        self.call_waits.extend(&report.call_waits);
        self.lies += report.lies;
        self.operations += report.operations;
        for (count, number) in &report.counts {
            *self.packets.entry(format!("{count:?}")).or_default() += number;
        }
        self.permanent_cuts += report.permanent_cuts;
        self.queue_longest = self.queue_longest.max(report.queue_longest);
        self.conns_most = self.conns_most.max(report.conns_most);
    }
}

/// One run that all oracles watch
pub fn run(config: &MeshConfig) -> Report {
    mesh::run(config, oracles::all(config))
}

/// Runs the verb; 1 if an oracle was wronged, or a fault that was wanted had no effect
pub fn verb(options: &Options) -> ExitCode {
    match summary(options) {
        Ok(summary) => print(options, &summary),
        Err(error) => {
            note(&format!("kith-sim: {error}"));
            ExitCode::from(2)
        }
    }
}

fn summary(options: &Options) -> Result<Summary, String> {
    options.config(options.seed)?;
    let began = std::time::Instant::now();
    let (runs, _) = map_chunks(
        options.threads,
        options.seeds as usize,
        || options.mistake.make(),
        |(), number| {
            let seed = options.seed + number as u64;
            let config = options.config(seed)?;
            let began = std::time::Instant::now();
            let report = run(&config);
            if let Some(violation) = &report.violation {
                note(&options.tell(seed, violation));
            }
            if let (Some(about), Some(0)) = (&options.trace, report.told) {
                note(&format!("kith-sim: nothing names {about}; peers are called {}", options.names()));
            }
            Ok::<_, String>((seed, report, began.elapsed()))
        },
    );
    let (mut summary, mut hash, mut busy) = (Summary::default(), 0_u64, Duration::ZERO);
    for (seed, report, took) in runs.into_iter().collect::<Result<Vec<_>, _>>()? {
        summary.add(options, seed, &report);
        hash = hash.rotate_left(1) ^ report.hash;
        busy += took;
    }
    summary.hash = format!("{hash:016x}");
    summary.calls = Waits::of(std::mem::take(&mut summary.call_waits));
    summary.wall_s = began.elapsed().as_secs_f64();
    summary.speed = summary.simulated_s / busy.as_secs_f64().max(1e-6);
    Ok(summary)
}

fn print(options: &Options, summary: &Summary) -> ExitCode {
    let idle = idle_faults(options, summary);
    // A violation ends a run before its ways are counted.
    let is_whole = options.outside > 0.0 && summary.permanent_cuts == 0 && summary.violations.is_empty();
    let is_honest = options.liars > 0 && summary.lies == 0;
    let is_good = summary.violations.is_empty() && idle.is_empty() && !is_whole && !is_honest;
    if options.json {
        output::json(summary);
    } else {
        say(options, summary);
        idle.iter().for_each(|effect| line(&format!("fault without any effect: {effect}")));
        if is_whole {
            line("no way stayed cut: there are too few peers outside");
        }
        if is_honest {
            line("no liar had anything to drop: nothing was tried");
        }
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// So many of something that is called so
fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn say(options: &Options, summary: &Summary) {
    let Summary { seeds, simulated_s, wall_s, speed, events, hash, queue_longest, conns_most, .. } = summary;
    let simulated = match simulated_s {
        ..3600.0 => format!("{:.1} simulated minutes", simulated_s / 60.0),
        _ => format!("{:.1} simulated hours", simulated_s / 3600.0),
    };
    let [decimals, wall_decimals] = [speed, wall_s].map(|number| if *number < 10.0 { 1 } else { 0 });
    line(&format!(
        "{} of {} peers: {simulated} in {wall_s:.wall_decimals$} s, {speed:.decimals$} times as fast as real time on one core",
        counted(*seeds, "seed"),
        options.peers,
    ));
    line(&format!("{events} events; hash {hash}"));
    let list = |of: &BTreeMap<String, u64>| {
        of.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
    };
    if !summary.effects.is_empty() {
        line(&format!("faults that bit: {}", list(&summary.effects)));
    }
    if summary.permanent_cuts > 0 {
        line(&format!("ways that stay cut: {}", summary.permanent_cuts));
    }
    for (what, counts) in [("messages", &summary.messages), ("packets at forwarders", &summary.packets)] {
        if !counts.is_empty() {
            line(&format!("{what}: {}", list(counts)));
        }
    }
    let Waits { count, half_s, most_s, all_s } = summary.calls;
    line(&format!(
        "calls that were answered: {count}, half of them after {half_s:.3} s, 99 of a hundred after {most_s:.3} s, all after {all_s:.3} s"
    ));
    if options.liars > 0 {
        line(&format!("packets that liars dropped: {}", summary.lies));
    }
    line(&summary.operations.to_string());
    line(&format!("at most {queue_longest} events waited, and {conns_most} dials and links were there"));
    line(&match summary.violations.as_slice() {
        [] if *seeds < 10 => "no violation".into(),
        [] => format!("no violation; fewer than {:.2} % of seeds are wrong (95 %: 3/n)", 300.0 / *seeds as f64),
        wrong => {
            let list = wrong.iter().map(|wrong| wrong.seed.to_string()).collect::<Vec<_>>().join(", ");
            format!("wrong: {} of {}, as was told of each: {list}", wrong.len(), counted(*seeds, "seed"))
        }
    });
}

/// Kinds of faults that were wanted and did nothing: the suite would prove nothing about them
fn idle_faults(options: &Options, summary: &Summary) -> Vec<Effect> {
    let Ok(config) = options.config(options.seed) else { return Vec::new() };
    // One run may be too short for all of them.
    if summary.seeds < 20 || config.faults.is_zero() {
        return Vec::new();
    }
    let kinds = config.kinds.into_iter().filter(|effect| options.supernodes > 1 || !effect.is_of_several());
    kinds.filter(|effect| !summary.effects.contains_key(effect.as_str())).collect()
}
