//! The story of a run, for people: a line for each thing that was seen, peers by their names, without what repeats itself.

use std::collections::{BTreeMap, VecDeque};

use kith_common::directory::Command;
use kith_common::id::{Address, MessageId, Name};
use kith_common::link::Direction;
use kith_common::mail::Fate;
use kith_common::peer::PeerOutput;
use kith_common::routing::neighbourhood::Event;
use kith_common::time::Instant;
use kith_common::wire::Frame;
use kith_common::wire::backbone::Reported;
use kith_common::wire::content::PayloadKind;
use kith_common::wire::link::{Delta, Table};
use kith_common::wire::packet::{Mark, PacketRef};
use kith_common::wire::session::{Found, LookUp, Record, Renew, Renewed, Report, Rewire, Subject};
use kith_transport::stack::{MessageFate, Pinged};

use super::faults::Fault;
use super::node::NodeId;
use super::users::machine;
use super::watch::{Observation, carries};
use crate::output::line;

/// Tells what concerns a peer, an address, a packet or a message; of `all`, everything
#[derive(Debug)]
pub(super) struct Story {
    about: String,
    supernodes: u32,
    /// The machine at the other end of each link
    links: BTreeMap<(NodeId, u64), NodeId>,
    /// The name that was last said to be at each place
    places: BTreeMap<Address, Name>,
    /// Messages that were sent last, whose ids packets carry
    messages: VecDeque<MessageId>,
    /// Lines told of what it is about
    told: u64,
}

/// Messages that are known by their packets: those of some minutes
const MESSAGES_MAX: usize = 512;

impl Story {
    /// Nothing has happened yet
    pub(super) fn new(about: String, supernodes: u32) -> Self {
        let (links, places, messages) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        Self { about, supernodes, links, places, messages, told: 0 }
    }

    /// Something was seen at a machine
    pub(super) fn tell(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) {
        self.learn(node, seen);
        let Some(text) = self.text(node, seen) else { return };
        let who = self.name(node);
        let told = format!("{now:?} {who}: {text}");
        if self.about == "all" || self.about == who || names(&told, &self.about) {
            line(&told);
            self.told += 1;
        }
    }

    /// How many lines told of what it is about; faults are told in any case
    pub(super) const fn told(&self) -> u64 {
        self.told
    }

    /// A fault happens: whatever the story is about, it may matter
    pub(super) fn tell_fault(&self, now: Instant, fault: &Fault) {
        if let Some(what) = self.fault(fault) {
            tell_all(now, &what);
        }
    }

    fn fault(&self, fault: &Fault) -> Option<String> {
        let name = |node: &NodeId| self.name(*node);
        let names = |machines: &[bool]| {
            let names = (0..).zip(machines).filter(|(_, is)| **is).map(|(number, _)| name(&NodeId(number)));
            names.collect::<Vec<_>>().join(" ")
        };
        Some(match fault {
            Fault::Cut(_, cut) => {
                let arrow = if cut.both { "◄►" } else { "►" };
                format!("{}: cut {} {arrow} {}", cut.effect, names(&cut.from), names(&cut.to))
            }
            // It is told which link that is when the link is found.
            Fault::HalfOpen(_) | Fault::Reset(_) => return None,
            Fault::Flap(node, half) => {
                format!("{} links of {} break", if *half { "half the" } else { "all" }, name(node))
            }
            Fault::Crash(node, pause) => format!("{} is to be killed, for {pause:.1?}", name(node)),
            Fault::PowerCut(node, pause, true) => format!("the power of {} goes, for {pause:.1?}", name(node)),
            Fault::PowerCut(node, pause, false) => format!("{} is lost with its disk, for {pause:.1?}", name(node)),
            Fault::LeaderCrash(pause) => format!("the supernode that leads is to be killed, for {pause:.1?}"),
            Fault::Blackout(pauses) => format!("all supernodes are to be killed, for {pauses:.1?}"),
            Fault::NoQuorum(nodes, pause) => {
                let nodes = nodes.iter().map(name).collect::<Vec<_>>().join(" ");
                format!("{nodes} are to be killed, for {pause:.1?}: those that are left cannot agree")
            }
            Fault::Newcomer(true) => "the log names a supernode that nobody can reach".into(),
            Fault::Newcomer(false) => "the log names the supernode no more that nobody could reach".into(),
            Fault::CopyLog => "somebody copies the log".into(),
            Fault::LogBack(pause) => format!("the log goes back to its copy; all supernodes are down for {pause:.1?}"),
            Fault::Remove(node) => format!("the operator is to remove {}", name(node)),
            Fault::Start(node) => format!("{} is to start again", name(node)),
            Fault::Pause(node, pause) => format!("{} stands still, for {pause:.1?}", name(node)),
            Fault::Resume(node) => format!("{} goes on", name(node)),
            Fault::Skew(node, ppm) => format!("the clock of {} is fast by {:.1} %", name(node), *ppm as f64 / 1e4),
            Fault::Jump(node, by) => format!("the clock of {} jumps by {by:.1?}", name(node)),
            Fault::SlowDisk(node, write) => {
                format!("the disk of {} takes {write:.1?} to write, on average", name(node))
            }
            Fault::FullDisk(node, true) => format!("the disk of {} is full", name(node)),
            Fault::FullDisk(node, false) => format!("the disk of {} has room again", name(node)),
            Fault::Babble(_) => "somebody hears frames that no process of ours would send".into(),
            Fault::FullLog(node, true) => format!("the disk with the log of {} is full", name(node)),
            Fault::FullLog(node, false) => format!("the disk with the log of {} has room again", name(node)),
            Fault::OddHellos(hellos) => {
                let hellos: Vec<String> = hellos.iter().map(ToString::to_string).collect();
                format!("the next hellos are odd: {}", hellos.join(", "))
            }
            Fault::Weather(weather) => {
                let [loss, twice, drop, late] =
                    [weather.loss, weather.duplication, weather.drop, weather.reordering].map(|share| 100.0 * share);
                let jitter = weather.jitter;
                format!(
                    "weather: jitter {jitter:.1?}; {loss:.1} % of frames lost, {twice:.1} % of packets doubled, \
                     {drop:.1} % dropped, {late:.1} % of dials late"
                )
            }
        })
    }

