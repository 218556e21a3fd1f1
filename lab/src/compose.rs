//! `kith-lab compose`: the containers, broken and mended in all the ways that a person will try.
//!
//! The scenario runs `docker compose`, or the old `docker-compose`, on the repository's own file, as a project of its
//! own, and asks the peers through `docker exec`.

mod supernodes;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use kith_runtime::control::client::Line;
use kith_runtime::control::peer::{LinkState, Neighbour, NeighboursAnswer, StatusAnswer};

use crate::demo::Step;
use crate::fate::Fate;
use crate::{output, threads};

/// The peers of the file that have names
const PEERS: [&str; 8] = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"];
/// The Dockerfile that takes what `.ci/static` has built
const PREBUILT: &str = "config/prebuilt.Dockerfile";
/// Where `.ci/static` lays out the programs
const PROGRAMS: &str = "target/docker/usr/local/bin";
/// Peers without a name that are added
const MORE: usize = 3;
/// From a start until everybody holds their links; eleven containers start at once on a small machine
const SETTLED_LIMIT: Duration = Duration::from_secs(120);
/// From a break until the others show it, and deliver
const HEALED_LIMIT: Duration = Duration::from_secs(30);
/// How often the containers are looked at while something is waited for
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// About 30 MB is what two static binaries take; far more means that something else came along
const IMAGE_BYTES_MAX: u64 = 48_000_000;

/// How the scenario is run
#[derive(Clone, Debug)]
pub(crate) struct ComposeOptions {
    /// Where `docker-compose.yml` is
    pub dir: PathBuf,
    /// The image is made of what `.ci/static` has built, and not from source
    pub prebuilt: bool,
    /// Whether the containers are left at the end
    pub keep: bool,
}

/// The scenario could not be run to its end
#[derive(Debug, thiserror::Error)]
pub(crate) enum ComposeError {
    /// Neither `docker compose` nor `docker-compose` is there, or no engine answers. Nothing was started.
    #[error("no docker engine with compose answers: {0}")]
    NoEngine(String),
    /// The image is to be made of programs that nobody has built. Nothing was started.
    #[error("{} is not there, and a prebuilt image is made of it; type: .ci/static", .0.display())]
    NotBuilt(PathBuf),
    /// A command ended with an error
    #[error("{command}: {error}")]
    Command { command: String, error: String },
    /// A step that the others need did not hold
    #[error("{what}: {reason}")]
    Failed {
        /// What was waited for
        what: String,
        reason: String,
    },
}

/// The project, while it runs; dropped, it is removed with all that belongs to it
struct Project {
    compose: Vec<String>,
    name: String,
    options: ComposeOptions,
    steps: Vec<Step>,
}

/// Runs the scenario and says what it sees; every step, held or not
///
/// # Errors
/// There is no engine, or a step failed that the others need. The containers are removed unless they are to be kept.
pub(crate) fn run(options: ComposeOptions) -> Result<Vec<Step>, ComposeError> {
    built(&options)?;
    let compose = compose_command()?;
    let name = format!("kith-scenario-{}", std::process::id());
    output::line(&format!("project {name}, with {}", compose.join(" ")));
    let mut project = Project { compose, name, options, steps: Vec::new() };
    project.start()?;
    project.look_at_the_image()?;
    project.kill()?;
    project.pause()?;
    project.stop()?;
    project.disconnect()?;
    project.kill_the_leader()?;
    project.scale()?;
    project.come_back()?;
    project.end()?;
    Ok(std::mem::take(&mut project.steps))
}

/// Docker says that a file is missing, and not how one comes by it
fn built(options: &ComposeOptions) -> Result<(), ComposeError> {
    let programs = ["kith", "kith-supernode"].map(|program| options.dir.join(PROGRAMS).join(program));
    match programs.into_iter().find(|program| !program.is_file()) {
        Some(missing) if options.prebuilt => Err(ComposeError::NotBuilt(missing)),
        _ => Ok(()),
    }
}

