//! The `kith` command; all of it is in the library, so that the lab can take its role.

use std::process::ExitCode;

fn main() -> ExitCode {
    kith_node::cli::main(std::env::args_os())
}
