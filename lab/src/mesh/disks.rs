//! Supernodes whose homes are small disks, which are filled and emptied.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Lab;
use crate::error::{LabError, io_error};

/// What takes a disk's room
const FILLER: &str = "filler";

/// Halved when the disk does not take so much any more, down to less than a page
const PIECE: usize = 1 << 20;

impl Lab {
    /// Makes the home of the supernode `name` a disk of its own, if the lab has such
    pub(super) fn mount_disk(&self, name: &str) -> Result<(), LabError> {
        let Some(bytes) = self.options.disk_bytes else { return Ok(()) };
        let home = self.dir().join(name);
        fs::create_dir_all(&home).map_err(io_error(format!("make the home of {name}")))?;
        mount(&home, bytes)
    }

    /// Fills the disk of the supernode `name`, to the last page
    ///
    /// # Errors
    /// The lab's supernodes have no disks of their own, there is none of that name, or the system refuses more than room.
    pub(crate) fn fill_disk(&self, name: &str) -> Result<(), LabError> {
        let path = self.filler(name)?;
        fill(&path).map_err(io_error(format!("fill the disk of {name}")))
    }

    /// Gives the disk of the supernode `name` its room again
    ///
    /// # Errors
    /// As [`Self::fill_disk`].
    pub(crate) fn clear_disk(&self, name: &str) -> Result<(), LabError> {
        match fs::remove_file(self.filler(name)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error(format!("empty the disk of {name}"))(error))
            }
            _ => Ok(()),
        }
    }

    fn filler(&self, name: &str) -> Result<PathBuf, LabError> {
        let process = self.book.process(name)?;
        match self.options.disk_bytes {
            Some(_) => Ok(process.home.join(FILLER)),
            // All that others have on this machine's disk is not the lab's to take.
            None => Err(LabError::Options(format!("{name} shares its disk with others, and is not to fill it"))),
        }
    }
}

/// Mounts a disk of so many bytes of memory at `home`
///
/// # Errors
/// The system refuses, as it does to whoever is not root in this namespace.
pub(crate) fn mount(home: &Path, bytes: u64) -> Result<(), LabError> {
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=0700"), "kith-lab"]).arg(home);
    let output = command.stdin(Stdio::null()).output().map_err(io_error("run mount"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(LabError::Options(format!("a disk cannot be mounted at {}: {said}", home.display())))
}

fn fill(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let mut piece = vec![0x5a; PIECE];
    while !piece.is_empty() {
        match file.write_all(&piece) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => piece.truncate(piece.len() / 2),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
