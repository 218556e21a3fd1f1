//! What the verbs of `kith-lab` do with a lab that is there.

use std::ffi::OsString;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::error::{LabError, io_error};
use crate::log::tail;
use crate::mesh::Lab;
use crate::options::{Options, Progress};
use crate::process::Condition;
use crate::state::Process;
use crate::{names, output, programs, threads};

/// The time until all peers hold their links, from when somebody is back: a peer whose supernode was silent for long
/// waits for a minute between two tries
const SETTLED_LIMIT: Duration = Duration::from_secs(90);
/// A follower looks for more of a log this often
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

pub(super) fn up(options: Options, dir: &Path) -> Result<ExitCode, LabError> {
    let binary = options.binary.clone();
    Lab::up(options, Progress::Lines)?;
    link_programs(dir, &binary)?;
    let (first, other) = (names::peer(0), other_dir(dir));
    output::line("The mesh is up. Next, with its programs on the path:");
    output::line(&format!("  {}", programs::export(dir)));
    output::line(&format!(
        "  kith-lab{other} exec {first} peers                 # then: send NAME hello, trace NAME, neighbours"
    ));
    output::line(&format!("  kith-lab{other} status | watch | kill NAME | pause NAME | start NAME | logs NAME | down"));
    output::line(&format!("  kith --home {}/{first} status        # the same as exec {first}", dir.display()));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn link_programs(dir: &Path, binary: &Path) -> Result<(), LabError> {
    programs::link(dir, binary).map(|_| ()).map_err(io_error(format!("link the programs in {}", dir.display())))
}

/// The flag that leads a next command to the same directory, if it needs one
pub(super) fn other_dir(dir: &Path) -> String {
    if dir == Path::new(super::DIR_DEFAULT) { String::new() } else { format!(" --dir {}", dir.display()) }
}

pub(super) fn ps(lab: &Lab, json: bool) -> Result<ExitCode, LabError> {
    let state = lab.state()?;
    let listen = |process: &Process| {
        let node = lab.node(&process.name).ok().filter(|_| process.condition() == Condition::Running)?;
        node.listen().ok()?.into_iter().next()
    };
    let processes: Vec<(&Process, Option<String>)> = state.processes.iter().map(|p| (p, listen(p))).collect();
    if json {
        let object = |(process, listen): &(&Process, Option<String>)| {
            json!({
                "name": process.name,
                "role": process.role,
                "pid": process.process.map(|process| process.pid),
                "state": process.condition(),
                "home": process.home,
                "listen": listen,
            })
        };
        let processes: Vec<_> = processes.iter().map(object).collect();
        output::line(&format!(
            "{}",
            json!({"seed": state.seed, "degree": state.degree, "dir": lab.dir(), "processes": processes})
        ));
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&format!("{:<12} {:<10} {:<8} {:>8}  {:<28} home", "name", "role", "state", "pid", "listens at"));
    for (process, listen) in processes {
        let (role, state) = (process.role.word(), process.condition().word());
        let pid = process.process.map(|process| process.pid.to_string()).unwrap_or_default();
        let (listen, home) = (listen.unwrap_or_default(), process.home.display());
        output::line(&format!("{:<12} {role:<10} {state:<8} {pid:>8}  {listen:<28} {home}", process.name));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn exec(lab: &Lab, name: &str, verb: Vec<OsString>) -> Result<ExitCode, LabError> {
    let node = lab.node(name)?;
    let mut args: Vec<OsString> = vec!["--home".into(), node.home.path().into()];
    args.extend(verb);
    Ok(node.role.run(args))
}

pub(super) fn kill(lab: &Lab, names: &[String]) -> Result<ExitCode, LabError> {
    threads::each(names, |name| lab.kill(name)).into_iter().collect::<Result<(), LabError>>()?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn start(lab: &Lab, name: &str) -> Result<ExitCode, LabError> {
    let took = lab.start_and_wait(name)?;
    lab.progress().say(&format!("{name} is back after {} ms", took.as_millis()));
    tell_settled(lab)
}

pub(super) fn resume(lab: &Lab, name: &str) -> Result<ExitCode, LabError> {
    lab.resume(name)?;
    lab.progress().say(&format!("{name} goes on"));
    tell_settled(lab)
}

pub(super) fn heal(lab: &Lab) -> Result<ExitCode, LabError> {
    lab.heal()?;
    lab.progress().say("nobody is cut off any more");
    tell_settled(lab)
}

/// Whoever comes back is in the mesh only when all links are there: what is tried next would tell of the way to it
fn tell_settled(lab: &Lab) -> Result<ExitCode, LabError> {
    let settled = lab.settle_beside_others("everybody to hold their links", SETTLED_LIMIT)?;
    lab.progress().say(&format!("everybody holds their links {} ms later", settled.as_millis()));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn stop(lab: &Lab, names: &[String]) -> Result<ExitCode, LabError> {
    threads::each(names, |name| lab.stop(name)).into_iter().collect::<Result<(), LabError>>()?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn down(lab: &Lab) -> Result<ExitCode, LabError> {
    lab.down()?;
    output::line(&format!("Everybody has ended. Logs are left in {} until the next `up`.", lab.dir().display()));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn logs(lab: &Lab, name: &str, follow: bool, lines: Option<usize>) -> Result<ExitCode, LabError> {
    let path = lab.node(name)?.log();
    let mut log = std::fs::File::open(&path).map_err(io_error(format!("open {}", path.display())))?;
    let mut out = std::io::stdout();
    let written = || io_error("write to standard output");
    if let Some(lines) = lines {
        log.seek(SeekFrom::End(0)).map_err(io_error(format!("read {}", path.display())))?;
        writeln!(out, "{}", tail(&path, lines)).map_err(written())?;
    }
    loop {
        let mut text = Vec::new();
        log.read_to_end(&mut text).map_err(io_error(format!("read {}", path.display())))?;
        out.write_all(&text).and_then(|()| out.flush()).map_err(written())?;
        if !follow {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(FOLLOW_EVERY);
    }
}
