//! The in-box's policy: which messages are new, which were kept before, and for which there is no room.
//!
//! Whoever owns the disk asks for a [`Plan`], stores what is new in it, in one transaction, and says so when that is
//! durable ([`Inbox::handle_stored`]): only then may receipts go. A plan whose messages could not be stored is dropped,
//! and nothing has changed: they are new when they are sent again.
//!
//! A sender's messages are kept in its order. Each names the one before it that had no fate when it was sent; while that is not
//! kept here, it comes too early ([`Kept::TooEarly`]), and its sender sends both again, in their order. What was kept is
//! remembered for that only as long as the process runs: after a start senders begin anew with a message that names none.
//!
//! The policy stands where the disk is written and not where packets come in, as only there is it known in which order
//! messages become durable, and what was read meanwhile.

use std::collections::BTreeMap;

use super::seen::{Check, Fingerprint, Seen, SenderTag};
use crate::mutant::{self, Mutant};
use crate::status::Status;

/// What a message is counted as beyond its bytes: ids, name, time and its share of the index
pub const OVERHEAD_BYTES: u64 = 256;

/// Senders whose last message is remembered: as many as there may be connections. At the bound the one who sent the longest
/// ago is forgotten, and sends again what it has under way
const SENDERS_MAX: usize = 1_024;

/// Where a message stands among those of its sender for this receiver
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Place {
    /// A sender's later messages have larger ones, and it gives none twice; 0: in no order
    pub sequence: u64,
    /// The sequence of the one before it that had no fate when this was sent; 0: none
    pub after: u64,
}

/// A message for the in-box, as far as the policy is concerned
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Of the sender's key and its id for the message
    pub fingerprint: Fingerprint,
    pub place: Place,
    /// The length of what it says
    pub bytes: u64,
}

impl Offer {
    const fn cost(&self) -> u64 {
        self.bytes + OVERHEAD_BYTES
    }
}

/// What becomes of a message that was offered
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is kept, once it is on disk
    New {
        /// Its number; later messages have larger ones, and none is given twice
        sequence: u64,
    },
    /// It was kept before; receipt it again
    Duplicate,
    /// There is no room, or its sender has its share of it, until others are read; send it again later
    Full,
    /// It would not even fit into an empty in-box
    TooLarge,
    /// The one before it is not kept; send both again, in their order
    TooEarly,
}

impl Kept {
    /// The status of the receipt
    pub const fn status(self) -> Status {
        match self {
            Self::New { .. } | Self::Duplicate => Status::Delivered,
            Self::Full => Status::SlowDown,
            Self::TooLarge => Status::TooLarge,
            Self::TooEarly => Status::TooEarly,
        }
    }

    /// What the receipt says, for people
    pub const fn reason(self) -> &'static str {
        match self {
            Self::New { .. } | Self::Duplicate => "",
            Self::Full => "the receiver's in-box has no more room for you: its owner has to read some messages first",
            Self::TooLarge => "larger than the receiver's whole in-box",
            Self::TooEarly => "the message before it has not come yet",
        }
    }
}

/// Why a message that is to be kept could not be stored
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStored {
    /// The disk or its quota is full
    DiskFull,
    DiskFailed,
}

impl NotStored {
    /// The status of the receipt
    pub const fn status(self) -> Status {
        Status::Failed
    }

    /// What the receipt says of a disk that is not its reader's own
    pub const fn reason(self) -> &'static str {
        match self {
            Self::DiskFull => "the receiver's disk is full",
            Self::DiskFailed => "the receiver's in-box has failed",
        }
    }
}

/// How full the in-box is
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Totals {
    /// Messages not yet read
    pub messages: u64,
    /// What they are counted as, in bytes, [`OVERHEAD_BYTES`] each included
    pub bytes: u64,
    /// The largest sequence given so far; 0: none
    pub last: u64,
}

impl Totals {
    /// Counts a message that is there, whose content has so many bytes
    pub const fn add(&mut self, bytes: u64) {
        self.messages += 1;
        self.bytes += bytes + OVERHEAD_BYTES;
    }
}

/// What is to become of some messages that were offered together
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    kept: Vec<Kept>,
    /// Each with its sequence
    new: Vec<(u64, Fingerprint)>,
    totals: Totals,
    /// What senders have with it, as far as that changes
    shares: BTreeMap<SenderTag, u64>,
    /// Their last messages, as far as these change
    last: BTreeMap<SenderTag, u64>,
}

impl Plan {
    /// What becomes of each, in the order in which they were offered
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// Whether nothing is to be stored
    pub const fn is_empty(&self) -> bool {
        self.new.is_empty()
    }
}

