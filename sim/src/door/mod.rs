//! `kith-sim door`: who is let into a network that takes invites only, and how fast.
//!
//! One supernode with the product's own core, its log, and people who are nothing but links: invited ones, some by an invite
//! that several share or that is for one name, strangers without any, and others who come too late. The supernode is killed,
//! with or without what its disk was at, and its log put back. A *book* beside it knows whom each invite was made for, and
//! objects whenever somebody is let in, or kept out, against it:
//!
//! * nobody without a good invite ever has a name or a session; who has one is let in;
//! * an invite lets in as many as it is for, crashes or not; a log that was put back has forgotten what came after it;
//! * whoever owns a name needs no invite to come back;
//! * in the end, a rush: a key, a network and an invite have no more than their budgets;
//! * and a month later: names that were never used are free, and those that were used are not.

mod book;
mod people;

use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use kith_common::directory::{Command, Directory, Outcome, UNUSED_TERM};
use kith_common::id::Name;
use kith_common::invite::Token;
use kith_common::link::LinkId;
use kith_common::session::admission::AdmissionConfig;
use kith_common::status::Status;
use kith_common::supernode::{
    INVITED_BURST, LOGINS_BURST, LogEvent, NAMES_BURST, PLACES_BURST, Proposal, Supernode, SupernodeConfig,
    SupernodeOutput,
};
use kith_common::time::Instant;
use kith_common::wire::Frame;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use self::book::{Book, Invite};
use self::people::Person;
use crate::arguments::{self, Mistake};
use crate::chance::{Chance, Draws};
use crate::mesh::log::Replica;
use crate::mesh::node::{Identity, Signed, admission_of};
use crate::mesh::users;
use crate::output::{line, note};

const LEASE: Duration = Duration::from_secs(30);
/// Shorter than the half second after which a supernode takes itself for held up
const BEAT: Duration = Duration::from_millis(400);
const MINUTE: Duration = Duration::from_secs(60);
/// People who come and go before the rush
const PEOPLE: u32 = 24;
/// What they and the operator do
const DEEDS: u32 = 300;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// The first seed: the same seed gives the same run
    #[arg(long, default_value = "1", value_parser = arguments::seed)]
    pub(crate) seed: u64,
    /// How many seeds, from the first on
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=arguments::SEEDS_MAX))]
    seeds: u64,
    #[command(flatten)]
    mistake: Mistake,
}

/// Runs the verb; 1 if somebody was let in or kept out against the book
pub(crate) fn verb(options: &Options) -> ExitCode {
    options.mistake.make();
    let (mut wrong, mut judged) = (0, 0);
    for seed in options.seed..options.seed.saturating_add(options.seeds) {
        match run(seed) {
            Ok(answers) => judged += answers,
            Err(Wrong { at, what }) => {
                wrong += 1;
                note(&format!("seed {seed}: at {at:?} door: {what}"));
                note(&format!("  replay: kith-sim door --seed {seed}"));
            }
        }
    }
    line(&format!("{judged} answers to logins were judged"));
    line(&format!("{} of {} seeds were wrong", wrong, options.seeds));
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Somebody was let in or kept out against the book
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Since the beginning
    pub(crate) at: Duration,
    pub(crate) what: String,
}

/// One run of this seed: how many answers to logins were held against the book
///
/// # Errors
/// What was wrong, and when.
pub(crate) fn run(seed: u64) -> Result<u64, Wrong> {
    let mut door = Door::new(seed);
    let told = door.live().and_then(|()| door.rush()).and_then(|()| door.wait_for_a_month());
    told.map(|()| door.judged).map_err(|what| Wrong { at: door.now.since(Instant::ZERO), what })
}

/// What is at the door
struct Door {
    seed: u64,
    chance: Chance,
    signed: Signed,
    now: Instant,
    /// For how long a supernode has run
    ran: Duration,
    core: Supernode<Identity>,
    /// The log as it is on the disk
    log: Vec<Vec<u8>>,
    /// What the disk is at
    group: Vec<Proposal>,
    /// The log as somebody copied it, with the book and the running time of then
    copy: (Vec<Vec<u8>>, Book, Duration),
    book: Book,
    people: Vec<Person>,
    links: u64,
    /// The invite that the operator waits for
    wanted: Option<Invite>,
    /// Logins whose answers were held against the book
    judged: u64,
}

