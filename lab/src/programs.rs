//! `kith`, `kith-supernode` and `kith-lab` beneath a lab's directory, so that whoever has started a mesh can type them.
//!
//! Each is a link to this program, which plays the one by whose name it is called: what `cargo run` has built is enough.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::error::{LabError, io_error};
use crate::role::Role;

/// The folder in a lab's directory
pub(crate) const FOLDER: &str = "bin";

const NAMES: [&str; 3] = ["kith", "kith-supernode", "kith-lab"];

/// Makes the links in `dir`, which is made if it is not there, and returns their folder
///
/// # Errors
/// The system refused, or a name is taken by something that is no link; what was made until then is left.
pub(crate) fn link(dir: &Path, binary: &Path) -> io::Result<PathBuf> {
    let folder = dir.join(FOLDER);
    fs::create_dir_all(&folder)?;
    for name in NAMES {
        let path = folder.join(name);
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink()) {
            fs::remove_file(&path)?;
        }
        symlink(binary, &path)?;
    }
    Ok(folder)
}

/// What makes a shell find the links: `dir` as it was given, which may be relative
pub(crate) fn export(dir: &Path) -> String {
    let at = if dir.is_absolute() { dir.to_owned() } else { Path::new("$PWD").join(dir) };
    format!("export PATH=\"{}:$PATH\"", at.join(FOLDER).display())
}

/// Writes the manual pages of the two daemons' programs, and of each of their verbs, into a directory, which is made
///
/// # Errors
/// The system refused; what was written until then is left.
pub(crate) fn write_manual(into: &Path) -> Result<(), LabError> {
    let failed = || io_error(format!("write manual pages into {}", into.display()));
    fs::create_dir_all(into).map_err(failed())?;
    for command in [kith_node::cli::command(), kith_supernode::cli::command()] {
        clap_mangen::generate_to(command, into).map_err(failed())?;
    }
    Ok(())
}

/// If this program was called by another one's name, is that one to its end
pub(crate) fn play(program: Option<&OsStr>, args: &[OsString]) -> Option<ExitCode> {
    let name = Path::new(program?).file_name()?;
    let role = [Role::Peer, Role::Supernode].into_iter().find(|role| name == role.program())?;
    Some(role.run(args.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_and_each_verb_has_a_manual_page() {
        let dir = tempfile::tempdir().expect("a directory");
        write_manual(dir.path()).expect("written");
        for page in ["kith.1", "kith-send.1", "kith-forward.1", "kith-supernode.1", "kith-supernode-invite.1"] {
            let text = fs::read_to_string(dir.path().join(page)).expect(page);
            assert!(text.contains(".SH SYNOPSIS"), "{page}: {text}");
        }
    }

    #[test]
    fn links_are_made_anew_and_nothing_else_is_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        link(dir.path(), &old).expect("made");
        let folder = link(dir.path(), &new).expect("made anew");
        for name in NAMES {
            assert_eq!(fs::read_link(folder.join(name)).expect("a link"), new);
        }
        fs::remove_file(folder.join("kith")).expect("removed");
        fs::write(folder.join("kith"), "somebody's own").expect("written");
        assert_eq!(link(dir.path(), &new).expect_err("taken").kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn own_name_plays_nobody() {
        assert!(play(Some(OsStr::new("/x/target/debug/kith-lab")), &[]).is_none());
        assert!(play(None, &[]).is_none());
    }

    #[test]
    fn shell_finds_a_relative_folder_from_where_it_is() {
        assert_eq!(export(Path::new(".kith-lab")), r#"export PATH="$PWD/.kith-lab/bin:$PATH""#);
        assert_eq!(export(Path::new("/srv/lab")), r#"export PATH="/srv/lab/bin:$PATH""#);
    }
}
