//! A client: logs in, looks others up, logs out or goes without a word, at any supernode, and writes down what it was told.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kith_common::id::{Key, Name, SessionId};
use kith_common::link::opening::Greeting;
use kith_common::session::membership::{Membership, MembershipOutput};
use kith_common::status::Status;
use kith_common::wire::Frame;
use kith_common::wire::grant::Grant;
use kith_common::wire::link::ProbeReply;
use kith_common::wire::session::{Found, Logout, LookUp, Refused, Subject};
use kith_runtime::clock::Clock;
use kith_runtime::identity::Identity;
use kith_runtime::link::CloseReason;
use kith_runtime::stall;
use libp2p::tls::Config;
use tokio::time::{sleep, timeout_at};

use super::history::{Answer, KeyNumber, Micros, Op, What};
use crate::draw::Draw;
use crate::output;
use crate::storm::light::{Dialled, dial_one, membership};
use crate::wire::Wire;

/// A login may take so long: longer than a supernode tries
const LOGIN_WAIT: Duration = Duration::from_secs(12);
/// A look-up or a logout may take so long
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Look-ups of one session at most
const LOOK_UPS: usize = 40;
/// What a supernode says that has lost the others
const CUT_OFF: &str = "this supernode does not hear who leads";
/// What a supernode says to whoever asks for somebody else's name
const TAKEN: &str = "belongs to another key";

/// What all clients share
pub(super) struct Shared {
    pub(super) began: Instant,
    pub(super) clock: Clock,
    /// Where supernodes listen at present
    pub(super) supernodes: Mutex<Vec<String>>,
    pub(super) names: Vec<Name>,
    /// All keys that there are, by their numbers
    pub(super) keys: Vec<Key>,
    pub(super) ops: Mutex<Vec<Op>>,
    /// Logins that were put off without a word when to come again
    pub(super) refused_for_good: AtomicUsize,
    /// When it was over; 0: it is not
    pub(super) over: AtomicU64,
}

impl Shared {
    pub(super) fn now(&self) -> Micros {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn note(&self, op: Op) {
        stall::progressed();
        self.ops.lock().unwrap_or_else(PoisonError::into_inner).push(op);
    }

    fn refused_for_good(&self, reason: &str) {
        output::note(&format!("a login was put off without a word when to come again: {reason}"));
        self.refused_for_good.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed) > 0
    }

