//! The network: who can reach whom, and streams of bytes that keep their order, like TCP's.
//!
//! Loss costs a stream time, as TCP sends again; what cannot be delivered waits until the way is free. A stream ends when
//! one side ends it. A *black* stream's bytes vanish without a word: the machine at the other end is off, or a firewall
//! has forgotten it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use kith_common::id::Key;
use kith_common::time::Instant;
use kith_common::wire::session::Purpose;

use super::faults::Effect;
use super::node::NodeId;
use super::queue::{Event, Queue};
use crate::chance::Chance;

/// A dial, and the stream that it makes
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub usize);

/// One end of a stream
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Who dialled
    Dialler,
    /// Who was dialled
    Listener,
}

impl Side {
    /// The other end
    pub const fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Listener,
            Self::Listener => Self::Dialler,
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// What a stream carries
#[derive(Clone, Debug)]
pub enum Item {
    /// Whole frames
    Bytes(Vec<u8>),
    /// Frames that no process of ours would send
    Babble(Vec<u8>),
    /// The end
    Fin,
}

/// How one end stands
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndState {
    /// Before its hello came
    Opening,
    /// A link of its process
    Open(u64),
    /// … which is over, and says its last words
    Leaving(u64),
    /// Nobody is there any more
    Closed,
}

/// One end's place
#[derive(Clone, Copy, Debug)]
pub struct ConnEnd {
    /// On which machine
    pub node: NodeId,
    /// Of which start of the process
    pub life: u32,
    /// How it stands
    pub state: EndState,
}

#[derive(Debug, Default)]
struct Direction {
    last_arrival: Instant,
    /// What is written and does not get through at present: a batch, and the end
    stalled: VecDeque<Item>,
}

/// A dial or a stream
#[derive(Debug)]
pub struct Conn {
    /// Dialler, listener
    ends: [ConnEnd; 2],
    directions: [Direction; 2],
    /// The dialler's number for it
    pub dial: u64,
    /// Who must answer
    pub key: Option<Key>,
    /// What it is for
    pub purpose: Purpose,
    /// Which of the other machine's ports it leads to
    pub port: u16,
    /// Its bytes vanish
    pub black: bool,
    /// While the listener has not done its side of the handshake: until when the dialler waits for that
    pub shaking: Option<Instant>,
}

impl Conn {
    /// One of its ends
    pub const fn end(&self, side: Side) -> &ConnEnd {
        &self.ends[side.index()]
    }

    /// One of its ends
    pub const fn end_mut(&mut self, side: Side) -> &mut ConnEnd {
        &mut self.ends[side.index()]
    }
}

/// Whom bytes do not reach: from every machine of `from` to every machine of `to`
#[derive(Clone, Debug)]
pub struct Cut {
    /// By machine
    pub from: Vec<bool>,
    /// By machine
    pub to: Vec<bool>,
    /// Whether the way back is cut as well
    pub both: bool,
    /// What kind of fault it is
    pub effect: Effect,
    /// Whether it stays when all faults end
    pub is_permanent: bool,
}

impl Cut {
    fn blocks(&self, from: NodeId, to: NodeId) -> bool {
        let is = |set: &[bool], node: NodeId| set.get(node.index()).copied().unwrap_or(false);
        (is(&self.from, from) && is(&self.to, to)) || (self.both && is(&self.from, to) && is(&self.to, from))
    }
}

/// What befalls bytes at all times
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Mean of what is added to a frame's delay, exponentially distributed
    pub jitter: Duration,
    /// Share of frames that TCP has to send again
    pub loss: f64,
    /// Share of packets that arrive twice
    pub duplication: f64,
    /// Share of packets that a full queue drops
    pub drop: f64,
    /// Share of dials whose answer takes some seconds, so that later ones overtake them
    pub reordering: f64,
}

impl Default for Weather {
    /// A fair day
    fn default() -> Self {
        Self { jitter: Duration::from_millis(1), loss: 0.0, duplication: 0.0, drop: 0.0, reordering: 0.0 }
    }
}

/// The first wait of TCP before it sends again (Linux's least; RFC 6298 has 1 s)
const RTO_MIN: Duration = Duration::from_millis(200);
/// The first wait for the answer to a SYN (RFC 6298); doubles
const SYN_RTO: Duration = Duration::from_secs(1);
/// How late the answer to a dial is on average when others shall overtake it
const LATE_ANSWER: Duration = Duration::from_secs(1);
/// All streams
#[derive(Debug)]
pub struct Network {
    conns: Vec<Option<Box<Conn>>>,
    live: usize,
    most: usize,
    cuts: BTreeMap<u64, Cut>,
    stalled: BTreeSet<(ConnId, Side)>,
    /// Each machine's distance from the middle of the network
    distance: Vec<Duration>,
    /// What befalls bytes at present
    pub weather: Weather,
    effects: BTreeMap<Effect, u64>,
    chance: Chance,
    last_opened: Vec<ConnId>,
}

