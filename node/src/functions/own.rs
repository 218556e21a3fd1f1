//! A function of one's own: a program that is run with the arguments of a call, for those whom its rule names.
//!
//! `sum(number...) for alice,bob: /usr/local/bin/sum --quiet` is called as `kith call carol sum 1 2`, and carol's daemon runs
//! `/usr/local/bin/sum --quiet 1 2`. There is no shell in between: what a caller writes is one argument each, of the type that
//! the rule says, and none that a program could take for an option.

use std::fmt;
use std::str::FromStr;

use kith_common::id::Name;
use kith_common::wire::bounded::Bytes;
use kith_common::wire::content::VALUE_BYTES_MAX;

use super::run::Job;
use crate::who::{NoWho, Who};

/// Characters of a function's name
const NAME_MAX: usize = 63;

/// What an argument may be
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Letters of any language on one line, not beginning with a hyphen
    Text,
    /// Letters and digits of ASCII, `.`, `_` and `-`, not beginning with a hyphen
    Word,
    /// Digits, perhaps behind a sign
    Whole,
    /// A whole number, or one with a point or an exponent
    Number,
    /// Any bytes, which the program reads from its standard input
    Body,
}

const KINDS: [(&str, Kind); 5] = [
    ("text", Kind::Text),
    ("word", Kind::Word),
    ("whole", Kind::Whole),
    ("number", Kind::Number),
    ("body", Kind::Body),
];

/// A function, who may call it, and what that runs
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Own {
    name: String,
    kinds: Vec<Kind>,
    /// Whether the last kind may come any number of times
    is_open: bool,
    who: Who,
    program: String,
    fixed: Vec<String>,
}

/// A line that is no function
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoFunction {
    #[error("{0:?} is no function: write NAME(KIND, …) for NAME[,NAME…]: /PROGRAM [ARGUMENT …]")]
    Form(String),
    #[error("{0:?} cannot be a function's name: 1 to {NAME_MAX} of a-z, 0-9, '-' and '_'")]
    Name(String),
    #[error(
        "{0:?} is no kind of argument: there are text, word, whole, number and body, and … may follow the last but body"
    )]
    Kind(String),
    #[error("a body is the last argument")]
    BodyFirst,
    #[error("{0}")]
    Who(#[from] NoWho),
    #[error("{0:?} is no program: write its whole path")]
    Program(String),
}

impl FromStr for Own {
    type Err = NoFunction;

    fn from_str(text: &str) -> Result<Self, NoFunction> {
        let form = || NoFunction::Form(text.to_owned());
        let (name, rest) = text.split_once('(').ok_or_else(form)?;
        let (kinds, rest) = rest.split_once(')').ok_or_else(form)?;
        let (who, command) = rest.trim().strip_prefix("for ").and_then(|rest| rest.split_once(':')).ok_or_else(form)?;
        let name = name.trim().to_owned();
        let is_letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(is_letter) {
            return Err(NoFunction::Name(name));
        }
        let kinds = kinds.trim();
        let is_open = kinds.ends_with("...") || kinds.ends_with('…');
        let kinds = kinds.trim_end_matches("...").trim_end_matches('…').trim();
        let kinds = match kinds {
            "" if !is_open => Vec::new(),
            kinds => kinds.split(',').map(kind).collect::<Result<Vec<_>, _>>()?,
        };
        if kinds.iter().rev().skip(1).any(|kind| *kind == Kind::Body) {
            return Err(NoFunction::BodyFirst);
        }
        if is_open && kinds.last() == Some(&Kind::Body) {
            return Err(NoFunction::Kind("body…".to_owned()));
        }
        let mut command = command.split_whitespace().map(str::to_owned);
        let program = command.next().filter(|program| program.starts_with('/'));
        let program =
            program.ok_or_else(|| NoFunction::Program(text.rsplit(':').next().unwrap_or(text).trim().to_owned()))?;
        Ok(Self { name, kinds, is_open, who: who.parse()?, program, fixed: command.collect() })
    }
}

fn kind(text: &str) -> Result<Kind, NoFunction> {
    let known = KINDS.iter().find(|(name, _)| *name == text.trim());
    known.map(|(_, kind)| *kind).ok_or_else(|| NoFunction::Kind(text.trim().to_owned()))
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({}) for {}: {}", self.name, self.arguments(), self.who, self.program)?;
        self.fixed.iter().try_for_each(|argument| write!(f, " {argument}"))
    }
}

impl Own {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it may be called by this peer; without one it is this peer's own user
    pub(crate) fn is_for(&self, caller: Option<&Name>) -> bool {
        caller.is_none_or(|caller| self.who.has(caller))
    }

    /// Its arguments, as the rule writes them
    pub(crate) fn arguments(&self) -> String {
        let name = |of: &Kind| KINDS.iter().find(|(_, kind)| kind == of).map_or("", |(name, _)| *name);
        let names: Vec<&str> = self.kinds.iter().map(name).collect();
        format!("{}{}", names.join(", "), if self.is_open { "..." } else { "" })
    }

