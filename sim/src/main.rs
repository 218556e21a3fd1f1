//! `kith-sim`: the overlay's cores in virtual time.

use std::process::ExitCode;

fn main() -> ExitCode {
    kith_sim::cli::main()
}
