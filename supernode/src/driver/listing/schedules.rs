//! Lists that are told while the loop works, or ends, in every order.

use kith_runtime::sync::{Time, block_on, explore, thread};

use super::*;

/// Two lists, of which the loop makes so many pages; how each ended
fn tell_two(pages: usize) -> Vec<String> {
    let mut listing = Listing::new();
    let lists: Vec<_> = (0..2)
        .map(|_| {
            let (reply, lines) = Reply::channel();
            listing.list_ring(7, reply);
            lines
        })
        .collect();
    let made = thread::spawn(move || {
        for _ in 0..pages {
            let Some(Wanted::Ring { after, page }) = block_on(listing.wanted()) else { panic!("a page is wanted") };
            let place = tests::place(after.map_or(0, |after| after.0 + 1));
            page.send(if place.0.0 < 2 { vec![place] } else { Vec::new() }).unwrap();
        }
    });
    let ends = lists.into_iter().map(|mut lines| {
        loop {
            if let (line, true) = block_on(lines.next()) {
                return line;
            }
        }
    });
    let ends = ends.collect();
    made.join().unwrap();
    ends
}

#[test]
fn schedules_lists_are_told_to_their_ends() {
    explore(Time::Stands, || {
        let ends = tell_two(6);
        assert!(ends.iter().all(|end| end.contains(r#""members":2"#)), "{ends:?}");
    });
}

#[test]
fn schedules_lists_end_with_the_daemon() {
    explore(Time::Stands, || {
        assert!(tell_two(4).iter().all(|end| end.contains("503") || end.contains(r#""members":2"#)));
    });
}
