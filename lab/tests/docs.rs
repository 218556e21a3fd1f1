//! What the pages say is there: files that they link to or name, headings, verbs and flags of the programs.
//!
//! Commands are parsed by the programs' own command lines; none is run.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::Command;
use clap::error::ErrorKind;

/// Folders that are not the repository's own, or hold pages for nobody
const SKIPPED: [&str; 3] = ["target", "corpus", "artifacts"];
/// Flags of other programs than Kith's that the pages name
const FOREIGN_FLAGS: [&str; 3] = ["--test", "--workspace", "--release"];
/// Named in the pages, and there only after something was run
const MADE: [&str; 2] = ["common/fuzz/artifacts", "target"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

struct Page {
    /// Relative to the repository
    path: PathBuf,
    text: String,
}

/// The files of the repository whose names end so, with their texts, in the order of their paths
fn files(ending: &str) -> Vec<(PathBuf, String)> {
    let (mut files, mut folders) = (Vec::new(), vec![root()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && !SKIPPED.contains(&name.as_str()) {
                folders.push(path);
            } else if name.ends_with(ending) {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path, text));
            }
        }
    }
    files.sort();
    files
}

/// Every page of the repository
fn pages() -> Vec<Page> {
    let page = |(path, text): (PathBuf, String)| Page { path: path.strip_prefix(root()).unwrap().to_owned(), text };
    let pages: Vec<Page> = files(".md").into_iter().map(page).collect();
    assert!(pages.len() > 5, "the pages are elsewhere");
    pages
}

/// A stretch of a page: running text, or a block of code with its language
enum Part<'a> {
    Prose(&'a str),
    Code { language: &'a str, line: &'a str },
}

impl Page {
    /// Line by line, each with its number
    fn parts(&self) -> Vec<(usize, Part<'_>)> {
        let (mut parts, mut fence, mut after_blank) = (Vec::new(), None, true);
        for (line, number) in self.text.lines().zip(1..) {
            let trimmed = line.trim_start();
            match (trimmed.strip_prefix("```"), fence) {
                (Some(_), Some(_)) => fence = None,
                (Some(language), None) => fence = Some(language),
                (None, Some(language)) => parts.push((number, Part::Code { language, line })),
                (None, None) if is_indented(line) && after_blank => {
                    parts.push((number, Part::Code { language: "", line }));
                    continue;
                }
                (None, None) => parts.push((number, Part::Prose(line))),
            }
            after_blank = line.trim().is_empty();
        }
        parts
    }

    /// What stands between backticks in running text
    fn spans(&self) -> Vec<(usize, &str)> {
        let mut spans = Vec::new();
        for (number, part) in self.parts() {
            if let Part::Prose(line) = part {
                spans.extend(line.split('`').skip(1).step_by(2).map(|span| (number, span)));
            }
        }
        spans
    }

    fn headings(&self) -> BTreeSet<String> {
        let mut headings = BTreeSet::new();
        for (_, part) in self.parts() {
            if let Part::Prose(line) = part
                && let Some((marks, heading)) = line.split_once(' ')
                && !marks.is_empty()
                && marks.chars().all(|c| c == '#')
            {
                headings.insert(slug(heading));
            }
        }
        headings
    }
}

fn is_indented(line: &str) -> bool {
    line.starts_with("    ")
}

/// The anchor that a heading gets
fn slug(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[test]
fn least_rust_that_the_pages_name_is_the_manifests() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let least = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    for page in ["README.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        assert!(text.contains(&format!("{least} or newer")), "{page} names another Rust than {least}");
    }
}

#[test]
fn links_lead_to_files_and_headings_that_are_there() {
    let pages = pages();
    let headings: BTreeMap<&Path, BTreeSet<String>> =
        pages.iter().map(|page| (page.path.as_path(), page.headings())).collect();
    let mut faults = Vec::new();
    for page in &pages {
        for (number, part) in page.parts() {
            let Part::Prose(line) = part else { continue };
            for target in line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target) {
                if target.contains("://") {
                    continue;
                }
                let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
                let path =
                    if file.is_empty() { page.path.clone() } else { plain(&page.path.parent().unwrap().join(file)) };
                let is_there = root().join(&path).exists();
                let has_anchor = headings.get(path.as_path()).is_none_or(|there| there.contains(anchor));
                if !is_there || !anchor.is_empty() && !has_anchor {
                    faults.push(format!("{}:{number}: {target}", page.path.display()));
                }
            }
        }
    }
    assert_eq!(faults, [""; 0], "links that lead nowhere");
}

/// Without `..`
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => _ = plain.pop(),
            part => plain.push(part),
        }
    }
    plain
}

