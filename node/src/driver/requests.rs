//! The verbs of the control socket, and their answers.

use std::time::Duration;

use kith_common::id::Name;
use kith_common::link;
use kith_common::mail::{Fate, KnownAddress, NotLoggedIn, Outcome, Stop, Trace};
use kith_common::names::{Answer, Source};
use kith_common::routing::neighbourhood::{LinkStatus, NeighbourStatus};
use kith_common::session::membership::Standing;
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire::content::{Choice, Content, PathHop, Signal};
use kith_common::wire::session::{LISTED_MAX, Listed, Listing, Presence, Which};
use kith_runtime::cli::short;
use kith_runtime::control;
use kith_runtime::control::peer::{
    self, HomeSupernode, LinkState, LookupAnswer, MemberState, Neighbour, NeighboursAnswer, PeersAnswer, PingAnswer,
    Request, Series, SessionAnswer, State, StatusAnswer, TraceAnswer, TraceHop,
};
use kith_runtime::control::server::{ControlRequest, Reply};
use kith_runtime::identity::peer_id_of;

use super::Driver;
use super::calls::Wanted;
use super::sends;
use super::waiting::{Asked, Asker};

/// What stands on a path for a supernode, which has no name
const SUPERNODE: &str = "(supernode)";

impl Driver {
    pub(super) fn handle_request(&mut self, ControlRequest { request, reply }: ControlRequest<Request>) {
        let now = self.clock.now();
        match request {
            Request::Status => {
                let (status, answer) = self.status(now);
                reply.finish(status, &answer);
            }
            Request::Neighbours => reply.finish(Status::Delivered, &self.neighbours(now)),
            Request::Lookup { name } => self.look_up(now, name, reply),
            Request::Peers { after } => self.list(now, Which::After(after), reply),
            Request::Similar { name } => self.list(now, Which::Like(name), reply),
            Request::Send { name, body, ttl_s, wait_ms } => {
                self.ask_send(now, sends::Wanted { name, body, ttl_s, wait_ms }, reply);
            }
            Request::Outbox => reply.finish(Status::Delivered, &self.outbox(now)),
            Request::Fate { id } => self.ask_fate(now, id.0, reply),
            Request::TakeBack { id } => self.take_back(now, id.0, reply),
            Request::Ping { name, series } if series == Series::default() => {
                self.ask(now, name, Content::Signal(Signal::Ping), Asked::Ping, reply);
            }
            Request::Ping { name, series } => self.ask_pings(now, name, series, reply),
            Request::EndPings { series } => self.end_pings(now, series.0, reply),
            Request::Trace { name } => {
                self.ask(now, name, Content::Signal(Signal::Ping), Asked::Trace, reply);
            }
            Request::Call { name, function, arguments, timeout_ms, id } => {
                let id = id.map(|id| id.0);
                self.ask_call(now, Wanted { name, function, arguments, timeout_ms, id }, reply);
            }
            Request::Pipe { name, channel, timeout_ms } => self.ask_pipe(now, name, channel, timeout_ms, reply),
            Request::Listen { channel, from } => self.listen(channel, from, reply),
            Request::Forward { at, to } => self.ask_forward(&at, &to, reply),
            Request::Socks { at } => self.ask_socks(&at, reply),
            Request::Expose { rule } => self.ask_expose(&rule, reply),
            Request::Connections => self.tell_connections(now, reply),
            Request::Tunnels => self.tell_tunnels(reply),
            Request::PipeEnd { pipe } => self.tell_pipe_end(pipe, reply),
            Request::Inbox { follow, from } => self.inbox.list(follow, from, reply),
            Request::Read { sequences } => self.inbox.read(sequences, reply),
            Request::Pins { name, after } => self.list_pins(name, after, reply),
            Request::Pin { name, key } => self.pin(now, name, key.0, reply),
            Request::Unpin { name } => self.unpin(now, name, reply),
            Request::Logout => self.ask_logout(now, reply),
            Request::Login => {
                self.stack.peer_mut().log_in(now);
                reply.finish(Status::Accepted, &self.session_answer());
            }
        }
    }

