//! Kith's own chain: five nodes in a row, on real links, with real routes.
//!
//! A node is its link layer and a driver that does what a peer's does with it: give commands, take events. The
//! forwarders' drivers have nothing to do, as packets never leave the link layer there. The ends send by the door that
//! users' messages take: each packet of theirs is decided by their own routes and answered, so the sender's share of
//! what is measured is that of a peer, signatures left out.
//!
//! Queues, the sender's own among them, are bounded and drop what does not fit, so the ends keep a window, as any
//! protocol on top of datagrams has to: the receiver says how many messages have come, and the sender is never further
//! ahead than a queue is long. Nothing else holds it back.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::id::Name;
use kith_common::routing::{NeighbourView, Routes};
use kith_common::wire::FRAME_HEADER_BYTES;
use kith_common::wire::content::PayloadKind;
use kith_common::wire::packet::{Class, ENTRY_BYTES, PacketRef};
use kith_common::wire::session::{Location, Purpose, Role};
use kith_runtime::clock::Clock;
use kith_runtime::identity::Identity;
use kith_runtime::link::{
    self, Delivery, Dial, Direction, HelloTemplate, LinkCommand, LinkConfig, LinkEvent, LinkHandle, LinkId, NewRoutes,
    Outgoing, Packets,
};
use kith_runtime::location;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::super::text;
use super::ask::{Answer, Ask, LAST, PLACES, ROUND_TRIP_LIMIT, RoundTrips, SETTLE_LIMIT, answer, fail, read_asks};
use super::message::{Arrivals, Messages, STAMP_BYTES, address, frame, message, payload, stamp};
use crate::role::ANY_PORT;

/// Bytes under way at most: a little less than a link's data queue holds, so that none is ever full
const WINDOW_BYTES: usize = 960 * 1024;
/// The receiver says what has come so many times a window
const ACKS_A_WINDOW: u64 = 2;
/// Bytes that the sender gives its link at a time
const CHUNK_BYTES: usize = 60 * 1024;
/// From the order to connect until both links are up
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// One process of the chain
pub(super) fn play(place: usize) -> ExitCode {
    // glibc gives freed memory back beyond 128 KiB, and takes it again for the next chunk, a page fault at a time; once
    // a larger piece was freed it keeps as much.
    drop(std::hint::black_box(Vec::<u8>::with_capacity(8 * WINDOW_BYTES)));
    // Like a daemon's driver: a thread of its own, and no more.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let served = runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(serve(place)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => fail(reason),
    }
}

async fn serve(place: usize) -> Result<(), String> {
    let (asked, mut asks) = mpsc::channel(1);
    read_asks(move |ask| drop(asked.blocking_send(ask)));
    let mut node = Node::start(place).await?;
    loop {
        tokio::select! {
            ask = asks.recv() => {
                let Some(ask) = ask else { return Ok(()) };
                answer(&node.answer(ask).await.unwrap_or_else(|reason| Answer::Failed { reason }));
            }
            event = node.events.recv() => node.handle_event(event).await?,
        }
    }
}

struct Node {
    place: usize,
    links: LinkHandle,
    events: mpsc::Receiver<LinkEvent>,
    before: Option<LinkId>,
    after: Option<LinkId>,
    run: u32,
    sending: Option<Sending>,
    /// The last message that came back
    returned: Option<(u32, u64)>,
    received: Received,
    /// Packets for which there was no first hop
    unsent: u64,
}

struct Sending {
    messages: Messages,
    acknowledged: u64,
    window: u64,
    at_a_time: usize,
    /// Chunks that were sent, for the next ones: no more than the window has under way
    spare: Vec<Vec<u8>>,
}

/// What came to the receiver
#[derive(Default)]
struct Received {
    arrivals: Arrivals,
    /// Bytes since the last acknowledgement
    bytes: usize,
    echo: bool,
}

