//! The command line of `kith-lab histories`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{binary, seconds, verdict};
use crate::error::LabError;
use crate::histories::{self, Faults, Goals, HistoryOptions};
use crate::options::{Options, SUPERNODES_DEFAULT};

#[derive(Debug, Args)]
pub(super) struct Histories {
    /// How long the clients go on, in seconds
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds, default_value = "60")]
    limit: Duration,
    /// How many clients
    #[arg(long, default_value_t = 16, value_name = "N")]
    clients: usize,
    /// How many names they want
    #[arg(long, default_value_t = 8, value_name = "N")]
    names: usize,
    /// How many supernodes, 1 to 5
    #[arg(long, default_value_t = SUPERNODES_DEFAULT, value_name = "N")]
    supernodes: usize,
    /// What happens to the supernodes; several, with commas, take turns by chance
    #[arg(long, value_enum, value_delimiter = ',', default_value = "any", value_name = "WHAT")]
    faults: Vec<Faults>,
    /// End after this many faults; fail if there are fewer
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Fail if there are fewer operations than these
    #[arg(long, value_name = "N")]
    operations_min: Option<usize>,
    /// Fail if after one fault of a hundred there is no write for longer than this many milliseconds
    #[arg(long, value_name = "MS")]
    outage_max: Option<u64>,
    /// What faults and deeds are drawn from
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Write the history here, one operation a line
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Judge a history that was written, and make none
    #[arg(long, value_name = "FILE")]
    judge: Option<PathBuf>,
    /// One object for programs
    #[arg(long)]
    json: bool,
    /// This is the run in namespaces of its own
    #[arg(long, hide = true)]
    apart: bool,
}

impl Histories {
    pub(super) fn run(self, dir: PathBuf) -> Result<ExitCode, LabError> {
        let Self { limit, clients, names, supernodes, faults, rounds, operations_min, .. } = self;
        let Self { outage_max, seed, out, judge, json, apart, .. } = self;
        if let Some(file) = judge {
            return Ok(verdict(histories::judge(&file, json)?.held()));
        }
        let lab = Options { supernodes, seed, ..Options::new(dir, binary()?) };
        let outage_max = outage_max.map(Duration::from_millis);
        let goals = Goals { outage_max, operations_min, rounds, sure_min: None };
        let options = HistoryOptions { lab, clients, names, limit, faults, goals, out, json, is_apart: apart };
        Ok(verdict(histories::run(options)?.held()))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Verb};
    use super::*;

    #[test]
    fn several_kinds_of_faults_may_take_turns() {
        let cli = Cli::try_parse_from(["kith-lab", "histories", "--faults", "partition,clock"]).expect("parse");
        let Verb::Histories(Histories { faults, .. }) = cli.verb else { unreachable!("not histories") };
        assert_eq!(faults, [Faults::Partition, Faults::Clock]);
        assert!(Cli::try_parse_from(["kith-lab", "histories", "--faults", "fire"]).is_err());
    }
}
