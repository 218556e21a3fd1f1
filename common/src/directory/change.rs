//! What each command does: first it is judged, with nothing changed, then the change is carried out.

use std::collections::BTreeSet;

use super::Directory;
use super::command::{Command, LogIn, Right, SuspectReason};
use super::outcome::{Account, Applied, Ended, Entry, LoggedIn, Outcome, Refusal, Session};
use super::pairs::Pair;
use crate::id::{Address, Epoch, Key, Name, SessionId, SupernodeId};
use crate::invite::Token;
use crate::lift;
use crate::mutant::{self, Mutant};

type Touched = BTreeSet<Address>;

/// A command that was found good, with what was found
enum Change<'a> {
    Configure { degree: u8 },
    Incarnate { incarnation: u32 },
    Enter { login: &'a LogIn, address: Address },
    Reenter { login: &'a LogIn, present: SessionId },
    Move { session: SessionId, home: SupernodeId },
    Suspect { session: SessionId, reason: SuspectReason },
    Clear { session: SessionId },
    Separate { pair: Pair },
    Reunite { pair: Pair },
    End { session: SessionId },
    Release { name: &'a Name },
    Invite { token: Token, name: &'a Option<Name>, uses: u32, minutes: Option<u32> },
    Minute,
    Remove { name: &'a Name, key: Key },
}

/// Why a command changes nothing
enum Idle {
    Refused(Refusal),
    Unchanged(&'static str),
    Resumed(SessionId),
}

impl From<Refusal> for Idle {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Directory {
    /// What the command comes to if it changes nothing: a refusal, or a state that is there already
    ///
    /// Such a command needs no place in the log: a refused login costs no write, and nor does a session taken up again.
    /// `None`: it must be logged and applied.
    pub fn answer(&self, command: &Command) -> Option<Outcome> {
        self.judge(command).err().map(|idle| self.describe(idle))
    }

    /// Applies the command at `index` of the log; indices increase, gaps are harmless
    ///
    /// A refusal is an outcome. It and [`Outcome::Unchanged`] change nothing but [`Directory::applied`];
    /// [`Outcome::Stale`] not even that, so a log may be read again over a snapshot that holds a part of it.
    pub fn apply(&mut self, index: u64, command: &Command) -> Applied {
        if index <= self.applied {
            return Applied { outcome: Outcome::Stale, touched: Touched::new() };
        }
        let (outcome, touched) = match self.judge(command) {
            Ok(change) => self.carry_out(index, change),
            Err(idle) => (self.describe(idle), Touched::new()),
        };
        self.applied = index;
        self.rewire(index, &touched);
        Applied { outcome, touched }
    }

    fn describe(&self, idle: Idle) -> Outcome {
        match idle {
            Idle::Refused(refusal) => Outcome::Refused(refusal),
            Idle::Unchanged(reason) => Outcome::Unchanged(reason),
            Idle::Resumed(session) => match self.session(session) {
                Some(session) => Outcome::LoggedIn(logged_in(session, Entry::Resumed, None)),
                None => Outcome::Refused(Refusal::NoSession),
            },
        }
    }

    fn rewire(&mut self, index: u64, touched: &Touched) {
        if touched.is_empty() {
            return;
        }
        let epoch = self.epoch_at(index);
        self.epoch = epoch;
        for address in touched {
            let id = self.by_address.get(address);
            if let Some(session) = id.and_then(|id| self.sessions.get_mut(id))
                && !mutant::is(Mutant::EpochNotRaised)
            {
                session.rewired = epoch;
            }
        }
    }

    fn judge<'a>(&self, command: &'a Command) -> Result<Change<'a>, Idle> {
        match command {
            Command::Configure { degree } => self.judge_configure(*degree),
            Command::Incarnate { incarnation } if *incarnation == self.epoch.incarnation => {
                Err(Idle::Unchanged("that is the incarnation"))
            }
            Command::Incarnate { incarnation } => Ok(Change::Incarnate { incarnation: *incarnation }),
            Command::LogIn(login) => self.judge_login(login),
            Command::Suspect { session, home, reason } => self.judge_suspect(*session, *home, *reason),
            Command::Clear { session, home } => self.judge_clear(*session, *home),
            Command::UnreachablePair { reporter, other } => self.judge_unreachable(*reporter, *other),
            Command::ExpirePair { a, b, parted } => self.judge_expired_pair(Pair::of(*a, *b), *parted),
            Command::LogOut { session } => self.judge_end(*session),
            Command::Expire { session, home } => {
                self.known_at(*session, *home)?;
                self.judge_end(*session)
            }
            Command::Release { name } => self.judge_release(name),
            Command::Invite { token, name, uses, minutes } => {
                self.invites.judge_new(*uses)?;
                Ok(Change::Invite { token: *token, name, uses: *uses, minutes: *minutes })
            }
            Command::Minute if !self.counts_minutes() => Err(Idle::Unchanged("nothing ends")),
            Command::Minute => Ok(Change::Minute),
            Command::Remove { name } => self.judge_remove(name),
        }
    }

    fn carry_out(&mut self, index: u64, change: Change<'_>) -> (Outcome, Touched) {
        match change {
            Change::Configure { degree } => (Outcome::Configured, self.mesh.configure(degree)),
            Change::Incarnate { incarnation } => (self.incarnate(index, incarnation), Touched::new()),
            Change::Enter { login, address } => self.enter(index, login, address),
            Change::Reenter { login, present } => self.reenter(index, login, present),
            Change::Move { session, home } => (self.move_home(session, home), Touched::new()),
            Change::Suspect { session, reason } => self.suspect(session, reason),
            Change::Clear { session } => self.clear(session),
            Change::Separate { pair } => self.separate(index, pair),
            Change::Reunite { pair } => (Outcome::Reunited, self.mesh.reunite(pair)),
            Change::End { session } => self.end(session),
            Change::Release { name } => self.release(name),
            Change::Invite { token, name, uses, minutes } => {
                self.invites.add(token, name.clone(), uses, minutes);
                (Outcome::Invited(token), Touched::new())
            }
            Change::Remove { name, key } => self.remove(name, key),
            Change::Minute => (Outcome::Passed { freed: self.pass_minute() }, Touched::new()),
        }
    }

    /// Every epoch is of the new incarnation, as if the log had had it from the beginning: those of before have no order to it
    fn incarnate(&mut self, index: u64, incarnation: u32) -> Outcome {
        self.epoch = Epoch::new(incarnation, index);
        for session in self.sessions.values_mut() {
            session.epoch.incarnation = incarnation;
            session.rewired.incarnation = incarnation;
        }
        Outcome::Incarnated
    }

    fn judge_configure<'a>(&self, degree: u8) -> Result<Change<'a>, Idle> {
        if !lift::is_degree(degree) {
            return Err(Refusal::Degree(degree).into());
        }
        if degree == self.degree() {
            return Err(Idle::Unchanged("that is the degree"));
        }
        Ok(Change::Configure { degree })
    }

    fn judge_login<'a>(&self, login: &'a LogIn) -> Result<Change<'a>, Idle> {
        if self.is_removed(&login.key) {
            return Err(Refusal::Removed.into());
        }
        if let Some(home) = login.resumes {
            self.judge_resumption(login, home)?;
        }
        self.judge_name(login)?;
        match self.by_key(&login.key).filter(|_| !mutant::is(Mutant::SecondSession)) {
            Some(present) => self.judge_reentry(login, present),
            None => self.judge_entry(login),
        }
    }

    fn judge_resumption(&self, login: &LogIn, home: SupernodeId) -> Result<(), Refusal> {
        match self.session(login.session).filter(|present| present.key == login.key) {
            None => Err(Refusal::NoSession),
            Some(present) if present.home != home && !mutant::is(Mutant::LateMoveMoves) => Err(Refusal::OtherHome),
            Some(_) => Ok(()),
        }
    }

    /// The compare of the compare-and-set
    fn judge_name(&self, login: &LogIn) -> Result<(), Refusal> {
        match self.accounts.get(&login.name) {
            Some(account) if account.key != login.key && !mutant::is(Mutant::NameGivenAway) => {
                return Err(Refusal::NameTaken);
            }
            None if self.accounts.len() >= self.limits.accounts => return Err(Refusal::AccountsFull),
            Some(_) => (),
            None => self.judge_right(login)?,
        }
        let owner = self.session(login.session).map(|session| session.key);
        if owner.is_some_and(|key| key != login.key) { Err(Refusal::SessionIdTaken) } else { Ok(()) }
    }

    /// Whether a newcomer may have a name
    fn judge_right(&self, login: &LogIn) -> Result<(), Refusal> {
        match &login.right {
            Right::Anybody => Ok(()),
            Right::Owner => Err(Refusal::NotInvited),
            Right::Invite(id) => self.invites.judge_use(id, &login.name),
        }
    }

    fn judge_reentry<'a>(&self, login: &'a LogIn, present: &Session) -> Result<Change<'a>, Idle> {
        if present.name != login.name {
            return Err(Refusal::KeyInSession(present.name.clone()).into());
        }
        let same = login.goes_on_with(present.id) && present.locations == login.locations;
        if same && present.suspect.is_none() && !self.mesh.pairs().has(present.address) {
            if present.home == login.home {
                return Err(Idle::Resumed(present.id));
            }
            return Ok(Change::Move { session: present.id, home: login.home });
        }
        Ok(Change::Reenter { login, present: present.id })
    }

    fn judge_entry<'a>(&self, login: &'a LogIn) -> Result<Change<'a>, Idle> {
        if self.sessions.len() >= self.limits.sessions {
            return Err(Refusal::SessionsFull.into());
        }
        let address = self.mesh.choose_address(&login.key, &login.salt);
        if self.by_address.contains_key(&address) {
            return Err(Refusal::NoPlace.into());
        }
        Ok(Change::Enter { login, address })
    }

    fn judge_suspect<'a>(
        &self,
        session: SessionId,
        home: SupernodeId,
        reason: SuspectReason,
    ) -> Result<Change<'a>, Idle> {
        match self.known_at(session, home)?.suspect {
            Some(_) => Err(Idle::Unchanged("it is suspected already")),
            None => Ok(Change::Suspect { session, reason }),
        }
    }

    fn judge_clear<'a>(&self, session: SessionId, home: SupernodeId) -> Result<Change<'a>, Idle> {
        match self.known_at(session, home)?.suspect {
            Some(_) => Ok(Change::Clear { session }),
            None => Err(Idle::Unchanged("it is no suspect")),
        }
    }

    fn judge_unreachable<'a>(&self, reporter: Address, other: Address) -> Result<Change<'a>, Idle> {
        if reporter == other {
            return Err(Refusal::SamePeer.into());
        }
        if [reporter, other].iter().any(|end| !self.by_address.contains_key(end)) {
            return Err(Refusal::UnknownAddress.into());
        }
        let pair = Pair::of(reporter, other);
        if self.mesh.pairs().contains(pair) || mutant::is(Mutant::PairIgnored) {
            return Err(Idle::Unchanged("the pair is known"));
        }
        // Who is parted from everybody has nobody to dial, and is alone for a whole term after what kept them apart ends.
        if self.mesh.would_leave_alone(pair) && !mutant::is(Mutant::LastNeighbourParted) {
            return Err(Idle::Unchanged("one of the two has no other to try"));
        }
        Ok(Change::Separate { pair })
    }

    fn judge_expired_pair<'a>(&self, pair: Pair, parted: u64) -> Result<Change<'a>, Idle> {
        match self.mesh.pairs().index_of(pair) {
            Some(_) if mutant::is(Mutant::PairNeverExpires) => Err(Idle::Unchanged("a seeded mistake")),
            Some(since) if since == parted => Ok(Change::Reunite { pair }),
            Some(_) => Err(Idle::Unchanged("the pair was parted again")),
            None => Err(Idle::Unchanged("the pair is gone already")),
        }
    }

    fn judge_end<'a>(&self, session: SessionId) -> Result<Change<'a>, Idle> {
        self.known(session)?;
        Ok(Change::End { session })
    }

    fn judge_release<'a>(&self, name: &'a Name) -> Result<Change<'a>, Idle> {
        if self.accounts.contains_key(name) { Ok(Change::Release { name }) } else { Err(Refusal::UnknownName.into()) }
    }

    fn judge_remove<'a>(&self, name: &'a Name) -> Result<Change<'a>, Idle> {
        let key = self.accounts.get(name).ok_or(Refusal::UnknownName)?.key;
        if self.is_removed(&key) {
            return Err(Idle::Unchanged("it is removed already"));
        }
        if self.removed.len() >= self.limits.removed {
            return Err(Refusal::RemovedFull.into());
        }
        Ok(Change::Remove { name, key })
    }

    fn known(&self, session: SessionId) -> Result<&Session, Refusal> {
        self.session(session).ok_or(Refusal::NoSession)
    }

    /// The session, if it is this home's to judge: one that moved meanwhile is not harmed by the home before
    fn known_at(&self, session: SessionId, home: SupernodeId) -> Result<&Session, Refusal> {
        let known = self.known(session)?;
        if known.home == home || mutant::is(Mutant::FormerHomeJudges) { Ok(known) } else { Err(Refusal::OtherHome) }
    }

    fn enter(&mut self, index: u64, login: &LogIn, address: Address) -> (Outcome, Touched) {
        let session = Session {
            id: login.session,
            name: login.name.clone(),
            key: login.key,
            address,
            epoch: self.epoch_at(index),
            rewired: self.epoch_at(index),
            locations: login.locations.clone(),
            home: login.home,
            suspect: None,
        };
        if self.accounts.contains_key(&login.name) {
            self.unused.forget(&login.name);
        } else {
            self.unused.begin(login.name.clone(), self.invites.minute());
            if let Right::Invite(id) = &login.right {
                self.invites.consume(id);
            }
        }
        let outcome = Outcome::LoggedIn(logged_in(&session, Entry::New, None));
        self.insert(session);
        (outcome, self.mesh.join(address))
    }

    /// The same peer again: the place and the name stay, the rest is as it says now
    fn reenter(&mut self, index: u64, login: &LogIn, present: SessionId) -> (Outcome, Touched) {
        let Some(mut session) = self.take(present) else {
            return (Outcome::Refused(Refusal::NoSession), Touched::new());
        };
        let address = session.address;
        if !mutant::is(Mutant::OldLocations) {
            session.locations = login.locations.clone();
        }
        session.home = login.home;
        let was_suspect = session.suspect.take().is_some();
        let resumed = login.goes_on_with(present);
        if !resumed {
            self.unused.forget(&login.name);
            session.id = login.session;
            session.epoch = self.epoch_at(index);
        }
        let entry = if resumed { Entry::Resumed } else { Entry::Rejoined };
        let outcome = Outcome::LoggedIn(logged_in(&session, entry, (!resumed).then_some(present)));
        self.insert(session);
        // Without its pairs first: they were of the peer as it was.
        let mut touched = self.mesh.reunite_all(address);
        touched.append(&mut if was_suspect { self.mesh.enter(address) } else { self.mesh.refresh(address) });
        touched.insert(address);
        (outcome, touched)
    }

    /// The same peer at another supernode: nobody's table says where that is, so nobody is told
    fn move_home(&mut self, session: SessionId, home: SupernodeId) -> Outcome {
        let Some(session) = self.take(session) else { return Outcome::Refused(Refusal::NoSession) };
        let session = Session { home, ..session };
        let outcome = Outcome::LoggedIn(logged_in(&session, Entry::Resumed, None));
        self.insert(session);
        outcome
    }

    /// Takes a session out, to end it or to put it back as it is from now on
    fn take(&mut self, session: SessionId) -> Option<Session> {
        let session = self.sessions.remove(&session)?;
        if let Some(at_home) = self.by_home.get_mut(&session.home) {
            at_home.remove(&session.id);
            if at_home.is_empty() {
                self.by_home.remove(&session.home);
            }
        }
        Some(session)
    }

    pub(super) fn insert(&mut self, session: Session) {
        let account = Account { key: session.key, session: Some(session.id) };
        self.accounts.insert(session.name.clone(), account);
        self.by_key.insert(session.key, session.id);
        self.by_address.insert(session.address, session.id);
        self.by_home.entry(session.home).or_default().insert(session.id);
        self.sessions.insert(session.id, session);
    }

    fn suspect(&mut self, session: SessionId, reason: SuspectReason) -> (Outcome, Touched) {
        let Some(session) = self.sessions.get_mut(&session) else {
            return (Outcome::Refused(Refusal::NoSession), Touched::new());
        };
        session.suspect = Some(reason);
        let address = session.address;
        let touched = if mutant::is(Mutant::SuspectStays) { Touched::new() } else { self.mesh.leave(address) };
        (Outcome::Suspected { address }, touched)
    }

    fn clear(&mut self, session: SessionId) -> (Outcome, Touched) {
        let Some(session) = self.sessions.get_mut(&session) else {
            return (Outcome::Refused(Refusal::NoSession), Touched::new());
        };
        session.suspect = None;
        let address = session.address;
        (Outcome::Cleared { address }, self.mesh.enter(address))
    }

    fn separate(&mut self, index: u64, pair: Pair) -> (Outcome, Touched) {
        let (touched, dropped) = self.mesh.separate(index, pair);
        for Pair { low, high } in &dropped {
            tracing::info!(%low, %high, reason = "too many unreachable pairs; the oldest goes", "pair forgotten");
        }
        (Outcome::Parted { dropped }, touched)
    }

    fn end(&mut self, session: SessionId) -> (Outcome, Touched) {
        let Some(session) = self.take(session) else {
            return (Outcome::Refused(Refusal::NoSession), Touched::new());
        };
        self.by_key.remove(&session.key);
        self.by_address.remove(&session.address);
        if let Some(account) = self.accounts.get_mut(&session.name) {
            account.session = None;
        }
        self.unused.stayed(&session.name, self.invites.minute());
        let touched = self.mesh.part(session.address);
        let Session { id, name, key, address, .. } = session;
        (Outcome::Ended(Ended { session: id, name, key, address }), touched)
    }

    /// The name stays taken, so that nobody else comes under it; a key with several names has its session under any of them
    fn remove(&mut self, name: &Name, key: Key) -> (Outcome, Touched) {
        tracing::debug!(%name, %key, reason = "an operator says so", "key barred");
        self.removed.push(key);
        self.unused.forget(name);
        let session = self.by_key.get(&key).copied();
        session.map_or((Outcome::Removed, Touched::new()), |session| self.end(session))
    }

    /// Names whose owners have not come back in time are free from now on; an owner who is here has stayed for long enough
    fn pass_minute(&mut self) -> Vec<Name> {
        self.invites.pass_minute();
        let mut freed = self.unused.take_over(self.invites.minute());
        freed.retain(|name| {
            let is_unused = self.accounts.get(name).is_some_and(|account| account.session.is_none());
            is_unused && !mutant::is(Mutant::UnusedNameKept)
        });
        for name in &freed {
            self.accounts.remove(name);
        }
        freed
    }

    fn release(&mut self, name: &Name) -> (Outcome, Touched) {
        let session = self.accounts.get(name).and_then(|account| account.session);
        let ended = session.map(|session| self.end(session));
        self.accounts.remove(name);
        self.unused.forget(name);
        ended.unwrap_or((Outcome::Released, Touched::new()))
    }
}

fn logged_in(session: &Session, entry: Entry, replaced: Option<SessionId>) -> LoggedIn {
    LoggedIn { session: session.id, record: session.record(), entry, replaced }
}
