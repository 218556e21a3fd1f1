//! Layers of settings: flags and environment over a file over the defaults.
//!
//! A layer is a struct of `Option`s, which clap fills from flags and environment and serde from the file; [`load`] puts
//! them together. Whoever needs a value then decides it once, with a default for what nobody set.

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::Deserializer;
use serde::{Deserialize, de};
use toml::de::DeTable;

use crate::home::Home;

/// A file of settings is text for people; one over this is something else
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Settings, each of which may be there or not
pub trait Layer: Default {
    /// The names of all settings, as they stand in a file
    fn keys() -> Vec<&'static str>;

    /// The settings that a file's text has
    ///
    /// # Errors
    /// What is wrong with the first bad value.
    fn read(text: &str) -> Result<Self, toml::de::Error>;

    /// These settings, and the lower layer's where these have none
    #[must_use]
    fn over(self, lower: Self) -> Self;

    /// With relative paths in it resolved: those in a file are relative to it
    #[must_use]
    fn resolved(self, directory: &Path) -> Self;
}

/// Implements [`Layer`] for a struct of `Option`s and, last, a [`HostSettings`](super::HostSettings) that serde skips; one
/// that leaves a field out does not compile
#[macro_export]
macro_rules! layer {
    ($settings:ident { $($key:ident),* $(,)? } and $host:ident) => {
        impl $crate::config::Layer for $settings {
            fn keys() -> Vec<&'static str> {
                [$(stringify!($key),)*].into_iter().chain($crate::config::HostSettings::KEYS).collect()
            }

            fn read(text: &str) -> Result<Self, $crate::config::toml::de::Error> {
                // The text is read twice instead of flattened, since serde loses the lines of what it flattens.
                let $host = $crate::config::toml::from_str(text)?;
                Ok(Self { $host, ..$crate::config::toml::from_str(text)? })
            }

            fn over(self, lower: Self) -> Self {
                Self { $($key: self.$key.or(lower.$key),)* $host: self.$host.over(lower.$host) }
            }

            fn resolved(self, directory: &::std::path::Path) -> Self {
                Self { $host: self.$host.resolved(directory), ..self }
            }
        }
    };
}

/// Where a fault is; written as editors and terminals understand it, `file:line`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub path: PathBuf,
    /// Counted from 1
    pub line: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

/// Why there is no configuration; nothing was started
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read
    #[error("cannot read {}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    /// The file is not TOML
    #[error("{position}: {fault}")]
    Syntax {
        position: Position,
        /// What the parser says
        fault: String,
    },
    /// No setting has this name
    #[error("{position}: unknown key \"{key}\"; {}", suggestion(*nearest, keys))]
    UnknownKey {
        position: Position,
        key: String,
        /// The right key that looks most like it, if one does
        nearest: Option<&'static str>,
        keys: Vec<&'static str>,
    },
    /// A setting's value is not one
    #[error("{position}: bad value for \"{key}\": {fault}")]
    BadValue {
        position: Position,
        key: String,
        /// What is wrong and what would be right
        fault: String,
    },
    /// The settings do not go together, or one is missing
    #[error("{key}: {fault}")]
    Undecided {
        key: &'static str,
        /// What is wrong and what would be right
        fault: String,
    },
}

fn suggestion(nearest: Option<&str>, keys: &[&str]) -> String {
    match nearest {
        Some(nearest) => format!("did you mean \"{nearest}\"?"),
        None => format!("the keys are {}", keys.join(", ")),
    }
}

/// A file of settings
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It was asked for by name
    Required(PathBuf),
    /// It is read if it is there
    Optional(PathBuf),
}

impl Source {
    /// The file that was `given`, else the home's own
    pub fn of(home: &Home, given: Option<&Path>) -> Self {
        match given {
            Some(path) => Self::Required(path.to_owned()),
            None => Self::Optional(home.file(home.role().config_file)),
        }
    }
}

