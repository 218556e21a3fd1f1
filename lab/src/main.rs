//! `kith-lab`: a mesh of real processes on one machine.

use std::process::ExitCode;

fn main() -> ExitCode {
    kith_lab::cli::main()
}
