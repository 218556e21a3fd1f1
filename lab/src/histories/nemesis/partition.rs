//! Supernodes that do not hear each other; clients go on hearing all of them.

use super::{Breaker, Done};
use crate::draw::Draw;
use crate::error::LabError;
use crate::mesh::{Lab, Standing};

/// How they are parted
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One and the others do not hear each other
    Symmetric,
    /// The others do not hear one, which hears them
    OneWayOut,
    /// One does not hear the others, which hear it
    OneWayIn,
    /// All others are parted from each other, and one hears and is heard by all
    Bridge,
}

impl Shape {
    /// A bridge takes three
    pub(super) fn drawn(draw: &mut Draw, supernodes: usize) -> Self {
        match draw.below(if supernodes > 2 { 4 } else { 3 }) {
            0 => Self::Symmetric,
            1 => Self::OneWayOut,
            2 => Self::OneWayIn,
            _ => Self::Bridge,
        }
    }

    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Symmetric => "partition",
            Self::OneWayOut => "partition, one is not heard",
            Self::OneWayIn => "partition, one does not hear",
            Self::Bridge => "partition, one hears all",
        }
    }
}

impl Breaker<'_> {
    /// Parts one supernode from the others, or the others from each other
    pub(super) fn partition(&mut self, shape: Shape) -> Result<Done, LabError> {
        // A silent link is dropped after two seconds, and then a leader is sought.
        let (name, span) = (self.any(), self.span(4_000, 9_000));
        let (one, others) = ([name.clone()], self.others(&name));
        let cut = match shape {
            Shape::Symmetric => self.lab.cut(&one, &others, false),
            Shape::OneWayOut => self.lab.cut(&one, &others, true),
            Shape::OneWayIn => self.lab.cut(&others, &one, true),
            Shape::Bridge => self.lab.cut(&others, &others, false),
        };
        let bit = match shape {
            Shape::Bridge => self.watch(span, |lab| are_parted(lab, &others, &others)),
            _ => self.watch(span, |lab| are_parted(lab, &one, &others)),
        };
        self.lab.heal()?;
        cut?;
        self.settle()?;
        Ok(Done { what: format!("{}: {name}, for {span:?}", shape.kind()), bit })
    }
}

/// Whether one of these says that it has no link to one of those, who runs
fn are_parted(lab: &Lab, these: &[String], those: &[String]) -> bool {
    let Ok(standings) = lab.supernodes() else { return false };
    let of = |names: &[String]| standings.iter().filter(|one| names.contains(&one.node.name)).collect::<Vec<_>>();
    of(these).into_iter().any(|one| of(those).into_iter().any(|other| lacks(one, other)))
}

fn lacks(one: &Standing, other: &Standing) -> bool {
    let known = one.members.supernodes.iter().find(|member| member.serial == other.status.serial);
    known.is_some_and(|member| !member.here && !member.linked)
}