    fn name(&self, node: NodeId) -> String {
        machine(node, self.supernodes)
    }

    /// Names are told by frames, and links when they open
    fn learn(&mut self, node: NodeId, seen: &Observation<'_>) {
        match seen {
            Observation::Opened { opened, other, .. } => drop(self.links.insert((node, opened.link.0), *other)),
            Observation::Asked { id, .. } => {
                self.messages.truncate(MESSAGES_MAX - 1);
                self.messages.push_front(*id);
            }
            Observation::Received { frame: Frame::Rewire(rewire), .. } => self.learn_rewire(rewire),
            Observation::Received { frame: Frame::Granted(granted), .. } => self.learn_rewire(&granted.rewire),
            Observation::Received { frame: Frame::Table(table), .. } => {
                self.places.extend(table.entries.iter().map(|entry| (entry.address, entry.name.clone())));
            }
            _ => {}
        }
    }

    fn learn_rewire(&mut self, rewire: &Rewire) {
        self.places.extend(rewire.neighbours.iter().map(|record| (record.address, record.name.clone())));
    }

    /// In words; nothing of what is told elsewhere, or all the time
    fn text(&self, node: NodeId, seen: &Observation<'_>) -> Option<String> {
        Some(match seen {
            Observation::Started => "starts".into(),
            Observation::LogWentBack => return None,
            Observation::Killed => "is killed".into(),
            Observation::Opened { opened, .. } => {
                let how = if opened.direction == Direction::Outgoing { "as dialled" } else { "dialled by them" };
                format!("{} is open, {how}", self.link(node, opened.link.0))
            }
            Observation::Closed { link, reason } => format!("{} is over: {reason}", self.link(node, *link)),
            Observation::Undecodable { link, .. } => format!("{} ◄ what does not decode", self.link(node, *link)),
            Observation::Written { .. } => return None,
            Observation::Received { link, frame } => format!("{} ◄ {}", self.link(node, *link), self.frame(frame)?),
            Observation::Sent { link, frame } => format!("{} ► {}", self.link(node, *link), self.frame(frame)?),
            Observation::Peer(output) => self.wish(node, output)?,
            Observation::Arrived { packet } => format!("{} is here", self.packet(packet)),
            Observation::Forwarded { to, packet, edit, .. } => {
                let is_back = matches!(edit.way, Some((Mark::Tried, _))) || edit.give_back.is_some();
                let verb = if is_back { "goes back to" } else { "goes on to" };
                format!("{} {verb} {}", self.packet(packet), self.place(*to))
            }
            Observation::Duplicated { packet } => format!("{} goes on twice", self.packet(packet)),
            Observation::Delivered { packet } => format!("{} has arrived", self.packet(packet)),
            Observation::Kept { id, status, is_new } => {
                format!("message {id}: {status}, {}", if *is_new { "kept" } else { "not kept now" })
            }
            Observation::Keeping(message) => {
                let sure = if message.confirmed { "" } else { ", whose session nobody confirms" };
                format!("message {} of {}{sure} is to be kept", message.id, message.from)
            }
            Observation::Sending { id, to, bytes, keep, source } => {
                let keep = keep.map_or_else(|| "now or never".into(), |keep| format!("for {keep:.0?}"));
                format!("sends message {id} of {} bytes to {to} from {source}, {keep}", bytes.len())
            }
            Observation::Stored { id, is_stored: true } => format!("message {id} is in the out-box"),
            Observation::Stored { id, is_stored: false } => format!("message {id} finds no room on the disk"),
            Observation::Restored([]) => return None,
            Observation::Restored(restored) => {
                let ids = restored.iter().map(|one| one.id.to_string()).collect::<Vec<_>>();
                format!("finds in its out-box: {}", ids.join(" "))
            }
            Observation::DiskLost => "has an empty disk".into(),
            Observation::Delayed { to, trouble } => {
                format!("messages to {to} are not there yet: {}, {}", trouble.status, trouble.why())
            }
            Observation::Ended(fate) => {
                let MessageFate { id, to, status, attempts, .. } = fate;
                format!("message {id} to {to}: {status}, {}; {attempts} attempts", fate.why())
            }
            Observation::Asked { id, to, source } => format!("pings {to} by message {id} from {source}"),
            Observation::Calling { id, to, .. } => format!("calls {to}, which is {id}"),
            Observation::Opening { id, to, number, len, .. } => {
                format!("asks {to} for pipe {number} of {len} bytes, by question {id}")
            }
            Observation::PipeResumed { number } => format!("writes on into pipe {number}"),
            Observation::PipeRead { number, bytes, .. } => format!("reads {} bytes of pipe {number}", bytes.len()),
            Observation::PipeAll { number, .. } => format!("has read pipe {number} to its end"),
            Observation::PipeEnded { number, is_whole: true, .. } => format!("pipe {number} is over"),
            Observation::PipeEnded { number, is_whole: false, .. } => format!("pipe {number} is broken off"),
            Observation::Evaluating { id, from, .. } => {
                let from = from.map_or_else(|| "itself".into(), |grant| grant.name.to_string());
                format!("evaluates call {id} of {from}")
            }
            Observation::Called(called) => {
                format!("call {} has its end: {}, {}", called.id, called.status, called.why())
            }
            Observation::Pinging { id, to, plan } => format!("pings {to} again and again, which is {id}: {plan:?}"),
            Observation::Pinged(Pinged::Answered(pong)) => format!("is answered: {pong:?}"),
            Observation::Pinged(pinged) => format!("pings on, or no more: {pinged:?}"),
            Observation::Reaching { id, to } => format!("wants a connection with {to}, which is {id}"),
            Observation::Reached(called) => format!("has {called:?}"),
            Observation::Saying { to, channel, bytes } => {
                format!("says {} bytes to {to} on channel {channel}", bytes.len())
            }
            Observation::Said { from, channel, bytes } => {
                format!("hears {} bytes of {from} on channel {channel}", bytes.len())
            }
            Observation::Trusts { name, key } => format!("takes whoever has the key {key} for {name}, and nobody else"),
            Observation::KeyRefused { name, key } => format!("refuses whoever has the key {key} as {name}"),
            Observation::Proposed(group) => {
                let commands: Vec<&Command> = group.iter().map(|one| &one.command).collect();
                format!("proposes {commands:?}")
            }
            Observation::Agreed(_) | Observation::Applied(_) | Observation::Quorum(_) => return None,
            Observation::Removing => "is to be removed for good".into(),
            Observation::Released => "its name is given free".into(),
            Observation::Wants(true) => "is to log in".into(),
            Observation::Wants(false) => "is to log out".into(),
        })
    }

