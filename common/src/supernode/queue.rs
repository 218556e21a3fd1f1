//! What waits for the log, and what of it is given next.
//!
//! | lane | what | in which order | bound |
//! |---|---|---|---|
//! | operators | what an operator asks for | as they came | the control socket's, of who asks at once |
//! | ends | ends of sessions and pairs, suspicions, logouts, reports, moves | as they came | one for each session and pair; [`WAITING_MAX`] reports and moves |
//! | those who come back | logins of keys that have a session that lasts | by their deadlines | [`WAITING_MAX`] logins … |
//! | newcomers | all other logins | by their deadlines | … of both kinds |
//!
//! *Operators* are first: they are few, and somebody sits there. Of the rest of a group three quarters are for *ends*
//! ([`ENDS_PER_LOGIN`]) and one for logins, and what one side has no use for the other has. Each login is followed by an end or two, some
//! day: with less than that the ring would fill with peers that are gone; and however many sessions end at once, somebody
//! can come in. Of logins *those who come back* are first, always: they were promised a lease, others have them in their
//! tables, and they are no more than there are sessions. In its group each stands as it came.
//!
//! A login has a deadline, by which its peer must have its answer, or has given it up. Whoever waits for longer, or whose
//! link is over, is not given to the log: it would be a place on the ring for nobody, paid for with a commit that somebody
//! else could have had.

use std::collections::{BTreeMap, VecDeque};

use super::proposals::Then;
use crate::directory::Command;
use crate::link::LinkId;
use crate::mutant::{self, Mutant};
use crate::time::{Instant, earliest};

/// Logins that wait for the log at most, and likewise reports and moves: a second of what one disk does; the next one is
/// refused
pub const WAITING_MAX: usize = 4_096;

/// So many ends are taken for each login, if there are as many
pub(super) const ENDS_PER_LOGIN: usize = 3;

/// As many wait as may
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// A command that waits
pub(super) struct Waiting {
    pub(super) command: Command,
    pub(super) then: Then,
    /// The how-manieth it is
    arrival: u64,
}

/// Which logins go first
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// Its key has a session that lasts
    Back,
    New,
}

/// Where a login stands
type Place = (Instant, u64);

/// The lanes
#[derive(Default)]
pub(super) struct Queue {
    operators: VecDeque<Waiting>,
    ends: VecDeque<Waiting>,
    back: BTreeMap<Place, Waiting>,
    new: BTreeMap<Place, Waiting>,
    /// Where the login of each link stands
    links: BTreeMap<LinkId, (Lane, Place)>,
    arrivals: u64,
}

impl Queue {
    fn waiting(&mut self, command: Command, then: Then) -> Waiting {
        self.arrivals += 1;
        Waiting { command, then, arrival: self.arrivals }
    }

    /// What is no login
    pub(super) fn push(&mut self, command: Command, then: Then) {
        let waiting = self.waiting(command, then);
        let lane = if matches!(then, Then::Answer(_)) { &mut self.operators } else { &mut self.ends };
        lane.push_back(waiting);
    }

    /// What is no login, and can be made at will by others
    pub(super) fn push_bounded(&mut self, command: Command, then: Then) -> Result<(), Full> {
        if self.ends.len() >= WAITING_MAX {
            return Err(Full);
        }
        self.push(command, then);
        Ok(())
    }

    /// The login on `link`, which must be answered `until` then; one that waits for the same link makes room
    pub(super) fn push_login(
        &mut self,
        command: Command,
        lane: Lane,
        link: LinkId,
        until: Instant,
    ) -> Result<(), Full> {
        self.withdraw_login(link);
        if self.logins() >= WAITING_MAX {
            return Err(Full);
        }
        let waiting = self.waiting(command, Then::Admit { link, until });
        let place = (until, waiting.arrival);
        self.links.insert(link, (lane, place));
        self.lane(lane).insert(place, waiting);
        Ok(())
    }

    fn lane(&mut self, lane: Lane) -> &mut BTreeMap<Place, Waiting> {
        match lane {
            Lane::Back => &mut self.back,
            Lane::New => &mut self.new,
        }
    }