/// What is in the in-box, as far as the policy is concerned: at most so many bytes, overheads included
///
/// A sender may have as much as it leaves free. So one alone has half of it at most, a second one half of the rest, and
/// whoever comes next still finds room, however much the others send.
#[derive(Clone, Debug)]
pub struct Inbox {
    seen: Seen,
    totals: Totals,
    /// Bytes that each sender has in it, overheads included: at most as many senders as there are messages
    shares: BTreeMap<SenderTag, u64>,
    bytes_max: u64,
    /// Sequences that the window has forgotten, and the disk may forget
    forgotten: Vec<u64>,
    last: LastOf,
}

/// The largest [`Place::sequence`] that is kept of each sender, since the start of the process
#[derive(Clone, Debug, Default)]
struct LastOf {
    /// Each with when it was told last, in the order of telling
    senders: BTreeMap<SenderTag, (u64, u64)>,
    order: BTreeMap<u64, SenderTag>,
    told: u64,
}

impl LastOf {
    fn get(&self, sender: SenderTag) -> u64 {
        self.senders.get(&sender).map_or(0, |(sequence, _)| *sequence)
    }

    fn tell(&mut self, sender: SenderTag, sequence: u64) {
        self.told += 1;
        let entry = self.senders.entry(sender).or_default();
        self.order.remove(&entry.1);
        *entry = (sequence.max(entry.0), self.told);
        self.order.insert(self.told, sender);
        if self.senders.len() > SENDERS_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.senders.remove(&oldest);
        }
    }
}

impl Inbox {
    /// An empty in-box
    pub fn new(bytes_max: u64) -> Self {
        let (seen, totals, shares, forgotten, last) = Default::default();
        Self { seen, totals, shares, bytes_max, forgotten, last }
    }

    /// What the disk holds: the sequences and fingerprints of messages that were kept, the oldest first, and the
    /// senders and lengths of those that are there
    pub fn restore(
        bytes_max: u64,
        seen: impl IntoIterator<Item = (u64, Fingerprint)>,
        held: impl IntoIterator<Item = (SenderTag, u64)>,
    ) -> Self {
        let mut inbox = Self::new(bytes_max);
        let mut last = 0;
        (inbox.seen, inbox.forgotten) = Seen::restore(seen.into_iter().inspect(|(sequence, _)| last = *sequence));
        inbox.totals.last = last;
        for (sender, bytes) in held {
            inbox.totals.add(bytes);
            *inbox.shares.entry(sender).or_default() += bytes + OVERHEAD_BYTES;
        }
        inbox
    }

    /// How full it is
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// Messages that were kept, read or not: the same that the disk holds
    pub const fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Decides on each message, as if those before it were kept already; nothing changes
    pub fn plan(&self, offers: impl IntoIterator<Item = Offer>) -> Plan {
        let (kept, new, shares, last) = Default::default();
        let mut plan = Plan { kept, new, totals: self.totals, shares, last };
        for offer in offers {
            let kept = self.plan_one(&offer, &mut plan);
            plan.kept.push(kept);
        }
        plan
    }

    /// Sequences of the window that are to go from the disk with the next messages that are stored
    pub fn forgotten(&self) -> &[u64] {
        &self.forgotten
    }

    /// The new messages of a plan, made since the last change, are durable, and what was [`Inbox::forgotten`] is gone from
    /// the disk; returns what became of all in the plan
    pub fn handle_stored(&mut self, plan: Plan) -> Vec<Kept> {
        // Without anything new nothing was written, and what is to go from the disk is there still.
        if !plan.is_empty() {
            let new = plan.new.into_iter();
            self.forgotten =
                new.filter_map(|(sequence, fingerprint)| self.seen.insert(sequence, fingerprint)).collect();
        }
        self.totals = plan.totals;
        self.shares.extend(plan.shares);
        plan.last.into_iter().for_each(|(sender, sequence)| self.last.tell(sender, sequence));
        plan.kept
    }

    /// Messages were read and are gone, each of a sender and with so many bytes of content
    pub fn handle_removed(&mut self, removed: impl IntoIterator<Item = (SenderTag, u64)>) {
        for (sender, bytes) in removed {
            let cost = bytes + OVERHEAD_BYTES;
            self.totals.messages = self.totals.messages.saturating_sub(1);
            self.totals.bytes = self.totals.bytes.saturating_sub(cost);
            if let Some(share) = self.shares.get_mut(&sender) {
                *share = share.saturating_sub(cost);
                if *share == 0 {
                    self.shares.remove(&sender);
                }
            }
        }
    }

