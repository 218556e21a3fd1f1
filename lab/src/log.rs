//! The logs of a lab's processes, a file in each home.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// The log in `home`, to be added to
pub(crate) fn open(home: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(home.join("log"))
}

/// The last `lines` lines of a file, as far as it can be read
pub fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut last: Vec<&str> = text.lines().rev().take(lines).collect();
    last.reverse();
    if last.is_empty() { "(nothing)".into() } else { last.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_is_the_end_of_a_file_and_of_what_is_there() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("log");
        assert_eq!(tail(&path, 2), "(nothing)");
        fs::write(&path, "a\nb\nc\n").expect("write");
        assert_eq!(tail(&path, 2), "b\nc");
    }
}