    /// Nobody waits for the login on `link` any more
    pub(super) fn withdraw_login(&mut self, link: LinkId) {
        if mutant::is(Mutant::LoginDeadlineIgnored) {
            return;
        }
        if let Some((lane, place)) = self.links.remove(&link) {
            self.lane(lane).remove(&place);
        }
    }

    /// Takes back ends
    pub(super) fn retain_ends(&mut self, keep: impl Fn(&Command) -> bool) {
        self.ends.retain(|waiting| keep(&waiting.command));
    }

    /// The next login that cannot be answered in time, if its group is there only at `done`; its link
    pub(super) fn take_late(&mut self, done: Instant) -> Option<LinkId> {
        if mutant::is(Mutant::LoginDeadlineIgnored) {
            return None;
        }
        for lane in [Lane::Back, Lane::New] {
            let first = self.lane(lane).first_entry().filter(|first| first.key().0 <= done);
            if let Some(Then::Admit { link, .. }) = first.map(|first| first.remove().then) {
                self.links.remove(&link);
                return Some(link);
            }
        }
        None
    }

    /// The first deadline of all
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let first = |lane: &BTreeMap<Place, Waiting>| lane.first_key_value().map(|((until, _), _)| *until);
        earliest(first(&self.back), first(&self.new)).filter(|_| !mutant::is(Mutant::LoginDeadlineIgnored))
    }

    /// How many logins go before one that comes now
    pub(super) fn logins_ahead(&self, lane: Lane) -> usize {
        if lane == Lane::Back { self.back.len() } else { self.logins() }
    }

    /// How many of the others that wait now go before a login behind so many logins
    pub(super) fn others_ahead(&self, logins: usize) -> usize {
        self.operators.len() + self.ends.len().min((logins + 1) * ENDS_PER_LOGIN)
    }

    pub(super) fn logins(&self) -> usize {
        self.back.len() + self.new.len()
    }

    pub(super) fn len(&self) -> usize {
        self.operators.len() + self.ends.len() + self.logins()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything
    pub(super) fn commands(&self) -> impl Iterator<Item = &Command> {
        let logins = self.back.values().chain(self.new.values());
        self.operators.iter().chain(&self.ends).chain(logins).map(|waiting| &waiting.command)
    }

    /// The next group, of so many at most; logins that nobody `awaits` any more are left out, and are gone
    pub(super) fn take(&mut self, most: usize, awaits: impl Fn(LinkId) -> bool) -> Vec<Waiting> {
        let is_late = mutant::is(Mutant::LoginsKeepOthersWaiting);
        let left = most.saturating_sub(self.logins());
        let operators = if is_late { left } else { most };
        let mut group: Vec<Waiting> = take_of(&mut self.operators, operators);
        let share = if is_late { 0 } else { (most - group.len()) * ENDS_PER_LOGIN / (ENDS_PER_LOGIN + 1) };
        group.append(&mut take_of(&mut self.ends, share.max(left.saturating_sub(group.len()))));
        while group.len() < most
            && let Some(login) = self.take_login()
        {
            if let Then::Admit { link, .. } = login.then
                && (awaits(link) || mutant::is(Mutant::LoginDeadlineIgnored))
            {
                group.push(login);
            }
        }
        let more = most - group.len();
        group.append(&mut take_of(&mut self.ends, more));
        group.sort_by_key(|waiting| waiting.arrival);
        group
    }

    fn take_login(&mut self) -> Option<Waiting> {
        let lanes = if mutant::is(Mutant::NewcomersFirst) { [Lane::New, Lane::Back] } else { [Lane::Back, Lane::New] };
        let (_, login) = lanes.into_iter().find_map(|lane| self.lane(lane).pop_first())?;
        if let Then::Admit { link, .. } = login.then {
            self.links.remove(&link);
        }
        Some(login)
    }
}

/// The first of a lane, so many at most
fn take_of(lane: &mut VecDeque<Waiting>, most: usize) -> Vec<Waiting> {
    let most = most.min(lane.len());
    lane.drain(..most).collect()
}
