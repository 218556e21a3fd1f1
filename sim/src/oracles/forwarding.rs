//! A packet never goes forward to a peer that had it, nor beyond its hops, and what it says of its way is true.
//!
//! Source: the forwarding rules: a packet carries whom it tried; going one back takes the peer off the way, leaves it
//! among the tried, and costs a hop like any other. This keeps books of its own for every packet under way.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::id::{Address, ShortId};
use kith_common::time::Instant;
use kith_common::wire::packet::{Header, Mark, PacketRef};
use kith_common::wire::{FRAME_HEADER_BYTES, Frame};

use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// Books of packets are closed after this: the longest that anybody waits for one
const KEPT: Duration = Duration::from_secs(60);

/// What is known of one packet
#[derive(Debug)]
struct Book {
    since: Instant,
    hops_left: i16,
    had_it: Vec<Address>,
    way: Vec<Address>,
    /// The peer that handed it on, and the place, whose holder had moved
    moved: Vec<(Address, Address)>,
    is_doubled: bool,
}

/// Books of all packets under way
#[derive(Debug, Default)]
pub(crate) struct Forwarding {
    books: BTreeMap<(u64, Address), Book>,
}

const fn key(header: &Header) -> (u64, Address) {
    (header.id, header.source)
}

impl Forwarding {
    fn begin(&mut self, now: Instant, packet: &PacketRef<'_>, to: Option<Address>) {
        let header = packet.header();
        let at = [Some(header.source), to];
        let book = Book {
            since: now,
            hops_left: i16::from(header.ttl),
            had_it: at.into_iter().flatten().collect(),
            way: at.into_iter().flatten().collect(),
            moved: Vec::new(),
            is_doubled: false,
        };
        self.books.insert(key(header), book);
    }

    fn pass(&mut self, here: Address, to: Address, packet: &PacketRef<'_>, after: &[u8]) -> Result<(), String> {
        let header = packet.header();
        let after = after.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        let after = PacketRef::parse(after).map_err(|error| format!("forwarded what is no packet: {error}"))?;
        if after.header().ttl >= header.ttl {
            return Err(format!(
                "packet {:016x} left with {} hops, and came with {}",
                header.id,
                after.header().ttl,
                header.ttl
            ));
        }
        let says_tried = |packet: &PacketRef<'_>, who: ShortId| {
            packet.entries().any(|(mark, short)| short == who && matches!(mark, Mark::Tried | Mark::Way))
        };
        let Some(book) = self.books.get_mut(&key(header)) else { return Ok(()) };
        book.hops_left -= 1;
        if book.is_doubled {
            return Ok(());
        }
        if book.hops_left < 0 {
            return Err(format!("packet {:016x} went beyond its hops", header.id));
        }
        if !says_tried(&after, here.short()) && here != header.source {
            return Err(format!("packet {:016x} does not say that it was at {here}", header.id));
        }
        if book.way.len() == 1 && here != header.source {
            // It left its source over a link; now it is known who was at the other end.
            book.had_it.push(here);
            book.way.push(here);
        }
        if book.way.last() != Some(&here) && !book.had_it.contains(&here) {
            // Its receiver has another place since its last login, and the sender's table does not know yet.
            if let Some(old) = book.way.pop() {
                book.had_it.retain(|place| *place != old);
                book.moved.extend(book.way.last().map(|sender| (*sender, old)));
            }
            book.way.push(here);
            book.had_it.push(here);
        }
        if book.way.last() != Some(&here) {
            return Err(format!("packet {:016x} is at {here}, and its way ends at {:?}", header.id, book.way.last()));
        }
        if book.moved.contains(&(here, to)) {
            return Err(format!("packet {:016x} went from {here} to {to} twice", header.id));
        }
        if book.had_it.contains(&to) {
            book.way.pop();
            if book.way.last() != Some(&to) {
                return Err(format!("packet {:016x} went from {here} to {to}, which had it already", header.id));
            }
        } else {
            book.had_it.push(to);
            book.way.push(to);
        }
        let way: Vec<ShortId> = after.way().map(|(_, short)| short).collect();
        // The source is not on it; nor is whoever has it now, unless it has come back there.
        let mut true_way: Vec<ShortId> = book.way.iter().skip(1).map(|address| address.short()).collect();
        if true_way.len() > way.len() {
            true_way.pop();
        }
        if way != true_way {
            return Err(format!("packet {:016x} says that it came by {way:?}, and came by {true_way:?}", header.id));
        }
        Ok(())
    }
}

impl Oracle for Forwarding {
    fn name(&self) -> &'static str {
        "forwarding"
    }

    fn see(&mut self, now: Instant, _: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Sent { frame: Frame::Packet(packet), .. } => {
                let packet = packet.as_ref();
                self.begin(now, &packet, None);
            }
            Observation::Forwarded { here, to, packet, after, .. } => match seen.own_packet() {
                Some(_) => self.begin(now, packet, Some(*to)),
                None => return self.pass(*here, *to, packet, after),
            },
            Observation::Duplicated { packet } => {
                if let Some(book) = self.books.get_mut(&key(packet.header())) {
                    book.is_doubled = true;
                }
            }
            Observation::Delivered { packet } => {
                self.books.remove(&key(packet.header()));
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        self.books.retain(|_, book| world.now() - book.since < KEPT);
        Ok(())
    }
}
