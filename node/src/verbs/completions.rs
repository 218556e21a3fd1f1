//! `kith completions SHELL`

use clap::CommandFactory;
use clap_complete::Shell;
use kith_runtime::cli::{Screen, Stop};

use crate::cli::Cli;

/// Print completions for a shell
///
/// For example in ~/.bashrc: source <(kith completions bash)
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<u8, Stop> {
        let mut script = Vec::new();
        // Not straight to standard output: the generator panics when that is closed.
        clap_complete::generate(self.shell, &mut Cli::command(), "kith", &mut script);
        screen.bytes(&script)?;
        Ok(0)
    }
}