impl Network {
    /// A network of so many machines
    pub fn new(machines: usize, mut chance: Chance) -> Self {
        let distance = (0..machines).map(|_| Duration::from_micros(500 + chance.below(40_000))).collect();
        Self {
            conns: Vec::new(),
            live: 0,
            most: 0,
            cuts: BTreeMap::new(),
            stalled: BTreeSet::new(),
            distance,
            weather: Weather::default(),
            effects: BTreeMap::new(),
            chance,
            last_opened: vec![ConnId(0); machines],
        }
    }

    /// Counts that a fault had an effect
    pub fn count(&mut self, effect: Effect) {
        *self.effects.entry(effect).or_default() += 1;
    }

    /// What each fault has done so far
    pub const fn effects(&self) -> &BTreeMap<Effect, u64> {
        &self.effects
    }

    /// How many dials and streams there were at once, at most
    pub const fn most(&self) -> usize {
        self.most
    }

    /// How far a machine is from the middle of the network: two are at least as far from each other as both are from there
    pub fn distance(&self, node: NodeId) -> Duration {
        self.distance.get(node.index()).copied().unwrap_or_default()
    }

    /// How many dials and streams there are
    pub const fn live(&self) -> usize {
        self.live
    }

    /// A dial or stream that is not over
    pub fn conn(&self, id: ConnId) -> Option<&Conn> {
        self.conns.get(id.0).and_then(|conn| conn.as_deref())
    }