    fn link(&self, node: NodeId, link: u64) -> String {
        let other = self.links.get(&(node, link)).map_or_else(|| "?".into(), |other| self.name(*other));
        format!("link {link} with {other}")
    }

    fn place(&self, place: Address) -> String {
        match self.places.get(&place) {
            Some(name) => format!("{name} ({place})"),
            None => place.to_string(),
        }
    }

    fn packet(&self, packet: &PacketRef<'_>) -> String {
        let header = packet.header();
        let (source, destination) = (self.place(header.source), self.place(header.destination));
        let mut text = format!("packet {:016x} from {source} to {destination}, TTL {}", header.id, header.ttl);
        for (mark, who) in packet.entries() {
            text += &format!(", {} {who}", format!("{mark:?}").to_lowercase());
        }
        // What a datagram of a connection carries nobody can read.
        let is_open = PayloadKind::of(packet) != Some(PayloadKind::Datagram);
        if let Some(id) = self.messages.iter().find(|id| is_open && carries(packet, id)) {
            text += &format!(", with message {id}");
        }
        text
    }

    fn frame(&self, frame: &Frame) -> Option<String> {
        let records = |rewire: &Rewire| {
            let names = rewire.neighbours.iter().map(|Record { name, .. }| name.to_string()).collect::<Vec<_>>();
            format!("table {} of {} members: {}", rewire.epoch, rewire.members, names.join(" "))
        };
        Some(match frame {
            Frame::Probe(_) | Frame::ProbeReply(_) | Frame::Packet(_) => return None,
            Frame::Granted(granted) => format!("Granted: {}", records(&granted.rewire)),
            Frame::Rewire(rewire) => format!("Rewire: {}", records(rewire)),
            Frame::Table(Table { epoch, entries, .. }) => {
                let entries = entries.iter().map(|entry| format!("{} {}", entry.name, up(entry.up)));
                format!("Table {epoch}: {}", entries.collect::<Vec<_>>().join(", "))
            }
            Frame::Delta(Delta { changes }) => {
                let changes = changes.iter().map(|link| format!("{} {}", self.place(link.address), up(link.up)));
                format!("Delta: {}", changes.collect::<Vec<_>>().join(", "))
            }
            Frame::AskRemoved(ask) => format!("AskRemoved after {}", ask.mark.count),
            Frame::Removed(told) => format!("Removed: {} keys after {}", told.keys.len(), told.from.count),
            Frame::Report(Report::LinkDown(place)) => format!("Report: the link to {} is down", self.place(*place)),
            Frame::Report(Report::Unreachable(place)) => format!("Report: {} cannot be reached", self.place(*place)),
            Frame::Relay(packet) => format!("Relay: {}", self.packet(&packet.as_ref())),
            Frame::Login(login) => match login.resume {
                Some(session) => format!("Login of {}, to resume {session}", login.name),
                None => format!("Login of {}", login.name),
            },
            Frame::Refused(refused) => format!("Refused: {} {}", refused.status, refused.reason),
            Frame::Bye(bye) => format!("Bye: {} {}", bye.status, bye.reason),
            Frame::LookUp(LookUp { query, ttl, subject, may_be_stale }) => {
                let what = match subject {
                    Subject::Name(name) => name.to_string(),
                    Subject::ShortId(short) => short.to_string(),
                };
                let old = if *may_be_stale { ", an old answer will do" } else { "" };
                format!("LookUp {query:x} of {what}, {ttl} hops farther{old}")
            }
            Frame::Found(Found { query, status, record, is_stale, .. }) => {
                let who = record.iter().map(|record| format!(": {} ({})", record.name, record.address));
                let old = if *is_stale { ", which may be old" } else { "" };
                format!("Found {query:x}, {status}{}{old}", who.collect::<String>())
            }
            Frame::Renew(Renew { session, epoch }) => format!("Renew of {session}, with table {epoch}"),
            Frame::Renewed(Renewed { session, epoch, is_cut_off }) => {
                let cut_off = if *is_cut_off { ", cut off" } else { "" };
                format!("Renewed {session}, of table {epoch}{cut_off}")
            }
            Frame::Report(Report::Isolated) => "Report: no neighbour is left".into(),
            Frame::List(list) => format!("List {}: {:?}", list.query, list.which),
            Frame::Listing(listing) => format!("Listing {}: {} names", listing.query, listing.listed.len()),
            Frame::AskRecords(ask) => format!("AskRecords of {} places", ask.places.len()),
            Frame::Records(told) => {
                let names = told.records.iter().map(|record| record.name.to_string());
                format!("Records: {}", names.collect::<Vec<_>>().join(" "))
            }
            Frame::Supernodes(told) => {
                let ids = told.supernodes.iter().map(|supernode| supernode.id.to_string());
                format!("Supernodes: {}", ids.collect::<Vec<_>>().join(" "))
            }
            Frame::LogAsk(_) | Frame::LogAnswer(_) => return None,
            Frame::Reported(Reported { reporter, report }) => {
                format!("Reported by {}: {report:?}", self.place(*reporter))
            }
            Frame::Claim(claim) => format!("Claim {} of {}", claim.number, claim.session),
            Frame::Claimed(told) => {
                format!("Claimed {}: {}", told.number, if told.is_alive { "it answers" } else { "it does not answer" })
            }
            Frame::Beat(_) => return None,
            Frame::Present(_) | Frame::Challenge(_) | Frame::Hello(_) | Frame::Logout(_) | Frame::LoggedOut(_) => {
                format!("{:?}", frame.kind())
            }
        })
    }