impl Door {
    fn new(seed: u64) -> Self {
        let signed = Signed::default();
        let mut chance = Chance::new(seed, Draws::Door);
        let people = (0..PEOPLE).map(|number| Person::new(seed, number, own_ip(number), &signed)).collect();
        let core = supernode(seed, &signed, &mut chance, Instant::ZERO, Directory::new(0));
        let (now, ran, book) = (Instant::ZERO, Duration::ZERO, Book::default());
        let copy = (Vec::new(), book.clone(), ran);
        let (log, group, links, wanted, judged) = (Vec::new(), Vec::new(), 0, None, 0);
        Self { seed, chance, signed, now, ran, core, log, group, copy, book, people, links, wanted, judged }
    }

    /// People come and go, and the supernode falls and gets up
    fn live(&mut self) -> Result<(), String> {
        for _ in 0..DEEDS {
            match self.chance.below(20) {
                0..=1 => self.make_invite()?,
                2..=9 => self.somebody_comes()?,
                10 => self.somebody_leaves()?,
                11..=16 => {
                    let wait = self.chance.wait(Duration::from_secs(25));
                    self.wait(wait)?;
                }
                17 => self.copy = (self.log.clone(), self.book.clone(), self.ran),
                18 => self.crash(false)?,
                _ => self.crash(true)?,
            }
        }
        Ok(())
    }

    fn make_invite(&mut self) -> Result<(), String> {
        let name = self.chance.happens(0.3).then(|| users::name_of(self.chance.below(PEOPLE.into()) as u32));
        let minutes = self.chance.happens(0.5).then(|| 1 + self.chance.below(6) as u32);
        let uses = 1 + self.chance.below(3) as u32;
        if let Some(token) = self.invite(name, uses, minutes)? {
            // The operator hands it to more people than it is for, whoever they are.
            for _ in 0..uses + 1 + self.chance.below(3) as u32 {
                let number = self.chance.index(self.people.len());
                self.people[number].token = Some(token);
            }
        }
        Ok(())
    }

    fn invite(&mut self, name: Option<Name>, uses: u32, minutes: Option<u32>) -> Result<Option<Token>, String> {
        self.wanted = Some(Invite::new(name.clone(), uses, minutes, self.ran));
        let before = self.book.invites.len();
        self.core.invite(name, uses, minutes, 0);
        self.settle()?;
        Ok(self.book.invites.get(before).map(|invite| invite.token))
    }

    fn somebody_comes(&mut self) -> Result<(), String> {
        let number = self.chance.index(self.people.len());
        // Some die just now: what was under way gets to the disk, or does not.
        let dies = self.chance.happens(0.1);
        self.come(number)?;
        if dies { self.crash(false) } else { self.settle() }
    }

    fn somebody_leaves(&mut self) -> Result<(), String> {
        let number = self.chance.index(self.people.len());
        if let Some(link) = self.people[number].link.take() {
            self.core.handle_closed(self.now, link, "gone");
        }
        self.settle()
    }

    /// A person logs in over a new link; nothing is on the disk yet
    fn come(&mut self, number: usize) -> Result<LinkId, String> {
        self.links += 1;
        let link = LinkId(self.links);
        let network = self.rules().network;
        let supernode = self.core.key();
        let person = &mut self.people[number];
        let (opened, login) = person.login(link, network, supernode);
        if let Some(before) = person.link.replace(link) {
            self.core.handle_closed(self.now, before, "gone");
        }
        self.core.handle_opened(self.now, &opened);
        self.core.handle_frame(self.now, link, Frame::Login(login));
        self.drain()?;
        Ok(link)
    }

    fn rules(&self) -> AdmissionConfig {
        rules(self.seed, &self.signed)
    }

    /// Time passes while the supernode runs
    fn wait(&mut self, wait: Duration) -> Result<(), String> {
        let end = self.now + wait;
        while self.now < end {
            self.pass(BEAT.min(end - self.now))?;
        }
        Ok(())
    }

    fn pass(&mut self, step: Duration) -> Result<(), String> {
        self.now = self.now + step;
        self.ran += step;
        self.core.handle_timeout(self.now);
        self.settle()
    }

    /// The disk is done with all that it is at
    fn settle(&mut self) -> Result<(), String> {
        self.drain()?;
        while !self.group.is_empty() {
            for Proposal { number, command } in std::mem::take(&mut self.group) {
                self.write(&command)?;
                let index = self.log.len() as u64;
                // A month has too many minutes to look at all names in each.
                let is_minute = command == Command::Minute;
                self.core.handle_log(self.now, LogEvent::Committed { index, command, number: Some(number) });
                if !is_minute {
                    self.book.see(self.core.directory(), &self.people, self.ran)?;
                }
            }
            self.drain()?;
        }
        Ok(())
    }

