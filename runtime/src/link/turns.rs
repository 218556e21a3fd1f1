//! Computes handshakes one at a time, when all else that was ready has been done: the rule is [`turns`]'.
//!
//! [`turns`]: kith_common::link::turns

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::ready;

use kith_common::link::turns::{self, Stage, is_computed};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::TcpStream;
use tokio::task::yield_now;

use super::wake::Wake;
use crate::clock::Clock;
use crate::kept_waiting::KeptWaiting;

/// Who waits, equal to itself alone
struct Waiter(Rc<Wake>);

impl PartialEq for Waiter {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

/// Where handshakes wait for their turns; borrowed within one call, never across an await
pub(crate) struct Turns {
    clock: Clock,
    waiting: RefCell<turns::Turns<Waiter>>,
    asked: Wake,
}

impl Turns {
    /// A peer's, which rests, or a supernode's
    pub(crate) fn new(clock: Clock, is_peer: bool) -> Self {
        let waiting = if is_peer { turns::Turns::of_peer() } else { turns::Turns::of_supernode() };
        Self { clock, waiting: RefCell::new(waiting), asked: Wake::default() }
    }

    /// Gives turns for ever: each after everything else that is ready by then, and after the rest that it needs
    pub(crate) async fn give(&self) {
        let mut kept_waiting = KeptWaiting::of_this_thread();
        loop {
            let rested = self.waiting.borrow().next_timeout(self.clock.now());
            tokio::select! {
                () = self.asked.woken() => {}
                () = self.clock.sleep_until(rested), if rested.is_some() => {}
            }
            while !self.waiting.borrow().is_empty() {
                // Goes on once the tasks that were ready have run, and once it was asked which sockets are.
                yield_now().await;
                let now = self.clock.now();
                let mut waiting = self.waiting.borrow_mut();
                waiting.handle_kept_waiting(now, kept_waiting.since_last());
                let Some(Waiter(wake)) = waiting.take(now) else { break };
                drop(waiting);
                wake.wake();
            }
        }
    }

    /// Carries a handshake on by a turn for each step; one that has arrived has begun after the first
    pub(crate) async fn by_turns<F: Future>(&self, stage: Stage, handshake: F) -> F::Output {
        let mut handshake = pin!(handshake);
        let mut stage = stage;
        let mut ticket: Option<Ticket<'_>> = None;
        poll_fn(|cx| {
            let waiting = ticket.get_or_insert_with(|| self.wait(stage));
            ready!(waiting.wake.poll_woken(cx));
            ticket = None;
            stage = stage.max(Stage::Begun);
            handshake.as_mut().poll(cx)
        })
        .await
    }

    /// One that had arrived has its first turn, and is computed
    pub(crate) fn begun(&self) {
        self.waiting.borrow_mut().handle_begun(self.clock.now());
    }

    fn wait(&self, stage: Stage) -> Ticket<'_> {
        let wake = Rc::<Wake>::default();
        self.waiting.borrow_mut().wait(stage, Waiter(Rc::clone(&wake)));
        self.asked.wake();
        Ticket { turns: self, wake }
    }
}

/// Waits for a turn until it is dropped
struct Ticket<'a> {
    turns: &'a Turns,
    wake: Rc<Wake>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.turns.waiting.borrow_mut().withdraw(&Waiter(Rc::clone(&self.wake)));
    }
}

/// Whether a handshake with whoever dialled would be computed for nobody: the connection was closed, or broke
///
/// What the dialler sent before lies unread all the same, so that reading would not tell.
pub(crate) fn is_in_vain(stream: &TcpStream) -> bool {
    let mut asked = [PollFd::new(stream, PollFlags::RDHUP)];
    let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    let has_left = match poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(_) => asked.iter().any(|stream| stream.revents().intersects(gone)),
        Err(error) => {
            tracing::debug!(event = "dialler_not_asked", reason = %error);
            false
        }
    };
    !is_computed(has_left)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::task::{LocalSet, spawn_local};
    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test]
    async fn handshakes_have_turns_the_newest_first_and_whoever_goes_leaves_nothing() {
        let test = async {
            let (turns, order) = (Rc::new(Turns::new(Clock::start(), true)), Rc::<RefCell<Vec<u8>>>::default());
            let handshakes: Vec<_> = (0..4)
                .map(|number| {
                    let (turns, order) = (Rc::clone(&turns), Rc::clone(&order));
                    spawn_local(async move {
                        turns.by_turns(Stage::Arrived, async { order.borrow_mut().push(number) }).await
                    })
                })
                .collect();
            while turns.waiting.borrow().len() < 4 {
                yield_now().await;
            }
            handshakes[2].abort();
            while turns.waiting.borrow().len() > 3 {
                yield_now().await;
            }
            let giving = Rc::clone(&turns);
            spawn_local(async move { giving.give().await });
            for handshake in handshakes {
                drop(handshake.await);
            }
            assert_eq!(*order.borrow(), [3, 1, 0]);
            assert!(turns.waiting.borrow().is_empty());
        };
        timeout(Duration::from_secs(30), LocalSet::new().run_until(test)).await.unwrap();
    }

    #[tokio::test]
    async fn tasks_that_are_ready_run_between_two_turns() {
        let test = async {
            let (turns, runs) = (Rc::new(Turns::new(Clock::start(), true)), Rc::<Cell<u32>>::default());
            let (giving, counting) = (Rc::clone(&turns), Rc::clone(&runs));
            spawn_local(async move { giving.give().await });
            spawn_local(async move {
                loop {
                    counting.set(counting.get() + 1);
                    yield_now().await;
                }
            });
            let mut seen = Vec::new();
            for _ in 0..3 {
                turns.by_turns(Stage::Arrived, async { seen.push(runs.get()) }).await;
            }
            assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
        };
        timeout(Duration::from_secs(30), LocalSet::new().run_until(test)).await.unwrap();
    }

    #[tokio::test]
    async fn dialler_that_has_left_is_noticed_though_its_bytes_lie_unread() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut dialler = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        dialler.write_all(b"hello").await.unwrap();
        accepted.peek(&mut [0]).await.unwrap();
        assert!(!is_in_vain(&accepted));
        drop(dialler);
        let left = async {
            while !is_in_vain(&accepted) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(30), left).await.unwrap();
    }
}
