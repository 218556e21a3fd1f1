//! The links between supernodes: who is linked to whom, who is there, and what each says of itself.
//!
//! Of two supernodes the one with the larger id dials the other, for as long as the log names it; the other one dials as well
//! if nobody has come for some seconds. Both show their certificates ([`Present`]), and say once a second how they are and
//! whom they see ([`Beat`]). A newer link of a supernode takes the place of an older one. A link on which nobody has shown a
//! good certificate within [`PRESENT_WAIT`] ends.
//!
//! Whoever has a good certificate may say who leads and whom it sees; what it wants done counts only if the log names it,
//! as a certificate outlives its supernode's removal.

mod dials;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;

use self::dials::{Dials, TURN, Target, Wanted};
use super::SupernodeOutput;
use super::logins::Credentials;
use super::members::Members;
use crate::crypto::Signer;
use crate::id::{Key, SupernodeId};
use crate::link::{LinkId, Opened};
use crate::mutant::{self, Mutant};
use crate::rate::Strangers;
use crate::status::Status;
use crate::time::{Instant, earliest};
use crate::wire::backbone::{Beat, Claim, Claimed, Present, Reported};
use crate::wire::bounded::Bounded;
use crate::wire::link::{Probe, ProbeReply};
use crate::wire::session::{Location, Reason, Role, SUPERNODES_MAX};
use crate::wire::{Frame, PacketBytes};

/// How long somebody who wants a link between supernodes may take to show its certificate
pub const PRESENT_WAIT: Duration = Duration::from_secs(5);
/// How often each says how it is
pub const BEAT_EVERY: Duration = Duration::from_secs(1);
/// How long what a supernode said of others counts: some beats, of which one or two may be late
const BEAT_GOOD_FOR: Duration = Duration::from_secs(5);
/// Numbers of probes between supernodes begin here: the link's own are smaller
const SEQUENCES: u32 = 1 << 31;

/// A link between this supernode and another, or somebody who says that it is one
struct Link {
    key: Key,
    /// Whom it was dialled for
    target: Option<Target>,
    /// Who has shown its certificate here
    supernode: Option<SupernodeId>,
    /// Until when it has to
    until: Instant,
    load: u16,
    /// Its last beat, and when that came
    beat: Option<(Instant, Beat)>,
    /// The probe that is not answered yet, and when it was sent
    probe: Option<(u32, Instant)>,
    rtt: Option<Duration>,
    /// It is to end: what still comes counts for nothing
    is_closing: bool,
}

/// What another supernode wants of this one
#[derive(Debug)]
pub(super) enum Said {
    Nothing,
    Reported(Reported),
    Claim(Claim),
    Claimed(Claimed),
    /// For a peer that is at home here
    Relay(PacketBytes),
    /// For its source, which is at home here
    GivenBack(PacketBytes),
}

/// What this supernode says of itself
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    /// How many of the links that it may have it has, in thousandths
    pub(super) load: u16,
    pub(super) leader: Option<SupernodeId>,
}

/// What is known of one other supernode's link
pub(super) struct Standing {
    pub(super) load: u16,
    pub(super) rtt: Option<Duration>,
    pub(super) leader: Option<SupernodeId>,
}

/// All links between supernodes: as many as the shell accepts
pub(super) struct Backbone {
    id: SupernodeId,
    contacts: Vec<Location>,
    links: BTreeMap<LinkId, Link>,
    /// The newest link of each that has shown its certificate
    by_id: BTreeMap<SupernodeId, LinkId>,
    dials: Dials,
    beat_at: Option<Instant>,
    last_sequence: u32,
    strangers: Strangers,
    outputs: VecDeque<SupernodeOutput>,
}

impl Backbone {
    /// Nobody is linked; `contacts` are dialled as long as nobody else is known, [`SUPERNODES_MAX`] of them
    pub(super) fn new(now: Instant, id: SupernodeId, mut contacts: Vec<Location>) -> Self {
        if contacts.len() > SUPERNODES_MAX {
            let reason = "a network has no more supernodes than that; the last ones are left out";
            tracing::warn!(event = "contacts_left_out", count = contacts.len(), max = SUPERNODES_MAX, reason);
            contacts.truncate(SUPERNODES_MAX);
        }
        let mut backbone = Self {
            id,
            contacts,
            links: BTreeMap::new(),
            by_id: BTreeMap::new(),
            dials: Dials::default(),
            beat_at: None,
            last_sequence: SEQUENCES,
            strangers: Strangers::default(),
            outputs: VecDeque::new(),
        };
        backbone.plan(now, &Members::default());
        backbone
    }

