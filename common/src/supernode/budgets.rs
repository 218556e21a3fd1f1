//! How much one key, one network of addresses and one invite may ask for.
//!
//! Whoever means harm has as many keys as it likes, fewer networks of addresses, and hardly an invite. So each is counted by
//! itself: new places on the ring by key, new names and logins by network (IPv6 by /48, /56 and /64, IPv4 by /24 and address),
//! and newcomers by the invite that they come by, as one that many may use may have got into wrong hands. An address is drawn
//! after the key was seen, so that nobody chooses a place; but whoever logs out and in again is given another one, and could go
//! on until it likes it. Whoever comes back while its lease lasts has the place that it had, which costs nothing.
//!
//! The counts are this supernode's own, and begin anew with its process. This machine's own addresses are exempt, as in
//! [`Limits::links_per_ip_max`](crate::link::limits::Limits::links_per_ip_max).

use std::net::IpAddr;
use std::time::Duration;

use crate::id::{InviteId, Key};
use crate::link::crowd::LEVELS;
use crate::link::limits::counted;
use crate::mutant::{self, Mutant};
use crate::rate::{Bucket, Buckets, Shortage};
use crate::time::Instant;

/// New places that a key gets at once: more than anybody logs out and in again by hand, or by a script that is tried out
pub const PLACES_BURST: u32 = 16;
/// One more every so often: a peer that is restarted with a good-bye over and over is let in all the same, and a thousand
/// places take hours
pub const PLACE_EVERY: Duration = Duration::from_secs(15);
/// New names that one household gets at once, an IPv4 address or an IPv6 /64: as many peers as may be linked from one,
/// [`Limits::links_per_ip_max`](crate::link::limits::Limits::links_per_ip_max), so that an office behind one NAT can begin
pub const NAMES_BURST: u32 = 256;
/// One more every so often
pub const NAME_EVERY: Duration = Duration::from_secs(60);
/// Logins of one household at once: as many peers as may be linked from one, [`Limits::links_per_ip_max`], come back four
/// times over
///
/// [`Limits::links_per_ip_max`]: crate::link::limits::Limits::links_per_ip_max
pub const LOGINS_BURST: u32 = 1_024;
/// One more every so often
pub const LOGIN_EVERY: Duration = Duration::from_millis(100);
/// Newcomers that come by one invite at once: a class that types the same line
pub const INVITED_BURST: u32 = 64;
/// One more every so often: there is time to see in `status` that an invite is with strangers
pub const INVITED_EVERY: Duration = Duration::from_secs(1);
/// Owners of each budget that are counted; at the bound those that have their whole budget again are forgotten, and if there
/// is none of them the next one is told to come again
pub const OWNERS_MAX: usize = 1 << 16;

/// Whose share a network has, in households, from the widest to the household itself: as for links, but that an IPv4 /24 is
/// bounded, too, as names stay
const SHARES_V6: [u32; LEVELS as usize] = [4, 2, 1];
const SHARES_V4: [u32; LEVELS as usize] = [8, 1, 1];

/// What is counted
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetKind {
    /// New places on the ring, by key
    Places,
    /// New names, by network
    Names,
    /// Logins, by network
    Logins,
    /// Newcomers, by invite
    Invited,
}

impl BudgetKind {
    /// What whoever has used it up is told
    const fn reason(self) -> &'static str {
        match self {
            Self::Places => "this key has had many places lately: stay logged in, or come again later",
            Self::Names => "many new names have come from this network lately: come again later",
            Self::Logins => "many logins have come from this network lately: come again later",
            Self::Invited => "many have come by this invite lately: come again later",
        }
    }

    /// The mistake of not having it
    const fn forgotten(self) -> Mutant {
        match self {
            Self::Places => Mutant::PlacesUnbounded,
            Self::Names => Mutant::NamesUnbounded,
            Self::Logins => Mutant::LoginsUnbounded,
            Self::Invited => Mutant::InvitedUnbounded,
        }
    }
}

/// One budget, for people
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub kind: BudgetKind,
    /// How many at once
    pub burst: u32,
    /// One more every so often
    pub every: Duration,
    /// Keys, networks or invites that have not all of it at present
    pub owners: usize,
    /// What whoever has least of it has left; a wide network may have more than `burst`
    pub least_left: u32,
    /// Logins that were refused for it since this process began
    pub refused: u64,
}

/// It is used up
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UsedUp {
    pub(super) reason: &'static str,
    /// Until there is some of it
    pub(super) wait: Duration,
}

