//! What is right at the door, kept by rules of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::directory::Directory;
use kith_common::id::{Key, Name, SessionId};
use kith_common::invite::Token;

use super::people::Person;
use super::{BEAT, MINUTE};

/// What the moment between a proposal and its place in the log adds
const SLACK: Duration = Duration::from_secs(2);

/// What an invite was made for
#[derive(Clone, Debug)]
pub(super) struct Invite {
    pub(super) token: Token,
    name: Option<Name>,
    uses: u32,
    used: u32,
    minutes: Option<u32>,
    /// When, in running time
    made: Duration,
    /// Starts of the supernode since, each of which may add a minute
    starts: u32,
}

/// Who has come by what
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    pub(super) invites: Vec<Invite>,
    pub(super) owners: BTreeMap<Name, Key>,
    /// The sessions of each name
    stays: BTreeMap<Name, BTreeSet<SessionId>>,
    /// Names of which it cannot be said how often their owners came
    unsure: BTreeSet<Name>,
}

impl Invite {
    pub(super) fn new(name: Option<Name>, uses: u32, minutes: Option<u32>, made: Duration) -> Self {
        Self { token: Token([0; 16]), name, uses, used: 0, minutes, made, starts: 0 }
    }

    /// Made, and known by this
    pub(super) fn with(self, token: Token) -> Self {
        Self { token, ..self }
    }

    /// Why it lets nobody in under this name, if that is sure
    fn fault(&self, name: &Name, ran: Duration) -> Option<&'static str> {
        let lasts = self.minutes.map(|minutes| (MINUTE + BEAT) * (minutes + 1 + self.starts) + SLACK);
        if self.name.as_ref().is_some_and(|only| only != name) {
            Some("is for another name")
        } else if self.used >= self.uses {
            Some("is used up")
        } else if lasts.is_some_and(|lasts| ran - self.made > lasts) {
            Some("has expired")
        } else {
            None
        }
    }

    /// Whether it surely lets somebody in under this name
    fn is_good(&self, name: &Name, ran: Duration) -> bool {
        let lasts = self.minutes.map(|minutes| MINUTE * minutes);
        self.fault(name, ran).is_none() && lasts.is_none_or(|lasts| ran - self.made < lasts)
    }
}

impl Book {
    fn invite_of(&self, person: &Person) -> Option<&Invite> {
        self.invites.iter().find(|invite| Some(invite.token) == person.token)
    }

    /// The directory is like this now: whoever is new in it must have come by right
    pub(super) fn see(&mut self, directory: &Directory, people: &[Person], ran: Duration) -> Result<(), String> {
        self.owners.retain(|name, _| directory.account(name).is_some());
        self.stays.retain(|name, _| directory.account(name).is_some());
        for (name, account) in directory.accounts() {
            if let Some(session) = account.session {
                self.stays.entry(name.clone()).or_default().insert(session);
            }
            if self.owners.get(name) == Some(&account.key) {
                continue;
            }
            if self.owners.contains_key(name) {
                return Err(format!("{name} has another owner than before"));
            }
            let person = people.iter().find(|person| person.key() == account.key && person.name == *name);
            let token = person.and_then(|person| person.token);
            let Some(invite) = self.invites.iter_mut().find(|invite| Some(invite.token) == token) else {
                return Err(format!("{name} is in without an invite"));
            };
            if let Some(fault) = invite.fault(name, ran) {
                return Err(format!("{name} is in by an invite that {fault}"));
            }
            invite.used += 1;
            self.owners.insert(name.clone(), account.key);
        }
        match directory.sessions().find(|session| self.owners.get(&session.name) != Some(&session.key)) {
            Some(session) => Err(format!("{} has a session, and the name is not its own", session.name)),
            None => Ok(()),
        }
    }

    /// A person was told that it may not come in
    pub(super) fn is_rightly_kept_out(&self, person: &Person, ran: Duration) -> Result<(), String> {
        let Person { name, .. } = person;
        match self.owners.get(name) {
            Some(key) if *key == person.key() => Err(format!("{name} owns its name, and is kept out")),
            None if self.invite_of(person).is_some_and(|invite| invite.is_good(name, ran)) => {
                Err(format!("{name} has a good invite, and is kept out"))
            }
            _ => Ok(()),
        }
    }

    /// A login was under way when its supernode died, and may count
    pub(super) fn may_have_come(&mut self, name: &Name) {
        self.unsure.insert(name.clone());
    }

    /// The supernode starts anew
    pub(super) fn starts(&mut self) {
        self.invites.iter_mut().for_each(|invite| invite.starts += 1);
    }

    /// The log is as it was so long ago, and knows of no minute since
    pub(super) fn is_put_back(&mut self, by: Duration) {
        self.invites.iter_mut().for_each(|invite| invite.made += by);
    }

    /// Whoever took a name and never came back has lost it; whoever came back has it
    pub(super) fn month_is_over(&self, directory: &Directory) -> Result<(), String> {
        for (name, stays) in self.stays.iter().filter(|(name, _)| !self.unsure.contains(*name)) {
            if stays.len() == 1 && directory.account(name).is_some() {
                return Err(format!("{name} was taken a month ago and never used, and is not free"));
            }
        }
        Ok(())
    }

    /// The names whose owners came back, and of which it is sure
    pub(super) fn used(&self) -> BTreeSet<Name> {
        self.stays.iter().filter(|(_, stays)| stays.len() > 1).map(|(name, _)| name.clone()).collect()
    }
}