/// `docker compose` where it is there, else `docker-compose`
fn compose_command() -> Result<Vec<String>, ComposeError> {
    let answers = |words: &[&str]| {
        let (program, args) = words.split_first()?;
        let status = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.ok()?.success().then_some(())
    };
    answers(&["docker", "info"]).ok_or_else(|| ComposeError::NoEngine("`docker info` fails".into()))?;
    let new = answers(&["docker", "compose", "version"]).map(|()| vec!["docker".to_owned(), "compose".to_owned()]);
    let old = || answers(&["docker-compose", "version"]).map(|()| vec!["docker-compose".to_owned()]);
    new.or_else(old).ok_or_else(|| ComposeError::NoEngine("neither `docker compose` nor `docker-compose` runs".into()))
}

impl Project {
    fn start(&mut self) -> Result<(), ComposeError> {
        output::line("building the image and starting eleven containers");
        self.compose(&["up", "--build", "-d"])?;
        let took = self.settle("everybody to be healthy and to hold their links", &PEERS)?;
        self.held(
            "up",
            &format!("three supernodes, and eight peers hold their links after {:.1} s", took.as_secs_f64()),
        );
        let agreed = self.wait("three supernodes to be one network", SETTLED_LIMIT, || self.agreed())?;
        self.held(
            "one network",
            &format!("all three vote, and one leads, after another {:.1} s", agreed.as_secs_f64()),
        );
        let sent = fate(&self.read(&["exec", "-T", "alice", "kith", "send", "heidi", "hello", "--json"])?)?;
        let text = format!("{} over {}", sent.status.code(), sent.way());
        self.step("compose exec alice kith send heidi", sent.is_delivered(), &text);
        let inbox = self.compose(&["exec", "-T", "heidi", "kith", "inbox"])?;
        self.step("compose exec heidi kith inbox", inbox.contains("hello"), inbox.trim());
        Ok(())
    }

    fn look_at_the_image(&mut self) -> Result<(), ComposeError> {
        let id = self.container("alice")?;
        let image = docker(&["inspect", "--format", "{{.Image}}", &id])?;
        let looked = docker(&["image", "inspect", "--format", "{{.Size}} {{.Config.User}}", image.trim()])?;
        let (size, user) = looked.trim().split_once(' ').unwrap_or_default();
        let size: u64 = size.parse().unwrap_or(u64::MAX);
        let text = format!("{:.1} MB, runs as user {user:?}", size as f64 / 1e6);
        let small = size <= IMAGE_BYTES_MAX && !["", "0", "root", "0:0"].contains(&user);
        self.step("image is small and runs without root", small, &text);
        let shell = docker(&["exec", &id, "sh", "-c", "true"]);
        self.step("image has no shell", shell.is_err(), "sh cannot be started");
        Ok(())
    }

    fn kill(&mut self) -> Result<(), ComposeError> {
        self.compose(&["kill", "carol"])?;
        self.healed("kill carol", "carol")?;
        self.compose(&["start", "carol"])?;
        self.mended("start carol")
    }

    fn pause(&mut self) -> Result<(), ComposeError> {
        self.compose(&["pause", "dave"])?;
        self.healed("pause dave", "dave")?;
        self.compose(&["unpause", "dave"])?;
        self.mended("unpause dave")
    }

    fn stop(&mut self) -> Result<(), ComposeError> {
        let id = self.container("erin")?;
        self.compose(&["stop", "erin"])?;
        let code = docker(&["inspect", "--format", "{{.State.ExitCode}}", &id])?;
        self.step("stop erin lets her say goodbye", code.trim() == "0", &format!("exit code {}", code.trim()));
        self.healed("stop erin", "erin")?;
        self.compose(&["start", "erin"])?;
        self.mended("start erin")
    }

    fn disconnect(&mut self) -> Result<(), ComposeError> {
        let (id, network) = (self.container("frank")?, format!("{}_mesh", self.name));
        docker(&["network", "disconnect", &network, &id])?;
        self.healed("network disconnect frank", "frank")?;
        docker(&["network", "connect", &network, &id])?;
        self.mended("network connect frank")
    }

