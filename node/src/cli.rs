//! The command line of `kith`; each verb is a file in `verbs/`.

use std::ffi::OsString;
use std::process::ExitCode;

use kith_runtime::cli::Program;
use kith_runtime::home::PEER;

use crate::verbs::Verb;

const PROGRAM: Program = Program {
    role: PEER,
    about: "A peer of a mesh that heals itself: run one, or talk to the one that runs",
    examples: "\
Examples:
  kith join LINE                                       enter by an invite, and stay until Ctrl-C
  kith run                                             come back another time
  kith status                                          is alice logged in
  kith send heidi hello                                deliver a message, see its way and time
  echo hello | kith send heidi -                       the same from standard input
  kith inbox --follow                                  read what comes
  kith --json ping heidi                               for programs: one JSON object a line

Exit codes: 0 done, 1 a fault on this side, 2 wrong arguments, 3 no daemon, else by status:
4xx is 40 + (code - 400), 5xx is 90 + (code - 500); so 404 (not found) is 44 and 503 (unavailable) 93.",
};

/// The command line, for whoever checks what others write about it
pub fn command() -> clap::Command {
    PROGRAM.command::<Verb>()
}

/// Runs the command `args` (its own name first) and returns its exit code
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    PROGRAM.main::<Verb>(args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn global_flags_may_stand_before_and_after_the_verb() {
        for args in [["kith", "--home", "/x", "--json", "status"], ["kith", "status", "--json", "--home", "/x"]] {
            let matches = command().try_get_matches_from(args).unwrap();
            assert!(matches.get_flag("json"));
            assert_eq!(matches.get_one::<std::path::PathBuf>("home").unwrap(), std::path::Path::new("/x"));
        }
    }
}
