//! The clients of a directory: light peers that go through each phase of a session together, so that each is measured by
//! itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::id::Name;
use kith_common::session::admission::REQUESTS_BURST;
use kith_common::status::Status;
use kith_common::wire::session::{LookUp, Subject};
use kith_runtime::clock::Clock;
use kith_runtime::identity::Identity;
use libp2p::tls::Config;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::text;
use crate::draw::{self, Draw};
use crate::storm::light::{dial_one, membership};
use crate::storm::shell::{Event, Shell, Told};

/// A phase may take so long: longer than whoever logs in waits for the answer
const PHASE_LIMIT: Duration = Duration::from_secs(15);
/// Logins by one key, whose places on the ring a supernode counts; then the client takes another key and another name
const LOGINS_A_KEY: u32 = 8;
/// Look-ups of one session: it may have some more at once than these, and then waits
const LOOK_UPS: u32 = REQUESTS_BURST - 8;

/// What all clients share
pub(super) struct Place {
    pub(super) supernodes: Vec<String>,
    pub(super) seed: u64,
}

/// One client
pub(super) struct Client {
    number: usize,
    round: u32,
    place: Arc<Place>,
    who: Option<(Identity, Config, Name)>,
    session: Option<Shell>,
    /// The link of a session that is about to begin
    opened: Option<Event>,
    queries: u64,
}

/// What came of a round
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    pub(super) opening: Duration,
    pub(super) login: Duration,
    /// For how many look-ups of all clients, and how long that took
    pub(super) look_ups: (u64, Duration),
    pub(super) logout: Duration,
}

impl Client {
    pub(super) fn new(number: usize, place: Arc<Place>) -> Self {
        Self { number, round: 0, place, who: None, session: None, opened: None, queries: 0 }
    }

    /// Takes another key and name if it is time for that: no part of any phase
    async fn prepare(mut self) -> Result<Self, String> {
        if self.round.is_multiple_of(LOGINS_A_KEY) {
            let called = format!("client-{}-{}", self.number, self.round / LOGINS_A_KEY);
            let identity = Identity::from_seed(draw::key(self.place.seed, &called));
            let tls = Config::new(&identity.keypair()).map_err(text)?;
            self.who = Some((identity, tls, called.parse().map_err(text)?));
        }
        self.round += 1;
        Ok(self)
    }

    /// Dials, up to both hellos
    async fn open(mut self) -> Result<Self, String> {
        let (identity, tls, name) = self.who.clone().ok_or("it has no key")?;
        let mut draw = Draw::of(self.place.seed, &format!("{name} {}", self.round));
        let mut supernodes = self.place.supernodes.clone();
        draw.shuffle(&mut supernodes);
        let (clock, membership) = (Clock::start(), membership(name, supernodes));
        let dialler = Box::new(move |locations| Box::pin(dial_one(tls.clone(), clock, locations)) as _);
        let mut shell = Shell::new(identity, membership, draw.number(), clock, dialler);
        while self.opened.is_none() {
            while shell.drain().await.is_some() {}
            match shell.wait().await {
                opened @ Event::Opened(..) => self.opened = Some(opened),
                Event::Failed(_, error) => return Err(error.to_string()),
                event => shell.take(event).await,
            }
        }
        self.session = Some(shell);
        Ok(self)
    }

    /// From the hellos to the grant
    async fn log_in(mut self) -> Result<Self, String> {
        let opened = self.opened.take().ok_or("it has no link")?;
        let shell = self.session.as_mut().ok_or("it has no session")?;
        shell.take(opened).await;
        until(shell, |told| match told {
            Told::LoggedIn => Some(Ok(())),
            Told::Refused | Told::Lost => Some(Err("a login was refused".to_owned())),
            _ => None,
        })
        .await?;
        Ok(self)
    }

    /// Asks for the others, one question after the other
    async fn look_up(mut self, clients: usize) -> Result<Self, String> {
        let shell = self.session.as_mut().ok_or("it has no session")?;
        for _ in 0..LOOK_UPS {
            self.queries += 1;
            let query = self.queries;
            let other = (self.number + query as usize) % clients.max(1);
            let name = format!("client-{other}-{}", (self.round - 1) / LOGINS_A_KEY).parse().map_err(text)?;
            shell.ask(LookUp { query, ttl: 0, subject: Subject::Name(name), may_be_stale: false }).await;
            let found = until(shell, |told| match told {
                Told::Found(found) if found.query == query => Some(Ok(found)),
                Told::Lost => Some(Err("a session was lost".to_owned())),
                _ => None,
            })
            .await?;
            if found.status != Status::Delivered || found.is_stale {
                return Err(format!("a look-up was answered with {}", found.status));
            }
        }
        Ok(self)
    }

    async fn log_out(mut self) -> Result<Self, String> {
        let mut shell = self.session.take().ok_or("it has no session")?;
        shell.log_out();
        until(&mut shell, |told| matches!(told, Told::LoggedOut).then_some(Ok(()))).await?;
        Ok(self)
    }
}

/// Goes on until something is told that is waited for
async fn until<T>(shell: &mut Shell, is_it: impl Fn(Told) -> Option<Result<T, String>>) -> Result<T, String> {
    loop {
        while let Some(told) = shell.drain().await {
            if let Some(result) = is_it(told) {
                return result;
            }
        }
        let event = shell.wait().await;
        shell.take(event).await;
    }
}

/// All clients log in together, ask if they are to, and log out together
pub(super) async fn round(clients: Vec<Client>, asks: bool) -> Result<(Vec<Client>, Round), String> {
    let count = clients.len();
    let (clients, _) = together(clients, Client::prepare).await?;
    let (clients, opening) = together(clients, Client::open).await?;
    let (clients, login) = together(clients, Client::log_in).await?;
    let (clients, asked) = match asks {
        true => together(clients, move |client| client.look_up(count)).await?,
        false => (clients, Duration::ZERO),
    };
    let (clients, logout) = together(clients, Client::log_out).await?;
    let look_ups = (if asks { u64::from(LOOK_UPS) * count as u64 } else { 0 }, asked);
    Ok((clients, Round { opening, login, look_ups, logout }))
}

/// Has all clients do something at once, and says how long the last one took
async fn together<F>(clients: Vec<Client>, step: impl Fn(Client) -> F) -> Result<(Vec<Client>, Duration), String>
where
    F: Future<Output = Result<Client, String>> + Send + 'static,
{
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for client in clients {
        tasks.spawn(timeout(PHASE_LIMIT, step(client)));
    }
    let mut done = Vec::new();
    while let Some(client) = tasks.join_next().await {
        done.push(client.map_err(text)?.map_err(|_| format!("a client was not done in {PHASE_LIMIT:?}"))??);
    }
    Ok((done, began.elapsed()))
}