    fn scale(&mut self) -> Result<(), ComposeError> {
        self.compose(&["up", "-d", "--scale", &format!("peer={MORE}")])?;
        let ids = self.compose(&["ps", "-q", "peer"])?;
        // A container's host name is the first 12 digits of its id.
        let names: Vec<String> = ids.lines().map(|id| id.chars().take(12).collect()).collect();
        let mut all: Vec<&str> = PEERS.to_vec();
        all.extend(names.iter().map(String::as_str));
        let took = self.settle("the new peers to hold their links", &all)?;
        let keys = all.iter().map(|name| self.key(name)).collect::<Result<BTreeSet<String>, _>>()?;
        let text = format!("{} peers, {} keys, after {:.1} s", all.len(), keys.len(), took.as_secs_f64());
        self.step("scale peer", names.len() == MORE && keys.len() == all.len(), &text);
        for name in &names {
            let sent = self.send("alice", name)?;
            let text = format!("{} over {}", sent.status.code(), sent.way());
            self.step("a peer without a name is named after its host", sent.is_delivered(), &text);
        }
        Ok(())
    }

    fn come_back(&mut self) -> Result<(), ComposeError> {
        let key = self.key("alice")?;
        // Volumes without a name outlive a `down` that keeps volumes, and nobody would find them again.
        self.compose(&["rm", "--stop", "--force", "-v", "peer"])?;
        self.compose(&["down"])?;
        self.compose(&["up", "-d"])?;
        let took = self.settle("everybody to be back", &PEERS)?;
        let same = self.key("alice")? == key;
        let text = format!("everybody holds their links after {:.1} s, alice by her old key", took.as_secs_f64());
        self.step("down and up", same, &text);
        Ok(())
    }

    fn end(&mut self) -> Result<(), ComposeError> {
        if self.options.keep {
            let compose = self.compose.join(" ");
            output::line(&format!("left running; end it: {compose} -p {} down --volumes", self.name));
            return Ok(());
        }
        self.compose(&["down", "--volumes"])?;
        let filter = format!("label=com.docker.compose.project={}", self.name);
        let left =
            docker(&["ps", "-aq", "--filter", &filter])? + &docker(&["volume", "ls", "-q", "--filter", &filter])?;
        self.step("down --volumes leaves nothing", left.trim().is_empty(), left.trim());
        Ok(())
    }

    fn step(&mut self, name: &'static str, held: bool, detail: &str) {
        output::line(&format!("{} {name}: {detail}", output::verdict(held, false)));
        self.steps.push(Step { name, held, detail: detail.to_owned() });
    }

    fn held(&mut self, name: &'static str, detail: &str) {
        self.step(name, true, detail);
    }

    /// Waits until the others deliver to each other and none of them has a link that is up to the broken one
    fn healed(&mut self, name: &'static str, broken: &str) -> Result<(), ComposeError> {
        let others: Vec<&str> = PEERS.into_iter().filter(|peer| *peer != broken).collect();
        let start = Instant::now();
        let shown = self.wait("the others to show it", HEALED_LIMIT, || {
            others.iter().try_for_each(|peer| match self.links(peer)?.contains(broken) {
                true => Err(format!("{peer} still shows its link to {broken} as up")),
                false => Ok(()),
            })
        });
        let delivered = self.wait("the others to deliver", HEALED_LIMIT, || {
            let pairs = others.iter().zip(others.iter().rev()).filter(|(from, to)| from != to);
            pairs.map(|(from, to)| self.send(from, to).map_err(|error| error.to_string())).try_for_each(|sent| {
                let sent = sent?;
                if sent.is_delivered() { Ok(()) } else { Err(format!("{} {}", sent.status.code(), sent.reason)) }
            })
        });
        let result = shown.and(delivered);
        let took = start.elapsed().as_secs_f64();
        let text = result.as_ref().map_or_else(ToString::to_string, |_| format!("shown and healed after {took:.1} s"));
        self.step(name, result.is_ok(), &text);
        Ok(())
    }