#[test]
fn paths_that_are_named_are_there() {
    let folders = ["common/", "node/", "runtime/", "supernode/", "lab/", "sim/", "config/", "docs/", ".ci/"];
    let mut faults = Vec::new();
    for page in pages() {
        for (number, span) in page.spans() {
            let path = span.split([' ', '#']).next().unwrap_or_default();
            let is_made = MADE.iter().any(|made| path.starts_with(made));
            let is_path = folders.iter().any(|folder| path.starts_with(folder)) && !path.contains(['*', '…', '{', '<']);
            if is_path && !is_made && !root().join(path).exists() {
                faults.push(format!("{}:{number}: {path}", page.path.display()));
            }
        }
    }
    assert_eq!(faults, [""; 0], "paths that are not there");
}

/// The programs' own command lines
fn programs() -> BTreeMap<&'static str, Command> {
    BTreeMap::from([
        ("kith", kith_node::cli::command()),
        ("kith-supernode", kith_supernode::cli::command()),
        ("kith-lab", kith_lab::cli::command()),
        ("kith-sim", kith_sim::cli::command()),
    ])
}

#[test]
fn programs_know_exactly_the_variables_that_something_of_ours_reads() {
    fn read(command: &Command) -> Vec<String> {
        let own = command.get_arguments().filter_map(|arg| Some(arg.get_env()?.to_str()?.to_owned()));
        own.chain(command.get_subcommands().flat_map(read)).collect()
    }
    // The compose file reads three, and the end-to-end tests one.
    let others = ["KITH_IMAGE_TAG", "KITH_DOCKERFILE", "KITH_PORT", "KITH_LAB_TEST_SEED"].map(String::from);
    let read: BTreeSet<String> = programs().values().flat_map(read).chain(others).collect();
    assert_eq!(read, kith_runtime::cli::VARIABLES.map(String::from).into());
}

