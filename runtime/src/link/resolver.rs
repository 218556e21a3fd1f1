//! What the system makes of a host's name.
//!
//! It is asked anew at every dial: what a name meant in another network, or before there was one, means nothing now.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::sleep;

/// An answer that came after its dial was given up is good for so long, in which whoever dialled tries again
///
/// A system whose first name server is dead answers after five seconds, which is as long as a dial has: without this,
/// such a name would never be found.
const LATE_MAX: Duration = Duration::from_secs(15);

type Found = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>>>>;
type Answer = Result<Vec<IpAddr>, String>;

/// Asks the system, once at a time for each name
pub(super) struct Resolver {
    ask_system: fn(String) -> Found,
    // Borrowed within one call, never across an await.
    asked: Rc<RefCell<HashMap<String, watch::Receiver<Option<Answer>>>>>,
}

impl Resolver {
    pub(super) fn new() -> Self {
        Self::with(|name| {
            Box::pin(async move {
                let found = tokio::net::lookup_host((name, 0)).await?;
                Ok(found.map(|address| address.ip()).collect())
            })
        })
    }

    pub(super) fn with(ask_system: fn(String) -> Found) -> Self {
        Self { ask_system, asked: Rc::default() }
    }

    /// The addresses of a name, in the system's order; else why there are none
    pub(super) async fn addresses(&self, name: &str) -> Answer {
        let under_way = self.asked.borrow().get(name).cloned();
        let mut answer = under_way.unwrap_or_else(|| self.ask(name.to_owned()));
        let answered = answer.wait_for(Option::is_some).await;
        let answered = answered.map_err(|_| "the look-up was given up".to_owned())?;
        answered.clone().unwrap_or_else(|| Ok(Vec::new()))
    }

    fn ask(&self, name: String) -> watch::Receiver<Option<Answer>> {
        let (tell, answer) = watch::channel(None);
        self.asked.borrow_mut().insert(name.clone(), answer.clone());
        let (asked, looking) = (Rc::clone(&self.asked), (self.ask_system)(name.clone()));
        spawn_local(async move {
            let found = looking.await.map_err(|error| reason(&error));
            // Beside the one that is kept here, each dial that still waits has a receiver.
            let is_late = found.is_ok() && tell.receiver_count() == 1;
            tell.send_replace(Some(found));
            if is_late {
                sleep(LATE_MAX).await;
            }
            asked.borrow_mut().remove(&name);
        });
        answer
    }
}

/// The system's own words, without the library's before them
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::LocalSet;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answer_that_comes_after_its_dial_is_there_for_the_next_one_and_then_forgotten() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let resolver = Resolver::with(|_| {
            let number = ASKED.fetch_add(1, Ordering::SeqCst) as u8;
            Box::pin(async move {
                sleep(Duration::from_secs(6)).await;
                Ok(vec![IpAddr::from([10, 0, 0, number])])
            })
        });
        let dial = || timeout(Duration::from_secs(5), resolver.addresses("sn.lan"));
        let test = async {
            dial().await.unwrap_err();
            sleep(Duration::from_secs(2)).await;
            assert_eq!(dial().await.unwrap().unwrap(), [IpAddr::from([10, 0, 0, 0])]);
            sleep(LATE_MAX).await;
            dial().await.unwrap_err();
            // Whoever asks while the answer is under way waits for the same one.
            assert_eq!(dial().await.unwrap().unwrap(), [IpAddr::from([10, 0, 0, 1])]);
        };
        LocalSet::new().run_until(test).await;
        assert_eq!(ASKED.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn name_that_was_unknown_is_asked_for_again_at_once() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let resolver = Resolver::with(|_| {
            let found = match ASKED.fetch_add(1, Ordering::SeqCst) {
                0 => Err(io::Error::other("failed to lookup address information: Name or service not known")),
                _ => Ok(vec![IpAddr::from([10, 0, 0, 7])]),
            };
            Box::pin(async { found })
        });
        let test = async {
            assert_eq!(resolver.addresses("sn.lan").await, Err("Name or service not known".into()));
            tokio::task::yield_now().await;
            assert_eq!(resolver.addresses("sn.lan").await, Ok(vec![IpAddr::from([10, 0, 0, 7])]));
        };
        LocalSet::new().run_until(test).await;
    }
}
