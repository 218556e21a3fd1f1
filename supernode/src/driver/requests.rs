//! The verbs of the control socket.

use kith_common::directory::{Session, SuspectReason};
use kith_common::id::Name;
use kith_node::control;
use kith_node::control::server::Reply;
use kith_node::identity::peer_id_of;

use super::*;
use crate::control::{Member, MemberState, PeersAnswer, PlaceOnRing, RingAnswer, StatusAnswer, TableEntry};

impl Driver {
    pub(super) fn handle_request(&mut self, ControlRequest { request, reply }: ControlRequest<Request>) {
        match request {
            Request::Status => reply.finish(Status::Delivered, &self.status()),
            Request::Peers => reply.finish(Status::Delivered, &self.peers()),
            Request::Lookup { name } => self.look_up(&name, reply),
            Request::Ring => reply.finish(Status::Delivered, &self.ring()),
            Request::Release { name } => self.release(name, reply),
        }
    }

    fn status(&self) -> StatusAnswer {
        let key = kith_common::crypto::Signer::key(&self.identity);
        StatusAnswer {
            network: format!("{:?}", self.network.id()),
            key: format!("{key:?}"),
            peer_id: peer_id_of(&key).map(|id| id.to_string()).unwrap_or_default(),
            listen: self.listen.clone(),
            degree: self.directory.degree(),
            lease_s: self.admission.lease.as_secs(),
            epoch: self.directory.epoch().0,
            log_index: self.directory.applied(),
            names: self.directory.accounts().len() as u64,
            members: self.directory.members().len() as u64,
            suspects: self.directory.suspects().count() as u64,
            unreachable_pairs: self.directory.pairs().count() as u64,
            homes: self.homes.len() as u64,
            connections: self.connections.len() as u64,
            secret_required: self.admission.secret.is_some(),
            uptime_s: self.clock.now().since(Instant::ZERO).as_secs(),
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
        }
    }

    fn peers(&self) -> PeersAnswer {
        let peers = self.directory.accounts().map(|(name, account)| {
            let session = account.session.and_then(|session| self.directory.session(session));
            self.member(name, account.key, session)
        });
        PeersAnswer { peers: peers.collect() }
    }

    fn member(&self, name: &Name, key: Key, session: Option<&Session>) -> Member {
        Member {
            name: name.clone(),
            key: format!("{key:?}"),
            peer_id: peer_id_of(&key).map(|id| id.to_string()).unwrap_or_default(),
            state: match session {
                None => MemberState::LoggedOut,
                Some(session) if session.suspect.is_some() => MemberState::Suspect,
                Some(_) => MemberState::LoggedIn,
            },
            reason: session.and_then(|session| session.suspect).map(SuspectReason::text).map(str::to_owned),
            address: session.map(|session| control::address(session.address)),
            locations: session.iter().flat_map(|s| &s.locations).map(|location| location.to_string()).collect(),
            home: session.is_some_and(|session| self.homes.contains_key(&session.id)),
            since_epoch: session.map(|session| session.epoch.0),
        }
    }

    fn look_up(&self, name: &Name, reply: Reply) {
        let Some(account) = self.directory.account(name) else {
            return reply.refuse(
                Status::NotFound,
                format!("nobody is called {name}"),
                Some("kith-supernode peers".into()),
            );
        };
        let session = account.session.and_then(|session| self.directory.session(session));
        let status = if session.is_some() { Status::Delivered } else { Status::Gone };
        reply.finish(status, &self.member(name, account.key, session));
    }

    fn ring(&self) -> RingAnswer {
        let place = |address| {
            let session = self.directory.by_address(address)?;
            let rewire = self.directory.neighbourhood(address)?;
            let neighbours = rewire
                .neighbours
                .iter()
                .map(|record| TableEntry { name: record.name.clone(), address: control::address(record.address) });
            Some(PlaceOnRing {
                name: session.name.clone(),
                address: control::address(address),
                table_epoch: rewire.epoch.0,
                neighbours: neighbours.collect(),
            })
        };
        RingAnswer { epoch: self.directory.epoch().0, ring: self.directory.ring().filter_map(place).collect() }
    }

    fn release(&mut self, name: Name, reply: Reply) {
        self.journal.push(Command::Release { name }, Then::Answer(reply));
    }
}