impl Node {
    async fn start(place: usize) -> Result<Self, String> {
        let hello = HelloTemplate { role: Role::Peer, boot: 1, network: None, grant: None };
        let listen = ANY_PORT.parse().map_err(text)?;
        let payloads = vec![PayloadKind::Datagram];
        let config =
            LinkConfig { listen: vec![listen], payloads, ..LinkConfig::of_peer(hello, Clock::start(), place as u64) };
        let (links, events) = link::spawn(config, &Identity::generate()).map_err(text)?;
        let (received, sending) = (Received::default(), None);
        let mut node = Self {
            place,
            links,
            events,
            before: None,
            after: None,
            run: 0,
            sending,
            returned: None,
            received,
            unsent: 0,
        };
        let listening = async {
            loop {
                if let LinkEvent::Listening(at) = node.event().await? {
                    return Ok::<_, String>(at.to_string());
                }
            }
        };
        let at = timeout(CONNECT_LIMIT, listening).await.map_err(text)??;
        answer(&Answer::Listening { at });
        Ok(node)
    }

    async fn answer(&mut self, ask: Ask) -> Result<Answer, String> {
        match ask {
            Ask::Connect { next } => self.connect(next).await,
            Ask::Send { bytes } => self.begin(bytes).await,
            Ask::Stop => self.stop(),
            Ask::Count { warm_ms, measured_ms } => self.count(warm_ms, measured_ms).await,
            Ask::Settle { messages } => self.settle(messages).await,
            Ask::Echo { on } => {
                self.received.echo = on;
                Ok(Answer::Done)
            }
            Ask::RoundTrips { bytes, measured_ms } => self.round_trips(bytes, Duration::from_millis(measured_ms)).await,
            Ask::Faults => Ok(self.faults()),
        }
    }

    async fn event(&mut self) -> Result<LinkEvent, String> {
        self.events.recv().await.ok_or_else(|| "the link thread has ended".into())
    }

    async fn handle_event(&mut self, event: Option<LinkEvent>) -> Result<(), String> {
        match event.ok_or("the link thread has ended")? {
            LinkEvent::Opened(opened) if opened.direction == Direction::Outgoing => self.after = Some(opened.link),
            LinkEvent::Opened(opened) => self.before = Some(opened.link),
            LinkEvent::Originated(originated) => {
                self.unsent += originated.unsent() as u64;
                self.reuse(originated.packets);
            }
            LinkEvent::Deliver(delivery) if self.place == LAST => self.receive(&delivery).await?,
            LinkEvent::Deliver(delivery) => self.take_back(&delivery).await?,
            LinkEvent::DialFailed { reason, .. } => return Err(reason.to_string()),
            LinkEvent::Closed { reason, .. } => return Err(format!("a link of the chain has closed: {reason}")),
            _ => {}
        }
        Ok(())
    }

    /// Handles what comes, for so long
    async fn run_for(&mut self, time: Duration) -> Result<(), String> {
        let mut end = std::pin::pin!(sleep(time));
        loop {
            tokio::select! {
                biased;
                () = &mut end => return Ok(()),
                event = self.events.recv() => self.handle_event(event).await?,
            }
        }
    }

    async fn connect(&mut self, next: Option<String>) -> Result<Answer, String> {
        if let Some(next) = next {
            let at: Location = location::to_wire(&next.parse().map_err(text)?).map_err(text)?;
            let dial = Dial { number: 1, key: None, locations: vec![at], purpose: Purpose::Neighbour };
            self.links.send(LinkCommand::Dial(dial)).await.map_err(text)?;
        }
        let connected = async {
            while self.before.is_none() && self.place > 0 || self.after.is_none() && self.place < LAST {
                let event = self.event().await?;
                self.handle_event(Some(event)).await?;
            }
            Ok::<(), String>(())
        };
        timeout(CONNECT_LIMIT, connected).await.map_err(text)??;
        let before = self.before.and_then(|link| Some((address(self.place.checked_sub(1)?), link)));
        let after = self.after.map(|link| (address(self.place + 1), link));
        let routes = NewRoutes {
            routes: Arc::new(routes(self.place)),
            links: before.into_iter().chain(after).collect(),
            name: name(self.place),
        };
        self.links.send(LinkCommand::Routes(Some(Box::new(routes)))).await.map_err(text)?;
        Ok(Answer::Done)
    }

