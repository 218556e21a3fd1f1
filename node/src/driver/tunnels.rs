//! Tunnels: which there are, the pipes that programs want by them, and the destinations that peers ask for.

use std::collections::BTreeMap;
use std::net::IpAddr;

use kith_common::id::Name;
use kith_common::mail::NotLoggedIn;
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_runtime::control::peer::{TUNNEL_PIPES_MAX, Tunnel as Told, TunnelLeads, TunnelState, TunnelsAnswer};
use kith_runtime::control::server::Reply;
use kith_transport::Called;
use kith_transport::stack::{CALL_TIMEOUT, CALLS_MAX};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::Driver;
use super::waiting::Caller;
use crate::piping::{Ends, Opened, ProgramEvent, TunnelNews, Wanted};
use crate::tunnels::{Destination, Entrance, Exposed, Forwarded, Kept, Leads, TUNNELS_MAX, dial, hold, serve};

/// Destinations that are dialled at once, for a few seconds each where nobody answers: as many as may be called for at once
const REACHING_MAX: usize = 1_024;

/// What a tunnel is
#[derive(Debug)]
enum Kind {
    Entrance { leads: TunnelLeads },
    Exposed(Exposed),
}

#[derive(Debug)]
struct Tunnel {
    kind: Kind,
    is_kept: bool,
    state: TunnelState,
    reason: Option<String>,
    opened: u64,
    failed: u64,
    /// Of pipes that have ended
    sent: u64,
    received: u64,
    /// That which takes programs in, or waits until the asker hangs up
    task: Option<JoinHandle<()>>,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// A destination that is being dialled for somebody
#[derive(Debug)]
struct Reaching {
    with: Name,
    leads_to: String,
    /// By whose rule
    tunnel: u64,
}

/// All tunnels of this peer
#[derive(Debug, Default)]
pub(super) struct Tunnels {
    all: BTreeMap<u64, Tunnel>,
    last: u64,
    /// By the tickets of the pipes that are asked for
    reaching: BTreeMap<u64, Reaching>,
}

impl Tunnels {
    /// Those of the configuration, from this moment on
    pub(super) fn start(kept: Kept, events: &mpsc::Sender<ProgramEvent>) -> Self {
        let mut tunnels = Self::default();
        for rule in kept.exposed {
            tracing::info!(event = "exposed", rule = %rule, reason = "the configuration says so");
            tunnels.add(Kind::Exposed(rule), TunnelState::Open, |_| None);
        }
        let forwarded = kept.forwarded.into_iter().map(of_forwarded);
        let socks = kept.socks.into_iter().map(of_socks);
        for (kind, entrance, leads) in forwarded.chain(socks) {
            let task = |number| Some(tokio::spawn(serve(number, entrance, leads, events.clone(), None)));
            tunnels.add(kind, TunnelState::Starting, task);
        }
        tunnels.all.values_mut().for_each(|tunnel| tunnel.is_kept = true);
        tunnels
    }

    fn add(&mut self, kind: Kind, state: TunnelState, task: impl FnOnce(u64) -> Option<JoinHandle<()>>) {
        self.last += 1;
        let (reason, task) = (None, task(self.last));
        let counts = (0, 0, 0, 0);
        let (opened, failed, sent, received) = counts;
        self.all
            .insert(self.last, Tunnel { kind, is_kept: false, state, reason, opened, failed, sent, received, task });
    }

    /// The rules that may let somebody reach a destination, and the first one's number
    fn rules(&self, name: &Name, destination: &Destination) -> (Option<u64>, Vec<Exposed>) {
        let exposed = self.all.iter().filter_map(|(number, tunnel)| match &tunnel.kind {
            Kind::Exposed(rule) if rule.is_for(name) && rule.may_be_about(destination) => Some((*number, rule.clone())),
            _ => None,
        });
        let (numbers, rules): (Vec<_>, Vec<_>) = exposed.unzip();
        (numbers.first().copied(), rules)
    }

    fn count(&mut self, number: u64, failed: Option<String>) {
        let Some(tunnel) = self.all.get_mut(&number) else { return };
        match failed {
            // What was wrong is mended.
            None => (tunnel.opened, tunnel.reason) = (tunnel.opened + 1, None),
            Some(reason) => {
                tunnel.failed += 1;
                tunnel.reason = Some(reason);
            }
        }
    }

    /// A pipe has ended
    pub(super) fn count_ended(&mut self, tunnel: Option<u64>, sent: u64, received: u64) {
        if let Some(tunnel) = tunnel.and_then(|number| self.all.get_mut(&number)) {
            tunnel.sent += sent;
            tunnel.received += received;
        }
    }
}

fn of_forwarded(Forwarded { at, to, destination }: Forwarded) -> (Kind, Entrance, Leads) {
    let leads = TunnelLeads::Forward { at: at.to_string(), name: to.clone(), destination: destination.to_string() };
    (Kind::Entrance { leads }, at, Leads::To { name: to, destination })
}

fn of_socks(at: Entrance) -> (Kind, Entrance, Leads) {
    (Kind::Entrance { leads: TunnelLeads::Socks { at: at.to_string() } }, at, Leads::Asked)
}

impl Driver {
    pub(super) fn ask_forward(&mut self, at: &str, to: &str, reply: Reply) {
        match Forwarded::parse(at, to) {
            Ok(forwarded) => self.add_entrance(of_forwarded(forwarded), reply),
            Err(error) => reply.refuse(Status::Malformed, error.to_string(), None),
        }
    }