/// What a login asks for that nobody has yet
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// A place on the ring for this key
    pub(super) place: Option<Key>,
    /// A name, for somebody at this address …
    pub(super) name: bool,
    pub(super) from: Option<IpAddr>,
    /// … and by this invite, if it is by one
    pub(super) invite: Option<InviteId>,
}

impl Wanted {
    /// Who pays for it: keys, networks and invites, each with its shares
    #[expect(clippy::type_complexity, reason = "a name for it would be used nowhere else")]
    fn owners(&self) -> (Vec<(Key, u32)>, Vec<((u8, u128), u32)>, Vec<(InviteId, u32)>) {
        let Self { place, name, from, invite } = *self;
        let networks = if name { networks_of(from) } else { Vec::new() };
        let invites = invite.filter(|_| name);
        (place.map(|key| (key, 1)).into_iter().collect(), networks, invites.map(|id| (id, 1)).into_iter().collect())
    }
}

/// One kind of budget, with who has taken from it lately
#[derive(Debug)]
struct Counted<K> {
    kind: BudgetKind,
    whole: Bucket,
    taken: Buckets<K>,
    refused: u64,
}

impl<K: Ord> Counted<K> {
    const fn new(kind: BudgetKind, burst: u32, every: Duration) -> Self {
        let whole = Bucket::new(burst, every);
        Self { kind, whole, taken: Buckets::new(OWNERS_MAX, whole), refused: 0 }
    }

    /// Whether each of these has some left, of a budget so many times as large
    fn check(&mut self, now: Instant, owners: &[(K, u32)]) -> Result<(), UsedUp> {
        if mutant::is(self.kind.forgotten()) {
            return Ok(());
        }
        for (owner, shares) in owners {
            let wait = match self.taken.check_shares(now, owner, *shares) {
                Ok(()) => continue,
                Err(Shortage::Empty(wait)) => wait,
                Err(Shortage::Crowded) => self.whole.interval(),
            };
            self.refused += 1;
            return Err(UsedUp { reason: self.kind.reason(), wait });
        }
        Ok(())
    }

    fn take(&mut self, now: Instant, owners: impl IntoIterator<Item = (K, u32)>) {
        for (owner, shares) in owners {
            // It was checked.
            let _ = self.taken.take_shares(now, owner, shares);
        }
    }

    fn give_back(&mut self, owners: &[(K, u32)]) {
        owners.iter().for_each(|(owner, _)| self.taken.give_back(owner));
    }

    fn show(&self, now: Instant) -> Budget {
        let (burst, every) = (self.whole.burst(), self.whole.interval());
        let (owners, least_left) = self.taken.least_left(now).unwrap_or((0, burst));
        Budget { kind: self.kind, burst, every, owners, least_left, refused: self.refused }
    }
}

/// All budgets
#[derive(Debug)]
pub(super) struct Budgets {
    places: Counted<Key>,
    names: Counted<(u8, u128)>,
    logins: Counted<(u8, u128)>,
    invited: Counted<InviteId>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            places: Counted::new(BudgetKind::Places, PLACES_BURST, PLACE_EVERY),
            names: Counted::new(BudgetKind::Names, NAMES_BURST, NAME_EVERY),
            logins: Counted::new(BudgetKind::Logins, LOGINS_BURST, LOGIN_EVERY),
            invited: Counted::new(BudgetKind::Invited, INVITED_BURST, INVITED_EVERY),
        }
    }
}

impl Budgets {
    /// Somebody at this address logs in
    pub(super) fn take_login(&mut self, now: Instant, from: Option<IpAddr>) -> Result<(), UsedUp> {
        let networks = networks_of(from);
        self.logins.check(now, &networks)?;
        self.logins.take(now, networks);
        Ok(())
    }

    /// A login is about to be proposed that asks for this: all of it, or nothing
    pub(super) fn take(&mut self, now: Instant, wanted: &Wanted) -> Result<(), UsedUp> {
        let (places, networks, invites) = wanted.owners();
        self.places.check(now, &places)?;
        self.names.check(now, &networks)?;
        self.invited.check(now, &invites)?;
        self.places.take(now, places);
        self.names.take(now, networks);
        self.invited.take(now, invites);
        Ok(())
    }

    /// The log has lost a login that asked for this: whoever comes again and again while nobody leads must not have used up its
    /// budget when somebody does
    pub(super) fn give_back(&mut self, wanted: &Wanted) {
        let (places, networks, invites) = wanted.owners();
        self.places.give_back(&places);
        self.names.give_back(&networks);
        self.invited.give_back(&invites);
    }