    fn plan_one(&self, offer: &Offer, plan: &mut Plan) -> Kept {
        let (sender, Place { sequence, after }) = (offer.fingerprint.sender(), offer.place);
        let is_planned = plan.new.iter().any(|(_, new)| *new == offer.fingerprint);
        let last = plan.last.get(&sender).copied().unwrap_or_else(|| self.last.get(sender));
        if self.seen.check(&offer.fingerprint) == Check::Duplicate || is_planned {
            plan.last.insert(sender, last.max(sequence));
            return Kept::Duplicate;
        }
        if after > last && !mutant::is(Mutant::OrderIgnored) {
            return Kept::TooEarly;
        }
        if offer.cost() > self.bytes_max {
            return Kept::TooLarge;
        }
        let held = plan.shares.get(&sender).or_else(|| self.shares.get(&sender)).copied().unwrap_or_default();
        if plan.totals.bytes + held + offer.cost() > self.bytes_max {
            return Kept::Full;
        }
        plan.shares.insert(sender, held + offer.cost());
        plan.last.insert(sender, last.max(sequence));
        plan.totals.add(offer.bytes);
        plan.totals.last += 1;
        plan.new.push((plan.totals.last, offer.fingerprint));
        Kept::New { sequence: plan.totals.last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: u64 = 10_000;

    fn offer(n: u8, bytes: u64) -> Offer {
        Offer { fingerprint: Fingerprint([n; 16]), place: Place::default(), bytes }
    }

    fn empty() -> Inbox {
        Inbox::new(ROOM)
    }

    fn keep(inbox: &mut Inbox, offers: &[Offer]) -> Vec<Kept> {
        let plan = inbox.plan(offers.iter().copied());
        inbox.handle_stored(plan)
    }

    #[test]
    fn message_is_kept_once_and_receipted_each_time() {
        let mut inbox = empty();
        let kept = keep(&mut inbox, &[offer(1, 1), offer(1, 1), offer(2, 1)]);
        assert_eq!(kept, [Kept::New { sequence: 1 }, Kept::Duplicate, Kept::New { sequence: 2 }]);
        assert!(kept.iter().all(|kept| kept.status() == Status::Delivered && kept.reason().is_empty()));
        inbox.handle_removed([(offer(1, 1).fingerprint.sender(), 1), (offer(2, 1).fingerprint.sender(), 1)]);
        let again = inbox.plan([offer(1, 1), offer(2, 1)]);
        assert!(again.is_empty() && again.kept() == [Kept::Duplicate; 2], "read or not");
        assert_eq!(inbox.totals(), Totals { messages: 0, bytes: 0, last: 2 });
    }

    #[test]
    fn plan_that_was_not_stored_changes_nothing() {
        let inbox = empty();
        let plan = inbox.plan([offer(1, 1)]);
        assert!(!plan.is_empty());
        drop(plan);
        assert_eq!(inbox.plan([offer(1, 1)]).kept(), [Kept::New { sequence: 1 }], "the resend is new");
    }

    #[test]
    fn full_in_box_takes_what_fits_and_more_once_something_is_read() {
        let mut inbox = empty();
        let kept = keep(&mut inbox, &[offer(1, 4_000), offer(2, 4_000), offer(3, 4_000), offer(4, 100)]);
        assert_eq!((kept[2], kept[3]), (Kept::Full, Kept::New { sequence: 3 }), "a small one still fits");
        assert_eq!((Kept::Full.status(), Kept::Full.reason().is_empty()), (Status::SlowDown, false));
        inbox.handle_removed([(offer(1, 0).fingerprint.sender(), 4_000)]);
        assert_eq!(keep(&mut inbox, &[offer(3, 4_000)]), [Kept::New { sequence: 4 }]);
        assert!(inbox.totals().bytes <= ROOM);
    }

    #[test]
    fn one_sender_never_fills_the_in_box_and_has_its_share_again_once_it_is_read() {
        let of = |sender: u8, n: u8| {
            let mut fingerprint = [sender; 16];
            fingerprint[15] = n;
            Offer { fingerprint: Fingerprint(fingerprint), place: Place::default(), bytes: 744 }
        };
        let mut inbox = empty();
        let kept = keep(&mut inbox, &(0..10).map(|n| of(1, n)).collect::<Vec<_>>());
        let taken = |kept: &[Kept]| kept.iter().filter(|kept| matches!(kept, Kept::New { .. })).count();
        assert_eq!((taken(&kept), kept[5]), (5, Kept::Full), "half of ten thousand bytes");
        let kept = keep(&mut inbox, &(0..10).map(|n| of(2, n)).collect::<Vec<_>>());
        assert_eq!(taken(&kept), 3, "half of what is left, and the message that is over it");
        assert_eq!(taken(&keep(&mut inbox, &[of(3, 0)])), 1, "and there is room for a third");
        inbox.handle_removed((0..5).map(|_| (of(1, 0).fingerprint.sender(), 744)));
        assert_eq!(taken(&keep(&mut inbox, &[of(1, 11)])), 1);
        let held = [(1, 1), (2, 3), (3, 1)].map(|(sender, n)| (of(sender, 0).fingerprint.sender(), n * 1_000));
        assert_eq!(inbox.shares, BTreeMap::from(held));
        inbox.handle_removed([(of(3, 0).fingerprint.sender(), 744)]);
        assert_eq!(inbox.shares.len(), 2, "whoever has nothing there is forgotten");
    }

    #[test]
    fn restored_in_box_counts_what_the_disk_holds() {
        let sender = SenderTag(7);
        let seen = [(3, Fingerprint([1; 16])), (9, Fingerprint([2; 16]))];
        let inbox = Inbox::restore(ROOM, seen, [(sender, 4_000), (sender, 0)]);
        assert_eq!(inbox.totals(), Totals { messages: 2, bytes: 4_000 + 2 * OVERHEAD_BYTES, last: 9 });
        assert_eq!(inbox.shares, BTreeMap::from([(sender, 4_000 + 2 * OVERHEAD_BYTES)]));
        assert_eq!(inbox.plan([offer(1, 1)]).kept(), [Kept::Duplicate]);
    }

    #[test]
    fn message_that_can_never_fit_is_413() {
        let room = ROOM - OVERHEAD_BYTES;
        let kept = keep(&mut empty(), &[offer(1, room + 1), offer(2, room)]);
        assert_eq!((kept[0], kept[0].status()), (Kept::TooLarge, Status::TooLarge));
        assert_eq!(kept[1], Kept::New { sequence: 1 });
    }

    /// Of one sender: the message with this number, behind that one
    fn placed(sender: u8, sequence: u64, after: u64, bytes: u64) -> Offer {
        let mut fingerprint = [sender; 16];
        fingerprint[15] = sequence as u8;
        Offer { fingerprint: Fingerprint(fingerprint), place: Place { sequence, after }, bytes }
    }

    #[test]
    fn message_is_kept_only_behind_the_one_before_it() {
        let mut inbox = empty();
        let new = |sequence| Kept::New { sequence };
        let kept = keep(&mut inbox, &[placed(1, 2, 1, 1), placed(1, 1, 0, 1), placed(1, 2, 1, 1), placed(2, 8, 7, 1)]);
        assert_eq!(kept, [Kept::TooEarly, new(1), new(2), Kept::TooEarly], "each sender by itself");
        assert_eq!(keep(&mut inbox, &[placed(1, 5, 2, 1)]), [new(3)], "what had its fate is not waited for");
        // What finds no room holds up those behind it, however short they are.
        let kept = keep(&mut inbox, &[placed(1, 6, 5, 9_000), placed(1, 7, 6, 1)]);
        assert_eq!(kept, [Kept::Full, Kept::TooEarly]);
    }

    #[test]
    fn duplicate_stands_for_the_message_that_was_kept_before_a_start() {
        let seen = [(1, placed(1, 1, 0, 1).fingerprint)];
        let mut inbox = Inbox::restore(ROOM, seen, []);
        assert_eq!(keep(&mut inbox, &[placed(1, 2, 1, 1)]), [Kept::TooEarly], "the start has forgotten it");
        let kept = keep(&mut inbox, &[placed(1, 1, 0, 1), placed(1, 2, 1, 1)]);
        assert_eq!(kept, [Kept::Duplicate, Kept::New { sequence: 2 }]);
    }

    #[test]
    fn sender_past_the_bound_sends_again_and_nothing_grows() {
        let mut last = LastOf::default();
        for sender in 0..=SENDERS_MAX as u64 {
            last.tell(SenderTag(sender), 7);
            last.tell(SenderTag(1), 9);
        }
        assert_eq!((last.senders.len(), last.order.len()), (SENDERS_MAX, SENDERS_MAX));
        assert_eq!([0, 1, 2].map(|sender| last.get(SenderTag(sender))), [0, 9, 7], "the one who sent the longest ago");
    }

    #[test]
    fn what_was_not_stored_is_500_with_words_for_the_sender() {
        for reason in [NotStored::DiskFull, NotStored::DiskFailed] {
            assert!(reason.status() == Status::Failed && !reason.reason().is_empty());
        }
    }
}