    /// Sends a signal whose fate `reply` waits for
    fn ask(&mut self, now: Instant, to: Name, content: Content, asked: Asked, reply: Reply) {
        let is_traced = matches!(asked, Asked::Trace);
        match self.stack.peer_mut().send(now, to, content, is_traced) {
            Ok(id) => self.waiting.for_fate(id, Asker { reply, asked }),
            Err(NotLoggedIn) => self.refuse_to_send(now, reply),
        }
    }

    pub(super) fn refuse_to_send(&self, now: Instant, reply: Reply) {
        let (status, answer) = self.status(now);
        let reason = answer.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let verb = match answer.state {
            State::LoggedOut => "login",
            _ => "status",
        };
        reply.refuse(status, format!("{} is not logged in{reason}", answer.name), Some(self.next(verb)));
    }

    fn ask_logout(&mut self, now: Instant, reply: Reply) {
        self.stack.log_out(now);
        if matches!(self.stack.peer().standing(), Standing::LoggedOut { .. }) {
            reply.finish(Status::Delivered, &self.session_answer());
        } else {
            self.waiting.for_logout(reply);
        }
    }

    pub(super) fn on_logged_out(&mut self) {
        for reply in self.waiting.take_logouts() {
            reply.finish(Status::Delivered, &self.session_answer());
        }
    }

    fn look_up(&mut self, now: Instant, name: Name, reply: Reply) {
        self.waiting.for_look_up(name.clone(), reply);
        self.stack.peer_mut().look_up(now, name);
    }

    pub(super) fn on_looked_up(&mut self, name: &Name, answer: Result<&Answer, Status>) {
        for reply in self.waiting.take_look_ups(name) {
            self.answer_look_up(name, answer, reply);
        }
    }

    fn list(&mut self, now: Instant, which: Which, reply: Reply) {
        let query = self.stack.peer_mut().list(now, which);
        self.waiting.for_list(query, reply);
    }

    pub(super) fn on_listed(&mut self, query: u64, answer: Result<Listing, Status>) {
        let Some(reply) = self.waiting.take_list(query) else { return };
        match answer {
            Ok(listing) => reply.finish(Status::Delivered, &peers_answer(&listing, self.is_home_cut_off())),
            Err(Status::SlowDown) => {
                reply.refuse(Status::SlowDown, "too many lists of names at once", Some("try again in a second".into()));
            }
            Err(_) if self.stack.peer().own().is_none() => self.refuse_to_send(self.clock.now(), reply),
            Err(status) => reply.refuse(status, "no supernode answers", Some(self.next("status"))),
        }
    }

    fn answer_look_up(&self, name: &Name, answer: Result<&Answer, Status>, reply: Reply) {
        let status = match answer {
            Ok(answer) => return reply.finish(Status::Delivered, &lookup_answer(answer)),
            Err(status) => status,
        };
        let (error, hint) = match status {
            Status::NotFound => (format!("nobody in this network is called {name}"), self.next("peers")),
            Status::Gone => (
                format!("{name} has logged out, or is not heard any more"),
                "its name stays its own: try again later".into(),
            ),
            Status::SlowDown => ("too many look-ups at once".into(), "try again in a second".into()),
            _ if self.stack.peer().own().is_none() => ("this peer is not logged in".into(), self.next("status")),
            _ => (format!("no supernode can say for sure, and nobody near knows {name}"), self.next("status")),
        };
        reply.refuse(status, error, Some(hint));
    }

    /// The whole command to type next
    pub(super) fn next(&self, verb: &str) -> String {
        format!("next: {}", self.home.command_anywhere(verb))
    }

    /// A send has come to its end; who asked for it may have hung up
    pub(super) fn on_done(&mut self, Outcome { fate, trace }: Outcome) {
        let Some(Asker { reply, asked }) = self.waiting.take_fate(&fate.id) else { return };
        let status = fate.status;
        match asked {
            Asked::Ping => reply.finish(status, &self.ping_answer(fate)),
            Asked::Trace => reply.finish(status, &self.trace_answer(&fate, trace.as_ref())),
        }
    }

    fn ping_answer(&self, fate: Fate) -> PingAnswer {
        PingAnswer {
            hops: self.hops_to(fate.status, &fate.to, &fate.path),
            path: self.path_to(fate.status, &fate.to, &fate.path),
            rtt_us: fate.status.is_success().then_some(fate.elapsed.as_micros() as u64),
            reason: reason(&fate),
            name: fate.to,
        }
    }

