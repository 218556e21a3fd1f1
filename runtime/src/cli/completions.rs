//! The verb `completions`, which both commands have.

use clap::Command;
use clap_complete::Shell;

use super::screen::{Screen, Stop};

/// Print completions for a shell
///
/// For example in ~/.bashrc: source <(kith completions bash)
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    /// Writes the script for `command`
    ///
    /// # Errors
    /// [`Stop`] if nobody takes the output.
    pub(super) fn run(self, mut command: Command, screen: &mut Screen) -> Result<u8, Stop> {
        let mut script = Vec::new();
        let program = command.get_name().to_owned();
        // Not straight to standard output: the generator panics when that is closed.
        clap_complete::generate(self.shell, &mut command, program, &mut script);
        screen.bytes(&script)?;
        Ok(0)
    }
}