/// `flags` over the file's settings
///
/// # Errors
/// [`ConfigError`] for a file that cannot be read, an unknown key or a bad value, with file and line.
pub fn load<T: Layer>(flags: T, source: &Source) -> Result<T, ConfigError> {
    let (Source::Required(path) | Source::Optional(path)) = source;
    let text = match (read_text(path, FILE_BYTES_MAX), source) {
        (Ok(text), _) => text,
        (Err(error), Source::Optional(_)) if error.kind() == io::ErrorKind::NotFound => return Ok(flags),
        (Err(error), _) => return Err(ConfigError::Read { path: path.clone(), error }),
    };
    let file: T = parse(path, &text)?;
    Ok(flags.over(file.resolved(path.parent().unwrap_or(Path::new("")))))
}

/// All that is in a file, which has `max` bytes at most
///
/// # Errors
/// [`io::Error`], also for a longer file: a part of it says something else than the whole.
pub(super) fn read_text(path: &Path, max: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {max} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The settings in a file's text
///
/// # Errors
/// [`ConfigError`] with `path` and the line.
pub fn parse<T: Layer>(path: &Path, text: &str) -> Result<T, ConfigError> {
    let position = |at: Option<Range<usize>>| {
        let before = at.and_then(|at| text.get(..at.start)).unwrap_or_default();
        Position { path: path.to_owned(), line: before.matches('\n').count() + 1 }
    };
    let syntax = |error: toml::de::Error| ConfigError::Syntax {
        position: position(error.span()),
        fault: error.message().lines().collect::<Vec<_>>().join(" "),
    };
    let table = DeTable::parse(text).map_err(syntax)?;
    // In the order of the file, so that the first fault is told first.
    let mut keys: Vec<_> =
        table.get_ref().iter().map(|(key, value)| (key.span(), key.get_ref(), value.span())).collect();
    keys.sort_by_key(|(at, ..)| at.start);
    let known = T::keys();
    if let Some((at, key, _)) = keys.iter().find(|(_, key, _)| !known.contains(&key.as_ref())) {
        let nearest = nearest(key, &known);
        return Err(ConfigError::UnknownKey {
            position: position(Some(at.clone())),
            key: key.to_string(),
            nearest,
            keys: known,
        });
    }
    T::read(text).map_err(|error| {
        let at = error.span().unwrap_or_default();
        // A table's heading spans both its key and its brackets.
        let spans = |key: &Range<usize>, value: &Range<usize>| key.start.min(value.start)..key.end.max(value.end);
        let owner = keys.iter().find(|(key, _, value)| spans(key, value).contains(&at.start));
        match owner {
            Some((_, key, _)) => ConfigError::BadValue {
                position: position(Some(at)),
                key: key.to_string(),
                fault: error.message().to_owned(),
            },
            None => syntax(error),
        }
    })
}

/// The key that looks most like `wrong`, unless none does
pub fn nearest(wrong: &str, keys: &[&'static str]) -> Option<&'static str> {
    /// Below it, a suggestion is more confusing than helpful; `supernode` and `supernodes` have 0.98
    const LIKENESS_MIN: f64 = 0.8;
    let likeness = |key: &&'static str| (strsim::jaro_winkler(wrong, key), *key);
    let best = keys.iter().map(likeness).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness >= LIKENESS_MIN).map(|(_, key)| key)
}

/// For serde's `deserialize_with`: a value that is written as a text
///
/// # Errors
/// What the value's `FromStr` says.
pub fn text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    Text::deserialize(deserializer).map(|Text(value)| Some(value))
}

/// For serde's `deserialize_with`: a list of values that are written as texts
///
/// # Errors
/// What the first bad value's `FromStr` says.
pub fn texts<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    let texts = Vec::<Text<T>>::deserialize(deserializer)?;
    Ok(Some(texts.into_iter().map(|Text(value)| value).collect()))
}

struct Text<T>(T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(de::Error::custom)
    }
}