    /// Names from here to there, if it arrived; who is not known by name stands with the upper half of its address
    pub(super) fn path_to(&self, status: Status, to: &Name, path: &[PathHop]) -> Vec<String> {
        if !status.is_success() || self.is_own_name(to) {
            return Vec::new();
        }
        let from = self.stack.peer().own().into_iter().map(|own| own.name.to_string());
        let name = |hop: &PathHop| match (&hop.name, hop.relay) {
            (_, true) => SUPERNODE.to_owned(),
            (Some(name), false) => name.to_string(),
            (None, false) => hop.short.to_string(),
        };
        from.chain(path.iter().map(name)).chain([to.to_string()]).collect()
    }

    pub(super) fn is_own_name(&self, name: &Name) -> bool {
        self.stack.peer().own().is_some_and(|own| own.name == *name)
    }

    /// Links that it crossed; none if it was for this peer itself, or if that is not known
    pub(super) fn hops_to(&self, status: Status, to: &Name, path: &[PathHop]) -> u64 {
        if status.is_success() && !self.is_own_name(to) { path.len() as u64 + 1 } else { 0 }
    }

    fn trace_answer(&self, fate: &Fate, trace: Option<&Trace>) -> TraceAnswer {
        let stops = trace.filter(|_| !self.is_own_name(&fate.to)).map(|trace| trace.way(fate)).unwrap_or_default();
        let hops = (1..).zip(&stops).map(|(index, stop)| trace_hop(index, stop, &fate.to)).collect();
        let (relayed, attempts) = (is_relayed(&fate.path), fate.transmissions.into());
        TraceAnswer { name: fate.to.clone(), hops, relayed, attempts, reason: reason(fate) }
    }

    fn session_answer(&self) -> SessionAnswer {
        let (state, _, reason) = self.standing();
        let name = self.name.clone();
        SessionAnswer { name, state, reason }
    }

    /// Where the login stands: for people, as a code, and why
    fn standing(&self) -> (State, Status, Option<String>) {
        match self.stack.peer().standing() {
            Standing::LoggedIn { .. } => (State::LoggedIn, Status::Delivered, None),
            Standing::LoggedOut { reason } => {
                // The state says as much.
                let reason = Some(reason.to_string()).filter(|reason| *reason != State::LoggedOut.to_string());
                (State::LoggedOut, Status::NotLoggedIn, reason)
            }
            Standing::LoggingOut { .. } => (State::LoggedOut, Status::NotLoggedIn, Some("logging out".into())),
            Standing::Searching { status, reason, .. } => (State::Searching, status, Some(reason.to_string())),
            Standing::Joining { status, reason, .. } => (State::Joining, status, Some(reason.to_string())),
        }
    }

    /// How this peer is
    pub(super) fn status(&self, now: Instant) -> (Status, StatusAnswer) {
        let (state, mut status, mut reason) = self.standing();
        let supernode = match self.stack.peer().standing() {
            Standing::LoggedIn { supernode, .. } | Standing::Joining { supernode, .. } => Some(supernode),
            _ => None,
        };
        let neighbours = self.stack.peer().neighbourhood().neighbours();
        let (links_up, links) = link_counts(&neighbours);
        let home_silent_s = self.home_silence(now).map(|silence| silence.as_secs());
        // Logged in is not in the mesh: a home that misses its answers may be gone, and without a link nothing is forwarded.
        if state == State::LoggedIn
            && let Some(trouble) = trouble(home_silent_s, links_up, links)
        {
            (status, reason) = (Status::Unavailable, Some(trouble));
        }
        // Messages go on; it is for an operator to mend, and `kith-supernode status` says how.
        if state == State::LoggedIn && reason.is_none() && self.is_home_cut_off() {
            reason = Some("home hears too few other supernodes: what it says of others may be old".to_owned());
        }
        if matches!(state, State::Searching | State::Joining) && self.stack.peer().own().is_some() {
            let how = if self.stack.peer().is_guest() { "back by its last grant" } else { "by its session" };
            let meanwhile = format!("it is in the mesh {how}, with {links_up} of {links} links up");
            reason = Some(reason.map_or(meanwhile.clone(), |reason| format!("{reason}; meanwhile {meanwhile}")));
        }
        let inbox = self.inbox.totals();
        let answer = StatusAnswer {
            name: self.name.clone(),
            key: format!("{:?}", self.stack.peer().key()),
            peer_id: peer_id_of(&self.stack.peer().key()).map(|id| id.to_string()).unwrap_or_default(),
            address: self.stack.peer().own().map(|own| control::address(own.address)),
            state,
            reason,
            supernode,
            home: self.home_supernode(),
            supernodes: self.stack.peer().known_supernodes() as u64,
            network: self.stack.peer().network().map(|network| format!("{network:?}")),
            epoch: self.stack.peer().neighbourhood().epoch().unwrap_or_default().index,
            members: self.stack.peer().neighbourhood().members(),
            degree: self.stack.peer().neighbourhood().degree(),
            home_silent_s,
            links_up,
            links,
            inbox_messages: inbox.messages,
            inbox_bytes: inbox.bytes,
            outbox_messages: self.stack.messages() as u64,
            outbox_bytes: self.stack.outbox_bytes().0,
            uptime_s: now.since(Instant::ZERO).as_secs(),
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            listen: self.listen.texts(),
        };
        (status, answer)
    }