    fn mended(&mut self, name: &'static str) -> Result<(), ComposeError> {
        let result = self.settle("everybody to hold their links", &PEERS);
        let text = result.as_ref().map_or_else(ToString::to_string, |took| {
            format!("everybody holds their links after {:.1} s", took.as_secs_f64())
        });
        self.step(name, result.is_ok(), &text);
        result.map(|_| ())
    }

    /// Waits until everybody's links are up at both ends and lead to nobody else
    fn settle(&self, what: &str, peers: &[&str]) -> Result<Duration, ComposeError> {
        self.wait(what, SETTLED_LIMIT, || {
            // One thread each: the engine takes a while to start a program in a container.
            let links = threads::each(peers, |peer| self.all_links(peer));
            for (peer, links) in peers.iter().zip(links) {
                let links = links?.neighbours;
                let known = |name: &str| peers.contains(&name);
                let wrong = |link: &&Neighbour| link.state != LinkState::Up || !known(link.name.as_str());
                if let Some(link) = links.iter().find(wrong) {
                    let reason = link.reason.as_deref().unwrap_or_default();
                    return Err(format!("{peer}: its link to {} is {} ({reason})", link.name, link.state));
                }
                if links.is_empty() {
                    return Err(format!("{peer}: it has no link"));
                }
            }
            Ok(())
        })
    }

    fn wait(
        &self,
        what: &str,
        limit: Duration,
        holds: impl Fn() -> Result<(), String>,
    ) -> Result<Duration, ComposeError> {
        let start = Instant::now();
        loop {
            match holds() {
                Ok(()) => return Ok(start.elapsed()),
                Err(reason) if start.elapsed() >= limit => {
                    return Err(ComposeError::Failed { what: what.to_owned(), reason });
                }
                Err(_) => thread::sleep(LOOK_EVERY),
            }
        }
    }

    /// The names at the other ends of the links that are up
    fn links(&self, peer: &str) -> Result<BTreeSet<String>, String> {
        let links = self.all_links(peer)?.neighbours.into_iter().filter(|link| link.state == LinkState::Up);
        Ok(links.map(|link| link.name.to_string()).collect())
    }

    fn all_links(&self, peer: &str) -> Result<NeighboursAnswer, String> {
        let line = self.kith(peer, &["neighbours"]).map_err(|error| error.to_string())?;
        line.done().map(|done| done.answer).map_err(|error| format!("{peer}: {error}"))
    }

    fn send(&self, from: &str, to: &str) -> Result<Fate, ComposeError> {
        fate(&self.kith(from, &["send", to, "hello"])?)
    }

    fn key(&self, peer: &str) -> Result<String, ComposeError> {
        let done = self.kith(peer, &["status"])?.done::<StatusAnswer>();
        done.map(|done| done.answer.key).map_err(|error| failed("kith status", error))
    }

    /// The answer of a verb at one peer; a status of failure is an answer too
    fn kith(&self, peer: &str, verb: &[&str]) -> Result<Line, ComposeError> {
        self.ask(peer, "kith", verb)
    }

    fn ask(&self, service: &str, program: &str, verb: &[&str]) -> Result<Line, ComposeError> {
        let id = self.container(service).unwrap_or_else(|_| service.to_owned());
        let mut args = vec!["exec", &id, program, "--json"];
        args.extend(verb);
        let ran = ran(Command::new("docker").args(&args), &args)?;
        answer(&args.join(" "), &ran)
    }

    fn read(&self, args: &[&str]) -> Result<Line, ComposeError> {
        let ran = ran(&mut self.command(args), args)?;
        answer(&args.join(" "), &ran)
    }

    /// The container of a service, running or not; of a peer without a service the container that is called so
    fn container(&self, service: &str) -> Result<String, ComposeError> {
        let project = format!("label=com.docker.compose.project={}", self.name);
        let of = format!("label=com.docker.compose.service={service}");
        let found = docker(&["ps", "-aq", "--filter", &project, "--filter", &of])?;
        let id = found.lines().next().map(str::to_owned);
        id.ok_or_else(|| ComposeError::Failed { what: service.to_owned(), reason: "it has no container".into() })
    }

