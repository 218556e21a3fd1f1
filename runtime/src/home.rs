//! The home directory: where a node keeps its things, one daemon a home.
//!
//! | file | what |
//! |---|---|
//! | `daemon.lock` | held by the running daemon; its process id and program, and a check |
//! | `control.sock` | the daemon's socket, 0600 |
//! | `reserve` | nothing: room for a start on a full disk |
//!
//! The directory is 0700, and all of it is in there: a copy of a home has no daemon. Keys, logs of commands and in-boxes
//! are put into it by those who own them.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::files;

/// The longest path of a unix socket, in bytes: `sun_path` is 108 with its final zero
pub(crate) const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The variable that names the home where no flag does
pub(crate) const HOME_VARIABLE: &str = "KITH_HOME";

const LOCK_FILE: &str = "daemon.lock";
const SOCKET_FILE: &str = "control.sock";
/// What is read of a lock at most: more than it has
const LOCK_BYTES_MAX: u64 = 128;

/// The invite that a peer came by, and its name: with it `kith run` is enough
pub const INVITE_FILE: &str = "invite";

/// The two kinds of daemon that live in a home
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    pub program: &'static str,
    /// The home's name beneath the user's own
    pub directory: &'static str,
    /// The file of settings in the home, read if it is there
    pub config_file: &'static str,
    /// The command's arguments that start a daemon, as a person would first type them
    pub start: &'static str,
}

/// The peer's: `~/.kith`
pub const PEER: Role = Role {
    program: "kith",
    directory: ".kith",
    config_file: "node.toml",
    start: "run --supernode HOST:7400 --name NAME",
};

/// The supernode's: `~/.kith-supernode`
pub const SUPERNODE: Role =
    Role { program: "kith-supernode", directory: ".kith-supernode", config_file: "supernode.toml", start: "run" };

/// Why a home cannot be used; nothing in it was changed
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Neither a flag nor the environment says where it is
    #[error("no home directory: $HOME is not set; give one with --home DIR or $KITH_HOME")]
    Unknown,
    /// A file where the directory should be
    #[error("{} is not a directory; give another one with --home DIR", .0.display())]
    NotADirectory(PathBuf),
    /// Others could read or replace what is in it
    #[error("{} belongs to another user; give a directory of your own with --home DIR", .0.display())]
    Foreign(PathBuf),
    /// It has files that others can see, and no daemon ever ran in it
    #[error("{} is open to other users and not empty; type: chmod 700 {}", .0.display(), quoted(.0))]
    Open(PathBuf),
    /// Another daemon runs in it
    #[error("{program} already runs in {}{}; stop it, or give another --home", home.display(), pid_text(*pid))]
    Locked {
        home: PathBuf,
        program: String,
        /// Its process, if it could be read
        pid: Option<u32>,
    },
    /// The other kind of daemon lives in it
    #[error("{} is the home of a {program}; give another one with --home DIR", home.display())]
    OtherRole { home: PathBuf, program: String },
    /// The lock's file is not what a daemon wrote, so nobody knows which kind of daemon lives here
    #[error("{} is damaged; if no daemon runs there, remove it", .0.display())]
    DamagedLock(PathBuf),
    #[error("cannot {action} {}: {error}", path.display())]
    Io { action: &'static str, path: PathBuf, error: io::Error },
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HomeError {
    move |error| HomeError::Io { action, path: path.to_owned(), error }
}

/// A path as a shell reads it
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A node's home directory, which need not exist yet
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    role: Role,
    path: PathBuf,
    is_default: bool,
    /// `$KITH_HOME` says so to every command of this terminal
    is_in_environment: bool,
}

impl Home {
    /// The home at `given` (the flag's or the environment's), else the role's own beneath `$HOME`
    ///
    /// # Errors
    /// [`HomeError::Unknown`] if neither is known.
    pub fn resolve(role: Role, given: Option<&Path>) -> Result<Self, HomeError> {
        let user = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let is_in_environment =
            given.is_some_and(|given| std::env::var_os(HOME_VARIABLE).is_some_and(|home| home == given));
        Ok(Self { is_in_environment, ..Self::beneath(role, given, user.as_deref())? })
    }

    fn beneath(role: Role, given: Option<&Path>, user: Option<&Path>) -> Result<Self, HomeError> {
        let path = match (given, user) {
            (Some(given), _) => given.to_owned(),
            (None, Some(user)) => user.join(role.directory),
            (None, None) => return Err(HomeError::Unknown),
        };
        let path = std::path::absolute(&path).map_err(failed("find", &path))?;
        Ok(Self { role, path, is_default: given.is_none(), is_in_environment: false })
    }

    /// The directory, absolute
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn role(&self) -> Role {
        self.role
    }

    /// The path of a file in it
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What to type here to run the command on this home: `kith --home DIR send heidi hello`
    pub fn command(&self, arguments: &str) -> String {
        if self.is_in_environment {
            return format!("{} {arguments}", self.role.program);
        }
        self.command_anywhere(arguments)
    }

    /// The same for whoever asks a daemon, and may have another environment than that has
    pub fn command_anywhere(&self, arguments: &str) -> String {
        let program = self.role.program;
        if self.is_default {
            return format!("{program} {arguments}");
        }
        format!("{program} --home {} {arguments}", quoted(&self.path))
    }

    /// What to type to start its daemon: settings that are in the home need not be typed again
    pub(crate) fn start_command(&self) -> String {
        let is_set_up = [self.role.config_file, INVITE_FILE].iter().any(|name| self.file(name).exists());
        self.command(if is_set_up { "run" } else { self.role.start })
    }

