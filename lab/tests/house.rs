//! The house as it was drawn: rooms import one way, files are short, and nobody takes all that another has.
//!
//! A *room* is a module at the top of a crate, with all the files under it. The code is read as text, tests left out.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by its panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The crates, each with its sources in `src`
const CRATES: [&str; 7] = ["common", "transport", "runtime", "node", "supernode", "lab", "sim"];
/// A file is read in one sitting
const LINES_MAX: usize = 500;

/// What each room imports
type Rooms = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_rooms_of_a_crate_import_each_other_in_a_circle() {
    for name in CRATES {
        let circle = circle(&rooms(&workspace().join(name).join("src")));
        assert_eq!(circle, None, "rooms of {name}, each imports the next");
    }
}

#[test]
fn every_file_can_be_read_in_one_sitting() {
    let long: Vec<_> = sources(&workspace())
        .into_iter()
        .map(|path| (read(&path).lines().count(), path))
        .filter(|(lines, _)| *lines >= LINES_MAX)
        .collect();
    assert!(long.is_empty(), "{LINES_MAX} lines or more: {long:#?}");
}

#[test]
fn no_part_takes_everything_that_its_parent_has() {
    let greedy: Vec<_> = sources(&workspace())
        .into_iter()
        .filter(|path| !is_test(path) && product(&read(path)).contains("use super::*"))
        .collect();
    assert!(greedy.is_empty(), "{greedy:#?}");
}

#[test]
fn circle_is_found_through_several_rooms() {
    let rooms = |edges: &[(&str, &str)]| {
        let mut rooms = Rooms::new();
        for (from, to) in edges {
            rooms.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        rooms
    };
    assert_eq!(circle(&rooms(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    let found = circle(&rooms(&[("a", "b"), ("b", "c"), ("c", "d"), ("d", "b")])).unwrap();
    assert_eq!(found, ["b", "c", "d"]);
}

#[test]
fn imports_are_read_in_every_form_and_not_from_tests_or_comments() {
    let text = "use crate::{\n    a::{self, X},\n    b,\n};\nuse crate::c::{d, e};\n// crate::f\nfn g() { crate::h::i() }\n\
                #[cfg(test)]\nmod tests { use crate::j; }\n#[cfg(test)]\nmod more;\nuse crate::k;\n";
    let imports: Vec<_> = imports(text).into_iter().collect();
    assert_eq!(imports, ["a", "b", "c", "h", "k"]);
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every Rust file of the workspace that is ours
fn sources(under: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![under.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()) {
            let (path, name) = (entry.path(), entry.file_name());
            let is_hidden = name.to_string_lossy().starts_with('.');
            if entry.file_type().unwrap().is_dir() && !is_hidden && name != "target" {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 1, "no sources under {}", under.display());
    found.sort();
    found
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| {
        matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs" | "schedules.rs" | "benches" | "testing"))
    })
}

fn rooms(src: &Path) -> Rooms {
    let mut rooms = Rooms::new();
    for path in sources(src).into_iter().filter(|path| !is_test(path)) {
        let inside = path.strip_prefix(src).unwrap();
        let room = Path::new(inside.components().next().unwrap().as_os_str()).file_stem().unwrap();
        let room = room.to_string_lossy().into_owned();
        if room != "lib" && room != "main" {
            let imports = imports(&read(&path)).into_iter().filter(|import| *import != room);
            rooms.entry(room.clone()).or_default().extend(imports);
        }
    }
    rooms
}

/// The code without comments, and without the modules that only tests have
fn product(text: &str) -> String {
    let mut lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let mut product = String::new();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            product.push_str(line);
            product.push('\n');
            continue;
        }
        let item = lines.find(|line| !line.trim().starts_with("#[")).unwrap_or_default();
        if item.trim_end().ends_with('{') {
            let indent = &item[..item.len() - item.trim_start().len()];
            let end = format!("{indent}}}");
            lines.find(|line| *line == end);
        }
    }
    product
}

/// The rooms that the code names, by `crate::room` or within `crate::{…}`
fn imports(text: &str) -> BTreeSet<String> {
    let product = product(text);
    let mut imports = BTreeSet::new();
    for after in product.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            Some(list) => imports.extend(first_words(list)),
            None => imports.extend(word(after)),
        }
    }
    imports
}

/// The first word of each part of a list, up to the brace that ends it
fn first_words(list: &str) -> Vec<String> {
    let (mut depth, mut begins, mut words) = (0_u32, true, Vec::new());
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            _ if character.is_whitespace() => {}
            _ => {
                if begins && depth == 0 {
                    words.extend(word(&list[at..]));
                }
                begins = false;
            }
        }
    }
    words
}

fn word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect();
    // Rooms are modules; macros and types at the root of a crate are written otherwise or are nobody's room.
    (!word.is_empty() && word.chars().all(|character| !character.is_uppercase())).then_some(word)
}

/// A circle of rooms, if there is one
fn circle(rooms: &Rooms) -> Option<Vec<String>> {
    rooms.keys().find_map(|start| {
        let mut way = vec![start.clone()];
        leads_back(rooms, start, &mut way, &mut BTreeSet::new()).then_some(way)
    })
}

fn leads_back(rooms: &Rooms, start: &str, way: &mut Vec<String>, seen: &mut BTreeSet<String>) -> bool {
    // Depth first; a room that led nowhere once leads nowhere from elsewhere either.
    let Some(imports) = way.last().and_then(|here| rooms.get(here)) else { return false };
    for next in imports {
        if next == start {
            return true;
        }
        if seen.insert(next.clone()) {
            way.push(next.clone());
            if leads_back(rooms, start, way, seen) {
                return true;
            }
            way.pop();
        }
    }
    false
}
