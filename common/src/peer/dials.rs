//! Dials that have not ended, and what each is for.

use std::collections::BTreeMap;

use crate::id::Key;

/// What a dial is for
#[derive(Clone, Copy, Debug)]
pub(super) enum DialFor {
    /// The home link, by the session's own number
    Home(u64),
    Neighbour(Key),
}

/// As many as the session and the neighbourhood have out
#[derive(Debug, Default)]
pub(super) struct Dials {
    last: u64,
    out: BTreeMap<u64, DialFor>,
}

impl Dials {
    /// A number for a new dial
    pub(super) fn begin(&mut self, dial: DialFor) -> u64 {
        self.last += 1;
        self.out.insert(self.last, dial);
        self.last
    }

    /// The dial has made a link, or will make none; `None` if it was given up meanwhile
    pub(super) fn end(&mut self, number: u64) -> Option<DialFor> {
        self.out.remove(&number)
    }

    /// The session gives this dial up
    pub(super) fn give_home_up(&mut self, dial: u64) {
        self.out.retain(|_, wanted| !matches!(wanted, DialFor::Home(of) if *of == dial));
    }
}