    async fn begin(&mut self, bytes: usize) -> Result<Answer, String> {
        self.run += 1;
        let messages = Messages::new(self.run, bytes).map_err(text)?;
        let on_the_way = messages.frame_bytes() + (PLACES - 2) * ENTRY_BYTES;
        let window = (WINDOW_BYTES / on_the_way).max(1);
        let at_a_time = (CHUNK_BYTES / messages.frame_bytes()).clamp(1, window);
        self.sending = Some(Sending { messages, acknowledged: 0, window: window as u64, at_a_time, spare: Vec::new() });
        self.send_on().await?;
        Ok(Answer::Done)
    }

    /// Sends as much as the window lets through
    async fn send_on(&mut self) -> Result<(), String> {
        let Some(sending) = &mut self.sending else { return Ok(()) };
        while sending.messages.sent + sending.at_a_time as u64 <= sending.acknowledged + sending.window {
            let chunk = match sending.spare.pop() {
                Some(mut frames) => {
                    sending.messages.number(&mut frames);
                    frames
                }
                None => sending.messages.chunk(sending.at_a_time),
            };
            originate(&self.links, chunk).await?;
        }
        Ok(())
    }

    /// The link gives back what it has sent: as in the chain to compare with, only the numbers in it are written anew
    fn reuse(&mut self, packets: Packets) {
        let Some(sending) = &mut self.sending else { return };
        let run = packets.iter().next().and_then(|packet| stamp(&packet)).map(|(run, _)| run);
        // Chunks of the run before may still come back, and have its number in them.
        if run == Some(self.run) {
            sending.spare.push(packets.into_frames());
        }
    }

    fn stop(&mut self) -> Result<Answer, String> {
        let sending = self.sending.take().ok_or("nothing is sent")?;
        Ok(Answer::Sent { messages: sending.messages.sent })
    }

    /// At the sender: an acknowledgement, or a message that comes back
    async fn take_back(&mut self, delivery: &Delivery) -> Result<(), String> {
        for packet in delivery.packets.iter() {
            let Some((run, number)) = stamp(&packet) else { continue };
            match &mut self.sending {
                Some(sending) if run == self.run => sending.acknowledged = sending.acknowledged.max(number),
                _ => self.returned = Some((run, number)),
            }
        }
        self.send_on().await
    }

    async fn receive(&mut self, delivery: &Delivery) -> Result<(), String> {
        for packet in delivery.packets.iter() {
            if self.received.echo {
                originate(&self.links, frame(LAST, 0, Class::Data, packet.payload()).map_err(text)?).await?;
            } else if let Some(acknowledgement) = self.received.count(&packet) {
                originate(&self.links, acknowledgement).await?;
            }
        }
        Ok(())
    }

    async fn count(&mut self, warm_ms: u64, measured_ms: u64) -> Result<Answer, String> {
        self.run_for(Duration::from_millis(warm_ms)).await?;
        let (before, start) = (self.received.arrivals.messages, Instant::now());
        self.run_for(Duration::from_millis(measured_ms)).await?;
        let messages = self.received.arrivals.messages.saturating_sub(before);
        Ok(Answer::Counted { messages, took_us: start.elapsed().as_micros() as u64 })
    }

    async fn settle(&mut self, messages: u64) -> Result<Answer, String> {
        let all = async {
            while self.received.arrivals.messages < messages {
                let event = self.event().await?;
                self.handle_event(Some(event)).await?;
            }
            Ok::<(), String>(())
        };
        // Too late is lost, and is counted by whoever asks.
        if let Ok(result) = timeout(SETTLE_LIMIT, all).await {
            result?;
        }
        Ok(Answer::Settled { messages: self.received.arrivals.messages })
    }

    async fn round_trips(&mut self, bytes: usize, measured: Duration) -> Result<Answer, String> {
        self.run += 1;
        let (mut times, start) = (Vec::new(), Instant::now());
        while start.elapsed() < measured && times.len() < RoundTrips::MAX {
            let (expected, sent) = ((self.run, times.len() as u64), Instant::now());
            originate(&self.links, message(expected.0, expected.1, bytes).map_err(text)?).await?;
            let back = async {
                while self.returned != Some(expected) {
                    let event = self.event().await?;
                    self.handle_event(Some(event)).await?;
                }
                Ok::<(), String>(())
            };
            timeout(ROUND_TRIP_LIMIT, back).await.map_err(|_| "a message did not come back")??;
            times.push(sent.elapsed());
        }
        Ok(Answer::RoundTrips(RoundTrips::of(times)))
    }

