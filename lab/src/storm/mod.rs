//! `kith-lab storm`: many light peers log in at once, stay, and come back whenever they lose their homes.

mod board;
pub(crate) mod light;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::session::membership::MembershipConfig;
use kith_common::wire::session::{Listening, Locations};
use kith_runtime::clock::Clock;
use kith_runtime::host::raise_file_limit;
use kith_runtime::identity::Identity;
use libp2p::tls::Config;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::board::{Board, Look};
use self::light::Light;
use crate::book;
use crate::draw::{self, Draw};
use crate::error::{LabError, io_error};
use crate::mesh::Lab;
use crate::node::name;
use crate::output;
use crate::role::Role;
use crate::state::State;

/// Light peers at most: each takes a connection, and some 100 KB here and at its home
pub(crate) const LIGHTS_MAX: usize = 20_000;
/// Handshakes at once: a machine of a peer's own has one, this process computes those of all, and those that are logged in
/// must not wait for them with their answers
const HANDSHAKES_MAX: usize = 64;
/// How often it is told how many are in, while not all are
const TELL_EVERY: Duration = Duration::from_secs(1);
/// From one look to the next
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// At the end all log out; whoever takes longer is a suspect, and out with its lease
const LOGOUT_LIMIT: Duration = Duration::from_secs(5);

/// How a storm is made
#[derive(Clone, Copy, Debug)]
pub(crate) struct StormOptions {
    pub(crate) lights: usize,
    /// When it ends; none: with a signal
    pub(crate) limit: Option<Duration>,
    /// Whether the report is for programs
    pub(crate) json: bool,
}

/// What came of one round: from the first that was out until all were in, or until the storm's end
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) lights: usize,
    /// How many are in
    pub(crate) present: usize,
    /// Seconds until 99 of a hundred were in
    pub(crate) most_after_s: Option<f64>,
    /// Seconds until all were in
    pub(crate) all_after_s: Option<f64>,
    /// Dials, those that were not answered among them
    pub(crate) tries_a_peer: f64,
    /// Logins that a supernode refused
    pub(crate) refusals: u64,
    /// How many are at home where, by the supernodes' names in the lab
    pub(crate) homes: Vec<(String, usize)>,
}

/// Lets the storm loose on a lab, says what comes of it, and ends it
///
/// # Errors
/// The lab has no supernode, or the system refuses something.
pub(crate) fn run(lab: &Lab, options: StormOptions) -> Result<Report, LabError> {
    raise_file_limit();
    let state = lab.state()?;
    if let Some(way) = state.net.as_ref().and_then(|net| net.way_in()) {
        let dir = lab.dir().display();
        return Err(LabError::Options(format!(
            "the lab's nodes have networks of their own; let it loose in there: {way} kith-lab --dir {dir} storm {}",
            options.lights
        )));
    }
    let supernodes = lab.listening()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(io_error("start the storm's threads"))?;
    let board = Arc::new(Board::new(options.lights));
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let lights = (0..options.lights).map(|place| light(&state, &supernodes, place, &board, &handshakes));
    let lights = lights.collect::<Result<Vec<Light>, LabError>>()?;
    tell(options, &format!("{} light peers log in at once", lights.len()));
    let report = runtime.block_on(blow(lights, &board, options, &state))?;
    if options.json {
        output::line(&serde_json::to_string(&report).unwrap_or_default());
    }
    Ok(report)
}