    /// Whether the home has said that it hears too few other supernodes
    fn is_home_cut_off(&self) -> bool {
        self.stack.peer().chosen_home().is_some_and(|home| home.is_cut_off)
    }

    /// The home, with where its link leads, which may be another location than the first that was dialled
    fn home_supernode(&self) -> Option<HomeSupernode> {
        let home = self.stack.peer().chosen_home()?;
        let dialled =
            self.stack.peer().home_link().and_then(|link| self.open.get(&link)).and_then(|open| open.location.as_ref());
        Some(HomeSupernode {
            serial: home.id.map(|id| id.0),
            location: dialled.map_or(home.location, |location| location.to_string()),
            rtt_us: home.rtt.map(|rtt| rtt.as_micros() as u64),
            load: home.load,
            reason: home.reason.to_string(),
        })
    }

    /// For how long home has owed an answer, if it has missed one
    fn home_silence(&self, now: Instant) -> Option<Duration> {
        let home = self.stack.peer().home_link().and_then(|link| self.open.get(&link))?;
        home.gauges.silent_since().map(|since| now.since(since))
    }

    fn neighbours(&self, now: Instant) -> NeighboursAnswer {
        let neighbours = self.stack.peer().neighbourhood().neighbours();
        let neighbours = neighbours.into_iter().map(|neighbour| self.neighbour(now, neighbour)).collect();
        NeighboursAnswer { epoch: self.stack.peer().neighbourhood().epoch().unwrap_or_default().index, neighbours }
    }

    fn neighbour(&self, now: Instant, status: NeighbourStatus) -> Neighbour {
        let open = status.link.and_then(|link| self.open.get(&link));
        let stats = open.map(|open| &open.gauges);
        // A link that is up goes where it was dialled, whatever else its peer announces; who dialled us is where it
        // listens only by its own word, and that may be out of reach.
        let location = match open {
            Some(open) => open.location.as_ref(),
            None => status.locations.first(),
        };
        let (state, reason) = match status.state {
            LinkStatus::Up => (
                LinkState::Up,
                status.held_until.map(|until| {
                    let left = (until - now).as_millis().div_ceil(1_000);
                    format!("comes and goes: held back for another {left} s")
                }),
            ),
            LinkStatus::Dialling => (LinkState::Dialling, None),
            LinkStatus::Leaving => (LinkState::Leaving, None),
            LinkStatus::Down { reason, .. } => (LinkState::Down, Some(reason.to_string())),
        };
        Neighbour {
            address: control::address(status.address),
            peer_id: peer_id_of(&status.key).map(|id| id.to_string()).unwrap_or_default(),
            state,
            reason,
            rtt_us: stats.and_then(|stats| stats.rtt()).map(|rtt| rtt.as_micros() as u64),
            direction: status.direction.map(|direction| match direction {
                link::Direction::Outgoing => peer::Direction::Outgoing,
                link::Direction::Incoming => peer::Direction::Incoming,
            }),
            location: location.map(|location| location.to_string()),
            since_s: now.since(status.since).as_secs(),
            bytes_in: stats.map_or(0, |stats| stats.bytes_in.get()),
            bytes_out: stats.map_or(0, |stats| stats.bytes_out.get()),
            name: status.name,
        }
    }
}

