//! Decisions about neighbours, each one event with its reason.

use kith_common::routing::neighbourhood::Event;

pub(super) fn trace(event: &Event) {
    use Event::*;
    match event {
        Rewired { epoch, members, kept, joined, left } => {
            tracing::info!(event = "rewired", %epoch, members, kept, joined, left);
        }
        Upset { epoch, left, of, reason } => tracing::warn!(event = "table_upset", %epoch, left, of, %reason),
        RewireIgnored { epoch, reason } => tracing::info!(event = "rewire_ignored", %epoch, %reason),
        RecordIgnored { epoch, address, reason } => {
            tracing::warn!(event = "record_ignored", %epoch, %address, %reason);
        }
        UnknownPeerWaited { name, address, .. } => {
            tracing::info!(event = "unknown_peer_waits", %name, %address, reason = "no rewire has named it yet");
        }
        StandsIn { name, address } => {
            tracing::info!(event = "stands_in", %name, %address, reason = "no home is reachable to say who is a neighbour");
        }
        GuestAccepted { name, address, .. } => {
            tracing::info!(event = "guest_accepted", %name, %address, reason = "no supernode can be asked");
        }
        LinkUp { name, address, direction, after, .. } => {
            tracing::info!(event = "link_up", %name, %address, ?direction, after_ms = after.as_millis() as u64);
        }
        HeldBack { name, address, losses, held, .. } => {
            let reason = "it comes and goes";
            tracing::info!(event = "link_held_back", %name, %address, losses, for_ms = held.as_millis() as u64, reason);
        }
        TakenAgain { name, address, .. } => {
            tracing::info!(event = "link_taken_again", %name, %address, reason = "it has lasted");
        }
        LinkDown { name, address, reason } => tracing::info!(event = "link_down", %name, %address, %reason),
        LinkClosed { key, reason, .. } => tracing::info!(event = "link_closed", %key, %reason),
        DialFailed { name, address, failures, reason } => {
            tracing::info!(event = "dial_failed", %name, %address, failures, %reason);
        }
        GaveUp { name, address, reason } => tracing::warn!(event = "neighbour_given_up", %name, %address, %reason),
        Isolated => tracing::warn!(event = "isolated", reason = "all links are down"),
        FrameIgnored { link, kind, reason } => {
            tracing::debug!(event = "frame_ignored", link = link.0, ?kind, %reason);
        }
        LinkIgnored { link, reason } => tracing::debug!(event = "link_ignored", link = link.0, %reason),
        HeldUp { late } => {
            tracing::warn!(event = "held_up", late_ms = late.as_millis() as u64, reason = "this process was not run");
        }
    }
}