    fn write(&mut self, command: &Command) -> Result<(), String> {
        self.log.push(command.to_bytes().map_err(|error| format!("a command cannot be written: {error}"))?);
        Ok(())
    }

    /// The supernode is killed, and comes back after a while with its log, or with an older copy of it
    fn crash(&mut self, goes_back: bool) -> Result<(), String> {
        if self.chance.happens(0.5) {
            for Proposal { command, .. } in std::mem::take(&mut self.group) {
                if let Command::LogIn(login) = &command {
                    self.book.may_have_come(&login.name);
                }
                self.write(&command)?;
            }
        }
        self.group.clear();
        self.wanted = None;
        if goes_back {
            let (log, book, ran) = self.copy.clone();
            (self.log, self.book) = (log, book);
            self.book.is_put_back(self.ran - ran);
            self.copy = (self.log.clone(), self.book.clone(), self.ran);
        }
        self.people.iter_mut().for_each(|person| person.link = None);
        self.now = self.now + self.chance.wait(Duration::from_secs(200));
        let directory = self.restore()?;
        self.core = supernode(self.seed, &self.signed, &mut self.chance, self.now, directory);
        self.book.starts();
        self.book.see(self.core.directory(), &self.people, self.ran)?;
        self.settle()
    }

    /// What the disk has: sometimes as a snapshot and the rest
    fn restore(&mut self) -> Result<Directory, String> {
        let incarnation = self.chance.number() as u32;
        let mut directory = Directory::new(incarnation);
        let kept = self.chance.index(self.log.len() + 1);
        for (number, bytes) in self.log.iter().enumerate() {
            if number == kept {
                let snapshot = directory.snapshot().map_err(|error| format!("no snapshot: {error}"))?;
                directory = Directory::restore(incarnation, &snapshot).map_err(|error| error.to_string())?;
            }
            let command = Command::from_bytes(bytes).map_err(|error| error.to_string())?;
            directory.apply(number as u64 + 1, &command);
        }
        Ok(directory)
    }

    /// Carries out what the core wants
    fn drain(&mut self) -> Result<(), String> {
        let mut closed = Vec::new();
        loop {
            let Some(output) = self.core.poll_output() else {
                let Some(link) = closed.pop() else { return Ok(()) };
                self.people.iter_mut().filter(|person| person.link == Some(link)).for_each(|person| person.link = None);
                self.core.handle_closed(self.now, link, "closed");
                continue;
            };
            match output {
                SupernodeOutput::Propose(group) => self.group.extend(group),
                SupernodeOutput::Close { link, .. } => closed.push(link),
                SupernodeOutput::Send { link, frame } => self.hear(link, &frame)?,
                SupernodeOutput::Answered { outcome: Some(Outcome::Invited(token)), .. } => {
                    let invite = self.wanted.take();
                    self.book.invites.extend(invite.map(|invite| invite.with(token)));
                }
                SupernodeOutput::Read => {
                    let readable = LogEvent::Readable(self.core.directory().applied());
                    self.core.handle_log(self.now, readable);
                }
                SupernodeOutput::Snapshot(_) | SupernodeOutput::Answered { .. } | SupernodeOutput::Dial(_) => {}
            }
        }
    }

