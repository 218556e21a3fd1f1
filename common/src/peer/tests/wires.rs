//! What a peer's forwarder does to its links, in the tests' world.

use crate::id::Address;
use crate::link::LinkId;
use crate::routing::forward::{Count, Links, PushError};
use crate::wire::PacketBytes;
use crate::wire::content::{PayloadKind, Undeliverable};
use crate::wire::packet::{Edit, PacketRef, emit_forwarded};

/// All that was done to them at once
#[derive(Default)]
pub(super) struct Wires {
    pub(super) pushed: Vec<(LinkId, PacketBytes)>,
    pub(super) delivered: Vec<PacketBytes>,
    pub(super) returned: Vec<Undeliverable>,
    reports: u64,
}

impl Links for Wires {
    type Link = LinkId;

    fn link(&self, _: Address, link: LinkId) -> Option<LinkId> {
        Some(link)
    }

    fn push(&mut self, link: &LinkId, packet: &PacketRef<'_>, edit: &mut Edit) -> Result<(), PushError> {
        let mut bytes = Vec::new();
        emit_forwarded(packet, edit, &mut bytes).unwrap();
        self.pushed.push((*link, PacketBytes::new(bytes).unwrap()));
        Ok(())
    }

    fn deliver(&mut self, _: PayloadKind, packet: &PacketRef<'_>) {
        self.delivered.push(PacketBytes::new(packet.bytes().to_vec()).unwrap());
    }

    fn returned(&mut self, report: Undeliverable) {
        self.returned.push(report);
    }

    fn count(&mut self, count: Count) {
        assert!(matches!(count, Count::Originated | Count::Forwarded), "{count:?}");
    }

    fn packet_id(&mut self) -> u64 {
        self.reports += 1;
        self.reports
    }
}
