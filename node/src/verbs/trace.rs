//! `kith trace NAME`

use kith_common::id::Name;
use kith_runtime::cli::{self, Failure, Screen, Stop, count, short, table, time};
use kith_runtime::control::peer::{Request, TraceAnswer, TraceHop};
use kith_runtime::home::Home;

/// Show the way to a peer: each hop, how far it is, and why it was chosen
#[derive(Debug, clap::Args)]
pub(crate) struct Trace {
    /// To whom
    name: Name,
}

impl Trace {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let answer = cli::ask::<TraceAnswer>(home, &Request::Trace { name: self.name })?;
        // How far it came is worth seeing even if that was not far enough.
        if !answer.status.is_success() && !screen.is_json() && !answer.answer.hops.is_empty() {
            screen.text(&hops(&answer.answer.hops))?;
        }
        answer.tell(screen, readable, |trace| {
            let error = format!("no way to {}: {}", trace.name, super::why(answer.status, trace.reason.as_deref()));
            Failure::new(answer.status, error, super::next(home, answer.status, &trace.name))
        })
    }
}

fn readable(answer: &TraceAnswer) -> String {
    let last = answer.hops.last().and_then(|hop| hop.rtt_us).map(|rtt| format!(", {}", time(rtt))).unwrap_or_default();
    if answer.hops.is_empty() {
        return format!("0 hops to {}: it is this peer itself", answer.name);
    }
    let relayed = if answer.relayed { " through a supernode" } else { "" };
    let changed = match answer.attempts {
        0 | 1 => String::new(),
        more => {
            format!("; the way has changed: {} by others before, with no answer in time", count(more - 1, "packet"))
        }
    };
    let far = count(answer.hops.len() as u64, "hop");
    format!("{}{far} to {}{relayed}{last}{changed}", hops(&answer.hops), answer.name)
}

fn hops(hops: &[TraceHop]) -> String {
    let heading = ["HOP", "NAME", "ADDRESS", "RTT", "CHOSEN BECAUSE"].map(str::to_owned);
    let row = |hop: &TraceHop| {
        let rtt = hop.rtt_us.map_or("-".into(), time);
        let address = hop.address.as_deref().map_or("-", short).to_owned();
        [hop.index.to_string(), hop.name.clone(), address, rtt, hop.reason.clone()]
    };
    let rows: Vec<_> = std::iter::once(heading).chain(hops.iter().map(row)).collect();
    table(&rows)
}

#[cfg(test)]
mod tests {
    use kith_common::wire::content::Choice;

    use super::*;
    use crate::verbs::tests::name;
    use kith_runtime::control::peer::explain;

    #[test]
    fn trace_is_written_as_a_table_with_reasons() {
        let heidi = name("heidi");
        let hop = |index, name: &str, rtt_us, choice| {
            let (choice, reason) = explain(choice, &heidi);
            let (name, address) = (name.to_owned(), Some("0123456789abcdef".to_owned()));
            TraceHop { index, name, address, rtt_us, choice: choice.to_owned(), reason }
        };
        let hops = vec![
            hop(1, "carol", Some(412), Some(Choice::NearestBall(290))),
            hop(2, "frank", None, Some(Choice::KnowsDestination)),
            hop(3, "heidi", Some(2_140), None),
        ];
        let expected = "\
HOP  NAME   ADDRESS   RTT      CHOSEN BECAUSE
1    carol  01234567  0.41 ms  its neighbours come nearest to heidi: about 2.9 hops from here
2    frank  01234567  -        it has a link to heidi
3    heidi  01234567  2.1 ms   the one before has not said
3 hops to heidi, 2.1 ms";
        let answer = TraceAnswer { name: heidi.clone(), hops, relayed: false, attempts: 1, reason: None };
        assert_eq!(readable(&answer), expected);
        let relayed = TraceAnswer { relayed: true, ..answer.clone() };
        assert!(readable(&relayed).ends_with("3 hops to heidi through a supernode, 2.1 ms"));
        let changed = TraceAnswer { attempts: 3, ..answer.clone() };
        let said = "2.1 ms; the way has changed: 2 packets by others before, with no answer in time";
        assert!(readable(&changed).ends_with(said), "{}", readable(&changed));
        let own = TraceAnswer { hops: Vec::new(), ..answer };
        assert_eq!(readable(&own), "0 hops to heidi: it is this peer itself");
    }
}
