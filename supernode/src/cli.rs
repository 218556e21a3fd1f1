//! The command line of `kith-supernode`; each verb is a file in `verbs/`.

use std::ffi::OsString;
use std::process::ExitCode;

use kith_runtime::cli::Program;
use kith_runtime::home::SUPERNODE;

use crate::verbs::Verb;

const PROGRAM: Program = Program {
    role: SUPERNODE,
    about: "The supernode of a mesh that heals itself: run one, or talk to the one that runs",
    examples: "\
Examples:
  kith-supernode run                      start a network, or take it up again, on port 7400
  kith-supernode run --degree 4           the same for a handful of peers
  kith-supernode invite                   let a newcomer in: print what they type
  kith-supernode peers                    every name, and whether its owner is here
  kith-supernode ring                     who is linked to whom
  kith-supernode remove mallory           bar a peer for good
  kith-supernode release bob              give the name bob free for another key
  kith-supernode members                  the supernodes: who leads, who votes, how each is
  kith-supernode backup FILE              a copy of the directory, while it runs
  kith-supernode --json status            for programs: one JSON object a line

Exit codes: 0 done, 1 a fault on this side, 2 wrong arguments, 3 no daemon, else by status:
4xx is 40 + (code - 400), 5xx is 90 + (code - 500); so 404 (not found) is 44 and 410 (logged out) is 50.",
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
}
