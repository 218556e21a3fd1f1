//! Many light peers in this process: they log in at once, and stay until the crowd is sent home.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::id::Name;
use kith_runtime::clock::Clock;
use kith_runtime::host::raise_file_limit;
use kith_runtime::identity::Identity;
use kith_runtime::stall::{self, Watch};
use libp2p::tls::Config;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::board::{Board, Look};
use super::light::{Asking, Light, in_turn_with, membership};
use super::shell::Shell;
use crate::draw::{self, Draw};
use crate::error::{LabError, io_error};
use crate::mesh::Lab;
use crate::node::name;
use crate::state::State;

/// Handshakes at once: a machine of a peer's own has one, this process computes those of all, and those that are logged in
/// must not wait for them with their answers
const HANDSHAKES_MAX: usize = 64;
/// From one look to the next
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// At the end all log out; whoever takes longer is a suspect, and out with its lease
const LOGOUT_LIMIT: Duration = Duration::from_secs(5);

/// The crowd
pub(crate) struct Crowd {
    runtime: Runtime,
    board: Arc<Board>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    interrupt: Signal,
    terminate: Signal,
    began: Instant,
    /// Whoever hangs fails
    _watch: Watch,
}

impl Crowd {
    /// Lets so many light peers log in at the supernodes of a lab; each asks for another one `ask_every` so often, if it asks
    ///
    /// # Errors
    /// The lab has no supernode, or the system refuses something.
    pub(crate) fn gather(lab: &Lab, lights: usize, ask_every: Option<Duration>) -> Result<Self, LabError> {
        raise_file_limit();
        let (state, supernodes) = (lab.state()?, lab.listening()?);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(io_error("start the light peers' threads"))?;
        let board = Arc::new(Board::new(lights));
        let names: Arc<[Name]> = (0..lights).map(|place| name(&called(place))).collect::<Result<_, _>>()?;
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        let made = (0..lights).map(|place| {
            let shell = shell(&state, &supernodes, place, &handshakes)?;
            let draw = || Draw::of(state.seed, &format!("{} asks", called(place)));
            let asking = ask_every.map(|every| Asking::new(every, Arc::clone(&names), draw()));
            Ok(Light { place, shell, board: Arc::clone(&board), asking })
        });
        let made = made.collect::<Result<Vec<Light>, LabError>>()?;
        let listens = |kind| {
            let _entered = runtime.enter();
            signal(kind).map_err(io_error("hear signals"))
        };
        let (interrupt, terminate) = (listens(SignalKind::interrupt())?, listens(SignalKind::terminate())?);
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        board.begin();
        for light in made {
            tasks.spawn_on(light.live(stopped.clone()), runtime.handle());
        }
        Ok(Self {
            runtime,
            board,
            stop,
            tasks,
            interrupt,
            terminate,
            began: Instant::now(),
            _watch: stall::watch(stall::LIMIT),
        })
    }

    /// Since the beginning
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn look(&self) -> Look {
        self.board.look()
    }

    /// A round begins, with all out
    pub(crate) fn begin(&self) {
        self.board.begin();
    }

    /// Answers in each whole second between these times, those that came in time and are sure
    pub(crate) fn answers(&self, from: Instant, until: Instant) -> Vec<u32> {
        self.board.answers(from, until)
    }

    /// Waits; whether a signal came that wants an end
    pub(crate) fn wait(&mut self, span: Duration) -> bool {
        stall::progressed();
        let (interrupt, terminate) = (&mut self.interrupt, &mut self.terminate);
        self.runtime.block_on(async {
            tokio::select! {
                () = sleep(span) => false,
                _ = interrupt.recv() => true,
                _ = terminate.recv() => true,
            }
        })
    }

    /// Waits until all are in, for so long at most; whether they are
    pub(crate) fn wait_whole(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while self.look().all_after.is_none() {
            if Instant::now() > until || self.wait(LOOK_EVERY) {
                return false;
            }
        }
        true
    }

    /// Has all log out; how many could not in time
    pub(crate) fn send_home(mut self) -> usize {
        // Nobody is left to hear it if all have ended.
        let _ = self.stop.send(true);
        let tasks = &mut self.tasks;
        let ended = async { while tasks.join_next().await.is_some() {} };
        // Who is left ends with the runtime.
        let _ = self.runtime.block_on(async { timeout(LOGOUT_LIMIT, ended).await });
        self.tasks.len()
    }
}

fn called(place: usize) -> String {
    format!("light-{}", place + 1)
}

/// The shell of the light peer at `place`; a lab's seed gives it the same key again, and so its name
fn shell(state: &State, supernodes: &[String], place: usize, handshakes: &Arc<Semaphore>) -> Result<Shell, LabError> {
    let text = called(place);
    let identity = Identity::from_seed(draw::key(state.seed, &text));
    let tls = Config::new(&identity.keypair());
    let tls = tls.map_err(|error| LabError::Options(format!("no certificate for {text}: {error}")))?;
    let mut draw = Draw::of(state.seed, &text);
    let mut supernodes = supernodes.to_vec();
    draw.shuffle(&mut supernodes);
    let (clock, membership) = (Clock::start(), membership(name(&text)?, supernodes));
    Ok(Shell::new(identity, membership, draw.number(), clock, in_turn_with(tls, clock, Arc::clone(handshakes))))
}