    /// Makes the directory, 0700; one that is there and open to others is closed if it is empty or already a home
    ///
    /// # Errors
    /// [`HomeError`]; a directory with other things in it is left as it is.
    pub fn create(&self) -> Result<(), HomeError> {
        create_private(&self.path)?;
        let metadata = fs::metadata(&self.path).map_err(failed("read", &self.path))?;
        if metadata.mode() & 0o077 == 0 {
            return Ok(());
        }
        let mut entries = fs::read_dir(&self.path).map_err(failed("read", &self.path))?;
        if entries.next().is_some() && !self.file(LOCK_FILE).exists() {
            return Err(HomeError::Open(self.path.clone()));
        }
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o700)).map_err(failed("close", &self.path))
    }

    /// The program that ran here last, if it is of the other kind
    pub(crate) fn other_program(&self) -> Option<String> {
        let (_, line) = files::read(&self.file(LOCK_FILE), LOCK_BYTES_MAX).ok()?;
        let (_, program) = occupant(&line)?;
        (program != self.role.program).then_some(program)
    }

    /// Claims the home for this process until the lock is dropped; the system drops it when the process ends, however
    ///
    /// # Errors
    /// [`HomeError::Locked`] while another daemon runs, [`HomeError::OtherRole`] if the other kind of daemon ran here.
    pub fn lock(&self) -> Result<Lock, HomeError> {
        let path = self.file(LOCK_FILE);
        let opened = match files::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => files::create_new(&path),
            opened => opened,
        };
        let file = opened.map_err(failed("open", &path))?;
        let mut line = Vec::new();
        (&file).take(LOCK_BYTES_MAX).read_to_end(&mut line).map_err(failed("read", &path))?;
        let occupant = occupant(&line);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let (pid, program) = occupant.unzip();
                let program = program.unwrap_or_else(|| self.role.program.to_owned());
                return Err(HomeError::Locked { home: self.path.clone(), program, pid });
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error)),
        }
        match occupant {
            Some((_, program)) if program != self.role.program => {
                return Err(HomeError::OtherRole { home: self.path.clone(), program });
            }
            // A daemon that was killed before it wrote anything leaves nothing.
            None if !line.is_empty() => return Err(HomeError::DamagedLock(path)),
            _ => {}
        }
        let line = files::with_check(&format!("{} {}", std::process::id(), self.role.program));
        // Over the old line, which needs no room on a full disk, and is there or not after a power cut but never half.
        let written = file.write_all_at(line.as_bytes(), 0).and_then(|()| file.set_len(line.len() as u64));
        written.and_then(|()| file.sync_all()).map_err(failed("write", &path))?;
        files::sync_parent(&path).map_err(failed("sync the directory of", &path))?;
        Ok(Lock { file, path })
    }

    /// Makes the control socket, 0600; a socket left by a killed daemon is replaced
    ///
    /// # Errors
    /// [`HomeError`] if there is no place for it.
    pub(crate) fn bind_control(&self, _lock: &Lock) -> Result<ControlSocket, HomeError> {
        let path = self.file(SOCKET_FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("replace", &path)(error)),
            _ => {}
        }
        let listener = self.at_socket(|path| UnixListener::bind(path)).map_err(failed("listen on", &path))?;
        let socket = ControlSocket { listener, path: path.clone() };
        // Between the two calls the directory, which is 0700, protects it.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed("close", &path))?;
        Ok(socket)
    }

    /// A connection to the daemon that runs here
    ///
    /// # Errors
    /// [`io::Error`], if none does for one.
    pub(crate) fn connect_control(&self) -> io::Result<UnixStream> {
        self.at_socket(|path| UnixStream::connect(path))
    }

    /// Does something at the socket's path: a long one is gone through the open directory, so that however long a home's
    /// path is, its socket is in it, where nobody else can put one
    fn at_socket<T>(&self, run: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        let path = self.file(SOCKET_FILE);
        if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return run(&path);
        }
        let directory = File::open(&self.path)?;
        run(&PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_FILE}", directory.as_raw_fd())))
    }
}

/// The process and the program in a lock's file
fn occupant(line: &[u8]) -> Option<(u32, String)> {
    let (pid, program) = files::checked(line)?.split_once(' ')?;
    Some((pid.parse().ok()?, program.to_owned()))
}

/// Makes a directory and those above it, 0700, and checks that it is ours: in `/tmp` somebody may have been first.
fn create_private(path: &Path) -> Result<(), HomeError> {
    files::create_directory(path).map_err(|error| {
        if path.exists() { HomeError::NotADirectory(path.to_owned()) } else { failed("make", path)(error) }
    })?;
    let metadata = fs::metadata(path).map_err(failed("read", path))?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(HomeError::Foreign(path.to_owned()));
    }
    Ok(())
}

/// A claim on a home; dropped, the home is free
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Whether the home is still the one that was claimed: not removed, moved away, or replaced by another one
    pub(crate) fn holds(&self) -> bool {
        let (Ok(own), Ok(there)) = (self.file.metadata(), fs::symlink_metadata(&self.path)) else { return false };
        (own.dev(), own.ino()) == (there.dev(), there.ino())
    }
}

/// A listening control socket; dropped, it is removed
#[derive(Debug)]
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// A second handle of the listener, which lives no longer than this one is of use
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub(crate) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), reason = %error, "control socket not removed");
        }
    }
}

#[cfg(test)]
mod tests;