/// The light peer at `place`; a lab's seed gives it the same key again, and so its name
fn light(
    state: &State,
    supernodes: &[String],
    place: usize,
    board: &Arc<Board>,
    handshakes: &Arc<Semaphore>,
) -> Result<Light, LabError> {
    let text = format!("light-{}", place + 1);
    let identity = Identity::from_seed(draw::key(state.seed, &text));
    let tls = Config::new(&identity.keypair());
    let tls = tls.map_err(|error| LabError::Options(format!("no certificate for {text}: {error}")))?;
    let mut draw = Draw::of(state.seed, &text);
    let mut supernodes = supernodes.to_vec();
    draw.shuffle(&mut supernodes);
    let membership = MembershipConfig {
        name: name(&text)?,
        supernodes,
        learned: Vec::new(),
        network: None,
        secret: None,
        invite: None,
        external: Locations::default(),
        listening: Listening::default(),
    };
    let (board, handshakes) = (Arc::clone(board), Arc::clone(handshakes));
    Ok(Light { place, identity, tls, membership, seed: draw.number(), clock: Clock::start(), board, handshakes })
}

async fn blow(lights: Vec<Light>, board: &Board, options: StormOptions, state: &State) -> Result<Report, LabError> {
    let listens = |kind| signal(kind).map_err(io_error("hear signals"));
    let (mut interrupt, mut terminate) = (listens(SignalKind::interrupt())?, listens(SignalKind::terminate())?);
    let (stop, stopped) = watch::channel(false);
    let (mut tasks, began) = (JoinSet::new(), Instant::now());
    board.begin();
    for light in lights {
        tasks.spawn(light.live(stopped.clone()));
    }
    let (mut was_whole, mut told) = (false, Instant::now());
    while options.limit.is_none_or(|limit| began.elapsed() < limit) {
        let look = board.look();
        let is_whole = look.all_after.is_some();
        if is_whole && !was_whole {
            tell(options, &Report::of(&look, state).text());
        } else if !is_whole && (was_whole || told.elapsed() >= TELL_EVERY) {
            told = Instant::now();
            tell(options, &progress(&look));
        }
        was_whole = is_whole;
        tokio::select! {
            () = sleep(LOOK_EVERY) => {}
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    let report = Report::of(&board.look(), state);
    // Nobody is left to hear it if all have ended.
    let _ = stop.send(true);
    let ended = timeout(LOGOUT_LIMIT, async { while tasks.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tell(options, &format!("{} light peers could not log out in time", tasks.len()));
    }
    Ok(report)
}

fn progress(look: &Look) -> String {
    let Look { lights, present, since, tries, refusals, .. } = look;
    format!("{:>6.1} s: {present} of {lights} are in, after {tries} tries and {refusals} refusals", since.as_secs_f64())
}

fn tell(options: StormOptions, text: &str) {
    if options.json {
        output::note(text);
    } else {
        output::line(text);
    }
}

impl Report {
    fn of(look: &Look, state: &State) -> Self {
        let named = |at: &String| {
            let mut supernodes = state.processes.iter().filter(|process| process.role == Role::Supernode);
            let known = supernodes.find(|process| book::listen(process) == Some(at));
            known.map_or_else(|| at.clone(), |process| process.name.clone())
        };
        let seconds = |after: Option<Duration>| after.map(|after| after.as_secs_f64());
        Self {
            lights: look.lights,
            present: look.present,
            most_after_s: seconds(look.most_after),
            all_after_s: seconds(look.all_after),
            tries_a_peer: look.tries as f64 / look.lights.max(1) as f64,
            refusals: look.refusals,
            homes: look.homes.iter().map(|(at, count)| (named(at), *count)).collect(),
        }
    }

    /// Whether all are in
    pub(crate) fn held(&self) -> bool {
        self.present == self.lights
    }

    fn text(&self) -> String {
        let after = |after: Option<f64>| after.map_or_else(|| "never".to_owned(), |after| format!("{after:.2} s"));
        let homes: Vec<String> = self.homes.iter().map(|(name, count)| format!("{count} at {name}")).collect();
        format!(
            "all {} are in after {} (99 of a hundred after {}): {:.2} tries a peer, {} refusals; {}",
            self.lights,
            after(self.all_after_s),
            after(self.most_after_s),
            self.tries_a_peer,
            self.refusals,
            homes.join(", ")
        )
    }
}