/// The commands in a line of code, each as its words; what cannot be taken apart is none
fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut commands, mut words, mut word, mut quote) = (Vec::new(), Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (c, quote) {
            (c, Some(end)) if c == end => quote = None,
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('#', None) if word.is_none() => break,
            ('|' | ';', None) | ('&', None) => {
                words.extend(word.take());
                commands.push(std::mem::take(&mut words));
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    commands.push(words);
    commands.retain(|command| !command.is_empty());
    commands
}

/// The program and its arguments, if the command is one of ours, whatever starts it
fn ours(command: &[String]) -> Option<(&'static str, Vec<String>)> {
    let mut words = command;
    while let [first, rest @ ..] = words
        && (first == "$" || first.contains('=') && !first.starts_with('-'))
    {
        words = rest;
    }
    if let [cargo, run, rest @ ..] = words
        && cargo == "cargo"
        && run == "run"
    {
        let package = rest.iter().skip_while(|word| *word != "-p" && *word != "--bin").nth(1)?;
        let arguments = rest.iter().skip_while(|word| *word != "--").skip(1).cloned().collect();
        let program = programs().into_keys().find(|program| program == package)?;
        return Some((program, arguments));
    }
    if let [docker, compose, exec, _, rest @ ..] = words
        && [docker, compose, exec] == ["docker", "compose", "exec"]
    {
        words = rest;
    }
    let (first, rest) = words.split_first()?;
    let name = first.rsplit('/').next()?;
    let program = programs().into_keys().find(|program| *program == name)?;
    Some((program, rest.to_vec()))
}

/// Why the program would not understand these arguments; what is written as `NAME` stands for something
fn fault(program: &'static str, arguments: &[String]) -> Option<String> {
    let command = programs().remove(program).unwrap();
    let meant = |word: &String| match word.as_str() {
        "KEY" => "00".repeat(32),
        "SERIAL" => "2".to_owned(),
        _ if word.chars().all(|c| c.is_ascii_uppercase()) => word.to_lowercase(),
        _ => word.clone(),
    };
    let words = std::iter::once(program.to_owned()).chain(arguments.iter().map(meant));
    match command.try_get_matches_from(words) {
        Ok(_) => {
            let verb = arguments.iter().skip_while(|word| *word != "exec").skip(2).cloned().collect::<Vec<_>>();
            let is_exec = program == "kith-lab" && !verb.is_empty();
            if is_exec { fault("kith", &verb) } else { None }
        }
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => None,
        // A program or a verb that is only named, as in `kith send`, is not typed.
        Err(_) if arguments.is_empty() => None,
        Err(error) if error.kind() == ErrorKind::MissingRequiredArgument && arguments.len() == 1 => None,
        Err(error) => Some(error.to_string().lines().next().unwrap_or_default().to_owned()),
    }
}

#[test]
fn commands_in_the_pages_are_understood_by_the_programs() {
    let (mut faults, mut understood) = (Vec::new(), 0);
    for page in pages() {
        let mut lines: Vec<(usize, &str)> = page.spans();
        for (number, part) in page.parts() {
            match part {
                Part::Code { language: "" | "sh" | "console" | "bash", line } => lines.push((number, line)),
                // A transcript: what a person typed stands behind the prompt.
                Part::Code { language: "text", line } if line.trim_start().starts_with("$ ") => {
                    lines.push((number, line));
                }
                Part::Code { language: "ini", line } => {
                    lines.extend(line.strip_prefix("ExecStart=").map(|l| (number, l)))
                }
                _ => {}
            }
        }
        for (number, line) in lines.into_iter().filter(|(_, line)| !line.contains('…')) {
            for (program, arguments) in commands(line).iter().filter_map(|command| ours(command)) {
                understood += 1;
                let fault = fault(program, &arguments);
                faults.extend(fault.map(|fault| format!("{}:{number}: {line}: {fault}", page.path.display())));
            }
        }
    }
    assert_eq!(faults, [""; 0], "commands that would not work");
    assert!(understood > 50, "only {understood} commands were found");
}

#[test]
fn flags_that_are_named_alone_belong_to_a_program() {
    fn flags(command: &Command, into: &mut BTreeSet<String>) {
        into.extend(command.get_arguments().filter_map(|argument| argument.get_long()).map(|long| format!("--{long}")));
        command.get_subcommands().for_each(|verb| flags(verb, into));
    }
    let mut known: BTreeSet<String> = FOREIGN_FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
    programs().values().for_each(|command| flags(command, &mut known));
    let mut faults = Vec::new();
    for page in pages() {
        for (number, span) in page.spans().into_iter().filter(|(_, span)| span.starts_with("--")) {
            let flag = span.split([' ', '=']).next().unwrap_or_default();
            if flag != "--" && !known.contains(flag) {
                faults.push(format!("{}:{number}: {flag}", page.path.display()));
            }
        }
    }
    assert_eq!(faults, [""; 0], "flags that no program has");
}

#[test]
fn packages_in_cargo_commands_are_there() {
    let mut faults = Vec::new();
    for page in pages() {
        for (number, part) in page.parts() {
            let Part::Code { line, .. } = part else { continue };
            for command in commands(line).iter().filter(|command| command.first().is_some_and(|word| word == "cargo")) {
                for package in command.iter().zip(command.iter().skip(1)).filter(|(flag, _)| *flag == "-p") {
                    let folder = package.1.strip_prefix("kith-").unwrap_or(package.1);
                    if !root().join(folder).join("Cargo.toml").exists() {
                        faults.push(format!("{}:{number}: {}", page.path.display(), package.1));
                    }
                }
            }
        }
    }
    assert_eq!(faults, [""; 0], "packages that are not there");
}

/// All sources, one after the other
fn sources() -> String {
    files(".rs").into_iter().map(|(_, text)| text).collect()
}

/// Examples of the style are code of this repository, line by line; what is left out is marked by `…`
#[test]
fn examples_of_the_style_are_code_that_there_is() {
    let (pages, sources) = (pages(), sources());
    let page = pages.iter().find(|page| page.path == Path::new("CONTRIBUTING.md")).unwrap();
    let mut faults = Vec::new();
    for (number, part) in page.parts() {
        if let Part::Code { language: "rust", line } = part
            && !line.contains('…')
            && !sources.contains(line.trim())
        {
            faults.push(format!("{number}: {line}"));
        }
    }
    assert_eq!(faults, [""; 0], "lines that stand in no source");
}

#[test]
fn lines_are_taken_apart_as_a_shell_does() {
    let words = |line: &str| commands(line);
    assert_eq!(words(r#"kith send heidi "a b" 'c'"#), [["kith", "send", "heidi", "a b", "c"]]);
    assert_eq!(
        words("echo hello | kith send heidi -   # a comment"),
        [vec!["echo", "hello"], vec!["kith", "send", "heidi", "-"]]
    );
    let ours = |line: &str| commands(line).iter().filter_map(|command| ours(command)).next();
    assert_eq!(ours("KITH_HOME=/x kith status"), Some(("kith", vec!["status".to_owned()])));
    assert_eq!(ours("cargo run -q -p kith-lab -- demo"), Some(("kith-lab", vec!["demo".to_owned()])));
    assert_eq!(ours("ls -l"), None);
    assert!(fault("kith", &["sned".to_owned()]).is_some());
    assert!(fault("kith-lab", &["exec", "alice", "sned"].map(str::to_owned)).is_some());
}
