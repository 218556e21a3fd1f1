//! Lists for operators, which may have a million lines: a task for each asker takes them page by page from the loop, and
//! tells them one by one, as fast as they are read. The loop makes a page at a time, between its other work.

use kith_common::id::{Address, Name};
use kith_common::status::Status;
use kith_runtime::control::server::{HungUp, Reply};
use kith_runtime::control::supernode::{Member, MemberState, PeersAnswer, PlaceOnRing, RingAnswer};
use kith_runtime::sync;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::Driver;

/// Entries of a page: their tables take the loop about a millisecond, which nobody on a link notices
const PAGE: usize = 64;

/// Pages that wait for the loop; whoever wants another one waits, too
const PAGES_MAX: usize = 16;

/// A page that somebody wants: the entries behind one, each with what the next page begins behind
#[derive(Debug)]
pub(super) enum Wanted {
    Peers { after: Option<Name>, page: oneshot::Sender<Vec<(Name, Member)>> },
    Ring { after: Option<Address>, page: oneshot::Sender<Vec<(Address, PlaceOnRing)>> },
}

/// Starts lists, and is told which pages they want
pub(super) struct Listing {
    wanting: mpsc::Sender<Wanted>,
    wanted: mpsc::Receiver<Wanted>,
}

/// Why a list was not told to its end
enum Cut {
    /// The asker has hung up
    HungUp,
    /// The loop has ended
    Ended,
}

impl From<HungUp> for Cut {
    fn from(_: HungUp) -> Self {
        Self::HungUp
    }
}

impl Listing {
    pub(super) fn new() -> Self {
        let (wanting, wanted) = mpsc::channel(PAGES_MAX);
        Self { wanting, wanted }
    }

    /// The next page that is wanted
    pub(super) async fn wanted(&mut self) -> Option<Wanted> {
        self.wanted.recv().await
    }

    /// Tells every name and how its owner is, which may be old if it is `stale`
    pub(super) fn list_peers(&self, stale: bool, reply: Reply) {
        let wanting = self.wanting.clone();
        sync::spawn(async move {
            let mut answer = PeersAnswer { names: 0, members: 0, stale };
            let count = |member: &Member| {
                answer.names += 1;
                answer.members += u64::from(member.state == MemberState::LoggedIn);
            };
            let told = tell(&wanting, |after, page| Wanted::Peers { after, page }, count, &reply).await;
            finish(told, reply, &answer);
        });
    }

    /// Tells everybody in the ring, whose tables are of this `epoch` at most unless they change meanwhile
    pub(super) fn list_ring(&self, epoch: u64, reply: Reply) {
        let wanting = self.wanting.clone();
        sync::spawn(async move {
            let mut answer = RingAnswer { epoch, members: 0 };
            let count = |_: &PlaceOnRing| answer.members += 1;
            let told = tell(&wanting, |after, page| Wanted::Ring { after, page }, count, &reply).await;
            finish(told, reply, &answer);
        });
    }
}

/// Tells one entry after the other, and counts it, until a page has none
async fn tell<K, T: Serialize>(
    wanting: &mpsc::Sender<Wanted>,
    want: impl Fn(Option<K>, oneshot::Sender<Vec<(K, T)>>) -> Wanted,
    mut count: impl FnMut(&T),
    reply: &Reply,
) -> Result<(), Cut> {
    let mut after = None;
    loop {
        let (page, made) = oneshot::channel();
        wanting.send(want(after.take(), page)).await.map_err(|_| Cut::Ended)?;
        let entries = made.await.map_err(|_| Cut::Ended)?;
        if entries.is_empty() {
            return Ok(());
        }
        for (key, entry) in entries {
            reply.line(&entry).await?;
            count(&entry);
            after = Some(key);
        }
    }
}

fn finish(told: Result<(), Cut>, reply: Reply, answer: &impl Serialize) {
    match told {
        Ok(()) => reply.finish(Status::Delivered, answer),
        Err(Cut::HungUp) => {}
        Err(Cut::Ended) => reply.refuse(Status::Unavailable, "the daemon is ending", None),
    }
}

impl Driver {
    /// Makes a page that is wanted; whoever has hung up meanwhile does not need it
    pub(super) fn make_page(&self, wanted: Wanted) {
        let directory = self.core.directory();
        match wanted {
            Wanted::Peers { after, page } => {
                let accounts = directory.accounts_after(after.as_ref()).take(PAGE);
                let members = accounts.map(|(name, account)| {
                    let session = account.session.and_then(|session| directory.session(session));
                    (name.clone(), self.member(name, account.key, session))
                });
                let _ = page.send(members.collect());
            }
            Wanted::Ring { after, page } => {
                let sessions = directory.ring_after(after).take(PAGE);
                let places = sessions.filter_map(|session| Some((session.address, self.place(session)?)));
                let _ = page.send(places.collect());
            }
        }
    }
}

#[cfg(test)]
#[cfg(feature = "schedules")]
mod schedules;

#[cfg(test)]
mod tests {
    use super::*;

    /// More than ever fitted into one line of an answer
    const MANY: usize = 5_000;

    pub(super) fn place(at: u64) -> (Address, PlaceOnRing) {
        let (name, address) = (format!("n{at:05}").parse().unwrap(), format!("{at:016x}"));
        (Address(at), PlaceOnRing { name, address, table_epoch: 1, neighbours: Vec::new() })
    }

    #[tokio::test]
    async fn long_list_is_told_line_by_line_and_made_page_by_page() {
        let mut listing = Listing::new();
        let (reply, mut lines) = Reply::channel();
        listing.list_ring(7, reply);
        let made = tokio::spawn(async move {
            let mut pages = 0;
            while let Some(Wanted::Ring { after, page }) = listing.wanted().await {
                pages += 1;
                let from = after.map_or(0, |after| after.0 + 1);
                let places: Vec<_> = (from..MANY as u64).take(PAGE).map(place).collect();
                let is_over = places.is_empty();
                page.send(places).unwrap();
                if is_over {
                    break;
                }
            }
            pages
        });
        for at in 0..MANY as u64 {
            let (line, is_last) = lines.next().await;
            assert_eq!((line, is_last), (serde_json::to_string(&place(at).1).unwrap(), false));
        }
        let (line, is_last) = lines.next().await;
        assert_eq!((line.as_str(), is_last), (r#"{"done":true,"status":200,"epoch":7,"members":5000}"#, true));
        assert_eq!(made.await.unwrap(), MANY.div_ceil(PAGE) + 1);
    }

    #[tokio::test]
    async fn list_ends_with_its_asker_or_with_the_daemon() {
        let mut listing = Listing::new();
        let (reply, lines) = Reply::channel();
        drop(lines);
        listing.list_ring(7, reply);
        let Some(Wanted::Ring { page, .. }) = listing.wanted().await else { panic!("a page is wanted") };
        page.send(vec![place(1)]).unwrap();
        let (reply, mut lines) = Reply::channel();
        listing.list_peers(false, reply);
        let wanted = listing.wanted().await;
        assert!(matches!(wanted, Some(Wanted::Peers { after: None, .. })), "nobody wants a second page of the first");
        drop((wanted, listing));
        let (line, is_last) = lines.next().await;
        assert!(is_last && line.contains("503") && line.contains("the daemon is ending"), "{line}");
    }
}
