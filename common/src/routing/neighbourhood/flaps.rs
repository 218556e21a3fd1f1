//! Links that come and go: one that was lost again and again proves that it lasts before it carries for others.
//!
//! Whatever is given to a link in the moment before its loss is noticed is lost with it, so each time that a link is lost
//! soon after it came up it is *held back* for longer when it is up again: no packet goes over it to others while another
//! way is left. Its own peer is still reached by it, and it is told as up, so nobody is parted from anybody by this, though
//! all links come and go. Each side keeps to it by itself. A link that lasts begins anew, and so does a peer that has
//! started anew.

use std::collections::BTreeMap;
use std::time::Duration;

use super::link::Link;
use super::output::Event;
use super::{LINKS_MAX, Neighbourhood};
use crate::id::Key;
use crate::link::LinkId;
use crate::mutant::{self, Mutant};
use crate::time::{Instant, doubled};

/// How long a link that was lost twice in a row is held back; doubled with each further loss
const HELD_MIN: Duration = Duration::from_secs(1);

/// The longest such time: that of the longest backoff of a dial
const HELD_MAX: Duration = Duration::from_secs(60);

/// A link that was up for so long is none that comes and goes: ten times the silence by which a loss is noticed, so at most a
/// tenth of what it was given is lost
const LASTS: Duration = Duration::from_secs(20);

/// … and for so many times as long as it was held back: most of its time it carried
const LASTS_HELD: u32 = 4;

/// Peers whose losses are remembered at most; for one more the one that was lost longest ago is forgotten
const PEERS_MAX: usize = 4 * LINKS_MAX;

/// What is remembered of one peer's links
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Losses {
    /// In which of its starts: after another one it has a clean sheet
    boot: u64,
    /// In a row, each soon after the link was up
    count: u32,
    last: Instant,
}

/// The losses of peers, whether they are in the table or not
#[derive(Debug, Default)]
pub(super) struct Flaps {
    losses: BTreeMap<Key, Losses>,
}

impl Flaps {
    /// For how long a link with this peer is held back that is up now, and how often it was lost
    pub(super) fn held(&self, key: &Key, boot: u64) -> (Duration, u32) {
        let count = self.losses.get(key).filter(|losses| losses.boot == boot).map_or(0, |losses| losses.count);
        (held_for(count), count)
    }

    /// This link has just come up: begins the time for which it is held back, if it is
    pub(super) fn hold_back(&self, now: Instant, link: &mut Link) -> Option<Event> {
        let (held, losses) = self.held(&link.key, link.boot);
        link.held_until = (!held.is_zero()).then(|| now + held);
        let (link, name, address) = (link.id, link.grant.name.clone(), link.grant.address);
        (!held.is_zero()).then_some(Event::HeldBack { link, name, address, losses, held })
    }

    /// A link that had been up since `up` was lost, or (`is_lost` is false) ended with a word
    pub(super) fn on_end(&mut self, now: Instant, key: Key, boot: u64, up: Instant, is_lost: bool) {
        let (held, before) = self.held(&key, boot);
        let has_lasted = now - up >= LASTS.max(held * LASTS_HELD) && !mutant::is(Mutant::BackOffNotReset);
        let before = if has_lasted { 0 } else { before };
        let count = before.saturating_add(u32::from(is_lost));
        if count == 0 {
            self.losses.remove(&key);
        } else if is_lost {
            self.losses.insert(key, Losses { boot, count, last: now });
        }
        if self.losses.len() > PEERS_MAX
            && let Some(oldest) = self.losses.iter().min_by_key(|(_, losses)| losses.last).map(|(key, _)| *key)
        {
            self.losses.remove(&oldest);
        }
    }
}

fn held_for(losses: u32) -> Duration {
    match losses.checked_sub(2) {
        Some(doublings) if !mutant::is(Mutant::FlapNotHeld) => doubled(HELD_MIN, doublings, HELD_MAX),
        _ => Duration::ZERO,
    }
}

impl Neighbourhood {
    /// A link has ended; one that was never up says nothing
    pub(super) fn note_end(&mut self, now: Instant, link: &Link, is_lost: bool) {
        if let Some(up) = link.up_since {
            self.flaps.on_end(now, link.key, link.boot, up, is_lost);
        }
    }

    /// Another link with the same peer is to stay: whoever dials again without a word has lost the older one
    pub(super) fn note_replaced(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.links.get(&id).filter(|link| !link.is_leaving()) else { return };
        let replaces = |other: &&Link| {
            let is_same_stay =
                (other.key, other.boot) == (link.key, link.boot) && other.grant.epoch == link.grant.epoch;
            is_same_stay && other.is_up() && other.opened - link.opened > self.config.simultaneous
        };
        if self.links.values().any(|other| replaces(&other))
            && let Some(up) = link.up_since
        {
            self.flaps.on_end(now, link.key, link.boot, up, true);
        }
    }

    /// Links that have been up for as long as they were held back carry like others
    pub(super) fn take_again(&mut self, now: Instant) {
        let mut events = Vec::new();
        for link in self.links.values_mut().filter(|link| link.held_until.is_some_and(|until| until <= now)) {
            link.held_until = None;
            self.are_views_changed = true;
            let (link, name, address) = (link.id, link.grant.name.clone(), link.grant.address);
            events.push(Event::TakenAgain { link, name, address });
        }
        events.into_iter().for_each(|event| self.event(event));
    }
}