    /// What a call with these arguments runs
    ///
    /// # Errors
    /// In words, if they are not what the function takes.
    pub(crate) fn job(&self, caller: Option<&Name>, arguments: &[Bytes<VALUE_BYTES_MAX>]) -> Result<Job, String> {
        let least = self.kinds.len() - usize::from(self.is_open);
        if arguments.len() < least || (!self.is_open && arguments.len() > self.kinds.len()) {
            return Err(format!("{} takes ({}), and these are {}", self.name, self.arguments(), arguments.len()));
        }
        let (mut words, mut input) = (self.fixed.clone(), Vec::new());
        for (number, argument) in (1..).zip(arguments) {
            let kind = self.kinds.get(number - 1).or(self.kinds.last()).copied().unwrap_or(Kind::Text);
            let wrong = |is: &str| format!("argument {number} of {} is not {is}", self.name);
            if kind == Kind::Body {
                input = argument.to_vec();
                continue;
            }
            let text = std::str::from_utf8(argument).map_err(|_| wrong("text"))?;
            words.push(checked(kind, text).map_err(wrong)?.to_owned());
        }
        let caller = caller.map(Name::to_string);
        Ok(Job { function: self.name.clone(), program: self.program.clone(), arguments: words, input, caller })
    }
}

/// The argument, or what it is not
fn checked(kind: Kind, text: &str) -> Result<&str, &'static str> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_whole = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_so = match kind {
        Kind::Text => !text.starts_with('-') && !text.chars().any(char::is_control),
        Kind::Word => {
            let is_letter = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            !text.is_empty() && !text.starts_with('-') && text.bytes().all(is_letter)
        }
        Kind::Whole => is_whole(unsigned),
        Kind::Number => {
            let is_number = |b: u8| b.is_ascii_digit() || b".eE+-".contains(&b);
            unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
                && text.bytes().all(is_number)
                && text.parse::<f64>().is_ok_and(f64::is_finite)
        }
        Kind::Body => true,
    };
    let what = match kind {
        Kind::Text => "a text on one line that does not begin with a hyphen",
        Kind::Word => "a word of letters, digits, '.', '_' and '-'",
        Kind::Whole => "a whole number",
        Kind::Number => "a number",
        Kind::Body => "a body",
    };
    if is_so { Ok(text) } else { Err(what) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(text: &str) -> Own {
        text.parse().unwrap()
    }

    fn job(text: &str, arguments: &[&[u8]]) -> Result<(Vec<String>, Vec<u8>), String> {
        let arguments: Vec<_> = arguments.iter().map(|argument| argument.to_vec().try_into().unwrap()).collect();
        own(text).job(None, &arguments).map(|job| (job.arguments, job.input))
    }

    #[test]
    fn function_is_written_as_it_was_read_and_a_wrong_one_is_refused_with_what_would_be_right() {
        let table = [
            ("sum(number…) for alice, bob: /bin/sum  -q", "sum(number...) for alice,bob: /bin/sum -q"),
            ("now() for everyone:/bin/date", "now() for everyone: /bin/date"),
            ("put(word, whole, body) for alice: /bin/put", "put(word, whole, body) for alice: /bin/put"),
        ];
        for (text, expected) in table {
            assert_eq!(own(text).to_string(), expected);
            assert_eq!(own(expected), own(text));
        }
        let refusal = |text: &str| text.parse::<Own>().unwrap_err().to_string();
        for text in ["sum", "sum(number for alice: /a", "sum(number): /a", "sum(number) for alice /a"] {
            assert!(refusal(text).contains("NAME(KIND, …)"), "{text}: {}", refusal(text));
        }
        assert!(refusal("Sum() for alice: /a").contains("a-z"));
        assert!(refusal("sum(int) for alice: /a").contains("whole, number"));
        assert!(refusal("sum(...) for alice: /a").contains("no kind"));
        assert!(refusal("sum(body, text) for alice: /a").contains("the last"));
        assert!(refusal("sum(body...) for alice: /a").contains("no kind"));
        assert!(refusal("sum() for alice: sum").contains("whole path"));
        assert!(refusal("sum() for Alice: /a").contains("a-z"));
        assert!(refusal("sum() for alice:").contains("whole path"));
    }

    #[test]
    fn arguments_are_what_the_rule_says_and_none_is_taken_for_an_option() {
        let sum = "sum(number...) for alice: /bin/sum -q";
        assert_eq!(job(sum, &[]), Ok((vec!["-q".into()], Vec::new())));
        assert_eq!(job(sum, &[b"1", b"-2.5e3"]).unwrap().0, ["-q", "1", "-2.5e3"]);
        for wrong in [&b"-n"[..], b"", b"1;ls", b"inf", b"NaN", b"--1", b"-e1", b"0x10", &[0xff]] {
            assert!(job(sum, &[wrong]).is_err(), "{wrong:?}");
        }
        let put = "put(word, text, body) for alice: /bin/put";
        assert_eq!(
            job(put, &[b"a.b", "ein Wort".as_bytes(), &[0, 0xff]]),
            Ok((vec!["a.b".into(), "ein Wort".into()], vec![0, 0xff]))
        );
        assert!(job(put, &[b"a.b", b"text"]).unwrap_err().contains("takes (word, text, body)"));
        for (word, text) in [("../a", "b"), ("-a", "b"), ("a", "-b"), ("a", "b\nc"), ("a", "b\0"), ("", "b")] {
            assert!(job(put, &[word.as_bytes(), text.as_bytes(), b""]).is_err(), "{word:?} {text:?}");
        }
        assert!(job("now() for alice: /bin/date", &[b"1"]).unwrap_err().contains("these are 1"));
        assert!(job("log(whole) for alice: /bin/log", &[b"-7"]).is_ok());
        assert!(job("log(whole) for alice: /bin/log", &[b"7.5"]).is_err());
    }

    #[test]
    fn function_is_for_those_whom_it_names_and_for_the_own_user() {
        let (alice, bob): (Name, Name) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        let sum = own("sum() for alice: /bin/sum");
        assert!(sum.is_for(Some(&alice)) && sum.is_for(None) && !sum.is_for(Some(&bob)));
        assert!(own("sum() for everyone: /bin/sum").is_for(Some(&bob)));
    }
}
