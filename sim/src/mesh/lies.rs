//! Peers that look alive and do not forward what they should.

use std::fmt;
use std::str::FromStr;

use kith_common::wire::packet::PacketRef;

use super::node::NodeId;
use super::world::World;

/// What a liar drops of that which it is to forward: it answers probes, tells its table, and says nothing of it
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lie {
    #[default]
    All,
    /// One of two packets, by chance
    Half,
    /// Whatever has more than 700 bytes, so that who tries a way with something small finds it good
    Large,
}

/// Bytes of a payload that is large
const LARGE: usize = 700;

impl Lie {
    pub const ALL: &[Self] = &[Self::All, Self::Half, Self::Large];

    /// Its name on the command line
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Half => "half",
            Self::Large => "large",
        }
    }
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Lie {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|lie| lie.as_str() == text).copied();
        found.ok_or_else(|| {
            format!("there are {}", Self::ALL.iter().map(|lie| lie.as_str()).collect::<Vec<_>>().join(", "))
        })
    }
}

impl World {
    /// Whether this peer drops a packet that came over a link, which it should forward
    pub(super) fn drops_as_liar(&mut self, id: NodeId, packet: &PacketRef<'_>) -> bool {
        if !self.config.is_liar(id) {
            return false;
        }
        if self.node(id).place() == Some(packet.header().destination) {
            return false;
        }
        let drops = match self.config.lie {
            Lie::All => true,
            Lie::Half => self.net.random().is_multiple_of(2),
            Lie::Large => packet.payload().len() > LARGE,
        };
        self.lies += u64::from(drops);
        drops
    }
}
