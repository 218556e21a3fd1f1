//! Which variables of the environment a command hears: settings of ours, unless they are empty, or a flag says otherwise.

use std::ffi::{OsStr, OsString};

use clap::builder::{OsStr as ClapStr, Resettable};
use clap::{Arg, Command, Id};

use super::screen::Failure;
use crate::config::nearest;

/// What the variables of all our programs begin with
const PREFIX: &str = "KITH_";

/// Every variable that something of ours reads: both programs, the compose file, and the tests; the lab's tests hold
/// it equal to what the programs have
pub const VARIABLES: [&str; 30] = [
    "KITH_CONFIG",
    "KITH_DEGREE",
    "KITH_DIAL_TIMEOUT_MS",
    "KITH_DOCKERFILE",
    "KITH_EXPOSE",
    "KITH_EXTERNAL",
    "KITH_FORWARD",
    "KITH_FUNCTIONS",
    "KITH_HANDSHAKE_TIMEOUT_MS",
    "KITH_HELLO_TIMEOUT_MS",
    "KITH_HOME",
    "KITH_IMAGE_TAG",
    "KITH_INBOX_BYTES_MAX",
    "KITH_LAB_TEST_SEED",
    "KITH_LEASE_MS",
    "KITH_LINKS_MAX",
    "KITH_LINKS_PER_IP_MAX",
    "KITH_LISTEN",
    "KITH_LOG",
    "KITH_LOG_FORMAT",
    "KITH_LOOKUP_REMEMBERED_S",
    "KITH_NAME",
    "KITH_NETWORK",
    "KITH_OPEN",
    "KITH_OUTBOX_BYTES_MAX",
    "KITH_PORT",
    "KITH_SECRET",
    "KITH_SECRET_FILE",
    "KITH_SOCKS",
    "KITH_SUPERNODES",
];

/// Refuses a variable that looks like a setting and that nothing reads: it was meant to do something
///
/// # Errors
/// [`Failure`] with the variable that it may have been meant to be.
pub(super) fn check(environment: impl Iterator<Item = (OsString, OsString)>) -> Result<(), Failure> {
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        if VARIABLES.contains(&name) || value.is_empty() || is_of_a_service(name, &value) {
            continue;
        }
        // What all of them begin with would make any two look alike.
        let ends: Vec<&str> = VARIABLES.iter().filter_map(|variable| variable.strip_prefix(PREFIX)).collect();
        let hint = match nearest(name.strip_prefix(PREFIX).unwrap_or(name), &ends) {
            Some(right) => format!("did you mean {PREFIX}{right}?"),
            None => format!("the variables are {}", VARIABLES.join(", ")),
        };
        return Err(Failure::usage(
            format!("nothing reads the variable {name}; {hint}"),
            Some(format!("unset {name}")),
        ));
    }
    Ok(())
}

/// Whether Kubernetes made the variable for a service called `kith…`, as it does in every container beside it
fn is_of_a_service(name: &str, value: &OsStr) -> bool {
    let made = ["_SERVICE_HOST", "_SERVICE_PORT"].iter().any(|part| name.contains(part));
    made || name.contains("_PORT_") && name.contains("_TCP")
        || value.to_str().is_some_and(|at| at.starts_with("tcp://"))
}

/// The command, deaf to the variables that must not count
///
/// That is those that are empty, since compose files set what nobody gave to nothing; and those that say in another way
/// what a flag among `args` says.
pub(super) fn deafened(command: Command, args: &[OsString], variable: &dyn Fn(&OsStr) -> Option<OsString>) -> Command {
    let outvoted = outvoted(&command, args);
    let deafen = |arg: Arg| {
        let is_empty = arg.get_env().and_then(variable).is_some_and(|value| value.is_empty());
        if is_empty || outvoted.contains(arg.get_id()) { arg.env(Resettable::<ClapStr>::Reset) } else { arg }
    };
    let verbs: Vec<String> = command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    let command = command.mut_args(deafen);
    verbs.into_iter().fold(command, |command, verb| command.mut_subcommand(verb, |verb| deafened(verb, args, variable)))
}

/// The arguments that exclude one which stands among `args`
fn outvoted(command: &Command, args: &[OsString]) -> Vec<Id> {
    let stands = |arg: &Arg| {
        let flag = format!("--{}", arg.get_long().unwrap_or_default());
        args.iter().filter_map(|arg| arg.to_str()).any(|arg| arg.split('=').next() == Some(&flag))
    };
    // clap knows a conflict by the one of the two that declares it.
    let pairs =
        command.get_arguments().flat_map(|a| command.get_arg_conflicts_with(a).into_iter().map(move |b| (a, b)));
    let both_ways = pairs.flat_map(|(a, b)| [(a, b), (b, a)]);
    both_ways.filter(|(given, _)| stands(given)).map(|(_, other)| other.get_id().clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        let secret = Arg::new("secret").long("secret").env("KITH_TEST_SECRET").conflicts_with("secret-file");
        let file = Arg::new("secret-file").long("secret-file").env("KITH_TEST_SECRET_FILE");
        Command::new("kith").subcommand(Command::new("run").arg(secret).arg(file))
    }

    /// The variables that `run` hears when it is called with `flag`
    fn heard(flag: &str, empty: &str) -> Vec<String> {
        let args = ["kith", "run", flag].map(OsString::from);
        let variable = |name: &OsStr| (name == empty).then(OsString::new);
        let command = deafened(command(), &args, &variable);
        let run = command.find_subcommand("run").unwrap();
        run.get_arguments().filter_map(|arg| Some(arg.get_env()?.to_str()?.to_owned())).collect()
    }

    #[test]
    fn flag_silences_the_variable_that_says_the_same_in_another_way() {
        assert_eq!(heard("", ""), ["KITH_TEST_SECRET", "KITH_TEST_SECRET_FILE"]);
        assert_eq!(heard("--secret-file", ""), ["KITH_TEST_SECRET_FILE"]);
        assert_eq!(heard("--secret=x", ""), ["KITH_TEST_SECRET"]);
    }

    #[test]
    fn empty_variable_is_not_heard() {
        assert_eq!(heard("", "KITH_TEST_SECRET"), ["KITH_TEST_SECRET_FILE"]);
    }

    #[test]
    fn variable_that_nothing_reads_is_refused_with_the_nearest() {
        let check = |name: &str, value: &str| check([(name.into(), value.into())].into_iter());
        let refused = check("KITH_SUPERNODE", "a:1").unwrap_err();
        assert_eq!(refused.error, "nothing reads the variable KITH_SUPERNODE; did you mean KITH_SUPERNODES?");
        assert_eq!(refused.hint.as_deref(), Some("unset KITH_SUPERNODE"));
        assert!(check("KITH_COLOUR_OF_THE_SKY", "blue").unwrap_err().error.contains("KITH_SECRET_FILE"));
        for (name, value) in [
            ("KITH_SUPERNODES", "a:1"),
            ("KITH_NAEM", ""),
            ("KITHE_NAME", "x"),
            ("KITH_SUPERNODE_SERVICE_HOST", "10.0.0.1"),
            ("KITH_SUPERNODE_PORT", "tcp://10.0.0.1:7400"),
            ("KITH_SUPERNODE_PORT_7400_TCP_ADDR", "10.0.0.1"),
        ] {
            assert_eq!(check(name, value), Ok(()), "{name}");
        }
    }
}