    /// The log has said who the supernodes are
    pub(super) fn plan(&mut self, now: Instant, members: &Members) {
        let is_alone = !members.iter().any(|entry| entry.id != self.id);
        let others = members.iter().filter(|entry| entry.id != self.id && !entry.locations.is_empty());
        let others = others.map(|entry| Wanted {
            target: Target::Member(entry.id),
            locations: entry.locations.to_vec(),
            turn: if entry.id < self.id { Duration::ZERO } else { TURN },
        });
        let contacts = self.contacts.iter().enumerate().filter(|_| is_alone);
        let contacts = contacts.map(|(number, location)| Wanted {
            target: Target::Contact(number),
            locations: vec![location.clone()],
            turn: Duration::ZERO,
        });
        self.dials.plan(now, others.chain(contacts).collect::<Vec<_>>());
    }

    /// A link for this purpose has opened
    pub(super) fn open<S: Signer>(&mut self, now: Instant, opened: &Opened, credentials: &Credentials<S>, own: Own) {
        let Opened { link, key, ref hello, dial, .. } = *opened;
        let target = dial.and_then(|number| self.dials.handle_opened(number, link));
        let until = now + PRESENT_WAIT;
        let new = Link {
            key,
            target,
            supernode: None,
            until,
            load: 0,
            beat: None,
            probe: None,
            rtt: None,
            is_closing: false,
        };
        self.links.insert(link, new);
        if dial.is_some() && target.is_none() {
            return self.close(now, link, Status::TimedOut, "given up meanwhile");
        }
        if hello.role != Role::Supernode {
            return self.close(now, link, Status::NotAllowed, "the links between supernodes are for supernodes");
        }
        let rules = &credentials.admission;
        if let Some(other) = hello.network.filter(|other| *other != rules.network) {
            let reason = format!("this is network {}, and you are of network {other}", rules.network);
            return self.close(now, link, Status::NotAllowed, &reason);
        }
        self.send(link, Frame::Present(Present { certificate: rules.certificate.clone(), load: own.load }));
    }

    /// What another supernode says: what it wants of this one, if that is not for the backbone itself
    pub(super) fn handle_frame<S: Signer>(
        &mut self,
        now: Instant,
        link: LinkId,
        frame: Frame,
        credentials: &Credentials<S>,
        members: &Members,
        own: Own,
    ) -> Said {
        let Some(known) = self.links.get_mut(&link).filter(|link| !link.is_closing) else { return Said::Nothing };
        let Some(from) = known.supernode else {
            match frame {
                Frame::Present(present) => self.handle_present(now, link, &present, credentials, own),
                Frame::Probe(_) | Frame::ProbeReply(_) => {}
                Frame::Bye(bye) => self.close(now, link, bye.status, "good-bye"),
                _ => self.close(now, link, Status::Malformed, "a supernode shows its certificate first"),
            }
            return Said::Nothing;
        };
        let said = match frame {
            Frame::Beat(beat) => {
                known.load = beat.load;
                known.beat = Some((now, beat));
                self.dials.handle_well(link);
                return Said::Nothing;
            }
            Frame::ProbeReply(ProbeReply { sequence }) => {
                if let Some((_, sent)) = known.probe.take_if(|(number, _)| *number == sequence) {
                    known.rtt = Some(now - sent);
                }
                return Said::Nothing;
            }
            Frame::Probe(_) => return Said::Nothing,
            Frame::Bye(bye) => {
                self.close(now, link, bye.status, "good-bye");
                return Said::Nothing;
            }
            Frame::Reported(reported) => Said::Reported(reported),
            Frame::Claim(claim) => Said::Claim(claim),
            Frame::Claimed(claimed) => Said::Claimed(claimed),
            Frame::Relay(packet) => Said::Relay(packet),
            Frame::Packet(packet) => Said::GivenBack(packet),
            other => {
                let reason = format!("unexpected {:?} between supernodes", other.kind());
                self.close(now, link, Status::Malformed, &reason);
                return Said::Nothing;
            }
        };
        if members.contains(from) {
            return said;
        }
        tracing::debug!(event = "supernode_not_heeded", from = from.0, reason = "the log does not name it");
        Said::Nothing
    }