    /// For people
    pub(super) fn show(&self, now: Instant) -> [Budget; 4] {
        [self.places.show(now), self.names.show(now), self.logins.show(now), self.invited.show(now)]
    }
}

/// The networks that this address is in, each with the households' shares that it has; none of this machine's own
fn networks_of(ip: Option<IpAddr>) -> Vec<((u8, u128), u32)> {
    let Some(household) = counted(ip) else { return Vec::new() };
    let shares = if household.is_v4() { SHARES_V4 } else { SHARES_V6 };
    let mut networks: Vec<((u8, u128), u32)> = household.networks().into_iter().zip(shares).collect();
    // An IPv4 address is its own network at two levels.
    networks.dedup_by_key(|((_, network), shares)| (*network, *shares));
    networks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at_ms;

    fn key(number: u32) -> Key {
        let mut key = Key([0; 32]);
        key.0[..4].copy_from_slice(&number.to_le_bytes());
        key
    }

    fn place(number: u32) -> Wanted {
        Wanted { place: Some(key(number)), name: false, from: None, invite: None }
    }

    fn name(from: &str) -> Wanted {
        Wanted { place: None, name: true, from: Some(from.parse().unwrap()), invite: None }
    }

    fn wait(taken: Result<(), UsedUp>) -> Duration {
        taken.unwrap_err().wait
    }

    #[test]
    fn keys_are_forgotten_when_they_have_their_budget_again_and_bounded_until_then() {
        let mut budgets = Budgets::default();
        (0..OWNERS_MAX as u32).for_each(|number| budgets.take(at_ms(0), &place(number)).unwrap());
        assert_eq!(wait(budgets.take(at_ms(1), &place(u32::MAX))), PLACE_EVERY);
        assert_eq!(budgets.take(at_ms(1), &place(1)), Ok(()), "one that is counted goes on");
        let [places, ..] = budgets.show(at_ms(1));
        assert_eq!((places.owners, places.least_left, places.refused), (OWNERS_MAX, PLACES_BURST - 2, 1));
        let later = at_ms(1) + PLACE_EVERY * 2;
        assert_eq!(budgets.take(later, &place(u32::MAX)), Ok(()));
        assert_eq!(budgets.show(later)[0].owners, 1);
    }

    #[test]
    fn household_has_its_names_and_a_wider_network_some_households() {
        let mut budgets = Budgets::default();
        let mut take = |from: &str, times: u32| {
            (0..times).map(|_| budgets.take(at_ms(0), &name(from)).map_err(|used_up| used_up.wait)).collect::<Vec<_>>()
        };
        let all = |times: u32| vec![Ok(()); times as usize];
        assert_eq!(take("192.0.2.1", NAMES_BURST), all(NAMES_BURST));
        assert_eq!(take("::ffff:192.0.2.1", 1), [Err(NAME_EVERY)]);
        (2..9).for_each(|host| assert_eq!(take(&format!("192.0.2.{host}"), NAMES_BURST), all(NAMES_BURST)));
        assert_eq!(take("192.0.2.9", 1), [Err(NAME_EVERY / 8)], "the /24 is used up");
        assert_eq!(take("192.0.3.1", 1), all(1));
        for subnet in 0..4 {
            let from = format!("2001:db8:0:{subnet}00::1");
            assert_eq!(take(&from, NAMES_BURST), all(NAMES_BURST), "{from}");
            assert_eq!(take(&from, 1), [Err(if subnet == 3 { NAME_EVERY / 4 } else { NAME_EVERY })]);
        }
        assert_eq!(take("2001:db8:0:ff00::1", 1), [Err(NAME_EVERY / 4)], "the /48 is used up");
        assert_eq!(take("127.0.0.1", 999), all(999), "a lab");
    }

    #[test]
    fn invite_lets_in_some_at_once_and_logins_are_counted_by_themselves() {
        let mut budgets = Budgets::default();
        let invited = || Wanted { place: None, name: true, from: None, invite: Some(InviteId([1; 8])) };
        (0..INVITED_BURST).for_each(|_| budgets.take(at_ms(0), &invited()).unwrap());
        assert_eq!(wait(budgets.take(at_ms(0), &invited())), INVITED_EVERY);
        let comes_back = Wanted { name: false, ..invited() };
        assert_eq!(budgets.take(at_ms(0), &comes_back), Ok(()), "its name is its own");
        let from = Some("192.0.2.1".parse().unwrap());
        (0..LOGINS_BURST).for_each(|_| budgets.take_login(at_ms(0), from).unwrap());
        assert_eq!(wait(budgets.take_login(at_ms(0), from)), LOGIN_EVERY);
    }
}