    /// What a peer's core tells; what it wants done is seen when it is done
    fn wish(&self, node: NodeId, output: &PeerOutput) -> Option<String> {
        Some(match output {
            PeerOutput::Event(event) => self.event(node, event),
            PeerOutput::LoggedIn => "is logged in".into(),
            PeerOutput::HomeLost { reason } => format!("has lost its supernode: {reason}"),
            PeerOutput::LoggedOut { reason } => format!("is logged out: {reason}"),
            PeerOutput::Listed { query, .. } => format!("question {query} for names is answered"),
            PeerOutput::LookedUp { name, answer } => format!("{name} is looked up: {answer:?}"),
            PeerOutput::Done(outcome) => {
                let Fate { id, to, status, reason, transmissions, .. } = &outcome.fate;
                format!("ping {id} to {to}: {status}, {reason}; {transmissions} transmissions")
            }
            _ => return None,
        })
    }

    fn event(&self, node: NodeId, event: &Event) -> String {
        match event {
            Event::Rewired { epoch, kept, joined, left, .. } => {
                format!("takes table {epoch}: {kept} neighbours stay, {joined} are new, {left} are none any more")
            }
            Event::Upset { epoch, left, of, reason } => {
                format!("of {of} neighbours {left} are none any more by table {epoch}: {reason}")
            }
            Event::RewireIgnored { epoch, reason } => format!("does not take table {epoch}: {reason}"),
            Event::RecordIgnored { epoch, address, reason } => {
                format!("leaves {address} of table {epoch} out: {reason}")
            }
            Event::UnknownPeerWaited { link, name, .. } => {
                format!("{}: {name} waits for a rewire that makes it a neighbour", self.link(node, link.0))
            }
            Event::StandsIn { name, .. } => format!("{name} stands in, as no home can be asked"),
            Event::GuestAccepted { link, name, .. } => {
                format!("{}: {name} is a guest, as there is no supernode to ask", self.link(node, link.0))
            }
            Event::LinkUp { link, after, .. } => format!("{} is up, after {after:.1?}", self.link(node, link.0)),
            Event::HeldBack { link, losses, held, .. } => {
                format!("{} is held back for {held:.1?}: it was lost {losses} times", self.link(node, link.0))
            }
            Event::TakenAgain { link, .. } => format!("{} is held back no longer", self.link(node, link.0)),
            Event::LinkDown { name, reason, .. } => format!("{name} is down: {reason}"),
            Event::LinkClosed { link, reason, .. } => format!("{} is closed: {reason}", self.link(node, link.0)),
            Event::DialFailed { name, failures, reason, .. } => {
                format!("cannot dial {name}, for the {failures}. time: {reason}")
            }
            Event::GaveUp { name, reason, .. } => format!("old links wait for {name} no longer: {reason}"),
            Event::Isolated => "has no neighbour left".into(),
            Event::FrameIgnored { link, kind, reason } => {
                format!("{}: {kind:?} changes nothing: {reason}", self.link(node, link.0))
            }
            Event::LinkIgnored { link, reason } => format!("{} is ignored: {reason}", self.link(node, link.0)),
            Event::HeldUp { late } => format!("was held up for {late:.1?}"),
        }
    }
}

