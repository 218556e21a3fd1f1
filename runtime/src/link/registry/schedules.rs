//! Connections that come at once into a lobby that is full, in every order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

use super::*;
use crate::sync::{Time, block_on, explore, pass, sees, spawn_local};

const PLACES: usize = 2;
const VISITORS: usize = 5;

/// More come than there are places, say nothing, and stay until they are put out or it is over
fn crowd_comes() {
    block_on(async {
        let limits = Limits { pending_max: PLACES, pending_reserved: 0, ..Limits::default() };
        let registry = Rc::new(Registry::new(limits));
        let (over, is_over) = watch::channel(false);
        let (gone, _) = watch::channel(0);
        let put_out = Arc::<AtomicUsize>::default();
        let visitors: Vec<_> = (0..VISITORS)
            .map(|_| {
                let (registry, mut is_over, gone) = (Rc::clone(&registry), is_over.clone(), gone.clone());
                let count = Arc::clone(&put_out);
                spawn_local(async move {
                    let (visitor, put_out) = registry.enter(Instant::ZERO, None).unwrap();
                    pass().await;
                    tokio::select! {
                        biased;
                        () = put_out.woken() => {
                            count.fetch_add(1, Ordering::Relaxed);
                            gone.send_modify(|gone| *gone += 1);
                        }
                        over = is_over.changed() => over.unwrap(),
                    }
                    pass().await;
                    drop(visitor);
                })
            })
            .collect();
        let all_others = |gone: &usize| *gone == VISITORS - PLACES;
        gone.subscribe().wait_for(all_others).await.unwrap();
        over.send_replace(true);
        for visitor in visitors {
            visitor.await.unwrap();
        }
        assert_eq!(put_out.load(Ordering::Relaxed), VISITORS - PLACES);
        assert_eq!((registry.permits.held().pending, registry.lobby.borrow().len()), (0, 0), "all places are free");
    });
}

#[test]
fn schedules_those_who_are_put_out_hear_so_and_leave_their_places() {
    explore(Time::Stands, crowd_comes);
    assert!(sees(Mistake::PutsOutInSilence, Time::Stands, crowd_comes));
}
