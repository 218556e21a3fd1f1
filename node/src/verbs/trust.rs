//! `kith trust`

use kith_common::id::Name;
use kith_runtime::cli::{self, Answer, Failure, Screen, Stop, count, table};
use kith_runtime::control::peer::{PinAnswer, PinnedKey, PinnedName, PinsAnswer, Request};
use kith_runtime::home::Home;
use kith_runtime::identity::parse_key;

/// Show the keys that names must have, or change one
///
/// The first key that answers to a name is pinned to it. Whoever has the name with another key later is refused, with 421, until
/// you say that it is the right one: ask its owner, to whom `kith status` shows it as the peer id.
#[derive(Debug, clap::Args)]
pub(crate) struct Trust {
    /// Whose; left out, all are listed
    name: Option<Name>,

    /// From now on its key is this one: a peer id, as `status` and `lookup` show it, or 64 hexadecimal digits
    #[arg(long, value_name = "KEY", value_parser = key, requires = "name", conflicts_with = "forget")]
    key: Option<PinnedKey>,

    /// Forget its key: the next one that answers to the name is pinned
    #[arg(long, requires = "name")]
    forget: bool,
}

fn key(text: &str) -> Result<PinnedKey, String> {
    let key = parse_key(text).map(PinnedKey);
    key.ok_or_else(|| "neither a peer id nor a key of 64 hexadecimal digits; `kith lookup NAME` shows one".to_owned())
}

impl Trust {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        match self {
            Self { name: Some(name), key: Some(key), .. } => {
                change(home, screen, &Request::Pin { name, key }, |PinAnswer { name, .. }| {
                    format!("{name} is whoever has that key, and nobody else")
                })
            }
            Self { name: Some(name), forget: true, .. } => {
                change(home, screen, &Request::Unpin { name }, |PinAnswer { name, .. }| {
                    format!("the next key that answers to {name} is pinned to it")
                })
            }
            Self { name: Some(name), .. } => {
                let answer = cli::ask::<PinsAnswer>(home, &Request::Pins { name: Some(name), after: None })?;
                let shown = |answer: &PinsAnswer| answer.pins.first().map(|pin| one(pin, home)).unwrap_or_default();
                answer.tell(screen, shown, |_| Failure::new(answer.status, "not shown", None))
            }
            Self { name: None, .. } => list(home, screen),
        }
    }
}

fn change(
    home: &Home,
    screen: &mut Screen,
    request: &Request,
    told: impl FnOnce(&PinAnswer) -> String,
) -> Result<u8, Stop> {
    let answer = cli::ask::<PinAnswer>(home, request)?;
    answer.tell(screen, told, |_| Failure::new(answer.status, "nothing has changed", None))
}

fn list(home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
    let (mut after, mut pins) = (None, Vec::new());
    loop {
        let Answer { line, status, answer } = cli::ask::<PinsAnswer>(home, &Request::Pins { name: None, after })?;
        if screen.is_json() {
            screen.show(&line, String::new)?;
        }
        after = answer.pins.last().map(|pin| pin.name.clone());
        let is_last = !answer.more || after.is_none();
        pins.extend(answer.pins);
        if is_last {
            if !screen.is_json() {
                screen.text(&readable(&pins))?;
            }
            return Ok(status.exit_code());
        }
    }
}

fn readable(pins: &[PinnedName]) -> String {
    if pins.is_empty() {
        return "no key is pinned: the first that answers to a name is".to_owned();
    }
    let heading = ["NAME", "PEER ID", "REFUSED"].map(str::to_owned);
    let row = |pin: &PinnedName| {
        [pin.name.to_string(), pin.peer_id.clone(), pin.refused.clone().unwrap_or_else(|| "-".to_owned())]
    };
    let rows: Vec<_> = std::iter::once(heading).chain(pins.iter().map(row)).collect();
    format!("{}{}", table(&rows), count(pins.len() as u64, "name"))
}

fn one(PinnedName { name, peer_id, refused, .. }: &PinnedName, home: &Home) -> String {
    let Some(refused) = refused else { return format!("{name} has the key of peer id {peer_id}") };
    let accept = home.command(&format!("trust {name} --key {refused}"));
    format!(
        "{name} was relied on with the key of peer id\n  {peer_id}\nand is refused with that of\n  {refused}\n\
         ask {name} which is right: `kith status` shows it there\nif it is the second one: {accept}"
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::verbs::tests::name;
    use kith_common::id::Key;
    use kith_runtime::home::PEER;

    fn pin(of: &str, refused: Option<&str>) -> PinnedName {
        let refused = refused.map(str::to_owned);
        PinnedName { name: name(of), key: PinnedKey(Key([7; 32])), peer_id: "12D3KooWabc".into(), refused }
    }

    #[test]
    fn pins_are_written_as_a_table_and_one_that_was_refused_says_what_to_type() {
        let pins = [pin("alice", None), pin("heidi", Some("12D3KooWxyz"))];
        let expected = "\
NAME   PEER ID      REFUSED
alice  12D3KooWabc  -
heidi  12D3KooWabc  12D3KooWxyz
2 names";
        assert_eq!(readable(&pins), expected);
        let home = Home::resolve(PEER, Some(Path::new("/srv/a"))).unwrap();
        assert_eq!(one(&pins[0], &home), "alice has the key of peer id 12D3KooWabc");
        assert!(one(&pins[1], &home).ends_with("kith --home /srv/a trust heidi --key 12D3KooWxyz"));
    }

    #[test]
    fn key_is_a_peer_id_or_digits_and_nothing_else() {
        let peer_id = kith_runtime::identity::peer_id_of(&Key([1; 32])).map(|id| id.to_string());
        let texts = [peer_id.unwrap_or_default(), "01".repeat(32)];
        assert!(texts.iter().all(|text| key(text) == Ok(PinnedKey(Key([1; 32])))), "{texts:?}");
        let wrong = ["", "heidi", "0101", "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"];
        assert!(wrong.iter().all(|text| key(text).is_err()));
    }
}