/// Of the links that the table asks for, how many are up, and how many there are
fn link_counts(neighbours: &[NeighbourStatus]) -> (u64, u64) {
    let wanted = || neighbours.iter().filter(|neighbour| neighbour.is_wanted);
    let up = wanted().filter(|neighbour| neighbour.state == LinkStatus::Up).count();
    (up as u64, wanted().count() as u64)
}

/// Why a peer that is logged in is not well, if it is not
fn trouble(home_silent_s: Option<u64>, links_up: u64, links: u64) -> Option<String> {
    let is_alone = links > 0 && links_up == 0;
    let alone = is_alone.then(|| format!("none of its {links} links is up"));
    let silent = home_silent_s.map(|seconds| format!("home silent for {seconds} s"));
    let troubles: Vec<String> = silent.into_iter().chain(alone).collect();
    (!troubles.is_empty()).then(|| troubles.join("; "))
}

fn lookup_answer(answer: &Answer) -> LookupAnswer {
    let key = answer.record.as_ref().map(|record| record.key);
    let locations = answer.record.iter().flat_map(|record| &record.locations).map(|l| l.to_string()).collect();
    LookupAnswer {
        name: answer.name.clone(),
        key: key.map(|key| format!("{key:?}")).unwrap_or_default(),
        peer_id: key.and_then(|key| peer_id_of(&key)).map(|id| id.to_string()).unwrap_or_default(),
        address: Some(control::address(answer.address)),
        locations,
        stale: answer.stale,
        source: match answer.source {
            Source::Supernode => peer::Source::Supernode,
            Source::Tables | Source::Neighbours => peer::Source::Neighbours,
            Source::Memory => peer::Source::Memory,
        },
    }
}

fn peers_answer(listing: &Listing, stale: bool) -> PeersAnswer {
    let peer = |listed: &Listed| {
        let (state, address) = match listed.presence {
            Presence::Here(address) => (MemberState::LoggedIn, Some(control::address(address))),
            Presence::Suspect => (MemberState::Suspect, None),
            Presence::Away => (MemberState::LoggedOut, None),
        };
        peer::Peer { name: listed.name.clone(), state, address }
    };
    let peers: Vec<_> = listing.listed.iter().map(peer).collect();
    PeersAnswer { names: listing.names, members: listing.members, more: peers.len() == LISTED_MAX, stale, peers }
}

fn trace_hop(index: u64, stop: &Stop, destination: &Name) -> TraceHop {
    let (choice, reason) = peer::explain(stop.choice, destination);
    let address = stop.address.map(|known| match known {
        KnownAddress::Whole(address) => control::address(address),
        KnownAddress::Upper(short) => short.to_string(),
    });
    let name = match (&stop.name, stop.choice, &address) {
        (Some(name), _, _) => name.to_string(),
        (None, Some(Choice::Relay), _) => SUPERNODE.to_owned(),
        (None, _, address) => address.as_deref().map_or("?", short).to_owned(),
    };
    let rtt_us = stop.rtt.map(|rtt| rtt.as_micros() as u64);
    TraceHop { index, name, address, rtt_us, choice: choice.into(), reason }
}

pub(super) fn is_relayed(path: &[PathHop]) -> bool {
    path.iter().any(|hop| hop.relay)
}

/// Why a message was not delivered
fn reason(fate: &Fate) -> Option<String> {
    (!fate.status.is_success()).then(|| fate.why())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_with_a_silent_home_or_without_a_link_is_not_well() {
        assert_eq!(trouble(None, 1, 4), None);
        assert_eq!(trouble(None, 0, 0), None, "the only member has nobody to be linked to");
        assert_eq!(trouble(None, 0, 4).as_deref(), Some("none of its 4 links is up"));
        assert_eq!(trouble(Some(3), 2, 4).as_deref(), Some("home silent for 3 s"));
        assert_eq!(trouble(Some(3), 0, 4).as_deref(), Some("home silent for 3 s; none of its 4 links is up"));
    }
}