    fn faults(&self) -> Answer {
        let counts = self.links.counters().counts();
        let dropped = [
            counts.dropped_data_queue,
            counts.dropped_signal_queue,
            counts.dropped_delivery,
            counts.dropped_no_link,
            counts.dropped_not_neighbour,
            counts.dropped_no_receiver,
            counts.dropped_forged,
            counts.dropped_reports,
            counts.undeliverable,
            counts.given_back,
            counts.decode_errors,
            self.received.arrivals.out_of_order,
            self.unsent,
        ];
        Answer::Faults { forwarded: counts.forwarded, dropped: dropped.iter().sum() }
    }
}

impl Received {
    /// Counts a message; now and then the frame that acknowledges all so far
    fn count(&mut self, packet: &PacketRef<'_>) -> Option<Vec<u8>> {
        let run = self.arrivals.count(packet)?;
        self.bytes += FRAME_HEADER_BYTES + packet.bytes().len();
        if self.bytes < WINDOW_BYTES / ACKS_A_WINDOW as usize {
            return None;
        }
        self.bytes = 0;
        payload(run, self.arrivals.messages, STAMP_BYTES)
            .and_then(|payload| frame(LAST, 0, Class::Signal, &payload))
            .ok()
    }
}

/// Sends packets of this node's own, given as frames
async fn originate(links: &LinkHandle, frames: Vec<u8>) -> Result<(), String> {
    let outgoing = Outgoing { packets: Packets::of_frames(frames), avoid: Vec::new() };
    links.send(LinkCommand::Originate(outgoing)).await.map_err(text)
}

fn name(place: usize) -> Name {
    let name = crate::names::peer(place).parse();
    name.unwrap_or_else(|_| unreachable!("the lab's names are names"))
}

/// What the node at `place` knows: the one before it and the one after, and whom those know
fn routes(place: usize) -> Routes {
    let neighbours =
        |place: usize| place.checked_sub(1).into_iter().chain(Some(place + 1).filter(|next| *next <= LAST));
    let view = |place: usize| NeighbourView {
        address: address(place),
        up: true,
        held: false,
        name: name(place),
        table: neighbours(place).map(|entry| (address(entry), true)).collect(),
        unseen: Default::default(),
    };
    Routes::new(address(place), 4, PLACES as u64, 1, neighbours(place).map(view).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_common::routing::{Decision, RouteCache};
    use kith_common::time::Instant;
    use kith_common::wire::packet::emit_forwarded;

    fn way(from: usize, to: usize) -> Vec<usize> {
        let mut body = frame(from, to, Class::Data, b"x").unwrap().split_off(FRAME_HEADER_BYTES);
        let (mut before, mut at, mut places) = (from, if from < to { from + 1 } else { from - 1 }, Vec::new());
        loop {
            places.push(at);
            let packet = PacketRef::parse(&body).unwrap();
            let decision = routes(at).decide(&mut RouteCache::new(), &packet, Some(address(before)), Instant::ZERO);
            let Decision::Forward { to, edit, .. } = decision else {
                assert_eq!(decision, Decision::Deliver, "at {at}");
                return places;
            };
            let mut next = Vec::new();
            emit_forwarded(&packet, &edit, &mut next).unwrap();
            body = next;
            before = at;
            at = (0..PLACES).find(|place| address(*place) == to).unwrap();
        }
    }

    #[test]
    fn packets_go_along_the_row_in_both_directions() {
        assert_eq!(way(0, LAST), [1, 2, 3, 4]);
        assert_eq!(way(LAST, 0), [3, 2, 1, 0]);
    }

    #[test]
    fn window_is_acknowledged_in_parts() {
        let (mut received, mut messages) = (Received::default(), Messages::new(1, 16_384).unwrap());
        let window = WINDOW_BYTES / messages.frame_bytes();
        let chunk = messages.chunk(window + 1);
        let packets = chunk.chunks(messages.frame_bytes()).map(|frame| &frame[FRAME_HEADER_BYTES..]);
        let count = |packet| received.count(&PacketRef::parse(packet).unwrap());
        let acknowledgements = packets.filter_map(count).count() as u64;
        assert!((ACKS_A_WINDOW - 1..=ACKS_A_WINDOW).contains(&acknowledgements), "{acknowledgements}");
    }
}
