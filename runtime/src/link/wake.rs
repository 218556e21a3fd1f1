//! How tasks of the link thread wake each other: a flag and a waker, without locks.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use crate::sync::{Mistake, makes};

/// Wakes the one task that waits for it
#[derive(Default)]
pub(crate) struct Wake {
    woken: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Wake {
    /// The waiting task goes on; if none waits, the next to wait does at once
    pub(crate) fn wake(&self) {
        self.woken.set(true);
        // Let go of before it wakes: whoever is woken may wait again at once, on this very cell.
        let waiting = self.waiting.borrow_mut().take();
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// Ready once for any number of wakes since the last time
    pub(crate) fn poll_woken(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.woken.replace(false) {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        match waiting.as_mut() {
            // Mostly it is the same task again, and then nothing is cloned.
            Some(_) if makes(Mistake::KeepsFirstWaker) => {}
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waiting = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Waits for a wake
    pub(crate) async fn woken(&self) {
        poll_fn(|cx| self.poll_woken(cx)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_before_the_wait_count_once() {
        let wake = Wake::default();
        let mut cx = Context::from_waker(Waker::noop());
        wake.wake();
        wake.wake();
        assert!(wake.poll_woken(&mut cx).is_ready());
        assert!(wake.poll_woken(&mut cx).is_pending());
        wake.wake();
        assert!(wake.poll_woken(&mut cx).is_ready());
    }
}

#[cfg(test)]
#[cfg(feature = "schedules")]
mod schedules {
    use std::rc::Rc;

    use super::*;
    use crate::sync::{Time, block_on, explore, sees, spawn_local};

    /// One task looks once and goes, and another one waits after it, while a third one wakes
    fn one_after_the_other() {
        block_on(async {
            let wake = Rc::new(Wake::default());
            let looks = Rc::clone(&wake);
            let first = spawn_local(async move {
                if poll_fn(|cx| Poll::Ready(looks.poll_woken(cx).is_ready())).await {
                    looks.wake();
                }
            });
            let wakes = Rc::clone(&wake);
            let third = spawn_local(async move { wakes.wake() });
            first.await.unwrap();
            wake.woken().await;
            third.await.unwrap();
        });
    }

    #[test]
    fn schedules_wake_reaches_who_waits_now() {
        explore(Time::Stands, one_after_the_other);
        assert!(sees(Mistake::KeepsFirstWaker, Time::Stands, one_after_the_other));
    }
}