    /// A person is told something
    fn hear(&mut self, link: LinkId, frame: &Frame) -> Result<(), String> {
        let Some(person) = self.people.iter_mut().find(|person| person.link == Some(link)) else { return Ok(()) };
        match frame {
            Frame::Granted(_) => {
                self.judged += 1;
                person.granted += 1;
                let (key, name) = (person.key(), person.name.clone());
                if self.book.owners.get(&name) != Some(&key) {
                    return Err(format!("{name} is told that it is in, and no log says so"));
                }
            }
            Frame::Refused(refused) => {
                person.refused.push(refused.status);
                if refused.status == Status::NotAllowed {
                    self.judged += 1;
                    return self.book.is_rightly_kept_out(person, self.ran);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Strangers to each other who come all at once by an invite that is good for more; how many are let in
    fn crowd(&mut self, count: u32, ip: &dyn Fn(u32) -> IpAddr) -> Result<u32, String> {
        let token = self.invite(None, 2 * count, None)?.ok_or("the operator gets no invite")?;
        let first = self.people.len();
        for number in (first as u32..).take(count as usize) {
            let mut person = Person::new(self.seed, number, ip(number), &self.signed);
            person.token = Some(token);
            self.people.push(person);
            self.come(number as usize)?;
            self.settle()?;
        }
        Ok(self.people[first..].iter().map(|person| person.granted).sum())
    }

    /// Everybody comes at once, and is let in as fast as the budgets say
    fn rush(&mut self) -> Result<(), String> {
        self.wait(MINUTE)?;
        let within = |what: &str, got: u32, max: u32| {
            if got > 0 && got <= max { Ok(()) } else { Err(format!("{what}: {got}, and the budget is {max}")) }
        };
        // Of the names by invites of which none is used up or in a hurry.
        let mut names = 0;
        for _ in 0..NAMES_BURST / INVITED_BURST + 1 {
            names += self.crowd(INVITED_BURST, &|_| IpAddr::from([192, 0, 2, 1]))?;
        }
        within("new names of one address at once", names, NAMES_BURST)?;
        let invited = self.crowd(INVITED_BURST + 8, &own_ip)?;
        within("newcomers by one invite at once", invited, INVITED_BURST)?;
        // The first of these goes for another place again and again.
        let member = self.people.len() - (INVITED_BURST + 8) as usize;
        self.log_out(member)?;
        for _ in 0..PLACES_BURST + 8 {
            self.come(member)?;
            self.settle()?;
            self.log_out(member)?;
        }
        within("new places of one key at once", self.people[member].granted, PLACES_BURST)?;
        self.knock(member)
    }

    fn log_out(&mut self, number: usize) -> Result<(), String> {
        let person = &self.people[number];
        let account = self.core.directory().account(&person.name);
        let session = account.and_then(|account| account.session);
        if let (Some(link), Some(session)) = (person.link, session) {
            self.core.handle_frame(self.now, link, people::log_out(session));
        }
        self.settle()
    }

    /// Somebody asks for a name that is another's, over and over
    fn knock(&mut self, owner: usize) -> Result<(), String> {
        let (name, number) = (self.people[owner].name.clone(), self.people.len());
        let ip = IpAddr::from([192, 0, 3, 1]);
        let mut person = Person::new(self.seed, number as u32, ip, &self.signed);
        person.name = name;
        self.people.push(person);
        for _ in 0..LOGINS_BURST + 8 {
            self.come(number)?;
        }
        let heard = self.people[number].refused.iter().filter(|status| **status == Status::Conflict).count();
        let refused = self.people[number].refused.len();
        if heard > LOGINS_BURST as usize || refused != (LOGINS_BURST + 8) as usize {
            return Err(format!("{heard} of {refused} logins of one address were looked at, beyond {LOGINS_BURST}"));
        }
        Ok(())
    }

    /// Nobody comes for longer than an owner has to come back
    fn wait_for_a_month(&mut self) -> Result<(), String> {
        self.people.iter_mut().for_each(|person| person.link = None);
        self.wait(2 * LEASE)?;
        let used = self.book.used();
        for _ in 0..=UNUSED_TERM + 1 {
            self.pass(MINUTE)?;
        }
        self.book.see(self.core.directory(), &self.people, self.ran)?;
        if let Some(name) = used.iter().find(|name| self.core.directory().account(name).is_none()) {
            return Err(format!("{name} was used, and is its owner's no more"));
        }
        self.book.month_is_over(self.core.directory())
    }
}

fn own_ip(number: u32) -> IpAddr {
    let [_, high, middle, low] = number.to_be_bytes();
    IpAddr::from([10 + high, middle, low, 1])
}

/// The rules of a network that takes invites only
fn rules(seed: u64, signed: &Signed) -> AdmissionConfig {
    AdmissionConfig { is_open: false, ..admission_of(seed, Replica(0), LEASE, signed) }
}

/// Links that the supernode may have; it says to nobody how busy it is
const LINKS: usize = 4_096;

/// A supernode that starts, and leads
fn supernode(
    seed: u64,
    signed: &Signed,
    chance: &mut Chance,
    now: Instant,
    directory: Directory,
) -> Supernode<Identity> {
    let id = Replica(0).id();
    let config = SupernodeConfig {
        id,
        admission: Arc::new(rules(seed, signed)),
        degree: None,
        links_max: LINKS,
        contacts: Vec::new(),
    };
    let rng = ChaCha20Rng::seed_from_u64(chance.number());
    let mut core = Supernode::new(now, config, Identity::derive(seed, 0, 0, signed), rng, directory);
    core.handle_log(now, LogEvent::LeaderChanged(Some(id)));
    core
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn door_opens_for_whom_the_book_has_and_nobody_else() {
        for seed in 1..=4 {
            assert!(run(seed).is_ok_and(|judged| judged > 0), "kith-sim door --seed {seed}");
        }
    }
}
