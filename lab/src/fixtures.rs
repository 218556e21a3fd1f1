//! What the tests of several files are made of.

use kith_common::id::Name;
use kith_runtime::control::peer::{LinkState, Neighbour, State, StatusAnswer};

/// The name that `text` is
pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// A link to `to` of which only the state matters
pub(crate) fn link(to: &str, state: LinkState) -> Neighbour {
    Neighbour {
        name: name(to),
        address: "0123456789abcdef".into(),
        peer_id: "12D3".into(),
        state,
        reason: None,
        rtt_us: None,
        direction: None,
        location: None,
        since_s: 1,
        bytes_in: 0,
        bytes_out: 0,
    }
}

/// What `alice` says of herself, logged in, at `epoch`
pub(crate) fn status(epoch: u64) -> StatusAnswer {
    StatusAnswer {
        name: name("alice"),
        key: "00".repeat(32),
        peer_id: "12D3".into(),
        address: Some("0123456789abcdef".into()),
        state: State::LoggedIn,
        reason: None,
        supernode: None,
        home: None,
        supernodes: 1,
        network: None,
        epoch,
        members: 8,
        degree: 4,
        home_silent_s: None,
        links_up: 1,
        links: 2,
        inbox_messages: 0,
        inbox_bytes: 0,
        outbox_messages: 0,
        outbox_bytes: 0,
        uptime_s: 1,
        version: "0.1.0".into(),
        pid: 4711,
        listen: Vec::new(),
    }
}