    /// Clients begin nothing any more
    pub(super) fn end(&self) {
        // What was over is over: it does not matter who said so.
        let _ = self.over.compare_exchange(0, self.now().max(1), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Waits; whether it is over
    pub(super) fn wait(&self, span: Duration) -> bool {
        let until = Instant::now() + span;
        while Instant::now() < until && !self.is_over() {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.is_over()
    }

    /// From now on supernodes listen there
    pub(super) fn set_supernodes(&self, locations: Vec<String>) {
        *self.supernodes.lock().unwrap_or_else(PoisonError::into_inner) = locations;
    }

    fn any_supernode(&self, draw: &mut Draw) -> Option<String> {
        let supernodes = self.supernodes.lock().unwrap_or_else(PoisonError::into_inner);
        supernodes.get(draw.below(supernodes.len())).cloned()
    }

    fn number_of(&self, key: &Key) -> Option<KeyNumber> {
        self.keys.iter().position(|known| known == key).and_then(|at| KeyNumber::try_from(at).ok())
    }
}

/// One client, which has a key for each name
pub(super) struct Client {
    pub(super) shared: Arc<Shared>,
    pub(super) identities: Vec<(KeyNumber, Identity, Config)>,
    pub(super) draw: Draw,
}

/// The link is gone, or was silent for too long; the other side's last word, if it had one
struct Gone(Option<Status>);

impl Gone {
    fn silently<E>(_: E) -> Self {
        Self(None)
    }
}

/// A session on a link
struct Session<'a> {
    shared: &'a Shared,
    wire: Wire,
    name: u32,
    key: KeyNumber,
    id: SessionId,
    epoch: u64,
    /// When it was heard last: it may end some time after that
    heard: Micros,
    queries: u64,
}

impl Client {
    /// Goes on until it is over
    pub(super) async fn live(mut self) {
        while !self.shared.is_over() {
            self.stay().await;
        }
    }

    async fn stay(&mut self) {
        let shared = Arc::clone(&self.shared);
        let name = self.draw.below(shared.names.len());
        let at = shared.any_supernode(&mut self.draw);
        let (Some((key, identity, tls)), Some(at)) = (self.identities.get(name), at) else { return };
        let Ok(dialled) = dial_one(tls.clone(), shared.clock, vec![at.clone()]).await else {
            // It was not asked anything.
            return sleep(Duration::from_millis(50)).await;
        };
        let Some(mut session) = log_in(&shared, &at, dialled, name as u32, *key, identity).await else {
            return sleep(Duration::from_millis(20)).await;
        };
        for _ in 0..self.draw.below(LOOK_UPS) {
            let whom = self.draw.below(shared.names.len());
            if session.look_up(whom as u32).await.is_err() {
                return session.lose();
            }
        }
        if self.draw.below(4) == 0 {
            return session.lose();
        }
        session.log_out().await;
    }
}

/// The product's own core of a session, which makes the login for one link and checks the grant
struct Core {
    membership: Membership,
    dial: u64,
}

impl Core {
    /// It knows that `at` was dialled, for a session under the name of that number
    fn new(shared: &Shared, at: &str, name: u32, dialled: &Dialled) -> Option<Self> {
        let config = membership(shared.names.get(name as usize)?.clone(), vec![at.to_owned()]);
        let now = shared.clock.now();
        let mut membership = Membership::new(config, 0, now);
        membership.handle_timeout(now);
        let outputs = std::iter::from_fn(|| membership.poll_output());
        let dial = outputs.filter_map(|output| match output {
            MembershipOutput::Dial { dial, .. } => Some(dial),
            _ => None,
        });
        let dial = dial.last()?;
        let Greeting { own_nonce, theirs, .. } = &dialled.greeting;
        membership.handle_opened(now, dial, dialled.key, *own_nonce, theirs);
        Some(Self { membership, dial })
    }

    /// What it says to a frame, as far as `is_it` wants that
    fn told<T>(
        &mut self,
        shared: &Shared,
        frame: Frame,
        identity: &Identity,
        is_it: impl FnMut(MembershipOutput) -> Option<T>,
    ) -> Option<T> {
        self.membership.handle_frame(shared.clock.now(), self.dial, frame, identity);
        std::iter::from_fn(|| self.membership.poll_output()).find_map(is_it)
    }
}

async fn log_in<'a>(
    shared: &'a Shared,
    at: &str,
    dialled: Dialled,
    name: u32,
    key: KeyNumber,
    identity: &Identity,
) -> Option<Session<'a>> {
    let mut core = Core::new(shared, at, name, &dialled)?;
    let (mut wire, until) = (dialled.wire, tokio::time::Instant::now() + LOGIN_WAIT);
    let challenge = next(&mut wire, until, |frame| matches!(frame, Frame::Challenge(_)).then_some(frame));
    let login = core.told(shared, challenge.await.ok()?, identity, |output| match output {
        MembershipOutput::Send { frame: login @ Frame::Login(_), .. } => Some(login),
        _ => None,
    })?;
    let from = shared.now();
    let mut op = Op { name, what: What::LogIn(key), answer: Answer::Unknown, from, until: None, index: None };
    let answer = match wire.send(&login).await {
        Ok(()) => {
            next(&mut wire, until, |frame| match frame {
                granted @ Frame::Granted(_) => Some(Ok(granted)),
                Frame::Refused(refused) => Some(Err(refused)),
                _ => None,
            })
            .await
        }
        Err(_) => Err(Gone(None)),
    };
    let now = shared.now();
    match answer {
        Ok(Ok(granted)) => {
            let grant = core.told(shared, granted, identity, |output| match output {
                MembershipOutput::LoggedIn { grant, .. } => Some(grant),
                _ => None,
            });
            let Some(Grant { session: id, epoch, .. }) = grant else {
                // Whatever is wrong with the grant, there is one.
                shared.note(op);
                return None;
            };
            op.answer = Answer::In(epoch.index);
            (op.until, op.index) = (Some(now), Some(epoch.index));
            shared.note(op);
            Some(Session { shared, wire, name, key, id, epoch: epoch.index, heard: now, queries: 0 })
        }
        Ok(Err(Refused { status: Status::Conflict, reason, .. })) if reason.contains(TAKEN) => {
            (op.answer, op.until) = (Answer::Taken, Some(now));
            shared.note(op);
            None
        }
        Ok(Err(Refused { status: Status::Unavailable | Status::SlowDown, retry_after_ms: 0, reason })) => {
            shared.refused_for_good(&reason);
            shared.note(op);
            None
        }
        // This supernode is cut off from the others, and has asked none of them.
        Ok(Err(Refused { status: Status::Unavailable, reason, .. })) if reason.contains(CUT_OFF) => None,
        // It has been refused before anything was proposed, and nothing follows.
        Ok(Err(Refused { status: Status::SlowDown | Status::Conflict, .. })) => None,
        // It may be done all the same.
        Ok(Err(_)) | Err(Gone(_)) => {
            shared.note(op);
            None
        }
    }
}

