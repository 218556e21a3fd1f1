//! `kith-supernode completions`

use clap::CommandFactory;
use kith_runtime::cli::{Screen, Stop};
use kith_runtime::home::SUPERNODE;

/// Print completions for a shell
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// For which
    shell: clap_complete::Shell,
}

impl Completions {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<u8, Stop> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::cli::Cli::command(), SUPERNODE.program, &mut script);
        screen.bytes(&script)?;
        Ok(0)
    }
}
