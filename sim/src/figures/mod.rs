//! x
use std::process::ExitCode;
/// x
#[derive(Clone, Debug, clap::Args)]
pub struct Options {}
/// x
pub fn run(_: &Options) -> ExitCode {
    ExitCode::SUCCESS
}