/// Tells what matters to everybody
pub(super) fn tell_all(now: Instant, what: &str) {
    line(&format!("{now:?} *** {what}"));
}

/// Whether `text` has `what` as a whole word: peer-1 is not peer-12
///
/// Addresses and ids are written in whole or by their first eight digits, which are enough to know them.
fn names(text: &str, what: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let start =
        |word: &str| word.get(..8).filter(|start| start.bytes().all(|c| c.is_ascii_hexdigit())).map(str::to_owned);
    let about = start(what);
    text.split(|c| !is_part(c)).any(|word| word == what || about.is_some() && start(word) == about)
}

const fn up(is: bool) -> &'static str {
    if is { "up" } else { "down" }
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn peer_is_told_of_by_its_whole_name() {
        assert!(names("1.0s peer-1: starts", "peer-1") && names("link 3 with peer-1", "peer-1"));
        assert!(!names("1.0s peer-12: starts", "peer-1") && !names("a peer-1", "eer-1"));
    }

    #[test]
    fn address_is_known_by_its_first_half() {
        assert!(names("peer-3 (b76ad4ef)", "b76ad4ef5d6feb5d") && names("to b76ad4ef5d6feb5d, TTL 9", "b76ad4ef"));
        assert!(!names("to b76ad4ee5d6feb5d", "b76ad4ef5d6feb5d"));
    }
}
