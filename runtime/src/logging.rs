//! What people read: events on standard error, filtered by `KITH_LOG`, as text or JSON.

use std::fmt;
use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

/// A text does not say what to log, or how
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogTextError {
    #[error("{0:?} is not a format of logs: text or json")]
    Format(String),
    #[error("{text:?} is not a filter of logs ({fault}); for example info or kith_node=debug")]
    Filter {
        text: String,
        /// What the parser says
        fault: String,
    },
}

/// Why logging does not begin
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogStartError {
    #[error("the filter has a fault: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// It was begun before, and goes on as it was
    #[error("logging was begun before: {0}")]
    Started(Box<dyn std::error::Error + Send + Sync>),
}

/// How an event is written
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// A line for people, in colour on a terminal
    #[default]
    Text,
    /// A JSON object a line
    Json,
}

impl FromStr for Format {
    type Err = LogTextError;

    fn from_str(text: &str) -> Result<Self, LogTextError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LogTextError::Format(text.to_owned())),
        }
    }
}

/// Which events are written: `warn`, `info`, `kith_runtime::link=trace,info`
#[derive(Clone, PartialEq, Eq)]
pub struct Filter(String);

impl Default for Filter {
    fn default() -> Self {
        Self("info".into())
    }
}

impl FromStr for Filter {
    type Err = LogTextError;

    fn from_str(text: &str) -> Result<Self, LogTextError> {
        let fault = |fault: String| LogTextError::Filter { text: text.to_owned(), fault };
        // The parser takes a misspelt level for the name of a part, of which it would then show everything, and nothing else.
        if let Some(word) = text.split(',').map(str::trim).find(|part| !part.is_empty() && !is_directive(part)) {
            let levels = "off, error, warn, info, debug or trace";
            return Err(fault(format!("{word:?} is no level: {levels}; for all of a part of this name: {word}=trace")));
        }
        EnvFilter::builder().parse(text).map_err(|error| fault(error.to_string()))?;
        Ok(Self(text.to_owned()))
    }
}

/// The filter, in which the library that agrees on the log says what it has to complain of, unless somebody wants to hear
/// more: its own events say nothing of what people ask about, which Kith's do
fn with_library(filter: &str) -> String {
    if filter.contains(AGREEMENT) { filter.to_owned() } else { format!("{AGREEMENT}=error,{filter}") }
}

const AGREEMENT: &str = "openraft";

/// Whether it is a level, or more than one plain word
fn is_directive(part: &str) -> bool {
    part.parse::<tracing::level_filters::LevelFilter>().is_ok() || part.contains(|c: char| !c.is_ascii_alphabetic())
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Starts logging for the whole process
///
/// # Errors
/// When logging was started before, which goes on as it was, or the filter has a fault.
pub(crate) fn init(filter: &Filter, format: Format) -> Result<(), LogStartError> {
    let filter = EnvFilter::builder().parse(with_library(&filter.0))?;
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colour);
    // A line that cannot be written, as the log's disk is full, is lost: to say so on standard error would be a panic.
    let builder = builder.log_internal_errors(false);
    let started = match format {
        Format::Text => builder.fmt_fields(debug_fn(write_field).delimited(" ")).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(LogStartError::Started)
}

/// `key=value`, the value in quotes if it is not one word, so that lines can be taken apart again
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let text = format!("{value:?}");
    if field.name() == "message" {
        return writer.write_str(&text);
    }
    let is_word = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c == '"');
    // What has quotes around it was a string, and is quoted and escaped already.
    if is_word || text.len() > 1 && text.starts_with('"') && text.ends_with('"') {
        write!(writer, "{}={text}", field.name())
    } else {
        write!(writer, "{}={text:?}", field.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_with_a_fault_is_refused() {
        assert!("kith_node=loud".parse::<Filter>().unwrap_err().to_string().contains("kith_node=debug"));
        for text in ["loud", "inof", "kith_node=debug,wran"] {
            assert!(text.parse::<Filter>().unwrap_err().to_string().contains("no level"), "{text}");
        }
        for text in ["", "off", "WARN", "kith_node", "libp2p_tcp=debug, info", "[span]=info"] {
            assert!(text.parse::<Filter>().is_ok(), "{text}");
        }
        assert_eq!(
            "kith_runtime::link=trace,info".parse::<Filter>().unwrap().to_string(),
            "kith_runtime::link=trace,info"
        );
    }

    #[test]
    fn value_of_many_words_is_quoted_once() {
        let fields = tracing::info_span!("span", reason = tracing::field::Empty);
        let field = fields.field("reason").unwrap();
        let written = |value: &dyn fmt::Debug| {
            let mut text = String::new();
            write_field(&mut Writer::new(&mut text), &field, value).unwrap();
            text
        };
        assert_eq!(written(&format_args!("silent")), "reason=silent");
        assert_eq!(written(&format_args!("no answer for 2 s")), "reason=\"no answer for 2 s\"");
        assert_eq!(written(&"a string"), "reason=\"a string\"");
        assert_eq!(written(&format_args!("")), "reason=\"\"");
    }

    #[test]
    fn second_start_is_an_error_and_not_a_panic() {
        let outcomes = [(), ()].map(|()| init(&Filter::default(), Format::Json));
        assert!(outcomes[1].is_err());
    }
}
