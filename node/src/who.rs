//! For whom something is, where a rule says so: `alice,bob`, or `everyone`.

use std::fmt;
use std::str::FromStr;

use kith_common::id::Name;

/// Names in one rule: a team; a larger one is written in several rules
const NAMES_MAX: usize = 64;

/// For whom a rule is
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Whoever is in the network
    Everyone,
    These(Vec<Name>),
}

/// A text that names nobody
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoWho {
    #[error("{0:?} in a rule: {1}")]
    Name(String, String),
    #[error("more than {NAMES_MAX} names in a rule: write several rules")]
    Names,
}

impl Who {
    pub(crate) fn has(&self, name: &Name) -> bool {
        match self {
            Self::Everyone => true,
            Self::These(names) => names.contains(name),
        }
    }
}

impl FromStr for Who {
    type Err = NoWho;

    fn from_str(text: &str) -> Result<Self, NoWho> {
        let text = text.trim();
        if text == "everyone" {
            return Ok(Self::Everyone);
        }
        let name =
            |text: &str| text.trim().parse::<Name>().map_err(|error| NoWho::Name(text.to_owned(), error.to_string()));
        let names = text.split(',').map(name).collect::<Result<Vec<_>, _>>()?;
        if names.len() > NAMES_MAX { Err(NoWho::Names) } else { Ok(Self::These(names)) }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => f.write_str("everyone"),
            Self::These(names) => {
                let names: Vec<&str> = names.iter().map(Name::as_str).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_is_for_those_whom_it_names() {
        let who: Who = " alice, bob".parse().unwrap();
        let name = |text: &str| text.parse::<Name>().unwrap();
        assert!(who.has(&name("alice")) && who.has(&name("bob")) && !who.has(&name("carol")));
        assert_eq!(who.to_string(), "alice,bob");
        assert!("everyone".parse::<Who>().unwrap().has(&name("carol")));
        for wrong in ["", "alice,", "Alice", "alice bob"] {
            assert!(wrong.parse::<Who>().is_err(), "{wrong}");
        }
        let many = vec!["alice"; NAMES_MAX + 1].join(",");
        assert_eq!(many.parse::<Who>(), Err(NoWho::Names));
    }
}
