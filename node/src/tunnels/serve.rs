//! Taking programs in at an entrance: a task for each entrance, and one for each program until it has its pipe.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use kith_common::id::Name;
use kith_common::status::Status;
use kith_common::wire::content::Opening;
use kith_runtime::control::peer::TunnelLine;
use kith_runtime::control::server::Reply;
use tokio::net::{TcpListener, UdpSocket, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::destination::Destination;
use super::entrance::Entrance;
use super::{datagrams, socks, stream};
use crate::piping::{Ends, Opened, ProgramEvent, TunnelNews, Wanted};

/// Programs of one entrance that wait for their pipes; whoever comes next waits in the system's queue
const OPENING_MAX: usize = 256;
/// Flows of datagrams of one entrance, each a pipe; datagrams of one more are dropped until one is over
const FLOWS_MAX: usize = 256;
/// An entrance that is another program's is tried again so often
const RETRY_EVERY: Duration = Duration::from_secs(5);
/// A socket that has failed is read again so soon
const RECEIVE_AGAIN: Duration = Duration::from_millis(1);
/// Where the system has no descriptor left, some are closed soon
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Where an entrance leads
#[derive(Clone, Debug)]
pub(crate) enum Leads {
    To {
        name: Name,
        destination: Destination,
    },
    /// To whatever peer's port a program asks for
    Asked,
}

/// What a task of a tunnel knows
#[derive(Clone)]
struct Tunnel {
    number: u64,
    events: mpsc::Sender<ProgramEvent>,
}

/// An entrance that is open
enum Listening {
    Tcp(TcpListener),
    Udp(UdpSocket),
    Unix(UnixListener, OwnPath),
}

/// The file of a socket, which goes with it
struct OwnPath(PathBuf);

impl Drop for OwnPath {
    fn drop(&mut self) {
        // Somebody may have taken it away.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Tunnel {
    async fn tell(&self, news: TunnelNews) {
        // Without a driver there is no tunnel either.
        let _ = self.events.send(ProgramEvent::Tunnel { tunnel: self.number, news }).await;
    }

    /// Asks for a pipe, and waits for it
    async fn open(&self, to: Name, opening: Opening) -> Opened {
        let (answer, opened) = oneshot::channel();
        let wanted = Wanted { tunnel: self.number, to, opening, answer };
        let ended = || (Status::Unavailable, "the daemon is ending".to_owned());
        self.events.send(ProgramEvent::Wanted(wanted)).await.map_err(|_| ended())?;
        opened.await.unwrap_or_else(|_| Err(ended()))
    }

    async fn hand_over(&self, pipe: kith_transport::PipeId, ends: Option<Ends>) {
        // Without a driver there is no pipe either.
        let _ = self.events.send(ProgramEvent::HandedOver { pipe, ends }).await;
    }
}

/// Takes in whoever comes to an entrance: for as long as the asker of `reply` does not hang up, or else as long as the daemon lives
pub(crate) async fn serve(
    number: u64,
    entrance: Entrance,
    leads: Leads,
    events: mpsc::Sender<ProgramEvent>,
    reply: Option<Reply>,
) {
    let tunnel = Tunnel { number, events };
    let Some(reply) = reply else { return keep(&tunnel, &entrance, &leads).await };
    match listen(&entrance, &leads).await {
        Ok(listening) => {
            let at = listening.at(&entrance);
            tunnel.tell(TunnelNews::Listening { at: at.clone() }).await;
            if reply.line(&TunnelLine { tunnel: number, at: Some(at) }).await.is_ok() {
                tokio::select! {
                    () = take_in(&tunnel, listening, &leads) => {}
                    () = reply.hung_up() => {}
                }
            }
        }
        Err(error) => {
            let hint = match error.kind() {
                io::ErrorKind::PermissionDenied => "ports below 1024 are the system's: choose another one",
                _ => "choose another one, or port 0 for any",
            };
            reply.refuse(Status::Conflict, format!("nobody can listen at {entrance}: {error}"), Some(hint.to_owned()));
        }
    }
    tunnel.tell(TunnelNews::Ended).await;
}

/// Tries until it may listen, and listens until the task is ended
async fn keep(tunnel: &Tunnel, entrance: &Entrance, leads: &Leads) {
    loop {
        match listen(entrance, leads).await {
            Ok(listening) => {
                tunnel.tell(TunnelNews::Listening { at: listening.at(entrance) }).await;
                return take_in(tunnel, listening, leads).await;
            }
            Err(error) => {
                tunnel.tell(TunnelNews::Troubled { reason: error.to_string() }).await;
                tokio::time::sleep(RETRY_EVERY).await;
            }
        }
    }
}

/// What stands until its asker hangs up, and needs no entrance
pub(crate) async fn hold(tunnel: u64, events: mpsc::Sender<ProgramEvent>, reply: Reply) {
    if reply.line(&TunnelLine { tunnel, at: None }).await.is_ok() {
        reply.hung_up().await;
    }
    Tunnel { number: tunnel, events }.tell(TunnelNews::Ended).await;
}

async fn listen(entrance: &Entrance, leads: &Leads) -> io::Result<Listening> {
    let is_udp = matches!(leads, Leads::To { destination, .. } if destination.is_udp());
    match entrance {
        Entrance::Port(at) if is_udp => UdpSocket::bind(at).await.map(Listening::Udp),
        Entrance::Port(at) => TcpListener::bind(at).await.map(Listening::Tcp),
        Entrance::Unix(path) => {
            let listener = listen_at_path(path).await?;
            Ok(Listening::Unix(listener, OwnPath(path.clone())))
        }
    }
}

/// As the owner of this process alone may, in place of a socket at which nobody listens any more
async fn listen_at_path(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket && UnixStream::connect(path).await.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    // Nobody is taken in before that.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

impl Listening {
    /// Where, with the port that the system has chosen
    fn at(&self, entrance: &Entrance) -> String {
        let at = match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Udp(socket) => socket.local_addr().ok(),
            Self::Unix(..) => None,
        };
        at.map_or_else(|| entrance.to_string(), |at| at.to_string())
    }
}

async fn take_in(tunnel: &Tunnel, listening: Listening, leads: &Leads) {
    match listening {
        Listening::Udp(socket) => {
            if let Leads::To { name, destination } = leads {
                take_datagrams(tunnel, socket, name, &destination.opening()).await;
            }
        }
        Listening::Tcp(listener) => {
            let lead = |stream| lead_tcp(tunnel.clone(), leads.clone(), stream);
            take_programs(|cx| listener.poll_accept(cx).map_ok(|(stream, _)| stream), lead).await;
        }
        Listening::Unix(listener, _path) => {
            let lead = |stream| lead_unix(tunnel.clone(), leads.clone(), stream);
            take_programs(|cx| listener.poll_accept(cx).map_ok(|(stream, _)| stream), lead).await;
        }
    }
}

/// Accepts for ever; ended, all that wait for their pipes are ended too
async fn take_programs<S, F>(mut accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>>, lead: impl Fn(S) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(OPENING_MAX));
    let mut leading = JoinSet::new();
    loop {
        while leading.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match poll_fn(&mut accept).await {
            Ok(program) => _ = leading.spawn(held(place, lead(program))),
            Err(error) => {
                tracing::warn!(event = "program_not_taken_in", reason = %error);
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

async fn held(place: OwnedSemaphorePermit, leading: impl Future<Output = ()>) {
    leading.await;
    drop(place);
}

async fn lead_tcp(tunnel: Tunnel, leads: Leads, stream: tokio::net::TcpStream) {
    match leads {
        Leads::To { name, destination } => lead(&tunnel, name, &destination, stream::of_tcp(stream)).await,
        Leads::Asked => {
            let Some(asking) = socks::ask(stream).await else { return };
            match tunnel.open(asking.to.clone(), asking.destination.opening()).await {
                Ok(pipe) => tunnel.hand_over(pipe, asking.connected().await.map(stream::of_tcp)).await,
                Err((status, _)) => asking.refused(status).await,
            }
        }
    }
}

async fn lead_unix(tunnel: Tunnel, leads: Leads, stream: UnixStream) {
    if let Leads::To { name, destination } = leads {
        lead(&tunnel, name, &destination, stream::of_unix(stream)).await;
    }
}

async fn lead(tunnel: &Tunnel, name: Name, destination: &Destination, ends: Ends) {
    // Dropped it is reset; the driver has told why.
    if let Ok(pipe) = tunnel.open(name, destination.opening()).await {
        tunnel.hand_over(pipe, Some(ends)).await;
    }
}

/// A flow for each address from which datagrams come
async fn take_datagrams(tunnel: &Tunnel, socket: UdpSocket, to: &Name, opening: &Opening) {
    let socket = Arc::new(socket);
    let (mut flows, mut running) = (HashMap::<SocketAddr, datagrams::Waiting>::new(), JoinSet::new());
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        while running.try_join_next().is_some() {}
        let (bytes, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // An answer that nobody has taken (ICMP) is no fault of the entrance.
            Err(error) => {
                tracing::debug!(event = "datagram_lost", reason = %error);
                // One that stays is not asked about all the time.
                tokio::time::sleep(RECEIVE_AGAIN).await;
                continue;
            }
        };
        let datagram = buffer.get(..bytes).unwrap_or_default();
        if flows.get(&from).is_some_and(|flow| datagrams::put(flow, datagram)) {
            continue;
        }
        flows.retain(|_, flow| !flow.is_closed());
        if flows.len() >= FLOWS_MAX {
            tracing::debug!(event = "datagram_dropped", flows_max = FLOWS_MAX, reason = "too many flows");
            continue;
        }
        let (flow, from_socket) = datagrams::waiting();
        datagrams::put(&flow, datagram);
        flows.insert(from, flow);
        let (tunnel, to, opening, socket) = (tunnel.clone(), to.clone(), opening.clone(), Arc::clone(&socket));
        running.spawn(async move {
            if let Ok(pipe) = tunnel.open(to, opening).await {
                let (ends, own) = datagrams::framed();
                tunnel.hand_over(pipe, Some(ends)).await;
                datagrams::relay_to(socket, from, own, from_socket).await;
            }
        });
    }
}