    /// Judges a certificate that was shown
    fn handle_present<S: Signer>(
        &mut self,
        now: Instant,
        link: LinkId,
        present: &Present,
        credentials: &Credentials<S>,
        own: Own,
    ) {
        let Some(known) = self.links.get_mut(&link) else { return };
        let network = &credentials.admission.network;
        let certificate = match present.certificate.verify(Some(network), &credentials.signer) {
            Ok(certificate) => certificate,
            Err(error) => return self.close(now, link, Status::NotAllowed, &format!("your certificate: {error}")),
        };
        let id = SupernodeId(certificate.serial);
        let is_wanted = !matches!(known.target, Some(Target::Member(wanted)) if wanted != id);
        let refusal = if certificate.supernode != known.key && !mutant::is(Mutant::AnothersCertificate) {
            Some("your certificate is another's")
        } else if id == self.id {
            Some("your certificate has my number")
        } else if !is_wanted {
            Some("another supernode was dialled here")
        } else {
            None
        };
        if let Some(reason) = refusal {
            return self.close(now, link, Status::NotAllowed, reason);
        }
        (known.supernode, known.load) = (Some(id), present.load);
        tracing::info!(event = "supernode_linked", id = id.0, link = link.0, reason = "it has shown its certificate");
        if let Some(older) = self.by_id.insert(id, link) {
            self.close(now, older, Status::Conflict, "a newer link takes its place");
        }
        self.beat_on(now, link, own);
        self.beat_at.get_or_insert(now + BEAT_EVERY);
    }

    /// A dial has made no link
    pub(super) fn handle_dial_failed(
        &mut self,
        now: Instant,
        number: u64,
        status: Status,
        reason: &str,
        rng: &mut ChaCha20Rng,
    ) {
        if let Some(target) = self.dials.handle_failed(now, number, rng) {
            tracing::debug!(event = "supernode_not_reached", ?target, %status, reason);
        }
    }

    /// `link` is gone; whether it was one of these
    pub(super) fn handle_closed(&mut self, now: Instant, link: LinkId, reason: &str, rng: &mut ChaCha20Rng) -> bool {
        let Some(known) = self.links.remove(&link) else { return false };
        self.dials.handle_closed(now, link, rng);
        if let Some(id) = known.supernode.filter(|id| self.by_id.get(id) == Some(&link)) {
            self.by_id.remove(&id);
            self.dials.handle_lost(now, id, rng);
            tracing::info!(event = "supernode_lost", id = id.0, link = link.0, reason);
        }
        true
    }

    /// This process stood still: certificates and beats may be waiting here
    pub(super) fn handle_held_up(&mut self, now: Instant) {
        for link in self.links.values_mut() {
            link.until = now + PRESENT_WAIT;
            link.probe = None;
            if let Some((at, _)) = &mut link.beat {
                *at = now;
            }
        }
    }

    /// Dials, beats, and ends what took too long
    pub(super) fn handle_timeout(&mut self, now: Instant, own: Own, rng: &mut ChaCha20Rng) {
        let by_id = &self.by_id;
        let is_linked = |target| matches!(target, Target::Member(id) if by_id.contains_key(&id));
        let dials = self.dials.take_due(now, rng, is_linked);
        self.outputs.extend(dials.into_iter().map(SupernodeOutput::Dial));
        if self.beat_at.is_some_and(|at| at <= now) {
            for link in self.by_id.values().copied().collect::<Vec<_>>() {
                self.beat_on(now, link, own);
            }
            self.beat_at = (!self.by_id.is_empty()).then(|| now + BEAT_EVERY);
        }
        let late = self.links.iter().filter(|(_, link)| link.is_late(now)).map(|(link, _)| *link);
        for link in late.collect::<Vec<_>>() {
            self.close(now, link, Status::TimedOut, "no certificate within 5 s");
        }
    }