impl Session<'_> {
    async fn look_up(&mut self, name: u32) -> Result<(), Gone> {
        let Some(whom) = self.shared.names.get(name as usize).cloned() else { return Ok(()) };
        self.queries += 1;
        let query = self.queries;
        let from = self.shared.now();
        let question = LookUp { query, ttl: 0, subject: Subject::Name(whom), may_be_stale: false };
        self.wire.send(&Frame::LookUp(question)).await.map_err(Gone::silently)?;
        let until = tokio::time::Instant::now() + ANSWER_WAIT;
        let found = next(&mut self.wire, until, |frame| match frame {
            Frame::Found(found) if found.query == query => Some(Ok(found)),
            Frame::Refused(refused) => Some(Err(refused)),
            _ => None,
        });
        let Found { status, record, index, is_stale, .. } = found.await?.map_err(|_: Refused| Gone(None))?;
        self.heard = self.shared.now();
        let answer = match (status, record) {
            // What says of itself that it may be old promises nothing.
            _ if is_stale => Answer::MayBeOld,
            (Status::Delivered, Some(record)) => {
                let Some(key) = self.shared.number_of(&record.key) else { return Err(Gone(None)) };
                Answer::Found(key, record.epoch.index)
            }
            (Status::NotFound, _) => Answer::Nobody,
            (Status::Gone, _) => Answer::Away,
            _ => return Ok(()),
        };
        let (until, index) = (Some(self.heard), Some(index));
        self.shared.note(Op { name, what: What::LookUp, answer, from, until, index });
        Ok(())
    }

    async fn log_out(mut self) {
        let from = self.shared.now();
        let sent = self.wire.send(&Frame::Logout(Logout { session: self.id })).await;
        let until = tokio::time::Instant::now() + ANSWER_WAIT;
        let done = next(&mut self.wire, until, |frame| matches!(frame, Frame::LoggedOut(_)).then_some(())).await;
        // The goodbye may overtake the word before it in what was read.
        let is_done = sent.is_ok() && matches!(done, Ok(()) | Err(Gone(Some(Status::Delivered))));
        let Self { shared, name, key, epoch, .. } = self;
        let what = What::LogOut(key, epoch);
        if is_done {
            let until = Some(shared.now());
            shared.note(Op { name, what, answer: Answer::Done, from, until, index: None });
        } else {
            shared.note(Op { name, what, answer: Answer::Unknown, from, until: None, index: None });
            self.lose();
        }
    }

    /// Its client is gone, or cannot tell whether it is heard
    fn lose(self) {
        let Self { shared, name, key, epoch, heard, .. } = self;
        let what = What::Lose(key, epoch);
        shared.note(Op { name, what, answer: Answer::Unknown, from: heard, until: None, index: None });
    }
}

/// The first frame that is what is waited for; probes are answered meanwhile
async fn next<T>(
    wire: &mut Wire,
    until: tokio::time::Instant,
    mut is_it: impl FnMut(Frame) -> Option<T>,
) -> Result<T, Gone> {
    loop {
        let frames =
            timeout_at(until, wire.frames()).await.map_err(Gone::silently)?.map_err(|reason| match reason {
                CloseReason::Bye { status, .. } => Gone(Some(status)),
                _ => Gone(None),
            })?;
        for frame in frames {
            if let Frame::Probe(probe) = frame {
                let reply = Frame::ProbeReply(ProbeReply { sequence: probe.sequence });
                wire.send(&reply).await.map_err(Gone::silently)?;
            } else if let Some(found) = is_it(frame) {
                return Ok(found);
            }
        }
    }
}