    fn compose(&self, args: &[&str]) -> Result<String, ComposeError> {
        succeeded(&mut self.command(args), args)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut words = self.compose.iter();
        let mut command = Command::new(words.next().map_or("docker", String::as_str));
        command.args(words).args(["-p", &self.name]).args(args).current_dir(&self.options.dir);
        crate::role::without_settings(&mut command);
        command.env("KITH_DOCKERFILE", if self.options.prebuilt { PREBUILT } else { "Dockerfile" });
        command.stdin(Stdio::null());
        // Any free port of this machine: somebody's own network may have the usual one.
        command.env("KITH_PORT", "");
        command
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if !self.options.keep
            && let Err(error) = self.compose(&["down", "--volumes", "--timeout", "1"])
        {
            output::note(&format!("kith-lab: the project {} is left: {error}", self.name));
        }
    }
}

fn docker(args: &[&str]) -> Result<String, ComposeError> {
    succeeded(Command::new("docker").args(args), args)
}

fn ran(command: &mut Command, args: &[&str]) -> Result<Output, ComposeError> {
    let failed = |error: std::io::Error| ComposeError::Command { command: args.join(" "), error: error.to_string() };
    command.stdin(Stdio::null()).output().map_err(failed)
}

fn succeeded(command: &mut Command, args: &[&str]) -> Result<String, ComposeError> {
    let output = ran(command, args)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let error = format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr));
    Err(ComposeError::Command { command: args.join(" "), error })
}

/// The last line of a verb's output, which is one object; its exit code says no more than its status
fn answer(command: &str, output: &Output) -> Result<Line, ComposeError> {
    let text = String::from_utf8_lossy(&output.stdout);
    let silent = || failed(command, String::from_utf8_lossy(&output.stderr));
    let last = text.lines().last().ok_or_else(silent)?;
    Line::read(last.to_owned()).map_err(|error| failed(command, format!("{error} in {last:?}")))
}

fn failed(command: &str, error: impl std::fmt::Display) -> ComposeError {
    ComposeError::Command { command: command.to_owned(), error: error.to_string() }
}

/// What the last line of `kith send` says
fn fate(line: &Line) -> Result<Fate, ComposeError> {
    Fate::of(line).map_err(|error| failed("kith send", error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use kith_common::status::Status;

    use super::*;

    fn output(code: i32, stdout: &str, stderr: &str) -> Output {
        Output { status: ExitStatus::from_raw(code << 8), stdout: stdout.into(), stderr: stderr.into() }
    }

    #[test]
    fn failure_of_a_verb_is_an_answer_with_its_status() {
        let told = "{\"done\":true,\"status\":404,\"exit\":44,\"error\":\"nobody is called so\",\"hint\":null}\n";
        let line = answer("send", &output(44, told, "")).expect("answer");
        assert_eq!(fate(&line).expect("a fate").status, Status::NotFound);
    }

    #[test]
    fn image_without_programs_is_refused_before_anything_is_started() {
        let dir = tempfile::tempdir().expect("a directory");
        let options = |prebuilt| ComposeOptions { dir: dir.path().into(), prebuilt, keep: false };
        let error = built(&options(true)).expect_err("nothing is built");
        assert!(error.to_string().ends_with("type: .ci/static"), "{error}");
        assert!(built(&options(false)).is_ok());
        std::fs::create_dir_all(dir.path().join(PROGRAMS)).expect("directories");
        for program in ["kith", "kith-supernode"] {
            std::fs::write(dir.path().join(PROGRAMS).join(program), "").expect("a file");
        }
        assert!(built(&options(true)).is_ok());
    }

    #[test]
    fn container_that_does_not_run_is_told_in_the_engines_words() {
        let error = answer("send", &output(1, "", "is not running")).expect_err("no answer");
        assert!(error.to_string().contains("is not running"), "{error}");
    }
}