    pub(super) fn ask_socks(&mut self, at: &str, reply: Reply) {
        match at.parse::<Entrance>() {
            Ok(at @ Entrance::Port(_)) => self.add_entrance(of_socks(at), reply),
            Ok(Entrance::Unix(_)) => reply.refuse(Status::Malformed, "SOCKS is spoken at a port", None),
            Err(error) => reply.refuse(Status::Malformed, error.to_string(), None),
        }
    }

    fn add_entrance(&mut self, (kind, entrance, leads): (Kind, Entrance, Leads), reply: Reply) {
        let Some(reply) = self.has_place(reply) else { return };
        let events = self.program_events.clone();
        let task = |number| Some(tokio::spawn(serve(number, entrance, leads, events, Some(reply))));
        self.tunnels.add(kind, TunnelState::Starting, task);
    }

    pub(super) fn ask_expose(&mut self, rule: &str, reply: Reply) {
        let rule = match rule.parse::<Exposed>() {
            Ok(rule) => rule,
            Err(error) => return reply.refuse(Status::Malformed, error.to_string(), None),
        };
        let Some(reply) = self.has_place(reply) else { return };
        tracing::info!(event = "exposed", rule = %rule, reason = "somebody has asked for it");
        let events = self.program_events.clone();
        let task = |number| Some(tokio::spawn(hold(number, events, reply)));
        self.tunnels.add(Kind::Exposed(rule), TunnelState::Open, task);
    }

    /// The reply, if there may be one more tunnel
    fn has_place(&self, reply: Reply) -> Option<Reply> {
        if self.tunnels.all.len() < TUNNELS_MAX {
            return Some(reply);
        }
        let hint = Some(self.next("tunnels"));
        reply.refuse(Status::SlowDown, format!("there are {TUNNELS_MAX} tunnels already"), hint);
        None
    }

    pub(super) fn tell_tunnels(&self, reply: Reply) {
        let tunnels = self.tunnels.all.iter().map(|(number, tunnel)| self.told(*number, tunnel)).collect();
        let (pipes, open) = (self.pipes.open_pipes().take(TUNNEL_PIPES_MAX).collect(), self.pipes.open_count() as u64);
        reply.finish(Status::Delivered, &TunnelsAnswer { tunnels, pipes, open });
    }

    fn told(&self, number: u64, tunnel: &Tunnel) -> Told {
        let of_it = || self.pipes.open_pipes().filter(|pipe| pipe.tunnel == Some(number));
        let Tunnel { kind, is_kept: kept, state, reason, opened, failed, sent, received, .. } = tunnel;
        Told {
            tunnel: number,
            leads: match kind {
                Kind::Entrance { leads } => leads.clone(),
                Kind::Exposed(rule) => TunnelLeads::Expose { rule: rule.to_string() },
            },
            kept: *kept,
            state: *state,
            reason: reason.clone(),
            open: of_it().count() as u64,
            opened: *opened,
            failed: *failed,
            sent: sent + of_it().map(|pipe| pipe.sent).sum::<u64>(),
            received: received + of_it().map(|pipe| pipe.received).sum::<u64>(),
        }
    }

    /// Something has become of a tunnel
    pub(super) fn on_tunnel(&mut self, now: Instant, number: u64, news: TunnelNews) {
        let Some(tunnel) = self.tunnels.all.get_mut(&number) else { return };
        match news {
            TunnelNews::Listening { at } => {
                tracing::info!(event = "tunnel_open", tunnel = number, at);
                (tunnel.state, tunnel.reason) = (TunnelState::Open, None);
                if let Kind::Entrance {
                    leads: TunnelLeads::Forward { at: told, .. } | TunnelLeads::Socks { at: told },
                } = &mut tunnel.kind
                {
                    *told = at;
                }
            }
            TunnelNews::Troubled { reason } => {
                if tunnel.reason.as_ref() != Some(&reason) {
                    tracing::warn!(event = "tunnel_troubled", tunnel = number, reason);
                }
                (tunnel.state, tunnel.reason) = (TunnelState::Troubled, Some(reason));
            }
            TunnelNews::Ended => {
                tracing::info!(
                    event = "tunnel_ended",
                    tunnel = number,
                    reason = "whoever has asked for it has hung up"
                );
                self.tunnels.all.remove(&number);
                for pipe in self.pipes.of_tunnel(number) {
                    self.break_off(now, pipe, Status::Gone, "the tunnel was ended");
                }
            }
        }
    }