    /// A dial or stream that is not over
    pub fn conn_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(id.0).and_then(|conn| conn.as_deref_mut())
    }

    /// Streams whose two ends are links
    pub fn open(&self) -> impl Iterator<Item = (ConnId, &Conn)> {
        let conns = self.conns.iter().enumerate().filter_map(|(id, conn)| Some((ConnId(id), conn.as_deref()?)));
        conns.filter(|(_, conn)| conn.ends.iter().all(|end| matches!(end.state, EndState::Open(_))))
    }

    /// A new dial; its SYN leaves at once
    pub fn dial(
        &mut self,
        queue: &mut Queue,
        from: ConnEnd,
        to: (NodeId, u16),
        dial: (u64, Option<Key>, Purpose),
    ) -> ConnId {
        let id = ConnId(self.conns.len());
        let (to, port) = to;
        let to = ConnEnd { node: to, life: u32::MAX, state: EndState::Opening };
        let (dial, key, purpose) = dial;
        let conn = Conn {
            ends: [from, to],
            directions: Default::default(),
            dial,
            key,
            purpose,
            port,
            black: false,
            shaking: None,
        };
        self.conns.push(Some(Box::new(conn)));
        self.live += 1;
        self.most = self.most.max(self.live);
        queue.after(Duration::ZERO, Event::Syn(id, 0));
        id
    }

    /// The SYN leaves: it is answered, refused, or sent again
    pub fn handle_syn(&mut self, queue: &mut Queue, id: ConnId, tries: u32, is_up: bool, listens: bool) {
        let Some(conn) = self.conn(id) else { return };
        let [from, to] = conn.ends.map(|end| end.node);
        let round_trip = (self.delay(from, to) + self.delay(to, from)).max(Duration::from_micros(1));
        if self.is_blocked(from, to) || self.is_blocked(to, from) || !is_up {
            return queue.after(SYN_RTO * 2_u32.pow(tries.min(6)), Event::Syn(id, tries + 1));
        }
        if self.chance.happens(self.weather.loss) {
            self.count(Effect::Loss);
            return queue.after(SYN_RTO * 2_u32.pow(tries.min(6)), Event::Syn(id, tries + 1));
        }
        // One round trip for TCP, one for TLS.
        let event = if listens { Event::Connected(id) } else { Event::Refused(id) };
        let late = self.chance.happens(self.weather.reordering);
        let late = if late { self.chance.wait(LATE_ANSWER) } else { Duration::ZERO };
        queue.after(late + if listens { round_trip * 2 } else { round_trip }, event);
    }

    /// One end is open now: whether a dial to the same machine that was made later opened earlier
    pub fn note_opened(&mut self, id: ConnId, node: NodeId) {
        let Some(last) = self.last_opened.get_mut(node.index()) else { return };
        let overtaken = *last > id;
        *last = id.max(*last);
        if overtaken && self.weather.reordering > 0.0 {
            self.count(Effect::Reordering);
        }
    }

    /// Puts `item` on its way from `side`; whether it is under way, and does not wait for the way to be free
    pub fn send(&mut self, queue: &mut Queue, id: ConnId, side: Side, item: Item) -> bool {
        self.send_late(queue, id, side, item, Duration::ZERO)
    }

    /// As [`Self::send`], but it takes so much longer
    pub fn send_late(&mut self, queue: &mut Queue, id: ConnId, side: Side, item: Item, late: Duration) -> bool {
        let Some(conn) = self.conn(id) else { return true };
        if conn.black {
            // That the side which knows says so is no effect.
            if let Item::Bytes(_) = item {
                self.count(Effect::HalfOpen);
            }
            return true;
        }
        let (from, to) = (conn.end(side).node, conn.end(side.other()).node);
        let waits = !conn.directions[side.index()].stalled.is_empty();
        let blocking = self.blocking(from, to);
        if let Some(effect) = blocking {
            self.count(effect);
        }
        if waits || blocking.is_some() {
            if let Some(conn) = self.conn_mut(id) {
                conn.directions[side.index()].stalled.push_back(item);
            }
            self.stalled.insert((id, side));
            return false;
        }
        let delay = self.delay(from, to) + late;
        self.schedule(queue, id, side, item, delay);
        true
    }

    fn schedule(&mut self, queue: &mut Queue, id: ConnId, side: Side, item: Item, delay: Duration) {
        let now = queue.now();
        let Some(conn) = self.conn_mut(id) else { return };
        let direction = &mut conn.directions[side.index()];
        let arrival = direction.last_arrival.max(now + delay);
        direction.last_arrival = arrival;
        queue.at(arrival, Event::Arrive(id, side.other(), item));
    }

    /// Whose ways are free again gets what waited
    pub fn release(&mut self, queue: &mut Queue) {
        for (id, side) in std::mem::take(&mut self.stalled) {
            let Some(conn) = self.conn(id) else { continue };
            let (from, to) = (conn.end(side).node, conn.end(side.other()).node);
            if self.is_blocked(from, to) {
                self.stalled.insert((id, side));
                continue;
            }
            let delay = self.delay(from, to) + RTO_MIN + Duration::from_micros(self.chance.below(1_000_000));
            let Some(conn) = self.conn_mut(id) else { continue };
            for item in std::mem::take(&mut conn.directions[side.index()].stalled) {
                self.schedule(queue, id, side, item, delay);
            }
            queue.after(Duration::ZERO, Event::Written(id, side));
        }
    }

    /// One end is gone; when both are, so is the stream
    pub fn close_end(&mut self, id: ConnId, side: Side) {
        let Some(conn) = self.conn_mut(id) else { return };
        conn.end_mut(side).state = EndState::Closed;
        if conn.ends.iter().all(|end| end.state == EndState::Closed) {
            self.remove(id);
        }
    }

    /// What one end's machine still had to send is lost with it
    pub fn forget_stalled(&mut self, id: ConnId, side: Side) {
        let Some(conn) = self.conn_mut(id) else { return };
        conn.directions[side.index()].stalled.clear();
        self.stalled.remove(&(id, side));
    }

    /// Forgets a dial or stream; what is under way falls on the floor
    pub fn remove(&mut self, id: ConnId) {
        if self.conns.get_mut(id.0).and_then(Option::take).is_some() {
            self.live -= 1;
        }
        self.stalled.remove(&(id, Side::Dialler));
        self.stalled.remove(&(id, Side::Listener));
    }

    /// Cuts ways, until [`Self::heal`] with the same number
    pub fn cut(&mut self, number: u64, cut: Cut) {
        self.cuts.insert(number, cut);
    }

    /// Takes a cut away; which kind it was, if it was there
    pub fn heal(&mut self, number: u64) -> Option<Effect> {
        self.cuts.remove(&number).map(|cut| cut.effect)
    }

    /// Takes all cuts away but those that stay
    pub fn heal_all(&mut self) {
        self.cuts.retain(|_, cut| cut.is_permanent);
    }

    /// Whether bytes from one machine do not reach the other
    pub fn is_blocked(&self, from: NodeId, to: NodeId) -> bool {
        self.blocking(from, to).is_some()
    }

    /// Whether any way is cut that will be free again
    pub fn is_cut(&self) -> bool {
        self.cuts.values().any(|cut| !cut.is_permanent)
    }

    /// How many ways stay cut
    pub fn permanent_cuts(&self) -> usize {
        self.cuts.values().filter(|cut| cut.is_permanent).count()
    }

    fn blocking(&self, from: NodeId, to: NodeId) -> Option<Effect> {
        self.cuts.values().find(|cut| cut.blocks(from, to)).map(|cut| cut.effect)
    }

    fn delay(&mut self, from: NodeId, to: NodeId) -> Duration {
        let mut delay = self.distance(from) + self.distance(to) + self.chance.wait(self.weather.jitter);
        let mut rto = RTO_MIN;
        while self.chance.happens(self.weather.loss) {
            self.count(Effect::Loss);
            delay += rto;
            rto = (rto * 2).min(Duration::from_secs(4));
        }
        delay
    }

    /// Whether this packet arrives twice
    pub fn duplicates(&mut self) -> bool {
        self.chance.happens(self.weather.duplication)
    }

    /// Whether this packet finds a full queue
    pub fn drops(&mut self) -> bool {
        self.chance.happens(self.weather.drop)
    }

    /// A random number
    pub fn random(&mut self) -> u64 {
        self.chance.number()
    }
}