    /// When to call [`Self::handle_timeout`]
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let owed = self.links.values().filter(|link| link.supernode.is_none() && !link.is_closing);
        let owed = owed.map(|link| Some(link.until)).fold(None, earliest);
        earliest(earliest(owed, self.beat_at), self.dials.next_timeout())
    }

    /// The next thing for the shell
    pub(super) fn poll_output(&mut self) -> Option<SupernodeOutput> {
        self.outputs.pop_front()
    }

    pub(super) fn send(&mut self, link: LinkId, frame: Frame) {
        self.outputs.push_back(SupernodeOutput::Send { link, frame });
    }

    pub(super) fn contains(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// Who has shown its certificate on `link`
    pub(super) fn supernode_on(&self, link: LinkId) -> Option<SupernodeId> {
        self.links.get(&link).and_then(|link| link.supernode)
    }

    /// The link to this supernode
    pub(super) fn link_to(&self, id: SupernodeId) -> Option<LinkId> {
        self.by_id.get(&id).copied()
    }

    /// Some supernode that is linked
    pub(super) fn linked(&self) -> Option<SupernodeId> {
        self.by_id.keys().next().copied()
    }

    /// What it has said of itself
    pub(super) fn load_of(&self, id: SupernodeId) -> Option<u16> {
        self.standing_of(id).map(|standing| standing.load)
    }

    /// What is known of this supernode's link, while it has one
    pub(super) fn standing_of(&self, id: SupernodeId) -> Option<Standing> {
        let link = self.links.get(self.by_id.get(&id)?)?;
        let leader = link.beat.as_ref().and_then(|(_, beat)| beat.leader);
        Some(Standing { load: link.load, rtt: link.rtt, leader })
    }

    /// Whether this supernode, or any that it hears and that the log names, has a link with that one
    pub(super) fn is_seen(&self, now: Instant, id: SupernodeId, members: &Members) -> bool {
        if self.by_id.contains_key(&id) {
            return true;
        }
        let heard = self.by_id.iter().filter(|(by, _)| members.contains(**by));
        let mut beats = heard.filter_map(|(_, link)| self.links.get(link)?.beat.as_ref());
        let sees = beats.any(|(at, beat)| now - *at <= BEAT_GOOD_FOR && beat.sees.contains(&id));
        sees && !mutant::is(Mutant::OwnSightDecides)
    }

    /// Whether any that this supernode hears, and that the log names, says that somebody else than this one leads
    pub(super) fn hears_of_leader(&self, now: Instant, members: &Members, own: SupernodeId) -> bool {
        let heard = self.by_id.iter().filter(|(by, _)| members.contains(**by));
        let mut beats = heard.filter_map(|(_, link)| self.links.get(link)?.beat.as_ref());
        beats.any(|(at, beat)| now - *at <= BEAT_GOOD_FOR && beat.leader.is_some_and(|leader| leader != own))
    }

    fn beat_on(&mut self, now: Instant, link: LinkId, Own { load, leader }: Own) {
        let sees = Bounded::truncated(self.by_id.keys().copied());
        self.send(link, Frame::Beat(Beat { load, leader, sees }));
        self.last_sequence = self.last_sequence.checked_add(1).unwrap_or(SEQUENCES);
        let sequence = self.last_sequence;
        if let Some(known) = self.links.get_mut(&link) {
            known.probe = Some((sequence, now));
        }
        self.send(link, Frame::Probe(Probe { sequence }));
    }

    fn close(&mut self, now: Instant, link: LinkId, status: Status, reason: &str) {
        let Some(known) = self.links.get_mut(&link).filter(|link| !link.is_closing) else { return };
        known.is_closing = true;
        let (id, key) = (known.supernode.map(|id| id.0), known.key);
        // Whoever has shown no certificate does not decide how much is logged.
        let count = if id.is_some() { Some(1) } else { self.strangers.count(now) };
        match count {
            Some(count) => {
                tracing::info!(event = "backbone_link_ended", count, link = link.0, id, %key, %status, reason);
            }
            None => tracing::debug!(event = "backbone_link_ended", link = link.0, %key, %status, reason),
        }
        self.outputs.push_back(SupernodeOutput::Close { link, status, reason: Reason::truncated(reason) });
    }
}

impl Link {
    fn is_late(&self, now: Instant) -> bool {
        self.supernode.is_none() && !self.is_closing && self.until <= now
    }
}