    /// A program has come by a tunnel
    pub(super) fn on_wanted(&mut self, now: Instant, Wanted { tunnel, to, opening, answer }: Wanted) {
        self.make_room(self.stack.calls() >= CALLS_MAX);
        let leads_to = match Destination::of_opening(&opening) {
            Some(Ok(destination)) => destination.to_string(),
            _ => opening.service.to_string(),
        };
        match self.stack.ask_for_pipe(now, to, &opening, now + CALL_TIMEOUT) {
            Ok(id) => self.waiting.for_call(id, Caller::Tunnel { tunnel, leads_to, answer }),
            Err(NotLoggedIn) => {
                self.refuse_wanted(
                    tunnel,
                    &leads_to,
                    Status::NotLoggedIn,
                    "this peer is not logged in".to_owned(),
                    answer,
                );
            }
        }
    }

    /// The pipe that a program of a tunnel has wanted is open, or will not be
    pub(super) fn on_tunnel_called(
        &mut self,
        now: Instant,
        called: &Called,
        tunnel: u64,
        leads_to: &str,
        answer: oneshot::Sender<Opened>,
    ) {
        let Some(pipe) = called.pipe else {
            return self.refuse_wanted(tunnel, leads_to, called.status, called.why(), answer);
        };
        self.begin(pipe, &called.to, leads_to, "a program has come by a tunnel", Some(tunnel));
        self.tunnels.count(tunnel, None);
        if answer.send(Ok(pipe)).is_err() {
            self.break_off(now, pipe, Status::Gone, "the tunnel was ended");
        }
    }

    fn refuse_wanted(
        &mut self,
        tunnel: u64,
        leads_to: &str,
        status: Status,
        reason: String,
        answer: oneshot::Sender<Opened>,
    ) {
        tracing::info!(event = "pipe_not_opened", tunnel, leads_to, %status, reason);
        self.tunnels.count(tunnel, Some(format!("{status}: {reason}")));
        // The program may have gone by now.
        let _ = answer.send(Err((status, reason)));
    }

    /// Another peer wants to reach something by way of this one
    pub(super) fn on_tunnel_asked(
        &mut self,
        now: Instant,
        ticket: u64,
        from: &Name,
        destination: Result<Destination, impl std::error::Error>,
    ) {
        let destination = match destination {
            Ok(destination) => destination,
            Err(error) => return self.refuse_reached(now, ticket, from, "?", Status::Malformed, &error.to_string()),
        };
        let (rule, rules) = self.tunnels.rules(from, &destination);
        let leads_to = destination.to_string();
        let Some(tunnel) = rule else {
            let reason = format!("{leads_to} is not exposed to {from}");
            return self.refuse_reached(now, ticket, from, &leads_to, Status::NotAllowed, &reason);
        };
        if self.tunnels.reaching.len() >= REACHING_MAX {
            let reason = "too many destinations are being dialled there";
            return self.refuse_reached(now, ticket, from, &leads_to, Status::SlowDown, reason);
        }
        self.tunnels.reaching.insert(ticket, Reaching { with: from.clone(), leads_to, tunnel });
        let events = self.program_events.clone();
        tokio::spawn(async move {
            let allows = |ip: IpAddr| rules.iter().any(|rule| rule.allows(ip));
            let reached = dial(&destination, allows).await;
            // Without a driver nobody waits either.
            let _ = events.send(ProgramEvent::Reached { ticket, reached }).await;
        });
    }

    /// What somebody wants to reach was dialled
    pub(super) fn on_reached(&mut self, now: Instant, ticket: u64, reached: Result<Ends, (Status, String)>) {
        let Some(Reaching { with, leads_to, tunnel }) = self.tunnels.reaching.remove(&ticket) else { return };
        let ends = match reached {
            Ok(ends) if self.tunnels.all.contains_key(&tunnel) => ends,
            Ok(_) => {
                let reason = format!("{leads_to} is not exposed to {with} any more");
                return self.refuse_reached(now, ticket, &with, &leads_to, Status::NotAllowed, &reason);
            }
            Err((status, reason)) => {
                self.tunnels.count(tunnel, Some(format!("{status}: {reason}")));
                return self.refuse_reached(now, ticket, &with, &leads_to, status, &reason);
            }
        };
        // Whoever has asked may not wait any more: what was dialled is reset.
        let Ok(pipe) = self.stack.take_pipe(now, ticket) else { return };
        self.tunnels.count(tunnel, None);
        self.begin(pipe, &with, &leads_to, "a rule exposes it", Some(tunnel));
        self.handle_program(now, pipe, Some(ends));
    }

    fn refuse_reached(&mut self, now: Instant, ticket: u64, with: &Name, leads_to: &str, status: Status, reason: &str) {
        tracing::info!(event = "pipe_refused", %with, leads_to, %status, reason);
        self.stack.refuse_pipe(now, ticket, status, reason);
    }
}
