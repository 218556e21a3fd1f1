//! The command line of `kith-sim`: one variant a verb, and each verb's options with the verb.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::{churn, collapse, door, figures, mutants, outage, overload, plot, routes, sweep};

/// The overlay's cores in virtual time: what a mesh of any size does, from a seed
#[derive(Debug, Parser)]
#[command(name = "kith-sim", version, about, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Send packets through a whole overlay, healthy or with peers dead, and say how they fared
    Routes(routes::Options),
    /// Say what joins and leaves change, and what a day of them does to the hops
    Churn(churn::Options),
    /// Measure everything that there are goals for, and print it as a table
    Figures(figures::Options),
    /// Draw hops by size and deliveries by dead peers
    Plot(plot::Options),
    /// Run the whole protocol with faults and users, and watch what must hold
    Mesh(sweep::Options),
    /// Disturb a mesh that is short of processor, and say whether it comes back by itself
    Collapse(collapse::Options),
    /// Play an outage again, and say whether everybody is let in soon and nobody is put out
    Outage(outage::Options),
    /// Let more log in than a slow log can take, and say who is served, who is put off and who is put out
    Overload(overload::Options),
    /// Let people into a network that takes invites only, and watch that nobody else comes in
    Door(door::Options),
    /// Make the product's mistakes one by one, and say which oracle sees each
    Mutants(mutants::Options),
}

/// The command line, for whoever checks what others write about it
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs what the command line says; 0: done, 1: it failed or a figure missed its goal, 2: usage
pub fn main() -> ExitCode {
    match Cli::parse().verb {
        Verb::Routes(options) => routes::run(&options),
        Verb::Churn(options) => churn::run(&options),
        Verb::Figures(options) => figures::run(&options),
        Verb::Plot(options) => plot::run(&options),
        Verb::Mesh(options) => sweep::verb(&options),
        Verb::Collapse(options) => collapse::verb(&options),
        Verb::Outage(options) => outage::verb(&options),
        Verb::Overload(options) => overload::verb(&options),
        Verb::Door(options) => door::verb(&options),
        Verb::Mutants(options) => mutants::verb(&options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
