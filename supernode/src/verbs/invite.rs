//! `kith-supernode invite`

use kith_common::id::Name;
use kith_runtime::cli::{Screen, Stop, ask, count, span};
use kith_runtime::config::Endpoint;
use kith_runtime::control::supernode::{InviteAnswer, Request};
use kith_runtime::home::Home;
use kith_runtime::location::SUPERNODE_PORT;

/// Let a newcomer in: print the one line that they type after `kith join`
///
/// Whoever has the line can come, so hand it over as you would a password. It is good for one newcomer and one day unless
/// you say otherwise; whoever came by it owns the name from then on and needs it no more.
#[derive(Debug, clap::Args)]
pub(crate) struct Invite {
    /// Only for a newcomer of this name
    #[arg(long = "for", value_name = "NAME", conflicts_with = "uses")]
    name: Option<Name>,

    /// Newcomers that it lets in
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    uses: u32,

    /// How long it is good, counted while the supernode runs: 90m, 12h, 7d, or never
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = minutes)]
    ttl: Ttl,

    /// Where newcomers reach this supernode, at most 4 [default: where it listens]
    #[arg(long, value_name = "HOST[:PORT]", value_delimiter = ',')]
    at: Vec<Endpoint<SUPERNODE_PORT>>,
}

/// Minutes; none: without an end
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ttl(Option<u32>);

fn minutes(text: &str) -> Result<Ttl, String> {
    if text == "never" {
        return Ok(Ttl(None));
    }
    let fault = || "not a time such as 90m, 12h or 7d, or never".to_owned();
    let at = text.len().saturating_sub(1);
    let (number, unit) = text.split_at_checked(at).ok_or_else(fault)?;
    let unit = match unit {
        "m" => 1,
        "h" => 60,
        "d" => 24 * 60,
        _ => return Err(fault()),
    };
    let minutes = number.parse::<u32>().ok().and_then(|number| number.checked_mul(unit));
    minutes.filter(|minutes| *minutes > 0).map(|minutes| Ttl(Some(minutes))).ok_or_else(fault)
}

impl Invite {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let at = self.at.iter().map(|at| at.location().to_string()).collect();
        let request = Request::Invite { name: self.name, uses: self.uses, minutes: self.ttl.0, at };
        let answer = ask::<InviteAnswer>(home, &request)?;
        screen.show(&answer.line, || readable(&answer.answer))?;
        Ok(answer.status.exit_code())
    }
}

fn readable(answer: &InviteAnswer) -> String {
    let whom = match &answer.name {
        Some(name) => format!("for {name}"),
        None => format!("for {}", count(answer.uses.into(), "newcomer")),
    };
    let until = match answer.minutes {
        Some(minutes) => format!("for {}", span(u64::from(minutes) * 60)),
        None => "until it is used up".to_owned(),
    };
    format!("kith join {}\n({whom}, {until}; who types this line is let in)", answer.invite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, expected) in [("90m", Some(90)), ("12h", Some(720)), ("7d", Some(10_080)), ("never", None)] {
            assert_eq!(minutes(text), Ok(Ttl(expected)), "{text}");
        }
        for text in ["", "d", "0m", "7", "1w", "-1d", "99999999d", "7é"] {
            assert!(minutes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn line_to_type_comes_first() {
        let answer = InviteAnswer {
            invite: "kith1-00".into(),
            name: None,
            uses: 3,
            minutes: Some(1_440),
            at: vec!["/dns/hub/tcp/7400".into()],
        };
        let text = readable(&answer);
        assert_eq!(text.lines().next(), Some("kith join kith1-00"));
        assert!(text.contains("for 3 newcomers"), "{text}");
    }
}
